//! Memory that is there before it is needed.
//!
//! A page that the polling thread writes to for the first time costs it a fault. What it walks through slowly (a queue that
//! is seldom empty, a ring of samples, one a second) would bring such faults for minutes and hours, so it is touched when it
//! is made.

use std::collections::VecDeque;
use std::hint::black_box;

/// So many items.
pub fn items<T: Clone>(count: usize, filler: T) -> Vec<T> {
    // Memory of unknown content: it is written to, where zeros could be asked of the operating system, which brings them late.
    let mut items = black_box(Vec::with_capacity(count));
    items.resize(count, filler);
    items
}

/// An empty list with room for `room` items.
pub fn list<T: Clone>(room: usize, filler: T) -> Vec<T> {
    let mut list = items(room, filler);
    list.clear();
    list
}

/// An empty queue with room for `room` items.
pub fn queue<T: Clone>(room: usize, filler: T) -> VecDeque<T> {
    VecDeque::from(list(room, filler))
}

/// What the calls of this thread go down into: a path that is seldom taken goes deeper than all before it.
#[inline(never)]
pub fn stack() {
    black_box(&mut [0_u8; STACK_BYTES]);
}

/// Far more than the deepest path takes, and a small part of what a thread has.
const STACK_BYTES: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a deep path is no first time for its pages. Method: a thread of its own goes down twice, once half as far.
    #[test]
    fn a_deep_call_costs_no_page_fault() {
        #[inline(never)]
        fn deep() {
            black_box(&mut [1_u8; STACK_BYTES / 2]);
        }
        let faults = std::thread::spawn(|| {
            stack();
            let before = minor_faults();
            deep();
            minor_faults() - before
        });
        let faults = faults.join().unwrap();
        assert!(faults < 4, "{faults} faults on the way down");
    }

    /// Goal: empty, and the same memory whatever is done with it, all of it there before. Method: two walks round the queue, with an
    /// eye on the page faults of this thread.
    #[test]
    fn a_walk_round_costs_no_page_fault() {
        const ROOM: usize = 4 << 20;
        let mut queue = queue(ROOM, 0_u32);
        assert!(queue.is_empty());
        let (capacity, before) = (queue.capacity(), minor_faults());
        for item in 0..2 * ROOM as u32 {
            queue.push_back(item);
            assert_eq!(queue.pop_front(), Some(item));
        }
        assert_eq!(queue.capacity(), capacity);
        let faults = minor_faults() - before;
        assert!(faults < 64, "{faults} faults on the way round");
    }

    /// Of this thread.
    fn minor_faults() -> u64 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        stat.rsplit_once(") ").unwrap().1.split(' ').nth(7).unwrap().parse().unwrap()
    }
}
