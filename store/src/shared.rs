//! Records that lie in blocks of the log which their reader shares with others: places, not copies.
//!
//! ```text
//! blocks   [..xxxx....yyy...........] [zz.........]
//! places       '--'   '-'              ''              in order, each with the block it lies in
//! ```
//!
//! Whoever has one of these keeps its blocks in memory, so it should be used at once, or copied (`to_vec`).

use std::fmt;
use std::sync::Arc;

use crate::read_ahead::Block;

/// Runs of bytes in shared blocks, one after the other.
#[derive(Clone, Default)]
pub struct SharedBytes {
    blocks: Vec<Arc<Block>>,
    places: Vec<Place>,
    len: usize,
}

/// A run in the block with this index.
#[derive(Clone, Copy)]
struct Place {
    block: u32,
    at: u64,
    len: u32,
}

impl SharedBytes {
    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many runs there are.
    pub fn runs(&self) -> usize {
        self.places.len()
    }

    /// A run; empty when there are not so many.
    pub fn run(&self, index: usize) -> &[u8] {
        self.places
            .get(index)
            .map_or(&[], |place| self.blocks[place.block as usize].bytes(place.at, place.len as usize))
    }

    /// All of it in memory of its own.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len);
        (0..self.runs()).for_each(|index| bytes.extend_from_slice(self.run(index)));
        bytes
    }

    /// Adds `len` bytes from `at` of the log on, which the block has.
    pub(crate) fn push(&mut self, block: &Arc<Block>, at: u64, len: usize) {
        let is_same = self.blocks.last().is_some_and(|last| Arc::ptr_eq(last, block));
        if !is_same {
            self.blocks.push(Arc::clone(block));
        }
        self.len += len;
        match self.places.last_mut() {
            Some(last) if is_same && last.at + u64::from(last.len) == at => last.len += len as u32,
            _ => self.places.push(Place { block: self.blocks.len() as u32 - 1, at, len: len as u32 }),
        }
    }
}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes in {} blocks", self.len, self.blocks.len())
    }
}
