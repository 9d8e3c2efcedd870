//! What can go wrong, sorted by how far it reaches.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a message was not appended. Nothing of it is in the log then, and no offset was used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AppendError {
    /// A write or sync failed earlier: reads go on, appends do not. SERVICE_NOT_AVAILABLE (14).
    #[error("the log is read-only since a write failed")]
    ReadOnly,
    /// The disk is too full: reads go on, appends go on when something was deleted. SERVICE_NOT_AVAILABLE (14).
    #[error("the disk is full")]
    DiskFull,
    /// The hot log is full until the disk has caught up. Never for a caller who asked `has_room`.
    #[error("the hot log has no room until the disk catches up")]
    NoRoom,
    /// MESSAGE_ILLEGAL (13).
    #[error("a record of {size} bytes is longer than the log takes")]
    TooBig { size: usize },
}

/// The medium failed: the log turns read-only.
#[derive(Debug, Error)]
#[error("{op} {}: {source}", path.display())]
pub struct MediumError {
    pub op: &'static str,
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

impl MediumError {
    /// A write that may be tried again when there is space. Never a sync: what one lost is not known.
    pub fn is_no_space(&self) -> bool {
        self.source.kind() == io::ErrorKind::StorageFull && self.op != "sync"
    }

    /// For `map_err`.
    pub fn at(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self { op, path, source }
    }
}

/// The store cannot be opened, or a read cannot be served.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error(transparent)]
    Medium(#[from] MediumError),
    #[error("another broker uses {}: stop it, or give this one its own storePathRootDir", path.display())]
    Locked { path: PathBuf },
    #[error(
        "commitlog file {} has {found} bytes, not {expected}: set mappedFileSizeCommitLog to the size the log was written with",
        path.display()
    )]
    LogFileSize { path: PathBuf, found: u64, expected: u64 },
    #[error(
        "the hot log of the last run may hold messages that are nowhere else, and cannot be read ({source}): start as the user \
         that the last run had; to go on without them remove `hotlog` and `hotlog.bak` in storePathRootDir"
    )]
    HotLog {
        #[source]
        source: MediumError,
    },
    #[error("{what}")]
    Config { what: &'static str },
    #[error("{}: {what}", path.display())]
    Damaged { path: PathBuf, what: &'static str },
    /// A clean stop was asked for while the shard still writes.
    #[error("the shard still appends: the stop is not clean, the next start replays the hot log")]
    WriterAlive,
}
