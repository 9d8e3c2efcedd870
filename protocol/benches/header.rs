//! How long a V2 send header takes to read and to write: `cargo bench -p afterburner-protocol --bench header`.

use std::hint::black_box;
use std::time::Instant;

use protocol::header::SendFields;
use protocol::headers::{PullMessageRequestHeader, SendMessageRequestHeaderV2, SendMessageResponseHeader};
use protocol::{Codec, CustomHeader, Found, Header, HeaderWriter, RemotingCommand, frame};

fn main() {
    for (name, codec) in [("JSON", Codec::Json), ("binary", Codec::Binary)] {
        let bytes = send().encode(codec);
        let mut out = [0; 2048];
        println!("{name}: a send of {} bytes", bytes.len());
        time("  find + header", || {
            let mut header = Header::default();
            whole(black_box(&bytes)).read_header(&mut header).expect("our own");
            black_box(&header);
        });
        time("  find + header + V2 fields", || {
            let mut header = Header::default();
            let mut fields = SendFields::default();
            whole(black_box(&bytes)).read_request(&mut header, &mut fields).expect("our own");
            fields.header().expect("our own");
            black_box(&fields);
        });
        let header = whole(&bytes).header().expect("our own");
        let fields: SendMessageRequestHeaderV2<'_> = CustomHeader::read(&header.fields).expect("our own");
        time("  unescape the properties", || {
            let properties = black_box(&fields).0.properties.expect("there");
            black_box(properties.write_to(&mut out).expect("room"));
        });
        let command = send();
        let owned = command.header::<SendMessageRequestHeaderV2<'_>>().expect("our own");
        time("  write the request", || {
            let writer = HeaderWriter::request(&mut out, codec, 310, 7, false);
            black_box(writer.with(black_box(&owned)).finish(1024).expect("room"));
        });
        time("  write the answer", || {
            let answer = SendMessageResponseHeader {
                msg_id: "7F00000200007923000000000000019C".into(),
                queue_id: 3,
                queue_offset: black_box(1_234_567),
                transaction_id: Some("FD0000000000000000000000000000020DA95FFD2B276491A27E0000".into()),
                batch_uniq_id: None,
                recall_handle: None,
            };
            let writer = HeaderWriter::response(&mut out, codec, 0, 7);
            black_box(
                writer
                    .field("MSG_REGION", "DefaultRegion")
                    .field("TRACE_ON", "true")
                    .with(&answer)
                    .finish(0)
                    .expect("room"),
            );
        });
        let bytes = pull().encode(codec);
        time("  find + header + pull fields", || {
            let mut header = Header::default();
            whole(black_box(&bytes)).read_header(&mut header).expect("our own");
            let mut fields = PullMessageRequestHeader::default();
            fields.read_from(&header.fields).expect("our own");
            black_box(&fields);
        });
    }
}

/// The best of many rounds: the machine is not ours alone.
fn time(name: &str, mut work: impl FnMut()) {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..TURNS {
            work();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(TURNS));
    }
    println!("{name:32} {best:7.1} ns");
}

fn whole(bytes: &[u8]) -> frame::Frame<'_> {
    match frame::find(bytes) {
        Ok(Found::Whole { frame, .. }) => frame,
        other => panic!("{other:?}"),
    }
}

fn send() -> RemotingCommand {
    let mut command = RemotingCommand::request(310);
    for (name, value) in [
        ("a", "PG_c49"),
        ("b", "T_c49"),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "1"),
        ("f", "0"),
        ("g", "1795178438894"),
        ("h", "7"),
        (
            "i",
            "KEYS\u{1}key1 key2\u{2}UNIQ_KEY\u{1}FD0000000000000000000000000000020C075FFD2B27649138EE0000\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA",
        ),
        ("j", "0"),
        ("k", "false"),
        ("m", "false"),
        ("n", "broker-a"),
    ] {
        command = command.field(name, value);
    }
    command
}

fn pull() -> RemotingCommand {
    let mut command = RemotingCommand::request(11);
    for (name, value) in [
        ("bname", "broker-a"),
        ("commitOffset", "0"),
        ("consumerGroup", "CG_push_c49"),
        ("expressionType", "TAG"),
        ("maxMsgNums", "32"),
        ("queueId", "3"),
        ("queueOffset", "1234567"),
        ("subVersion", "1795178440625"),
        ("suspendTimeoutMillis", "15000"),
        ("sysFlag", "3"),
        ("topic", "T_c49"),
    ] {
        command = command.field(name, value);
    }
    command
}

const ROUNDS: u32 = 3_000;
const TURNS: u32 = 300;
