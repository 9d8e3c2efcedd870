//! How soon a queue may be pulled again, after answers that lead nowhere.
//!
//! ```text
//!   went on, or was held a while          ──► at once
//!   the same place again, at once         ──► twice at once, then 10, 20, 40 .. 1000 ms
//!   "begin elsewhere" (21, 220)           ──► at once; within a minute of the last: 1, 2, 4 .. 30 s
//! ```
//!
//! A broker that works holds a pull that finds nothing, and corrects an offset once. One that does not would be asked as fast
//! as it answers, for ever, and by every queue of every consumer.

use std::time::Duration;

#[derive(Debug, Default)]
pub struct PullPace {
    asked_at: Duration,
    /// The furthest place a pull has led to since the queue was begun.
    reached: i64,
    fruitless: u32,
    moved_at: Option<Duration>,
    moves: u32,
}

impl PullPace {
    pub fn asked(&mut self, now: Duration) {
        self.asked_at = now;
    }

    /// The pull was answered, and the next one begins at `next`; gives the pause before it.
    pub fn went_on(&mut self, next: i64, now: Duration) -> Duration {
        if next > self.reached || now.saturating_sub(self.asked_at) >= HELD {
            self.reached = self.reached.max(next);
            self.fruitless = 0;
            return Duration::ZERO;
        }
        self.fruitless = self.fruitless.saturating_add(1);
        growing(self.fruitless.saturating_sub(FRUITLESS_FREE), FRUITLESS_PAUSE, FRUITLESS_PAUSE_MAX)
    }

    /// The queue begins again at `to`; gives the pause before the next pull.
    pub fn moved(&mut self, to: i64, now: Duration) -> Duration {
        let is_repeated = self.moved_at.is_some_and(|at| now.saturating_sub(at) < MOVES_REMEMBERED);
        self.moves = if is_repeated { self.moves.saturating_add(1) } else { 0 };
        self.moved_at = Some(now);
        self.reached = to;
        growing(self.moves, MOVED_PAUSE, MOVED_PAUSE_MAX)
    }
}

/// None the zeroth time, `least` the first, and twice as long each time after, up to `most`.
fn growing(times: u32, least: Duration, most: Duration) -> Duration {
    let Some(doublings) = times.checked_sub(1) else {
        return Duration::ZERO;
    };
    1_u32.checked_shl(doublings).map_or(most, |factor| least.saturating_mul(factor).min(most))
}

/// An answer that took this long was held, or came from so far away that asking again at once harms nobody.
const HELD: Duration = Duration::from_millis(100);
const FRUITLESS_FREE: u32 = 2;
const FRUITLESS_PAUSE: Duration = Duration::from_millis(10);
const FRUITLESS_PAUSE_MAX: Duration = Duration::from_secs(1);
const MOVED_PAUSE: Duration = Duration::from_secs(1);
const MOVED_PAUSE_MAX: Duration = Duration::from_secs(30);
const MOVES_REMEMBERED: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Goal: answers that lead nowhere are followed ever more slowly, until one leads somewhere or was held.
    #[test]
    fn fruitless_answers_are_paced() {
        let mut pace = PullPace::default();
        pace.asked(Duration::ZERO);
        let pauses: Vec<u128> = (0..11).map(|_| pace.went_on(0, MS).as_millis()).collect();
        assert_eq!(pauses, [0, 0, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(pace.went_on(1, MS), Duration::ZERO, "it goes on");
        for _ in 0..100 {
            pace.went_on(1, MS);
        }
        assert_eq!(pace.went_on(1, MS), FRUITLESS_PAUSE_MAX);
        assert_eq!(pace.went_on(1, HELD), Duration::ZERO, "it was held");
        assert_eq!(pace.went_on(0, MS), Duration::ZERO);
    }

    /// Goal: a queue is begun elsewhere at once, and again and again ever more slowly; a quiet minute forgets it.
    #[test]
    fn moves_are_paced() {
        let mut pace = PullPace::default();
        let mut now = Duration::ZERO;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let pause = pace.moved(7, now);
            pauses.push(pause.as_secs());
            now += pause;
        }
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(pace.moved(7, now + MOVES_REMEMBERED), Duration::ZERO);
    }
}
