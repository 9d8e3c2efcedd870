//! Frames seen at the device's edge: recorded, captured, or, as a rule, neither.
//!
//! ```text
//! device ─▶ in ─┐                    ┌─▶ Recording: the last frames' heads, in a ring of fixed memory
//!               ├─ is anybody there? ┤
//! device ◀─ out ┘   (one test)       └─▶ Capture: what passes a filter, in chunks that were brought
//! ```
//!
//! Frames are seen as the device gets them: segments of up to 64 KiB whose checksums the device completes. Stamps are
//! nanoseconds since 1970: exact between frames, within milliseconds of the wall clock. Nothing is allocated here.

mod capture;
mod recording;
#[cfg(test)]
mod tests;

pub use capture::{Capture, Chunk, Filter};
pub use recording::{HEAD_BYTES, Recording};

use super::pcapng::Way;
use crate::device::{DeviceTx, TxOffload};
use crate::time::{FineClock, TurnTime};

/// The watcher of one stack.
#[derive(Default)]
pub struct Watch {
    /// There is a recording or a capture.
    is_on: bool,
    clock: Option<Stamps>,
    recording: Option<Box<Recording>>,
    capture: Option<Box<Capture>>,
}

/// Turns a turn's time into nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
struct Stamps {
    clock: FineClock,
    wall_ahead_ns: u64,
}

impl Watch {
    /// Before anything is watched: how time is told within a turn.
    pub fn set_clock(&mut self, clock: FineClock, now: &TurnTime) {
        let wall_ns = (now.wall_ms.max(0) as u64).saturating_mul(1_000_000);
        self.clock = Some(Stamps { clock, wall_ahead_ns: wall_ns.saturating_sub(now.mono_ns) });
    }

    /// Records into this from now on.
    pub fn record_into(&mut self, recording: Box<Recording>) {
        self.recording = Some(recording);
        self.is_on = true;
    }

    /// Takes the recording and goes on in the one given; false, and nothing happens, when there is none.
    pub fn swap(&mut self, fresh: &mut Box<Recording>) -> bool {
        let Some(recording) = &mut self.recording else { return false };
        std::mem::swap(recording, fresh);
        true
    }

    pub fn is_recording(&self) -> bool {
        self.recording.is_some()
    }

    /// Captures from now on; what captured before comes back, with its last chunk handed over.
    pub fn capture_into(&mut self, capture: Option<Box<Capture>>) -> Option<Box<Capture>> {
        let mut before = std::mem::replace(&mut self.capture, capture);
        self.is_on = self.recording.is_some() || self.capture.is_some();
        if let Some(before) = &mut before {
            before.hand_over();
        }
        before
    }

    /// Hands over what was captured, full or not. Called once in a while.
    pub fn hand_over(&mut self) {
        if let Some(capture) = &mut self.capture {
            capture.hand_over();
        }
    }

    /// A frame passes.
    #[inline]
    pub fn see(&mut self, way: Way, frame: &[u8], now: &TurnTime) {
        if self.is_on {
            self.note(way, frame, now);
        }
    }

    #[inline(never)]
    fn note(&mut self, way: Way, frame: &[u8], now: &TurnTime) {
        let stamp_ns = match &self.clock {
            Some(stamps) => stamps.clock.now_ns(now) + stamps.wall_ahead_ns,
            None => now.mono_ns,
        };
        if let Some(recording) = &mut self.recording {
            recording.note(stamp_ns, way, frame);
        }
        if let Some(capture) = &mut self.capture {
            capture.note(stamp_ns, way, frame);
        }
    }
}

/// A device's sending half that is watched.
pub struct Watched<'a, T> {
    pub tx: &'a mut T,
    pub watch: &'a mut Watch,
    pub now: &'a TurnTime,
}

impl<T: DeviceTx> DeviceTx for Watched<'_, T> {
    #[inline]
    fn has_room(&mut self) -> bool {
        self.tx.has_room()
    }

    #[inline]
    fn send(&mut self, frame_bytes: usize, fill: impl FnOnce(&mut [u8]) -> TxOffload) {
        let Self { tx, watch, now } = self;
        tx.send(frame_bytes, |frame| {
            let offload = fill(frame);
            watch.see(Way::Out, frame, now);
            offload
        });
    }
}
