//! Times in which we ourselves did nothing, or much at once: no silence of the peers'.
//!
//! ```text
//!   turn ── short ── turn ──── long: many requests, or others had our core ──── turn
//!                    '- what it sent is noted at its beginning, and may have left at its end
//! ```
//!
//! There is one look at the clock a turn. After a long turn everything it sent seems old: a probe would repeat what the
//! peer has had no time to answer. Sleep is no pause: it follows a turn that had nothing to send.

/// The last long turn; those that follow each other at once count as one, up to a bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pause {
    pub from_ns: u64,
    pub to_ns: u64,
    turned_ns: u64,
    frames_out: u64,
}

impl Pause {
    /// A turn begins; so many frames have been sent before it.
    pub fn turn(&mut self, now_ns: u64, frames_out: u64) {
        let began_ns = std::mem::replace(&mut self.turned_ns, now_ns);
        let sent_before = std::mem::replace(&mut self.frames_out, frames_out);
        if now_ns - began_ns < LONG_NANOS || frames_out == sent_before {
            return;
        }
        let goes_on = self.to_ns == began_ns && now_ns - self.from_ns < TOGETHER_NANOS_MAX;
        self.from_ns = if goes_on { self.from_ns } else { began_ns };
        self.to_ns = now_ns;
    }
}

/// Much longer than a turn of a busy shard, and shorter than anybody waits for an answer.
const LONG_NANOS: u64 = 1_000_000;
/// A shard that is always slow must look for losses all the same.
const TOGETHER_NANOS_MAX: u64 = 20_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: u64 = 1_000_000;

    /// Goal: short turns are no pause, long ones are, and a row of long ones is one up to its bound.
    #[test]
    fn pauses() {
        let mut pause = Pause::default();
        let mut frames_out = 0;
        let mut turn = |ms: u64, sent: u64| {
            frames_out += sent;
            pause.turn(ms * MILLI, frames_out);
            (pause.from_ns / MILLI, pause.to_ns / MILLI)
        };
        assert_eq!(turn(100, 0), (0, 0), "nothing was sent before the first turn");
        assert_eq!(turn(100, 1), (0, 0), "a short one");
        assert_eq!(turn(108, 1), (100, 108));
        assert_eq!(turn(116, 1), (100, 116));
        assert_eq!(turn(124, 1), (116, 124), "not for ever");
        assert_eq!(turn(124, 1), (116, 124));
        assert_eq!(turn(130, 1), (116, 130), "goes on: no time has passed");
        assert_eq!(turn(150, 0), (116, 130), "asleep");
    }
}
