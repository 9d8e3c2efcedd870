//! What is to happen later, earliest first.
//!
//! A timer is never cancelled: whoever set it looks, when it fires, whether it still means anything. So setting one is
//! all there is to it, and a stale one costs a look.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Timers of one kind of work, `T`.
#[derive(Debug)]
pub struct Timers<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    set: u64,
}

impl<T> Timers<T> {
    pub fn new() -> Timers<T> {
        Timers { heap: BinaryHeap::new(), set: 0 }
    }

    pub fn set(&mut self, at: Duration, what: T) {
        self.set += 1;
        self.heap.push(Reverse(Entry { at, order: self.set, what }));
    }

    /// The next timer due at `now`; those due at the same moment come in the order they were set.
    pub fn due(&mut self, now: Duration) -> Option<T> {
        let Reverse(first) = self.heap.peek()?;
        if first.at > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry.what)
    }

    pub fn next(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }
}

impl<T> Default for Timers<T> {
    fn default() -> Timers<T> {
        Timers::new()
    }
}

#[derive(Debug)]
struct Entry<T> {
    at: Duration,
    order: u64,
    what: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Entry<T>) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Entry<T>) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Entry<T>) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

#[cfg(test)]
mod tests {
    use super::Timers;
    use std::time::Duration;

    /// Goal: earliest first, ties in the order they were set, nothing early.
    #[test]
    fn timers_fire_in_order() {
        let mut timers = Timers::new();
        for (at, what) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b')] {
            timers.set(Duration::from_secs(at), what);
        }
        assert_eq!(timers.next(), Some(Duration::from_secs(1)));
        assert_eq!(timers.due(Duration::from_millis(999)), None);
        let mut fired = String::new();
        while let Some(what) = timers.due(Duration::from_secs(5)) {
            fired.push(what);
        }
        assert_eq!(fired, "abcd");
        assert_eq!(timers.next(), None);
    }
}
