//! The cold half of the store: one bounded step of work at a time, on an ordinary thread.
//!
//! ```text
//! step: hot log --write--> commitlog/ and consumequeue/ --> written_to --fdatasync--> synced_to --> checkpoint
//!                  '- under load: begun now, done by writers while the next run is made ready (ahead.rs)
//! ```
//!
//! A segment of the hot log is free again when its records and their queue entries are in the files. Under SYNC_FLUSH
//! every step that wrote also syncs: all messages that came in since share that sync (group commit). A write or sync that
//! fails turns the log read-only for good: what is in the hot log stays there and is replayed by the next start.
//! Implements D-2, D-3 and D-7 (docs/PROMISES.md).

mod ahead;
mod clean;
mod mend;

use std::path::PathBuf;
use std::sync::Arc;

use crate::arena::{self, HotReader};
use crate::config::{FlushMode, StoreConfig};
use crate::consumequeue::census::{Census, Level};
use crate::disk::{Disk, TakeInError};
use crate::error::{MediumError, StoreError};
use crate::ground::Ground;
use crate::marks::Marks;
use crate::medium::Medium;
use crate::offsets::PhysicalOffset;
use crate::read_ahead::ReadAhead;
use crate::reader::ColdReader;
use crate::trash::Trash;
use crate::writers::{Runs, Writers};
use ahead::Ahead;
use clean::Cleaning;
use mend::Mending;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// There may be more: step again at once.
    Did { bytes: usize },
    /// Nothing to do: sleep a little (1 ms; under SYNC_FLUSH spin or sleep shorter, a send is waiting for the next step).
    Idle,
}

/// The cold half of an open store.
pub struct ColdStore {
    pub(crate) hot: HotReader,
    pub(crate) ahead: Ahead,
    pub(crate) marks: Arc<Marks>,
    pub(crate) disk: Disk,
    pub(crate) medium: Arc<dyn Medium>,
    pub(crate) config: StoreConfig,
    pub(crate) cleaning: Cleaning,
    pub(crate) mending: Mending,
    pub(crate) trash: Arc<Trash>,
    hot_dir: PathBuf,
    last_write_ms: i64,
    last_sync_ms: i64,
    last_queue_sync_ms: i64,
    last_census_ms: i64,
    /// Store time up to which the running round of queue syncs reaches, and what there was when it began.
    round: Option<(i64, Census)>,
    failure: Option<String>,
    reader: ColdReader,
    read_ahead: Option<Arc<ReadAhead>>,
    _lock: Box<dyn Send>,
}

/// What `open` puts together.
pub(crate) struct Parts {
    pub hot: HotReader,
    pub marks: Arc<Marks>,
    pub disk: Disk,
    pub medium: Arc<dyn Medium>,
    pub config: StoreConfig,
    pub trash: Trash,
    pub hot_dir: PathBuf,
    pub lock: Box<dyn Send>,
}

impl ColdStore {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { hot, marks, disk, medium, config, trash, hot_dir, lock } = parts;
        let index = disk.index.as_ref().map(|index| index.shared());
        let read_ahead = ReadAhead::new(Arc::clone(&medium), Arc::clone(&marks), &config).map(Arc::new);
        let reader =
            ColdReader::new(Arc::clone(&medium), Arc::clone(&marks), index, read_ahead.clone(), &config);
        let runs = Runs::new(Arc::clone(&medium), Some(Arc::clone(&marks)));
        Self {
            hot,
            ahead: Ahead::new(runs, config.flush),
            marks,
            disk,
            medium,
            config,
            cleaning: Cleaning::default(),
            mending: Mending::default(),
            trash: Arc::new(trash),
            hot_dir,
            last_write_ms: 0,
            last_sync_ms: 0,
            last_queue_sync_ms: 0,
            last_census_ms: 0,
            round: None,
            failure: None,
            reader,
            read_ahead,
            _lock: lock,
        }
    }

    /// One bounded piece of work: at most 4 MiB written, one sync of the log, a few syncs of queues.
    pub fn step(&mut self, now_ms: i64) -> Work {
        if self.failure.is_some() {
            return Work::Idle;
        }
        self.note_now(now_ms);
        match self.try_step(now_ms) {
            Ok(work) => work,
            Err(Failure::Medium(error) | Failure::TakeIn(TakeInError::Medium(error)))
                if error.is_no_space() =>
            {
                self.note_no_space(&error);
                self.clean_some(now_ms);
                Work::Idle
            }
            Err(failure) => {
                self.fail(failure);
                Work::Idle
            }
        }
    }

    /// Why the log is read-only, if it is.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// A reader of its own for what is no longer hot; for one more thread, if wanted.
    pub fn new_reader(&self) -> ColdReader {
        let index = self.disk.index.as_ref().map(|index| index.shared());
        let (medium, marks) = (Arc::clone(&self.medium), Arc::clone(&self.marks));
        ColdReader::new(medium, marks, index, self.read_ahead.clone(), &self.config)
    }

    /// What its readers share, for threads that help to read ahead.
    pub fn read_ahead(&self) -> Option<Arc<ReadAhead>> {
        self.read_ahead.clone()
    }

    /// This half's own reader.
    pub fn reader(&mut self) -> &mut ColdReader {
        &mut self.reader
    }

    /// Writes out all that was published when this was called.
    pub fn catch_up(&mut self, now_ms: i64) {
        self.note_now(now_ms);
        while self.failure.is_none() && (self.ahead.is_under_way() || self.waiting().0 > 0) {
            let done = match self.ahead.is_under_way() {
                true => self.finish_one(now_ms),
                false => self.write_some(now_ms).map(drop),
            };
            match done {
                Ok(()) => {}
                Err(Failure::Medium(error) | Failure::TakeIn(TakeInError::Medium(error)))
                    if error.is_no_space() =>
                {
                    return self.note_no_space(&error);
                }
                Err(failure) => self.fail(failure),
            }
        }
    }

    /// Deleted files whose blocks are to be freed, step by step, by a thread that nobody waits for.
    pub fn trash(&self) -> Arc<Trash> {
        Arc::clone(&self.trash)
    }

    /// Under SYNC_FLUSH: what is to be made ready ahead of the log, step by step, by a thread that nobody waits for.
    pub fn ground(&self) -> Option<Arc<Ground>> {
        self.disk.log.ground()
    }

    /// What two threads may help with, until the store is closed; `None` under SYNC_FLUSH. Without them it works as well.
    pub fn writers(&self) -> Option<Arc<Writers>> {
        self.ahead.writers()
    }

    /// What one more thread may help with, as with [`ColdStore::writers`]; `None`: no index is kept.
    pub fn index_writers(&self) -> Option<Arc<Writers>> {
        self.disk.index.as_ref().map(|index| index.writers())
    }

    /// Whether appends may soon find no room: half of the hot log waits.
    pub fn is_far_behind(&self) -> bool {
        self.hot.segments_behind() * 2 >= self.config.hot_segments
    }

    /// First byte of the log that is kept.
    pub fn min_physical(&self) -> PhysicalOffset {
        self.marks.min_physical()
    }

    /// Everything written to files below.
    pub fn written_to(&self) -> PhysicalOffset {
        self.marks.written_to()
    }

    /// A clean stop, after the shard has dropped its half: writes and syncs everything, saves the checkpoint, gives the hot
    /// log back and removes `abort`. When it fails the stop is an unclean one: the next start replays the hot log.
    pub fn close(mut self, now_ms: i64) -> Result<(), StoreError> {
        if !self.marks.writer_gone() {
            return Err(StoreError::WriterAlive);
        }
        self.catch_up(now_ms);
        if self.failure.is_some() || !self.hot.pending().bytes().is_empty() {
            return Ok(()); // `abort` stays, as with a full disk: told when it happened.
        }
        if let Err(error) = self.sync_all(now_ms) {
            self.hot.doubt();
            return Err(error.into());
        }
        arena::retire(self.hot);
        self.medium.remove_dir(&self.hot_dir)?;
        for name in ABORT_NAMES {
            self.medium.remove(&self.config.root.join(name))?;
        }
        self.medium.sync_dir(&self.config.root)?;
        Ok(())
    }

    /// All that was written is on the disk when this returns, and the checkpoint says so.
    fn sync_all(&mut self, now_ms: i64) -> Result<(), MediumError> {
        self.disk.log.sync()?;
        self.marks.set_synced_to(self.marks.written_to());
        // The round that is under way first: it does not know the newest entries.
        self.disk.queues.sync_some(usize::MAX)?;
        self.disk.queues.begin_sync();
        self.disk.queues.sync_some(usize::MAX)?;
        let end = self.marks.written_to();
        // Without it the next start looks less closely.
        if let Err(error) = self.disk.queues.save_census(&self.config.root, end) {
            log::warn!("{error}");
        }
        if let Some(timestamp) = self.disk.index.as_mut().and_then(|index| index.close(end, now_ms)) {
            self.disk.checkpoint.index_timestamp = timestamp;
        }
        self.disk.checkpoint.physic_timestamp = self.disk.store_timestamp;
        self.disk.checkpoint.logics_timestamp = self.disk.store_timestamp;
        self.disk.checkpoint.save()
    }

    fn try_step(&mut self, now_ms: i64) -> Result<Work, Failure> {
        let mends = self.mend_some(now_ms)?;
        let (waiting, may_begin) = self.waiting();
        let is_sync = self.config.flush == FlushMode::Sync;
        let write_now = is_sync || waiting >= LAZY_BYTES || is_due(now_ms, self.last_write_ms, LAZY_MS);
        let mut bytes = 0;
        if may_begin {
            bytes = self.begin_some(now_ms)?;
        } else if self.ahead.is_under_way() {
            self.finish_one(now_ms)?;
        } else if waiting > 0 && write_now {
            bytes = self.write_some(now_ms)?;
        }
        let unsynced = self.marks.synced_to() < self.marks.written_to();
        let sync_due = is_due(now_ms, self.last_sync_ms, self.config.flush_interval_ms);
        let may_wait = self.ahead.may_wait();
        if unsynced && (is_sync || (sync_due && may_wait)) {
            self.sync_log(now_ms)?;
        }
        let indexes = self.settle_index(now_ms);
        if may_wait {
            self.sync_queues(now_ms)?;
        }
        let cleans = self.clean_some(now_ms);
        let wrote_much = bytes >= STEP_BYTES_MAX || self.ahead.is_under_way();
        let more = mends || indexes || cleans || wrote_much || (is_sync && bytes > 0);
        Ok(if more { Work::Did { bytes } } else { Work::Idle })
    }

    /// Writes at most one step's bytes of one hot segment.
    pub(crate) fn write_some(&mut self, now_ms: i64) -> Result<usize, Failure> {
        let began = self.medium.elapsed_ns();
        let taken = self.disk.take_in(&self.hot.pending(), STEP_BYTES_MAX, false)?;
        self.marks.times.write.record(self.medium.elapsed_ns() - began);
        self.disk.queues.write_out()?;
        self.hot.pass(taken.bytes);
        self.note_passed(now_ms);
        Ok(taken.bytes)
    }

    /// What was passed is in the files, entries included.
    pub(crate) fn note_passed(&mut self, now_ms: i64) {
        self.note_space();
        self.marks.set_written_to(self.hot.position());
        self.last_write_ms = now_ms;
        if is_due(now_ms, self.last_census_ms, CENSUS_MS) {
            self.last_census_ms = now_ms;
            let census = self.disk.queues.census(self.disk.looked_to);
            self.disk.queues.note_census(census, Level::Written);
        }
    }

    /// Keys of messages that have reached their level become entries. Returns whether the index has more of the log to read.
    fn settle_index(&mut self, now_ms: i64) -> bool {
        let level = match self.config.flush {
            FlushMode::Async => self.marks.written_to(),
            FlushMode::Sync => self.marks.synced_to(),
        };
        self.disk.index.as_mut().is_some_and(|index| index.settle(level, now_ms))
    }

    fn note_now(&mut self, now_ms: i64) {
        self.disk.now_ms = now_ms;
        self.marks.set_now_ms(now_ms);
    }

    fn flush_index(&mut self, now_ms: i64) {
        if let Some(timestamp) = self.disk.index.as_mut().and_then(|index| index.flush(now_ms)) {
            self.disk.checkpoint.index_timestamp = timestamp;
        }
    }

    fn sync_log(&mut self, now_ms: i64) -> Result<(), Failure> {
        let to = self.marks.written_to();
        let timestamp = self.disk.store_timestamp;
        let began = self.medium.elapsed_ns();
        self.disk.log.sync()?;
        self.marks.times.sync.record(self.medium.elapsed_ns() - began);
        self.marks.set_synced_to(to);
        self.disk.checkpoint.physic_timestamp = timestamp;
        self.last_sync_ms = now_ms;
        Ok(())
    }

    /// A round over all queues with new entries, a few per step; then the checkpoint.
    fn sync_queues(&mut self, now_ms: i64) -> Result<(), Failure> {
        if self.round.is_none() {
            if !is_due(now_ms, self.last_queue_sync_ms, QUEUE_SYNC_MS) {
                return Ok(());
            }
            self.disk.queues.write_out()?; // The checkpoint will speak for all that was looked at.
            if !self.disk.queues.begin_sync() {
                return Ok(());
            }
            self.last_queue_sync_ms = now_ms;
            self.round = Some((self.disk.store_timestamp, self.disk.queues.census(self.disk.looked_to)));
        }
        let max = if self.ahead.is_under_way() { 1 } else { QUEUE_SYNCS_PER_STEP };
        if self.disk.queues.sync_some(max)? {
            if let Some((timestamp, census)) = self.round.take() {
                self.disk.checkpoint.logics_timestamp = timestamp;
                self.disk.queues.note_census(census, Level::Synced);
            }
            self.flush_index(now_ms);
            self.disk.checkpoint.save()?;
        }
        Ok(())
    }

    #[cold]
    fn fail(&mut self, failure: Failure) {
        // D-7: nothing that is not yet safe is acknowledged from here on.
        self.marks.set_read_only();
        // After a failed sync the kernel takes the pages for written: a later sync would succeed and mean nothing.
        self.hot.doubt();
        log::error!("the log is read-only from now on: {failure}");
        self.failure = Some(failure.to_string());
    }
}

/// Whether a period is over. A clock that was set back ends every period.
pub(crate) fn is_due(now_ms: i64, last_ms: i64, period_ms: i64) -> bool {
    now_ms < last_ms || now_ms - last_ms >= period_ms
}

/// What ends all appending.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Medium(#[from] MediumError),
    #[error(transparent)]
    TakeIn(#[from] TakeInError),
}

/// Exist while a broker runs; the second is the one of 5.x.
pub(crate) const ABORT_NAMES: [&str; 2] = ["abort", "abort.bak"];

/// Bytes written by one step.
pub(crate) const STEP_BYTES_MAX: usize = 4 << 20;
/// Less than this waits up to `LAZY_MS` for more: fewer, larger writes.
const LAZY_BYTES: usize = 1 << 20;
const LAZY_MS: i64 = 10;
const QUEUE_SYNC_MS: i64 = 1_000;
/// So much of the log at most is looked at once more after a kill.
const CENSUS_MS: i64 = 100;
const QUEUE_SYNCS_PER_STEP: usize = 8;
