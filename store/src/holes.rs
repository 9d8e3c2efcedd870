//! Holes amid the queues' files that readers have come to, until the disk thread has settled each of them.
//!
//! ```text
//! reader meets a hole ─▶ wanted ─▶ the disk thread (cold/mend.rs) ─▶ made again: forgotten, the reader reads on
//!    '◀── waits (asks again) ──'                             '─▶ lost: kept here, readers pass over it from then on
//! ```
//!
//! No reader waits in here, and none writes a file.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Entries of a queue that are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    pub topic: Box<str>,
    pub queue_id: i32,
    pub offsets: Range<i64>,
}

impl Hole {
    fn overlaps(&self, other: &Hole) -> bool {
        self.queue_id == other.queue_id
            && self.offsets.start < other.offsets.end
            && other.offsets.start < self.offsets.end
            && self.topic == other.topic
    }
}

/// All that are known.
#[derive(Default)]
pub(crate) struct Holes {
    known: Mutex<Vec<Known>>,
    /// Those that the disk thread is still to look at.
    wanted: AtomicUsize,
    remade: AtomicU64,
    lost: AtomicU64,
}

struct Known {
    hole: Hole,
    is_lost: bool,
}

impl Holes {
    /// A reader has come to a hole. Whether it is to come back, since the entries may be made again.
    pub fn meet(&self, hole: Hole) -> bool {
        let mut known = self.known();
        if let Some(known) = known.iter().find(|known| known.hole.overlaps(&hole)) {
            return !known.is_lost;
        }
        if known.len() >= KNOWN_MAX {
            match known.iter().position(|known| known.is_lost) {
                // Who comes to that one again has it looked at again.
                Some(oldest) => drop(known.remove(oldest)),
                None => return true, // There is room when the disk thread has settled one.
            }
        }
        known.push(Known { hole, is_lost: false });
        self.wanted.fetch_add(1, Relaxed);
        true
    }

    /// The next one to look at.
    pub fn next_wanted(&self) -> Option<Hole> {
        if self.wanted.load(Relaxed) == 0 {
            return None;
        }
        self.known().iter().find(|known| !known.is_lost).map(|known| known.hole.clone())
    }

    /// So many of its entries were made again. Whoever comes to what is left of it asks anew.
    pub fn settle(&self, hole: &Hole, remade: u64) {
        self.remade.fetch_add(remade, Relaxed);
        self.forget(hole);
    }

    /// Its queue does not reach there any more.
    pub fn forget(&self, hole: &Hole) {
        let mut known = self.known();
        known.retain(|known| known.is_lost || !known.hole.overlaps(hole));
        self.count_wanted(&known);
    }

    /// None of its entries can be made again.
    pub fn give_up(&self, hole: &Hole) {
        self.lost.fetch_add((hole.offsets.end - hole.offsets.start).max(0) as u64, Relaxed);
        let mut known = self.known();
        known.retain(|known| known.is_lost || !known.hole.overlaps(hole));
        known.push(Known { hole: hole.clone(), is_lost: true });
        self.count_wanted(&known);
    }

    pub fn mended(&self) -> Mended {
        Mended { remade: self.remade.load(Relaxed), lost: self.lost.load(Relaxed) }
    }

    fn count_wanted(&self, known: &[Known]) {
        self.wanted.store(known.iter().filter(|known| !known.is_lost).count(), Relaxed);
    }

    fn known(&self) -> MutexGuard<'_, Vec<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of entries that were missing amid the queues, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mended {
    /// Made again from the log.
    pub remade: u64,
    /// Passed over by consumers.
    pub lost: u64,
}

/// What was given up is remembered so that it is looked at once: on a disk with more holes than this, more than once.
const KNOWN_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn hole(queue_id: i32, offsets: Range<i64>) -> Hole {
        Hole { topic: "T".into(), queue_id, offsets }
    }

    /// Goal: a reader waits for a hole until it is settled, one that is lost is passed over wherever a reader comes to it, and what is kept
    /// of holes is bounded. Method: meet, settle and give up holes that overlap; then more of them than there is room for, which wait, and
    /// once one is given up the next takes its place.
    #[test]
    fn each_hole_is_settled_once() {
        let holes = Holes::default();
        assert!(holes.meet(hole(0, 10..20)) && holes.meet(hole(0, 15..20)) && holes.meet(hole(1, 10..20)));
        assert_eq!(holes.next_wanted(), Some(hole(0, 10..20)));
        holes.settle(&hole(0, 5..20), 9);
        assert_eq!(holes.next_wanted(), Some(hole(1, 10..20)));
        holes.give_up(&hole(1, 8..20));
        assert_eq!((holes.next_wanted(), holes.mended()), (None, Mended { remade: 9, lost: 12 }));
        assert!(!holes.meet(hole(1, 19..20)) && holes.meet(hole(1, 20..21)) && holes.meet(hole(0, 19..20)));
        let fill = || (0..2 * KNOWN_MAX as i32).all(|id| holes.meet(hole(100 + id, 0..1)));
        assert!(fill(), "all wait, and none is passed over untold");
        assert_eq!(holes.known().len(), KNOWN_MAX);
        let settled = std::iter::from_fn(|| holes.next_wanted().inspect(|next| holes.give_up(next))).count();
        assert_eq!(settled, KNOWN_MAX);
        assert!(
            holes.meet(hole(100 + KNOWN_MAX as i32, 0..1)),
            "those that found no room are looked at, too"
        );
        assert!(!holes.meet(hole(100 + KNOWN_MAX as i32 - 10, 0..1)), "what was given up lately is known");
        assert_eq!(holes.known().len(), KNOWN_MAX);
    }
}
