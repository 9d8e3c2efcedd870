//! The hot log's one reader: what waits to be written out, what is lent for that, and what may be recycled.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{HotMap, Ring, WORD_PASSED, WORD_PUBLISHED, lead_of};
use crate::offsets::PhysicalOffset;

/// The one reader: follows the writer, and frees what it has passed.
pub struct HotReader {
    pub(super) ring: Arc<Ring>,
    pub(super) current: usize,
    pub(super) generation: u64,
    pub(super) base: PhysicalOffset,
    pub(super) at: usize,
    /// For each segment, shared with every run of it that is lent.
    pub(super) lent: Vec<Arc<()>>,
}

/// A segment that the reader has not left.
#[derive(Clone, Copy)]
struct Spot {
    index: usize,
    generation: u64,
    base: PhysicalOffset,
    published: usize,
    /// The writer has left it.
    is_full: bool,
}

impl Spot {
    fn end(&self) -> PhysicalOffset {
        self.base.plus(self.published as u64)
    }
}

impl HotReader {
    /// The first byte not yet passed.
    pub fn position(&self) -> PhysicalOffset {
        self.base.plus(self.at as u64)
    }

    /// How many segments the writer is ahead.
    pub fn segments_behind(&self) -> usize {
        self.ring.writer_generation.load(Ordering::Acquire).saturating_sub(self.generation) as usize
    }

    /// Published bytes from `position` on, up to the end of their segment.
    pub fn pending(&mut self) -> Pending<'_> {
        let here = self.spot();
        if self.at == here.published && here.is_full && Arc::get_mut(&mut self.lent[self.current]).is_some() {
            self.leave(here);
        }
        self.pending_at(self.position())
    }

    /// As [`HotReader::pending`], from a place further on, which may lie in a later segment.
    pub fn pending_at(&self, at: PhysicalOffset) -> Pending<'_> {
        let mut spot = self.spot();
        while spot.is_full && at >= spot.end() {
            spot = self.after(spot);
        }
        assert!(spot.base <= at && at <= spot.end());
        let (lead, is_full) = (lead_of(at), spot.is_full);
        let from = lead_of(spot.base) + at.since(spot.base) as usize - lead;
        let len = lead + spot.end().since(at) as usize;
        Pending { at, lead, with_lead: self.ring.maps[spot.index].data(from, len), is_full }
    }

    /// Lends published bytes of one segment, its lead included. The segment is not left before they are given back, which is by
    /// dropping what is returned.
    pub fn lend(&self, from: PhysicalOffset, to: PhysicalOffset) -> HotRun {
        let mut spot = self.spot();
        while spot.is_full && to > spot.end() {
            spot = self.after(spot);
        }
        let start = PhysicalOffset(spot.base.0 - lead_of(spot.base) as i64);
        assert!(start <= from && from <= to && to <= spot.end());
        let (at, len) = (from.since(start) as usize, to.since(from) as usize);
        let lent = Arc::clone(&self.lent[spot.index]);
        HotRun { map: self.ring.maps[spot.index].again(), at, len, _lent: lent }
    }

    /// Passes what lies before `to`: it is never asked for again, not even by a later run. Nothing of a segment that this leaves may
    /// be lent.
    pub fn pass_to(&mut self, to: PhysicalOffset) {
        loop {
            let here = self.spot();
            if to <= here.end() {
                return self.mark_passed(to);
            }
            assert!(here.is_full && Arc::get_mut(&mut self.lent[self.current]).is_some());
            self.mark_passed(here.end());
            self.leave(here);
        }
    }

    /// Passes `len` bytes of `pending`.
    pub fn pass(&mut self, len: usize) {
        self.pass_to(self.position().plus(len as u64));
    }

    /// `to` lies in the segment that `position` is in.
    fn mark_passed(&mut self, to: PhysicalOffset) {
        assert!(to >= self.position());
        self.at = to.since(self.base) as usize;
        self.ring.maps[self.current].word(WORD_PASSED).store(self.at as u64, Ordering::Release);
    }

    fn leave(&mut self, here: Spot) {
        let next = self.after(here);
        self.base = next.base;
        self.at = 0;
        self.current = next.index;
        self.generation = next.generation;
        self.ring.reader_generation.store(self.generation, Ordering::Release);
    }

    /// The segment that `position` is in.
    fn spot(&self) -> Spot {
        self.spot_of(self.current, self.generation, self.base)
    }

    fn after(&self, spot: Spot) -> Spot {
        self.spot_of((spot.index + 1) % self.ring.maps.len(), spot.generation + 1, spot.end())
    }

    fn spot_of(&self, index: usize, generation: u64, base: PhysicalOffset) -> Spot {
        // The generation first: when it has moved on, the mark read after it is this segment's last.
        let is_full = self.ring.writer_generation.load(Ordering::Acquire) > generation;
        Spot { index, generation, base, published: self.published(index), is_full }
    }

    /// As [`HotMap::doubt`].
    pub fn doubt(&self) {
        self.ring.maps.iter().for_each(HotMap::doubt);
    }

    fn published(&self, index: usize) -> usize {
        self.ring.maps[index].word(WORD_PUBLISHED).load(Ordering::Acquire) as usize
    }
}

/// A part of the hot log that is lent to whoever writes it out.
pub struct HotRun {
    map: HotMap,
    at: usize,
    len: usize,
    _lent: Arc<()>,
}

impl AsRef<[u8]> for HotRun {
    /// Published bytes of a segment that its reader has not left, nor will while this is there: nobody writes them.
    fn as_ref(&self) -> &[u8] {
        self.map.data(self.at, self.len)
    }
}

/// A run of the log that waits to be written out.
#[derive(Clone, Copy)]
pub struct Pending<'a> {
    /// Where it begins.
    pub at: PhysicalOffset,
    lead: usize,
    with_lead: &'a [u8],
    /// Nothing will be added to it.
    pub is_full: bool,
}

impl<'a> Pending<'a> {
    /// Bytes that are not in memory of a segment: no lead.
    pub fn of(at: PhysicalOffset, bytes: &'a [u8]) -> Self {
        Self { at, lead: 0, with_lead: bytes, is_full: true }
    }

    /// The waiting bytes. Empty: nothing is waiting.
    pub fn bytes(&self) -> &'a [u8] {
        &self.with_lead[self.lead..]
    }

    /// Its part `from..to`, with the bytes before that fill up its first block, as far as they are here; and how many
    /// these are.
    pub fn part(&self, from: usize, to: usize) -> (usize, &'a [u8]) {
        assert!(from <= to);
        let lead = lead_of(self.at.plus(from as u64)).min(self.lead + from);
        (lead, &self.with_lead[self.lead + from - lead..self.lead + to])
    }
}
