//! Files that are replaced as a whole: `config/*.json`. A kill or power cut at any moment leaves the old or the new one.
//!
//! ```text
//! write: the new content -> f.tmp, synced;  f -> f.bak;  f.tmp -> f;  the directory, synced
//! read:  f; when it is missing, empty or broken, f.bak; then f.tmp
//! ```
//!
//! The content is not known here: the caller says whether it can be read. Implements D-8 (docs/PROMISES.md).

use std::path::{Path, PathBuf};

use crate::error::MediumError;
use crate::medium::Medium;

/// Replaces `path`; its last content stays as `.bak`.
pub fn replace(medium: &dyn Medium, path: &Path, content: &[u8]) -> Result<(), MediumError> {
    let new = beside(path, "tmp");
    let file = medium.create(&new, content.len() as u64)?;
    file.write_at(0, content)?;
    file.sync()?;
    drop(file);
    let dir = path.parent().unwrap_or(path);
    // The new content must be found under its own name before the old name is given up.
    medium.sync_dir(dir)?;
    if medium.open(path)?.is_some() {
        medium.rename(path, &beside(path, "bak"))?;
    }
    medium.rename(&new, path)?;
    medium.sync_dir(dir)
}

/// What was found under a name.
#[derive(Debug, PartialEq, Eq)]
pub enum Loaded<T> {
    Value(T),
    /// Neither the file nor its `.bak` is there, or none has a byte in it.
    Missing,
    /// There is something, and it cannot be read.
    Broken,
}

impl<T> Loaded<T> {
    /// For files that can be done without.
    pub fn value(self) -> Option<T> {
        match self {
            Loaded::Value(value) => Some(value),
            Loaded::Missing | Loaded::Broken => None,
        }
    }
}

/// The content of `path` as `parse` reads it, or that of its `.bak`, which the log tells.
pub fn load<T>(
    medium: &dyn Medium,
    path: &Path,
    parse: impl Fn(&[u8]) -> Option<T>,
) -> Result<Loaded<T>, MediumError> {
    let mut broken = None;
    // The newest first; `.tmp` last, for a kill between the two renames of a first replacement.
    let unfinished = beside(path, "tmp");
    for candidate in [path, &beside(path, "bak"), &unfinished] {
        let Some(content) = medium.read(candidate)?.filter(|content| !content.is_empty()) else { continue };
        if let Some(value) = parse(&content) {
            if let Some(broken) = broken {
                log::warn!("{} cannot be read; {} is used", Path::display(broken), candidate.display());
            }
            return Ok(Loaded::Value(value));
        }
        // Half of it is what a kill leaves of a file that never was one.
        if candidate != unfinished {
            broken = Some(path);
        }
    }
    Ok(match broken {
        Some(broken) => {
            log::error!("neither {} nor its .bak can be read", broken.display());
            Loaded::Broken
        }
        None => Loaded::Missing,
    })
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}
