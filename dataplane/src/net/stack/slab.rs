//! Memory for socket buffers: places taken once, for the stack's life; pages under quiet ones come and go (quiet.rs).
//!
//! ```text
//!   | slot 0: rx, tx | slot 1: rx, tx | ...        first slots: huge pages, touched    -> no faults, few TLB entries
//!   '---- busy ------'---- the rest: ordinary address space, touched when used --------------'
//! ```
//!
//! Low slots are handed out first, so a broker with few connections lives in huge pages, and one with ten thousand
//! pays for what they really use. Reads of received bytes go around smoltcp (which lends them only mutably and in one
//! run); that is why this is a fence.
#![allow(unsafe_code)] // A fence, listed in docs/UNSAFE.md.

use memmap2::{Advice, MmapMut, MmapOptions};
use smoltcp::socket::tcp;
use std::alloc::Layout;
use std::io;
use std::ptr::NonNull;

/// The buffers of all connections.
pub struct Slab {
    busy: Region,
    rest: Region,
    slots: usize,
    rx_bytes: usize,
    tx_bytes: usize,
    busy_slots: usize,
}

/// A run of memory that outlives every pointer into it.
struct Region {
    base: NonNull<u8>,
    backing: Backing,
}

enum Backing {
    Huge(Layout),
    Ordinary(#[expect(dead_code, reason = "keeps the mapping")] MmapMut),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Touch {
    Now,
    WhenUsed,
}

/// Where the received bytes of one connection lie.
#[derive(Clone, Copy, Debug)]
pub struct RxView {
    /// Whose bytes these are.
    pub generation: u32,
    /// The ring's first byte, and its length.
    base: NonNull<u8>,
    bytes: usize,
    /// Which part of the ring has been received and not consumed. stack/ keeps these as smoltcp does.
    pub read_at: usize,
    pub len: usize,
}

/// Where the bytes of one connection lie that were sent and not acknowledged, or are still to be sent.
#[derive(Clone, Copy, Debug)]
pub struct TxView {
    base: NonNull<u8>,
    bytes: usize,
    /// Which part of the ring is in use. stack/ keeps these as smoltcp does.
    read_at: usize,
    len: usize,
}

impl Slab {
    pub fn new(slots: usize, rx_bytes: usize, tx_bytes: usize) -> io::Result<Self> {
        assert!(rx_bytes > 0);
        assert!(tx_bytes > 0);
        let slot_bytes = rx_bytes + tx_bytes;
        let busy_slots = slots.min(BUSY_SLOTS);
        let busy = match Region::huge(busy_slots * slot_bytes) {
            Some(region) => region,
            None => {
                log::info!(
                    "socket buffers: no huge pages for the first {} KiB, ordinary pages serve (sysctl vm.nr_hugepages)",
                    busy_slots * slot_bytes / 1024
                );
                Region::ordinary(busy_slots * slot_bytes, Touch::Now)?
            }
        };
        let rest = Region::ordinary((slots - busy_slots).max(1) * slot_bytes, Touch::WhenUsed)?;
        Ok(Self { busy, rest, slots, rx_bytes, tx_bytes, busy_slots })
    }

    /// Whether the first slots lie in huge pages.
    pub fn is_huge(&self) -> bool {
        matches!(self.busy.backing, Backing::Huge(_))
    }

    /// A socket over the slot's buffers. End it with [`forget`], never by dropping it, before the slot gets another one.
    pub fn new_socket(&mut self, slot: u32) -> tcp::Socket<'static> {
        let rx = self.slot_base(slot);
        // SAFETY: the slot's memory is `rx_bytes + tx_bytes` long, zeroed by the kernel, and mapped while the slab lives,
        // which is as long as stack/conn.rs keeps sockets. It forgets a slot's old socket when it asks for a new one, so
        // nobody else writes here, and the allocator never sees these vectors.
        // WHY: smoltcp takes a vector or a `&'static mut [u8]`. A vector keeps its bytes behind a raw pointer, so that
        // reading them while smoltcp is at rest aliases no live reference; one from the global allocator would rule huge
        // pages out.
        let (rx, tx) = unsafe {
            (
                Vec::from_raw_parts(rx.as_ptr(), self.rx_bytes, self.rx_bytes),
                Vec::from_raw_parts(rx.add(self.rx_bytes).as_ptr(), self.tx_bytes, self.tx_bytes),
            )
        };
        tcp::Socket::new(tcp::SocketBuffer::new(rx), tcp::SocketBuffer::new(tx))
    }

    /// An empty view of the slot's receive ring, of a generation that no connection of this slot has soon.
    pub fn new_view(&self, slot: u32) -> RxView {
        RxView { generation: u32::MAX, base: self.slot_base(slot), bytes: self.rx_bytes, read_at: 0, len: 0 }
    }

    /// Gives the pages under the slot's rings back to the system; zeroed ones come in their place when they are touched.
    /// Slots in the first region keep theirs. The caller says that both rings are empty.
    pub fn give_back(&mut self, slot: u32) {
        if (slot as usize) < self.busy_slots {
            return;
        }
        let base = self.slot_base(slot);
        let slot_bytes = self.rx_bytes + self.tx_bytes;
        // Pages that hold bytes of neighbours stay.
        let first = base.as_ptr().align_offset(PAGE_BYTES);
        let Some(bytes) = slot_bytes.checked_sub(first).map(|bytes| bytes / PAGE_BYTES * PAGE_BYTES) else {
            return;
        };
        // SAFETY: `first` and `bytes` keep to whole pages of this slot's own memory, which is an anonymous private mapping
        // and stays mapped; the rings hold nothing, and any bytes will do for an empty ring.
        // WHY: memmap2 can advise a mapping as a whole or through `&mut`, which would alias the rings of other slots. Where
        // memory is locked, only the newer advice works; older kernels know only the older one.
        unsafe {
            let from = base.add(first).as_ptr().cast();
            if libc::madvise(from, bytes, MADV_DONTNEED_LOCKED) != 0 {
                libc::madvise(from, bytes, libc::MADV_DONTNEED);
            }
        }
    }

    /// An empty view of the slot's send ring.
    pub fn new_tx_view(&self, slot: u32) -> TxView {
        // SAFETY: the slot's memory is `rx_bytes + tx_bytes` long; the send ring is its second part, as in `new_socket`.
        // WHY: the slots are handed out as raw memory; there is no slice to index.
        let base = unsafe { self.slot_base(slot).add(self.rx_bytes) };
        TxView { base, bytes: self.tx_bytes, read_at: 0, len: 0 }
    }

    fn slot_base(&self, slot: u32) -> NonNull<u8> {
        let slot = slot as usize;
        assert!(slot < self.slots);
        let slot_bytes = self.rx_bytes + self.tx_bytes;
        let (region, index) =
            if slot < self.busy_slots { (&self.busy, slot) } else { (&self.rest, slot - self.busy_slots) };
        // SAFETY: `new` made the regions long enough for every slot, and connections are numbered below `slots`.
        // WHY: the slots are handed out as raw memory; there is no slice to index.
        unsafe { region.base.add(index * slot_bytes) }
    }
}

impl RxView {
    /// The received bytes, as at most two runs.
    pub fn runs(&self) -> (&[u8], &[u8]) {
        assert!(self.read_at < self.bytes);
        assert!(self.len <= self.bytes);
        let first_len = self.len.min(self.bytes - self.read_at);
        // SAFETY: the asserts keep both runs inside the slot's receive ring, which stays mapped while the slab lives, and
        // the slab lives beside the views. smoltcp writes to the ring only in `ingress`, which borrows the whole stack
        // mutably and so cannot run while these runs are lent; sending touches the other ring only.
        // WHY: smoltcp lends received bytes only through `&mut Socket` and only up to the ring's end; the shard reads a
        // frame while it writes the answer to the same socket.
        unsafe {
            (
                std::slice::from_raw_parts(self.base.add(self.read_at).as_ptr(), first_len),
                std::slice::from_raw_parts(self.base.as_ptr(), self.len - first_len),
            )
        }
    }
}

impl TxView {
    /// How many bytes the ring holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// `len` bytes were put behind the others. An empty ring begins anew, as smoltcp's does.
    pub fn pushed(&mut self, len: usize) {
        if self.len == 0 {
            self.read_at = 0;
        }
        self.len += len;
        assert!(self.len <= self.bytes);
    }

    /// The first `len` bytes were acknowledged.
    pub fn popped(&mut self, len: usize) {
        assert!(len <= self.len);
        self.len -= len;
        self.read_at = (self.read_at + len) % self.bytes;
    }

    /// Copies bytes out of the ring, from `offset` bytes behind its first.
    pub fn copy_to(&self, offset: usize, to: &mut [u8]) {
        assert!(self.len <= self.bytes);
        assert!(offset + to.len() <= self.len);
        let start = (self.read_at + offset) % self.bytes;
        let first_len = to.len().min(self.bytes - start);
        let (first, second) = to.split_at_mut(first_len);
        // SAFETY: the asserts keep both runs inside the slot's send ring, which stays mapped while the slab lives, and the
        // slab lives beside the views. smoltcp writes to the ring only when the shard sends, which borrows the
        // connections mutably, as this does not outlive the call that copies.
        // WHY: smoltcp sends its bytes again only by its own timer, from the first one on, and lends them to nobody.
        let (from_first, from_second) = unsafe {
            (
                std::slice::from_raw_parts(self.base.add(start).as_ptr(), first.len()),
                std::slice::from_raw_parts(self.base.as_ptr(), second.len()),
            )
        };
        first.copy_from_slice(from_first);
        second.copy_from_slice(from_second);
    }
}

/// Ends a socket without giving its buffers to the allocator, which never gave them to us.
pub fn forget(socket: tcp::Socket<'static>) {
    std::mem::forget(socket);
}

// SAFETY: the memory is the slab's alone, and is reached only through the stack that owns the slab and the views.
// WHY: a stack is made on one thread and run on another.
unsafe impl Send for Slab {}
// SAFETY: as above: a view never leaves the stack that owns the slab it points into.
// WHY: as above.
unsafe impl Send for RxView {}
// SAFETY: as above.
// WHY: as above.
unsafe impl Send for TxView {}

impl Region {
    fn huge(bytes: usize) -> Option<Self> {
        let layout = Layout::from_size_align(bytes, PAGE_BYTES).ok()?;
        // SAFETY: the layout is not empty (`Slab::new` asserts the sizes).
        // WHY: hugepage-rs has this one way in.
        let base = unsafe { hugepage_rs::alloc(layout) };
        Some(Self { base: NonNull::new(base)?, backing: Backing::Huge(layout) })
    }

    fn ordinary(bytes: usize, touch: Touch) -> io::Result<Self> {
        let mut map = MmapOptions::new().len(bytes).no_reserve_swap().map_anon()?;
        // Small pages: an idle connection must cost what it touches. Old kernels may not know the advice.
        let _advised = map.advise(Advice::NoHugePage);
        if touch == Touch::Now {
            map.chunks_mut(PAGE_BYTES).for_each(|page| page[0] = 0);
        }
        let base = NonNull::new(map.as_mut_ptr()).expect("a mapping has an address");
        Ok(Self { base, backing: Backing::Ordinary(map) })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if let Backing::Huge(layout) = self.backing {
            // SAFETY: allocated in `huge` with this layout; the stack has forgotten its buffers by now.
            // WHY: hugepage-rs has this one way out.
            unsafe { hugepage_rs::dealloc(self.base.as_ptr(), layout) }
        }
    }
}

/// How many connections get huge pages: 16 × 384 KiB are three of them.
const BUSY_SLOTS: usize = 16;
const PAGE_BYTES: usize = 4096;
/// Linux 5.18; not in libc for every target.
const MADV_DONTNEED_LOCKED: libc::c_int = 24;
