//! Missing entries amid a queue's files: how far they reach, and how they are put back.
//!
//! ```text
//! entries  [x][x][ ][ ][ ][x]      1. written with their sizes negative, which is none, and synced
//!               '--------'         2. written as they are: one byte of each is another
//! ```
//!
//! So every one of them is whole or missing at any moment, however a kill or a power cut tears the writes.

use super::{QueueFiles, hole, is_real};
use crate::dispatch::{ENTRY_BYTES, SIZE_AT, decode_entry};
use crate::error::MediumError;
use crate::holes::Hole;
use crate::offsets::{PhysicalOffset, Unit};

/// A hole with the messages on both sides of it.
#[derive(Debug)]
pub(crate) struct Between {
    pub hole: Hole,
    /// End of the last message before it; `None`: the queue begins with it.
    pub from: Option<PhysicalOffset>,
    /// Place of the first message behind it.
    pub to: PhysicalOffset,
}

impl QueueFiles {
    /// The hole that a reader came to, from its beginning to its end. `None`: there is none any more.
    pub fn between(&mut self, met: &Hole) -> Result<Option<Between>, MediumError> {
        let Some(index) = self.index_of(met) else { return Ok(None) };
        // A file that was open all the time may not be the one that has its name now.
        self.close_file(index);
        let queue = &self.queues[index];
        let (min, written) = (queue.min, queue.next - (queue.collected.len() / ENTRY_BYTES) as i64);
        let Hole { topic, queue_id, offsets } = met.clone();
        let inside = offsets.start.max(min);
        if inside >= offsets.end.min(written) {
            return Ok(None);
        }
        let behind = hole::first_written(inside, written, self.file_entries(), |at, out| {
            self.read_bytes(index, at, out)
        })?;
        let Some((end, unit)) = behind.filter(|(end, unit)| *end > inside && is_real(unit)) else {
            return Ok(None);
        };
        let before = self.last_written(index, min, inside)?;
        let start = before.map_or(min, |(at, _)| at + 1);
        let from = before.map(|(_, unit)| unit.end());
        let hole = Hole { topic, queue_id, offsets: start..end };
        Ok(Some(Between { hole, from, to: unit.physical }))
    }

    /// The last entry of `min..end` that is there, and its offset.
    fn last_written(&mut self, index: usize, min: i64, end: i64) -> Result<Option<(i64, Unit)>, MediumError> {
        let mut bytes = vec![0; BACK_ENTRIES * ENTRY_BYTES];
        let mut to = end;
        while to > min {
            // Within one file, since the one before may be missing.
            let file_first = (to - 1) - (to - 1) % self.file_entries();
            let from = (to - BACK_ENTRIES as i64).max(min).max(file_first);
            let block = &mut bytes[..(to - from) as usize * ENTRY_BYTES];
            let there = self.read_bytes(index, from as u64 * ENTRY_BYTES as u64, block)?;
            let (entries, _) = block[..there].as_chunks::<ENTRY_BYTES>();
            let there = |(nth, entry)| Some((from + nth as i64, decode_entry(entry).filter(is_real)?));
            if let Some(last) = entries.iter().enumerate().rev().find_map(there) {
                return Ok(Some(last));
            }
            to = from;
        }
        Ok(None)
    }

    /// Whether the queue still reaches over the whole hole. What it has written elsewhere is on the disk when this returns, so that what goes
    /// wrong while entries are put back has cost no others.
    pub fn prepare_mending(&mut self, hole: &Hole) -> Result<bool, MediumError> {
        let Some(index) = self.index_of(hole) else { return Ok(false) };
        self.sync_queue(index)?;
        Ok(self.queues[index].min <= hole.offsets.start)
    }

    /// Entries go where they are missing, from offset `first` on; they are on the disk when this returns.
    pub fn put_back(&mut self, hole: &Hole, first: i64, entries: &[u8]) -> Result<(), MediumError> {
        let Some(index) = self.index_of(hole) else { return Ok(()) };
        self.close_file(index);
        let mut missing = entries.to_vec();
        missing.chunks_mut(ENTRY_BYTES).for_each(|entry| entry[SIZE_AT] |= SIGN);
        self.put(index, first, &missing)?;
        self.put(index, first, entries)?;
        // A file may be one that was missing.
        self.sync_names(index)
    }

    fn put(&mut self, index: usize, first: i64, entries: &[u8]) -> Result<(), MediumError> {
        let mut at = first as u64 * ENTRY_BYTES as u64;
        let mut rest = entries;
        while !rest.is_empty() {
            let start = at - at % self.file_bytes;
            let (now, later) = rest.split_at(rest.len().min((start + self.file_bytes - at) as usize));
            self.open_file(index, start)?;
            let (_, file) = self.queues[index].file.as_ref().expect("opened just now");
            file.write_at(at - start, now)?;
            file.sync()?;
            at += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    fn index_of(&self, hole: &Hole) -> Option<usize> {
        self.find(hole.topic.as_bytes(), hole.queue_id)
    }
}

const SIGN: u8 = 0x80;
/// So many are looked at in one go.
const BACK_ENTRIES: usize = 3_200;
