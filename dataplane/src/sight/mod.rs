//! Looking into a running shard, without being noticed by it.
//!
//! ```text
//! afterburner conns --unix socket--> cold/sight --Look, with room--> shard: fills it, a bounded piece
//!                  <---- JSON -----              <-- the same Look--
//! ```
//!
//! Whoever looks brings the memory: a [`Look`] comes with its vectors allocated, the shard copies into them and sends it
//! back. So a look costs the shard one test a millisecond when nobody looks, and a bounded copy when somebody does; no
//! lock, no allocation. The shard fills what it is brought in
//! shard/shown.rs; the other half of the lanes is cold/sight/.

pub mod conns;
pub mod stats;

use std::fmt;

use crate::lane::{LaneIn, LaneOut, lane};
use crate::net::watch::{Capture, Recording};
use crate::time::TurnTime;
use conns::ConnPage;
use stats::StatsPage;

/// A question that becomes its own answer.
#[derive(Debug)]
pub enum Look {
    Conns(ConnPage),
    Stats(Box<StatsPage>),
    /// Begins a capture, or ends it (None). Comes back with what was there before; with the same and `done` false when
    /// there are no frames here.
    Capture {
        capture: Option<Box<Capture>>,
        done: bool,
    },
    /// Takes the recording for a fresh one; `done` is false when nothing is recorded.
    Recording {
        recording: Box<Recording>,
        done: bool,
    },
}

/// A look on its way; the answer carries the same number.
#[derive(Debug)]
pub struct Numbered {
    pub number: u64,
    pub look: Look,
}

/// Something took longer than latencyBoundMicros.
#[derive(Debug)]
pub struct Crossing {
    pub took_ns: u64,
    pub wall_ms: i64,
    /// The frames before it.
    pub recording: Box<Recording>,
}

impl fmt::Display for Crossing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a turn or a send took {:.3} ms, longer than latencyBoundMicros", self.took_ns as f64 / 1e6)
    }
}

/// The shard's half.
pub struct Sight {
    asked: LaneOut<Numbered>,
    answered: LaneIn<Numbered>,
    crossings: LaneIn<Crossing>,
    spares: LaneOut<Box<Recording>>,
    looked_ms: u64,
}

/// The half of who writes recordings to files.
pub struct RecorderEnds {
    pub crossings: LaneOut<Crossing>,
    /// One recording as large as the shard's.
    pub spares: LaneIn<Box<Recording>>,
}

/// The half of who looks.
pub struct SightEnds {
    pub ask: LaneIn<Numbered>,
    pub answers: LaneOut<Numbered>,
    pub recorder: RecorderEnds,
}

impl Sight {
    /// Both halves of a pair of lanes.
    pub fn new() -> (Sight, SightEnds) {
        let (ask, asked) = lane(LOOKS_MAX);
        let (answered, answers) = lane(LOOKS_MAX);
        let (crossings, crossed) = lane(1);
        let (spare, spares) = lane(1);
        let recorder = RecorderEnds { crossings: crossed, spares: spare };
        let sight = Sight { asked, answered, crossings, spares, looked_ms: 0 };
        (sight, SightEnds { ask, answers, recorder })
    }

    /// Who is woken when somebody looks.
    pub fn woken_by(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.asked.woken_by(wake);
    }

    /// The next look, once a millisecond, or at once when there is nothing else to do.
    pub fn next(&mut self, now: &TurnTime, idle: bool) -> Option<Numbered> {
        if self.looked_ms == now.mono_ms() && !idle {
            return None;
        }
        self.looked_ms = now.mono_ms();
        self.asked.pop()
    }

    /// A full lane means that nobody takes answers any more.
    pub fn answer(&self, numbered: Numbered) {
        let _ = self.answered.push(numbered);
    }

    /// Room for the frames recorded from now on; None while a crossing is being written.
    pub fn spare(&self) -> Option<Box<Recording>> {
        self.spares.pop()
    }

    /// There is one spare, so there is one crossing, and the lane holds it.
    pub fn tell(&self, crossing: Crossing) {
        let _ = self.crossings.push(crossing);
        self.crossings.wake();
    }
}

/// Looks that may be under way.
const LOOKS_MAX: usize = 8;
