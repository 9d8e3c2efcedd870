//! The numbers of the store, each with its own type so that none is taken for another.

use std::fmt;

/// A byte position in the log since its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhysicalOffset(pub i64);

/// The number of a message within its queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueOffset(pub i64);

/// A (topic, queue id) that this store has interned; good as long as the store is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueIndex(pub(crate) u32);

/// A stretch of the log. What a pull answer names instead of copying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRange {
    pub physical: PhysicalOffset,
    pub len: u32,
}

/// One consume queue entry: where a message lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    pub physical: PhysicalOffset,
    /// Hash of the tag; delivery time in ms for the schedule topic.
    pub tags_code: i64,
    pub size: u32,
}

impl Unit {
    /// The first byte after the message. A damaged entry may say anything, and must not seem to end before it begins.
    pub fn end(&self) -> PhysicalOffset {
        PhysicalOffset(self.physical.0.saturating_add(i64::from(self.size)))
    }

    pub fn range(&self) -> LogRange {
        LogRange { physical: self.physical, len: self.size }
    }
}

impl PhysicalOffset {
    pub fn plus(self, bytes: u64) -> Self {
        Self(self.0 + bytes as i64)
    }

    /// Bytes from `earlier` to here; 0 when `earlier` is later.
    pub fn since(self, earlier: Self) -> u64 {
        u64::try_from(self.0 - earlier.0).unwrap_or(0)
    }
}

impl QueueOffset {
    pub fn plus(self, count: u64) -> Self {
        Self(self.0 + count as i64)
    }
}

impl QueueIndex {
    pub fn as_usize(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for PhysicalOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for QueueOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
