//! The property list of a message: `name 0x01 value 0x02 name 0x01 value 0x02 ..`, as bytes.
//!
//! Reading never fails: a part that is no entry is passed over, as the official code does. Where a name occurs twice
//! the last one counts. Writing goes to a `Vec` that the caller keeps, so that a warm one allocates nothing.

use std::ops::Range;

use crate::hash;
use crate::scan::{self, Places};

/// Between a name and its value.
pub const NAME_SEPARATOR: u8 = 1;
/// After each entry; the last one may be missing.
pub const ENTRY_SEPARATOR: u8 = 2;
/// Largest property list a stored message may have.
pub const PROPERTIES_BYTES_MAX: usize = i16::MAX as usize;

/// Names with a meaning to broker or client.
pub mod key {
    pub const KEYS: &str = "KEYS";
    pub const TAGS: &str = "TAGS";
    pub const UNIQ_KEY: &str = "UNIQ_KEY";
    pub const WAIT: &str = "WAIT";
    pub const DELAY: &str = "DELAY";
    pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
    pub const REAL_TOPIC: &str = "REAL_TOPIC";
    pub const REAL_QID: &str = "REAL_QID";
    pub const TRAN_MSG: &str = "TRAN_MSG";
    pub const PGROUP: &str = "PGROUP";
    pub const MIN_OFFSET: &str = "MIN_OFFSET";
    pub const MAX_OFFSET: &str = "MAX_OFFSET";
    pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
    pub const RECONSUME_TIME: &str = "RECONSUME_TIME";
    pub const MAX_RECONSUME_TIMES: &str = "MAX_RECONSUME_TIMES";
    pub const MSG_REGION: &str = "MSG_REGION";
    pub const TRACE_ON: &str = "TRACE_ON";
    pub const CLUSTER: &str = "CLUSTER";
    pub const CONSUME_START_TIME: &str = "CONSUME_START_TIME";
    pub const TRANSACTION_CHECK_TIMES: &str = "TRANSACTION_CHECK_TIMES";
    pub const TRAN_PREPARED_QUEUE_OFFSET: &str = "TRAN_PREPARED_QUEUE_OFFSET";
    pub const CHECK_IMMUNITY_TIME_IN_SECONDS: &str = "CHECK_IMMUNITY_TIME_IN_SECONDS";
    pub const TRANSACTION_ID: &str = "__transactionId__";
    pub const INSTANCE_ID: &str = "INSTANCE_ID";
    pub const CORRELATION_ID: &str = "CORRELATION_ID";
    pub const REPLY_TO_CLIENT: &str = "REPLY_TO_CLIENT";
    pub const TTL: &str = "TTL";
    pub const MSG_TYPE: &str = "MSG_TYPE";
    pub const ARRIVE_TIME: &str = "ARRIVE_TIME";
    pub const PUSH_REPLY_TIME: &str = "PUSH_REPLY_TIME";
    pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
    pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
    pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
    pub const TIMER_OUT_MS: &str = "TIMER_OUT_MS";
    pub const TIMER_ENQUEUE_MS: &str = "TIMER_ENQUEUE_MS";
    pub const TIMER_DEQUEUE_MS: &str = "TIMER_DEQUEUE_MS";
    pub const TIMER_ROLL_TIMES: &str = "TIMER_ROLL_TIMES";
    pub const TIMER_DEL_UNIQKEY: &str = "TIMER_DEL_UNIQKEY";
    pub const TIMER_DELAY_LEVEL: &str = "TIMER_DELAY_LEVEL";
    pub const POP_CK: &str = "POP_CK";
    pub const POP_CK_OFFSET: &str = "POP_CK_OFFSET";
    pub const FIRST_POP_TIME: &str = "1ST_POP_TIME";
    pub const ORIGIN_GROUP: &str = "ORIGIN_GROUP";
    pub const INNER_NUM: &str = "INNER_NUM";
    pub const INNER_BASE: &str = "INNER_BASE";
    pub const INNER_MULTI_DISPATCH: &str = "INNER_MULTI_DISPATCH";
    pub const INNER_MULTI_QUEUE_OFFSET: &str = "INNER_MULTI_QUEUE_OFFSET";
    pub const DLQ_ORIGIN_TOPIC: &str = "DLQ_ORIGIN_TOPIC";
    pub const DLQ_ORIGIN_MESSAGE_ID: &str = "DLQ_ORIGIN_MESSAGE_ID";
    pub const SHARDING_KEY: &str = "__SHARDINGKEY";
    pub const TRACE_CONTEXT: &str = "TRACE_CONTEXT";
    pub const BUYER_ID: &str = "BUYER_ID";
    pub const TRANSFER_FLAG: &str = "TRANSFER_FLAG";
    pub const CORRECTION_FLAG: &str = "CORRECTION_FLAG";
    pub const MQ2_FLAG: &str = "MQ2_FLAG";
    pub const DUP_INFO: &str = "DUP_INFO";
    pub const EXTEND_UNIQ_INFO: &str = "EXTEND_UNIQ_INFO";
    pub const REDIRECT: &str = "REDIRECT";
    pub const FORWARD_QUEUE_ID: &str = "PROPERTY_FORWARD_QUEUE_ID";
    pub const BORN_HOST: &str = "__BORNHOST";
    pub const BORN_TIMESTAMP: &str = "BORN_TIMESTAMP";
    pub const CRC32: &str = "__CRC32#";
    /// Every name that begins so is reserved.
    pub const TRANSIENT_PREFIX: &str = "__RMQ.TRANSIENT.";
}

/// The entries in the order in which they lie.
pub fn iter(properties: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    parts(properties).filter_map(|part| {
        let (name, value) = part.split_at_checked(scan::find(part, NAME_SEPARATOR)?)?;
        match (name, value) {
            ([_, ..], [_, value @ ..]) if !value.is_empty() => Some((name, value)),
            _ => None,
        }
    })
}

/// What lies between the separators of entries, most of it entries, for [`value`].
#[inline]
pub fn parts(properties: &[u8]) -> Parts<'_> {
    Parts { bytes: properties, from: 0, ends: Places::new(properties, ENTRY_SEPARATOR) }
}

/// The value of a part that is an entry of this name. Quicker than [`iter`] for who looks for a few names: those of all other
/// entries need not be found. No separator may be in the name.
#[inline]
pub fn value<'a>(part: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    match part.split_at_checked(name.len()) {
        Some(([_, ..], [NAME_SEPARATOR, value @ ..])) if part.starts_with(name) && !value.is_empty() => {
            Some(value)
        }
        _ => None,
    }
}

/// The value of `name`; the last one when it occurs more than once.
pub fn get<'a>(properties: &'a [u8], name: &str) -> Option<&'a [u8]> {
    last(properties, name)
}

/// The same for a name that is known where it is compiled. Looks at where its first letter is, which is in fewer places than the
/// separators are.
#[inline(always)]
fn last<'a>(properties: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let letter = *name.as_bytes().first()?;
    let mut letters = Places::new(properties, letter);
    let mut last = None;
    while let Some(at) = letters.next(properties) {
        let (before, part) = properties.split_at_checked(at)?;
        let begins = before.last().is_none_or(|before| *before == ENTRY_SEPARATOR);
        let Some((found, [NAME_SEPARATOR, value @ ..])) = part.split_at_checked(name.len()) else { continue };
        if begins && found == name.as_bytes() && !matches!(value, [] | [ENTRY_SEPARATOR, ..]) {
            last = Some(value);
        }
    }
    let value = last?;
    value.get(..scan::find(value, ENTRY_SEPARATOR).unwrap_or(value.len()))
}

/// As [`get`], when the value is UTF-8.
pub fn get_str<'a>(properties: &'a [u8], name: &str) -> Option<&'a str> {
    get(properties, name).and_then(|value| str::from_utf8(value).ok())
}

/// Where in `all` a part of it lies, as a value that was found there. What is empty lies at the front.
pub fn place_of(all: &[u8], part: &[u8]) -> Option<Range<usize>> {
    if part.is_empty() {
        return Some(0..0);
    }
    let at = part.as_ptr().addr().checked_sub(all.as_ptr().addr())?;
    (at + part.len() <= all.len()).then_some(at..at + part.len())
}

/// The tag code of a message with these properties: 0 without a tag.
pub fn tags_code(properties: &[u8]) -> i64 {
    last(properties, key::TAGS).map_or(0, hash::tags_code_bytes)
}

/// Adds one entry. Name and value must not hold a separator; an empty value would not be read back.
pub fn push(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.push(NAME_SEPARATOR);
    out.extend_from_slice(value);
    out.push(ENTRY_SEPARATOR);
}

/// Adds a property list as it is, and the separator after its last entry if that is missing.
pub fn extend(out: &mut Vec<u8>, properties: &[u8]) {
    out.extend_from_slice(properties);
    if properties.last().is_some_and(|last| *last != ENTRY_SEPARATOR) {
        out.push(ENTRY_SEPARATOR);
    }
}

/// Adds the entries of a property list except those with one of `names`.
pub fn extend_without(out: &mut Vec<u8>, properties: &[u8], names: &[&str]) {
    for (name, value) in iter(properties) {
        if names.iter().all(|skipped| skipped.as_bytes() != name) {
            out.extend_from_slice(name);
            out.push(NAME_SEPARATOR);
            out.extend_from_slice(value);
            out.push(ENTRY_SEPARATOR);
        }
    }
}

/// Iterator of [`parts`].
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    bytes: &'a [u8],
    /// Where the next part begins; past the end when there is none.
    from: usize,
    ends: Places,
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let from = self.from;
        let end = self.ends.next(self.bytes).unwrap_or(self.bytes.len());
        self.from = end + 1;
        self.bytes.get(from..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: entries are found block by block as they are by splitting, and by name as among all of them. Method: random
    /// lists of few kinds of bytes, of every length around the block's, against the plain way.
    #[test]
    fn entries_are_those_of_a_plain_split() {
        let plain = |bytes: &[u8]| -> Vec<(Vec<u8>, Vec<u8>)> {
            let entry = |part: &[u8]| {
                let at = part.iter().position(|byte| *byte == NAME_SEPARATOR)?;
                let (name, value) = (part[..at].to_vec(), part[at + 1..].to_vec());
                (!name.is_empty() && !value.is_empty()).then_some((name, value))
            };
            bytes.split(|byte| *byte == ENTRY_SEPARATOR).filter_map(entry).collect()
        };
        let mut seed = 1_u64;
        for round in 0..40_000 {
            let bytes: Vec<u8> = (0..round % 150)
                .map(|_| {
                    seed =
                        seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    [1, 2, 0, b'a', 0xff, b'K', b'=', b'z'][(seed >> 40) as usize % 8]
                })
                .collect();
            let found: Vec<_> = iter(&bytes).map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            assert_eq!(found, plain(&bytes), "{bytes:?}");
            for name in ["K", "a", "az", "=", "z=a"] {
                let last = found.iter().rfind(|entry| entry.0 == name.as_bytes()).map(|entry| &*entry.1);
                assert_eq!(get(&bytes, name), last, "{name} in {bytes:?}");
            }
        }
    }
}
