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
    files: Mutex<VecDeque<(PathBuf, u64)>>,
}

impl Trash {
    /// With what an earlier run has left.
    pub(crate) fn load(medium: Arc<dyn Medium>, log_dir: &Path) -> Result<Self, MediumError> {
        let mut name = log_dir.as_os_str().to_os_string();
        name.push(".trash");
        let dir = PathBuf::from(name);
        let left = medium.list(&dir)?;
        let files = left.into_iter().map(|entry| (dir.join(&entry.name), entry.bytes)).collect();
        Ok(Self { medium, dir, files: Mutex::new(files) })
    }

    /// Takes a file out of its directory; its name there is free when this returns.
    pub(crate) fn take(&self, path: &Path, bytes: u64) -> Result<(), MediumError> {
        let Some(name) = path.file_name() else { return Ok(()) };
        let to = self.dir.join(name);
        self.medium.create_dir(&self.dir)?;
        match self.medium.rename(path, &to) {
            Ok(()) => self.files().push_back((to, bytes)),
            Err(error) => {
                // Another file system, most likely.
                log::info!("{error}: removed in one go");
                self.medium.remove(path)?;
            }
        }
        Ok(())
    }

    /// Gives one piece back. `false`: there is nothing to do.
    pub fn step(&self) -> bool {
        let mut files = self.files();
        let Some((path, bytes)) = files.front_mut() else { return false };
        *bytes = bytes.saturating_sub(PIECE_BYTES);
        let (path, left) = (path.clone(), *bytes);
        if left == 0 {
            files.pop_front();
        }
        drop(files);
        let done = match left {
            0 => self.medium.remove(&path),
            _ => self.medium.shorten(&path, left),
        };
        if let Err(error) = done {
            log::warn!("{error}: its space is not free yet");
        }
        true
    }

    pub fn is_empty(&self) -> bool {
        self.files().is_empty()
    }

    fn files(&self) -> MutexGuard<'_, VecDeque<(PathBuf, u64)>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const PIECE_BYTES: u64 = 32 << 20;
