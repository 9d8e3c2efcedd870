//! The hot half allocates nothing: counted by the allocator itself.

use protocol::headers::{
    PullMessageRequestHeader, PullMessageResponseHeader, SendMessageRequestHeaderV2,
    SendMessageResponseHeader,
};
use protocol::{Codec, CustomHeader, Found, Header, HeaderWriter, frame};

mod vectors;
use vectors::{hex, load};

/// W-12. Goal: reading a send or a pull and writing its answer allocate nothing. Method: every recorded one, in both forms.
#[test]
fn sends_and_pulls_allocate_nothing() {
    let mut served = 0;
    for file in ["client-4.9.8-json.json", "client-5.5.0-binary.json"] {
        for item in load(file)["items"].as_array().expect("items") {
            let code = item["request"]["code"].as_i64().expect("a code");
            if !matches!(code, 10 | 310 | 320 | 325 | 11) {
                continue;
            }
            let bytes = hex(item["request_hex"].as_str().expect("hex"));
            let mut out = [0; 4096];
            let mut properties = [0; 4096];
            let counted = allocation_counter::measure(|| {
                let Ok(Found::Whole { frame, .. }) = frame::find(&bytes) else { panic!("not whole") };
                let mut header = Header::default();
                frame.read_header(&mut header).expect("official");
                for codec in [Codec::Json, Codec::Binary] {
                    let writer = HeaderWriter::response(&mut out, codec, 0, header.opaque);
                    let written = if code == 11 {
                        let pull = PullMessageRequestHeader::read(&header.fields).expect("official");
                        let answer = PullMessageResponseHeader {
                            suggest_which_broker_id: 0,
                            next_begin_offset: pull.queue_offset,
                            min_offset: 0,
                            max_offset: i64::MAX,
                            offset_delta: None,
                            topic_sys_flag: None,
                            group_sys_flag: Some(0),
                            forbidden_type: None,
                        };
                        writer.with(&answer).remark(format_args!("FOUND {}", pull.queue_id)).finish(0)
                    } else {
                        let send = SendMessageRequestHeaderV2::read(&header.fields).expect("official").0;
                        let len = send.properties.expect("there").write_to(&mut properties).expect("room");
                        let answer = SendMessageResponseHeader {
                            msg_id: send.topic,
                            queue_id: send.queue_id,
                            queue_offset: len as i64,
                            transaction_id: send.properties,
                            batch_uniq_id: None,
                            recall_handle: None,
                        };
                        writer.field("TRACE_ON", true).with(&answer).finish(len)
                    };
                    assert!(written.is_ok());
                }
            });
            assert_eq!(counted.count_total, 0, "{file}: {code}");
            served += 1;
        }
    }
    assert!(served > 10, "{served}");
}
