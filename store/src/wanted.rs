//! Which messages of a queue a pull takes, chosen by their entries, and which of them one read of the log fetches.

use crate::consumequeue::is_real;
use crate::dispatch::{ENTRY_BYTES, decode_entry};
use crate::offsets::{PhysicalOffset, QueueOffset, Unit};
use crate::pull::{ColdPull, PullLimits};

/// What one pull may take.
pub(crate) struct Room {
    messages: u32,
    bytes: usize,
    pub entries: u32,
}

impl Room {
    pub fn of(limits: &PullLimits, goes_on: bool) -> Self {
        let (messages, bytes) = match goes_on {
            true => (limits.messages_ahead.max(limits.messages), limits.bytes_ahead.max(limits.bytes)),
            false => (limits.messages, limits.bytes),
        };
        Self { messages, bytes, entries: limits.entries }
    }
}

/// The records of a pull.
#[derive(Default)]
pub(crate) struct Wanted {
    pub units: Vec<(Unit, QueueOffset)>,
    bytes: usize,
}

/// How far a block of entries was taken.
pub(crate) enum Taken {
    All,
    /// There is no more room, or what comes is not written out yet.
    Enough,
    ToHole,
}

impl Wanted {
    /// Takes those of the entries at `pull.next` that `wants` their tag code.
    pub fn take(
        &mut self,
        entries: &[[u8; ENTRY_BYTES]],
        room: &Room,
        written_to: PhysicalOffset,
        wants: &mut dyn FnMut(i64) -> bool,
        pull: &mut ColdPull,
    ) -> Taken {
        for entry in entries {
            let Some(unit) = decode_entry(entry) else { return Taken::ToHole };
            if !is_real(&unit) {
                pull.passed_over += 1;
            } else if unit.end() > written_to {
                return Taken::Enough;
            } else if wants(unit.tags_code) {
                if !self.has_room(&unit, room) {
                    return Taken::Enough;
                }
                self.bytes += unit.size as usize;
                self.units.push((unit, pull.next));
            }
            pull.next = pull.next.plus(1);
        }
        Taken::All
    }

    /// The first message may be larger than all there is room for.
    fn has_room(&self, unit: &Unit, room: &Room) -> bool {
        let messages = self.units.len() as u32;
        messages < room.messages && (messages == 0 || self.bytes + unit.size as usize <= room.bytes)
    }

    /// Whether fetching everything that lies between them is worth it.
    pub fn is_dense(&self) -> bool {
        let (Some((first, _)), Some((last, _))) = (self.units.first(), self.units.last()) else {
            return false;
        };
        last.physical >= first.physical
            && last.end().since(first.physical) <= self.bytes as u64 * SPARSENESS_MAX
    }
}

/// Wanted records that one read fetches.
#[derive(Default)]
pub(crate) struct Batch {
    pub units: Vec<(Unit, QueueOffset)>,
}

impl Batch {
    pub fn takes(&self, unit: &Unit) -> bool {
        let (Some((first, _)), Some((last, _))) = (self.units.first(), self.units.last()) else {
            return true;
        };
        unit.physical >= last.end()
            && unit.physical.since(last.end()) <= GAP_BYTES_MAX
            && unit.end().since(first.physical) <= SPAN_BYTES_MAX
    }
}

/// Reading on over so many unwanted bytes is cheaper than one more read.
const GAP_BYTES_MAX: u64 = 8 << 10;
/// A block is read for records that are one part in so many of it.
const SPARSENESS_MAX: u64 = 64;
const SPAN_BYTES_MAX: u64 = 512 << 10;
