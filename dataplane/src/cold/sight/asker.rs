//! Asks the shard, and waits for it as the shard never would.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::rows::ConnJson;
use crate::lane::{LaneIn, LaneOut};
use crate::net::watch::{Capture, Recording};
use crate::sight::conns::ConnPage;
use crate::sight::stats::StatsPage;
use crate::sight::{Look, Numbered};

/// Our ends of the lanes. One asks at a time; the others wait in line.
pub struct Asker {
    ends: Mutex<Numbering>,
}

struct Numbering {
    ask: LaneIn<Numbered>,
    answers: LaneOut<Numbered>,
    last: u64,
}

impl Asker {
    pub fn new(ask: LaneIn<Numbered>, answers: LaneOut<Numbered>) -> Asker {
        Asker { ends: Mutex::new(Numbering { ask, answers, last: 0 }) }
    }

    /// Sends a look and brings it back filled.
    pub fn ask(&self, look: Look) -> Result<Look, String> {
        // A thread that panicked has left nothing half done that matters: numbers tell answers apart.
        let mut line = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        line.last += 1;
        let number = line.last;
        if line.ask.push(Numbered { number, look }).is_err() {
            return Err(SILENT.into());
        }
        line.ask.wake();
        let began = Instant::now();
        while began.elapsed() < ANSWER_WAIT_MAX {
            match line.answers.pop() {
                Some(answer) if answer.number == number => return Ok(answer.look),
                Some(_) => {} // Somebody gave up on this one.
                None => std::thread::sleep(POLL),
            }
        }
        Err(SILENT.into())
    }

    /// Every connection, page by page.
    pub fn all_conns(&self) -> Result<Vec<ConnJson>, String> {
        let mut rows = Vec::new();
        let mut next = Some(0);
        while let Some(slot) = next {
            let Look::Conns(page) = self.ask(Look::Conns(ConnPage::from(slot)))? else {
                unreachable!("a look comes back as it went")
            };
            rows.extend(page.rows.iter().map(|row| ConnJson::new(row, page.now_ns)));
            next = page.slot;
        }
        Ok(rows)
    }

    /// All counts and times.
    pub fn stats(&self) -> Result<Box<StatsPage>, String> {
        match self.ask(Look::Stats(Box::default()))? {
            Look::Stats(page) => Ok(page),
            _ => unreachable!("a look comes back as it went"),
        }
    }

    /// Begins a capture, or ends it. `Some` comes back when there are no frames to capture, or from the one that ended.
    pub fn capture(&self, capture: Option<Box<Capture>>) -> Result<Option<Box<Capture>>, String> {
        match self.ask(Look::Capture { capture, done: false })? {
            Look::Capture { capture, .. } => Ok(capture),
            _ => unreachable!("a look comes back as it went"),
        }
    }

    /// Takes the flight recorder's recording for a fresh one of the same size; None when nothing is recorded.
    pub fn swap_recording(&self, recording: Box<Recording>) -> Result<Option<Box<Recording>>, String> {
        match self.ask(Look::Recording { recording, done: false })? {
            Look::Recording { recording, done } => Ok(done.then_some(recording)),
            _ => unreachable!("a look comes back as it went"),
        }
    }
}

const SILENT: &str = "the shard does not answer: it is stopping, or hangs";
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_micros(200);
