//! The moment a step of the core happens at, as its caller saw it.
//!
//! The core never reads a clock: every step takes a `Time`, so a test moves hours in a microsecond.

use std::time::Duration;

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Since some fixed start; never goes back. Deadlines are measured on it.
    pub mono: Duration,
    /// Milliseconds since 1970; what goes on the wire and into message ids.
    pub wall_ms: i64,
}

impl Time {
    /// The same moment `later` on, by both clocks.
    #[must_use]
    pub fn after(self, later: Duration) -> Time {
        let later_ms = i64::try_from(later.as_millis()).expect("a wait is shorter than 292 million years");
        Time { mono: self.mono + later, wall_ms: self.wall_ms + later_ms }
    }
}
