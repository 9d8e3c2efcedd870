//! A line about a host: what was found, why it matters, and what mends it.

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
    /// By writing these while everything runs: `afterburner tune` does it, and undoes it.
    Write(Vec<Change>),
}

/// A file of /proc or /sys, and what it should say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub path: String,
    pub value: String,
}

impl Fix {
    /// As a person would do it.
    pub fn text(&self) -> String {
        match self {
            Fix::Command(command) => command.clone(),
            Fix::Write(changes) => {
                let lines = changes.iter().map(|change| format!("echo {} > {}", change.value, change.path));
                lines.collect::<Vec<_>>().join("; ")
            }
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
