//! How long to wait before a name server is tried again.
//!
//! ```text
//!   lost ──► 20 ms ──► 40 ──► 80 ──► 160 ──► 320 ──► 400 ──► 400 ..       each less up to a quarter, by chance
//!     ▲                                        │
//!     └── a connection that was of use ◄───────┘
//! ```
//!
//! That somebody accepts a connection says nothing: a proxy without a name server behind it, or one that dies over what it is
//! told, accepts and closes. Of use is one over which we were known for a while. Chance keeps the shards of many hosts
//! from coming back to a name server in one moment.

use std::time::Duration;

use crate::rng::Rng;

pub(super) struct Backoff {
    next: Duration,
    rng: Rng,
}

impl Backoff {
    pub(super) fn new(rng: Rng) -> Self {
        Self { next: PAUSE_MIN, rng }
    }

    /// A connection is lost over which this server knew us, `lasted` after it was made.
    pub(super) fn worked(&mut self, lasted: Duration) {
        if lasted >= USEFUL_AFTER {
            self.next = PAUSE_MIN;
        }
    }

    /// The pause before the next attempt.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(PAUSE_MAX);
        let quarter_us = u64::try_from(pause.as_micros() / 4).unwrap_or(u64::MAX);
        pause - Duration::from_micros(self.rng.below(quarter_us + 1))
    }
}

const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Keeps a repair well under a second.
const PAUSE_MAX: Duration = Duration::from_millis(400);
const USEFUL_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(backoff: &mut Backoff, count: usize) -> Vec<Duration> {
        (0..count).map(|_| backoff.pause()).collect()
    }

    /// Goal: pauses grow to their bound, differ by chance, and begin anew only after a connection that was of use.
    #[test]
    fn pauses_grow_until_a_connection_is_of_use() {
        let mut backoff = Backoff::new(Rng::from_seed(1));
        let full = [20, 40, 80, 160, 320, 400, 400].map(Duration::from_millis);
        for (pause, full) in pauses(&mut backoff, 7).into_iter().zip(full) {
            assert!(pause <= full && pause >= full * 3 / 4, "{pause:?} of {full:?}");
        }
        backoff.worked(Duration::from_millis(999));
        assert!(backoff.pause() >= Duration::from_millis(300));
        backoff.worked(Duration::from_secs(1));
        assert!(backoff.pause() <= Duration::from_millis(20));
        let mut other = Backoff::new(Rng::from_seed(2));
        assert_ne!(pauses(&mut other, 7), pauses(&mut Backoff::new(Rng::from_seed(3)), 7));
    }
}
