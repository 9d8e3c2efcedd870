//! An index file, as bytes: header, slots, entries. RocketMQ's layout.
//!
//! ```text
//! | begin time i64 | end time i64 | begin place i64 | end place i64 | used slots i32 | count i32 |   40 bytes
//! | slot i32 | slot i32 | ..                          number of the newest entry of this slot, 0: none
//! | entry 0 (never used) | entry 1 | ..    entry: | hash i32 | place i64 | seconds since begin i32 | previous entry i32 |
//! ```
//!
//! `count` is the number of the next entry, so it begins at 1.

use crate::config::IndexShape;

/// Bytes of the header.
pub(crate) const HEADER_BYTES: u64 = 40;
const SLOT_BYTES: u64 = 4;
/// Bytes of an entry.
pub(crate) const ENTRY_BYTES: u64 = 20;

impl IndexShape {
    pub fn file_bytes(self) -> u64 {
        self.entry_at(self.entries)
    }

    pub(crate) fn slot_at(self, slot: u32) -> u64 {
        HEADER_BYTES + u64::from(slot) * SLOT_BYTES
    }

    pub(crate) fn entry_at(self, number: u32) -> u64 {
        self.slot_at(self.slots) + u64::from(number) * ENTRY_BYTES
    }

    /// The slot of a hash, which is never negative in a good file.
    pub(crate) fn slot_of(self, hash: i32) -> u32 {
        hash.unsigned_abs() % self.slots
    }
}

/// The first 40 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexHeader {
    pub begin_timestamp: i64,
    pub end_timestamp: i64,
    pub begin_physical: i64,
    pub end_physical: i64,
    pub used_slots: i32,
    /// Number of the next entry.
    pub count: i32,
}

impl IndexHeader {
    pub fn decode(bytes: &[u8; HEADER_BYTES as usize]) -> Self {
        let long = |nth: usize| bytes.as_chunks::<8>().0.get(nth).map_or(0, |word| i64::from_be_bytes(*word));
        let int = |nth: usize| bytes.as_chunks::<4>().0.get(nth).map_or(0, |word| i32::from_be_bytes(*word));
        Self {
            begin_timestamp: long(0),
            end_timestamp: long(1),
            begin_physical: long(2),
            end_physical: long(3),
            used_slots: int(8),
            count: int(9).max(1),
        }
    }

    pub fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut bytes = [0; HEADER_BYTES as usize];
        let longs = [self.begin_timestamp, self.end_timestamp, self.begin_physical, self.end_physical];
        for (place, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(longs) {
            *place = word.to_be_bytes();
        }
        let ints = [self.used_slots, self.count];
        for (place, word) in bytes.as_chunks_mut::<4>().0.iter_mut().skip(8).zip(ints) {
            *place = word.to_be_bytes();
        }
        bytes
    }

    /// Whether these numbers can belong to a file of this shape.
    pub(crate) fn fits(&self, shape: IndexShape) -> bool {
        let entries = i64::from(self.count) - 1;
        i64::from(self.count) <= i64::from(shape.entries)
            && i64::from(self.used_slots) <= entries.min(i64::from(shape.slots))
            && self.used_slots >= i32::from(entries > 0)
            && self.begin_physical >= 0
            && self.begin_physical <= self.end_physical
    }

    pub(crate) fn is_full(&self, shape: IndexShape) -> bool {
        i64::from(self.count) >= i64::from(shape.entries)
    }

    /// How many more fit into a file of this shape.
    pub(crate) fn entries_left(&self, shape: IndexShape) -> usize {
        (i64::from(shape.entries) - i64::from(self.count)).max(0) as usize
    }

    pub(crate) fn next_number(&self) -> u32 {
        self.count.max(1) as u32
    }

    /// Whether a message stored between these times may be in the file.
    pub(crate) fn overlaps(&self, begin: i64, end: i64) -> bool {
        begin <= self.end_timestamp && end >= self.begin_timestamp
    }

    /// The time of an entry as a query sees it: whole seconds after the file's first.
    pub(crate) fn time_of(&self, entry: &IndexEntry) -> i64 {
        self.begin_timestamp.saturating_add(i64::from(entry.seconds) * 1000)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub hash: i32,
    pub physical: i64,
    pub seconds: i32,
    pub previous: i32,
}

impl IndexEntry {
    pub fn decode(bytes: &[u8; ENTRY_BYTES as usize]) -> Self {
        let int = |nth: usize| bytes.as_chunks::<4>().0.get(nth).map_or(0, |word| i32::from_be_bytes(*word));
        Self {
            hash: int(0),
            physical: i64::from(int(1)) << 32 | i64::from(int(2) as u32),
            seconds: int(3),
            previous: int(4),
        }
    }

    /// Where it stays: bytes that are put together elsewhere and moved at once cost as much as the rest of an entry.
    #[inline]
    pub fn encode_into(&self, place: &mut [u8; ENTRY_BYTES as usize]) {
        let (hash, rest) = place.split_at_mut(4);
        let (physical, rest) = rest.split_at_mut(8);
        let (seconds, previous) = rest.split_at_mut(4);
        hash.copy_from_slice(&self.hash.to_be_bytes());
        physical.copy_from_slice(&self.physical.to_be_bytes());
        seconds.copy_from_slice(&self.seconds.to_be_bytes());
        previous.copy_from_slice(&self.previous.to_be_bytes());
    }
}

/// `20261120124038960`: the local time at which the file was made. Names sort as times.
pub(crate) fn name_of_time(ms: i64) -> String {
    let (days, ms) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
    let (year, month, day) = date_of(days);
    let (hour, minute) = (ms / 3_600_000, ms / 60_000 % 60);
    let (second, milli) = (ms / 1000 % 60, ms % 1000);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}{milli:03}")
}

/// The next name after an existing one; milliseconds that do not exist sort well enough.
pub(crate) fn name_after(name: &str) -> Option<String> {
    Some(format!("{:017}", name.parse::<u64>().ok()? + 1))
}

pub(crate) fn is_name(name: &str) -> bool {
    name.len() == NAME_LEN && name.bytes().all(|byte| byte.is_ascii_digit())
}

/// Year, month and day of a day since 1970 (Gregorian, by eras of 400 years that begin in March).
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

const DAY_MS: i64 = 86_400_000;
const NAME_LEN: usize = 17;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_local_times() {
        assert_eq!(name_of_time(1_795_178_438_960), "20261120124038960");
        assert_eq!(name_of_time(951_782_400_001), "20000229000000001");
        assert_eq!(name_of_time(0), "19700101000000000");
        assert_eq!(name_after("20261231235959999").as_deref(), Some("20261231235960000"));
    }
}
