//! What the two sides of a store tell each other, besides the hot log itself: a few numbers, no lock.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};

use crossbeam::queue::SegQueue;
use crossbeam::utils::CachePadded;

use crate::error::AppendError;
use crate::holes::Holes;
use crate::latency::DiskTimes;
use crate::offsets::PhysicalOffset;
use crate::retention::Cause;

/// Written by the cold side, read by the shard; `writer_gone` the other way round.
#[derive(Default)]
pub struct Marks {
    written_to: CachePadded<AtomicI64>,
    synced_to: AtomicI64,
    min_physical: AtomicI64,
    /// What the time was when the cold side looked last; 0: it has not.
    now_ms: AtomicI64,
    /// Why nothing is appended: bits.
    closed: AtomicU8,
    writer_gone: AtomicBool,
    /// An administrator wants files deleted: rounds left.
    asked_rounds: AtomicU8,
    removed: [AtomicU64; Cause::ALL.len()],
    removed_bytes: AtomicU64,
    disk_full_times: AtomicU64,
    /// What the disk takes.
    pub times: DiskTimes,
    /// Queues that begin later than they did.
    pub new_mins: SegQueue<NewMin>,
    /// Queues that an administrator wants gone, if nothing is left in them.
    pub emptied: SegQueue<(Box<str>, i32)>,
    /// How often queue files were taken away whose names may come again, or one that was missing was made again.
    emptied_times: AtomicU64,
    /// What is missing amid queue files.
    pub(crate) holes: Holes,
}

/// The first offset that is left of a queue.
pub struct NewMin {
    pub topic: Box<str>,
    pub queue_id: i32,
    pub min: i64,
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

    /// What the future comes after.
    pub fn now_ms(&self) -> i64 {
        match self.now_ms.load(Ordering::Relaxed) {
            0 => i64::MAX,
            now_ms => now_ms,
        }
    }

    pub fn set_now_ms(&self, now_ms: i64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }

    /// A write or sync failed: nothing is appended any more.
    pub fn read_only(&self) -> bool {
        self.closed.load(Ordering::Acquire) & FAILED != 0
    }

    pub fn set_read_only(&self) {
        self.closed.fetch_or(FAILED, Ordering::AcqRel);
    }

    /// The disk is too full to go on; or it is not any more.
    pub fn set_disk_full(&self, full: bool) {
        let before = match full {
            true => self.closed.fetch_or(FULL, Ordering::AcqRel),
            false => self.closed.fetch_and(!FULL, Ordering::AcqRel),
        };
        if full && before & FULL == 0 {
            self.disk_full_times.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn disk_full(&self) -> bool {
        self.closed.load(Ordering::Acquire) & FULL != 0
    }

    /// Why nothing may be appended, if so.
    #[inline]
    pub fn refusal(&self) -> Option<AppendError> {
        match self.closed.load(Ordering::Acquire) {
            0 => None,
            FULL => Some(AppendError::DiskFull),
            _ => Some(AppendError::ReadOnly),
        }
    }

    pub fn ask_to_clean(&self) {
        self.asked_rounds.store(ASKED_ROUNDS, Ordering::Relaxed);
    }

    /// Whether this round of cleaning was asked for.
    pub fn take_asked_round(&self) -> bool {
        let left = self.asked_rounds.load(Ordering::Relaxed);
        self.asked_rounds.store(left.saturating_sub(1), Ordering::Relaxed);
        left > 0
    }

    pub fn count_removed(&self, cause: Cause, bytes: u64) {
        self.removed[cause as usize].fetch_add(1, Ordering::Relaxed);
        self.removed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Figures of what was deleted and of how often the disk was full.
    pub fn removed(&self) -> Removed {
        let load = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        Removed {
            files: std::array::from_fn(|cause| load(&self.removed[cause])),
            bytes: load(&self.removed_bytes),
            disk_full_times: load(&self.disk_full_times),
        }
    }

    /// Whoever has queue files open looks whether they are still those.
    pub fn count_emptied(&self) {
        self.emptied_times.fetch_add(1, Ordering::AcqRel);
    }

    pub fn emptied_times(&self) -> u64 {
        self.emptied_times.load(Ordering::Acquire)
    }

    /// The shard has dropped its half: nothing is appended any more.
    pub fn writer_gone(&self) -> bool {
        self.writer_gone.load(Ordering::Acquire)
    }

    pub fn set_writer_gone(&self) {
        self.writer_gone.store(true, Ordering::Release);
    }
}

/// What retention has done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Commitlog files, by cause, in the order of `Cause::ALL`.
    pub files: [u64; Cause::ALL.len()],
    pub bytes: u64,
    /// How often appending was stopped for want of space.
    pub disk_full_times: u64,
}

/// A write or sync failed.
const FAILED: u8 = 1;
const FULL: u8 = 2;
/// As the official broker: a wish to delete counts for so many rounds.
const ASKED_ROUNDS: u8 = 20;
