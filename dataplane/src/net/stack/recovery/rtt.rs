//! How long an acknowledgement takes, and from that how long to wait for one: RFC 6298 with a floor for local networks.
//!
//! ```text
//!   probe wait    max(floor, 2 × basis)              basis: smoothed, but not above min × 2, 4, 8 .. as probes turn out
//!   timeout       max(2 × probe wait, srtt + 4 var)         needless; so that delayed acknowledgements do not hide loss
//!   floor         5 ms, for a peer that answers probes with "I have it" again and again 10, 20, 50 ms
//! ```
//!
//! A peer may delay an acknowledgement by 40 ms (Linux) and more. Such samples would make the first look for a lost
//! tail late on a local network, where it matters most; there the shortest round trip says more. But one of thousands of
//! peers that each say something now and then would get every answer twice: two frames more for each message.

/// Nanoseconds throughout.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rtt {
    smoothed: u64,
    variation: u64,
    /// The shortest of this period and of the one before.
    min: [u64; 2],
    period_ends: u64,
    /// How often a probe has turned out to be needless, less the times it was needed.
    caution: u32,
    /// Samples in a row that were too short for a peer that delays its acknowledgements.
    prompt: u32,
    /// Twice for each timeout that was needless.
    timeout_shift: u32,
}

impl Rtt {
    pub fn sample(&mut self, now_ns: u64, rtt_ns: u64) {
        let rtt_ns = rtt_ns.max(1);
        self.note_prompt(rtt_ns);
        if self.smoothed == 0 {
            self.smoothed = rtt_ns;
            self.variation = rtt_ns / 2;
            self.min = [rtt_ns; 2];
            self.period_ends = now_ns + MIN_PERIOD_NANOS;
            return;
        }
        let error = self.smoothed.abs_diff(rtt_ns);
        self.variation = (self.variation * 3 + error) / 4;
        self.smoothed = (self.smoothed * 7 + rtt_ns) / 8;
        if now_ns >= self.period_ends {
            self.min = [rtt_ns, self.min[0]];
            self.period_ends = now_ns + MIN_PERIOD_NANOS;
        }
        self.min[0] = self.min[0].min(rtt_ns);
    }

    /// A peer that no longer delays its acknowledgements is probed soon again.
    fn note_prompt(&mut self, rtt_ns: u64) {
        self.prompt = if rtt_ns < PROBE_FLOOR_NANOS[0] / 2 { self.prompt + 1 } else { 0 };
        if self.prompt == PROMPT_SAMPLES {
            self.prompt = 0;
            self.caution = self.caution.saturating_sub(1);
        }
    }

    /// 0 before the first sample.
    pub fn smoothed_ns(&self) -> u64 {
        self.smoothed
    }

    /// The shortest within the last periods; 0 before the first sample.
    pub fn min_ns(&self) -> u64 {
        self.min[0].min(self.min[1])
    }

    /// How long the last bytes of a flight may be without news before one segment is sent again to get some.
    pub fn probe_wait_ns(&self) -> u64 {
        if self.smoothed == 0 {
            return FIRST_TIMEOUT_NANOS / 2;
        }
        let basis = self.smoothed.min(self.min_ns() << (1 + self.caution));
        (2 * basis).max(PROBE_FLOOR_NANOS[self.caution as usize])
    }

    /// How long anything may be without news before everything without news is taken for lost.
    pub fn timeout_ns(&self) -> u64 {
        if self.smoothed == 0 {
            return FIRST_TIMEOUT_NANOS;
        }
        let base = (self.smoothed + 4 * self.variation).max(2 * self.probe_wait_ns());
        (base << self.timeout_shift).min(TIMEOUT_NANOS_MAX)
    }

    pub fn probe_was_needless(&mut self) {
        self.caution = (self.caution + 1).min(CAUTION_MAX);
        self.prompt = 0;
    }

    pub fn probe_was_needed(&mut self) {
        self.caution = self.caution.saturating_sub(1);
    }

    pub fn timeout_was_needless(&mut self) {
        self.timeout_shift = (self.timeout_shift + 1).min(TIMEOUT_SHIFT_MAX);
    }

    pub fn timeout_was_needed(&mut self) {
        self.timeout_shift = self.timeout_shift.saturating_sub(1);
    }
}

/// By caution. The first is longer than a turn of a busy shard, a scheduler's slice or the wheel's tick, shorter than anybody
/// notices. Linux delays an acknowledgement by a tick or two (of 4 ms, often) where a route's `rto_min` is a few ms, and by 40 ms
/// elsewhere: the fourth is beyond the one, the last beyond the other.
const PROBE_FLOOR_NANOS: [u64; 6] = [5_000_000, 5_000_000, 5_000_000, 10_000_000, 20_000_000, 50_000_000];
/// RFC 6298, 2.1.
const FIRST_TIMEOUT_NANOS: u64 = 1_000_000_000;
pub const TIMEOUT_NANOS_MAX: u64 = 60_000_000_000;
/// A path that has become longer is believed after two of these.
const MIN_PERIOD_NANOS: u64 = 10_000_000_000;
const CAUTION_MAX: u32 = PROBE_FLOOR_NANOS.len() as u32 - 1;
/// One loss in fifty leaves more than this between two probes of a busy connection.
const PROMPT_SAMPLES: u32 = 8;
const TIMEOUT_SHIFT_MAX: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: u64 = 1_000_000;

    fn after(samples: impl IntoIterator<Item = u64>) -> Rtt {
        let mut rtt = Rtt::default();
        for (index, sample) in samples.into_iter().enumerate() {
            rtt.sample(index as u64 * MILLI, sample);
        }
        rtt
    }

    /// Goal: waits follow the path. Method: a table of paths.
    #[test]
    fn waits_by_path() {
        let cases: &[(&str, &[u64], u64, u64)] = &[
            // what, samples in µs, probe wait and timeout in µs
            ("nothing known", &[], 500_000, 1_000_000),
            ("local", &[40; 50], 5_000, 10_000),
            ("local, first sample", &[40], 5_000, 10_000),
            (
                "local, acknowledgements often delayed",
                &[40, 40_000, 40, 40_000, 40, 40_000, 40],
                5_000,
                40_000,
            ),
            ("5 ms", &[5_000; 50], 10_000, 20_000),
            ("50 ms", &[50_000; 50], 100_000, 200_000),
            ("50 ms, first sample", &[50_000], 100_000, 200_000),
            ("50 ms, jitter", &[50_000, 70_000, 50_000, 70_000, 50_000, 70_000], 100_000, 200_000),
            ("600 ms", &[600_000; 50], 1_200_000, 2_400_000),
        ];
        for (what, samples, probe_us, timeout_us) in cases {
            let rtt = after(samples.iter().map(|us| us * 1_000));
            let (probe, timeout) = (rtt.probe_wait_ns() / 1_000, rtt.timeout_ns() / 1_000);
            assert!((*probe_us..=probe_us * 5 / 4).contains(&probe), "{what}: probe after {probe} us");
            assert!((*timeout_us..=timeout_us * 2).contains(&timeout), "{what}: timeout after {timeout} us");
        }
    }

    /// Goal: the estimate is RFC 6298's. Method: its formulas, by hand, for three samples.
    #[test]
    fn estimates_as_the_rfc() {
        let rtt = after([80 * MILLI]);
        assert_eq!((rtt.smoothed, rtt.variation), (80 * MILLI, 40 * MILLI));
        let rtt = after([80 * MILLI, 160 * MILLI]);
        assert_eq!((rtt.smoothed, rtt.variation), (90 * MILLI, 50 * MILLI));
        let rtt = after([80 * MILLI, 160 * MILLI, 90 * MILLI]);
        assert_eq!((rtt.smoothed, rtt.variation), (90 * MILLI, 37 * MILLI + 500_000));
    }

    /// Goal: what was needless is done later and later, up to a bound, and what was needed sooner again.
    #[test]
    fn learns_from_needless_ones() {
        // Ten milliseconds without a queue, a hundred with one: a probe after forty is often needless.
        let mut rtt = after([10 * MILLI].into_iter().chain([100 * MILLI; 50]));
        let before = rtt.probe_wait_ns();
        assert_eq!(before, 40 * MILLI);
        rtt.probe_was_needless();
        assert_eq!(rtt.probe_wait_ns(), 80 * MILLI);
        (0..100).for_each(|_| rtt.probe_was_needless());
        assert!(rtt.probe_wait_ns() > 190 * MILLI, "twice the smoothed one at last");
        (0..100).for_each(|_| rtt.probe_was_needed());
        assert_eq!(rtt.probe_wait_ns(), before);

        let timeout = rtt.timeout_ns();
        rtt.timeout_was_needless();
        assert_eq!(rtt.timeout_ns(), 2 * timeout);
        rtt.timeout_was_needed();
        assert_eq!(rtt.timeout_ns(), timeout);
        (0..100).for_each(|_| rtt.timeout_was_needless());
        assert!(rtt.timeout_ns() <= TIMEOUT_NANOS_MAX);
    }

    /// Goal: on a local network a peer that delays its acknowledgements gets each answer twice only for a while, and one that does
    /// so no longer is probed soon again. Method: needless probes, then prompt samples, with a slow one among them.
    #[test]
    fn leaves_slow_acknowledgers_alone() {
        let mut rtt = after([MILLI / 25; 50]);
        let waits: Vec<u64> = (0..7)
            .map(|_| {
                let wait = rtt.probe_wait_ns() / MILLI;
                rtt.probe_was_needless();
                wait
            })
            .collect();
        assert_eq!(waits, [5, 5, 5, 10, 20, 50, 50]);
        (1..PROMPT_SAMPLES).for_each(|_| rtt.sample(60 * MILLI, MILLI / 25));
        rtt.sample(60 * MILLI, 5 * MILLI);
        (1..PROMPT_SAMPLES).for_each(|_| rtt.sample(60 * MILLI, MILLI / 25));
        assert_eq!(rtt.probe_wait_ns(), 50 * MILLI, "never so many in a row");
        rtt.sample(60 * MILLI, MILLI / 25);
        assert_eq!(rtt.probe_wait_ns(), 20 * MILLI);
        (0..3 * PROMPT_SAMPLES).for_each(|_| rtt.sample(60 * MILLI, MILLI / 25));
        assert_eq!(rtt.probe_wait_ns(), 5 * MILLI);
    }

    /// Goal: the shortest round trip is forgotten in time. Method: a path that becomes longer.
    #[test]
    fn forgets_the_shortest() {
        let mut rtt = after([MILLI; 10]);
        for second in 1..40 {
            rtt.sample(second * 1_000 * MILLI, 30 * MILLI);
        }
        assert_eq!(rtt.min_ns(), 30 * MILLI);
    }
}
