//! The file that is being filled, on its way to the disk.
//!
//! ```text
//! tail:  whole pieces that are settled --begin--> writers, past the page cache --finish, in order--> in the file
//!        what else is settled, header and, when it is full or at a clean stop, slots -------write--> in the file --sync-->
//! ```
//!
//! Pieces are written as the log's runs are (writers.rs): by whoever has a thread to spare, or by who waits for one that nobody took. What
//! was begun and failed is still in the tail, and is begun again.

use std::path::PathBuf;
use std::sync::Arc;

use super::dir_of;
use super::format::HEADER_BYTES;
use super::state::{Current, Shared};
use super::tail::Piece;
use crate::config::IndexShape;
use crate::config::StoreConfig;
use crate::error::MediumError;
use crate::medium::{Medium, MediumFile};
use crate::writers::{Place, Runs, Write, Writers};

pub(crate) struct Out {
    medium: Arc<dyn Medium>,
    dir: PathBuf,
    shape: IndexShape,
    file: Option<IndexFile>,
    runs: Runs,
    is_unsynced: bool,
    /// Full files that are still to be synced, with their last times.
    full: Vec<(PathBuf, i64)>,
}

/// The open file, and how it is written past the page cache where that can be.
#[derive(Clone)]
struct IndexFile {
    file: Arc<dyn MediumFile>,
    direct: Option<Arc<dyn MediumFile>>,
}

/// A piece without its first bytes.
struct Part(Arc<Piece>, usize);

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes()[self.1..]
    }
}

impl Out {
    /// With no file. `is_unsynced`: what a file holds may not be on the disk.
    pub fn new(medium: Arc<dyn Medium>, config: &StoreConfig, is_unsynced: bool) -> Self {
        let runs = Runs::new(Arc::clone(&medium), None);
        let (dir, shape) = (dir_of(&config.root), config.index_shape);
        Self { medium, dir, shape, file: None, runs, is_unsynced, full: Vec::new() }
    }

    /// Who may help.
    pub fn writers(&self) -> Arc<Writers> {
        self.runs.writers()
    }

    /// Those who help another, which goes, help this one.
    pub fn take_writers(&mut self, other: &mut Out) {
        std::mem::swap(&mut self.runs, &mut other.runs);
    }

    /// Nothing is being written when this returns.
    pub fn abandon(&self) {
        self.runs.abandon();
    }

    /// Goes on with a file that is there.
    pub fn open(&mut self, name: &str) -> Result<(), MediumError> {
        let path = self.dir.join(name);
        self.file = match self.medium.open(&path)? {
            Some(file) => {
                let direct = self.medium.open_direct(&path)?.map(Arc::from);
                Some(IndexFile { file: Arc::from(file), direct })
            }
            None => None,
        };
        Ok(())
    }

    /// Begins a new file.
    pub fn create(&mut self, name: &str) -> Result<(), MediumError> {
        drop(self.medium.create(&self.dir.join(name), self.shape.file_bytes())?);
        self.open(name)?;
        self.is_unsynced = true;
        Ok(())
    }

    /// Leaves the file, which is full: all of it was written.
    pub fn leave(&mut self, full: &Current) {
        self.full.push((self.dir.join(&full.name), full.header.end_timestamp));
        self.file = None;
    }

    /// Begins what is whole and settled, and takes note of what is done.
    pub fn write_pieces(&mut self, shared: &Shared) -> Result<(), MediumError> {
        while let Some(done) = self.runs.finish_done() {
            self.note_piece(shared, done)?;
        }
        let Some(file) = self.file.clone() else { return Ok(()) };
        while let Some((piece, skip)) = self.next_piece(shared) {
            self.begin(&file, piece, skip);
            if self.runs.under_way() > UNDER_WAY_MAX
                && let Some(done) = self.runs.finish()
            {
                self.note_piece(shared, done)?;
            }
        }
        Ok(())
    }

    /// The first piece that is to be begun, and how much of it is in the file.
    fn next_piece(&self, shared: &Shared) -> Option<(Arc<Piece>, usize)> {
        let state = shared.lock();
        let current = state.current.as_ref()?;
        let piece = current.tail.full(self.runs.under_way())?;
        let skip = current.tail.written_to().saturating_sub(piece.from()) as usize;
        (piece.end() <= current.settled_to()).then(|| (Arc::clone(piece), skip))
    }

    fn begin(&mut self, IndexFile { file, direct }: &IndexFile, piece: Arc<Piece>, skip: usize) {
        // A header in the same block is not ours to write.
        let (file, skip) = match direct.as_ref().filter(|_| piece.from() >= HEADER_BYTES) {
            Some(direct) => (direct, 0),
            None => (file, skip),
        };
        let place = Place { file: Arc::clone(file), from: piece.from() + skip as u64 };
        self.runs.begin(Write { place, bytes: Box::new(Part(piece, skip)) });
        self.is_unsynced = true;
    }

    /// The first piece is done. When it has failed, all are given up.
    fn note_piece(&self, shared: &Shared, done: Result<(), MediumError>) -> Result<(), MediumError> {
        done.inspect_err(|_| self.runs.abandon())?;
        if let Some(current) = &mut shared.lock().current {
            current.tail.pop();
        }
        Ok(())
    }

    /// All that has reached its level is in the file when this returns.
    pub fn write_tail(&mut self, shared: &Shared) -> Result<(), MediumError> {
        self.write_pieces(shared)?;
        while let Some(done) = self.runs.finish() {
            self.note_piece(shared, done)?;
        }
        let mut state = shared.lock();
        let (Some(current), Some(IndexFile { file, .. })) = (&mut state.current, &self.file) else {
            return Ok(());
        };
        let to = current.settled_to();
        for (at, part) in current.tail.unwritten(to) {
            file.write_at(at, part)?;
            self.is_unsynced = true;
        }
        current.tail.note_written(to);
        Ok(())
    }

    pub fn write_header(&self, shared: &Shared) -> Result<(), MediumError> {
        let header = shared.lock().current.as_ref().map(|current| current.settled.encode());
        if let (Some(header), Some(IndexFile { file, .. })) = (header, &self.file) {
            file.write_at(0, &header)?;
        }
        Ok(())
    }

    /// .. and all entries before them.
    pub fn write_slots(&mut self, shared: &Shared) -> Result<(), MediumError> {
        self.write_tail(shared)?;
        let state = shared.lock();
        let (Some(current), Some(IndexFile { file, .. })) = (&state.current, &self.file) else {
            return Ok(());
        };
        write_slots(&**file, self.shape, &current.slots)?;
        self.is_unsynced = true;
        Ok(())
    }

    /// Syncs the full files. Returns the last time in them, if there are any.
    pub fn sync_full(&mut self) -> Result<Option<i64>, MediumError> {
        let mut full_to = None;
        while let Some((path, end_timestamp)) = self.full.first() {
            if let Some(file) = self.medium.open(path)? {
                file.sync()?;
            }
            full_to = Some(*end_timestamp);
            self.full.remove(0);
        }
        Ok(full_to)
    }

    /// Entries that are settled and the header are on the disk when this returns.
    pub fn sync(&mut self, shared: &Shared) -> Result<(), MediumError> {
        self.write_tail(shared)?;
        if self.is_unsynced {
            self.write_header(shared)?;
            self.sync_file()?;
            if self.file.is_some() {
                self.medium.sync_dir(&self.dir)?;
            }
            self.is_unsynced = false;
        }
        Ok(())
    }

    /// What was written of the file is on the disk when this returns.
    pub fn sync_file(&self) -> Result<(), MediumError> {
        self.file.as_ref().map_or(Ok(()), |open| open.file.sync())
    }
}

/// Writes all slots of a file.
pub(crate) fn write_slots(
    file: &dyn MediumFile,
    shape: IndexShape,
    slots: &[u32],
) -> Result<(), MediumError> {
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

/// Pieces under way: one is being written, the others wait for it.
const UNDER_WAY_MAX: usize = 4;
const SLOTS_AT_ONCE: usize = 16 << 10;
