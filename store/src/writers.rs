//! Writes of the log that are under way while the next run is made ready, under ASYNC_FLUSH when there is much to write.
//!
//! ```text
//! disk thread:   look at run 3 .. begin it .. entries of 3 .. look at run 4 .. finish 1 (wait for it)
//! writers:       | run 1 ------------ |
//!                          | run 2 ------------ |                    the device has two runs at a time, and never none
//! ```
//!
//! Runs are whole blocks that do not overlap, so their order on the disk is nobody's business; they are finished in order.
//! Whoever has a thread to spare calls `serve`. A run that nobody has taken when it is waited for is written by who waits: without
//! writers all of it is as if there were one thread.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::arena::HotRun;
use crate::error::MediumError;
use crate::index::tail::Piece;
use crate::marks::Marks;
use crate::medium::{Medium, MediumFile};

/// Shared by who hands out runs and who writes them.
pub struct Writers {
    medium: Arc<dyn Medium>,
    /// Where it is counted how long a write takes, if anybody asks.
    marks: Option<Arc<Marks>>,
    state: Mutex<State>,
    begun: Condvar,
    done: Condvar,
}

#[derive(Default)]
struct State {
    /// In the order of the log.
    runs: VecDeque<Run>,
    /// How many have left `runs` since the start: the number of its first.
    finished: u64,
    is_closed: bool,
}

enum Run {
    Begun(Write),
    UnderWay,
    Done(Result<(), MediumError>),
}

/// A run of whole blocks, and where it goes.
pub(crate) struct Write {
    pub place: Place,
    pub run: Bytes,
}

/// What is written.
pub(crate) enum Bytes {
    Log(HotRun),
    /// Of an index file, from this byte of the piece on.
    Index(Arc<Piece>, usize),
}

impl Bytes {
    fn get(&self) -> &[u8] {
        match self {
            Self::Log(run) => run.bytes(),
            Self::Index(piece, skip) => &piece.bytes()[*skip..],
        }
    }
}

/// Where a run goes, past the page cache.
pub(crate) struct Place {
    pub file: Arc<dyn MediumFile>,
    pub from: u64,
}

impl Writers {
    pub(crate) fn new(medium: Arc<dyn Medium>, marks: Option<Arc<Marks>>) -> Self {
        let (begun, done) = (Condvar::new(), Condvar::new());
        Self { medium, marks, state: Mutex::default(), begun, done }
    }

    /// The life of a thread that writes: until the store is gone.
    pub fn serve(&self) {
        let mut state = self.state();
        while !state.is_closed {
            state = match take(&mut state, false) {
                Some((number, write)) => {
                    drop(state);
                    self.write(number, write);
                    self.state()
                }
                None => self.begun.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Writes one run, for who drives all threads himself: the first that nobody has taken, or the last. `false`: there is none.
    pub fn step(&self, is_last: bool) -> bool {
        let taken = take(&mut self.state(), is_last);
        let Some((number, write)) = taken else { return false };
        self.write(number, write);
        true
    }

    pub(crate) fn begin(&self, write: Write) {
        self.state().runs.push_back(Run::Begun(write));
        self.begun.notify_one();
    }

    /// Waits for the first run. `None`: there is none.
    pub(crate) fn finish(&self) -> Option<Result<(), MediumError>> {
        let mut state = self.state();
        loop {
            match state.runs.pop_front() {
                Some(Run::Done(done)) => {
                    state.finished += 1;
                    return Some(done);
                }
                Some(Run::Begun(write)) => {
                    state.runs.push_front(Run::UnderWay);
                    let number = state.finished;
                    drop(state);
                    self.write(number, write);
                    state = self.state();
                }
                Some(Run::UnderWay) => {
                    state.runs.push_front(Run::UnderWay);
                    state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                None => return None,
            }
        }
    }

    /// As [`Writers::finish`], without waiting: `None` too when the first run is not done.
    pub(crate) fn finish_done(&self) -> Option<Result<(), MediumError>> {
        let mut state = self.state();
        match state.runs.pop_front()? {
            Run::Done(done) => {
                state.finished += 1;
                Some(done)
            }
            other => {
                state.runs.push_front(other);
                None
            }
        }
    }

    /// What nobody has taken is given up, what is under way is waited for.
    pub(crate) fn abandon(&self) {
        let mut state = self.state();
        let untaken = state.runs.iter_mut().filter(|run| matches!(run, Run::Begun(_)));
        untaken.for_each(|run| *run = Run::Done(Ok(())));
        drop(state);
        while self.finish().is_some() {}
    }

    /// The end of all who serve.
    pub(crate) fn close(&self) {
        self.state().is_closed = true;
        self.begun.notify_all();
    }

    fn write(&self, number: u64, write: Write) {
        let began = self.medium.elapsed_ns();
        let done = write.place.file.write_at(write.place.from, write.run.get());
        if let Some(marks) = &self.marks {
            marks.times.write.record(self.medium.elapsed_ns() - began);
        }
        drop(write); // The log may go on in its segment once this is told.
        let mut state = self.state();
        let nth = (number - state.finished) as usize;
        state.runs[nth] = Run::Done(done);
        self.done.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a run that nobody has taken, and says which it is.
fn take(state: &mut State, is_last: bool) -> Option<(u64, Write)> {
    let is_begun = |run: &Run| matches!(run, Run::Begun(_));
    let nth = match is_last {
        true => state.runs.iter().rposition(is_begun)?,
        false => state.runs.iter().position(is_begun)?,
    };
    match std::mem::replace(&mut state.runs[nth], Run::UnderWay) {
        Run::Begun(write) => Some((state.finished + nth as u64, write)),
        _ => None,
    }
}
