//! The thread that writes the log out.
//!
//! ```text
//! ColdStore::step -> rest (nap.rs) -> step ..      once a second: how full the disk is, how old the oldest message
//! stop: the shard has dropped its half -> close: everything synced, `abort` removed
//! ```

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use store::{ColdStore, PhysicalOffset, StoreError, Work};

use super::nap::{ASYNC_NAP_SLACK, Manner, Nap, Rest};
use super::urgent::become_urgent;
use super::wall_ms;
use crate::broker::facts::{DiskFacts, SharedFacts};

/// What the thread owns.
pub struct DiskThread {
    pub cold: ColdStore,
    pub facts: SharedFacts,
    /// Directory of the store, whose partition is looked at.
    pub root: PathBuf,
    /// Sends wait for this thread.
    pub sync: bool,
}

impl DiskThread {
    /// The thread's life. `stop` is set after the shard has dropped its half of the store.
    pub fn run(mut self, stop: &Arc<AtomicBool>) -> Result<(), StoreError> {
        let mut nap = Nap::new(self.manner());
        let mut earliest = (PhysicalOffset(-1), None);
        let mut looked: Option<Instant> = None;
        while !stop.load(Ordering::Acquire) {
            let before = self.cold.written_to();
            let work = self.cold.step(wall_ms());
            let found = self.cold.written_to().0.saturating_sub(before.0).max(0).unsigned_abs();
            match nap.rest(found, matches!(work, Work::Did { .. })) {
                // Whoever else has this core, a client most likely, goes on meanwhile: one that waits for a whole time slice of
                // milliseconds has nothing under way at its end.
                Rest::Again if !self.sync && !self.cold.is_far_behind() => std::thread::yield_now(),
                Rest::Again => {}
                Rest::Yield => std::thread::yield_now(),
                Rest::Nap(time) => std::thread::sleep(time),
                Rest::Park(time) => std::thread::park_timeout(time),
            }
            if looked.is_none_or(|looked| looked.elapsed() >= LOOK_PERIOD) {
                looked = Some(Instant::now());
                self.look(&mut earliest);
            }
        }
        self.cold.close(wall_ms())
    }

    fn manner(&self) -> Manner {
        if !self.sync {
            let slack = NonZeroU64::new(ASYNC_NAP_SLACK.as_nanos() as u64);
            // Without it naps end with an interrupt of their own, a little sooner.
            let _ = rustix::thread::set_current_timer_slack(slack);
            return Manner::Lazy;
        }
        match become_urgent() {
            Ok(()) => Manner::Urgent,
            Err(error) => {
                log::info!(
                    "sends wait longer for the disk where cores are full, as its thread cannot go first: {error}"
                );
                Manner::Attentive
            }
        }
    }

    /// `earliest`: the first byte of the log when it was looked at last, and the store time there.
    fn look(&mut self, earliest: &mut (PhysicalOffset, Option<i64>)) {
        let log_start = self.cold.min_physical();
        if earliest.1.is_none() || earliest.0 != log_start {
            // A log that cannot be read shows itself where it matters; here it only has no age.
            *earliest = (log_start, self.cold.reader().store_time(log_start).ok().flatten());
        }
        let (total, free) = match rustix::fs::statvfs(&self.root) {
            Ok(disk) => (disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize),
            Err(_) => (0, 0),
        };
        self.facts.write(DiskFacts { total, free, earliest_ms: earliest.1.unwrap_or(-1) });
    }
}

const LOOK_PERIOD: Duration = Duration::from_secs(1);
