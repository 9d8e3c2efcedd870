//! The answer to a stored message: at once, or when the gate lets it pass.
//!
//! ```text
//! msgId = hex of | our address | port | physical offset |, of a batch one per record, joined by commas
//! ```

use protocol::code::response;
use protocol::header::Text;
use store::PhysicalOffset;

use crate::broker::Broker;
use crate::broker::request::ReplyTo;
use crate::broker::send::with_region;
use crate::config::FlushDiskType;
use crate::outbox::{Body, Outbox};
use crate::time::TurnTime;

/// What an answer says, whether its code is 0 or one of "stored, but".
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    pub queue_id: i32,
    pub queue_offset: i64,
    /// Where the records lie: one, or those of a batch.
    pub places: &'a [PhysicalOffset],
    /// The UNIQ_KEY.
    pub transaction_id: Option<&'a [u8]>,
}

impl Broker {
    /// Answers a send, or leaves the answer with the gate until the disk has the message.
    pub(super) fn answer_sent(
        &mut self,
        to: ReplyTo,
        sent: &Sent<'_>,
        end: PhysicalOffset,
        waits: bool,
        now: &TurnTime,
        out: &mut Outbox,
    ) {
        if to.oneway {
            return;
        }
        if self.config.flush_disk_type == FlushDiskType::SyncFlush && waits && end > self.store.synced_to() {
            let deadline_ms = now.mono_ms() + self.config.sync_flush_timeout;
            self.gate.wait(to, sent, end, deadline_ms);
            self.counters.gated += 1;
            return;
        }
        self.reply_sent(to, response::SUCCESS, sent, out);
    }

    pub(super) fn reply_sent(&mut self, to: ReplyTo, code: i32, sent: &Sent<'_>, out: &mut Outbox) {
        let (region, trace_on) = (&*self.config.region_id, self.config.trace_on);
        self.msg_ids.set(sent.places);
        let msg_id = Text::new(self.msg_ids.as_bytes());
        out.reply(
            to,
            code,
            |w| {
                let w = w
                    .field("msgId", msg_id)
                    .field("queueId", sent.queue_id)
                    .field("queueOffset", sent.queue_offset);
                let w = match sent.transaction_id {
                    Some(id) => w.field("transactionId", Text::new(id)),
                    None => w,
                };
                with_region(w, region, trace_on)
            },
            Body::None,
        );
    }
}

/// The text of message ids. The half that never changes is written once.
#[derive(Debug)]
pub struct MsgIds {
    /// Address and port, as hex.
    prefix: Vec<u8>,
    text: Vec<u8>,
}

impl MsgIds {
    pub fn new(store_host: std::net::SocketAddr) -> MsgIds {
        let id = protocol::ids::offset_id(store_host, 0);
        let (prefix, _offset) = id.as_str().as_bytes().split_at(id.as_str().len() - OFFSET_DIGITS);
        MsgIds { prefix: prefix.to_vec(), text: Vec::with_capacity(id.as_str().len()) }
    }

    pub fn set(&mut self, places: &[PhysicalOffset]) {
        self.text.clear();
        for (at, place) in places.iter().enumerate() {
            if at > 0 {
                self.text.push(b',');
            }
            self.text.extend_from_slice(&self.prefix);
            self.text.extend_from_slice(&hex(place.0));
        }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }
}

/// Sixteen upper-case digits.
fn hex(number: i64) -> [u8; OFFSET_DIGITS] {
    let mut digits = [0; OFFSET_DIGITS];
    for (at, digit) in digits.iter_mut().enumerate() {
        let nibble = (number >> (60 - 4 * at)) as u8 & 15;
        *digit = if nibble < 10 { b'0' + nibble } else { b'A' - 10 + nibble };
    }
    digits
}

const OFFSET_DIGITS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the quick ids are those of `protocol::ids`. Method: both address families, one place and several.
    #[test]
    fn ids_are_the_official_ones() {
        for host in ["192.168.1.2:10911", "[2001:db8::7]:10911"] {
            let host = host.parse().unwrap();
            let places = [0, 123_456_789, i64::MAX].map(PhysicalOffset);
            let mut ids = MsgIds::new(host);
            ids.set(&places);
            let expected: Vec<_> = places
                .iter()
                .map(|place| protocol::ids::offset_id(host, place.0).as_str().to_string())
                .collect();
            assert_eq!(ids.as_bytes(), expected.join(",").as_bytes());
            ids.set(&places[1..2]);
            assert_eq!(ids.as_bytes(), expected[1].as_bytes());
        }
    }
}
