//! One file: what was written, and what of it a power cut leaves.

use super::random;

pub(super) struct SimFile {
    pub content: Vec<u8>,
    /// What the disk has for certain; `None`: nothing yet, not even the length.
    pub durable: Option<Vec<u8>>,
    /// Writes since the last sync.
    pub unsynced: Vec<(usize, Vec<u8>)>,
}

impl SimFile {
    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if end > self.content.len() {
            self.content.resize(end, 0);
        }
        self.content[at..end].copy_from_slice(bytes);
        self.unsynced.push((at, bytes.to_vec()));
    }

    pub(super) fn sync(&mut self) {
        let size = self.content.len();
        let durable = self.durable.get_or_insert_default();
        durable.resize(size, 0);
        for (at, bytes) in self.unsynced.drain(..) {
            let end = (at + bytes.len()).min(size);
            durable[at.min(end)..end].copy_from_slice(&bytes[..end.saturating_sub(at)]);
        }
    }

    /// Each unsynced write reaches the disk, is lost, or reaches it in some of its sectors.
    pub(super) fn harden_some(&mut self, seed: &mut u64) {
        let size = self.content.len();
        let durable = self.durable.get_or_insert_with(|| match random(seed, 3) {
            0 => Vec::new(),
            _ => vec![0; size],
        });
        for (at, bytes) in self.unsynced.drain(..) {
            let fate = random(seed, 3);
            let (mut from, mut rest) = (at, &bytes[..]);
            while !rest.is_empty() {
                let (sector, later) = rest.split_at(rest.len().min(SECTOR_BYTES - from % SECTOR_BYTES));
                let kept = fate == 0 || (fate == 1 && random(seed, 2) == 0);
                if kept && from + sector.len() <= durable.len() {
                    durable[from..from + sector.len()].copy_from_slice(sector);
                }
                from += sector.len();
                rest = later;
            }
        }
    }

    pub(super) fn lose_power(&mut self, seed: &mut u64) {
        self.harden_some(seed);
        self.content.clone_from(self.durable.get_or_insert_default());
    }
}

const SECTOR_BYTES: usize = 512;
