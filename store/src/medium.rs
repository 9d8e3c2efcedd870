//! SEAM: what the store asks of the machine: hot memory, files, directories, a lock, a clock for its own timings.
//!
//! The real half is `real_medium.rs`; the simulated one (`sim_medium/`) kills, cuts power and fails on purpose.
//! What a kill -9 leaves: hot maps and every completed `write_at`. What a power cut leaves: only what was synced.

use std::path::{Path, PathBuf};

use crate::arena::HotMap;
use crate::error::MediumError;
use crate::retention::Space;

pub trait Medium: Send + Sync {
    /// Where hot segments could live, best first, for `bytes` bytes in all; `held` is a directory that may hold them already.
    fn hot_places(&self, bytes: usize, held: &Path) -> Vec<HotPlace>;
    /// What kind of memory a directory gives that somebody has chosen; it need not exist yet.
    fn hot_kind(&self, dir: &Path) -> HotKind;
    /// Maps a hot segment of exactly `bytes` bytes; created when `create`, else `None` if there is none of that size.
    fn map_hot(&self, path: &Path, bytes: usize, create: bool) -> Result<Option<HotMap>, MediumError>;

    /// Opens an existing file for reading and writing; `None` when there is none.
    fn open(&self, path: &Path) -> Result<Option<Box<dyn MediumFile>>, MediumError>;
    /// Opens an existing file for reads and writes past the page cache, which come and go in whole aligned blocks of 4096 bytes, in
    /// memory too. `None`: there is none, or its file system cannot.
    fn open_direct(&self, path: &Path) -> Result<Option<Box<dyn MediumFile>>, MediumError>;
    /// Creates a file of `bytes` zero bytes, sparse, with its directories. Its name survives a power cut after `sync_dir`.
    fn create(&self, path: &Path, bytes: u64) -> Result<Box<dyn MediumFile>, MediumError>;
    /// The whole of a small file; `None` when there is none.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, MediumError>;
    /// Entries of a directory, sorted by name; empty when there is none.
    fn list(&self, dir: &Path) -> Result<Vec<Entry>, MediumError>;
    /// The one name of an existing directory.
    fn canonical(&self, dir: &Path) -> Result<PathBuf, MediumError>;
    fn create_dir(&self, dir: &Path) -> Result<(), MediumError>;
    /// Renames over what is there.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), MediumError>;
    /// Removes a file; that there is none is no fault.
    fn remove(&self, path: &Path) -> Result<(), MediumError>;
    /// Removes a directory and all in it; that there is none is no fault.
    fn remove_dir(&self, dir: &Path) -> Result<(), MediumError>;
    /// Makes a file shorter, from its end; that there is none is no fault.
    fn shorten(&self, path: &Path, bytes: u64) -> Result<(), MediumError>;
    /// The partition that an existing directory is on.
    fn space(&self, dir: &Path) -> Result<Space, MediumError>;
    /// Makes created, renamed and removed names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> Result<(), MediumError>;

    /// Takes the lock file as RocketMQ does, and holds it until dropped; `None` when another process has it.
    fn lock(&self, path: &Path) -> Result<Option<Box<dyn Send>>, MediumError>;
    /// A number that no other store has.
    fn fresh_id(&self) -> u128;
    /// Names the time since the machine started: memory of an earlier one is gone.
    fn boot_id(&self) -> String;
    /// Our process number, as the abort file tells it.
    fn pid(&self) -> u32;
    /// Nanoseconds of a clock that only goes forward.
    fn elapsed_ns(&self) -> u64;

    /// Lets whoever else wants this core have it for an instant. Called amid long work that nobody waits for.
    fn give_way(&self) {}

    /// The same clock in milliseconds.
    fn elapsed_ms(&self) -> u64 {
        self.elapsed_ns() / 1_000_000
    }
}

/// An open file. Positioned reads and writes only: no two users share a cursor.
pub trait MediumFile: Send + Sync {
    /// Fills `out` from byte `at`; returns how much there was before the end of the file.
    fn read_at(&self, at: u64, out: &mut [u8]) -> Result<usize, MediumError>;
    /// Writes all of `bytes` at `at`.
    fn write_at(&self, at: u64, bytes: &[u8]) -> Result<(), MediumError>;
    /// Everything written so far survives a power cut when this returns.
    fn sync(&self) -> Result<(), MediumError>;
    fn len(&self) -> Result<u64, MediumError>;
    /// Makes everything from `at` on zero, without giving up the length. `false`: it was so already.
    fn clear_from(&self, at: u64) -> Result<bool, MediumError>;

    /// Takes blocks for these bytes, which stay zero. A medium that cannot does nothing.
    fn reserve(&self, _at: u64, _bytes: u64) -> Result<(), MediumError> {
        Ok(())
    }

    /// The first byte from `from` on that lies in a block which was never written; the end of the file when there is none. A medium
    /// that does not know says `from`.
    fn hole_after(&self, from: u64) -> Result<u64, MediumError> {
        Ok(from)
    }

    fn is_empty(&self) -> Result<bool, MediumError> {
        Ok(self.len()? == 0)
    }
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub is_dir: bool,
    pub bytes: u64,
}

/// A directory for hot segments, and what kind of memory it gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotPlace {
    pub dir: PathBuf,
    pub kind: HotKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HotKind {
    /// hugetlbfs.
    HugePages,
    /// tmpfs.
    Tmpfs,
    /// The store's own directory: survives kill -9 as well, but the kernel writes it to disk behind us.
    Disk,
}

impl std::fmt::Display for HotKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::HugePages => "huge pages",
            Self::Tmpfs => "tmpfs",
            Self::Disk => "ordinary files",
        })
    }
}
