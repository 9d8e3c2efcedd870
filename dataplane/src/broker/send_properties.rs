//! The properties of a message on its way in: what the broker looks at, and what it adds.
//!
//! ```text
//! the client's list --Seen::read--> tag, delay, transaction, ..
//! the client's list without the names we set + UNIQ_KEY if missing + stamp (MSG_REGION, TRACE_ON, CLUSTER) = stored
//! ```
//!
//! One walk over the list; a second one only when the list already has a name that the broker sets, as that of a
//! forwarded message has. The buffers are the caller's and stay warm.

use std::ops::Range;

use protocol::hash::tags_code_bytes;
use protocol::properties::{self, key, value};

/// What one walk finds out, kept for lists that are like this one.
#[derive(Debug)]
pub struct Known {
    seen: Seen,
    /// Where the UNIQ_KEY is.
    uniq_key: Option<Range<usize>>,
}

impl Known {
    pub fn of(list: &[u8]) -> Known {
        let (seen, uniq_key) = Seen::read(list);
        Known { seen, uniq_key: uniq_key.and_then(|value| properties::place_of(list, value)) }
    }

    /// As [`Seen::read`].
    #[inline]
    pub fn in_list<'l>(&self, list: &'l [u8]) -> (Seen, Option<&'l [u8]>) {
        (self.seen, self.uniq_key.clone().and_then(|place| list.get(place)))
    }
}

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
        for part in properties::parts(list) {
            // The first letter decides: most names are none of ours, and are not looked at any further.
            match part.first() {
                Some(b'T') => seen.read_t(part),
                Some(b'U') => uniq_key = value(part, b"UNIQ_KEY").or(uniq_key),
                Some(b'W') => {
                    if let Some(value) = value(part, b"WAIT") {
                        seen.waits = value.eq_ignore_ascii_case(b"true");
                    }
                }
                Some(b'D') => {
                    if let Some(value) = value(part, b"DELAY") {
                        seen.delay_level = str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    }
                }
                Some(b'M') => seen.has_stamp |= value(part, b"MSG_REGION").is_some(),
                Some(b'C') => seen.has_stamp |= value(part, b"CLUSTER").is_some(),
                Some(b'P') => seen.has_stamp |= value(part, b"POP_CK").is_some(),
                _ => {}
            }
        }
        (seen, uniq_key)
    }

    /// A part that begins with T, as the names of many have.
    #[inline]
    fn read_t(&mut self, part: &[u8]) {
        if let Some(value) = value(part, b"TAGS") {
            self.tags_code = tags_code_bytes(value);
        } else if let Some(value) = value(part, b"TRAN_MSG") {
            self.is_half = value.eq_ignore_ascii_case(b"true");
        } else if value(part, b"TRACE_ON").is_some() {
            self.has_stamp = true;
        } else {
            let timed = ["TIMER_DELAY_SEC", "TIMER_DELAY_MS", "TIMER_DELIVER_MS"];
            self.is_timed |= timed.iter().any(|name| value(part, name.as_bytes()).is_some());
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The same, entry by entry.
    fn plain(list: &[u8]) -> (Seen, Option<&[u8]>) {
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

    /// Goal: the switch over first letters sees what comparing all names sees. Method: random lists of the names that mean
    /// something and their neighbours, separators missing, doubled and in the wrong place.
    #[test]
    fn the_quick_walk_sees_what_the_plain_one_does() {
        const PIECES: [&str; 34] = [
            "TAGS",
            "UNIQ_KEY",
            "DELAY",
            "WAIT",
            "TRAN_MSG",
            "TIMER_DELAY_SEC",
            "TIMER_DELAY_MS",
            "TIMER_DELIVER_MS",
            "MSG_REGION",
            "TRACE_ON",
            "CLUSTER",
            "POP_CK",
            "KEYS",
            "TAG",
            "TAGSX",
            "T",
            "",
            "POP_CK_OFFSET",
            "true",
            "TRUE",
            "false",
            "3",
            "-1",
            "x",
            "a rather long value that crosses the border of a block of sixty-four bytes",
            "\u{1}",
            "\u{1}",
            "\u{1}",
            "\u{2}",
            "\u{2}",
            "\u{1}true\u{2}",
            "\u{1}A\u{2}",
            "\u{1}4\u{2}",
            "\0",
        ];
        let mut seed = 3_u64;
        for round in 0..40_000 {
            let list: String = (0..round % 24)
                .map(|_| {
                    seed =
                        seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    PIECES[(seed >> 40) as usize % PIECES.len()]
                })
                .collect();
            assert_eq!(Seen::read(list.as_bytes()), plain(list.as_bytes()), "{list:?}");
        }
    }
}
