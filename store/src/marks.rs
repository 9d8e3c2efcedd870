//! What the two sides of a store tell each other, besides the hot log itself: a few numbers, no lock.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use crossbeam::utils::CachePadded;

use crate::offsets::PhysicalOffset;

/// Written by the cold side, read by the shard; `writer_gone` the other way round.
#[derive(Default)]
pub struct Marks {
    written_to: CachePadded<AtomicI64>,
    synced_to: AtomicI64,
    min_physical: AtomicI64,
    read_only: AtomicBool,
    writer_gone: AtomicBool,
}

impl Marks {
    /// Log and consume queue files hold everything below: it survives without the hot log.
    pub fn written_to(&self) -> PhysicalOffset {
        PhysicalOffset(self.written_to.load(Ordering::Acquire))
    }

    pub fn set_written_to(&self, to: PhysicalOffset) {
        self.written_to.store(to.0, Ordering::Release);
    }

    /// The log files are synced below: it survives a power cut.
    pub fn synced_to(&self) -> PhysicalOffset {
        PhysicalOffset(self.synced_to.load(Ordering::Acquire))
    }

    pub fn set_synced_to(&self, to: PhysicalOffset) {
        self.synced_to.store(to.0, Ordering::Release);
    }

    /// First byte of the log that is still kept.
    pub fn min_physical(&self) -> PhysicalOffset {
        PhysicalOffset(self.min_physical.load(Ordering::Acquire))
    }

    pub fn set_min_physical(&self, to: PhysicalOffset) {
        self.min_physical.store(to.0, Ordering::Release);
    }

    /// A write or sync failed: nothing is appended any more.
    pub fn read_only(&self) -> bool {
        self.read_only.load(Ordering::Acquire)
    }

    pub fn set_read_only(&self) {
        self.read_only.store(true, Ordering::Release);
    }

    /// The shard has dropped its half: nothing is appended any more.
    pub fn writer_gone(&self) -> bool {
        self.writer_gone.load(Ordering::Acquire)
    }

    pub fn set_writer_gone(&self) {
        self.writer_gone.store(true, Ordering::Release);
    }
}
