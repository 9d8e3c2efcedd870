//! What the shard has not been told yet. Each connection waits in the queue at most once, whatever happens to it.

use std::collections::VecDeque;

use crate::touched;

/// What may be pending for one connection, told in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending(u8);

impl Pending {
    pub const OPENED: u8 = 1;
    pub const READABLE: u8 = 2;
    pub const WRITABLE: u8 = 4;
    pub const FINISHED: u8 = 8;
    pub const CLOSED: u8 = 16;
    const QUEUED: u8 = 128;

    /// Takes the next thing to tell, or none.
    pub fn take(&mut self) -> Option<u8> {
        let told = self.0 & !Self::QUEUED;
        if told == 0 {
            return None;
        }
        let lowest = told & told.wrapping_neg();
        self.0 &= !lowest;
        Some(lowest)
    }

    /// Forgets everything but the opening: nobody is to hear more of this connection than its end.
    pub fn only_opening(&mut self) {
        self.0 &= Self::OPENED | Self::QUEUED;
    }
}

/// Slots with something pending, oldest first.
#[derive(Debug)]
pub struct EventQueue {
    slots: VecDeque<u32>,
}

impl EventQueue {
    pub fn with_capacity(conns_max: usize) -> Self {
        Self { slots: touched::queue(conns_max, 0) }
    }

    pub fn raise(&mut self, slot: u32, pending: &mut Pending, what: u8) {
        pending.0 |= what;
        if pending.0 & Pending::QUEUED == 0 {
            pending.0 |= Pending::QUEUED;
            self.slots.push_back(slot);
        }
    }

    /// The slot whose turn it is; it stays first until `done`.
    pub fn front(&self) -> Option<u32> {
        self.slots.front().copied()
    }

    pub fn done(&mut self, pending: &mut Pending) {
        pending.0 &= !Pending::QUEUED;
        self.slots.pop_front();
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: one place in the queue for many causes, told in order. Method: raise out of order.
    #[test]
    fn merged_and_ordered() {
        let mut queue = EventQueue::with_capacity(4);
        let mut pending = Pending::default();
        queue.raise(7, &mut pending, Pending::CLOSED);
        queue.raise(7, &mut pending, Pending::READABLE);
        queue.raise(7, &mut pending, Pending::OPENED);
        assert_eq!(queue.front(), Some(7));
        let told: Vec<u8> = std::iter::from_fn(|| pending.take()).collect();
        assert_eq!(told, [Pending::OPENED, Pending::READABLE, Pending::CLOSED]);
        queue.done(&mut pending);
        assert!(queue.is_empty());
    }
}
