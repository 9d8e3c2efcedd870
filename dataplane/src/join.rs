//! Buffers for frames that do not fit a receive ring, from a bounded pool.
//!
//! A buffer grows with what has really come, not with what a length word promises: a peer that claims 16 MiB and
//! sends ten bytes holds one small buffer. When the pool is at its bound a frame simply waits in its ring.

use crate::limits::{FRAME_BYTES_MAX, JOIN_POOL_BYTES_MAX};

/// Spare buffers by size, and how much is out.
#[derive(Debug, Default)]
pub struct JoinPool {
    spare: [Vec<Vec<u8>>; CLASSES.len()],
    /// Bytes of all buffers, spare or out.
    held_bytes: usize,
}

/// One frame on its way.
#[derive(Debug)]
pub struct Joining {
    buffer: Vec<u8>,
    /// Length of the whole frame.
    wanted: usize,
    grown_ms: u64,
}

impl Joining {
    pub fn new(wanted: usize, now_ms: u64) -> Joining {
        assert!(wanted <= FRAME_BYTES_MAX);
        Joining { buffer: Vec::new(), wanted, grown_ms: now_ms }
    }

    /// Takes what belongs to this frame from the front of `bytes`, as far as the pool has room. Returns how much.
    pub fn take(&mut self, bytes: &[u8], now_ms: u64, pool: &mut JoinPool) -> usize {
        let mut taken = 0;
        while self.buffer.len() < self.wanted && taken < bytes.len() {
            if self.buffer.len() == self.buffer.capacity() && !pool.grow(self) {
                break;
            }
            let room = self.buffer.capacity().min(self.wanted) - self.buffer.len();
            let part = room.min(bytes.len() - taken);
            self.buffer.extend_from_slice(&bytes[taken..taken + part]);
            taken += part;
        }
        if taken > 0 {
            self.grown_ms = now_ms;
        }
        taken
    }

    pub fn is_whole(&self) -> bool {
        self.buffer.len() == self.wanted
    }

    pub fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// When it last gained a byte.
    pub fn grown_ms(&self) -> u64 {
        self.grown_ms
    }
}

impl JoinPool {
    pub fn give_back(&mut self, joining: Joining) {
        self.keep(joining.buffer);
    }

    /// Moves a frame into a buffer of the next class; false when the pool is at its bound.
    fn grow(&mut self, joining: &mut Joining) -> bool {
        let Some(class) = CLASSES.iter().position(|bytes| *bytes > joining.buffer.len()) else {
            return false;
        };
        let Some(mut bigger) = self.get(class) else { return false };
        bigger.extend_from_slice(&joining.buffer);
        self.keep(std::mem::replace(&mut joining.buffer, bigger));
        true
    }

    fn get(&mut self, class: usize) -> Option<Vec<u8>> {
        let (spare, bytes) = (self.spare.get_mut(class)?, *CLASSES.get(class)?);
        if let Some(buffer) = spare.pop() {
            return Some(buffer);
        }
        if self.held_bytes + bytes > JOIN_POOL_BYTES_MAX {
            self.shed();
        }
        if self.held_bytes + bytes > JOIN_POOL_BYTES_MAX {
            return None;
        }
        self.held_bytes += bytes;
        Some(Vec::with_capacity(bytes))
    }

    /// Keeps a few buffers of each class and lets the others go.
    fn keep(&mut self, mut buffer: Vec<u8>) {
        let Some(class) = CLASSES.iter().position(|bytes| *bytes == buffer.capacity()) else {
            self.held_bytes -= buffer.capacity();
            return;
        };
        if self.spare[class].len() < SPARE_MAX[class] {
            buffer.clear();
            self.spare[class].push(buffer);
        } else {
            self.held_bytes -= buffer.capacity();
        }
    }

    /// Gives all spare memory back, for want of room in another class.
    #[cold]
    fn shed(&mut self) {
        for spare in &mut self.spare {
            self.held_bytes -= spare.iter().map(Vec::capacity).sum::<usize>();
            spare.clear();
        }
    }
}

/// Buffer sizes; each frame climbs them as it comes.
const CLASSES: [usize; 5] = [64 * 1024, 256 * 1024, 1024 * 1024, 4 * 1024 * 1024, FRAME_BYTES_MAX];
/// How many of each stay after use.
const SPARE_MAX: [usize; CLASSES.len()] = [32, 16, 8, 2, 1];

const _: () = assert!(CLASSES[CLASSES.len() - 1] >= FRAME_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a frame is joined whole from pieces, and its buffers are used again. Method: a frame of three classes.
    #[test]
    fn a_frame_grows_through_the_classes() {
        let mut pool = JoinPool::default();
        let frame: Vec<u8> = (0..300_000u32).map(|at| at as u8).collect();
        for round in 0..2 {
            let mut joining = Joining::new(frame.len(), 0);
            let mut rest = &frame[..];
            while !joining.is_whole() {
                let taken = joining.take(&rest[..rest.len().min(10_000)], 7, &mut pool);
                rest = &rest[taken..];
            }
            assert_eq!(joining.bytes(), frame);
            assert_eq!(joining.take(b"next frame", 8, &mut pool), 0);
            assert_eq!(joining.grown_ms(), 7);
            pool.give_back(joining);
            assert_eq!(pool.held_bytes, CLASSES[..3].iter().sum::<usize>(), "round {round}");
        }
    }

    /// Goal: memory is bounded by what came, and a full pool makes frames wait. Method: liars first, then big frames.
    #[test]
    fn the_pool_is_bounded_and_liars_hold_little() {
        let mut pool = JoinPool::default();
        let mut liars: Vec<_> = (0..100).map(|_| Joining::new(FRAME_BYTES_MAX, 0)).collect();
        for liar in &mut liars {
            assert_eq!(liar.take(b"ten bytes!", 0, &mut pool), 10);
        }
        assert_eq!(pool.held_bytes, 100 * CLASSES[0]);
        let piece = vec![0; 1024 * 1024];
        let mut big: Vec<_> = (0..20).map(|_| Joining::new(FRAME_BYTES_MAX, 0)).collect();
        for _ in 0..17 {
            for frame in &mut big {
                frame.take(&piece, 0, &mut pool);
            }
        }
        assert!(pool.held_bytes <= JOIN_POOL_BYTES_MAX);
        assert!(big.iter().any(Joining::is_whole));
        assert!(big.iter().any(|frame| !frame.is_whole()));
        for frame in big.extract_if(.., |frame| frame.is_whole()) {
            pool.give_back(frame);
        }
        for frame in &mut big {
            while !frame.is_whole() && frame.take(&piece, 0, &mut pool) > 0 {}
        }
        assert!(big.iter().any(Joining::is_whole));
    }
}
