//! What peers have not taken, over all lines: bounded by bytes.
//!
//! ```text
//! held: bodies from beside the shard and long chunks, as large as they are in memory ── records in the hot log cost nothing
//!   what one connection may have made for it ── an eighth of what is left, so that the last of it is left for those who come late
//!   above the bound ── those that hold most are ended
//! ```
//!
//! A line is not read any more when little of it waits, but what it asked for before comes all the same: many that ask and do not read
//! would fill memory. Short chunks are not counted: those are as many as connections.
//! Implements B-17 (docs/PROMISES.md).

use super::{Line, Outbox};
use crate::limits::{
    ANSWERS_AWAITED_BYTES_MAX, ANSWERS_HELD_BYTES_LOW, ANSWERS_HELD_BYTES_MAX, ANSWERS_HELD_SHARE,
    OUTBOX_CHUNK_BYTES_KEPT_MAX,
};
use crate::net::{ConnId, NetTx};

impl Outbox {
    /// Bytes that all lines hold.
    pub fn held_bytes(&self) -> usize {
        self.held
    }

    /// How many bytes may be on their way from beside the shard to one connection.
    #[inline]
    pub fn awaited_bytes_max(&self) -> usize {
        (ANSWERS_HELD_BYTES_MAX.saturating_sub(self.held) / ANSWERS_HELD_SHARE)
            .clamp(1, ANSWERS_AWAITED_BYTES_MAX)
    }

    /// Ends lines from among those that hold most until there is room again. What these are half as large as is large, too: so they are looked
    /// for once for many.
    #[cold]
    pub(super) fn end_largest(&mut self, net: &mut impl NetTx) {
        let largest = self.lines.iter().map(|line| line.counted).max().unwrap_or(0);
        for (slot, line) in self.lines.iter_mut().enumerate() {
            if self.held <= ANSWERS_HELD_BYTES_LOW {
                break;
            }
            if line.open && line.counted > largest / 2 {
                line.forget();
                line.chunk = Vec::new();
                line.count(&mut self.held);
                net.abort(ConnId { slot: slot as u32, generation: line.generation });
                self.counters.untaken_ends += 1;
            }
        }
    }
}

impl Line {
    /// Brings the sum over all lines up to what this one holds now.
    #[inline]
    pub(super) fn count(&mut self, sum: &mut usize) {
        let long_chunk = if self.chunk.len() > OUTBOX_CHUNK_BYTES_KEPT_MAX { self.chunk.len() } else { 0 };
        let holds = self.owned + long_chunk;
        *sum = *sum - self.counted + holds;
        self.counted = holds;
    }
}
