//! Looking into a running shard, without being noticed by it.
//!
//! ```text
//! afterburner conns --unix socket--> cold/sight --Look, with room--> shard: fills it, a bounded piece
//!                  <---- JSON -----              <-- the same Look--
//! ```
//!
//! Whoever looks brings the memory: a [`Look`] comes with its vectors allocated, the shard copies into them and sends it
//! back. So a look costs the shard one test a millisecond when nobody looks, and a bounded copy when somebody does; no
//! lock, no allocation. The other half of the lanes is cold/sight/.

pub mod conns;
pub mod histogram;
pub mod pace;
pub mod stages;
pub mod stats;

use crate::lane::{LaneIn, LaneOut, lane};
use crate::net::Net;
use crate::shard::Shard;
use crate::time::TurnTime;
use conns::ConnPage;
use stats::StatsPage;

/// A question that becomes its own answer.
#[derive(Debug)]
pub enum Look {
    Conns(ConnPage),
    Stats(Box<StatsPage>),
}

/// A look on its way; the answer carries the same number.
#[derive(Debug)]
pub struct Numbered {
    pub number: u64,
    pub look: Look,
}

/// The shard's half.
pub struct Sight {
    asked: LaneOut<Numbered>,
    answered: LaneIn<Numbered>,
    looked_ms: u64,
}

/// The half of who looks.
pub struct SightEnds {
    pub ask: LaneIn<Numbered>,
    pub answers: LaneOut<Numbered>,
}

impl Sight {
    /// Both halves of a pair of lanes.
    pub fn new() -> (Sight, SightEnds) {
        let (ask, asked) = lane(LOOKS_MAX);
        let (answered, answers) = lane(LOOKS_MAX);
        (Sight { asked, answered, looked_ms: 0 }, SightEnds { ask, answers })
    }

    /// Who is woken when somebody looks.
    pub fn woken_by(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.asked.woken_by(wake);
    }

    /// The next look, once a millisecond, or at once when there is nothing else to do.
    fn next(&mut self, now: &TurnTime, idle: bool) -> Option<Numbered> {
        if self.looked_ms == now.mono_ms() && !idle {
            return None;
        }
        self.looked_ms = now.mono_ms();
        self.asked.pop()
    }
}

impl<N: Net> Shard<N> {
    /// Answers at most one look. Returns how many there were.
    pub(crate) fn show(&mut self, now: &TurnTime, idle: bool) -> u32 {
        let Some(sight) = self.sight.as_mut() else { return 0 };
        let Some(mut numbered) = sight.next(now, idle) else { return 0 };
        match &mut numbered.look {
            Look::Conns(page) => self.show_conns(page, now),
            Look::Stats(page) => self.show_stats(page, now),
        }
        if let Some(sight) = self.sight.as_ref() {
            // A full lane means that nobody takes answers any more.
            let _ = sight.answered.push(numbered);
        }
        1
    }
}

/// Looks that may be under way.
const LOOKS_MAX: usize = 8;
