//! The stored record, property lists, batches, ids and hashes against bytes that official software wrote.
#![allow(clippy::unwrap_used)] // Tests: the helpers too.

mod vectors;

use std::net::SocketAddr;

use protocol::batch::{self, BatchMessage};
use protocol::record::{self, RecordDraft, RecordError, RecordView, Stamp, Unit};
use protocol::{hash, ids, names, properties};
use serde_json::Value;
use vectors::{hex, load};

fn items() -> Vec<(Value, Vec<u8>)> {
    let store = load("store.json");
    let items = store["items"].as_array().unwrap();
    let whole = items.iter().filter_map(|item| Some((item.clone(), hex(item["hex"].as_str()?))));
    whole.collect()
}

/// D-4. Goal: we read what the official broker wrote. Method: every unit of its commitlog, field by field.
#[test]
fn official_records_are_read() {
    let mut records = 0;
    for (item, bytes) in items() {
        let number = |name: &str| item[name].as_i64().unwrap_or_else(|| panic!("{name} of {item}"));
        match record::unit(&bytes).unwrap() {
            Unit::Record(view) => {
                records += 1;
                assert_eq!(i64::from(view.size()), number("totalSize"));
                assert_eq!(i64::from(view.body_crc), number("bodyCRC"));
                assert_eq!(i64::from(view.queue_id), number("queueId"));
                assert_eq!(i64::from(view.flag), number("flag"));
                assert_eq!(view.queue_offset, number("queueOffset"));
                assert_eq!(view.physical_offset, number("physicalOffset"));
                assert_eq!(i64::from(view.sys_flag), number("sysFlag"));
                assert_eq!(view.born_timestamp, number("bornTimestamp"));
                assert_eq!(view.store_timestamp, number("storeTimestamp"));
                assert_eq!(view.born_host.to_string(), item["bornHost"].as_str().unwrap());
                assert_eq!(view.store_host.to_string(), item["storeHost"].as_str().unwrap());
                assert_eq!(i64::from(view.reconsume_times), number("reconsumeTimes"));
                assert_eq!(view.prepared_transaction_offset, number("preparedTransactionOffset"));
                assert_eq!(view.body.len() as i64, number("bodyLength"));
                assert_eq!(view.topic_str(), item["topic"].as_str());
                assert_eq!(str::from_utf8(view.properties).unwrap(), item["properties"].as_str().unwrap());
                assert!(view.crc_holds());
            }
            Unit::Blank { bytes_left } => assert_eq!(i64::from(bytes_left), number("totalSize")),
        }
    }
    assert!(records > 30);
}

/// D-4. Goal: we write what the official broker writes. Method: each of its records as a draft and a stamp, written again.
#[test]
fn official_records_are_written_byte_for_byte() {
    let ipv6 = hex(load("codec.json")["ipv6Message"]["hex"].as_str().unwrap());
    for bytes in items().into_iter().map(|(_, bytes)| bytes).chain([ipv6]) {
        let Ok(Unit::Record(view)) = record::unit(&bytes) else { continue };
        let stamp = Stamp {
            queue_offset: view.queue_offset,
            physical_offset: view.physical_offset,
            store_timestamp: view.store_timestamp,
        };
        let draft = view.to_draft();
        let mut out = vec![0xAA; draft.encoded_len()];
        draft.encode_into(&mut out, &stamp);
        assert_eq!(out, view.bytes);
    }
}

/// D-4. Goal: a record of a batch is the one it would be alone. Method: every official record, and one of a long topic, from a
/// template of what it shares with others, in a buffer that has held another.
#[test]
fn records_from_a_template_are_the_same_byte_for_byte() {
    let ipv6 = hex(load("codec.json")["ipv6Message"]["hex"].as_str().unwrap());
    let topic = [b't'; 300];
    let long = RecordDraft { topic: &topic, properties: b"TAGS\x01a\x02", ..draft(b"body") };
    let mut long_bytes = vec![0; long.encoded_len()];
    long.encode_into(&mut long_bytes, &STAMP);
    let mut buffer = Vec::new();
    for bytes in items().into_iter().map(|(_, bytes)| bytes).chain([ipv6, long_bytes]) {
        let Ok(Unit::Record(view)) = record::unit(&bytes) else { continue };
        let shared = RecordDraft { flag: 77, body: b"", properties: b"", ..view.to_draft() };
        let template = shared.template(&mut buffer, view.store_timestamp);
        let message = BatchMessage { flag: view.flag, body: view.body, properties: view.properties };
        let mut out = vec![0xAA; template.encoded_len(&message)];
        template.encode_with(&mut out, &message, view.queue_offset, view.physical_offset, |body, place| {
            place.copy_from_slice(body);
            record::body_crc(body) as u32
        });
        assert_eq!(out, view.bytes);
    }
}

/// D-4. Goal: the V2 form for topics of more than 127 bytes. Method: there and back, around the border.
#[test]
fn long_topics_take_the_second_form() {
    for len in [1, 127, 128, 300] {
        let topic = vec![b't'; len];
        let draft = RecordDraft { topic: &topic, ..draft(b"body") };
        let mut out = vec![0; draft.encoded_len()];
        draft.encode_into(&mut out, &STAMP);
        let view = RecordView::parse(&out).unwrap();
        assert_eq!(view.topic, topic);
        assert_eq!(out[7] == 0xAB, len > 127);
        assert_eq!(out.len(), 91 + 4 + len + usize::from(len > 127));
    }
}

/// D-4. Goal: no bytes make the reader panic or look past the unit. Method: every record cut anywhere, every byte changed.
#[test]
fn damaged_records_are_refused_or_read_but_never_panic() {
    for (_, bytes) in items().into_iter().take(12) {
        let Ok(Unit::Record(whole)) = record::unit(&bytes) else { continue };
        let size = whole.bytes.len();
        for cut in 0..size {
            match record::unit(&bytes[..cut]) {
                Err(RecordError::Short { need }) => assert!(need > cut),
                other => panic!("{other:?} of {cut} bytes"),
            }
        }
        let mut changed = bytes.clone();
        for at in 0..size {
            for value in [0, 1, 0x7F, 0x80, 0xFF] {
                changed[at] = value;
                if let Ok(Unit::Record(view)) = record::unit(&changed) {
                    assert!(view.bytes.len() <= changed.len());
                }
                if (88..88 + whole.body.len()).contains(&at) && value != bytes[at] {
                    let view = RecordView::parse(&changed).unwrap();
                    assert!(!view.crc_holds());
                }
            }
            changed[at] = bytes[at];
        }
    }
}

/// D-4. Goal: the blank of a file's end. Method: the official one, and ours.
#[test]
fn a_blank_is_size_and_magic() {
    let store = load("store.json");
    let items = store["items"].as_array().unwrap();
    let blanks: Vec<_> = items.iter().filter(|item| item["hex"].is_null()).collect();
    assert!(!blanks.is_empty());
    for item in blanks {
        let head = hex(item["first16_hex"].as_str().unwrap());
        let Ok(Unit::Blank { bytes_left }) = record::unit(&head) else { panic!("{item}") };
        assert_eq!(i64::from(bytes_left), item["totalSize"].as_i64().unwrap());
        assert_eq!(record::blank(bytes_left), head[..8]);
    }
    assert_eq!(record::blank(1_000), [0, 0, 3, 0xE8, 0xCB, 0xD4, 0x31, 0x94]);
    assert!(matches!(record::unit(&record::blank(1_000)), Ok(Unit::Blank { bytes_left: 1_000 })));
    assert_eq!(record::unit(&[0; 200]).unwrap_err(), RecordError::Magic { magic: 0 });
}

/// D-5. Goal: the tag codes of the official consume queues. Method: every entry against the properties of its record.
#[test]
fn official_queue_entries_have_our_tag_codes() {
    let store = load("store.json");
    let by_offset: std::collections::HashMap<i64, Vec<u8>> = items()
        .into_iter()
        .map(|(item, bytes)| (item["physicalOffset"].as_i64().unwrap_or(-1), bytes))
        .collect();
    let mut compared = 0;
    for queue in store["consumequeue"].as_array().unwrap() {
        if queue["topic"] == "SCHEDULE_TOPIC_XXXX" {
            continue; // Delivery times.
        }
        for entry in queue["entries"].as_array().unwrap() {
            let Some(bytes) = by_offset.get(&entry["physicalOffset"].as_i64().unwrap()) else { continue };
            let view = RecordView::parse(bytes).unwrap();
            assert_eq!(properties::tags_code(view.properties), entry["tagsCode"].as_i64().unwrap());
            compared += 1;
        }
    }
    assert!(compared > 10);
}

/// D-5. Goal: Java's hash. Method: the vectors, and the slot hash of its smallest value.
#[test]
fn java_hashes() {
    let codec = load("codec.json");
    for (text, expected) in codec["javaStringHash"].as_object().unwrap() {
        assert_eq!(i64::from(hash::java_hash(text)), expected.as_i64().unwrap(), "{text}");
    }
    for (text, expected) in codec["crc32"].as_object().unwrap() {
        assert_eq!(i64::from(record::body_crc(text.as_bytes())), expected.as_i64().unwrap(), "{text}");
    }
    assert_eq!(hash::index_hash("polygenelubricants"), 0);
    assert_eq!(hash::index_hash("order-created"), 392_709_271);
    assert_eq!(hash::tags_code_bytes("中文".as_bytes()), 646_394);
    assert_eq!(hash::java_hash("😀"), 1_772_899); // A surrogate pair: two code units.
}

/// W-9. Goal: batches as the official client makes them. Method: the vector there and back, cut anywhere.
#[test]
fn official_batches_are_read_and_written() {
    let body = hex(load("codec.json")["batchBody"].as_str().unwrap());
    let messages: Vec<_> = batch::iter(&body).map(Result::unwrap).collect();
    assert_eq!(messages.iter().map(|message| message.body).collect::<Vec<_>>(), [b"b0", b"b1"]);
    assert_eq!(messages[1].flag, 1);
    assert_eq!(properties::get(messages[0].properties, "TAGS"), Some(&b"TagX"[..]));
    let mut again = Vec::new();
    for message in &messages {
        batch::push(&mut again, message);
    }
    assert_eq!(again, body);
    for cut in 1..body.len() {
        let whole = batch::iter(&body[..cut]).filter(Result::is_ok).count();
        assert_eq!(whole, usize::from(cut >= body.len() / 2));
        assert_eq!(batch::iter(&body[..cut]).any(|message| message.is_err()), cut != body.len() / 2);
    }
    let mut lying = body.clone();
    lying[19] += 1; // A body that reaches into the properties.
    assert!(batch::iter(&lying).next().unwrap().is_err());
    assert_eq!(batch::iter(&[]).count(), 0);
    let empty = BatchMessage { flag: 0, body: b"", properties: b"" };
    assert_eq!(batch::encoded_len(empty.body, empty.properties), 22);
}

/// W-9. Goal: message ids. Method: the vectors, and there and back with both families.
#[test]
fn message_ids() {
    let codec = load("codec.json");
    let address: SocketAddr = codec["offsetMsgId"]["addr"].as_str().unwrap().parse().unwrap();
    let id = ids::offset_id(address, codec["offsetMsgId"]["offset"].as_i64().unwrap());
    assert_eq!(id.as_str(), codec["offsetMsgId"]["id"].as_str().unwrap());
    assert_eq!(ids::parse_offset_id(id.as_str()), Some((address, 123_456_789)));

    let v6 = hex(codec["ipv6Message"]["hex"].as_str().unwrap());
    let view = RecordView::parse(&v6).unwrap();
    let id = ids::offset_id(view.store_host, view.physical_offset);
    assert_eq!(id.as_str(), codec["ipv6Message"]["msgId"].as_str().unwrap());
    assert_eq!(ids::parse_offset_id(id.as_str()), Some((view.store_host, view.physical_offset)));

    for bad in ["", "C0", "C0A8010200002A9F00000000075BCD1", "C0A8010200002A9F00000000075BCDXX", "中"] {
        assert_eq!(ids::parse_offset_id(bad), None);
    }
    let mut keys = ids::UniqKeys::new("192.168.1.2".parse().unwrap(), 0x1_0203, 0x0405_0607);
    assert_eq!(keys.next(0x0809_0A0B).as_str(), "C0A8010202030405060708090A0B0000");
    assert_eq!(keys.next(0x0809_0A0B).as_str(), "C0A8010202030405060708090A0B0001");
    assert_eq!(ids::ms_of_month(1_795_178_438_894), (19 * 86_400 + 12 * 3_600 + 40 * 60 + 38) * 1_000 + 894);
    assert_eq!(ids::ms_of_month(951_782_400_000), 28 * 86_400_000); // 29 February 2000.
}

/// W-9. Goal: property lists as lenient as the official reader. Method: odd lists, then rebuilding one.
#[test]
fn property_lists() {
    let list = b"A\x01b\x02broken\x02\x01x\x02E\x01\x02A\x01c\x02KEYS\x01k1 k2";
    let all: Vec<_> = properties::iter(list).collect();
    assert_eq!(all, [(&b"A"[..], &b"b"[..]), (b"A", b"c"), (b"KEYS", b"k1 k2")]);
    assert_eq!(properties::get(list, "A"), Some(&b"c"[..]));
    assert_eq!(properties::get_str(list, "KEYS"), Some("k1 k2"));
    assert_eq!(properties::get(list, "E"), None);
    assert_eq!(properties::tags_code(list), 0);
    let mut out = Vec::new();
    properties::extend(&mut out, b"X\x01y");
    properties::push(&mut out, "TAGS", b"TagA");
    properties::extend_without(&mut out, list, &["KEYS"]);
    assert_eq!(out, b"X\x01y\x02TAGS\x01TagA\x02A\x01b\x02A\x01c\x02");
    assert_eq!(properties::tags_code(&out), 2_598_919);
    // A value may hold the first separator; the entry is cut at its first one.
    assert_eq!(properties::get(b"N\x01a\x01b\x02", "N"), Some(&b"a\x01b"[..]));
}

/// W-9. Goal: names and the official remarks. Method: a few of each kind.
#[test]
fn names_and_remarks() {
    assert_eq!(names::check_topic("Topic_A-1|%"), Ok(()));
    assert_eq!(names::check_topic(" ").unwrap_err().to_string(), "The specified topic is blank.");
    assert_eq!(
        names::check_topic("a b").unwrap_err().to_string(),
        "The specified topic: a b, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"
    );
    let long = "t".repeat(128);
    assert_eq!(
        names::check_topic(&long).unwrap_err().to_string(),
        format!("The specified topic: {long}, is longer than topic max length: 127")
    );
    assert_eq!(names::check_topic(&names::retry_topic(&"g".repeat(200))), Ok(()));
    assert!(names::check_topic(&names::dlq_topic(&"g".repeat(255))).is_err());
    assert!(names::is_system_topic("rmq_sys_anything") && names::is_system_topic("TBW102"));
    assert!(!names::is_system_topic("TopicA"));
    assert!(names::is_send_forbidden("SCHEDULE_TOPIC_XXXX") && !names::is_send_forbidden("TBW102"));
}

/// W-9. Goal: no bytes make any reader panic. Method: random bytes, also behind a good magic.
#[test]
fn random_bytes_never_panic() {
    let mut seed = 1_u64;
    let mut bytes = [0; 300];
    for round in 0..20_000 {
        for byte in &mut bytes {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (seed >> 56) as u8;
        }
        if round % 2 == 0 {
            bytes[..8].copy_from_slice(&[0, 0, 1, 0x10, 0xDA, 0xA3, 0x20, 0xA7]);
            bytes[84..88].copy_from_slice(&[0, 0, 0, (round % 200) as u8]);
        }
        let _ = record::unit(&bytes);
        batch::iter(&bytes).for_each(drop);
        properties::iter(&bytes).for_each(drop);
        let _ = hash::tags_code_bytes(&bytes);
    }
}

const STAMP: Stamp = Stamp { queue_offset: 5, physical_offset: 1 << 40, store_timestamp: 9 };

fn draft(body: &[u8]) -> RecordDraft<'_> {
    RecordDraft {
        topic: b"T",
        queue_id: 1,
        flag: 2,
        sys_flag: 0,
        born_timestamp: 3,
        born_host: "127.0.0.1:4".parse().unwrap(),
        store_host: "127.0.0.1:5".parse().unwrap(),
        reconsume_times: 6,
        prepared_transaction_offset: 7,
        body,
        properties: b"",
    }
}
