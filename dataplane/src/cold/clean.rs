//! Threads that keep house around the log's files.
//!
//! The thread that gives the blocks of deleted files back: a piece, a pause, a piece, so that nobody who writes to the same file
//! system meanwhile notices. Reads that were under way when a file was deleted get a moment to end first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use store::{Ground, Haste, Trash};

/// The thread's life. What is left at a stop is finished by the next start.
pub fn run(trash: &Trash, stop: &Arc<AtomicBool>) {
    while !stop.load(Ordering::Acquire) {
        if trash.is_empty() {
            std::thread::park_timeout(LOOK_PERIOD);
            continue;
        }
        std::thread::park_timeout(READS_MAX);
        while !stop.load(Ordering::Acquire) && trash.step() {
            std::thread::park_timeout(PAUSE);
        }
    }
}

/// The life of the thread that writes zeros where the log will be, so that syncs are quick. What is left at a stop is of no use to
/// anybody, and is made again.
pub fn run_ground(ground: &Ground, stop: &Arc<AtomicBool>) {
    while !stop.load(Ordering::Acquire) {
        std::thread::park_timeout(match ground.step() {
            Haste::None => GROUND_LOOK_PERIOD,
            Haste::Little => GROUND_PAUSE,
            Haste::Much => GROUND_PAUSE_MIN,
        });
    }
}

const GROUND_LOOK_PERIOD: Duration = Duration::from_millis(50);
/// 50 MB/s.
const GROUND_PAUSE: Duration = Duration::from_millis(20);
/// At most 1 GB/s, most often half of it.
const GROUND_PAUSE_MIN: Duration = Duration::from_millis(1);
const LOOK_PERIOD: Duration = Duration::from_secs(1);
const READS_MAX: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(5);
