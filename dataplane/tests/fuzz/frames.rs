//! Target: the readers of what is inside the stream: frames, headers, their fields, batches, properties and records.

use protocol::frame::{self, Found};
use protocol::record::{self, RecordView};
use protocol::{RemotingCommand, batch, properties};

pub fn run(input: &[u8]) -> u64 {
    let mut rest = input;
    let mut led_to = 0u64;
    let mut note = |what: u64| led_to = (led_to ^ what).wrapping_mul(0x0100_0000_01b3).rotate_left(7);
    loop {
        match frame::find(rest) {
            Ok(Found::Whole { frame, bytes_len }) => {
                assert!(bytes_len <= rest.len());
                assert!(bytes_len >= frame.header.len() + frame.body.len());
                note(frame.header().map_or(1, |header| 2 + (header.code as u64 & 0xfff)));
                if let Ok(command) = RemotingCommand::from_frame(&frame) {
                    note(command.ext_fields.len() as u64);
                    for (name, value) in &command.ext_fields {
                        assert!(command.ext(name).is_some(), "{name} {value}");
                    }
                }
                note(body(frame.body));
                rest = &rest[bytes_len..];
            }
            Ok(Found::Need { bytes_len }) => {
                assert!(bytes_len > rest.len(), "what is asked for is not there yet");
                note(3);
                break;
            }
            Err(_) => {
                note(4);
                break;
            }
        }
    }
    note(body(input));
    led_to
}

fn body(bytes: &[u8]) -> u64 {
    let messages = batch::iter(bytes).take_while(Result::is_ok).count();
    let entries = properties::iter(bytes).count();
    let mut records = 0;
    let mut rest = bytes;
    while let Ok(view) = RecordView::parse(rest) {
        let size = view.size() as usize;
        assert!(size > 0 && size <= rest.len());
        let _looked = (view.crc_holds(), view.topic_str(), view.is_queued());
        rest = &rest[size..];
        records += 1;
    }
    let unit = u64::from(record::unit(bytes).is_ok());
    unit | (messages.min(15) << 1 | entries.min(15) << 5 | records << 9) as u64
}
