//! The properties of a message on its way in: what the broker looks at, and what it adds.
//!
//! ```text
//! the client's list --Seen::read--> tag, delay, transaction, ..
//! the client's list without the names we set + UNIQ_KEY if missing + stamp (MSG_REGION, TRACE_ON, CLUSTER) = stored
//! ```
//!
//! One walk over the list; a second one only when the list already has a name that the broker sets, as that of a
//! forwarded message has. The buffers are the caller's and stay warm.

use protocol::hash::tags_code_bytes;
use protocol::properties::{self, key};

/// What one walk finds out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub tags_code: i64,
    /// DELAY; None when it is no number.
    pub delay_level: Option<i32>,
    /// TRAN_MSG: the first half of a transaction.
    pub is_half: bool,
    /// WAIT: the sender wants to be told when the message has reached its level.
    pub waits: bool,
    /// Asks for an exact delivery time.
    pub is_timed: bool,
    /// Has a name that `stamp` sets or that is never stored.
    pub has_stamp: bool,
}

impl Seen {
    /// Reads a property list, and its UNIQ_KEY; of a name that comes twice the last one counts.
    pub fn read(list: &[u8]) -> (Seen, Option<&[u8]>) {
        let mut uniq_key = None;
        let mut seen = Seen { delay_level: Some(0), waits: true, ..Seen::default() };
        for (name, value) in properties::iter(list) {
            match name {
                b"TAGS" => seen.tags_code = tags_code_bytes(value),
                b"UNIQ_KEY" => uniq_key = Some(value),
                b"DELAY" => seen.delay_level = str::from_utf8(value).ok().and_then(|text| text.parse().ok()),
                b"WAIT" => seen.waits = value.eq_ignore_ascii_case(b"true"),
                b"TRAN_MSG" => seen.is_half = value.eq_ignore_ascii_case(b"true"),
                b"TIMER_DELAY_SEC" | b"TIMER_DELAY_MS" | b"TIMER_DELIVER_MS" => seen.is_timed = true,
                b"MSG_REGION" | b"TRACE_ON" | b"CLUSTER" | b"POP_CK" => seen.has_stamp = true,
                _ => {}
            }
        }
        (seen, uniq_key)
    }
}

/// The entries every message gets: built once, added as they are.
pub fn stamp(region: &str, trace_on: bool, cluster: &str) -> Vec<u8> {
    let mut stamp = Vec::new();
    properties::push(&mut stamp, key::MSG_REGION, region.as_bytes());
    properties::push(&mut stamp, key::TRACE_ON, if trace_on { b"true" } else { b"false" });
    properties::push(&mut stamp, key::CLUSTER, cluster.as_bytes());
    stamp
}

/// What `Seen::has_stamp` means.
pub const STAMP_NAMES: [&str; 4] = [key::MSG_REGION, key::TRACE_ON, key::CLUSTER, key::POP_CK];
