//! Old messages in memory before they are asked for: blocks of the commitlog, a bounded number of them.
//!
//! ```text
//! a queue read on and on:  .. [block] [block] | next pull | [block] [block] [block] ..
//!                             used: may go                   wanted: read by helpers, past the page cache
//! ```
//!
//! Whoever needs a block that is not here reads it himself, or waits for the helper that is at it. The block used least recently
//! makes room. All queues share the blocks, since their messages lie side by side in the log: the first of several consumers waits for
//! the disk, and the others find what it has fetched. Without helpers (the simulator) nothing is read ahead.
//!
//! Records leave as places in blocks (shared.rs), not as copies. A block that somebody still refers to keeps its slot, so the number of
//! blocks bounds all of this memory; when no slot is free, what is read is not kept, and copied out (`is_crowded`).

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::arena::PAGE_BYTES;
use crate::commitlog::name_of_offset;
use crate::config::StoreConfig;
use crate::error::MediumError;
use crate::marks::Marks;
use crate::medium::Medium;
use crate::offsets::PhysicalOffset;

/// Shared by readers and helpers.
pub struct ReadAhead {
    medium: Arc<dyn Medium>,
    marks: Arc<Marks>,
    dir: PathBuf,
    file_bytes: u64,
    block_bytes: u64,
    blocks_max: usize,
    state: Mutex<State>,
    /// A block has come, or will not.
    arrived: Condvar,
    /// Something is wanted.
    wanted: Condvar,
    helpers: AtomicUsize,
    /// The last block that was read found every slot in use.
    crowded: AtomicBool,
}

#[derive(Default)]
struct State {
    slots: Vec<Slot>,
    /// Starts of blocks: to be read, and being read.
    wanted: VecDeque<u64>,
    reading: Vec<u64>,
    /// Memory to be used again.
    spare: Vec<Vec<u8>>,
    /// Counts uses.
    clock: u64,
    /// The clock when a helper last had nothing to do, and how often in a row it has not moved.
    idle_clock: u64,
    idle_times: u32,
}

struct Slot {
    block: Arc<Block>,
    used: u64,
}

/// A run of the log.
pub(crate) struct Block {
    start: u64,
    /// Bytes that were written out when it was read.
    len: usize,
    memory: Vec<u8>,
}

impl Block {
    /// The bytes of the block from `at` on, at most `len`; empty when it has none.
    pub fn bytes(&self, at: u64, len: usize) -> &[u8] {
        let Some(from) = at.checked_sub(self.start).map(|from| from as usize).filter(|from| *from < self.len)
        else {
            return &[];
        };
        let begin = aligned_in(&self.memory);
        &self.memory[begin + from..begin + self.len.min(from + len)]
    }
}

impl ReadAhead {
    /// `None`: switched off, or the files have no blocks of a useful size.
    pub(crate) fn new(medium: Arc<dyn Medium>, marks: Arc<Marks>, config: &StoreConfig) -> Option<Self> {
        let file_bytes = config.commitlog_file_bytes;
        let block_bytes = BLOCK_BYTES_MAX.min(1 << file_bytes.trailing_zeros());
        let blocks_max = config.read_ahead_bytes / block_bytes as usize;
        (block_bytes >= PAGE_BYTES as u64 && blocks_max >= BLOCKS_MIN).then(|| Self {
            medium,
            marks,
            dir: config.commitlog_dir(),
            file_bytes,
            block_bytes,
            blocks_max,
            state: Mutex::default(),
            arrived: Condvar::new(),
            wanted: Condvar::new(),
            helpers: AtomicUsize::new(0),
            crowded: AtomicBool::new(false),
        })
    }

    /// The block that `at` lies in, with what was written out of it up to `to` at least. `None`: nothing was, or it is deleted.
    pub(crate) fn block(&self, at: u64, to: u64) -> Result<Option<Arc<Block>>, MediumError> {
        let start = at - at % self.block_bytes;
        let to = to.min(start + self.block_bytes);
        let mut state = self.state();
        loop {
            state.clock += 1;
            let clock = state.clock;
            if let Some(slot) = state.slots.iter_mut().find(|slot| slot.block.start == start) {
                if slot.block.start + slot.block.len as u64 >= to {
                    slot.used = clock;
                    return Ok(Some(Arc::clone(&slot.block)));
                }
                // It was read before the log had got so far.
                state.slots.retain(|slot| slot.block.start != start);
            }
            if !state.reading.contains(&start) {
                state.wanted.retain(|wanted| *wanted != start);
                return self.fetch(state, start);
            }
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Blocks that will be asked for soon: `count` of them behind the one that `at` lies in.
    pub(crate) fn want(&self, at: u64, count: usize) {
        if self.helpers.load(Relaxed) == 0 {
            return;
        }
        let written_to = self.marks.written_to().0 as u64;
        let mut state = self.state();
        let mut is_news = false;
        for nth in 1..=count as u64 {
            let start = at - at % self.block_bytes + nth * self.block_bytes;
            // One that is not whole yet would have to be read once more.
            if start + self.block_bytes > written_to || state.wanted.len() >= WANTED_MAX {
                break;
            }
            let is_known = state.slots.iter().any(|slot| slot.block.start == start)
                || state.reading.contains(&start)
                || state.wanted.contains(&start);
            if !is_known {
                state.wanted.push_back(start);
                is_news = true;
            }
        }
        drop(state);
        if is_news {
            self.wanted.notify_one();
        }
    }

    /// How many blocks there may be at a time.
    pub(crate) fn blocks_max(&self) -> usize {
        self.blocks_max
    }

    /// Whether there are readers that hold so many blocks that records should be copied out of the others.
    pub(crate) fn is_crowded(&self) -> bool {
        self.crowded.load(Relaxed)
    }

    /// The calling thread will call `help` again and again.
    pub fn add_helper(&self) {
        self.helpers.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads one wanted block, for which it waits up to `patience`. When nobody has needed a block for long, all memory is given
    /// back.
    pub fn help(&self, patience: Duration) {
        let state = self.state();
        let (mut state, waited) = self
            .wanted
            .wait_timeout_while(state, patience, |state| state.wanted.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            let is_idle = state.clock == state.idle_clock;
            state.idle_times = if is_idle { state.idle_times + 1 } else { 0 };
            state.idle_clock = state.clock;
            if state.idle_times >= IDLE_TIMES_MAX {
                state.slots.retain(|slot| !is_free(slot));
                state.spare = Vec::new();
            }
            return;
        }
        let Some(start) = state.wanted.pop_front() else { return };
        let more = !state.wanted.is_empty();
        if more {
            self.wanted.notify_one();
        }
        // Who needs it will meet the error himself.
        let _ = self.fetch(state, start);
    }

    /// Reads a block that is not here and that nobody is reading.
    fn fetch(&self, mut state: MutexGuard<'_, State>, start: u64) -> Result<Option<Arc<Block>>, MediumError> {
        state.reading.push(start);
        let memory = state.spare.pop();
        drop(state);
        let read = self.read(start, memory);
        let mut state = self.state();
        state.reading.retain(|reading| *reading != start);
        let block = read.map(|block| block.map(Arc::new));
        if let Ok(Some(block)) = &block
            && self.make_room(&mut state)
        {
            state.clock += 1;
            let used = state.clock;
            state.slots.push(Slot { block: Arc::clone(block), used });
        }
        self.arrived.notify_all();
        block
    }

    fn read(&self, start: u64, memory: Option<Vec<u8>>) -> Result<Option<Block>, MediumError> {
        let written_to = self.marks.written_to();
        if written_to <= PhysicalOffset(start as i64) {
            return Ok(None);
        }
        let len = written_to.since(PhysicalOffset(start as i64)).min(self.block_bytes) as usize;
        let in_file = start % self.file_bytes;
        let path = self.dir.join(name_of_offset((start - in_file) as i64));
        let file = match self.medium.open_direct(&path)? {
            Some(file) => file,
            None => match self.medium.open(&path)? {
                Some(file) => file,
                None => return Ok(None),
            },
        };
        let mut memory = memory.unwrap_or_else(|| vec![0; self.block_bytes as usize + PAGE_BYTES]);
        let begin = aligned_in(&memory);
        let began = self.medium.elapsed_ns();
        let there = file.read_at(in_file, &mut memory[begin..begin + len.next_multiple_of(PAGE_BYTES)])?;
        self.marks.times.read.record(self.medium.elapsed_ns() - began);
        Ok(Some(Block { start, len: len.min(there), memory }))
    }

    /// Whether there is a slot for one more block.
    fn make_room(&self, state: &mut State) -> bool {
        if state.slots.len() >= self.blocks_max {
            let free = state.slots.iter().enumerate().filter(|(_, slot)| is_free(slot));
            let oldest = free.min_by_key(|(_, slot)| slot.used).map(|(index, _)| index);
            let slot = oldest.map(|index| state.slots.swap_remove(index));
            if let Some(Ok(block)) = slot.map(|slot| Arc::try_unwrap(slot.block))
                && state.spare.len() < SPARE_MAX
            {
                state.spare.push(block.memory);
            }
        }
        let has_room = state.slots.len() < self.blocks_max;
        self.crowded.store(!has_room, Relaxed);
        has_room
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether nobody refers to its block. Nobody begins to while the state is locked.
fn is_free(slot: &Slot) -> bool {
    Arc::strong_count(&slot.block) == 1
}

/// Where a page begins in memory that has a page to spare.
fn aligned_in(memory: &[u8]) -> usize {
    memory.as_ptr().align_offset(PAGE_BYTES)
}

/// The disk's full speed with two at a time.
const BLOCK_BYTES_MAX: u64 = 1 << 20;
const BLOCKS_MIN: usize = 4;
const WANTED_MAX: usize = 64;
const SPARE_MAX: usize = 8;
const IDLE_TIMES_MAX: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim_medium::SimMedium;

    fn world(blocks: usize) -> ReadAhead {
        let medium = SimMedium::new(1);
        let mut config = StoreConfig::new("/s");
        config.commitlog_file_bytes = 4 << 16;
        config.read_ahead_bytes = blocks << 18;
        for start in [0, 4 << 16] {
            let path = config.commitlog_dir().join(name_of_offset(start));
            let file = medium.create(&path, 4 << 16).unwrap();
            let bytes: Vec<u8> = (0..4 << 16).map(|at| ((start + at) / 1_000) as u8).collect();
            file.write_at(0, &bytes).unwrap();
        }
        let marks = Arc::new(Marks::default());
        marks.set_written_to(PhysicalOffset(300_000));
        ReadAhead::new(Arc::new(medium), marks, &config).unwrap()
    }

    /// Goal: a block has what was written out, and no more; it grows with the log. Method: read at the end, then move the end.
    #[test]
    fn a_block_ends_where_the_log_does() {
        let ahead = world(4);
        let block = ahead.block(299_000, 300_000).unwrap().unwrap();
        assert_eq!(block.bytes(299_999, 10), [(299_999 / 1_000) as u8]);
        assert!(block.bytes(300_000, 10).is_empty() && block.bytes(1_000, 1).is_empty());
        ahead.marks.set_written_to(PhysicalOffset(300_500));
        let grown = ahead.block(300_000, 300_500).unwrap().unwrap();
        assert_eq!(grown.bytes(300_000, 1_000).len(), 500);
        assert!(ahead.block(9 << 20, 9 << 20).unwrap().is_none(), "no such file");
    }

    /// Goal: memory is bounded, what is wanted comes without being asked for, and idle memory goes. Method: one block too many.
    #[test]
    fn helpers_read_ahead_within_bounds() {
        let ahead = world(4);
        ahead.want(0, 2);
        assert!(ahead.state().wanted.is_empty(), "nobody would read them");
        ahead.add_helper();
        ahead.marks.set_written_to(PhysicalOffset(8 << 16));
        ahead.want(0, 9);
        assert_eq!(ahead.state().wanted, [4 << 16], "the only whole one there is");
        ahead.help(Duration::ZERO);
        let starts = |ahead: &ReadAhead| -> Vec<u64> {
            ahead.state().slots.iter().map(|slot| slot.block.start).collect()
        };
        assert_eq!(starts(&ahead), [4 << 16]);
        let kept = ahead.block(5 << 16, 5 << 16).unwrap().unwrap();
        ahead.block(0, 1).unwrap();
        assert_eq!(starts(&ahead), [4 << 16, 0]);
        for _ in 0..=IDLE_TIMES_MAX {
            ahead.help(Duration::ZERO);
        }
        assert_eq!(starts(&ahead), [4 << 16], "what a reader has stays");
        assert_eq!(kept.bytes(5 << 16, 1).len(), 1);
        drop(kept);
        for _ in 0..=IDLE_TIMES_MAX {
            ahead.help(Duration::ZERO);
        }
        assert!(starts(&ahead).is_empty());
    }

    /// Goal: readers that hold on to blocks do not make memory grow. Method: hold all that there may be, read one more.
    #[test]
    fn blocks_in_use_are_not_replaced() {
        let mut ahead = world(4);
        ahead.marks.set_written_to(PhysicalOffset(8 << 16));
        ahead.blocks_max = 1;
        let held = ahead.block(0, 1).unwrap().unwrap();
        assert!(!ahead.is_crowded());
        let other = ahead.block(4 << 16, 5 << 16).unwrap().unwrap();
        assert_eq!(other.bytes(5 << 16, 2).len(), 2, "it is read all the same");
        assert!(ahead.is_crowded() && ahead.state().slots.len() == 1, "and not kept");
        drop((held, other));
        ahead.block(4 << 16, 5 << 16).unwrap().unwrap();
        assert!(!ahead.is_crowded());
    }
}
