//! The index files: from a key to the messages that bear it. `index/<yyyyMMddHHmmssSSS>`, RocketMQ's format.
//!
//! ```text
//! record -> collect: hashes of its keys, a few at a time (intake.rs) -> entries, slots: in memory (state.rs, tail.rs)
//!           settle: once the record has reached its level (unsettled.rs): seen by queries, whole pieces to the file (out.rs)
//!           flush: the rest and the header to the file -> sync -> `indexed` (position.rs)
//! query: slot of the hash -> newest entry -> previous -> previous ..          (query.rs)
//! ```
//!
//! The slots of the file that is being filled are in memory, and go to it when it is full and at a clean stop: after a kill they
//! are made again from its entries (recover.rs). What the index lacks, for whatever reason, it gets from the log, a bounded
//! stretch with every step. It fails alone: a key that cannot be written is no reason to refuse a message.
//! Implements D-10 (docs/PROMISES.md).

pub(crate) mod format;
pub(crate) mod hash;
mod intake;
pub(crate) mod keys;
mod out;
mod position;
pub(crate) mod query;
mod recover;
mod state;
mod tail;
mod unsettled;

pub(crate) use recover::LogBounds;
pub(crate) use state::Shared;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::brief::{Brief, Labels};
use crate::config::StoreConfig;
use crate::error::MediumError;
use crate::index::intake::Intake;
use crate::index::out::Out;
use crate::index::position::PositionFile;
use crate::index::state::Current;
use crate::index::unsettled::Unsettled;
use crate::medium::Medium;
use crate::offsets::PhysicalOffset;
use crate::writers::Writers;

/// The index, for the one who writes it.
pub(crate) struct IndexFiles {
    medium: Arc<dyn Medium>,
    config: StoreConfig,
    intake: Intake,
    unsettled: Unsettled,
    /// The keys of all messages below are entries that have reached their level.
    settled: PhysicalOffset,
    shared: Arc<Shared>,
    out: Out,
    position: PositionFile,
    /// Since something has failed, until the next try.
    stands_since_ms: Option<i64>,
    /// A sync has failed: what was not synced before is read as if it were written, and may never be.
    must_reload: bool,
}

impl IndexFiles {
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Who may help to write the files.
    pub fn writers(&self) -> Arc<Writers> {
        self.out.writers()
    }

    /// Takes the keys of a record, if it is the next one.
    #[inline]
    pub fn collect(&mut self, record: &Brief<'_>, labels: &Labels<'_>) {
        if self.intake.collect(record, labels) {
            self.make_entries();
        }
    }

    /// As [`IndexFiles::collect`], for the blank that ends a commitlog file.
    pub fn pass_blank(&mut self, at: PhysicalOffset, bytes: u64) {
        self.intake.pass_blank(at, bytes);
    }

    /// Makes entries of the keys that were collected: they wait for their level in memory.
    pub fn mark(&mut self) {
        self.make_entries();
        self.unsettled.mark(self.shared.lock().current.as_ref(), self.intake.taken_to());
    }

    /// As far as there is room for them.
    fn make_entries(&mut self) {
        if let Some(current) = &mut self.shared.lock().current {
            let room = current.room();
            self.intake.first().for_each(|key| current.prefetch(key));
            self.intake.take(room).for_each(|key| current.insert(&key));
        }
    }

    /// Tells of the entries whose messages lie below `level`, and fetches from the log what it has not seen. Returns whether there is
    /// more to fetch.
    pub fn settle(&mut self, level: PhysicalOffset, now_ms: i64) -> bool {
        if self.stands_since_ms.is_some_and(|since_ms| now_ms >= since_ms && now_ms - since_ms < RETRY_MS) {
            return false;
        }
        self.stands_since_ms = None;
        let settled = self.reload(level).and_then(|()| self.try_settle(level, now_ms));
        self.note(settled, now_ms).unwrap_or(false)
    }

    fn try_settle(&mut self, level: PhysicalOffset, now_ms: i64) -> Result<bool, MediumError> {
        let more = self.intake.fetch(level)?;
        self.mark();
        loop {
            self.settle_entries(level);
            self.out.write_pieces(&self.shared)?;
            if !self.intake.is_due(level) || self.unsettled.from().is_some() {
                break;
            }
            self.out.write_tail(&self.shared)?;
            if self.shared.lock().current.as_ref().is_none_or(Current::is_full) {
                self.roll(now_ms)?;
            }
            self.mark();
        }
        let sure = self.unsettled.from().unwrap_or(self.intake.taken_to());
        self.settled = sure.min(level);
        Ok(more)
    }

    fn settle_entries(&mut self, level: PhysicalOffset) {
        if let (Some(header), Some(current)) = (self.unsettled.settle(level), &mut self.shared.lock().current)
        {
            current.settled = header;
        }
    }

    /// Puts the full file aside, if there is one, and begins the next.
    fn roll(&mut self, now_ms: i64) -> Result<(), MediumError> {
        let used = self.put_aside()?;
        let (name, header) = self.shared.lock().next_file(now_ms + self.config.utc_offset_ms);
        self.out.create(&name)?;
        // A new table is zeroed lazily by the operating system: a broker of few keys never has all of it.
        let slots = match used {
            Some(mut used) => {
                used.fill(0);
                used
            }
            None => vec![0; self.config.index_shape.slots as usize],
        };
        let current = Current::new(name, header, slots, &self.config, None)?;
        self.shared.lock().current = Some(current);
        Ok(())
    }

    /// Returns the slots of the file, which are the next one's: one table for the life of the broker.
    fn put_aside(&mut self) -> Result<Option<Vec<u32>>, MediumError> {
        if self.shared.lock().current.is_some() {
            self.out.write_slots(&self.shared)?;
            self.out.write_header(&self.shared)?;
        }
        let mut state = self.shared.lock();
        let Some(current) = state.current.take() else { return Ok(None) };
        self.out.leave(&current);
        state.full.push((current.name, current.header));
        Ok(Some(current.slots))
    }

    /// Entries, header and position go to the disk. Returns the last time that is in full, synced files, if it has moved.
    pub fn flush(&mut self, now_ms: i64) -> Option<i64> {
        if self.stands_since_ms.is_some() {
            return None;
        }
        let flushed = self.try_flush();
        self.must_reload |= flushed.is_err();
        self.note(flushed, now_ms).flatten()
    }

    fn try_flush(&mut self) -> Result<Option<i64>, MediumError> {
        let full_to = self.out.sync_full()?;
        self.out.sync(&self.shared)?;
        let last = self.shared.lock().last();
        self.position.save(&*self.medium, self.settled, last)?;
        Ok(full_to)
    }

    /// A clean stop: slots and all.
    pub fn close(&mut self, level: PhysicalOffset, now_ms: i64) -> Option<i64> {
        while self.settle(level, now_ms) {}
        if self.stands_since_ms.is_some() {
            return None; // Told already; the next start makes it good.
        }
        let closed = self.out.write_slots(&self.shared).and_then(|()| self.try_flush());
        self.note(closed, now_ms).flatten()
    }

    /// Removes the oldest files whose messages are all gone, never the newest file.
    pub fn expire(&mut self, log_min: PhysicalOffset) -> Result<(), MediumError> {
        let dir = dir_of(&self.config.root);
        loop {
            let expired = self.shared.lock().take_expired(log_min.0);
            let Some(expired) = expired else { return Ok(()) };
            if let Err(error) = self.medium.remove(&dir.join(&expired.0)) {
                self.shared.lock().put_back(expired);
                return Err(error);
            }
        }
    }

    /// After a failed sync, goes back to what is certain to be on the disk, as a start does. What is missing then comes from the log once
    /// more.
    fn reload(&mut self, level: PhysicalOffset) -> Result<(), MediumError> {
        if !self.must_reload {
            return Ok(());
        }
        self.out.abandon();
        let log = LogBounds { min: PhysicalOffset(0), end: level, clean: false, index_timestamp: 0 };
        let mut fresh = IndexFiles::load(Arc::clone(&self.medium), &self.config, &log)?;
        let shared = Arc::clone(&self.shared);
        *shared.lock() = std::mem::take(&mut *fresh.shared.lock());
        fresh.out.take_writers(&mut self.out);
        *self = IndexFiles { shared, ..fresh };
        Ok(())
    }

    fn note<T>(&mut self, result: Result<T, MediumError>, now_ms: i64) -> Option<T> {
        let noted = result.inspect_err(|error| {
            log::error!("the index stands still, queries by key miss what comes now: {error}");
            self.stands_since_ms = Some(now_ms);
        });
        noted.ok()
    }
}

/// The directory of a store's index files.
pub(crate) fn dir_of(root: &Path) -> PathBuf {
    root.join("index")
}

/// After a failure.
const RETRY_MS: i64 = 5_000;

#[cfg(test)]
mod tests;
