//! Which half messages are still undecided: the memory of the transaction desk.
//!
//! ```text
//! half queue   ....5 6 7 8 9 10 11          base = 6: everything before is decided, put back or given up
//! decided          . x . x . .              one mark each from `base` on
//! op queue     (op 3 -> half 7) (op 4 -> 9) ops whose half lies before `base` need not be read again
//! newest       5 -> 10                      the copy that was put back in place of an older one
//! ```
//!
//! `base` and the first op still needed are what CID_RMQ_SYS_TRANS commits; after a restart the ops from there on are
//! read again and give the same picture. A half message that was put back (checked, or too young to be checked) is
//! carried on by its copy: a decision about the old one counts for the newest. Pure: no store, no clock.

use std::collections::{BTreeSet, VecDeque};

use hashbrown::HashMap;

use crate::limits::EARLY_MAX;

/// What the transaction desk remembers about its two queues.
#[derive(Debug)]
pub struct Halves {
    base: i64,
    /// Mark n: the half message at `base + n` is decided. Shorter than the queue when nothing later is decided.
    decided: VecDeque<bool>,
    /// In op queue order: op offset and the half offset it decided.
    ops: VecDeque<(i64, i64)>,
    op_next: i64,
    /// Older copy to the newest one, as long as that is undecided; and back.
    newest: HashMap<i64, i64>,
    olders: HashMap<i64, Vec<i64>>,
    /// Decisions about half messages before `base` whose copy is not known (yet).
    early: BTreeSet<i64>,
}

impl Halves {
    /// `base` and `op_from` are the committed offsets of the half and the op queue.
    pub fn new(base: i64, op_from: i64) -> Halves {
        Halves {
            base,
            decided: VecDeque::new(),
            ops: VecDeque::new(),
            op_next: op_from,
            newest: HashMap::new(),
            olders: HashMap::new(),
            early: BTreeSet::new(),
        }
    }

    /// The first half message that is not done with.
    pub fn base(&self) -> i64 {
        self.base
    }

    /// The first op message that must be read again after a restart.
    pub fn op_base(&self) -> i64 {
        self.ops.front().map_or(self.op_next, |(op_offset, _)| *op_offset)
    }

    /// Where the op queue goes on: the next op message that was not told to `decide` or `op_read`.
    pub fn op_next(&self) -> i64 {
        self.op_next
    }

    /// The op message at `op_offset` says that `half_offset` is committed or rolled back. One op may name several.
    pub fn decide(&mut self, half_offset: i64, op_offset: i64) {
        let newest = self.newest.get(&half_offset).copied().unwrap_or(half_offset);
        if newest >= self.base {
            self.set(newest);
            self.ops.push_back((op_offset, newest));
        } else {
            self.early.insert(newest);
            if self.early.len() > EARLY_MAX {
                self.early.pop_first();
            }
        }
        self.op_read(op_offset);
        self.advance();
    }

    /// The op message at `op_offset` was looked at, whatever it said.
    pub fn op_read(&mut self, op_offset: i64) {
        self.op_next = self.op_next.max(op_offset + 1);
    }

    pub fn is_decided(&self, half_offset: i64) -> bool {
        half_offset < self.base || self.bit(half_offset)
    }

    /// The first undecided half message at or after `from`; everything from the end of the marks on is undecided.
    pub fn undecided_from(&self, from: i64) -> i64 {
        let mut offset = from.max(self.base);
        while self.bit(offset) {
            offset += 1;
        }
        offset
    }

    /// The half message at `from` was put back as `to`, and `from` is done with.
    pub fn put_back(&mut self, from: i64, to: i64) {
        self.carry_on(from, to);
        self.pass(from);
    }

    /// The half message is done with: given up, unreadable, or carried on by a copy.
    pub fn pass(&mut self, half_offset: i64) {
        if half_offset >= self.base {
            self.set(half_offset);
        }
        self.advance();
    }

    /// A copy names the older one it carries on (after a restart, when `put_back` was not seen).
    /// True when the older one is decided, and so is the copy.
    pub fn continues(&mut self, copy: i64, older: i64) -> bool {
        if self.early.remove(&older) {
            self.pass(copy);
            return true;
        }
        if older < copy && !self.is_decided(copy) && self.newest.get(&older) != Some(&copy) {
            self.carry_on(older, copy);
        }
        self.is_decided(copy)
    }

    /// How many half messages are remembered as decided beyond the first undecided one.
    pub fn window_len(&self) -> usize {
        self.decided.len()
    }

    fn carry_on(&mut self, from: i64, to: i64) {
        assert!(from < to);
        let mut olders = self.olders.remove(&from).unwrap_or_default();
        olders.push(from);
        for older in &olders {
            self.newest.insert(*older, to);
        }
        self.olders.entry(to).or_default().append(&mut olders);
    }

    fn bit(&self, half_offset: i64) -> bool {
        let at = usize::try_from(half_offset - self.base).ok();
        at.and_then(|at| self.decided.get(at)).copied().unwrap_or(false)
    }

    fn set(&mut self, half_offset: i64) {
        let at = usize::try_from(half_offset - self.base).expect("callers compare with `base`");
        if at >= self.decided.len() {
            self.decided.resize(at + 1, false);
        }
        *self.decided.get_mut(at).expect("resized above") = true;
        for older in self.olders.remove(&half_offset).unwrap_or_default() {
            self.newest.remove(&older);
        }
    }

    fn advance(&mut self) {
        while self.decided.front() == Some(&true) {
            self.decided.pop_front();
            self.base += 1;
        }
        while self.ops.front().is_some_and(|(_, half_offset)| *half_offset < self.base) {
            self.ops.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the base moves over decided halves only, and ops are needed as long as their half lies at or after it.
    #[test]
    fn the_base_waits_for_the_first_undecided_half() {
        let mut halves = Halves::new(0, 0);
        halves.decide(1, 0);
        halves.decide(2, 1);
        assert_eq!((halves.base(), halves.op_base(), halves.undecided_from(1)), (0, 0, 3));
        assert!(halves.is_decided(1) && !halves.is_decided(0) && !halves.is_decided(7));
        halves.decide(0, 2);
        assert_eq!((halves.base(), halves.op_base(), halves.window_len()), (3, 3, 0));
    }

    /// Goal: the same picture comes back after a restart. Method: replay the ops from the committed offsets.
    #[test]
    fn a_restart_reads_the_ops_again_and_knows_the_same() {
        let mut before = Halves::new(0, 0);
        for (op_offset, half_offset) in [(0, 0), (1, 3), (2, 1), (3, 5)] {
            before.decide(half_offset, op_offset);
        }
        let mut after = Halves::new(before.base(), before.op_base());
        for (op_offset, half_offset) in [(0, 0), (1, 3), (2, 1), (3, 5)] {
            if op_offset >= before.op_base() {
                after.decide(half_offset, op_offset);
            }
        }
        for half_offset in 0..8 {
            assert_eq!(before.is_decided(half_offset), after.is_decided(half_offset), "{half_offset}");
        }
        assert_eq!((before.base(), before.op_base()), (after.base(), after.op_base()));
    }

    /// Goal: a late decision about a half message that was put back decides its newest copy.
    #[test]
    fn a_decision_about_an_old_copy_counts_for_the_newest() {
        let mut halves = Halves::new(0, 0);
        halves.put_back(0, 1);
        halves.put_back(1, 2);
        assert_eq!(halves.base(), 2);
        halves.decide(0, 0);
        assert_eq!((halves.base(), halves.op_base()), (3, 1));
        assert!(halves.newest.is_empty() && halves.olders.is_empty());
    }

    /// Goal: after a restart a copy that names its original is decided by the original's op, whichever is read first.
    #[test]
    fn a_copy_that_names_its_original_is_decided_by_its_op() {
        let mut op_first = Halves::new(6, 3);
        op_first.decide(5, 3);
        assert!(op_first.continues(9, 5));
        assert!(op_first.is_decided(9));
        let mut copy_first = Halves::new(6, 3);
        assert!(!copy_first.continues(9, 5));
        copy_first.decide(5, 3);
        assert!(copy_first.is_decided(9));
        assert_eq!(copy_first.op_base(), 3, "needed until 9 is behind the base");
    }

    /// Goal: a decision that comes twice, or for what is long done, changes nothing and is not remembered for ever.
    #[test]
    fn decisions_about_the_past_are_bounded() {
        let mut halves = Halves::new(100, 0);
        for op_offset in 0..(EARLY_MAX as i64 + 10) {
            halves.decide(op_offset % 100, op_offset);
        }
        assert_eq!((halves.base(), halves.early.len()), (100, 100));
        assert_eq!(halves.op_base(), EARLY_MAX as i64 + 10);
    }
}
