//! The four rings between the kernel and us: one side writes entries and moves the producer, the other the consumer.
//!
//! ```text
//!   Out: we ──entry──▶ | . | x | x | . | ──▶ kernel        fill: chunks to receive into    tx: frames to send
//!   In:  we ◀──entry── | . | x | x | . | ◀── kernel        rx: frames received             completion: chunks sent
//!                           ^       ^
//!                     consumer     producer     both count up and wrap at 2^32; the place is the count's low bits
//! ```
//!
//! Each side keeps its own count and its last look at the other's, so that the shared cache lines are touched once a
//! batch. An entry is written before the producer passes it and read before the consumer does: release and acquire.
#![allow(unsafe_code)] // A fence, listed in docs/UNSAFE.md.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// What goes over a ring: plain numbers, any bit pattern of which is a value.
pub trait Entry: Copy {}
impl Entry for u64 {}
impl Entry for libc::xdp_desc {}

/// Where the parts of a ring lie in its memory.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub producer: usize,
    pub consumer: usize,
    pub flags: usize,
    pub entries: usize,
}

/// Memory that a ring lies in, and that stays where it is while this lives.
pub trait Memory {
    fn base(&self) -> NonNull<u8>;
    fn len_bytes(&self) -> usize;
}

struct Shared<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<T>,
    mask: u32,
    _memory: Box<dyn Memory + Send>,
    _entry: PhantomData<T>,
}

/// A ring that we put entries on.
pub struct Out<T> {
    shared: Shared<T>,
    /// Our count, of which `published` has been told.
    head: u32,
    published: u32,
    /// The other side's, when last looked.
    tail: u32,
}

/// A ring that we take entries from.
pub struct In<T> {
    shared: Shared<T>,
    tail: u32,
    head: u32,
}

impl<T: Entry> Shared<T> {
    fn new(memory: Box<dyn Memory + Send>, layout: &Layout, size: u32) -> Self {
        assert!(size.is_power_of_two());
        let word = |at: usize| {
            assert!(at.is_multiple_of(align_of::<AtomicU32>()));
            assert!(at + size_of::<AtomicU32>() <= memory.len_bytes());
            // SAFETY: checked to lie inside the memory just above.
            // WHY: the parts of a ring lie where the kernel says, in memory that it writes too.
            unsafe { memory.base().add(at).cast() }
        };
        let (producer, consumer, flags) = (word(layout.producer), word(layout.consumer), word(layout.flags));
        assert!(layout.entries.is_multiple_of(align_of::<T>()));
        assert!(layout.entries + size as usize * size_of::<T>() <= memory.len_bytes());
        // SAFETY: checked to lie inside the memory just above.
        // WHY: as above.
        let entries = unsafe { memory.base().add(layout.entries).cast() };
        Self { producer, consumer, flags, entries, mask: size - 1, _memory: memory, _entry: PhantomData }
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: `new` has checked that it lies aligned inside memory that lives as long as we do; both sides use
        // atomic operations on it.
        // WHY: the counters are shared with the kernel, which knows no Rust types.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as for the producer.
        // WHY: as for the producer.
        unsafe { self.consumer.as_ref() }
    }

    fn needs_wakeup(&self) -> bool {
        // SAFETY: as for the producer.
        // WHY: as for the producer.
        unsafe { self.flags.as_ref() }.load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    fn place(&self, count: u32) -> NonNull<T> {
        // SAFETY: the mask keeps the index below the ring's size, which `new` has checked to fit.
        // WHY: an entry belongs to one side at a time; a slice over them all would claim the other side's too.
        unsafe { self.entries.add((count & self.mask) as usize) }
    }
}

// SAFETY: the memory belongs to no thread (a mapping, or a heap block), and is reached through this value alone on our
// side; on the kernel's side the protocol of the counters decides, whichever thread we run on.
// WHY: the parts are known by raw pointers.
unsafe impl<T: Entry + Send> Send for Shared<T> {}

impl<T: Entry> Out<T> {
    pub fn new(memory: Box<dyn Memory + Send>, layout: &Layout, size: u32) -> Self {
        let shared = Shared::new(memory, layout, size);
        let head = shared.producer().load(Ordering::Relaxed);
        let tail = shared.consumer().load(Ordering::Acquire);
        Self { shared, head, published: head, tail }
    }

    /// Whether an entry fits.
    pub fn has_room(&mut self) -> bool {
        if self.head.wrapping_sub(self.tail) <= self.shared.mask {
            return true;
        }
        self.tail = self.shared.consumer().load(Ordering::Acquire);
        self.head.wrapping_sub(self.tail) <= self.shared.mask
    }

    /// Writes an entry, which the other side sees after `publish`. Only after `has_room`.
    pub fn push(&mut self, entry: T) {
        assert!(self.head.wrapping_sub(self.tail) <= self.shared.mask);
        // SAFETY: the other side has consumed what was in this place (it is not ahead of `tail`), and does not look at it
        // again before the producer passes it.
        // WHY: see `place`.
        unsafe { self.shared.place(self.head).write(entry) }
        self.head = self.head.wrapping_add(1);
    }

    /// Shows the other side what was pushed.
    pub fn publish(&mut self) {
        if self.published != self.head {
            self.shared.producer().store(self.head, Ordering::Release);
            self.published = self.head;
        }
    }

    /// Entries pushed and not yet published.
    pub fn unpublished(&self) -> u32 {
        self.head.wrapping_sub(self.published)
    }

    /// Entries published that the other side has not taken.
    pub fn waiting(&mut self) -> u32 {
        self.tail = self.shared.consumer().load(Ordering::Acquire);
        self.published.wrapping_sub(self.tail)
    }

    /// The other side sleeps and wants a system call.
    pub fn needs_wakeup(&self) -> bool {
        self.shared.needs_wakeup()
    }
}

impl<T: Entry> In<T> {
    pub fn new(memory: Box<dyn Memory + Send>, layout: &Layout, size: u32) -> Self {
        let shared = Shared::new(memory, layout, size);
        let tail = shared.consumer().load(Ordering::Relaxed);
        let head = shared.producer().load(Ordering::Acquire);
        Self { shared, tail, head }
    }

    /// The oldest entry; its place is free for the other side after `release`.
    pub fn pop(&mut self) -> Option<T> {
        if self.tail == self.head {
            self.head = self.shared.producer().load(Ordering::Acquire);
            if self.tail == self.head {
                return None;
            }
        }
        // SAFETY: the producer has passed this place, and the acquire above has made the entry visible; the other side
        // does not write here before the consumer passes it.
        // WHY: see `place`.
        let entry = unsafe { self.shared.place(self.tail).read() };
        self.tail = self.tail.wrapping_add(1);
        Some(entry)
    }

    /// Gives the places of what was popped back.
    pub fn release(&mut self) {
        self.shared.consumer().store(self.tail, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use std::sync::Arc;

    /// A ring in ordinary memory, with both of its ends in our hands.
    #[derive(Clone)]
    struct Block(Arc<Heap>);

    struct Heap {
        base: NonNull<u8>,
        layout: std::alloc::Layout,
    }

    // SAFETY: a heap block that lives as long as anybody who knows it, reached by atomics and by the rings' protocol.
    // WHY: the test plays the kernel, which shares the memory with us.
    unsafe impl Send for Heap {}
    // SAFETY: as above.
    // WHY: as above.
    unsafe impl Sync for Heap {}

    impl Drop for Heap {
        fn drop(&mut self) {
            // SAFETY: allocated in `Block::new` with this layout, and nobody knows it any more.
            // WHY: memory shared by raw pointers, like a ring's own.
            unsafe { std::alloc::dealloc(self.base.as_ptr(), self.layout) }
        }
    }

    impl Block {
        fn new(size: u32, start: u32) -> Self {
            let bytes = LAYOUT.entries + size as usize * size_of::<u64>();
            let layout = std::alloc::Layout::from_size_align(bytes, 64).unwrap();
            // SAFETY: the size is not zero.
            // WHY: memory shared by raw pointers, like a ring's own.
            let base = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) }).unwrap();
            for at in [LAYOUT.producer, LAYOUT.consumer] {
                // SAFETY: inside the block, aligned.
                // WHY: nobody else has it yet.
                unsafe { base.add(at).cast::<u32>().write(start) }
            }
            Self(Arc::new(Heap { base, layout }))
        }

        fn boxed(&self) -> Box<dyn Memory + Send> {
            Box::new(self.clone())
        }
    }

    impl Memory for Block {
        fn base(&self) -> NonNull<u8> {
            self.0.base
        }
        fn len_bytes(&self) -> usize {
            self.0.layout.size()
        }
    }

    const LAYOUT: Layout = Layout { producer: 0, consumer: 64, flags: 128, entries: 192 };

    /// Goal: what goes in comes out, once, in order, over the wrap of the ring and of the counters, and a full ring takes
    /// nothing. Method: both ends over one memory, random runs, counters that begin just below 2^32.
    #[test]
    fn entries_cross_in_order_over_every_wrap() {
        for start in [0, u32::MAX - 5, u32::MAX / 2] {
            let block = Block::new(8, start);
            let mut out = Out::<u64>::new(block.boxed(), &LAYOUT, 8);
            let mut inn = In::<u64>::new(block.boxed(), &LAYOUT, 8);
            let mut rng = Rng::from_seed(7);
            let (mut pushed, mut popped, mut released) = (0, 0, 0);
            for _ in 0..2_000 {
                for _ in 0..rng.below(12) {
                    assert_eq!(out.has_room(), pushed - released < 8, "room is what was given back");
                    if out.has_room() {
                        out.push(pushed);
                        pushed += 1;
                    }
                }
                let published = rng.chance(0.7);
                if published {
                    out.publish();
                    assert_eq!(out.unpublished(), 0);
                    assert_eq!(u64::from(out.waiting()), pushed - released);
                }
                for _ in 0..rng.below(12) {
                    match inn.pop() {
                        Some(entry) => {
                            assert_eq!(entry, popped);
                            popped += 1;
                        }
                        None => assert!(!published || popped == pushed, "what is published can be taken"),
                    }
                }
                inn.release();
                released = popped;
            }
            assert!(popped > 5_000);
        }
    }

    /// Goal: nothing is seen before it is published. Method: push, look, publish, look.
    #[test]
    fn an_entry_counts_when_published() {
        let block = Block::new(4, 0);
        let mut out = Out::<u64>::new(block.boxed(), &LAYOUT, 4);
        let mut inn = In::<u64>::new(block.boxed(), &LAYOUT, 4);
        out.push(9);
        assert_eq!((inn.pop(), out.unpublished()), (None, 1));
        out.publish();
        assert_eq!(inn.pop(), Some(9));
        assert!(!out.needs_wakeup());
    }

    /// Goal: the order holds between threads. Method: two hundred thousand entries from one to the other.
    #[test]
    fn entries_cross_between_threads() {
        const ENTRIES: u64 = 200_000;
        let block = Block::new(64, u32::MAX - 1_000);
        let mut out = Out::<u64>::new(block.boxed(), &LAYOUT, 64);
        let mut inn = In::<u64>::new(block.boxed(), &LAYOUT, 64);
        let taker = std::thread::spawn(move || {
            let mut expected = 0;
            while expected < ENTRIES {
                match inn.pop() {
                    Some(entry) => {
                        assert_eq!(entry, expected);
                        expected += 1;
                        inn.release();
                    }
                    None => std::thread::yield_now(),
                }
            }
        });
        for entry in 0..ENTRIES {
            while !out.has_room() {
                std::thread::yield_now();
            }
            out.push(entry);
            out.publish();
        }
        taker.join().unwrap();
    }

    /// Goal: a layout that does not fit its memory is refused. Method: entries that end behind it.
    #[test]
    fn a_ring_that_does_not_fit_is_refused() {
        let block = Block::new(4, 0);
        let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            Out::<u64>::new(block.boxed(), &LAYOUT, 8).has_room()
        }));
        assert!(refused.is_err());
    }
}
