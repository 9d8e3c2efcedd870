//! Random and spoiled bytes: nothing panics, nothing looks past its frame, and what is read is consistent.
//!
//! Each test is a run of worlds from one seed; a failure names it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use protocol::body::*;
use protocol::header::{SendFields, SendShapes};
use protocol::headers::*;
use protocol::{
    Codec, CustomHeader, FieldError, Fields, Found, Frame, Header, HeaderWriter, Language, NoRoom,
    RemotingCommand, Text, WireError, frame,
};

mod vectors;
use vectors::{hex, load};

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// Runs `world` from many seeds and names the one that fails.
fn seeds(count: u64, mut world: impl FnMut(&mut Random)) {
    for seed in 0..count {
        let result = catch_unwind(AssertUnwindSafe(|| world(&mut Random(seed))));
        assert!(result.is_ok(), "seed {seed}");
    }
}

/// Frames of every kind, to spoil.
fn frames() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for file in
        ["client-4.9.8-json.json", "client-5.5.0-binary.json", "probe-5.5.0.json", "mqadmin-5.5.0.json"]
    {
        for item in load(file)["items"].as_array().expect("items") {
            for half in ["request_hex", "response_hex"] {
                if let Some(text) = item[half].as_str()
                    && text.len() < 4096
                {
                    all.push(hex(text));
                }
            }
        }
    }
    all
}

/// A few bytes changed, cut out, doubled or put in; some of them are what a parser stumbles over.
fn spoil(bytes: &mut Vec<u8>, random: &mut Random) {
    const NASTY: &[u8] = b"\"\\{}[]:,u0\x00\x01\x7f\x80\xff'ntf-9.eE ";
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len().max(1));
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] = random.next() as u8,
            1 if at < bytes.len() => bytes[at] = *random.pick(NASTY),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => bytes.truncate(at),
            4 => bytes.insert(at, *random.pick(NASTY)),
            _ => {
                let end = (at + random.below(40)).min(bytes.len());
                let piece = bytes[at.min(end)..end].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

/// Everything a program could do with a frame.
fn use_frame(frame: &Frame<'_>) {
    compare_send_reads(frame);
    let Ok(header) = frame.header() else { return };
    let inside = frame.header.as_ptr_range();
    let mut count = 0;
    for (name, value) in &header.fields {
        for text in [name, value] {
            let raw = text.raw().as_ptr_range();
            assert!(raw.start >= inside.start && raw.end <= inside.end, "a text lies in its header");
            let mut out = vec![0; text.raw().len()];
            let len = text.write_to(&mut out).expect("the raw length is room enough");
            assert_eq!(len, text.unescaped_len());
            assert_eq!(&out[..len], &*text.to_bytes());
            let _ = (text.to_cow(), text.parse_i32(), text.parse_i64(), text.parse_bool(), text.parse_f64());
        }
        let found = header.fields.get(&name.to_cow());
        assert!(found.is_some() || name.plain().is_none(), "a field is found by its name");
        count += 1;
    }
    let mut each = 0;
    let walked: Result<(), ()> = header.fields.each(|_, _| {
        each += 1;
        Ok(())
    });
    assert_eq!((walked, each), (Ok(()), count), "both walks see the same");
    read_headers(&header.fields);
    read_bodies(frame.body);
    write_again(frame);
}

fn read_headers(fields: &Fields<'_>) {
    let _ = SendMessageRequestHeader::read(fields);
    let _ = SendMessageRequestHeaderV2::read(fields);
    let _ = PullMessageRequestHeader::read(fields);
    let _ = SendMessageResponseHeader::read(fields);
    let _ = PullMessageResponseHeader::read(fields);
    let _ = EndTransactionRequestHeader::read(fields);
    let _ = RegisterBrokerRequestHeader::read(fields);
    let _ = UpdateConsumerOffsetRequestHeader::read(fields);
    let _ = PopMessageRequestHeader::read(fields);
}

fn read_bodies(body: &[u8]) {
    let _ = HeartbeatData::decode(body);
    let _ = TopicRouteData::decode(body);
    let _ = ClusterInfo::decode(body);
    let _ = ConsumeStats::decode(body);
    let _ = ConsumerRunningInfo::decode(body);
    let _ = RegisterBrokerBody::decode_any(body, false, 513);
    let _ = RegisterBrokerBody::decode_any(body, true, 513);
    let _ = ResetOffsetBody::decode(body);
    let _ = TopicConfigAndQueueMapping::decode(body);
    let _ = SubscriptionGroupWrapper::decode(body);
    let _ = protocol::fastjson::from_slice::<serde_json::Value>(body);
}

/// What was read can be written, and reads the same.
fn write_again(frame: &Frame<'_>) {
    let mut command = RemotingCommand::from_frame(frame).expect("read before");
    if command.language == Language::Unknown {
        command.language = Language::Other; // As it is passed on.
    }
    let written = command.encode(Codec::Json);
    match frame::find(&written) {
        Ok(Found::Whole { frame, bytes_len }) => {
            assert_eq!(bytes_len, written.len());
            assert_eq!(RemotingCommand::from_frame(&frame).expect("our own"), command);
        }
        other => panic!("{other:?}"),
    }
}

fn use_bytes(bytes: &[u8]) {
    match frame::find(bytes) {
        Ok(Found::Whole { frame, bytes_len }) => {
            assert!(bytes_len <= bytes.len());
            assert_eq!(8 + frame.header.len() + frame.body.len(), bytes_len);
            assert_eq!(frame.header.as_ptr(), bytes[8..].as_ptr());
            use_frame(&frame);
        }
        Ok(Found::Need { bytes_len }) => assert!(bytes_len > bytes.len()),
        Err(_) => {}
    }
}

/// W-1, W-5. Goal: arbitrary bytes are refused or asked for, without a panic. Method: random bytes behind a length and a
/// codec that are plausible more often than not.
#[test]
fn random_bytes_do_not_panic() {
    seeds(10_000, |random| {
        let mut bytes: Vec<u8> = (0..random.below(200)).map(|_| random.next() as u8).collect();
        if bytes.len() >= 8 && random.below(8) != 0 {
            let total = (bytes.len() - 4) as u32;
            bytes[..4].copy_from_slice(&total.to_be_bytes());
            bytes[4] = random.below(3) as u8;
            let header_len = random.below(bytes.len() - 7) as u32;
            bytes[5..8].copy_from_slice(&header_len.to_be_bytes()[1..]);
        }
        use_bytes(&bytes);
    });
}

/// W-1, W-5, W-6, W-8, W-9. Goal: a spoiled official frame is refused or understood, without a panic, and never looks past
/// itself. Method: change single bytes of recorded frames, with the lengths left, and with the lengths made right.
#[test]
fn spoiled_frames_do_not_panic() {
    let frames = frames();
    seeds(8_000, |random| {
        let mut bytes = random.pick(&frames).clone();
        let header_len = u32::from_be_bytes([0, bytes[5], bytes[6], bytes[7]]) as usize;
        if random.below(4) == 0 {
            spoil(&mut bytes, random);
            return use_bytes(&bytes);
        }
        let (mut header, mut body) = (bytes[8..8 + header_len].to_vec(), bytes[8 + header_len..].to_vec());
        spoil(if body.is_empty() || random.below(2) == 0 { &mut header } else { &mut body }, random);
        let codec = if bytes[4] == 0 { Codec::Json } else { Codec::Binary };
        use_frame(&Frame { codec, header: &header, body: &body });
    });
}

/// The fields of a send by both their names.
const SEND_NAMES: [(&str, &str); 14] = [
    ("a", "producerGroup"),
    ("b", "topic"),
    ("c", "defaultTopic"),
    ("d", "defaultTopicQueueNums"),
    ("e", "queueId"),
    ("f", "sysFlag"),
    ("g", "bornTimestamp"),
    ("h", "flag"),
    ("i", "properties"),
    ("j", "reconsumeTimes"),
    ("k", "unitMode"),
    ("l", "maxReconsumeTimes"),
    ("m", "batch"),
    ("n", "bname"),
];

/// What a send's fields say, found the plain way: name by name.
fn plain_send<'a>(fields: &Fields<'a>) -> Result<SendMessageRequestHeader<'a>, FieldError> {
    let known: Vec<(&'static str, Text<'_>)> = fields
        .iter()
        .filter_map(|(name, value)| {
            SEND_NAMES.iter().find(|row| name == row.0 || name == row.1).map(|row| (row.0, value))
        })
        .collect();
    for (name, value) in &known {
        let is_number = match *name {
            "d" | "e" | "f" | "h" | "j" | "l" => value.parse_i32().is_some(),
            "g" => value.parse_i64().is_some(),
            _ => true,
        };
        if !is_number {
            return Err(FieldError::NotANumber { name });
        }
    }
    let get = |wanted: &'static str| known.iter().rfind(|row| row.0 == wanted).map(|row| row.1);
    let must = |name: &'static str| get(name).ok_or(FieldError::Missing { name });
    let int = |text: Text<'_>| text.parse_i32().expect("looked at");
    Ok(SendMessageRequestHeader {
        producer_group: get("a").unwrap_or_default(),
        topic: must("b")?,
        default_topic: get("c").unwrap_or_default(),
        default_topic_queue_nums: get("d").map(int).unwrap_or_default(),
        queue_id: int(must("e")?),
        sys_flag: int(must("f")?),
        born_timestamp: must("g")?.parse_i64().expect("looked at"),
        flag: int(must("h")?),
        properties: get("i"),
        reconsume_times: get("j").map(int),
        unit_mode: get("k").is_some_and(|text| text.parse_bool()),
        max_reconsume_times: get("l").map(int),
        batch: get("m").is_some_and(|text| text.parse_bool()),
        broker_name: get("n"),
    })
}

/// A send's header that is read for its fields is the one that is read for any, errors included.
fn compare_send_reads(frame: &Frame<'_>) {
    let (mut header, mut send) = (Header::default(), SendFields::default());
    let read = frame.read_request(&mut header, &mut send);
    compare_with_general(frame, read, &header, &send);
}

/// The same of one that is read as those before it. Says whether it was like one of them.
fn compare_like_reads(frame: &Frame<'_>, shapes: &mut SendShapes<()>) -> bool {
    let (mut header, mut send) = (Header::default(), SendFields::default());
    let read = shapes.read(frame, &mut header, &mut send);
    compare_with_general(frame, read, &header, &send);
    let Some(alike) = shapes.alike(&send) else { return false };
    let properties = send
        .header()
        .expect("none with an error is known")
        .properties
        .map(|text| text.to_bytes().into_owned());
    assert_eq!(alike.properties, properties.unwrap_or_default());
    true
}

fn compare_with_general(
    frame: &Frame<'_>,
    read: Result<(), WireError>,
    header: &Header<'_>,
    send: &SendFields<'_>,
) {
    let general = match (read, frame.header()) {
        (Ok(()), Ok(general)) => general,
        (read, general) => return assert_eq!(read, general.map(|_| ())),
    };
    let fixed =
        |header: &Header<'_>| (header.code, header.flag, header.language, header.version, header.opaque);
    assert_eq!(fixed(header), fixed(&general));
    assert_eq!(header.remark, general.remark);
    assert!(header.fields.iter().eq(general.fields.iter()), "{:?} {:?}", header.fields, general.fields);
    if matches!(header.code, 10 | 310 | 320 | 324 | 325) {
        let plain = plain_send(&general.fields);
        assert_eq!(SendMessageRequestHeader::read(&general.fields), plain);
        assert_eq!(send.header().copied(), plain);
    }
}

/// A JSON header, now and then with its members in another order, twice, or written in a way that Java has not.
fn send_as_json(fields: &[(String, String)], random: &mut Random) -> Vec<u8> {
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, value)| match random.below(40) {
            0 => format!("\"{name}\": {value:?}"),
            1 => format!("{name}:{}", random.below(100)),
            2 => format!("\"{name}\":null"),
            3 => format!("\"\\u0061\":{value:?}"),
            _ => {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"");
                let value = value.replace('\u{1}', "\\u0001").replace('\u{2}', "\\u0002");
                format!("\"{name}\":\"{value}\"")
            }
        })
        .collect();
    let fields = format!("\"extFields\":{{{}}}", fields.join(","));
    let mut members = vec![
        format!("\"code\":{}", random.pick(&[310, 310, 310, 10, 320, 324, 325, 11])),
        fields,
        "\"flag\":0".into(),
        "\"language\":\"JAVA\"".into(),
        format!("\"opaque\":{}", random.next() as i32),
        "\"serializeTypeCurrentRPC\":\"JSON\"".into(),
        "\"version\":513".into(),
    ];
    if random.below(6) == 0 {
        let at = random.below(members.len());
        let member = members.remove(at);
        members.insert(random.below(members.len()), member);
    }
    if random.below(20) == 0 {
        members.push("\"extFields\":{\"a\":\"again\",\"e\":\"7\"}".into());
    }
    if random.below(20) == 0 {
        members.push("\"code\":11".into());
    }
    format!("{{{}}}", members.join(",")).into_bytes()
}

/// W-5, W-6, W-8. Goal: the walk that takes a send's fields as it comes by them agrees with reading any header and then its
/// fields, whatever the bytes are: the same values, the same errors. Method: random sends in both forms, with fields that are
/// missing, doubled, unknown, too many, empty, escaped or no number, as they are and spoiled, against a plain reader.
#[test]
fn sends_are_read_as_any_header_is() {
    const NAMES: &[&str] = &[
        "a",
        "b",
        "c",
        "d",
        "e",
        "f",
        "g",
        "h",
        "i",
        "j",
        "k",
        "l",
        "m",
        "n",
        "o",
        "z",
        "A",
        "",
        "topic",
        "queueId",
        "producerGroup",
        "bname",
        "properties",
        "aa",
    ];
    const VALUES: &[&str] = &[
        "",
        "0",
        "-1",
        "+7",
        "4x",
        "2147483648",
        "1700000000000",
        "99999999999999999999",
        "true",
        "TRUE",
        "false",
        "T",
        "KEYS\u{1}k\u{2}UNIQ_KEY\u{1}7F00000100002A9F00000000075BCD15\u{2}",
        "a\\b\"c\"",
        "a topic of more than sixteen bytes",
        "中文",
    ];
    seeds(20_000, |random| {
        let mut fields: Vec<(String, String)> = Vec::new();
        for letter in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "m"] {
            let value = match letter {
                "a" | "b" | "c" => *random.pick(&["TopicTest", "PG"]),
                "i" => VALUES[12],
                "g" => "1700000000000",
                _ => *random.pick(&["0", "3", "12"]),
            };
            fields.push((letter.into(), value.into()));
        }
        if random.below(3) != 0 {
            for _ in 0..random.below(4) {
                fields.remove(random.below(fields.len()));
            }
            let more = if random.below(6) == 0 { random.below(20) } else { random.below(4) };
            for _ in 0..more {
                let field = ((*random.pick(NAMES)).to_owned(), (*random.pick(VALUES)).to_owned());
                fields.insert(random.below(fields.len() + 1), field);
            }
        }
        if random.below(100) == 0 {
            fields.push(("i".into(), "x".repeat(40_000)));
        }
        let codec = *random.pick(&[Codec::Json, Codec::Binary]);
        let mut header = match codec {
            Codec::Json => send_as_json(&fields, random),
            Codec::Binary => {
                let mut command = RemotingCommand::request(*random.pick(&[310, 310, 10, 320, 11]));
                command.ext_fields = fields;
                command.encode(codec)[8..].to_vec()
            }
        };
        if random.below(2) == 0 {
            spoil(&mut header, random);
        }
        compare_send_reads(&Frame { codec, header: &header, body: b"" });
    });
}

/// W-5, W-6, W-8. Goal: what is read by its likeness to what came before is what any reader reads. Method: some senders by turns,
/// whose headers differ as real ones do, in length, too, and now and then in a place where they should not, or spoiled.
#[test]
fn likeness_changes_nothing() {
    const KEYS: &[&str] = &["order-1", "order-2", "a b", "ein\u{1}", "x\"y\\z", "中文", ""];
    const ODD: &[&str] = &["", "-1", "+7", "4x", "99999999999999999999", "\u{2}", "é", "a\\"];
    let (mut all, mut like) = (0, 0);
    seeds(400, |random| {
        let mut shapes = SendShapes::default();
        let senders: Vec<_> = (0..1 + random.below(3)).map(|_| sender(random)).collect();
        for _ in 0..120 {
            let (codec, mut command, list) = random.pick(&senders).clone();
            let unique = format!("{:032X}", u128::from(random.next()) << 64 | u128::from(random.next()));
            let keys = random.pick(KEYS);
            let list = list.replace('#', &unique).replace('?', keys);
            let opaques = if random.below(8) == 0 { 100_000 } else { 900 };
            command.opaque = 100 + random.below(opaques) as i32;
            let queues = if random.below(8) == 0 { 99 } else { 8 };
            for (name, value) in &mut command.ext_fields {
                match &**name {
                    "e" | "queueId" => *value = random.below(queues).to_string(),
                    "g" | "bornTimestamp" => *value = format!("17{:011}", random.below(100_000_000_000)),
                    "i" | "properties" => value.clone_from(&list),
                    _ => {}
                }
                if random.below(200) == 0 {
                    *value = (*random.pick(ODD)).into();
                }
            }
            let mut header = command.encode(codec);
            header.drain(..8);
            if let Some(at) = header.windows(9).position(|name| name == b"\"opaque\":")
                && random.below(50) == 0
            {
                header[at + 9] = *random.pick(b"+-0 ");
            }
            if random.below(4) == 0 {
                spoil(&mut header, random);
            }
            all += 1;
            like += u32::from(compare_like_reads(&Frame { codec, header: &header, body: b"" }, &mut shapes));
        }
    });
    assert!(like > all / 4, "only {like} of {all} were like one before");
}

/// What a sender sends, and its properties with a place for UNIQ_KEY and KEYS.
fn sender(random: &mut Random) -> (Codec, RemotingCommand, String) {
    const LISTS: &[&str] = &[
        "UNIQ_KEY\u{1}#\u{2}WAIT\u{1}true\u{2}",
        "KEYS\u{1}?\u{2}UNIQ_KEY\u{1}#\u{2}WAIT\u{1}false\u{2}TAGS\u{1}A\u{2}",
        "UNIQ_KEY\u{1}#\u{2}UNIQ_KEY\u{1}#",
        "TAGS\u{1}?\u{2}KEYS\u{1}?",
        "",
    ];
    let codec = *random.pick(&[Codec::Json, Codec::Binary]);
    let mut command = RemotingCommand::request(*random.pick(&[310, 310, 10, 320, 325]));
    let is_long = command.code == 10;
    for (letter, long) in SEND_NAMES {
        let value = match letter {
            "a" | "b" | "c" => *random.pick(&["TopicTest", "PG", "opaque", "\"opaque\":1"]),
            _ => *random.pick(&["0", "3"]),
        };
        if random.below(30) != 0 {
            command.ext_fields.push(((if is_long { long } else { letter }).into(), value.into()));
        }
    }
    (codec, command, (*random.pick(LISTS)).into())
}

/// W-7. Goal: the writer never writes past its buffer, says `NoRoom` exactly when it must and how much it needs, and what it writes
/// reads back.
/// Method: random fields and remarks in any order, in buffers of every size up to what is needed.
#[test]
fn the_writer_fits_or_says_no_room() {
    const WORDS: &[&str] = &[
        "",
        "a",
        "TAGS\u{1}A\u{2}",
        "中文😀",
        "\"\\\n\t\u{8}\u{c}\u{1f}",
        "a rather long text without anything in it",
    ];
    seeds(400, |random| {
        let codec = *random.pick(&[Codec::Json, Codec::Binary]);
        let fields: Vec<(String, String)> = (0..random.below(25))
            .map(|at| {
                (format!("f{at}{}", random.pick(WORDS)), random.pick(WORDS).repeat(1 + random.below(3)))
            })
            .collect();
        let remark = *random.pick(WORDS);
        let remark_at = random.below(fields.len() + 1);
        let (opaque, body_len) = (random.next() as i32, random.below(1000));
        let write = |out: &mut [u8]| {
            let mut writer = HeaderWriter::response(out, codec, 17, opaque);
            for (at, (name, value)) in fields.iter().enumerate() {
                if at == remark_at {
                    writer = writer.remark(remark);
                }
                writer = writer.field(name, value);
            }
            if remark_at == fields.len() {
                writer = writer.remark(format_args!("{remark}"));
            }
            writer.finish(body_len)
        };
        let mut out = vec![0xEE; 8192];
        let len = write(&mut out).expect("room");
        out.truncate(len);
        for room in 0..len {
            assert_eq!(write(&mut vec![0; room]), Err(NoRoom { bytes_len: len }), "{room} of {len}");
        }
        let mut exact = vec![0; len];
        assert_eq!(write(&mut exact), Ok(len));
        assert_eq!(exact, out, "the room makes no difference");
        out.extend(std::iter::repeat_n(7, body_len));
        let Ok(Found::Whole { frame, bytes_len }) = frame::find(&out) else { panic!("not whole") };
        assert_eq!((bytes_len, frame.body.len()), (out.len(), body_len));
        let header = frame.header().expect("our own");
        assert_eq!((header.code, header.opaque, header.flag), (17, opaque, 1));
        assert_eq!(header.remark.map_or(String::new(), |text| text.to_cow().into_owned()), remark);
        let read: Vec<_> = header
            .fields
            .iter()
            .map(|(name, value)| (name.to_cow().into_owned(), value.to_cow().into_owned()))
            .collect();
        let expected: Vec<_> =
            fields.into_iter().filter(|(_, value)| codec == Codec::Json || !value.is_empty()).collect();
        assert_eq!(read, expected);
    });
}
