//! A ring of bytes: what has been written and not yet read, as at most two runs.
//!
//! ```text
//!   | second run ..|   free   | first run ..... |
//!   0              tail       head              capacity
//! ```

/// The memory stays where it is for the ring's life; an empty ring starts again at its front, so that light traffic
/// stays in few cache lines and touches few pages.
#[derive(Debug, Default)]
pub struct Ring {
    bytes: Box<[u8]>,
    head: usize,
    len: usize,
}

impl Ring {
    /// The memory is zeroed lazily by the operating system: an unused ring costs address space only.
    pub fn with_capacity(bytes_max: usize) -> Self {
        Self { bytes: vec![0; bytes_max].into_boxed_slice(), head: 0, len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn room(&self) -> usize {
        self.bytes.len() - self.len
    }

    pub fn clear(&mut self) {
        self.head = 0;
        self.len = 0;
    }

    pub fn readable(&self) -> (&[u8], &[u8]) {
        let first_len = self.len.min(self.bytes.len() - self.head);
        (&self.bytes[self.head..self.head + first_len], &self.bytes[..self.len - first_len])
    }

    pub fn consume(&mut self, len: usize) {
        assert!(len <= self.len);
        self.len -= len;
        self.head += len;
        if self.head >= self.bytes.len() {
            self.head -= self.bytes.len();
        }
        if self.len == 0 {
            self.head = 0;
        }
    }

    /// The free bytes, first the run that is written first.
    pub fn free(&mut self) -> (&mut [u8], &mut [u8]) {
        let tail = self.head + self.len;
        if tail < self.bytes.len() {
            let (front, back) = self.bytes.split_at_mut(tail);
            (back, &mut front[..self.head])
        } else {
            let tail = tail - self.bytes.len();
            (&mut self.bytes[tail..self.head], &mut [])
        }
    }

    /// Says that the first `len` free bytes have been written.
    pub fn filled(&mut self, len: usize) {
        assert!(len <= self.room());
        self.len += len;
    }

    /// Copies what fits; returns how much.
    pub fn put(&mut self, bytes: &[u8]) -> usize {
        let (first, second) = self.free();
        let first_len = bytes.len().min(first.len());
        let (head, tail) = bytes.split_at(first_len);
        first[..first_len].copy_from_slice(head);
        let second_len = tail.len().min(second.len());
        second[..second_len].copy_from_slice(&tail[..second_len]);
        self.filled(first_len + second_len);
        first_len + second_len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use std::collections::VecDeque;

    /// Goal: bytes come out as they went in, over any wrap. Method: random puts and reads beside a queue.
    #[test]
    fn behaves_like_a_queue() {
        let mut rng = Rng::from_seed(3);
        let mut ring = Ring::with_capacity(61);
        let mut model = VecDeque::<u8>::new();
        let mut next = 0u8;
        for _ in 0..10_000 {
            if rng.chance(0.5) {
                let bytes: Vec<u8> = (0..rng.below(80))
                    .map(|_| {
                        next = next.wrapping_add(1);
                        next
                    })
                    .collect();
                let put = ring.put(&bytes);
                assert_eq!(put, bytes.len().min(61 - model.len()));
                model.extend(&bytes[..put]);
            } else {
                let take = rng.below(ring.len() as u64 + 1) as usize;
                ring.consume(take);
                model.drain(..take);
            }
            let (first, second) = ring.readable();
            assert!(first.iter().chain(second).eq(model.iter()));
            assert_eq!(ring.room(), 61 - model.len());
        }
    }
}
