//! Files of one size that follow each other, read as one run of bytes.

use std::path::PathBuf;
use std::sync::Arc;

use crate::commitlog::name_of_offset;
use crate::error::MediumError;
use crate::medium::{Medium, MediumFile};

/// The files of one directory, a few of them open.
pub(crate) struct Files {
    medium: Arc<dyn Medium>,
    /// Where they are; may be changed between reads.
    pub dir: PathBuf,
    file_bytes: u64,
    /// The one used last is the last.
    open: Vec<(PathBuf, u64, Box<dyn MediumFile>)>,
}

impl Files {
    pub fn new(medium: Arc<dyn Medium>, file_bytes: u64) -> Self {
        Self { medium, dir: PathBuf::new(), file_bytes, open: Vec::new() }
    }

    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Forgets what is open.
    pub fn close(&mut self) {
        self.open.clear();
    }

    /// Fills `out` from byte `at` of the directory's files on, over their borders; returns how much there was.
    pub fn read(&mut self, at: u64, out: &mut [u8]) -> Result<usize, MediumError> {
        let mut filled = 0;
        while filled < out.len() {
            let here = at + filled as u64;
            let start = here - here % self.file_bytes;
            let len = (out.len() - filled).min((start + self.file_bytes - here) as usize);
            let Some(file) = self.file(start)? else { break };
            let there = file.read_at(here - start, &mut out[filled..filled + len])?;
            filled += there;
            if there < len {
                break;
            }
        }
        Ok(filled)
    }

    fn file(&mut self, start: u64) -> Result<Option<&dyn MediumFile>, MediumError> {
        let known = self.open.iter().rposition(|(dir, at, _)| *at == start && *dir == self.dir);
        if let Some(index) = known {
            self.open[index..].rotate_left(1);
        } else {
            let path = self.dir.join(name_of_offset(start as i64));
            let Some(file) = self.medium.open(&path)? else { return Ok(None) };
            if self.open.len() == OPEN_FILES_MAX {
                self.open.remove(0);
            }
            self.open.push((self.dir.clone(), start, file));
        }
        Ok(self.open.last().map(|(_, _, file)| &**file))
    }
}

const OPEN_FILES_MAX: usize = 32;
