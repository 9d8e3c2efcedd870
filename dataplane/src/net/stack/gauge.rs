//! What is measured of one connection for whoever looks: round trips, retransmissions, a shut window.
//!
//! ```text
//! sent: our sequence moved to `after` ──timed──▶ heard: an acknowledgement of `after` ──▶ round trip
//! ```
//!
//! One segment at a time is timed, never one that was sent twice (Karn). Numbers only: nothing is steered by them here.

/// The measurements of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gauge {
    /// Smoothed as RFC 6298 does; 0 before the first sample.
    smoothed_ns: u64,
    /// The sequence number whose acknowledgement is waited for, and when it was sent.
    timed: Option<(u32, u64)>,
    resent: u64,
    shut_since_ns: Option<u64>,
    shut_ns: u64,
}

impl Gauge {
    /// Frames have left: our next sequence number was `before` and is `after`; `resent` of them carried old bytes.
    pub fn sent(&mut self, before: u32, after: u32, resent: u32, now_ns: u64) {
        if resent > 0 {
            self.resent += u64::from(resent);
            self.timed = None;
        } else if before != after && self.timed.is_none() {
            self.timed = Some((after, now_ns));
        }
    }

    /// A segment of the peer says how far it has heard us, and how much more it would take.
    pub fn heard(&mut self, ack: u32, window: u16, now_ns: u64) {
        if let Some((end, sent_ns)) = self.timed
            && ack.wrapping_sub(end) as i32 >= 0
        {
            self.timed = None;
            let sample = now_ns.saturating_sub(sent_ns);
            let smoothed = if self.smoothed_ns == 0 { sample } else { self.smoothed_ns / 8 * 7 + sample / 8 };
            self.smoothed_ns = smoothed.max(1);
        }
        if window == 0 && self.shut_since_ns.is_none() {
            self.shut_since_ns = Some(now_ns);
        } else if window != 0
            && let Some(since_ns) = self.shut_since_ns.take()
        {
            self.shut_ns += now_ns.saturating_sub(since_ns);
        }
    }

    pub fn rtt_ns(&self) -> Option<u64> {
        (self.smoothed_ns > 0).then_some(self.smoothed_ns)
    }

    pub fn retransmits(&self) -> u64 {
        self.resent
    }

    /// How long the window has been shut altogether, up to now.
    pub fn zero_window_ns(&self, now_ns: u64) -> u64 {
        self.shut_ns + self.shut_since_ns.map_or(0, |since_ns| now_ns.saturating_sub(since_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a round trip is from data to its acknowledgement, across the wrap of sequence numbers.
    #[test]
    fn a_round_trip_is_timed_across_the_wrap() {
        let mut gauge = Gauge::default();
        assert_eq!(gauge.rtt_ns(), None);
        gauge.sent(u32::MAX - 9, 90, 0, 1_000);
        gauge.sent(90, 190, 0, 2_000);
        gauge.heard(u32::MAX - 9, 100, 3_000);
        assert_eq!(gauge.rtt_ns(), None, "what is acknowledged was sent before");
        gauge.heard(190, 100, 9_000);
        assert_eq!(gauge.rtt_ns(), Some(8_000));
        gauge.sent(190, 200, 0, 10_000);
        gauge.heard(200, 100, 26_000);
        assert_eq!(gauge.rtt_ns(), Some(9_000), "7/8 of 8,000 and 1/8 of 16,000");
    }

    /// Goal: what was sent twice says nothing of the round trip, and is counted.
    #[test]
    fn what_was_sent_twice_is_not_timed() {
        let mut gauge = Gauge::default();
        gauge.sent(0, 100, 0, 0);
        gauge.sent(100, 100, 2, 200_000);
        gauge.heard(100, 100, 201_000);
        assert_eq!((gauge.rtt_ns(), gauge.retransmits()), (None, 2));
    }

    /// Goal: the time of a shut window adds up, the last one while it is still shut.
    #[test]
    fn shut_windows_add_up() {
        let mut gauge = Gauge::default();
        gauge.heard(0, 0, 1_000);
        gauge.heard(0, 0, 2_000);
        gauge.heard(0, 50, 4_000);
        assert_eq!(gauge.zero_window_ns(9_000), 3_000);
        gauge.heard(0, 0, 9_000);
        assert_eq!(gauge.zero_window_ns(10_000), 4_000);
    }
}
