//! Requests that wait for their answer: opaque → waiter.
//!
//! ```text
//! open(link, waiter, deadline) -> opaque     on the wire     answer(opaque)   -> the waiter
//!                                                            link closed      -> all waiters of that link
//!                                                            deadline passed  -> the waiter, timed out
//! ```
//!
//! An answer to an opaque nobody waits for (it came too late, or the peer is confused) finds no waiter, and that is all.

use crate::core::links::LinkId;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

/// One request under way.
#[derive(Debug)]
pub struct Call<W> {
    pub link: LinkId,
    /// The request code, for what is told when it fails.
    pub code: i32,
    pub opened: Duration,
    pub timeout: Duration,
    pub waiter: W,
}

/// All requests under way of one client instance.
#[derive(Debug)]
pub struct Calls<W> {
    opaque_last: i32,
    open: HashMap<i32, Call<W>>,
    deadlines: BinaryHeap<Reverse<(Duration, i32)>>,
}

impl<W> Calls<W> {
    pub fn new() -> Calls<W> {
        Calls { opaque_last: 0, open: HashMap::new(), deadlines: BinaryHeap::new() }
    }

    /// A request id nobody waits on; also for one-way requests, which are never opened.
    pub fn next_opaque(&mut self) -> i32 {
        loop {
            self.opaque_last = self.opaque_last.wrapping_add(1) & i32::MAX;
            if !self.open.contains_key(&self.opaque_last) {
                return self.opaque_last;
            }
        }
    }

    pub fn open(&mut self, opaque: i32, call: Call<W>) {
        self.deadlines.push(Reverse((call.opened + call.timeout, opaque)));
        let before = self.open.insert(opaque, call);
        assert!(before.is_none(), "next_opaque gave an id that is waited on");
    }

    pub fn is_open(&self, opaque: i32) -> bool {
        self.open.contains_key(&opaque)
    }

    /// The answer to `opaque` came over `link`; another link's answer is not ours to take.
    pub fn answered(&mut self, link: LinkId, opaque: i32) -> Option<Call<W>> {
        if self.open.get(&opaque)?.link != link {
            return None;
        }
        self.open.remove(&opaque)
    }

    /// Those under way over the link.
    pub fn of_link(&self, link: LinkId) -> impl Iterator<Item = &Call<W>> {
        self.open.values().filter(move |call| call.link == link)
    }

    /// Takes every call of a link that is gone, in the order they were opened.
    pub fn link_closed(&mut self, link: LinkId) -> Vec<Call<W>> {
        let mut lost: Vec<i32> =
            self.open.iter().filter(|(_, call)| call.link == link).map(|(opaque, _)| *opaque).collect();
        lost.sort_unstable();
        lost.iter().filter_map(|opaque| self.open.remove(opaque)).collect()
    }

    /// Takes one call whose time is up.
    pub fn expired(&mut self, now: Duration) -> Option<Call<W>> {
        while let Some(Reverse((deadline, opaque))) = self.deadlines.peek().copied() {
            let is_current =
                self.open.get(&opaque).is_some_and(|call| call.opened + call.timeout == deadline);
            if is_current && deadline > now {
                return None;
            }
            self.deadlines.pop();
            if is_current {
                return self.open.remove(&opaque);
            }
        }
        None
    }

    /// When the next call runs out of time. May be early (an answered call's deadline), never late.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.peek().map(|Reverse((deadline, _))| *deadline)
    }

    pub fn len(&self) -> usize {
        self.open.len()
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

impl<W> Default for Calls<W> {
    fn default() -> Calls<W> {
        Calls::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(link: u32, opened_ms: u64, timeout_ms: u64, waiter: char) -> Call<char> {
        Call {
            link: LinkId(link),
            code: 310,
            opened: Duration::from_millis(opened_ms),
            timeout: Duration::from_millis(timeout_ms),
            waiter,
        }
    }

    /// Goal: an answer finds its waiter once, and only over the link it was asked on.
    #[test]
    fn an_answer_finds_its_waiter_once() {
        let mut calls = Calls::new();
        let opaque = calls.next_opaque();
        calls.open(opaque, call(1, 0, 3000, 'a'));
        assert!(calls.answered(LinkId(2), opaque).is_none());
        assert!(calls.answered(LinkId(1), opaque + 1).is_none());
        assert_eq!(calls.answered(LinkId(1), opaque).map(|call| call.waiter), Some('a'));
        assert!(calls.answered(LinkId(1), opaque).is_none());
    }

    /// Goal: deadlines take exactly the calls whose time is up, and answered ones leave nothing behind.
    #[test]
    fn calls_run_out_of_time() {
        let mut calls = Calls::new();
        for (waiter, timeout_ms) in [('a', 3000), ('b', 1000), ('c', 2000)] {
            let opaque = calls.next_opaque();
            calls.open(opaque, call(1, 0, timeout_ms, waiter));
        }
        assert_eq!(calls.next_deadline(), Some(Duration::from_millis(1000)));
        assert!(calls.expired(Duration::from_millis(999)).is_none());
        assert_eq!(calls.expired(Duration::from_millis(1000)).map(|call| call.waiter), Some('b'));
        assert!(calls.answered(LinkId(1), 3).is_some());
        assert!(calls.expired(Duration::from_millis(2500)).is_none());
        assert_eq!(calls.expired(Duration::from_millis(3000)).map(|call| call.waiter), Some('a'));
        assert!(calls.is_empty());
        assert!(calls.next_deadline().is_none());
    }

    /// Goal: a closed link gives back its own calls, oldest first, and no other's.
    #[test]
    fn a_closed_link_loses_its_calls() {
        let mut calls = Calls::new();
        for (waiter, link) in [('a', 1), ('b', 2), ('c', 1)] {
            let opaque = calls.next_opaque();
            calls.open(opaque, call(link, 0, 3000, waiter));
        }
        let lost: String = calls.link_closed(LinkId(1)).iter().map(|call| call.waiter).collect();
        assert_eq!(lost, "ac");
        assert_eq!(calls.len(), 1);
    }

    /// Goal: ids wrap to 0 rather than below it, and skip those still waited on.
    #[test]
    fn opaques_wrap_and_skip() {
        let mut calls = Calls { opaque_last: i32::MAX - 1, ..Calls::new() };
        let last = calls.next_opaque();
        assert_eq!(last, i32::MAX);
        calls.open(0, call(1, 0, 1, 'x'));
        assert_eq!(calls.next_opaque(), 1);
    }
}
