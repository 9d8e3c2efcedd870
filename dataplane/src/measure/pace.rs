//! How a shard spends its time: turns with work and without, and how long those took that stored or served something.
//!
//! ```text
//! turn begins ─ work ─▶ next turn begins: that was its length        (idle turns may sleep, and are not measured)
//! ```
//!
//! No clock is read for this: a turn's length is the difference of two turns' times. A request is answered in the turn it
//! is served in, so the turn's length bounds what it spent in the broker, flush gates aside.

use super::histogram::Histogram;
use crate::time::TurnTime;

/// The turns of one shard.
#[derive(Debug, Default)]
pub struct Pace {
    pub turns: u64,
    pub busy_turns: u64,
    pub busy_ns: u64,
    /// Lengths of turns that had work.
    pub busy: Histogram,
    /// Lengths of turns that stored, once for each message; of this minute and of the last.
    puts: [Histogram; 2],
    minute_ends_ns: u64,
    pub longest_put_ns: u64,
    pub longest_pull_ns: u64,
    last: Option<Turn>,
}

/// The turn before this one.
#[derive(Clone, Copy, Debug)]
struct Turn {
    began_ns: u64,
    worked: bool,
    puts: u64,
    pulls: u64,
}

impl Pace {
    /// A turn begins. Returns how long the one before took, if it had work.
    #[inline]
    pub fn begin(&mut self, now: &TurnTime) -> Option<u64> {
        if now.mono_ns >= self.minute_ends_ns {
            self.next_minute(now);
        }
        let last = self.last.take().filter(|last| last.worked)?;
        let took_ns = now.mono_ns.saturating_sub(last.began_ns);
        self.busy_turns += 1;
        self.busy_ns += took_ns;
        self.busy.record(took_ns);
        if last.puts > 0 {
            self.puts[0].record_many(took_ns, last.puts);
            self.longest_put_ns = self.longest_put_ns.max(took_ns);
        }
        if last.pulls > 0 {
            self.longest_pull_ns = self.longest_pull_ns.max(took_ns);
        }
        Some(took_ns)
    }

    /// The turn that began then is over, and this is what it did.
    #[inline]
    pub fn end(&mut self, now: &TurnTime, worked: bool, puts: u64, pulls: u64) {
        self.turns += 1;
        self.last = Some(Turn { began_ns: now.mono_ns, worked, puts, pulls });
    }

    /// Lengths of the turns that stored messages, once a message, of the last one to two minutes.
    pub fn puts(&self) -> Histogram {
        let mut all = self.puts[0].clone();
        all.add(&self.puts[1]);
        all
    }

    #[cold]
    fn next_minute(&mut self, now: &TurnTime) {
        if now.mono_ns >= self.minute_ends_ns + MINUTE_NS {
            self.puts[0].clear(); // It is longer ago than the last minute.
        }
        self.puts.swap(0, 1);
        self.puts[0].clear();
        self.minute_ends_ns = (now.mono_ns / MINUTE_NS + 1) * MINUTE_NS;
    }
}

const MINUTE_NS: u64 = 60_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono_ns: u64) -> TurnTime {
        TurnTime { mono_ns, wall_ms: 0 }
    }

    /// Goal: only turns with work count, each for what it did. Method: work, idle, work.
    #[test]
    fn turns_with_work_are_measured() {
        let mut pace = Pace::default();
        assert_eq!(pace.begin(&at(1_000)), None);
        pace.end(&at(1_000), true, 3, 0);
        assert_eq!(pace.begin(&at(1_010)), Some(10));
        pace.end(&at(1_010), false, 0, 0);
        assert_eq!(pace.begin(&at(9_000_000)), None, "an idle turn may have slept");
        pace.end(&at(9_000_000), true, 0, 1);
        assert_eq!(pace.begin(&at(9_000_100)), Some(100));
        assert_eq!((pace.turns, pace.busy_turns, pace.busy_ns), (3, 2, 110));
        assert_eq!((pace.longest_put_ns, pace.longest_pull_ns), (10, 100));
        let puts = pace.puts();
        assert_eq!((puts.count(), puts.max()), (3, 10));
    }

    /// Goal: what was long ago is forgotten. Method: one put each minute.
    #[test]
    fn two_minutes_are_remembered() {
        let mut pace = Pace::default();
        for minute in 1..5 {
            let now = at(minute * MINUTE_NS);
            pace.begin(&now);
            pace.end(&now, true, 1, 0);
            pace.begin(&at(now.mono_ns + minute));
        }
        assert_eq!((pace.puts().count(), pace.puts().max()), (2, 4));
        assert_eq!(pace.longest_put_ns, 4);
        pace.begin(&at(7 * MINUTE_NS));
        assert_eq!(pace.puts().count(), 0, "nothing was stored for two minutes");
    }
}
