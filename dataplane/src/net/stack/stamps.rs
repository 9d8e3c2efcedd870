//! When bytes last moved: the stamps of all connections side by side, so that looking for quiet ones (quiet.rs) reads a few cache
//! lines now and then, and no connection's own state unless it is due.

/// When each slot's rings were last written to.
pub struct Stamps {
    /// In seconds from one; zero for rings whose pages were given back, or never touched.
    pub seconds: Vec<u32>,
    /// The slot that is looked at next, and when.
    pub at: usize,
    pub due_ns: u64,
}

impl Stamps {
    pub fn with_capacity(conns_max: usize) -> Self {
        Self { seconds: vec![0; conns_max], at: 0, due_ns: 0 }
    }

    pub fn touch(&mut self, slot: u32, now_ns: u64) {
        self.seconds[slot as usize] = second(now_ns);
    }
}

/// Seconds from one, so that none is zero.
pub fn second(now_ns: u64) -> u32 {
    (now_ns / NANOS_PER_SECOND) as u32 + 1
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;
