//! The flight recorder: heads of frames in a ring of fixed memory.

use crate::net::pcapng::{self, Way};

/// The heads of the last frames, oldest overwritten.
#[derive(Debug)]
pub struct Recording {
    slots: Vec<Slot>,
    next: usize,
    /// Frames since it began, those overwritten too.
    pub seen: u64,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    stamp_ns: u64,
    frame_bytes: u32,
    kept: u16,
    way: Way,
    head: [u8; HEAD_BYTES],
}

impl Recording {
    /// Takes about `bytes` of memory, and touches all of it.
    pub fn new(bytes: usize) -> Recording {
        let empty = Slot { stamp_ns: 0, frame_bytes: 0, kept: 0, way: Way::Out, head: [1; HEAD_BYTES] };
        Recording { slots: vec![empty; (bytes / SLOT_BYTES).max(1)], next: 0, seen: 0 }
    }

    #[inline]
    pub(super) fn note(&mut self, stamp_ns: u64, way: Way, frame: &[u8]) {
        let slot = &mut self.slots[self.next];
        let kept = frame.len().min(HEAD_BYTES);
        slot.head[..kept].copy_from_slice(&frame[..kept]);
        (slot.stamp_ns, slot.frame_bytes, slot.kept, slot.way) =
            (stamp_ns, frame.len() as u32, kept as u16, way);
        self.next = if self.next + 1 == self.slots.len() { 0 } else { self.next + 1 };
        self.seen += 1;
    }

    /// Appends what is there to a pcapng file, oldest first.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (newer, older) = self.slots.split_at(self.next);
        let mut last_ns = 0;
        for slot in older.iter().chain(newer).filter(|slot| slot.frame_bytes > 0) {
            let kept = &slot.head[..slot.kept.into()];
            pcapng::write_packet(out, slot.stamp_ns, slot.way, slot.frame_bytes as usize, kept);
            last_ns = slot.stamp_ns;
        }
        let lost = self.seen.saturating_sub(self.slots.len() as u64);
        pcapng::write_tail(out, last_ns, self.seen, lost);
    }

    /// Forgets everything, and keeps its memory.
    pub fn clear(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.frame_bytes = 0);
        (self.next, self.seen) = (0, 0);
    }
}

/// What a frame takes.
pub const SLOT_BYTES: usize = size_of::<Slot>();
/// Ethernet, IPv4 and TCP with all their options, and the beginning of what they carry.
pub const HEAD_BYTES: usize = 128;
