//! What is counted of one connection for whoever looks: retransmissions, a shut window. Nothing is steered by it.

/// The measurements of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gauge {
    resent: u64,
    shut_since_ns: Option<u64>,
    shut_ns: u64,
}

impl Gauge {
    /// Frames with bytes that had been sent before have left.
    pub fn resent(&mut self, frames: u32) {
        self.resent += u64::from(frames);
    }

    /// A segment of the peer says how much more it would take.
    pub fn heard(&mut self, window: u16, now_ns: u64) {
        if window == 0 && self.shut_since_ns.is_none() {
            self.shut_since_ns = Some(now_ns);
        } else if window != 0
            && let Some(since_ns) = self.shut_since_ns.take()
        {
            self.shut_ns += now_ns.saturating_sub(since_ns);
        }
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

    /// Goal: the time of a shut window adds up, the last one while it is still shut.
    #[test]
    fn shut_windows_add_up() {
        let mut gauge = Gauge::default();
        gauge.heard(0, 1_000);
        gauge.heard(0, 2_000);
        gauge.heard(50, 4_000);
        assert_eq!(gauge.zero_window_ns(9_000), 3_000);
        gauge.heard(0, 9_000);
        assert_eq!(gauge.zero_window_ns(10_000), 4_000);
    }
}
