//! Files on their way out. A large file is given back to its file system piece by piece, so that no one who writes there meanwhile
//! waits for a gigabyte of blocks to be freed.
//!
//! ```text
//! commitlog/000..  --rename-->  commitlog.trash/000..  --shorter and shorter, by whoever calls step-->  gone
//! ```
//!
//! The directory lies beside that of the log: the official broker looks at every name in it.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::MediumError;
use crate::medium::Medium;

/// Shared by who throws away and who cleans up.
pub struct Trash {
    medium: Arc<dyn Medium>,
    dir: PathBuf,
    files: Mutex<VecDeque<Thrown>>,
}

struct Thrown {
    path: PathBuf,
    /// Bytes that are left of it.
    bytes: u64,
    /// It could not be taken away, which was told.
    has_failed: bool,
}

impl Trash {
    /// With what an earlier run has left.
    pub(crate) fn load(medium: Arc<dyn Medium>, log_dir: &Path) -> Result<Self, MediumError> {
        let mut name = log_dir.as_os_str().to_os_string();
        name.push(".trash");
        let dir = PathBuf::from(name);
        let left = medium.list(&dir)?;
        let thrown = |path, bytes| Thrown { path, bytes, has_failed: false };
        let files = left.into_iter().map(|entry| thrown(dir.join(&entry.name), entry.bytes)).collect();
        Ok(Self { medium, dir, files: Mutex::new(files) })
    }

    /// Takes a file out of its directory; its name there is free when this returns.
    pub(crate) fn take(&self, path: &Path, bytes: u64) -> Result<(), MediumError> {
        let Some(name) = path.file_name() else { return Ok(()) };
        let to = self.dir.join(name);
        match self.medium.create_dir(&self.dir).and_then(|()| self.medium.rename(path, &to)) {
            Ok(()) => self.files().push_back(Thrown { path: to, bytes, has_failed: false }),
            Err(error) => {
                // Another file system, or a disk too full for a directory.
                log::info!("{error}: removed in one go");
                self.medium.remove(path)?;
            }
        }
        Ok(())
    }

    /// Gives one piece back. `false`: there is nothing to do now; what could not be taken away is tried again by a later call.
    pub fn step(&self) -> bool {
        let Some(mut file) = self.files().pop_front() else { return false };
        let left = file.bytes.saturating_sub(PIECE_BYTES);
        let done = match left {
            0 => self.medium.remove(&file.path),
            _ => self.medium.shorten(&file.path, left),
        };
        match done {
            Ok(()) if left == 0 => {}
            Ok(()) => self.files().push_front(Thrown { bytes: left, ..file }),
            Err(error) => {
                if !std::mem::replace(&mut file.has_failed, true) {
                    log::warn!("{error}: its space is not free yet");
                }
                // Others may go meanwhile.
                self.files().push_back(file);
                return false;
            }
        }
        true
    }

    pub fn is_empty(&self) -> bool {
        self.files().is_empty()
    }

    fn files(&self) -> MutexGuard<'_, VecDeque<Thrown>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const PIECE_BYTES: u64 = 32 << 20;
