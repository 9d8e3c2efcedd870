//! The index files: from a key to the messages that bear it. `index/<yyyyMMddHHmmssSSS>`, RocketMQ's format.
//!
//! ```text
//! record -> collect: hashes of its keys, a few at a time -> entries, slots: in memory
//!           settle: once the record has reached its level: seen by queries, whole pieces to the file (tail.rs, out.rs)
//!           flush: the rest and the header to the file -> sync -> `indexed`
//! query: slot of the hash -> newest entry -> previous -> previous ..          (query.rs)
//! ```
//!
//! The slots of the file that is being filled are in memory, and go to it when it is full and at a clean stop: after a kill they
//! are made again from its entries (recover.rs). What the index lacks, for whatever reason, it gets from the log, a bounded
//! stretch with every step. It fails alone: a key that cannot be written is no reason to refuse a message.
//! Implements D-10 (docs/PROMISES.md).

pub(crate) mod format;
mod hash;
pub(crate) mod keys;
mod out;
pub(crate) mod query;
mod recover;
pub(crate) mod tail;

pub(crate) use recover::LogBounds;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::record::RecordError;

use crate::brief::{self, Brief, Labels, Unit as LogUnit};
use crate::config::StoreConfig;
use crate::error::MediumError;
use crate::files::Files;
use crate::index::format::{IndexEntry, IndexHeader, IndexShape};
use crate::index::hash::TopicHash;
use crate::index::out::Out;
use crate::index::tail::Tail;
use crate::medium::{Medium, MediumFile};
use crate::offsets::PhysicalOffset;
use crate::writers::Writers;

/// What readers see of the index.
#[derive(Default)]
pub(crate) struct Shared(Mutex<State>);

/// All files; the one that is being filled is apart.
#[derive(Default)]
pub(crate) struct State {
    pub full: Vec<(String, IndexHeader)>,
    pub current: Option<Current>,
}

impl State {
    /// The newest file and its count.
    fn last(&self) -> Option<(String, i32)> {
        let current = self.current.as_ref().map(|current| (current.name.clone(), current.settled.count));
        current.or_else(|| self.full.last().map(|(name, header)| (name.clone(), header.count)))
    }
}

/// The file that is being filled.
pub(crate) struct Current {
    pub name: String,
    /// Of all entries.
    pub header: IndexHeader,
    /// Of those whose messages have reached their level: no other is in the file, or told to anybody.
    pub settled: IndexHeader,
    pub slots: Vec<u32>,
    pub tail: Tail,
}

/// Entries that were made together.
struct Mark {
    /// The keys of all messages below were entries before.
    from: PhysicalOffset,
    /// With them.
    header: IndexHeader,
}

/// The index, for the one who writes it.
pub(crate) struct IndexFiles {
    medium: Arc<dyn Medium>,
    dir: PathBuf,
    shape: IndexShape,
    utc_offset_ms: i64,
    shared: Arc<Shared>,
    file: Option<IndexFile>,
    out: Out,
    /// Full files that are still to be synced, with their last times.
    unsynced: Vec<(PathBuf, i64)>,
    is_unsynced: bool,
    log: Files,
    /// The keys of all messages below are collected.
    next: PhysicalOffset,
    /// .. and below this they are entries that have reached their level.
    settled: PhysicalOffset,
    /// Keys on their way to become entries; many only where there is no room for those.
    pending: VecDeque<Key>,
    /// Entries that have not reached their level, and where the next of these begins.
    unsettled: VecDeque<Mark>,
    marked_to: PhysicalOffset,
    topic: TopicHash,
    position: recover::PositionFile,
    trouble: Option<String>,
    /// A sync has failed: what was not synced before is read as if it were written, and may never be.
    must_reload: bool,
    config: StoreConfig,
    retry_ms: i64,
}

/// The open file, and how it is written past the page cache where that can be.
#[derive(Clone)]
struct IndexFile {
    file: Arc<dyn MediumFile>,
    direct: Option<Arc<dyn MediumFile>>,
}

#[derive(Clone, Copy, Debug)]
struct Key {
    hash: i32,
    physical: PhysicalOffset,
    store_timestamp: i64,
}

impl Shared {
    /// What is in here is whole whenever the lock is free.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IndexFiles {
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Takes the keys of a record, if it is the next one.
    #[inline]
    pub fn collect(&mut self, record: &Brief<'_>, labels: &Labels<'_>) {
        let physical = PhysicalOffset(record.physical_offset);
        if physical != self.next || self.pending.len() >= PENDING_MAX {
            return;
        }
        let store_timestamp = record.store_timestamp;
        let Self { pending, topic, .. } = self;
        keys::for_each(record, labels, topic, |hash| {
            pending.push_back(Key { hash, physical, store_timestamp })
        });
        self.next = physical.plus(u64::from(record.size));
        if self.pending.len() >= KEYS_AT_ONCE && self.pending.len() < 2 * KEYS_AT_ONCE {
            self.make_entries();
        }
    }

    /// Makes entries of the keys that were collected: they wait for their level in memory.
    pub fn mark(&mut self) {
        self.make_entries();
        if let Some(current) = &self.shared.lock().current {
            let header = current.header;
            let last = self.unsettled.back().map_or(current.settled.count, |mark| mark.header.count);
            if header.count > last {
                self.unsettled.push_back(Mark { from: self.marked_to, header });
            }
        }
        self.marked_to = self.pending.front().map_or(self.next, |key| key.physical);
    }

    /// Who may help to write the files.
    pub fn writers(&self) -> Arc<Writers> {
        self.out.writers()
    }

    /// As [`IndexFiles::collect`], for the blank that ends a commitlog file.
    pub fn pass_blank(&mut self, at: PhysicalOffset, bytes: u64) {
        if at == self.next {
            self.next = at.plus(bytes);
        }
    }

    /// Makes entries of the keys whose messages lie below `level`, and fetches from the log what it has not seen. Returns
    /// whether there is more to fetch.
    pub fn settle(&mut self, level: PhysicalOffset, now_ms: i64) -> bool {
        if self.trouble.is_some() {
            if now_ms >= self.retry_ms && now_ms - self.retry_ms < RETRY_MS {
                return false;
            }
            self.trouble = None;
        }
        if self.must_reload {
            let reloaded = self.reload(level);
            if self.note(reloaded, now_ms).is_none() {
                return false;
            }
        }
        let settled = self.try_settle(level, now_ms);
        self.note(settled, now_ms).unwrap_or(false)
    }

    /// Entries, header and position go to the disk. Returns the last time that is in full, synced files, if it has moved.
    pub fn flush(&mut self, now_ms: i64) -> Option<i64> {
        if self.trouble.is_some() {
            return None;
        }
        let flushed = self.try_flush();
        self.must_reload |= flushed.is_err();
        self.note(flushed, now_ms).flatten()
    }

    /// A clean stop: slots and all.
    pub fn close(&mut self, level: PhysicalOffset, now_ms: i64) -> Option<i64> {
        while self.settle(level, now_ms) {}
        if self.trouble.is_some() {
            return None; // Told already; the next start makes it good.
        }
        let closed = self.write_slots().and_then(|()| self.try_flush());
        self.note(closed, now_ms).flatten()
    }

    /// Removes the oldest files whose messages are all gone, never the newest file.
    pub fn expire(&mut self, log_min: PhysicalOffset) -> Result<usize, MediumError> {
        let mut removed = 0;
        loop {
            let mut state = self.shared.lock();
            let others = usize::from(state.current.is_none());
            let oldest = state.full.first().filter(|(_, header)| header.end_physical < log_min.0);
            let (Some((name, _)), true) = (oldest, state.full.len() > others) else { break };
            let path = self.dir.join(name);
            state.full.remove(0);
            drop(state);
            self.medium.remove(&path)?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Goes back to what is certain to be on the disk, as a start does. What is missing then comes from the log once more.
    fn reload(&mut self, level: PhysicalOffset) -> Result<(), MediumError> {
        self.out.abandon();
        let log = LogBounds { min: PhysicalOffset(0), end: level, clean: false, index_timestamp: 0 };
        let mut fresh = IndexFiles::load(Arc::clone(&self.medium), &self.config, &log)?;
        let shared = Arc::clone(&self.shared);
        *shared.lock() = std::mem::take(&mut *fresh.shared.lock());
        std::mem::swap(&mut fresh.out, &mut self.out); // Those who help stay.
        *self = IndexFiles { shared, ..fresh };
        Ok(())
    }

    fn note<T>(&mut self, result: Result<T, MediumError>, now_ms: i64) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                log::error!("the index stands still, queries by key miss what comes now: {error}");
                self.trouble = Some(error.to_string());
                self.retry_ms = now_ms;
                None
            }
        }
    }

    fn try_settle(&mut self, level: PhysicalOffset, now_ms: i64) -> Result<bool, MediumError> {
        let more = self.fetch(level)?;
        self.mark();
        loop {
            self.settle_entries(level);
            self.write_pieces()?;
            let is_due = self.pending.front().is_some_and(|key| key.physical < level);
            if !is_due || !self.unsettled.is_empty() {
                break;
            }
            self.write_tail()?;
            if self.shared.lock().current.as_ref().is_none_or(|current| current.header.is_full(self.shape)) {
                self.roll(now_ms)?;
            }
            self.mark();
        }
        let sure = self.unsettled.front().map(|mark| mark.from);
        let sure = sure.or(self.pending.front().map(|key| key.physical)).unwrap_or(self.next);
        self.settled = sure.min(level);
        Ok(more)
    }

    /// Tells of the entries whose messages have reached their level.
    fn settle_entries(&mut self, level: PhysicalOffset) {
        let is_below = |mark: &Mark| mark.header.end_physical < level.0;
        let below = self.unsettled.iter().take_while(|mark| is_below(mark)).count();
        if let (Some(mark), Some(current)) =
            (self.unsettled.drain(..below).next_back(), &mut self.shared.lock().current)
        {
            current.settled = mark.header;
        }
    }

    /// As far as there is room for them.
    fn make_entries(&mut self) {
        let mut state = self.shared.lock();
        let Some(current) = &mut state.current else { return };
        let room = current.header.entries_left(self.shape).min(current.tail.room());
        let count = self.pending.len().min(room);
        for key in self.pending.drain(..count) {
            current.insert(self.shape, &key);
        }
    }

    /// Reads on from `next` in the log's files, a bounded stretch.
    fn fetch(&mut self, level: PhysicalOffset) -> Result<bool, MediumError> {
        if self.next >= level || !self.pending.is_empty() {
            return Ok(self.next < level);
        }
        let len = level.since(self.next).min(FETCH_BYTES as u64) as usize;
        let mut bytes = vec![0; len];
        let there = self.log.read(self.next.0 as u64, &mut bytes)?;
        bytes.truncate(there);
        let mut at = 0;
        while at < bytes.len() {
            let place = self.next;
            match brief::unit(&bytes[at..], false) {
                Ok(LogUnit::Record(record)) if record.physical_offset == place.0 => {
                    at += record.size as usize;
                    self.collect(&record, &Labels::of(record.properties));
                    assert!(self.next > place);
                }
                Ok(LogUnit::Blank { bytes_left }) => {
                    self.pass_blank(place, u64::from(bytes_left));
                    break;
                }
                Err(RecordError::Short { need }) if at > 0 || need > bytes.len() => {
                    if at > 0 {
                        break;
                    }
                    if level.since(place) < need as u64 {
                        self.pass_over(level);
                        break;
                    }
                    bytes.resize(need, 0);
                    if self.log.read(place.0 as u64, &mut bytes)? < need {
                        self.pass_over(level);
                        break;
                    }
                }
                _ => {
                    self.pass_over(level);
                    break;
                }
            }
        }
        if there == 0 {
            self.pass_over(level);
        }
        Ok(self.next < level)
    }

    /// Nothing can be read here: on to the next commitlog file.
    #[cold]
    fn pass_over(&mut self, level: PhysicalOffset) {
        let file_bytes = self.log.file_bytes();
        let end = PhysicalOffset((self.next.0 as u64 / file_bytes + 1).saturating_mul(file_bytes) as i64);
        let to = end.min(level);
        log::warn!("no record can be read at {}: the index lacks the keys up to {to}", self.next);
        self.next = to;
    }

    /// Puts the full file aside, if there is one, and begins the next.
    fn roll(&mut self, now_ms: i64) -> Result<(), MediumError> {
        let mut slots = None;
        if self.shared.lock().current.is_some() {
            self.write_slots()?;
            self.write_header()?;
            let mut state = self.shared.lock();
            if let Some(current) = state.current.take() {
                self.unsynced.push((self.dir.join(&current.name), current.header.end_timestamp));
                state.full.push((current.name, current.header));
                slots = Some(current.slots); // The next file's: one table for the life of the broker.
            }
            self.file = None;
        }
        let last = self.shared.lock().full.last().cloned();
        let mut name = format::name_of_time(now_ms + self.utc_offset_ms);
        let mut header = IndexHeader { count: 1, ..IndexHeader::default() };
        if let Some((last, of_last)) = last {
            header.begin_timestamp = of_last.end_timestamp;
            header.end_timestamp = of_last.end_timestamp;
            header.begin_physical = of_last.end_physical;
            header.end_physical = of_last.end_physical;
            if name <= last {
                name = format::name_after(&last).unwrap_or(name);
            }
        }
        let path = self.dir.join(&name);
        drop(self.medium.create(&path, self.shape.file_bytes())?);
        self.file = open(&*self.medium, &path)?;
        self.is_unsynced = true;
        // A new table is zeroed lazily by the operating system: a broker of few keys never has all of it.
        let slots = match slots {
            Some(mut used) => {
                used.fill(0);
                used
            }
            None => vec![0; self.shape.slots as usize],
        };
        let current = Current::new(name, header, slots, &self.config, None)?;
        self.shared.lock().current = Some(current);
        Ok(())
    }

    /// Begins what is whole and settled, and takes note of what is done.
    fn write_pieces(&mut self) -> Result<(), MediumError> {
        while let Some(done) = self.out.finish(false) {
            self.note_piece(done)?;
        }
        let Some(IndexFile { file, direct }) = self.file.clone() else { return Ok(()) };
        loop {
            let state = self.shared.lock();
            let Some(current) = &state.current else { return Ok(()) };
            let settled = self.shape.entry_at(current.settled.next_number());
            let piece = current.tail.full(self.out.under_way()).filter(|piece| piece.end() <= settled);
            let Some(piece) = piece.map(Arc::clone) else { return Ok(()) };
            let skip = current.tail.written_to().saturating_sub(piece.from()) as usize;
            drop(state);
            // A header in the same block is not ours to write.
            match direct.as_ref().filter(|_| piece.from() >= format::HEADER_BYTES) {
                Some(direct) => self.out.begin(Arc::clone(direct), piece, 0),
                None => self.out.begin(Arc::clone(&file), piece, skip),
            }
            self.is_unsynced = true;
            if self.out.under_way() > UNDER_WAY_MAX
                && let Some(done) = self.out.finish(true)
            {
                self.note_piece(done)?;
            }
        }
    }

    fn note_piece(&mut self, done: Result<(), MediumError>) -> Result<(), MediumError> {
        done?;
        if let Some(current) = &mut self.shared.lock().current {
            current.tail.pop();
        }
        Ok(())
    }

    /// All that has reached its level is in the file when this returns.
    fn write_tail(&mut self) -> Result<(), MediumError> {
        self.write_pieces()?;
        while let Some(done) = self.out.finish(true) {
            self.note_piece(done)?;
        }
        let mut state = self.shared.lock();
        let (Some(current), Some(IndexFile { file, .. })) = (&mut state.current, &self.file) else {
            return Ok(());
        };
        let to = self.shape.entry_at(current.settled.next_number());
        for (at, part) in current.tail.unwritten(to) {
            file.write_at(at, part)?;
            self.is_unsynced = true;
        }
        current.tail.note_written(to);
        Ok(())
    }

    fn write_header(&mut self) -> Result<(), MediumError> {
        let header = self.shared.lock().current.as_ref().map(|current| current.settled.encode());
        if let (Some(header), Some(IndexFile { file, .. })) = (header, &self.file) {
            file.write_at(0, &header)?;
        }
        Ok(())
    }

    fn write_slots(&mut self) -> Result<(), MediumError> {
        self.write_tail()?;
        let state = self.shared.lock();
        let (Some(current), Some(IndexFile { file, .. })) = (&state.current, &self.file) else {
            return Ok(());
        };
        write_slots(&**file, self.shape, &current.slots)?;
        self.is_unsynced = true;
        Ok(())
    }

    fn try_flush(&mut self) -> Result<Option<i64>, MediumError> {
        let mut full_to = None;
        while let Some((path, end_timestamp)) = self.unsynced.first() {
            if let Some(file) = self.medium.open(path)? {
                file.sync()?;
            }
            full_to = Some(*end_timestamp);
            self.unsynced.remove(0);
        }
        self.write_tail()?;
        if self.is_unsynced {
            self.write_header()?;
            if let Some(IndexFile { file, .. }) = &self.file {
                file.sync()?;
                self.medium.sync_dir(&self.dir)?;
            }
            self.is_unsynced = false;
        }
        let last = self.shared.lock().last();
        self.position.save(&*self.medium, self.settled, last)?;
        Ok(full_to)
    }
}

impl Current {
    /// `file`: what is there already.
    fn new(
        name: String,
        header: IndexHeader,
        slots: Vec<u32>,
        config: &StoreConfig,
        file: Option<&dyn MediumFile>,
    ) -> Result<Self, MediumError> {
        let at = config.index_shape.entry_at(header.next_number());
        let mut lead = vec![0; tail::lead_of(at)];
        if let Some(file) = file {
            file.read_at(at - lead.len() as u64, &mut lead)?;
        }
        let tail = Tail::new(at, &lead, config.index_piece_bytes);
        Ok(Self { name, header, settled: header, slots, tail })
    }

    fn insert(&mut self, shape: IndexShape, key: &Key) {
        let header = &mut self.header;
        let slot = &mut self.slots[shape.slot_of(key.hash) as usize];
        let since = match header.begin_timestamp {
            ..=0 => 0,
            begin => (key.store_timestamp - begin) / 1000,
        };
        let entry = IndexEntry {
            hash: key.hash,
            physical: key.physical.0,
            seconds: since.clamp(0, i64::from(i32::MAX)) as i32,
            previous: *slot as i32,
        };
        self.tail.push(&entry);
        header.used_slots += i32::from(*slot == 0);
        *slot = header.next_number();
        if header.count == 1 {
            header.begin_timestamp = key.store_timestamp;
            header.begin_physical = key.physical.0;
        }
        header.count += 1;
        header.end_timestamp = key.store_timestamp;
        header.end_physical = key.physical.0;
    }
}

/// Opens a file both ways.
fn open(medium: &dyn Medium, path: &Path) -> Result<Option<IndexFile>, MediumError> {
    let Some(file) = medium.open(path)? else { return Ok(None) };
    Ok(Some(IndexFile { file: Arc::from(file), direct: medium.open_direct(path)?.map(Arc::from) }))
}

/// Writes all slots of a file.
fn write_slots(file: &dyn MediumFile, shape: IndexShape, slots: &[u32]) -> Result<(), MediumError> {
    let mut bytes = Vec::with_capacity(SLOTS_AT_ONCE * 4);
    for (nth, run) in slots.chunks(SLOTS_AT_ONCE).enumerate() {
        bytes.clear();
        for slot in run {
            bytes.extend_from_slice(&slot.to_be_bytes());
        }
        file.write_at(shape.slot_at((nth * SLOTS_AT_ONCE) as u32), &bytes)?;
    }
    Ok(())
}

/// The directory of a store's index files.
pub(crate) fn dir_of(root: &Path) -> PathBuf {
    root.join("index")
}

/// Keys that wait for their level, at most: what comes beyond is fetched from the log later.
const PENDING_MAX: usize = 1 << 20;
/// Few enough to stay in the processor's cache.
const KEYS_AT_ONCE: usize = 64;
/// Pieces under way: one is being written, the others wait for it.
const UNDER_WAY_MAX: usize = 4;
/// What one step reads of the log to catch up.
const FETCH_BYTES: usize = 1 << 20;
const SLOTS_AT_ONCE: usize = 16 << 10;
/// After a failed write.
const RETRY_MS: i64 = 5_000;

#[cfg(test)]
mod tests;
