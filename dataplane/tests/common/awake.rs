//! Time without what a test was kept from running. A machine that stands still for some seconds, or leaves an idle process no
//! core, is no fault of the broker's: what waits for it waits on this clock.
//!
//! ```text
//!   the wall    |....|....|....|  stands still  |....|....|
//!   awake       |....|....|....|.|....|....|
//! ```
//!
//! A thread counts a beat whenever it wakes, however late. So it goes with the wall or behind it, and never stops where the
//! test itself goes on: what never comes is found out.

#![allow(dead_code)] // Each test program uses its part.

use std::io::{self, ErrorKind, Read};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

static BEATS: AtomicU32 = AtomicU32::new(0);

/// For how long the process has been awake, about.
pub fn now() -> Duration {
    static BEATING: Once = Once::new();
    BEATING.call_once(|| {
        std::thread::spawn(|| {
            loop {
                std::thread::sleep(BEAT);
                BEATS.fetch_add(1, Ordering::Relaxed);
            }
        });
    });
    BEAT * BEATS.load(Ordering::Relaxed)
}

/// Reads once what comes within `patience`. A process that was stopped and goes on finds its reads interrupted
/// when they have a limit, which says nothing about the connection.
pub fn read(stream: &mut impl Read, into: &mut [u8], patience: Duration) -> io::Result<usize> {
    let until = now() + patience;
    loop {
        match stream.read(into) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if is_limit(&error) && now() < until => {}
            read => return read,
        }
    }
}

fn is_limit(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

const BEAT: Duration = Duration::from_millis(20);
