//! How long the disk takes: counts in buckets, each about 6 % wide, written by the cold side and read by anybody.
//!
//! ```text
//! ns   0 1 .. 15 | 16 .. 31 | 32 34 .. 62 | 64 68 .. 124 | ..    16 buckets for each power of two
//! ```
//!
//! The layout of the buckets is used by the dataplane's own histograms too, so that one can be poured into the other.

use std::sync::atomic::{AtomicU64, Ordering};

/// Times in nanoseconds. Each count is whole; that they are of one moment is not promised.
pub struct Latency {
    counts: Box<[AtomicU64; BUCKETS]>,
    max_ns: AtomicU64,
}

impl Default for Latency {
    fn default() -> Self {
        Self { counts: Box::new([const { AtomicU64::new(0) }; BUCKETS]), max_ns: AtomicU64::new(0) }
    }
}

impl Latency {
    pub fn record(&self, ns: u64) {
        self.counts[bucket_of(ns.min(NS_MAX))].fetch_add(1, Ordering::Relaxed);
        self.max_ns.fetch_max(ns, Ordering::Relaxed);
    }

    /// The longest, exactly.
    pub fn max_ns(&self) -> u64 {
        self.max_ns.load(Ordering::Relaxed)
    }

    /// `(longest, how many)` of each bucket that is not empty.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).enumerate();
        counts.filter(|&(_, count)| count > 0).map(|(bucket, count)| (end_of(bucket), count))
    }
}

/// What the disk took for the log.
#[derive(Default)]
pub struct DiskTimes {
    /// One run of the log written to its file.
    pub write: Latency,
    /// The log's files synced.
    pub sync: Latency,
    /// One block of old messages read.
    pub read: Latency,
}

/// The bucket of a time of at most `NS_MAX`.
#[inline]
pub fn bucket_of(ns: u64) -> usize {
    if ns < SUBS {
        return ns as usize;
    }
    let power = 63 - ns.leading_zeros();
    let sub = (ns >> (power - SUB_BITS)) & (SUBS - 1);
    (u64::from(power - SUB_BITS + 1) * SUBS + sub) as usize
}

/// The longest time of a bucket.
pub fn end_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < SUBS {
        return bucket;
    }
    let (power, sub) = (bucket / SUBS - 1, bucket % SUBS);
    ((SUBS + sub + 1) << power) - 1
}

const SUB_BITS: u32 = 4;
const SUBS: u64 = 1 << SUB_BITS;
/// 18 minutes; what is longer counts as this.
pub const NS_MAX: u64 = (1 << 40) - 1;
pub const BUCKETS: usize = (40 - SUB_BITS as usize + 1) * SUBS as usize;

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: every time lies in its bucket, buckets touch, and none is wider than a sixteenth of what is in it.
    #[test]
    fn buckets_are_narrow_and_without_gaps() {
        for bucket in 0..BUCKETS {
            let end = end_of(bucket);
            assert_eq!(bucket_of(end), bucket);
            let start = if bucket == 0 { 0 } else { end_of(bucket - 1) + 1 };
            assert_eq!(bucket_of(start), bucket);
            assert!((end - start) * SUBS <= start.max(SUBS), "{start}..={end}");
        }
        assert_eq!(end_of(BUCKETS - 1), NS_MAX);
    }

    #[test]
    fn what_is_recorded_is_counted() {
        let latency = Latency::default();
        [100, 101, u64::MAX].into_iter().for_each(|ns| latency.record(ns));
        let found: Vec<_> = latency.buckets().collect();
        assert_eq!((found.len(), found[0].1, found[1]), (2, 2, (NS_MAX, 1)));
        assert_eq!(latency.max_ns(), u64::MAX);
    }
}
