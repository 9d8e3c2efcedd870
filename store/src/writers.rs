//! Writes that are under way while the next run is made ready: of the log under ASYNC_FLUSH when there is much to write, and of the index.
//!
//! ```text
//! disk thread:   look at run 3 .. begin it .. entries of 3 .. look at run 4 .. finish 1 (wait for it)
//! writers:       | run 1 ------------ |
//!                          | run 2 ------------ |                    the device has two runs at a time, and never none
//! ```
//!
//! Runs are whole blocks that do not overlap, so their order on the disk is nobody's business; they are finished in order.
//! Whoever has a thread to spare calls `serve`. A run that nobody has taken when it is waited for is written by who waits: without
//! writers all of it is as if there were one thread. What the bytes are is the business of who hands them out.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::MediumError;
use crate::marks::Marks;
use crate::medium::{Medium, MediumFile};

/// Who writes runs; shared with who hands them out.
pub struct Writers {
    medium: Arc<dyn Medium>,
    /// Where it is counted how long a write takes, if anybody asks.
    marks: Option<Arc<Marks>>,
    state: Mutex<State>,
    begun: Condvar,
    done: Condvar,
}

/// The runs that one has handed out. When this is dropped nobody writes any more: the store may be opened again.
pub(crate) struct Runs(Arc<Writers>);

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
    pub bytes: Box<dyn AsRef<[u8]> + Send>,
}

/// Where a run goes, past the page cache.
pub(crate) struct Place {
    pub file: Arc<dyn MediumFile>,
    pub from: u64,
}

impl Writers {
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

    fn write(&self, number: u64, write: Write) {
        let began = self.medium.elapsed_ns();
        let done = write.place.file.write_at(write.place.from, (*write.bytes).as_ref());
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

impl Runs {
    pub fn new(medium: Arc<dyn Medium>, marks: Option<Arc<Marks>>) -> Self {
        let (begun, done) = (Condvar::new(), Condvar::new());
        Self(Arc::new(Writers { medium, marks, state: Mutex::default(), begun, done }))
    }

    /// Who may help.
    pub fn writers(&self) -> Arc<Writers> {
        Arc::clone(&self.0)
    }

    /// How many were begun and not finished.
    pub fn under_way(&self) -> usize {
        self.0.state().runs.len()
    }

    /// Hands out one more.
    pub fn begin(&self, write: Write) {
        self.0.state().runs.push_back(Run::Begun(write));
        self.0.begun.notify_one();
    }

    /// Waits for the first run. `None`: there is none.
    pub fn finish(&self) -> Option<Result<(), MediumError>> {
        let mut state = self.0.state();
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
                    self.0.write(number, write);
                    state = self.0.state();
                }
                Some(Run::UnderWay) => {
                    state.runs.push_front(Run::UnderWay);
                    state = self.0.done.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                None => return None,
            }
        }
    }

    /// As [`Runs::finish`], without waiting: `None` too when the first run is not done.
    pub fn finish_done(&self) -> Option<Result<(), MediumError>> {
        let mut state = self.0.state();
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
    pub fn abandon(&self) {
        let mut state = self.0.state();
        let untaken = state.runs.iter_mut().filter(|run| matches!(run, Run::Begun(_)));
        untaken.for_each(|run| *run = Run::Done(Ok(())));
        drop(state);
        while self.finish().is_some() {}
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        self.abandon();
        self.0.state().is_closed = true;
        self.0.begun.notify_all();
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
