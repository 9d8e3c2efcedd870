//! SEAM: time. One look at the clock a turn; everybody in the turn shares it.
//!
//! Real half: [`RealClock`]. Simulated half: [`SimClock`], which moves only when it is told to.
//! No other file of this crate may ask the operating system what time it is, except the edge files
//! (main.rs, cold/).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What time it is, for the whole of one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnTime {
    /// Nanoseconds since the clock was made; never goes back. For timers and deadlines.
    pub mono_ns: u64,
    /// Milliseconds since 1970, as the wire and the files want them; may jump.
    pub wall_ms: i64,
}

impl TurnTime {
    /// Time since the clock was made.
    pub fn since_start(&self) -> Duration {
        Duration::from_nanos(self.mono_ns)
    }

    /// Milliseconds since the clock was made.
    pub fn mono_ms(&self) -> u64 {
        self.mono_ns / NANOS_PER_MILLI
    }
}

/// Where a shard gets its time from.
pub trait Clock {
    /// Called once a turn.
    fn read(&mut self) -> TurnTime;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct RealClock {
    start: Instant,
    wall_offset_ms: i64,
    wall_checked_ns: u64,
}

impl RealClock {
    pub fn start() -> Self {
        Self { start: Instant::now(), wall_offset_ms: wall_now_ms(), wall_checked_ns: 0 }
    }

    /// The same time within a turn, for measuring.
    pub fn fine(&self) -> FineClock {
        FineClock { start: Some(self.start) }
    }
}

/// What time it is within a turn: only for measuring, never for deciding. The simulated half stands still.
#[derive(Clone, Copy, Debug)]
pub struct FineClock {
    start: Option<Instant>,
}

impl FineClock {
    pub const STANDING: FineClock = FineClock { start: None };

    /// As [`TurnTime::mono_ns`], later in the same turn.
    pub fn now_ns(&self, turn: &TurnTime) -> u64 {
        self.start.map_or(turn.mono_ns, |start| start.elapsed().as_nanos() as u64)
    }
}

impl Clock for RealClock {
    /// One clock read in most turns: the wall clock is looked at again every few milliseconds only.
    fn read(&mut self) -> TurnTime {
        let mono_ns = self.start.elapsed().as_nanos() as u64;
        if mono_ns - self.wall_checked_ns >= WALL_CHECK_NANOS {
            self.wall_checked_ns = mono_ns;
            self.wall_offset_ms = wall_now_ms() - (mono_ns / NANOS_PER_MILLI) as i64;
        }
        TurnTime { mono_ns, wall_ms: self.wall_offset_ms + (mono_ns / NANOS_PER_MILLI) as i64 }
    }
}

/// A clock that stands still until somebody moves it.
#[derive(Clone, Copy, Debug)]
pub struct SimClock {
    now: TurnTime,
}

impl SimClock {
    /// `wall_ms` is what the wall clock shows at the start of the simulated world.
    pub fn new(wall_ms: i64) -> Self {
        Self { now: TurnTime { mono_ns: 0, wall_ms } }
    }

    pub fn advance(&mut self, by: Duration) {
        let before_ms = self.now.mono_ms();
        self.now.mono_ns += by.as_nanos() as u64;
        self.now.wall_ms += (self.now.mono_ms() - before_ms) as i64;
    }

    /// Somebody sets the wall clock.
    pub fn set_wall(&mut self, by_ms: i64) {
        self.now.wall_ms += by_ms;
    }
}

impl Clock for SimClock {
    fn read(&mut self) -> TurnTime {
        self.now
    }
}

fn wall_now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    since_epoch.as_millis() as i64
}

const NANOS_PER_MILLI: u64 = 1_000_000;
/// How stale the difference between the two clocks may be.
const WALL_CHECK_NANOS: u64 = 4 * NANOS_PER_MILLI;

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: real time moves forward and the wall clock is the system's. Method: read twice around a sleep.
    #[test]
    fn real_clock_moves() {
        let mut clock = RealClock::start();
        let before = clock.read();
        std::thread::sleep(Duration::from_millis(6));
        let after = clock.read();
        assert!(after.mono_ns - before.mono_ns >= 6_000_000);
        assert!((after.wall_ms - wall_now_ms()).abs() <= 2);
    }

    /// Goal: both simulated clocks move together. Method: many steps shorter than a millisecond.
    #[test]
    fn sim_clock_keeps_both_in_step() {
        let mut clock = SimClock::new(1_000);
        for _ in 0..1_000 {
            clock.advance(Duration::from_micros(700));
        }
        assert_eq!(clock.read(), TurnTime { mono_ns: 700_000_000, wall_ms: 1_700 });
    }
}
