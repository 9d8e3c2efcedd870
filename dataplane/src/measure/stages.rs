//! Where a send spends its time, sampled: ring, parsed, appended, durable, replied.
//!
//! ```text
//! segment came ─▶ header read ─▶ in the hot log ─▶ (SYNC_FLUSH) synced ─▶ the last byte of its answer is in the send ring
//!      ring          parsed          appended          durable             replied
//! ```
//!
//! One send in `stageSampleInterval` is followed; the others cost a countdown. Distances vary at random around the
//! interval, so that a regular load is not always sampled at the same place of a burst. A few can be followed at a time;
//! when all places are taken the sample is not begun. `ring` is when the connection was last heard: a request that
//! waited there while more came behind it looks younger than it is.

use super::histogram::Histogram;
use crate::net::ConnId;
use crate::rng::Rng;
use crate::time::{FineClock, TurnTime};

/// The histograms, in the order of the walk.
#[derive(Debug, Clone, Default)]
pub struct StageTimes {
    pub parsed: Histogram,
    pub appended: Histogram,
    pub durable: Histogram,
    pub replied: Histogram,
    /// From ring to replied.
    pub whole: Histogram,
}

/// Sampling and what is followed right now.
#[derive(Debug)]
pub struct Stages {
    pub times: StageTimes,
    /// The simulated half stands still within a turn; run/polling.rs brings the real one.
    pub clock: FineClock,
    interval: u32,
    left: u32,
    rng: Rng,
    followed: [Option<Followed>; FOLLOWED_MAX],
    followed_len: usize,
}

/// One send on its way.
#[derive(Clone, Copy, Debug)]
pub struct Followed {
    pub conn: ConnId,
    /// Where the log ended after it.
    pub log_end: i64,
    ring_ns: Option<u64>,
    parsed_ns: u64,
    appended_ns: u64,
    durable_ns: Option<u64>,
}

impl Default for Stages {
    fn default() -> Stages {
        Stages {
            times: StageTimes::default(),
            clock: FineClock::STANDING,
            interval: 0,
            left: 0,
            rng: Rng::from_seed(1),
            followed: [None; FOLLOWED_MAX],
            followed_len: 0,
        }
    }
}

impl Stages {
    /// Takes over the setting; 0 switches sampling off.
    pub fn set_interval(&mut self, interval: u32) {
        if interval != self.interval {
            self.interval = interval;
            self.left = self.next_distance();
        }
    }

    /// A send is about to be served. Its time, if this is one to follow.
    #[inline]
    pub fn begin(&mut self, now: &TurnTime) -> Option<u64> {
        match self.left {
            0 => None,
            1 => self.begin_now(now),
            _ => {
                self.left -= 1;
                None
            }
        }
    }

    #[cold]
    fn begin_now(&mut self, now: &TurnTime) -> Option<u64> {
        self.left = self.next_distance();
        (self.followed_len < FOLLOWED_MAX).then(|| self.clock.now_ns(now))
    }

    /// A send that was begun is in the log now.
    #[cold]
    pub fn appended(&mut self, conn: ConnId, parsed_ns: u64, log_end: i64, now: &TurnTime) {
        let appended_ns = self.clock.now_ns(now);
        let followed = Followed { conn, log_end, ring_ns: None, parsed_ns, appended_ns, durable_ns: None };
        if let Some(place) = self.followed.iter_mut().find(|place| place.is_none()) {
            *place = Some(followed);
            self.followed_len += 1;
        }
    }

    pub fn is_following(&self) -> bool {
        self.followed_len > 0
    }

    /// Looks where the followed ones are: `synced_to` is None when nobody waits for the disk; `look` says when a
    /// connection was last heard and whether its answers are all in the send ring, None when it is gone. Returns how
    /// long the longest that is through has taken.
    #[cold]
    pub fn follow(
        &mut self,
        now: &TurnTime,
        synced_to: Option<i64>,
        look: impl Fn(ConnId) -> Option<(u64, bool)>,
    ) -> u64 {
        let mut longest_ns = 0;
        for place in &mut self.followed {
            let Some(one) = place else { continue };
            let Some((heard_ns, is_sent)) = look(one.conn) else {
                *place = None;
                self.followed_len -= 1;
                continue;
            };
            let ring_ns = *one.ring_ns.get_or_insert(heard_ns.min(one.parsed_ns));
            let here_ns = self.clock.now_ns(now);
            if one.durable_ns.is_none() && synced_to.is_some_and(|synced_to| synced_to >= one.log_end) {
                one.durable_ns = Some(here_ns);
            }
            if !is_sent || (synced_to.is_some() && one.durable_ns.is_none()) {
                continue;
            }
            let times = &mut self.times;
            times.parsed.record(one.parsed_ns - ring_ns);
            times.appended.record(one.appended_ns.saturating_sub(one.parsed_ns));
            if let Some(durable_ns) = one.durable_ns {
                times.durable.record(durable_ns.saturating_sub(one.appended_ns));
            }
            times.replied.record(here_ns.saturating_sub(one.durable_ns.unwrap_or(one.appended_ns)));
            times.whole.record(here_ns.saturating_sub(ring_ns));
            longest_ns = longest_ns.max(here_ns.saturating_sub(ring_ns));
            *place = None;
            self.followed_len -= 1;
        }
        longest_ns
    }

    fn next_distance(&mut self) -> u32 {
        match u64::from(self.interval) {
            0 => 0,
            interval => 1 + self.rng.below(interval * 2 - 1) as u32,
        }
    }
}

impl StageTimes {
    /// Each with its name.
    pub fn named(&self) -> [(&'static str, &Histogram); 5] {
        let Self { parsed, appended, durable, replied, whole } = self;
        [
            ("parsed", parsed),
            ("appended", appended),
            ("durable", durable),
            ("replied", replied),
            ("whole", whole),
        ]
    }

    pub fn copy_from(&mut self, other: &StageTimes) {
        self.parsed.copy_from(&other.parsed);
        self.appended.copy_from(&other.appended);
        self.durable.copy_from(&other.durable);
        self.replied.copy_from(&other.replied);
        self.whole.copy_from(&other.whole);
    }
}

/// Sends followed at a time.
const FOLLOWED_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const CONN: ConnId = ConnId { slot: 1, generation: 1 };

    fn at(mono_ns: u64) -> TurnTime {
        TurnTime { mono_ns, wall_ms: 0 }
    }

    /// Goal: about one in `interval` is taken, at uneven distances; none when it is off.
    #[test]
    fn one_in_so_many_is_sampled() {
        let mut stages = Stages::default();
        assert!((0..1_000).all(|_| stages.begin(&at(1)).is_none()));
        stages.set_interval(64);
        let taken: Vec<usize> = (0..64_000).filter(|_| stages.begin(&at(1)).is_some()).collect();
        assert!((900..1_100).contains(&taken.len()), "{}", taken.len());
        let mut distances: Vec<usize> = taken.windows(2).map(|pair| pair[1] - pair[0]).collect();
        distances.sort_unstable();
        distances.dedup();
        assert!(distances.len() > 100);
        stages.set_interval(1);
        assert!(stages.begin(&at(1)).is_some() && stages.begin(&at(1)).is_some());
    }

    /// Goal: each stage gets its own time. Method: a synced send, turn by turn.
    #[test]
    fn a_send_is_followed_to_its_answer() {
        let mut stages = Stages::default();
        stages.set_interval(1);
        let parsed_ns = stages.begin(&at(1_000)).unwrap();
        stages.appended(CONN, parsed_ns, 500, &at(1_100));
        stages.follow(&at(1_200), Some(499), |_| Some((900, true)));
        assert!(stages.is_following(), "not synced yet");
        stages.follow(&at(2_100), Some(500), |_| Some((1_950, false)));
        assert!(stages.is_following(), "its answer is not sent yet");
        stages.follow(&at(2_400), Some(500), |_| Some((1_950, true)));
        assert!(!stages.is_following());
        let found = stages.times.named().map(|(name, times)| (name, times.count(), times.max()));
        let expected = [
            ("parsed", 1, 100),
            ("appended", 1, 100),
            ("durable", 1, 1_000),
            ("replied", 1, 300),
            ("whole", 1, 1_500),
        ];
        assert_eq!(found, expected);
    }

    /// Goal: without SYNC_FLUSH there is no durable stage; and whoever is gone is forgotten.
    #[test]
    fn async_and_gone() {
        let mut stages = Stages::default();
        stages.set_interval(1);
        for _ in 0..FOLLOWED_MAX {
            let parsed_ns = stages.begin(&at(1_000)).unwrap();
            stages.appended(CONN, parsed_ns, 500, &at(1_000));
        }
        assert!(stages.begin(&at(1_000)).is_none(), "all places are taken");
        stages.follow(&at(1_500), None, |_| None);
        assert!(!stages.is_following());
        let parsed_ns = stages.begin(&at(2_000)).unwrap();
        stages.appended(CONN, parsed_ns, 500, &at(2_000));
        stages.follow(&at(2_500), None, |_| Some((2_000, true)));
        assert_eq!((stages.times.durable.count(), stages.times.whole.max()), (0, 500));
    }
}
