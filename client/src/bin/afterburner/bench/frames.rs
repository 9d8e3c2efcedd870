//! Requests made once and sent many times, and replies looked at no closer than needed.
//!
//! ```text
//! | total u32 | codec + header_len u32 | .. opaque .. | body |     a template: only the opaque differs from send to send
//! ```
//!
//! Opaques begin high, so that in JSON each has the same number of digits, and none is anybody else's.

use protocol::batch::{self, BatchMessage};
use protocol::code::request;
use protocol::frame::{Codec, Frame, PREFIX_BYTES};
use protocol::headers::{
    PULL_SUBSCRIPTION, PullMessageRequestHeader, SendMessageRequestHeader, SendMessageRequestHeaderV2,
};
use protocol::properties;
use protocol::{RemotingCommand, Text};
use std::time::{SystemTime, UNIX_EPOCH};

/// A whole request frame whose opaque can be set in place.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    opaque: Opaque,
}

#[derive(Clone, Copy, Debug)]
enum Opaque {
    /// Four bytes at this place.
    Binary(usize),
    /// `OPAQUE_DIGITS` decimal digits at this place.
    Json(usize),
}

impl Template {
    pub fn new(command: &RemotingCommand, codec: Codec) -> Template {
        let bytes = RemotingCommand { opaque: OPAQUE_BASE as i32, ..command.clone() }.encode(codec);
        let opaque = match codec {
            Codec::Binary => Opaque::Binary(PREFIX_BYTES + BINARY_OPAQUE_AT),
            Codec::Json => {
                let name = b"\"opaque\":";
                let at = bytes.windows(name.len()).position(|window| window == name);
                Opaque::Json(at.expect("every header says its opaque") + name.len())
            }
        };
        Template { bytes, opaque }
    }

    /// Appends the frame with this opaque, which is below `OPAQUES_MAX`.
    pub fn push_to(&self, out: &mut Vec<u8>, opaque: u32) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let wire = OPAQUE_BASE + opaque;
        match self.opaque {
            Opaque::Binary(at) => out[start + at..start + at + 4].copy_from_slice(&wire.to_be_bytes()),
            Opaque::Json(at) => {
                let mut rest = wire;
                for digit in out[start + at..start + at + OPAQUE_DIGITS].iter_mut().rev() {
                    *digit = b'0' + (rest % 10) as u8;
                    rest /= 10;
                }
            }
        }
    }
}

/// What a reply says, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    pub code: i32,
    pub opaque: u32,
}

/// `None`: not a reply, or not to one of ours.
pub fn glance(frame: &Frame<'_>) -> Option<Glance> {
    let (code, flag, opaque) = match frame.codec {
        // | code i16 | language u8 | version i16 | opaque i32 | flag i32 | ..
        Codec::Binary => {
            let (head, _) = frame.header.split_first_chunk::<13>()?;
            let [c0, c1, _, _, _, o0, o1, o2, o3, f0, f1, f2, f3] = *head;
            let code = i32::from(i16::from_be_bytes([c0, c1]));
            (code, i32::from_be_bytes([f0, f1, f2, f3]), i32::from_be_bytes([o0, o1, o2, o3]))
        }
        Codec::Json => {
            let header = frame.header().ok()?;
            (header.code, header.flag, header.opaque)
        }
    };
    let opaque = u32::try_from(opaque).ok()?.checked_sub(OPAQUE_BASE)?;
    (flag & 1 == 1 && opaque < OPAQUES_MAX).then_some(Glance { code, opaque })
}

/// The opaque of a request of ours, and the form it came in.
pub fn request_opaque(frame: &Frame<'_>) -> Option<(Codec, u32)> {
    let opaque = match frame.codec {
        Codec::Binary => {
            let (_, rest) = frame.header.split_at_checked(BINARY_OPAQUE_AT)?;
            i32::from_be_bytes(*rest.first_chunk()?)
        }
        Codec::Json => frame.header().ok()?.opaque,
    };
    let opaque = u32::try_from(opaque).ok()?.checked_sub(OPAQUE_BASE)?;
    Some((frame.codec, opaque))
}

/// SEND_MESSAGE_V2 of `size` bytes, or SEND_BATCH_MESSAGE of `batch` such messages, as a producer would write it.
pub fn send_request(topic: &str, queue_id: i32, size: usize, batch: usize) -> RemotingCommand {
    let body = vec![b'x'; size];
    let mut properties = Vec::new();
    properties::push(&mut properties, properties::key::UNIQ_KEY, b"7F000001000100000000000000000001");
    properties::push(&mut properties, properties::key::WAIT, b"true");
    let header = SendMessageRequestHeader {
        producer_group: Text::new(GROUP.as_bytes()),
        topic: Text::new(topic.as_bytes()),
        default_topic: Text::new(b"TBW102"),
        default_topic_queue_nums: 4,
        queue_id,
        sys_flag: 0,
        born_timestamp: wall_ms(),
        flag: 0,
        properties: Some(Text::new(&properties)),
        reconsume_times: Some(0),
        unit_mode: false,
        max_reconsume_times: None,
        batch: batch > 1,
        broker_name: None,
    };
    if batch == 1 {
        let command = RemotingCommand::request(request::SEND_MESSAGE_V2);
        return command.with(&SendMessageRequestHeaderV2(header)).body(body);
    }
    let mut all = Vec::new();
    for _ in 0..batch {
        batch::push(&mut all, &BatchMessage { flag: 0, body: &body, properties: &properties });
    }
    RemotingCommand::request(request::SEND_BATCH_MESSAGE).with(&SendMessageRequestHeaderV2(header)).body(all)
}

/// PULL_MESSAGE of up to `count` messages, which is answered at once.
pub fn pull_request(topic: &str, queue_id: i32, offset: i64, count: i32) -> RemotingCommand {
    let header = PullMessageRequestHeader {
        consumer_group: Text::new(GROUP.as_bytes()),
        topic: Text::new(topic.as_bytes()),
        queue_id,
        queue_offset: offset,
        max_msg_nums: count,
        sys_flag: PULL_SUBSCRIPTION,
        subscription: Some(Text::new(b"*")),
        expression_type: Some(Text::new(b"TAG")),
        ..PullMessageRequestHeader::default()
    };
    RemotingCommand::request(request::PULL_MESSAGE).with(&header)
}

fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}

pub const GROUP: &str = "afterburner-bench";
pub const OPAQUES_MAX: u32 = 0x0100_0000;
const OPAQUE_BASE: u32 = 0x4000_0000;
/// Of any opaque from OPAQUE_BASE on, below it + OPAQUES_MAX.
const OPAQUE_DIGITS: usize = 10;
const BINARY_OPAQUE_AT: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::frame::{Found, find};

    /// Goal: a patched frame is what encoding afresh would give, and its opaque is read back.
    #[test]
    fn a_template_takes_any_opaque() {
        let command = send_request("BenchTopic", 3, 40, 1);
        for codec in [Codec::Json, Codec::Binary] {
            let template = Template::new(&command, codec);
            for opaque in [0, 1, 77_777, OPAQUES_MAX - 1] {
                let mut out = b"before".to_vec();
                template.push_to(&mut out, opaque);
                let fresh = RemotingCommand { opaque: (OPAQUE_BASE + opaque) as i32, ..command.clone() };
                assert_eq!(out[6..], fresh.encode(codec));
                let reply = RemotingCommand::response(17, fresh.opaque).encode(codec);
                let Ok(Found::Whole { frame, .. }) = find(&reply) else { panic!("whole") };
                assert_eq!(glance(&frame), Some(Glance { code: 17, opaque }));
                let Ok(Found::Whole { frame, .. }) = find(&out[6..]) else { panic!("whole") };
                assert_eq!(glance(&frame), None, "a request is no reply");
            }
        }
    }

    /// Goal: a batch holds as many messages as it should.
    #[test]
    fn a_batch_is_whole() {
        let command = send_request("BenchTopic", 3, 128, 32);
        assert_eq!(command.code, request::SEND_BATCH_MESSAGE);
        assert_eq!(batch::iter(&command.body).filter(Result::is_ok).count(), 32);
    }
}
