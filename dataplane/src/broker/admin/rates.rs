//! Rates over the last 10, 60 and 600 seconds, and totals by day, out of plain counters.
//!
//! ```text
//! counters --once a second--> ring of 601 samples --(newest - older) / seconds--> "4.49 3.1 0.8"
//!          --at midnight----> totals of this morning and of yesterday morning
//! ```
//!
//! Takes its memory once and never allocates afterwards; time is passed in.

use crate::touched;

/// What a sample holds: sums since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    pub put_messages: u64,
    pub pulls_found: u64,
    pub pulls_missed: u64,
    pub got_messages: u64,
}

/// The samples of one broker.
#[derive(Debug)]
pub struct Rates {
    samples: Vec<Sample>,
    newest: usize,
    /// Local midnight that comes next.
    midnight_ms: i64,
    yesterday: Sums,
    today: Sums,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    mono_ms: u64,
    sums: Sums,
}

impl Rates {
    /// `utc_offset_ms`: how far local time is ahead, for midnight.
    pub fn new(wall_ms: i64, utc_offset_ms: i64) -> Rates {
        let mut samples = touched::list(SAMPLES, Sample::default());
        samples.push(Sample::default());
        let local_ms = wall_ms + utc_offset_ms;
        let midnight_ms = local_ms - local_ms.rem_euclid(DAY_MS) + DAY_MS - utc_offset_ms;
        Rates { samples, newest: 0, midnight_ms, yesterday: Sums::default(), today: Sums::default() }
    }

    /// Whether a sample is due: called every turn, so it is one compare.
    pub fn is_due(&self, mono_ms: u64) -> bool {
        mono_ms >= self.samples[self.newest].mono_ms + SECOND_MS
    }

    /// Takes a sample.
    pub fn sample(&mut self, mono_ms: u64, wall_ms: i64, sums: Sums) {
        let sample = Sample { mono_ms, sums };
        self.newest = (self.newest + 1) % SAMPLES;
        match self.samples.get_mut(self.newest) {
            Some(oldest) => *oldest = sample,
            None => self.samples.push(sample),
        }
        while wall_ms >= self.midnight_ms {
            self.yesterday = std::mem::replace(&mut self.today, sums);
            self.midnight_ms += DAY_MS;
        }
    }

    /// `10 s, 60 s, 600 s` as mqadmin splits them; younger brokers take what there is.
    pub fn triple(&self, of: impl Fn(&Sums) -> u64) -> String {
        let [short, middle, long] = WINDOWS_S.map(|seconds| self.rate(seconds, &of));
        format!("{short:?} {middle:?} {long:?}")
    }

    /// Per second over the last so many seconds.
    pub fn rate(&self, seconds: usize, of: impl Fn(&Sums) -> u64) -> f64 {
        let newest = self.samples[self.newest];
        let back = seconds.min(self.samples.len() - 1);
        let older = self.samples[(self.newest + self.samples.len() - back) % self.samples.len()];
        let elapsed_ms = newest.mono_ms - older.mono_ms;
        if elapsed_ms == 0 {
            return 0.0;
        }
        of(&newest.sums).saturating_sub(of(&older.sums)) as f64 * 1_000.0 / elapsed_ms as f64
    }

    /// Sums at the beginning of yesterday and of today.
    pub fn mornings(&self) -> (Sums, Sums) {
        (self.yesterday, self.today)
    }
}

const WINDOWS_S: [usize; 3] = [10, 60, 600];
const SAMPLES: usize = WINDOWS_S[2] + 1;
const SECOND_MS: u64 = 1_000;
const DAY_MS: i64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn put(put_messages: u64) -> Sums {
        Sums { put_messages, ..Sums::default() }
    }

    /// Goal: each window sees its own stretch of time. Method: 1,000 s at 5 a second, then 10 s at 50.
    #[test]
    fn windows_see_their_own_stretch() {
        let mut rates = Rates::new(0, 0);
        let mut sum = 0;
        for second in 1..=1_010_u64 {
            assert!(!rates.is_due(second * 1_000 - 1));
            assert!(rates.is_due(second * 1_000));
            sum += if second <= 1_000 { 5 } else { 50 };
            rates.sample(second * 1_000, 0, put(sum));
        }
        assert_eq!(rates.triple(|sums| sums.put_messages), "50.0 12.5 5.75");
        assert_eq!(rates.triple(|sums| sums.pulls_found), "0.0 0.0 0.0");
    }

    /// Goal: a young broker answers numbers, never an empty text.
    #[test]
    fn a_young_broker_has_rates_too() {
        let mut rates = Rates::new(0, 0);
        assert_eq!(rates.triple(|sums| sums.put_messages), "0.0 0.0 0.0");
        rates.sample(2_000, 0, put(8));
        assert_eq!(rates.triple(|sums| sums.put_messages), "4.0 4.0 4.0");
    }

    /// Goal: the day changes at local midnight. Method: two hours east of Greenwich, at 23:00 local time.
    #[test]
    fn days_change_at_local_midnight() {
        let hour = 3_600_000;
        let mut rates = Rates::new(21 * hour, 2 * hour);
        rates.sample(1_000, 22 * hour - 1, put(3));
        assert_eq!(rates.mornings(), (put(0), put(0)));
        rates.sample(2_000, 22 * hour, put(4));
        assert_eq!(rates.mornings(), (put(0), put(4)));
        rates.sample(3_000, 46 * hour, put(9));
        assert_eq!(rates.mornings(), (put(4), put(9)));
    }
}
