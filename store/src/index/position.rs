//! How far the log is indexed: `<root>/indexed`, a file of ours that RocketMQ passes over. Messages without keys leave no trace in the
//! index, so its last entry alone does not tell.
//!
//! ```text
//! to=00000000000000001234 file=20261120124038960 count=0000000256 crc=1a2b3c4d
//! ```
//!
//! It is written when the entries before it have been synced, and does not speak of any that come after.

use std::path::{Path, PathBuf};

use super::format::{HEADER_BYTES, IndexHeader};
use super::state::State;
use crate::error::MediumError;
use crate::medium::{Medium, MediumFile};
use crate::offsets::PhysicalOffset;

/// The open file.
pub(crate) struct PositionFile {
    path: PathBuf,
    file: Option<Box<dyn MediumFile>>,
    saved: String,
}

/// What it says.
pub(crate) struct Position {
    pub to: PhysicalOffset,
    pub file: String,
    pub count: i32,
}

impl Position {
    /// Whether the file it names is there, and was no longer when it was written.
    pub fn is_of(&self, medium: &dyn Medium, dir: &Path) -> Result<bool, MediumError> {
        if self.file == NO_FILE {
            return Ok(true);
        }
        let Some(file) = medium.open(&dir.join(&self.file))? else { return Ok(false) };
        let mut bytes = [0; HEADER_BYTES as usize];
        file.read_at(0, &mut bytes)?;
        Ok(IndexHeader::decode(&bytes).count >= self.count)
    }

    /// Whether the files still hold what they held when this was written.
    pub fn holds(&self, state: &State) -> bool {
        let current = state.current.as_ref().map(|current| (&current.name, &current.header));
        let mut files = state.full.iter().map(|(name, header)| (name, header)).chain(current);
        self.file == NO_FILE && files.clone().next().is_none()
            || files.any(|(name, header)| *name == self.file && header.count >= self.count)
    }
}

impl PositionFile {
    pub fn new(root: &Path) -> Self {
        Self { path: root.join("indexed"), file: None, saved: String::new() }
    }

    pub fn load(&self, medium: &dyn Medium) -> Result<Option<Position>, MediumError> {
        let text = medium.read(&self.path)?.unwrap_or_default();
        Ok(str::from_utf8(&text).ok().and_then(parse_position))
    }

    pub fn save(
        &mut self,
        medium: &dyn Medium,
        to: PhysicalOffset,
        last: Option<(String, i32)>,
    ) -> Result<(), MediumError> {
        let (name, count) = last.unwrap_or_else(|| (NO_FILE.to_string(), 1));
        let head = format!("to={:020} file={name} count={count:010}", to.0);
        let text = format!("{head} crc={:08x}\n", crc32fast::hash(head.as_bytes()));
        if text == self.saved {
            return Ok(());
        }
        let file = match self.file.take() {
            Some(file) => file,
            None => match medium.open(&self.path)? {
                Some(file) if file.len()? == text.len() as u64 => file,
                _ => medium.create(&self.path, text.len() as u64)?,
            },
        };
        self.file.insert(file).write_at(0, text.as_bytes())?;
        self.saved = text;
        Ok(())
    }

    pub fn sync(&self, medium: &dyn Medium, root: &Path) -> Result<(), MediumError> {
        if let Some(file) = &self.file {
            file.sync()?;
        }
        medium.sync_dir(root)
    }
}

fn parse_position(text: &str) -> Option<Position> {
    let (head, crc) = text.trim_end().split_once(" crc=")?;
    if u32::from_str_radix(crc, 16).ok()? != crc32fast::hash(head.as_bytes()) {
        return None;
    }
    let mut words = head.split(' ');
    let mut word = |name: &str| words.next()?.strip_prefix(name);
    let to = PhysicalOffset(word("to=")?.parse().ok()?);
    Some(Position { to, file: word("file=")?.to_string(), count: word("count=")?.parse().ok()? })
}

const NO_FILE: &str = "00000000000000000";
