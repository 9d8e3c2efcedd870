//! A bench that is told to stop ends its load, and with it the brokers, folders, devices and huge pages it had made.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::stop::Stop;

/// Waits for signals beside the load. A second one ends the program where it stands.
pub fn watch() -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot wait for signals: {error}"))?;
    let mut stop = runtime.block_on(async { Stop::listen() })?;
    let wait = move || {
        runtime.block_on(stop.wanted());
        eprintln!("\nafterburner: stopping and cleaning up; a second signal ends it at once");
        ASKED.store(true, Ordering::Relaxed);
        runtime.block_on(stop.wanted());
        std::process::exit(ENDED_BY_SIGNAL);
    };
    let thread = thread::Builder::new().name("ab-signals".to_owned()).spawn(wait);
    thread.map(drop).map_err(|error| format!("cannot wait for signals: {error}"))
}

/// Whether it is time to stop.
pub fn is_asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// Fails once it is.
pub fn check() -> io::Result<()> {
    match is_asked() {
        true => Err(io::Error::new(io::ErrorKind::Interrupted, "stopped before its end")),
        false => Ok(()),
    }
}

/// Signals are the whole process's, and so is this.
static ASKED: AtomicBool = AtomicBool::new(false);
/// What shells make of SIGINT.
const ENDED_BY_SIGNAL: i32 = 130;
