//! The consume queue entries of the hot window: chunks of 64 in one slab that never grows.
//!
//! ```text
//! queue 7:  offsets 128..192 -> chunk 31 (closed)    192..256 -> chunk 90 (open, 5 filled)
//! lists:    closed, in the order they were filled    open, in the order of their last entry    free
//! ```
//!
//! A chunk covers the offsets of one aligned block of 64, found by (queue, block) in a table of fixed size. When the free
//! ones are used up, the chunk whose last entry is the oldest is taken, if the disk has all of it: so a queue loses its
//! oldest entries first and its hot entries are always one run. No allocation after `new`.

use crate::offsets::{PhysicalOffset, Unit};

/// Entries of one chunk.
pub const CHUNK_UNITS: usize = 64;
const _: () = assert!(CHUNK_UNITS.is_power_of_two(), "places are bits of an offset");

/// Where the hot entries of one queue begin and end. Kept by the queue table, changed here.
#[derive(Clone, Copy, Debug)]
pub struct HotUnits {
    /// First offset that is hot; `next` when none is.
    pub first: i64,
    /// The offset the next message gets.
    pub next: i64,
    /// The open chunk, which holds `next - 1`.
    tail: u32,
}

impl HotUnits {
    /// Nothing hot yet; the queue goes on at `next`.
    pub fn new(next: i64) -> Self {
        Self { first: next, next, tail: NONE }
    }
}

/// The slab, its lists and its table.
pub struct Units {
    units: Box<[Unit]>,
    chunks: Box<[Chunk]>,
    table: Table,
    free: u32,
    free_count: usize,
    closed: List,
    open: List,
}

#[derive(Clone, Copy)]
struct Chunk {
    queue: u32,
    block: i64,
    /// End of the last entry's message.
    end: PhysicalOffset,
    before: u32,
    after: u32,
}

impl Units {
    pub fn new(bytes: usize) -> Self {
        let count = (bytes / (CHUNK_UNITS * size_of::<Unit>())).max(CHUNKS_MIN);
        let blank = Chunk { queue: 0, block: 0, end: PhysicalOffset(0), before: NONE, after: NONE };
        let mut chunks = vec![blank; count].into_boxed_slice();
        for (index, chunk) in chunks.iter_mut().enumerate() {
            chunk.after = if index + 1 < count { index as u32 + 1 } else { NONE };
        }
        Self {
            units: vec![Unit::default(); count * CHUNK_UNITS].into_boxed_slice(),
            chunks,
            table: Table::new(count),
            free: 0,
            free_count: count,
            closed: List::default(),
            open: List::default(),
        }
    }

    /// Chunks that appending `count` messages to one queue can need.
    pub fn chunks_for(count: usize) -> usize {
        count / CHUNK_UNITS + 2
    }

    /// Whether `count` chunks are free or could be taken, `persisted` being what the disk has.
    pub fn has_free(&self, count: usize, persisted: PhysicalOffset) -> bool {
        if self.free_count >= count {
            return true;
        }
        let mut found = self.free_count;
        for list in [&self.closed, &self.open] {
            let mut at = list.front;
            while at != NONE && found < count {
                let chunk = &self.chunks[at as usize];
                if chunk.end > persisted {
                    break;
                }
                found += 1;
                at = chunk.after;
            }
        }
        found >= count
    }

    /// Takes chunks back until `count` are free. `false`: the disk has not got far enough.
    pub fn make_free(&mut self, count: usize, persisted: PhysicalOffset, queues: &mut [HotUnits]) -> bool {
        while self.free_count < count {
            if !self.reclaim(persisted, queues) {
                return false;
            }
        }
        true
    }

    /// Adds the entry of the queue's next message. There must be a free chunk if it needs one (`make_free`).
    #[inline]
    pub fn push(&mut self, queue: u32, unit: Unit, queues: &mut [HotUnits]) {
        let hot = &mut queues[queue as usize];
        let (block, place) = split(hot.next);
        if hot.tail == NONE || place == 0 {
            if hot.tail != NONE {
                self.open.remove(&mut self.chunks, hot.tail);
                self.closed.push_back(&mut self.chunks, hot.tail);
            }
            hot.tail = self.take(queue, block);
            self.open.push_back(&mut self.chunks, hot.tail);
        } else if self.open.back != hot.tail {
            self.open.remove(&mut self.chunks, hot.tail);
            self.open.push_back(&mut self.chunks, hot.tail);
        }
        self.units[hot.tail as usize * CHUNK_UNITS + place] = unit;
        self.chunks[hot.tail as usize].end = unit.end();
        hot.next += 1;
    }

    /// The hot entries from `offset` on, as far as they lie together: at most a chunk. Empty when `offset` is not hot.
    #[inline]
    pub fn run(&self, queue: u32, hot: &HotUnits, offset: i64) -> &[Unit] {
        if offset < hot.first || offset >= hot.next {
            return &[];
        }
        let (block, place) = split(offset);
        let tail = &self.chunks.get(hot.tail as usize);
        let index = match tail {
            Some(tail) if tail.block == block => hot.tail,
            _ => self.table.find(&self.chunks, queue, block).expect("every hot block has a chunk"),
        };
        let (last_block, last_place) = split(hot.next - 1);
        let end = if block == last_block { last_place + 1 } else { CHUNK_UNITS };
        let start = index as usize * CHUNK_UNITS;
        &self.units[start + place..start + end]
    }

    fn take(&mut self, queue: u32, block: i64) -> u32 {
        let index = self.free;
        assert!(index != NONE);
        let chunk = &mut self.chunks[index as usize];
        self.free = chunk.after;
        self.free_count -= 1;
        *chunk = Chunk { queue, block, end: PhysicalOffset(0), before: NONE, after: NONE };
        self.table.insert(&self.chunks, index);
        index
    }

    /// Frees the chunk whose last entry is the oldest.
    fn reclaim(&mut self, persisted: PhysicalOffset, queues: &mut [HotUnits]) -> bool {
        let end_of =
            |index: u32| self.chunks.get(index as usize).map_or(PhysicalOffset(i64::MAX), |chunk| chunk.end);
        let from_closed = end_of(self.closed.front) <= end_of(self.open.front);
        let index = if from_closed { self.closed.front } else { self.open.front };
        if index == NONE || end_of(index) > persisted {
            return false;
        }
        let list = if from_closed { &mut self.closed } else { &mut self.open };
        list.remove(&mut self.chunks, index);
        self.table.remove(&self.chunks, index);
        let chunk = &mut self.chunks[index as usize];
        let hot = &mut queues[chunk.queue as usize];
        hot.first = ((chunk.block + 1) * CHUNK_UNITS as i64).min(hot.next);
        if hot.tail == index {
            hot.tail = NONE;
        }
        chunk.after = self.free;
        self.free = index;
        self.free_count += 1;
        true
    }
}

/// A list of chunks, linked through them.
struct List {
    front: u32,
    back: u32,
}

impl Default for List {
    fn default() -> Self {
        Self { front: NONE, back: NONE }
    }
}

impl List {
    fn push_back(&mut self, chunks: &mut [Chunk], index: u32) {
        let chunk = &mut chunks[index as usize];
        chunk.before = self.back;
        chunk.after = NONE;
        match chunks.get_mut(self.back as usize) {
            Some(back) => back.after = index,
            None => self.front = index,
        }
        self.back = index;
    }

    fn remove(&mut self, chunks: &mut [Chunk], index: u32) {
        let Chunk { before, after, .. } = chunks[index as usize];
        match chunks.get_mut(before as usize) {
            Some(chunk) => chunk.after = after,
            None => self.front = after,
        }
        match chunks.get_mut(after as usize) {
            Some(chunk) => chunk.before = before,
            None => self.back = before,
        }
    }
}

/// Open addressing over chunk numbers; at most half full.
struct Table {
    slots: Box<[u32]>,
}

impl Table {
    fn new(chunks: usize) -> Self {
        Self { slots: vec![NONE; (chunks * 2).next_power_of_two()].into_boxed_slice() }
    }

    fn find(&self, chunks: &[Chunk], queue: u32, block: i64) -> Option<u32> {
        let mut slot = self.home(queue, block);
        loop {
            let index = self.slots[slot];
            let chunk = chunks.get(index as usize)?;
            if chunk.queue == queue && chunk.block == block {
                return Some(index);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    fn insert(&mut self, chunks: &[Chunk], index: u32) {
        let Chunk { queue, block, .. } = chunks[index as usize];
        let mut slot = self.home(queue, block);
        while self.slots[slot] != NONE {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        self.slots[slot] = index;
    }

    /// Takes one out and moves those behind it up, so that no search ends too early.
    fn remove(&mut self, chunks: &[Chunk], index: u32) {
        let mask = self.slots.len() - 1;
        let Chunk { queue, block, .. } = chunks[index as usize];
        let mut hole = self.home(queue, block);
        while self.slots[hole] != index {
            hole = (hole + 1) & mask;
        }
        let mut slot = hole;
        loop {
            slot = (slot + 1) & mask;
            let Some(chunk) = chunks.get(self.slots[slot] as usize) else { break };
            let home = self.home(chunk.queue, chunk.block);
            // It may move up if its home is not between the hole and itself.
            if (slot.wrapping_sub(home) & mask) >= (slot.wrapping_sub(hole) & mask) {
                self.slots[hole] = self.slots[slot];
                hole = slot;
            }
        }
        self.slots[hole] = NONE;
    }

    fn home(&self, queue: u32, block: i64) -> usize {
        let mixed = (u64::from(queue) << 40 ^ block as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 32) as usize & (self.slots.len() - 1)
    }
}

/// Block and place in it of a queue offset.
fn split(offset: i64) -> (i64, usize) {
    (offset >> CHUNK_UNITS.ilog2(), offset as usize & (CHUNK_UNITS - 1))
}

const NONE: u32 = u32::MAX;
const CHUNKS_MIN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(physical: i64) -> Unit {
        Unit { physical: PhysicalOffset(physical), tags_code: 0, size: 10 }
    }

    /// D-5. Goal: hot entries of every queue are one run ending at `next`, with the right contents, however chunks move.
    /// Method: random appends to many queues and random persistence; after each, every queue is read whole.
    #[test]
    fn hot_entries_are_one_run() {
        let mut seed = 42_u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let mut units = Units::new(0);
        let starts: Vec<i64> = (0..40).map(|queue| queue * 7).collect();
        let mut queues: Vec<HotUnits> = starts.iter().map(|next| HotUnits::new(*next)).collect();
        let mut written: Vec<Vec<i64>> = vec![Vec::new(); 40];
        let (mut physical, mut persisted) = (0, 0);
        for step in 0..20_000 {
            let queue = if random(3) == 0 { random(40) } else { random(3) } as usize;
            if !units.make_free(1, PhysicalOffset(persisted), &mut queues) {
                persisted += random((physical - persisted) as u64 + 1) as i64;
                continue;
            }
            units.push(queue as u32, unit(physical), &mut queues);
            written[queue].push(physical);
            physical += 10;
            if step % 50 != 0 {
                continue;
            }
            for (queue, hot) in queues.iter().enumerate() {
                assert_eq!(hot.next, starts[queue] + written[queue].len() as i64);
                let mut offset = hot.first;
                while offset < hot.next {
                    let run = units.run(queue as u32, hot, offset);
                    for unit in run {
                        assert_eq!(unit.physical.0, written[queue][(offset - starts[queue]) as usize]);
                        offset += 1;
                    }
                    assert!(!run.is_empty());
                }
                assert!(units.run(queue as u32, hot, hot.next).is_empty());
                assert!(units.run(queue as u32, hot, hot.first - 1).is_empty());
            }
        }
    }
}
