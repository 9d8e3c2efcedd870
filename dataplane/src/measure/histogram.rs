//! How often what took how long: counts in buckets of a fixed table, each about 6 % wide.
//!
//! ```text
//! ns   0 1 .. 15 | 16 .. 31 | 32 34 .. 62 | 64 68 .. 124 | ..    16 buckets for each power of two
//! ```
//!
//! Recording is a shift, a mask and an increment; nothing is allocated after the table was made.

use std::fmt;

use store::latency::{BUCKETS, Latency, NS_MAX, bucket_of, end_of};

use crate::touched;

/// Times in nanoseconds.
#[derive(Clone)]
pub struct Histogram {
    counts: Box<[u64; BUCKETS]>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        // A time longer than all before it must not cost the polling thread a page fault.
        let counts = touched::items(BUCKETS, 0).try_into().expect("as many as asked for");
        Histogram { counts, count: 0, max: 0 }
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

    /// Becomes a copy of what another thread counts.
    pub fn read(&mut self, latency: &Latency) {
        self.clear();
        for (ns, count) in latency.buckets() {
            self.counts[bucket_of(ns)] = count;
            self.count += count;
        }
        self.max = latency.max_ns();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_sums() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.99), 0);
        histogram.record(u64::MAX);
        assert_eq!((histogram.max(), histogram.buckets().next()), (u64::MAX, Some((NS_MAX, 1))));
        let latency = Latency::default();
        (1..=3).for_each(|micros| latency.record(micros * 1_000));
        histogram.read(&latency);
        assert_eq!((histogram.count(), histogram.max(), histogram.quantile(1.0)), (3, 3_000, 3_000));
        histogram.clear();
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
