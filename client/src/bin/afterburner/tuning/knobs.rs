//! Changes a running host by writing to /proc and /sys and by moving threads, and remembers what was there before.
//!
//! ```text
//! Change --apply--> old value noted, first of all --> new value written
//! state file --undo--> old values written back, latest first
//! ```
//!
//! A thread that ended meanwhile is told and passed over, and another one that got its number is never touched.
//! Nothing here outlives a reboot, and neither does the state file, which lies in /run.

use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::{Deserialize, Serialize};

use super::core_sets;
use super::finding::{Change, Knob};
use super::threads::{self, Thread};

/// What can be read and changed: the host's, or a made-up one's. A thread that is gone is `NotFound`.
pub trait Knobs {
    fn read(&self, knob: &Knob) -> io::Result<String>;
    fn write(&mut self, knob: &Knob, value: &str) -> io::Result<()>;
}

/// This host.
pub struct RealKnobs;

impl Knobs for RealKnobs {
    fn read(&self, knob: &Knob) -> io::Result<String> {
        match knob {
            Knob::File { path } => fs::read_to_string(path),
            Knob::Cores { thread } => {
                is_still(thread)?;
                let cores = threads::cores(Path::new("/"), thread.pid).ok_or(io::ErrorKind::NotFound)?;
                Ok(cores.iter().map(usize::to_string).collect::<Vec<_>>().join(","))
            }
        }
    }

    fn write(&mut self, knob: &Knob, value: &str) -> io::Result<()> {
        match knob {
            Knob::File { path } => fs::write(path, value),
            Knob::Cores { thread } => {
                let mut set = CpuSet::new();
                for core in core_sets::from_list(value) {
                    if core >= CpuSet::MAX_CPU {
                        return Err(io::ErrorKind::InvalidInput.into());
                    }
                    set.set(core);
                }
                is_still(thread)?;
                let pid = i32::try_from(thread.pid).ok().and_then(Pid::from_raw);
                let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
                sched_setaffinity(Some(pid), &set).map_err(|error| match error {
                    Errno::SRCH => io::ErrorKind::NotFound.into(),
                    error => error.into(),
                })
            }
        }
    }
}

/// `NotFound` when the number belongs to nobody, or to another thread.
fn is_still(thread: &Thread) -> io::Result<()> {
    match threads::thread(Path::new("/"), thread.pid).as_ref() == Some(thread) {
        true => Ok(()),
        false => Err(io::ErrorKind::NotFound.into()),
    }
}

/// What is said of a thread that ended before it could be moved, or moved back.
pub fn gone(knob: &Knob, error: &io::Error) -> Option<String> {
    let is_gone = matches!(knob, Knob::Cores { .. }) && error.kind() == io::ErrorKind::NotFound;
    is_gone.then(|| format!("nothing: {knob}: it is gone"))
}

/// What was changed, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub changed: Vec<Old>,
}

/// A file or a thread, and its value before us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Old {
    #[serde(flatten)]
    pub knob: Knob,
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

    /// Notes what stands there now, unless an older value is known.
    pub fn note(&mut self, change: &Change, knobs: &impl Knobs) -> io::Result<()> {
        if self.changed.iter().any(|old| old.knob == change.knob) {
            return Ok(());
        }
        let value = current(&knobs.read(&change.knob)?);
        self.changed.push(Old { knob: change.knob.clone(), value });
        Ok(())
    }

    /// Forgets a change that could not be made.
    pub fn forget(&mut self, change: &Change) {
        self.changed.retain(|old| old.knob != change.knob);
    }

    /// Writes back what was there, latest first; what cannot be written back stays. One line for each.
    pub fn undo(&mut self, knobs: &mut impl Knobs) -> Vec<Result<String, String>> {
        let mut told = Vec::new();
        let mut left = Vec::new();
        for old in std::mem::take(&mut self.changed).into_iter().rev() {
            let back = Change { knob: old.knob.clone(), value: old.value.clone() };
            match knobs.write(&old.knob, &old.value) {
                Ok(()) => told.push(Ok(back.to_string())),
                Err(error) => match gone(&old.knob, &error) {
                    Some(line) => told.push(Ok(line)),
                    None => {
                        told.push(Err(format!("{back}: {error}")));
                        left.insert(0, old);
                    }
                },
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
    use std::process::{Command, Stdio};

    use super::*;

    /// A made-up host; `fixed` cannot be written.
    #[derive(Default)]
    struct MadeUp(BTreeMap<String, String>);

    impl Knobs for MadeUp {
        fn read(&self, knob: &Knob) -> io::Result<String> {
            self.0.get(&knob.to_string()).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
        }

        fn write(&mut self, knob: &Knob, value: &str) -> io::Result<()> {
            match knob.to_string().as_str() {
                "fixed" => Err(io::ErrorKind::PermissionDenied.into()),
                path => self
                    .0
                    .insert(path.into(), value.into())
                    .map(drop)
                    .ok_or_else(|| io::ErrorKind::NotFound.into()),
            }
        }
    }

    fn change(path: &str, value: &str) -> Change {
        Change::file(path, value)
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
            let _ = knobs.write(&change.knob, &change.value);
        }
        assert!(state.note(&change("gone", "1"), &knobs).is_err());
        assert_eq!((knobs.0["thp"].as_str(), knobs.0["swap"].as_str()), ("madvise", "2"));
        let told = state.undo(&mut knobs);
        assert_eq!((told.len(), told.iter().filter(|line| line.is_ok()).count()), (3, 2));
        assert_eq!((knobs.0["thp"].as_str(), knobs.0["swap"].as_str()), ("always", "60"));
        assert_eq!(state.changed, [Old { knob: change("fixed", "").knob, value: "1".into() }]);
        state.forget(&change("fixed", ""));
        assert_eq!(state, State::default());
    }

    /// Goal: a thread is moved and moved back, one that is another by now is not touched, and one that is gone is told and
    /// forgotten. Method: a process of our own that waits, on this very host.
    #[test]
    fn threads_are_moved_and_moved_back() {
        // It ends with us, whatever becomes of the test.
        let mut reader = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let root = Path::new("/");
        let cores = |pid| threads::cores(root, pid).unwrap();
        // Until it is `cat` it has our name.
        let thread = loop {
            let thread = threads::thread(root, reader.id()).unwrap();
            if thread.name == "cat" {
                break thread;
            }
            std::thread::yield_now();
        };
        let before = cores(thread.pid);
        let there = before.last().unwrap().to_string();
        let moved =
            |thread: &Thread| Change { knob: Knob::Cores { thread: thread.clone() }, value: there.clone() };
        let mut state = State::default();
        let change = moved(&thread);
        state.note(&change, &RealKnobs).unwrap();
        RealKnobs.write(&change.knob, &change.value).unwrap();
        assert_eq!(cores(thread.pid), [*before.last().unwrap()]);
        for other in [
            Thread { started: thread.started + 1, ..thread.clone() },
            Thread { name: "ca".into(), ..thread.clone() },
        ] {
            let error = RealKnobs.write(&moved(&other).knob, "0").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
            assert_eq!(cores(thread.pid), [*before.last().unwrap()]);
        }
        let noted = state.clone();
        assert!(state.undo(&mut RealKnobs)[0].is_ok());
        assert_eq!((cores(thread.pid), state), (before, State::default()));
        reader.kill().unwrap();
        reader.wait().unwrap();
        let mut state = noted;
        let told = state.undo(&mut RealKnobs);
        assert!(told[0].as_ref().unwrap().contains("it is gone"), "{told:?}");
        assert_eq!(state, State::default());
    }

    #[test]
    fn states_are_kept_and_removed() {
        let path = std::env::temp_dir().join(format!("afterburner-tune-{}.json", std::process::id()));
        let thread = Thread { pid: 77, name: "kdamond.0".into(), started: 7 };
        let old = |knob| Old { knob, value: "b".into() };
        let state =
            State { changed: vec![old(change("a", "").knob), old(Knob::Cores { thread: thread.clone() })] };
        state.keep(&path).unwrap();
        assert_eq!(State::load(&path).unwrap(), state);
        fs::write(&path, r#"{"changed":[{"path":"a","value":"b"}]}"#).unwrap();
        assert_eq!(State::load(&path).unwrap().changed, state.changed[..1]);
        State::default().keep(&path).unwrap();
        assert!(!path.exists());
        assert_eq!(State::load(&path).unwrap(), State::default());
    }
}
