//! How much may be on its way: slow start, and the Reno-friendly half of CUBIC (RFC 9438, 4.3).
//!
//! The cubic half is left out: a send ring holds 256 KiB, and up to that window the friendly half is the faster one, or as
//! fast, on any path. Bytes are counted, not acknowledgements, of which a peer that takes whole offloaded segments sends few.

#[derive(Clone, Copy, Debug)]
pub struct Window {
    mss: u32,
    bytes: u32,
    threshold: u32,
    /// The window before the last loss: beyond it, growth is as Reno's.
    before: u32,
    /// Acknowledged bytes that have not made the window grow yet.
    credit: u64,
    /// Bytes that arrived and bytes that were lost of late.
    arrived_lately: u64,
    lost_lately: u64,
    /// To take back a reduction that was needless.
    undo: Option<(u32, u32)>,
}

impl Window {
    pub fn new(mss: u32) -> Self {
        Self {
            mss,
            bytes: INITIAL_SEGMENTS * mss,
            threshold: u32::MAX,
            before: 0,
            credit: 0,
            arrived_lately: 0,
            lost_lately: 0,
            undo: None,
        }
    }

    pub fn bytes(&self) -> u32 {
        self.bytes
    }

    /// `acked` bytes have arrived, of `flight` that were on their way. Grows only if the window was what held us back.
    pub fn acked(&mut self, acked: u32, flight: u32) {
        if flight < self.bytes / 2 {
            return;
        }
        if self.bytes < self.threshold {
            self.bytes = self.bytes.saturating_add(acked).min(BYTES_MAX);
            return;
        }
        let (grow, per) = if self.bytes < self.before { FRIENDLY } else { (1, 1) };
        self.credit += u64::from(acked) * grow;
        let needed = u64::from(self.bytes) * per;
        if self.credit >= needed {
            self.credit -= needed;
            self.bytes = (self.bytes + self.mss).min(BYTES_MAX);
        }
    }

    pub fn note_arrived(&mut self, bytes: u32) {
        self.arrived_lately += u64::from(bytes);
        if self.arrived_lately > LATELY_BYTES {
            self.arrived_lately /= 2;
            self.lost_lately /= 2;
        }
    }

    pub fn note_lost(&mut self, bytes: u32) {
        self.lost_lately += u64::from(bytes);
    }

    /// So little is lost that it says nothing about congestion. For local networks, where a window that shrinks at each loss
    /// wastes most of the path, and cannot do harm for longer than it takes to lose more.
    pub fn bears_loss(&self) -> bool {
        self.lost_lately * BORNE_ONE_IN <= self.arrived_lately
    }

    /// Something was lost, found by news of what came after it.
    pub fn lost(&mut self, is_local: bool) {
        let segments_min = if is_local { INITIAL_SEGMENTS } else { SEGMENTS_MIN };
        self.undo = Some((self.bytes, self.threshold));
        self.before = self.bytes;
        self.threshold = self.reduced(segments_min);
        self.bytes = self.threshold;
        self.credit = 0;
    }

    /// No news in time. `again`: nor since the last time.
    pub fn timed_out(&mut self, again: bool) {
        if !again {
            self.undo = Some((self.bytes, self.threshold));
            self.before = self.bytes;
            self.threshold = self.reduced(SEGMENTS_MIN);
        }
        self.bytes = self.mss;
        self.credit = 0;
    }

    /// Nothing was lost after all.
    pub fn take_back(&mut self) {
        if let Some((bytes, threshold)) = self.undo.take() {
            self.bytes = self.bytes.max(bytes);
            self.threshold = threshold;
        }
    }

    fn reduced(&self, segments_min: u32) -> u32 {
        let reduced = u64::from(self.bytes) * REDUCE_TO.0 / REDUCE_TO.1;
        (reduced as u32).max(segments_min * self.mss).min(self.bytes)
    }
}

/// RFC 6928.
const INITIAL_SEGMENTS: u32 = 10;
/// RFC 9438, 4.6.
const REDUCE_TO: (u64, u64) = (7, 10);
/// RFC 5681, 3.1.
const SEGMENTS_MIN: u32 = 2;
/// RFC 9438, 4.3: 3 (1 - 0.7) / (1 + 0.7) of a segment for each window.
const FRIENDLY: (u64, u64) = (9, 17);
/// One in fifty, as the second and third BBR bear it.
const BORNE_ONE_IN: u64 = 50;
const LATELY_BYTES: u64 = 2 << 20;
/// More than any ring holds.
const BYTES_MAX: u32 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each event moves the window as the RFCs say. Method: one life of a window, step by step.
    #[test]
    fn lives() {
        let mut window = Window::new(1_000);
        assert_eq!(window.bytes(), 10_000);
        window.acked(4_000, 4_000);
        assert_eq!(window.bytes(), 10_000, "it did not hold us back");
        window.acked(10_000, 10_000);
        window.acked(20_000, 20_000);
        assert_eq!(window.bytes(), 40_000);
        window.lost(false);
        assert_eq!(window.bytes(), 28_000);
        (0..17).for_each(|_| window.acked(28_000, 28_000));
        assert_eq!(
            window.bytes(),
            28_000 + 8 * 1_000,
            "9 segments in 17 windows, and a little for their growth"
        );
        (0..20).for_each(|_| window.acked(window.bytes(), window.bytes()));
        assert!(window.bytes() > 40_000, "faster beyond the old window: {}", window.bytes());

        let before = window.bytes();
        window.timed_out(false);
        assert_eq!(window.bytes(), 1_000);
        let threshold = window.threshold;
        window.timed_out(true);
        assert_eq!(window.threshold, threshold, "one loss, one reduction");
        window.acked(1_000, 1_000);
        assert_eq!(window.bytes(), 2_000);
        window.take_back();
        assert_eq!(window.bytes(), before);

        (0..100).for_each(|_| window.lost(true));
        assert_eq!(window.bytes(), 10_000);
        (0..100).for_each(|_| window.lost(false));
        assert_eq!(window.bytes(), 2_000);
    }

    /// Goal: one in fifty is borne, over some time; more is not.
    #[test]
    fn bears_some_loss() {
        let mut window = Window::new(1_000);
        assert!(window.bears_loss());
        window.note_lost(1_000);
        assert!(!window.bears_loss(), "too early to tell");
        for (every, is_borne) in [(100, true), (30, false), (100, true)] {
            for number in 0..10_000 {
                window.note_arrived(1_000);
                if number % every == 0 {
                    window.note_lost(1_000);
                }
            }
            assert_eq!(window.bears_loss(), is_borne, "one in {every}");
        }
    }
}
