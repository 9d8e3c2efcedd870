//! One program that `up` runs: started with its output in a file, watched, asked to stop, and never left behind.
//!
//! A child is started through `afterburner run-child`, which asks the kernel for SIGTERM when `up` dies, whatever
//! kills it, and then becomes the program. It leads a process group of its own, so that Ctrl-C at the terminal
//! reaches it only through `up`, in the right order.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

#[derive(Debug)]
pub struct Child {
    pub name: &'static str,
    process: Process,
    output: PathBuf,
    ended: Option<ExitStatus>,
}

impl Child {
    /// `output` is begun anew.
    pub fn start(
        name: &'static str,
        program: &Path,
        arguments: &[String],
        output: PathBuf,
    ) -> Result<Self, String> {
        let file =
            File::create(&output).map_err(|error| format!("cannot write {}: {error}", output.display()))?;
        let twin = file.try_clone().map_err(|error| format!("cannot write {}: {error}", output.display()))?;
        let this = std::env::current_exe().map_err(|error| format!("cannot find my own program: {error}"))?;
        let process = Command::new(this)
            .args(["run-child", &std::process::id().to_string()])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(twin)
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        Ok(Self { name, process, output, ended: None })
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Whether it has written `text` yet.
    pub fn has_said(&self, text: &str) -> bool {
        fs::read(&self.output).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text))
    }

    /// How it ended, once it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.process.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Why it is not running any more, with the last it said.
    pub fn obituary(&self) -> String {
        let how =
            self.ended.map_or_else(|| "does not answer".to_owned(), |status| format!("ended ({status})"));
        format!(
            "the {} {how}; its last lines, of {}:\n{}",
            self.name,
            self.output.display(),
            self.last_lines()
        )
    }

    /// The lines that warn, in the order they were said.
    pub fn warnings(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.output).unwrap_or_default();
        let warns = |line: &&str| ["WARN", "ERROR", "warning:"].iter().any(|word| line.contains(word));
        text.lines().filter(warns).map(str::to_owned).collect()
    }

    fn last_lines(&self) -> String {
        let bytes = fs::read(&self.output).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let first = lines.len().saturating_sub(LAST_LINES);
        lines[first..].iter().map(|line| format!("  {line}\n")).collect()
    }

    /// Asks it to stop and waits; kills it when it does not.
    fn stop(&mut self) {
        let until = Instant::now() + STOP_LIMIT;
        self.signal(Signal::TERM);
        while self.ended().is_none() {
            if Instant::now() > until {
                super::warn(format_args!(
                    "the {} does not stop within {STOP_LIMIT:?} and is killed",
                    self.name
                ));
                self.signal(Signal::KILL);
                self.ended = self.process.wait().ok();
                return;
            }
            std::thread::sleep(STOP_POLL);
        }
    }

    fn signal(&mut self, signal: Signal) {
        let running = self.ended().is_none();
        if let Some(pid) = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).filter(|_| running) {
            let _ = rustix::process::kill_process(pid, signal); // Gone between the look and the signal: as wanted.
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Becomes `program`, and dies when the parent does.
pub fn become_program(parent: u32, program: &Path, arguments: &[String]) -> String {
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::TERM)) {
        return format!("cannot bind my life to my parent's: {error}");
    }
    if std::os::unix::process::parent_id() != parent {
        return "my parent is gone already".to_owned();
    }
    let error = Command::new(program).args(arguments).exec();
    format!("cannot start {}: {error}", program.display())
}

const LAST_LINES: usize = 20;
/// A broker may have a hot log to write out.
const STOP_LIMIT: Duration = Duration::from_secs(60);
const STOP_POLL: Duration = Duration::from_millis(5);
