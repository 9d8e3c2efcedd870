//! How often what took how long: counts in buckets of a fixed table, each about 6 % wide.
//!
//! ```text
//! ns   0 1 .. 15 | 16 .. 31 | 32 34 .. 62 | 64 68 .. 124 | ..    16 buckets for each power of two
//! ```
//!
//! Recording is a shift, a mask and an increment; nothing is allocated after the table was made.

use std::fmt;

/// Times in nanoseconds.
#[derive(Clone)]
pub struct Histogram {
    counts: Box<[u64; BUCKETS]>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: Box::new([0; BUCKETS]), count: 0, max: 0 }
    }
}

impl Histogram {
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.record_many(ns, 1);
    }

    /// As often as `times`.
    #[inline]
    pub fn record_many(&mut self, ns: u64, times: u64) {
        self.counts[bucket_of(ns.min(NS_MAX))] += times;
        self.count += times;
        self.max = self.max.max(ns);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest, exactly.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The end of the bucket that holds this quantile, 0 when there is none: at most 6 % too long.
    pub fn quantile(&self, quantile: f64) -> u64 {
        let rank = (quantile * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (ns, count) in self.buckets() {
            seen += count;
            if seen >= rank {
                return ns.min(self.max);
            }
        }
        self.max
    }

    /// How many took at most so long; as exact as the buckets.
    pub fn count_to(&self, ns: u64) -> u64 {
        self.counts[..=bucket_of(ns.min(NS_MAX))].iter().sum()
    }

    /// `(longest, how many)` of each bucket that is not empty.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let filled = self.counts.iter().enumerate().filter(|&(_, &count)| count > 0);
        filled.map(|(bucket, &count)| (end_of(bucket), count))
    }

    /// Becomes a copy, in the memory it has.
    pub fn copy_from(&mut self, other: &Histogram) {
        self.counts.copy_from_slice(&*other.counts);
        (self.count, self.max) = (other.count, other.max);
    }

    pub fn add(&mut self, other: &Histogram) {
        for (ours, theirs) in self.counts.iter_mut().zip(&*other.counts) {
            *ours += theirs;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    pub fn clear(&mut self) {
        self.counts.fill(0);
        (self.count, self.max) = (0, 0);
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} times, {} ns at most", self.count, self.max)
    }
}

#[inline]
fn bucket_of(ns: u64) -> usize {
    if ns < SUBS {
        return ns as usize;
    }
    let power = 63 - ns.leading_zeros();
    let sub = (ns >> (power - SUB_BITS)) & (SUBS - 1);
    (u64::from(power - SUB_BITS + 1) * SUBS + sub) as usize
}

/// The longest time of a bucket.
fn end_of(bucket: usize) -> u64 {
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
const NS_MAX: u64 = (1 << 40) - 1;
const BUCKETS: usize = (40 - SUB_BITS as usize + 1) * SUBS as usize;

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
        let mut histogram = Histogram::default();
        histogram.record(u64::MAX);
        assert_eq!((histogram.max(), histogram.buckets().next()), (u64::MAX, Some((NS_MAX, 1))));
    }

    #[test]
    fn quantiles_and_sums() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.99), 0);
        (1..=1_000).for_each(|micros| histogram.record(micros * 1_000));
        let about = |quantile: f64, ns: u64| {
            let found = histogram.quantile(quantile);
            assert!(found >= ns && found <= ns + ns / 16, "{quantile}: {found}");
        };
        about(0.5, 500_000);
        about(0.99, 990_000);
        assert_eq!(histogram.quantile(1.0), 1_000_000);
        let (small, all) = (histogram.count_to(100_000), histogram.count_to(u64::MAX));
        assert!((100..=106).contains(&small) && all == 1_000, "{small} {all}");

        let mut sum = Histogram::default();
        sum.copy_from(&histogram);
        histogram.clear();
        histogram.record_many(5, 1_000);
        sum.add(&histogram);
        assert_eq!((sum.count(), sum.max(), sum.quantile(0.5)), (2_000, 1_000_000, 5));
    }
}
