//! Changes a running host by writing to /proc and /sys, and remembers what was there before.
//!
//! ```text
//! Change --apply--> old value noted, first of all --> new value written
//! state file --undo--> old values written back, latest first
//! ```
//!
//! Nothing here outlives a reboot, and neither does the state file, which lies in /run.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::finding::Change;

/// Files that can be read and written: the host's, or a made-up one's.
pub trait Knobs {
    fn read(&self, path: &str) -> io::Result<String>;
    fn write(&mut self, path: &str, value: &str) -> io::Result<()>;
}

/// This host.
pub struct RealKnobs;

impl Knobs for RealKnobs {
    fn read(&self, path: &str) -> io::Result<String> {
        fs::read_to_string(path)
    }

    fn write(&mut self, path: &str, value: &str) -> io::Result<()> {
        fs::write(path, value)
    }
}

/// What was changed, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub changed: Vec<Old>,
}

/// A file, and what it said before us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Old {
    pub path: String,
    pub value: String,
}

impl State {
    /// A state that is not there is an empty one.
    pub fn load(path: &Path) -> Result<State, String> {
        match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(State::default()),
            Err(error) => Err(format!("cannot read {}: {error}", path.display())),
            Ok(text) => serde_json::from_str(&text)
                .map_err(|error| format!("{} makes no sense: {error}", path.display())),
        }
    }

    /// Whole or not at all; an empty one is removed.
    pub fn keep(&self, path: &Path) -> Result<(), String> {
        let failed = |error: io::Error| {
            let mend = match error.kind() {
                io::ErrorKind::PermissionDenied => "run it as root, which the changes need as well",
                _ => "--state FILE names another place",
            };
            format!("cannot write {}: {error}; {mend}", path.display())
        };
        if self.changed.is_empty() {
            return match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
                _ => Ok(()),
            };
        }
        let text = serde_json::to_string_pretty(self).map_err(|error| failed(error.into()))?;
        let fresh = path.with_extension("new");
        fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, path)).map_err(failed)
    }

    /// Notes what stands in the file now, unless an older value is known.
    pub fn note(&mut self, change: &Change, knobs: &impl Knobs) -> io::Result<()> {
        if self.changed.iter().any(|old| old.path == change.path) {
            return Ok(());
        }
        let value = current(&knobs.read(&change.path)?);
        self.changed.push(Old { path: change.path.clone(), value });
        Ok(())
    }

    /// Forgets a change that could not be made.
    pub fn forget(&mut self, change: &Change) {
        self.changed.retain(|old| old.path != change.path);
    }

    /// Writes back what was there, latest first; what cannot be written back stays. One line for each.
    pub fn undo(&mut self, knobs: &mut impl Knobs) -> Vec<Result<String, String>> {
        let mut told = Vec::new();
        let mut left = Vec::new();
        for old in std::mem::take(&mut self.changed).into_iter().rev() {
            match knobs.write(&old.path, &old.value) {
                Ok(()) => told.push(Ok(format!("{} > {}", old.value, old.path))),
                Err(error) => {
                    told.push(Err(format!("{} > {}: {error}", old.value, old.path)));
                    left.insert(0, old);
                }
            }
        }
        self.changed = left;
        told
    }
}

/// The value in use: of `always [madvise] never` the one in brackets.
fn current(text: &str) -> String {
    let bracketed = text.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
    bracketed.unwrap_or(text.trim()).to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A made-up host; `fixed` cannot be written.
    #[derive(Default)]
    struct MadeUp(BTreeMap<String, String>);

    impl Knobs for MadeUp {
        fn read(&self, path: &str) -> io::Result<String> {
            self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
        }

        fn write(&mut self, path: &str, value: &str) -> io::Result<()> {
            match path {
                "fixed" => Err(io::ErrorKind::PermissionDenied.into()),
                _ => self
                    .0
                    .insert(path.into(), value.into())
                    .map(drop)
                    .ok_or_else(|| io::ErrorKind::NotFound.into()),
            }
        }
    }

    fn change(path: &str, value: &str) -> Change {
        Change { path: path.into(), value: value.into() }
    }

    /// Goal: whatever is done is undone, also when it is done twice; what cannot be undone is kept.
    #[test]
    fn what_is_done_is_undone() {
        let mut knobs = MadeUp::default();
        knobs.0.insert("thp".into(), "[always] madvise never\n".into());
        knobs.0.insert("swap".into(), "60\n".into());
        knobs.0.insert("fixed".into(), "1\n".into());
        let mut state = State::default();
        for change in
            [change("thp", "madvise"), change("swap", "1"), change("swap", "2"), change("fixed", "0")]
        {
            state.note(&change, &knobs).unwrap();
            let _ = knobs.write(&change.path, &change.value);
        }
        assert!(state.note(&change("gone", "1"), &knobs).is_err());
        assert_eq!((knobs.0["thp"].as_str(), knobs.0["swap"].as_str()), ("madvise", "2"));
        let told = state.undo(&mut knobs);
        assert_eq!((told.len(), told.iter().filter(|line| line.is_ok()).count()), (3, 2));
        assert_eq!((knobs.0["thp"].as_str(), knobs.0["swap"].as_str()), ("always", "60"));
        assert_eq!(state.changed, [Old { path: "fixed".into(), value: "1".into() }]);
        state.forget(&change("fixed", ""));
        assert_eq!(state, State::default());
    }

    #[test]
    fn states_are_kept_and_removed() {
        let path = std::env::temp_dir().join(format!("afterburner-tune-{}.json", std::process::id()));
        let state = State { changed: vec![Old { path: "a".into(), value: "b".into() }] };
        state.keep(&path).unwrap();
        assert_eq!(State::load(&path).unwrap(), state);
        State::default().keep(&path).unwrap();
        assert!(!path.exists());
        assert_eq!(State::load(&path).unwrap(), State::default());
    }
}
