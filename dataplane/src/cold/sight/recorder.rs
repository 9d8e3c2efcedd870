//! Writes what the flight recorder holds to a file whenever the latency bound is crossed.
//!
//! ```text
//! shard: a turn took longer than latencyBoundMicros -> the full recording out, our spare in -> flight/flight-MS.pcapng
//! ```
//!
//! The spare comes back only after a pause, so a broker that is slow for long writes one file in that time.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::About;
use crate::net::pcapng;
use crate::sight::{Crossing, RecorderEnds};

/// The thread's state.
pub struct FlightWriter {
    pub about: About,
    pub ends: RecorderEnds,
    /// `flight/` in the store's folder.
    pub folder: PathBuf,
}

impl FlightWriter {
    /// The thread's life. `first`: the spare.
    pub fn run(self, first: Box<crate::net::watch::Recording>, stop: &AtomicBool) {
        self.ends.crossings.sleeps_as(std::thread::current());
        let (mut spare, mut back_at) = (Some(first), Instant::now());
        while !stop.load(Ordering::Acquire) {
            if Instant::now() >= back_at
                && let Some(recording) = spare.take()
            {
                let _ = self.ends.spares.push(recording); // There is one spare, and the lane holds it.
            }
            if let Some(mut crossing) = self.ends.crossings.pop() {
                match self.write(&crossing) {
                    Ok(path) => log::warn!("{}; frames before it are in {}", crossing, path.display()),
                    Err(error) => log::warn!("{crossing}; its frames could not be written: {error}"),
                }
                crossing.recording.clear();
                (spare, back_at) = (Some(crossing.recording), Instant::now() + PAUSE);
            }
            std::thread::park_timeout(NAP);
        }
    }

    fn write(&self, crossing: &Crossing) -> io::Result<PathBuf> {
        fs::create_dir_all(&self.folder)?;
        self.make_room()?;
        let mut file = Vec::new();
        let comment = format!("{} at {}: {crossing}", self.about.name, self.about.address);
        pcapng::write_head(&mut file, &self.about.device, &self.about.address, &comment);
        crossing.recording.write(&mut file);
        let path = self.folder.join(format!("{PREFIX}{}.pcapng", crossing.wall_ms));
        fs::write(&path, file)?;
        Ok(path)
    }

    /// Removes the oldest of our files when there are too many.
    fn make_room(&self) -> io::Result<()> {
        let mut ours = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            ours.extend(name.to_str().filter(|name| name.starts_with(PREFIX)).map(str::to_owned));
        }
        ours.sort(); // Milliseconds since 1970 have as many digits for a long time.
        let surplus = (ours.len() + 1).saturating_sub(FILES_MAX);
        ours.iter().take(surplus).try_for_each(|name| fs::remove_file(self.folder.join(name)))
    }
}

const PREFIX: &str = "flight-";
const FILES_MAX: usize = 16;
const PAUSE: Duration = Duration::from_secs(10);
const NAP: Duration = Duration::from_millis(500);
