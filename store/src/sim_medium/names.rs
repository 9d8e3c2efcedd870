//! What a power cut leaves of a directory's changes: as many of the first as had reached the disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A change of names that `sync_dir` has not made durable.
#[derive(Clone)]
pub(super) enum NameChange {
    Set(PathBuf, u64),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, u64),
}

impl NameChange {
    /// The directory with whose changes it keeps its place.
    pub(super) fn dir(&self) -> Option<&Path> {
        let (NameChange::Set(path, _) | NameChange::Remove(path) | NameChange::Rename(_, path, _)) = self;
        path.parent()
    }

    pub(super) fn is_in(&self, dir: &Path) -> bool {
        let from_there = matches!(self, NameChange::Rename(from, _, _) if from.parent() == Some(dir));
        from_there || self.dir() == Some(dir)
    }

    pub(super) fn apply(self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            NameChange::Set(path, id) => _ = names.insert(path, id),
            NameChange::Remove(path) => _ = names.remove(&path),
            NameChange::Rename(from, to, id) => {
                names.remove(&from);
                names.insert(to, id);
            }
        }
    }
}
