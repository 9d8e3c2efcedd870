//! codec.json: what official software's serialisation looks like, byte by byte.

use protocol::header::writer::Head;
use protocol::headers::SendMessageRequestHeaderV2;
use protocol::{Codec, CustomHeader, Found, HeaderWriter, Language, RemotingCommand, frame};

mod vectors;
use vectors::{hex, load};

fn whole(bytes: &[u8]) -> frame::Frame<'_> {
    match frame::find(bytes).expect("an official frame") {
        Found::Whole { frame, bytes_len } => {
            assert_eq!(bytes_len, bytes.len());
            frame
        }
        Found::Need { bytes_len } => panic!("needs {bytes_len} of {}", bytes.len()),
    }
}

/// W-7. Goal: our writer's V2 send is the official one, byte for byte, in both forms.
/// Method: read the official frame, write what was read.
#[test]
fn a_v2_send_is_written_as_java_writes_it() {
    let codec = load("codec.json");
    for (name, form) in [("sendV2_JSON", Codec::Json), ("sendV2_ROCKETMQ", Codec::Binary)] {
        let bytes = hex(codec[name].as_str().expect("hex"));
        let frame = whole(&bytes);
        assert_eq!(frame.codec, form);
        assert_eq!(frame.body, b"hi");
        let header = frame.header().expect("an official header");
        assert_eq!((header.code, header.flag, header.opaque, header.version), (310, 0, 7, 409));
        assert_eq!(header.language, Language::Java);
        let send = SendMessageRequestHeaderV2::read(&header.fields).expect("an official send");
        assert_eq!(send.0.topic, "T");
        assert_eq!(send.0.born_timestamp, 1_700_000_000_000);
        assert_eq!(send.0.properties.expect("properties"), "TAGS\u{1}A\u{2}");

        let head = Head { code: 310, flag: 0, language: Language::Java, version: 409, opaque: 7 };
        let mut out = [0; 512];
        let len = HeaderWriter::new(&mut out, form, head).with(&send).finish(frame.body.len()).expect("room");
        assert_eq!(&out[..len], &bytes[..bytes.len() - 2], "{name}");

        let owned = RemotingCommand::from_frame(&frame).expect("an official header");
        assert_eq!(owned.encode(form), bytes);
    }
}

/// W-7. As above, for an answer without fields and with a remark.
#[test]
fn an_error_is_written_as_java_writes_it() {
    let codec = load("codec.json");
    for (name, form) in [("errorResponse_JSON", Codec::Json), ("errorResponse_ROCKETMQ", Codec::Binary)] {
        let bytes = hex(codec[name].as_str().expect("hex"));
        let head = Head { code: 17, flag: 1, language: Language::Java, version: 409, opaque: 7 };
        let mut out = [0; 512];
        let len = HeaderWriter::new(&mut out, form, head).remark("no topic").finish(0).expect("room");
        assert_eq!(&out[..len], &bytes, "{name}");
        let header = whole(&bytes).header().expect("an official header");
        assert_eq!(header.remark.expect("a remark"), "no topic");
        assert_eq!(header.fields.iter().count(), 0);
    }
}
