//! Over records that lie one after the other, where it is not certain that they do.
//!
//! ```text
//! at ─▶ | record | record | blank to the file's end | record | rec          ends: Short
//!       | record | something else                                           ends: Bad
//! ```

use protocol::record::{MAGIC_V1, MAGIC_V2, RecordError};

use crate::brief::{self, Brief, Unit as LogUnit};
use crate::offsets::PhysicalOffset;

/// What ended a walk before the bytes did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The next record has at least so many bytes.
    Short { need: usize },
    /// Nothing that lies there could be the next one.
    Bad,
}

/// Hands the records of `bytes`, which lie at `at` in the log, to `take`. Returns where the next one begins, which behind a blank may lie beyond
/// the bytes. The bodies' CRCs are not looked at.
pub(crate) fn records(
    bytes: &[u8],
    at: PhysicalOffset,
    file_bytes: u64,
    mut take: impl FnMut(&Brief<'_>),
) -> (PhysicalOffset, Option<Stop>) {
    let mut next = at;
    loop {
        let rest = bytes.get(next.since(at) as usize..).unwrap_or_default();
        if rest.is_empty() {
            return (next, None);
        }
        let left_in_file = file_bytes - next.0 as u64 % file_bytes;
        match brief::unit(rest, false) {
            Ok(LogUnit::Record(record)) if record.physical_offset == next.0 => {
                take(&record);
                next = next.plus(u64::from(record.size));
            }
            Ok(LogUnit::Blank { bytes_left }) if u64::from(bytes_left) == left_in_file => {
                next = next.plus(left_in_file);
            }
            Err(RecordError::Short { need }) => return (next, Some(Stop::Short { need })),
            _ => return (next, Some(Stop::Bad)),
        }
    }
}

/// Whether `bytes`, which lie at `at` in the log, look like the beginning of a record that was stored there. What follows is not looked at.
pub(crate) fn begins_record(bytes: &[u8], at: PhysicalOffset) -> bool {
    let Some(beginning) = bytes.first_chunk::<BEGINNING_BYTES>() else { return false };
    let is_magic = [MAGIC_V1, MAGIC_V2].iter().any(|magic| beginning[4..8] == magic.to_be_bytes());
    is_magic && beginning[28..] == at.0.to_be_bytes()
}

/// Up to its place in the log, which no other record has.
pub(crate) const BEGINNING_BYTES: usize = 36;
