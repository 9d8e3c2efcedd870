//! Writing out under load: the next runs are made ready while some are on their way to the disk (writers.rs).
//!
//! ```text
//! log:   ..| sure | run 1, whole blocks ......| run 2 ............| rest of a block | not looked at yet ..
//!                                                                 '- goes with the run that comes next
//! ```
//!
//! A run ends with a whole block, most often amid a record, so that no two of them touch the same block. What is passed, and told to
//! be written, ends with the last whole record. Runs are passed some at a time; their entries are in their files before, as always.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{ColdStore, Failure, STEP_BYTES_MAX};
use crate::arena::lead_of;
use crate::config::FlushMode;
use crate::error::MediumError;
use crate::medium::Medium;
use crate::offsets::PhysicalOffset;
use crate::writers::{Runs, Write, Writers};

/// What is under way.
pub(crate) struct Ahead {
    runs: Runs,
    /// The last border of records in each run, or before it.
    sure: VecDeque<PhysicalOffset>,
    /// Up to here records were looked at, if anything is under way.
    looked_to: PhysicalOffset,
    /// The last border of records in what was written, to be passed when there is more of it.
    done_to: Option<PhysicalOffset>,
    /// Not under SYNC_FLUSH, nor where runs cannot go past the page cache.
    is_off: bool,
}

impl Ahead {
    pub fn new(runs: Runs, flush: FlushMode) -> Self {
        Self {
            runs,
            sure: VecDeque::new(),
            looked_to: PhysicalOffset(0),
            done_to: None,
            is_off: flush == FlushMode::Sync,
        }
    }

    pub fn is_under_way(&self) -> bool {
        !self.sure.is_empty()
    }

    /// Whether the disk thread may wait for a sync, some milliseconds: the disk has enough to do, or there is nothing to do.
    pub fn may_wait(&self) -> bool {
        self.sure.is_empty() || self.sure.len() >= UNDER_WAY_MAX
    }

    /// Who may help; `None`: there will never be anything to do.
    pub fn writers(&self) -> Option<Arc<Writers>> {
        (!self.is_off).then(|| self.runs.writers())
    }
}

impl ColdStore {
    /// Bytes that wait to be looked at, in one segment; and whether they are better begun than done.
    pub(crate) fn waiting(&mut self) -> (usize, bool) {
        let is_under_way = self.ahead.is_under_way();
        let pending = match is_under_way {
            true => self.hot.pending_at(self.ahead.looked_to),
            false => self.hot.pending(),
        };
        let bytes = pending.bytes().len();
        let is_rest = is_under_way && pending.is_full && bytes > 0;
        (bytes, !self.ahead.is_off && (bytes >= self.config.ahead_bytes_min || is_rest))
    }

    /// Begins the next run. What cannot be begun is written in the ordinary way, when all before it is.
    pub(crate) fn begin_some(&mut self, now_ms: i64) -> Result<usize, Failure> {
        let at = match self.ahead.is_under_way() {
            true => self.ahead.looked_to,
            false => self.hot.position(),
        };
        let pause = gently(self.is_far_behind(), &self.medium);
        let (looked, _) = self.disk.look(&self.hot.pending_at(at), STEP_BYTES_MAX, false, &pause);
        let end = at.plus(looked.taken.bytes as u64);
        let (from, to) = (block_start(at), block_start(end));
        if from == to && looked.taken.bytes > 0 && self.ahead.is_under_way() {
            self.ahead.looked_to = end; // The rest of a segment: it lies before the next one as well.
            return Ok(looked.taken.bytes);
        }
        let place = match from < to {
            true => self.disk.log.begin(from, to)?,
            false => None, // The end of a file, or a fault.
        };
        self.ahead.is_off |= from < to && place.is_none();
        while self.ahead.sure.len() >= UNDER_WAY_MAX || (place.is_none() && self.ahead.is_under_way()) {
            self.finish_one(now_ms)?;
        }
        let Some(place) = place else { return self.write_some(now_ms) };
        self.ahead.sure.push_back(at.plus(looked.whole_blocks as u64));
        self.ahead.looked_to = end;
        self.ahead.runs.begin(Write { place, bytes: Box::new(self.hot.lend(from, to)) });
        Ok(looked.taken.bytes)
    }

    /// Waits for the first of the runs that are under way. When it has failed all of them are to be written again.
    pub(crate) fn finish_one(&mut self, now_ms: i64) -> Result<(), Failure> {
        let (Some(done), Some(sure)) = (self.ahead.runs.finish(), self.ahead.sure.pop_front()) else {
            return Ok(());
        };
        let passed = done.and_then(|()| {
            self.disk.log.finish();
            self.ahead.done_to = Some(sure);
            let is_much = sure.since(self.hot.position()) >= self.pass_bytes_min();
            if is_much || !self.ahead.is_under_way() { self.pass_done(now_ms) } else { Ok(()) }
        });
        passed.map_err(|error| {
            self.ahead.runs.abandon();
            self.ahead.sure.clear();
            self.ahead.done_to = None;
            error.into()
        })
    }

    /// Passes what was written, with its entries: of many runs together, since small writes to the queues cost most of the time.
    fn pass_done(&mut self, now_ms: i64) -> Result<(), MediumError> {
        let pause = gently(self.is_far_behind(), &self.medium);
        while self.disk.queues.write_one_out()? {
            pause();
        }
        if let Some(to) = self.ahead.done_to.take() {
            self.hot.pass_to(to);
            self.note_passed(now_ms);
        }
        Ok(())
    }

    /// A small part of the hot log, so that nobody waits for room because of it.
    fn pass_bytes_min(&self) -> u64 {
        (self.config.hot_bytes as u64 / 32).min(PASS_BYTES_MAX)
    }
}

/// Who uses the same core goes on amid a step: a step of some milliseconds is as long as a client has to have nothing under way at its
/// end. Not while appends may soon have to wait for this thread.
fn gently(is_far_behind: bool, medium: &Arc<dyn Medium>) -> impl Fn() + use<> {
    let medium = Arc::clone(medium);
    move || {
        if !is_far_behind {
            medium.give_way();
        }
    }
}

fn block_start(at: PhysicalOffset) -> PhysicalOffset {
    PhysicalOffset(at.0 - lead_of(at) as i64)
}

/// Two are being written; the others keep the disk busy while this thread waits for a sync or for the page cache.
const UNDER_WAY_MAX: usize = 8;
const PASS_BYTES_MAX: u64 = 16 << 20;
