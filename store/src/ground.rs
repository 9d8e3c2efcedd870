//! Ground for the log to be written on: blocks that were written before, with zeros, by a thread that nobody waits for.
//!
//! ```text
//! current file:  | log ..... | margin | zeros ──▶              |     behind the log's end, towards the end of the file
//! spare file:    | zeros ──▶                                   |     commitlog.spare/next: the next file, by a rename
//! ```
//!
//! A block that is written for the first time changes the file's extents, so that its fdatasync waits for a commit of the file
//! system's journal: twice the time of an overwritten block, and a long tail. Used under SYNC_FLUSH, where sends wait for that.
//! No file is recycled: what follows the log's end must be zeros, or the official broker could take old messages for new.
//! A ground that cannot be made is no fault: the log is written where there is none, as it always could be.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::arena::PAGE_BYTES;
use crate::error::MediumError;
use crate::medium::{Medium, MediumFile};

/// Shared by who writes the log and who works ahead of it.
pub struct Ground {
    medium: Arc<dyn Medium>,
    spare_path: PathBuf,
    file_bytes: u64,
    /// How far the log is in its file.
    log_at: AtomicU64,
    /// There is a spare file, begun or ready: its blocks are taken. Beside the state, which is locked while a piece is written.
    has_spare: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    current: Option<Current>,
    spare: Spare,
    /// A page-aligned run of zeros, somewhere in here.
    zeros: Vec<u8>,
    /// A write has failed: no more until the next file.
    off: bool,
}

#[derive(Default)]
enum Spare {
    #[default]
    None,
    Making(Filling),
    Ready,
    /// There is one that cannot be had. No more of them until the next start.
    Stuck,
}

/// The file that the log is in, to be filled from `at` on.
struct Current {
    path: PathBuf,
    at: u64,
    /// None: not looked at yet.
    file: Option<Box<dyn MediumFile>>,
}

/// A file being filled, from `at` to its end.
struct Filling {
    file: Box<dyn MediumFile>,
    at: u64,
}

/// How soon the next step is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// Nothing to do.
    None,
    /// There is much time: the disk is for others.
    Little,
    Much,
}

impl Ground {
    /// `None`: files of this size have no whole blocks.
    pub(crate) fn new(medium: Arc<dyn Medium>, log_dir: &Path, file_bytes: u64) -> Option<Self> {
        let mut spare_dir = log_dir.as_os_str().to_os_string();
        spare_dir.push(".spare"); // Beside that of the log: the official broker looks at every name in it.
        file_bytes.is_multiple_of(PAGE_BYTES as u64).then(|| Self {
            medium,
            spare_path: PathBuf::from(spare_dir).join("next"),
            file_bytes,
            log_at: AtomicU64::new(0),
            has_spare: AtomicBool::new(false),
            state: Mutex::default(),
        })
    }

    /// The log goes on in `path` at `from`; `is_ground`: it is the former spare. Returns how far it may write before it must
    /// call `reach`.
    pub(crate) fn enter(&self, path: &Path, from: u64, is_ground: bool) -> u64 {
        let mut state = self.state();
        state.off = false;
        state.current = None;
        self.log_at.store(from, Ordering::Relaxed);
        if is_ground {
            return u64::MAX;
        }
        let at = (from + self.margin()).next_multiple_of(PAGE_BYTES as u64);
        if at >= self.file_bytes {
            return u64::MAX;
        }
        state.current = Some(Current { path: path.to_path_buf(), at, file: None });
        at
    }

    /// The log is about to be written up to `to`. Returns how far it may write before the next call.
    pub(crate) fn reach(&self, to: u64) -> u64 {
        let mut state = self.state();
        let Some(current) = &mut state.current else { return u64::MAX };
        if to > current.at {
            current.at = (to + self.margin()).next_multiple_of(PAGE_BYTES as u64);
            if current.at >= self.file_bytes {
                state.current = None;
                return u64::MAX;
            }
        }
        current.at
    }

    /// The log has got so far in its file.
    pub(crate) fn note(&self, at: u64) {
        self.log_at.store(at, Ordering::Relaxed);
    }

    /// Makes the spare file the one of this name, if there is one ready. `sync_spare_dir` is due before the name counts. `false`: the
    /// caller makes a file.
    pub(crate) fn take_spare(&self, path: &Path) -> Result<bool, MediumError> {
        let mut state = self.state();
        if !matches!(state.spare, Spare::Ready) {
            return Ok(false);
        }
        // Before the first message there is no directory of the log.
        let dir = path.parent().unwrap_or(path);
        match self.medium.create_dir(dir).and_then(|()| self.medium.rename(&self.spare_path, path)) {
            Ok(()) => {
                state.spare = Spare::None;
                self.has_spare.store(false, Ordering::Relaxed);
                Ok(true)
            }
            // To be tried again: a new file would find no space either.
            Err(error) if error.is_no_space() => Err(error),
            Err(error) => {
                log::warn!("{error}: files of the log are not made ahead any more, until the next start");
                state.spare = Spare::Stuck;
                Ok(false)
            }
        }
    }

    /// What the spare file takes of the disk.
    pub(crate) fn spare_bytes(&self) -> u64 {
        if self.has_spare.load(Ordering::Relaxed) { self.file_bytes } else { 0 }
    }

    pub(crate) fn sync_spare_dir(&self) -> Result<(), MediumError> {
        self.medium.sync_dir(self.spare_path.parent().unwrap_or(&self.spare_path))
    }

    /// One piece of work. Returns how soon the next is wanted.
    pub fn step(&self) -> Haste {
        let mut state = self.state();
        let state = &mut *state;
        if state.off {
            return Haste::None;
        }
        if state.zeros.is_empty() {
            state.zeros = vec![0; PIECE_BYTES + PAGE_BYTES];
        }
        let stepped = match (&mut state.current, &mut state.spare) {
            (Some(current), _) => self.work_ahead(current, &state.zeros).map(|is_done| {
                if is_done {
                    state.current = None;
                }
                Haste::Much
            }),
            (None, Spare::None) => match self.begin_spare() {
                Ok(Some(filling)) => {
                    state.spare = Spare::Making(filling);
                    Ok(Haste::Little)
                }
                other => other.map(|_| Haste::None),
            },
            (None, Spare::Making(Filling { file, at })) => match self.fill(&**file, at, &state.zeros) {
                Ok(true) => {
                    state.spare = Spare::Ready;
                    Ok(Haste::None)
                }
                other => other.map(|_| self.haste_of(*at)),
            },
            (None, Spare::Ready | Spare::Stuck) => {
                state.zeros = Vec::new(); // Not needed for a while.
                Ok(Haste::None)
            }
        };
        stepped.unwrap_or_else(|error| {
            log::info!("the log is written on sparse ground: {error}");
            state.off = true;
            state.current = None;
            if matches!(state.spare, Spare::Making(_)) {
                state.spare = Spare::None;
            }
            Haste::None
        })
    }

    /// Writes one piece; `true`: the file is full.
    fn fill(&self, file: &dyn MediumFile, at: &mut u64, zeros: &[u8]) -> Result<bool, MediumError> {
        let aligned = &zeros[zeros.as_ptr().align_offset(PAGE_BYTES)..][..PIECE_BYTES];
        let len = (self.file_bytes - *at).min(PIECE_BYTES as u64);
        file.write_at(*at, &aligned[..len as usize])?;
        *at += len;
        if *at < self.file_bytes {
            return Ok(false);
        }
        file.sync()?;
        Ok(true)
    }

    /// One piece of the current file; `true`: there is no more to do there.
    fn work_ahead(&self, current: &mut Current, zeros: &[u8]) -> Result<bool, MediumError> {
        if let Some(file) = &current.file {
            return self.fill(&**file, &mut current.at, zeros);
        }
        let Some(file) = self.medium.open(&current.path)? else { return Ok(true) };
        // An earlier run may have been here.
        current.at = file.hole_after(current.at)?.next_multiple_of(PAGE_BYTES as u64);
        if current.at >= self.file_bytes {
            return Ok(true);
        }
        // All blocks at once: they lie together, and writing them does not keep other writes to the file waiting.
        file.reserve(current.at, self.file_bytes - current.at)?;
        current.file = Some(self.medium.open_direct(&current.path)?.unwrap_or(file));
        Ok(false)
    }

    fn begin_spare(&self) -> Result<Option<Filling>, MediumError> {
        let dir = self.spare_path.parent().unwrap_or(&self.spare_path);
        self.medium.create_dir(dir)?;
        if self.medium.space(dir)?.available < self.file_bytes.saturating_mul(SPACE_FILES_MIN) {
            return Ok(None);
        }
        // One that an earlier run has left holds zeros as well, as far as it is written.
        let left = self.medium.open(&self.spare_path)?;
        self.has_spare.store(true, Ordering::Relaxed);
        let keeps = left.map(|file| file.len()).transpose()? == Some(self.file_bytes);
        if !keeps {
            self.medium.create(&self.spare_path, self.file_bytes)?;
        }
        let file = self.medium.open(&self.spare_path)?;
        if let Some(file) = &file {
            file.reserve(0, self.file_bytes)?;
        }
        let file = self.medium.open_direct(&self.spare_path)?.or(file);
        Ok(file.map(|file| Filling { file, at: 0 }))
    }

    /// The spare file must be ready before the log reaches the end of its own.
    fn haste_of(&self, spare_at: u64) -> Haste {
        let log_at = self.log_at.load(Ordering::Relaxed);
        if spare_at < log_at.saturating_add(self.file_bytes / 8) { Haste::Much } else { Haste::Little }
    }

    /// Room for the log to grow before it meets the zeros that come towards it.
    fn margin(&self) -> u64 {
        (self.file_bytes / 16).min(MARGIN_BYTES)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Large enough for the disk's full speed, small enough for a sync to pass between two of them.
const PIECE_BYTES: usize = 1 << 20;
const MARGIN_BYTES: u64 = 64 << 20;
/// A disk with less space than so many files gets no spare one.
const SPACE_FILES_MIN: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim_medium::SimMedium;

    const FILE_BYTES: u64 = 4 << 20;

    fn world() -> (SimMedium, Ground, PathBuf) {
        let medium = SimMedium::new(1);
        let path = PathBuf::from("/s/commitlog/00000000000000000000");
        medium.create(&path, FILE_BYTES).unwrap().write_at(0, &[7; 100_000]).unwrap();
        let ground = Ground::new(Arc::new(medium.clone()), Path::new("/s/commitlog"), FILE_BYTES).unwrap();
        (medium, ground, path)
    }

    /// Goal: what the log has written, or may write without asking, is never made zero. Method: a log that runs into the zeros.
    #[test]
    fn zeros_stay_ahead_of_the_log() {
        let (medium, ground, path) = world();
        let file = medium.open(&path).unwrap().unwrap();
        let mut free_to = ground.enter(&path, 100_000, false);
        let mut at = 100_000;
        while at < FILE_BYTES {
            let to = (at + 300_000).min(FILE_BYTES);
            if to > free_to {
                free_to = ground.reach(to);
                assert!(free_to >= to);
            }
            file.write_at(at, &vec![7; (to - at) as usize]).unwrap();
            at = to;
            ground.note(at);
            if at.is_multiple_of(2) {
                ground.step();
            }
        }
        while ground.step() != Haste::None {}
        assert!(medium.content(&path).unwrap().iter().all(|byte| *byte == 7));
    }

    /// Goal: a spare file is made once, is counted while it is there, and becomes the next one. Method: step until it is there; take it; power cut.
    #[test]
    fn the_spare_file_becomes_the_next() {
        let (medium, ground, path) = world();
        ground.enter(&path, 100_000, false);
        assert!(!ground.take_spare(Path::new("/s/commitlog/1")).unwrap());
        assert_eq!(ground.spare_bytes(), 0);
        while ground.step() != Haste::None {}
        assert_eq!(ground.spare_bytes(), FILE_BYTES);
        let next = Path::new("/s/commitlog/1");
        assert!(ground.take_spare(next).unwrap());
        assert_eq!(ground.spare_bytes(), 0, "it counts as one of the log's now");
        assert!(!ground.take_spare(Path::new("/s/commitlog/2")).unwrap());
        ground.sync_spare_dir().unwrap();
        medium.sync_dir(Path::new("/s/commitlog")).unwrap();
        drop(ground);
        medium.power_cut();
        assert_eq!(medium.content(next).unwrap(), vec![0; FILE_BYTES as usize]);
    }
}
