//! Reads a queue for a pull: from an offset, as far as the limits go, entry by entry.
//!
//! ```text
//! units:  | tag A | tag B | tag A | ..       filter: A
//!           range           range            found: two ranges, next = after the last unit looked at
//! ```
//!
//! The decisions of DefaultMessageStore.getMessage, over the hot log only. A queue whose next entry or record has left the hot log is the
//! cold thread's: the answer is then `None` and nothing has been read. Neighbours in the log become one range.

use std::ops::Range;

use store::{LogRange, QueueIndex, QueueOffset, Store, UnitAt};

use crate::broker::filter::TagFilter;
use crate::limits::PULL_UNITS_MIN;

/// How a read ended; `name` is the remark of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStatus {
    Found,
    NoMatchedMessage,
    MessageWasRemoving,
    OffsetFoundNull,
    OffsetOverflowBadly,
    OffsetOverflowOne,
    OffsetTooSmall,
    NoMessageInQueue,
    OffsetReset,
}

/// What a message must have survived before consumers may see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// ASYNC_FLUSH: kill -9.
    Memory,
    /// SYNC_FLUSH: a power cut.
    Disk,
}

/// What a pull may have at most.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    pub records_max: i32,
    pub bytes_max: i32,
    /// maxTransferCountOnMessageInMemory and maxTransferBytesOnMessageInMemory; those for the disk in a cold read.
    pub kind_records_max: u32,
    pub kind_bytes_max: u32,
}

/// What was read; the records themselves are in the caller's list of ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    pub status: ReadStatus,
    pub next_offset: i64,
    pub min_offset: i64,
    pub max_offset: i64,
    pub records: u32,
    pub bytes: u64,
}

impl ReadStatus {
    pub fn name(self) -> &'static str {
        match self {
            ReadStatus::Found => "FOUND",
            ReadStatus::NoMatchedMessage => "NO_MATCHED_MESSAGE",
            ReadStatus::MessageWasRemoving => "MESSAGE_WAS_REMOVING",
            ReadStatus::OffsetFoundNull => "OFFSET_FOUND_NULL",
            ReadStatus::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
            ReadStatus::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
            ReadStatus::OffsetTooSmall => "OFFSET_TOO_SMALL",
            ReadStatus::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
            ReadStatus::OffsetReset => "OFFSET_RESET",
        }
    }
}

/// The offsets of a queue that consumers may see: those of messages that have reached the level the broker promises.
pub fn visible_offsets(store: &Store, queue: QueueIndex, level: Level) -> Range<i64> {
    let Range { start, end } = store.offsets(queue);
    let (min, max) = (start.0, end.0);
    if level == Level::Memory {
        return min..max;
    }
    let synced_to = store.synced_to();
    let is_synced = |offset| match store.unit(queue, QueueOffset(offset)) {
        UnitAt::Hot(unit) => unit.end() <= synced_to,
        // Written before everything that is still hot, and no longer needed here for replay.
        UnitAt::NotHot | UnitAt::None => true,
    };
    if max == min || is_synced(max - 1) {
        return min..max;
    }
    let (mut low, mut high) = (store.first_hot(queue).0.max(min), max - 1);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_synced(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    min..low
}

/// Fills `ranges` with what a pull from `offset` gets; `None` when the cold thread must read it.
pub fn read(
    store: &Store,
    queue: QueueIndex,
    offset: i64,
    visible: &Range<i64>,
    limits: &ReadLimits,
    filter: &TagFilter,
    ranges: &mut Vec<LogRange>,
) -> Option<Read> {
    ranges.clear();
    if let Some((status, next_offset)) = outside(offset, visible) {
        return Some(Read::without_records(status, next_offset, visible));
    }
    let units_max = PULL_UNITS_MIN.max(limits.records_max.max(0) as usize) as i64;
    let end = visible.end.min(offset.saturating_add(units_max));
    let hot_start = store.hot_start();
    let mut found = Read::without_records(ReadStatus::Found, offset, visible);
    'queue: while found.next_offset < end {
        let run = store.units(queue, QueueOffset(found.next_offset));
        if run.is_empty() {
            break;
        }
        for unit in run.iter().take((end - found.next_offset) as usize) {
            if filter.matches(unit.tags_code) {
                if unit.physical < hot_start || limits.are_reached(&found, unit.size) {
                    break 'queue;
                }
                found.records += 1;
                found.bytes += u64::from(unit.size);
                push(store, ranges, unit.range());
            }
            found.next_offset += 1;
        }
    }
    if found.records > 0 {
        return Some(found);
    }
    let examined = found.next_offset > offset;
    examined.then(|| Read::without_records(ReadStatus::NoMatchedMessage, found.next_offset, visible))
}

/// The status of an offset that no message is visible at, and where the client should go on.
pub fn outside(offset: i64, visible: &Range<i64>) -> Option<(ReadStatus, i64)> {
    if visible.end == 0 {
        Some((ReadStatus::NoMessageInQueue, 0))
    } else if offset < visible.start {
        Some((ReadStatus::OffsetTooSmall, visible.start))
    } else if offset == visible.end {
        Some((ReadStatus::OffsetOverflowOne, offset))
    } else if offset > visible.end {
        Some((ReadStatus::OffsetOverflowBadly, visible.end))
    } else {
        None
    }
}

impl Read {
    pub fn without_records(status: ReadStatus, next_offset: i64, bounds: &Range<i64>) -> Read {
        Read { status, next_offset, min_offset: bounds.start, max_offset: bounds.end, records: 0, bytes: 0 }
    }
}

impl ReadLimits {
    /// Whether the next record is one too many. The first always passes, whatever its size.
    fn are_reached(&self, found: &Read, size: u32) -> bool {
        if found.records == 0 {
            return false;
        }
        let bytes = found.bytes + u64::from(size);
        i64::from(found.records) >= i64::from(self.records_max)
            || found.records >= self.kind_records_max
            || bytes > self.bytes_max.max(0) as u64
            || bytes > u64::from(self.kind_bytes_max)
    }
}

/// Adds a record. One that follows its predecessor in the same stretch of hot memory makes that range longer.
fn push(store: &Store, ranges: &mut Vec<LogRange>, range: LogRange) {
    if let Some(last) = ranges.last_mut()
        && last.physical.plus(u64::from(last.len)) == range.physical
        && store.bytes(last.physical, last.len + range.len).is_some()
    {
        last.len += range.len;
        return;
    }
    ranges.push(range);
}
