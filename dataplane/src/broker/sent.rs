//! The answer to a stored message: at once, or when the gate lets it pass.
//!
//! ```text
//! msgId = hex of | our address | port | physical offset |, of a batch one per record, joined by commas
//! ```

use protocol::code::response;
use protocol::header::{EncodedFields, Stored, Text};
use protocol::headers::FieldSink;
use store::PhysicalOffset;

use crate::answer::ReplyTo;
use crate::broker::Broker;
use crate::config::{Config, FlushDiskType};
use crate::outbox::Outbox;
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
        self.msg_ids.set(sent.places);
        let stored = Stored {
            code,
            opaque: to.opaque,
            msg_id: self.msg_ids.as_bytes(),
            queue_id: sent.queue_id,
            queue_offset: sent.queue_offset,
            transaction_id: sent.transaction_id,
        };
        out.reply_as(to, |buffer| stored.write(buffer, to.codec, &self.region));
    }
}

/// The fields that every answer to a send carries, refusals too.
pub(super) fn region_fields(config: &Config) -> EncodedFields {
    EncodedFields::new(|w| {
        w.text("MSG_REGION", Text::new(config.region_id.as_bytes()));
        w.boolean("TRACE_ON", config.trace_on);
    })
}

/// The text of message ids: as many as there ever were in one answer, of which only the digits of the offsets change.
#[derive(Debug)]
pub struct MsgIds {
    /// Address and port, as hex, the place of the offset, and the comma to the next.
    pattern: Vec<u8>,
    text: Vec<u8>,
    len: usize,
}

impl MsgIds {
    pub fn new(store_host: std::net::SocketAddr) -> MsgIds {
        let id = protocol::ids::offset_id(store_host, 0);
        let pattern = [id.as_str().as_bytes(), b","].concat();
        MsgIds { text: pattern.clone(), pattern, len: 0 }
    }

    pub fn set(&mut self, places: &[PhysicalOffset]) {
        let id_bytes = self.pattern.len();
        while self.text.len() < places.len() * id_bytes {
            self.text.extend_from_slice(&self.pattern);
        }
        let mut digits_at = id_bytes - 1 - OFFSET_DIGITS;
        for place in places {
            if let Some(digits) = self.text.get_mut(digits_at..).and_then(|text| text.first_chunk_mut()) {
                *digits = hex(place.0);
            }
            digits_at += id_bytes;
        }
        self.len = (places.len() * id_bytes).saturating_sub(1);
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.len]
    }
}

/// Sixteen upper-case digits.
fn hex(number: i64) -> [u8; OFFSET_DIGITS] {
    // A nibble to a byte each, by halves: what comes first in the text lies highest.
    let number = u128::from(number as u64);
    let number = (number | number << 32) & 0x0000_0000_FFFF_FFFF_0000_0000_FFFF_FFFF;
    let number = (number | number << 16) & 0x0000_FFFF_0000_FFFF_0000_FFFF_0000_FFFF;
    let number = (number | number << 8) & 0x00FF_00FF_00FF_00FF_00FF_00FF_00FF_00FF;
    let nibbles = (number | number << 4) & (0x0F * EACH);
    // Six more carry ten and above into the high half.
    let letters = ((nibbles + 6 * EACH) >> 4) & EACH;
    (nibbles + u128::from(b'0') * EACH + letters * u128::from(b'A' - b'0' - 10)).to_be_bytes()
}

/// One in each byte.
const EACH: u128 = u128::from_ne_bytes([1; OFFSET_DIGITS]);

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
            ids.set(&[]);
            assert_eq!(ids.as_bytes(), b"");
            ids.set(&places[1..]);
            assert_eq!(ids.as_bytes(), expected[1..].join(",").as_bytes());
        }
    }
}
