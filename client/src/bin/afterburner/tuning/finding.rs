//! A line about a host: what was found, why it matters, and what mends it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::threads::Thread;

/// One line about a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub what: &'static str,
    pub found: String,
    /// None: as it should be.
    pub lack: Option<Lack>,
}

/// What is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    pub why: &'static str,
    pub fix: Fix,
}

/// How it is mended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fix {
    /// By whoever runs the host: a command, or what to do.
    Command(String),
    /// By changing these while everything runs: `afterburner tune` does it, and undoes it.
    Write(Vec<Change>),
}

/// What can be changed, and its value: a file's text, or a thread's cores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub knob: Knob,
    pub value: String,
}

/// A file of /proc or /sys, or where a thread may run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Knob {
    File { path: String },
    Cores { thread: Thread },
}

impl Change {
    pub fn file(path: impl Into<String>, value: impl Into<String>) -> Change {
        Change { knob: Knob::File { path: path.into() }, value: value.into() }
    }

    /// As a person would do it.
    fn text(&self) -> String {
        match &self.knob {
            Knob::File { path } => format!("echo {} > {path}", self.value),
            Knob::Cores { thread } => format!("taskset --pid --cpu-list {} {}", self.value, thread.pid),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {}", self.value, self.knob)
    }
}

impl fmt::Display for Knob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Knob::File { path } => f.write_str(path),
            Knob::Cores { thread } => write!(f, "cores of {} (thread {})", thread.name, thread.pid),
        }
    }
}

impl Fix {
    /// As a person would do it.
    pub fn text(&self) -> String {
        match self {
            Fix::Command(command) => command.clone(),
            Fix::Write(changes) => changes.iter().map(Change::text).collect::<Vec<_>>().join("; "),
        }
    }
}

pub fn finding(
    what: &'static str,
    found: String,
    is_good: bool,
    why: &'static str,
    fix: impl FnOnce() -> Fix,
) -> Finding {
    let lack = if is_good { None } else { Some(Lack { why, fix: fix() }) };
    Finding { what, found, lack }
}

pub fn command(text: impl Into<String>) -> Fix {
    Fix::Command(text.into())
}
