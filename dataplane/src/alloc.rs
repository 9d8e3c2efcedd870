//! Counts allocations, thread by thread, so that "none in steady state" is a number and not a hope.
//!
//! The binary installs [`Counting`] in front of the system's allocator; the broker shows its own thread's count among
//! its runtime figures (`shardAllocations`), and a bench reads it before and after.
//!
//! What it does not do: count bytes or frees. An allocation that never happens needs neither.

#![allow(unsafe_code)] // A fence, listed in docs/UNSAFE.md.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, with a counter in front.
pub struct Counting;

/// Allocations and reallocations that this thread has made so far; always 0 where [`Counting`] is not installed.
pub fn on_this_thread() -> u64 {
    COUNT.with(Cell::get)
}

thread_local! {
    // `const`: made without an allocation and without a destructor, so it may be touched inside the allocator.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    COUNT.with(|count| count.set(count.get() + 1));
}

// SAFETY: every call goes to `System` with the caller's own arguments and nothing else is done with the memory; the
// counter is a thread-local cell that needs no allocation.
// WHY: the trait is unsafe, and only an allocator sees every allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `alloc`'s contract, which is `System`'s. WHY: see above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `alloc_zeroed`'s contract, which is `System`'s. WHY: see above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `realloc`'s contract, which is `System`'s. WHY: see above.
        unsafe { System.realloc(at, layout, bytes) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract, which is `System`'s. WHY: see above.
        unsafe { System.dealloc(at, layout) }
    }
}
