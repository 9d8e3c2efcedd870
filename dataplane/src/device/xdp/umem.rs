//! The memory that frames lie in while the kernel and we hand them to each other: chunks of one size, in huge pages.
//!
//! ```text
//!   | chunk 0 | chunk 1 | .. received frames .. | chunk n | .. frames to send .. |
//!   '------------- one Area: XdpRx -------------'----- another: XdpTx -----------'
//! ```
//!
//! Who may touch a chunk is decided by the rings: the kernel from when we put it on one until it comes back on another,
//! we the rest of the time. An area touches its own chunks only, so the two directions cannot meet.
#![allow(unsafe_code)] // A fence, listed in docs/UNSAFE.md.

use memmap2::MmapMut;
use std::alloc::Layout;
use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

/// Bytes of a chunk. One page: the largest the kernel takes for memory in ordinary pages.
pub const CHUNK_BYTES: usize = 4096;

/// The whole of it; alive while any area is.
#[derive(Debug)]
pub struct Umem {
    base: NonNull<u8>,
    bytes: usize,
    backing: Backing,
}

#[derive(Debug)]
enum Backing {
    Huge(Layout),
    Ordinary(#[expect(dead_code, reason = "keeps the mapping")] MmapMut),
}

/// A run of chunks, and the only way to their bytes.
#[derive(Debug)]
pub struct Area {
    umem: Arc<Umem>,
    chunks: Range<u32>,
}

impl Umem {
    pub fn new(chunks: u32) -> io::Result<Arc<Self>> {
        assert!(chunks > 0);
        let bytes = chunks as usize * CHUNK_BYTES;
        if let Some(umem) = Self::huge(bytes) {
            return Ok(Arc::new(umem));
        }
        let mut map = MmapMut::map_anon(bytes)?;
        let base = NonNull::new(map.as_mut_ptr()).expect("a mapping does not lie at zero");
        Ok(Arc::new(Self { base, bytes, backing: Backing::Ordinary(map) }))
    }

    fn huge(bytes: usize) -> Option<Self> {
        let layout = Layout::from_size_align(bytes, CHUNK_BYTES).ok()?;
        // SAFETY: the size is not zero.
        // WHY: hugepage-rs has this one way in.
        let base = NonNull::new(unsafe { hugepage_rs::alloc(layout) })?;
        Some(Self { base, bytes, backing: Backing::Huge(layout) })
    }

    pub fn is_huge(&self) -> bool {
        matches!(self.backing, Backing::Huge(_))
    }

    /// For telling the kernel.
    pub fn address(&self) -> u64 {
        self.base.as_ptr().expose_provenance() as u64
    }

    pub fn len_bytes(&self) -> usize {
        self.bytes
    }

    /// Cuts the memory into the first `first` chunks and the rest. Once for each memory.
    pub fn split(self: &Arc<Self>, first: u32) -> (Area, Area) {
        let all = u32::try_from(self.bytes / CHUNK_BYTES).expect("`new` counted them in 32 bits");
        assert!(first <= all);
        assert!(Arc::strong_count(self) == 1);
        let area = |chunks| Area { umem: Arc::clone(self), chunks };
        (area(0..first), area(first..all))
    }
}

impl Drop for Umem {
    fn drop(&mut self) {
        if let Backing::Huge(layout) = self.backing {
            // SAFETY: allocated in `huge` with this layout; areas keep the whole alive, so nobody points into it. What
            // the kernel still has pinned stays its own until it lets go.
            // WHY: hugepage-rs has this one way out.
            unsafe { hugepage_rs::dealloc(self.base.as_ptr(), layout) }
        }
    }
}

// SAFETY: the memory is plain bytes that belong to no thread; every access goes through an `Area`.
// WHY: it is known by a raw pointer, because the kernel writes to it too.
unsafe impl Send for Umem {}
// SAFETY: a shared `Umem` gives out nothing but its address; areas borrow their own chunks under their own `&mut`.
// WHY: as above; the two directions of a device share it.
unsafe impl Sync for Umem {}

impl Area {
    /// Where each chunk begins, counted from the beginning of the memory.
    pub fn addresses(&self) -> impl Iterator<Item = u64> + use<> {
        self.chunks.clone().map(|chunk| u64::from(chunk) * CHUNK_BYTES as u64)
    }

    pub fn len(&self) -> usize {
        self.chunks.len()
    }

    /// A frame that the kernel has handed over. Must not be asked for a chunk that the kernel has.
    pub(super) fn frame(&self, at: u64, len: usize) -> &[u8] {
        let at = self.place(at, len);
        // SAFETY: `place` keeps it inside one chunk of this area, mapped and initialised (by the kernel, with zeros at
        // least) while `umem` lives. The chunk has come back on a ring and goes on one again only through the `&mut` owner
        // of this area, so nobody writes to it while it is borrowed.
        // WHY: the kernel writes these bytes between two borrows; a slice that lived longer would claim they cannot change.
        unsafe { std::slice::from_raw_parts(self.umem.base.as_ptr().add(at), len) }
    }

    /// Room for a frame to send. Must not be asked for a chunk that the kernel has.
    pub(super) fn frame_mut(&mut self, at: u64, len: usize) -> &mut [u8] {
        let at = self.place(at, len);
        // SAFETY: as in `frame`; `&mut self` makes this the only borrow of the area's chunks.
        // WHY: as in `frame`.
        unsafe { std::slice::from_raw_parts_mut(self.umem.base.as_ptr().add(at), len) }
    }

    /// The place of `len` bytes that lie in one chunk of this area.
    fn place(&self, at: u64, len: usize) -> usize {
        let chunk = at / CHUNK_BYTES as u64;
        let inside = at as usize % CHUNK_BYTES;
        assert!(chunk >= u64::from(self.chunks.start));
        assert!(chunk < u64::from(self.chunks.end));
        assert!(len <= CHUNK_BYTES - inside);
        at as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: an area reaches its own chunks and no others. Method: write to all of one, look at the other, ask beyond.
    #[test]
    fn areas_do_not_meet() {
        let umem = Umem::new(8).unwrap();
        let (rx, mut tx) = umem.split(3);
        assert_eq!((rx.len(), tx.len()), (3, 5));
        for at in tx.addresses() {
            tx.frame_mut(at, CHUNK_BYTES).fill(0xaa);
        }
        for at in rx.addresses() {
            assert!(rx.frame(at, CHUNK_BYTES).iter().all(|byte| *byte == 0));
        }
        for at in [0, 2 * CHUNK_BYTES as u64, 8 * CHUNK_BYTES as u64, u64::MAX] {
            let asked = std::panic::catch_unwind(|| tx.frame(at, 1).len());
            assert!(asked.is_err(), "{at} is not ours");
        }
        let over = std::panic::catch_unwind(|| rx.frame(100, CHUNK_BYTES - 99).len());
        assert!(over.is_err(), "a frame ends where its chunk ends");
    }
}
