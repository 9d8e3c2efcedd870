//! Memory that is there before it is needed.
//!
//! A page that the polling thread writes to for the first time costs it a fault. What it walks through slowly (a queue that
//! is seldom empty, a ring of samples, one a second) would bring such faults for minutes and hours, so it is touched when it
//! is made.

use std::collections::VecDeque;
use std::hint::black_box;

/// An empty list with room for `room` items.
pub fn list<T: Clone>(room: usize, filler: T) -> Vec<T> {
    let mut list = Vec::with_capacity(room);
    list.resize(room, filler);
    black_box(&mut list).clear(); // Not known to be empty until here, so every item is really written.
    list
}

/// An empty queue with room for `room` items.
pub fn queue<T: Clone>(room: usize, filler: T) -> VecDeque<T> {
    VecDeque::from(list(room, filler))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: empty, every page resident, and the same memory whatever is done with it. Method: the kernel is asked which
    /// pages are there; then two walks round the queue.
    #[test]
    fn all_of_it_is_there_before_it_is_used() {
        const ROOM: usize = 1 << 20;
        let before = minor_faults();
        let mut queue = queue(ROOM, 0_u32);
        let made = minor_faults();
        assert!(made - before >= (ROOM * 4 / HUGE_PAGE_BYTES) as u64, "{before} {made}: nothing was touched");
        assert!(queue.is_empty());
        let capacity = queue.capacity();
        for item in 0..2 * ROOM as u32 {
            queue.push_back(item);
            assert_eq!(queue.pop_front(), Some(item));
        }
        assert_eq!(queue.capacity(), capacity);
        let walked = minor_faults() - made;
        assert!(walked < 32, "{walked} faults on the way round");
    }

    /// Of this thread.
    fn minor_faults() -> u64 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        stat.rsplit_once(") ").unwrap().1.split(' ').nth(7).unwrap().parse().unwrap()
    }

    /// Even where the kernel gives huge pages unasked.
    const HUGE_PAGE_BYTES: usize = 2 << 20;
}
