//! What the disk looks like, for whoever asks: written by a cold thread, read by the shard without a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// The numbers at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskFacts {
    /// Bytes of the partition that holds the store, and those still free.
    pub total: u64,
    pub free: u64,
    /// Store time of the oldest message; -1 when there is none.
    pub earliest_ms: i64,
}

impl DiskFacts {
    /// Used share of the partition.
    pub fn used_ratio(&self) -> f64 {
        if self.total == 0 {
            0.0
        } else {
            (self.total - self.free.min(self.total)) as f64 / self.total as f64
        }
    }
}

/// The place where they lie. Each number is whole; that they are of the same second is enough.
#[derive(Debug, Clone, Default)]
pub struct SharedFacts(Arc<Cells>);

#[derive(Debug)]
struct Cells {
    total: AtomicU64,
    free: AtomicU64,
    earliest_ms: AtomicI64,
}

impl Default for Cells {
    fn default() -> Cells {
        Cells { total: AtomicU64::new(0), free: AtomicU64::new(0), earliest_ms: AtomicI64::new(-1) }
    }
}

impl SharedFacts {
    pub fn write(&self, facts: DiskFacts) {
        self.0.total.store(facts.total, Ordering::Relaxed);
        self.0.free.store(facts.free, Ordering::Relaxed);
        self.0.earliest_ms.store(facts.earliest_ms, Ordering::Relaxed);
    }

    pub fn read(&self) -> DiskFacts {
        DiskFacts {
            total: self.0.total.load(Ordering::Relaxed),
            free: self.0.free.load(Ordering::Relaxed),
            earliest_ms: self.0.earliest_ms.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let shared = SharedFacts::default();
        assert_eq!(shared.read(), DiskFacts { earliest_ms: -1, ..DiskFacts::default() });
        let facts = DiskFacts { total: 100, free: 82, earliest_ms: 7 };
        shared.clone().write(facts);
        assert_eq!(shared.read(), facts);
        assert!((facts.used_ratio() - 0.18).abs() < 1e-9);
        assert_eq!(DiskFacts::default().used_ratio(), 0.0);
    }
}
