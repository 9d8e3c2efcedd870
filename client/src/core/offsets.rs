//! How far a group has come in each of its queues, as this client knows it.
//!
//! In clustering mode the broker keeps the truth: these are on their way there (every 5 s, when a queue is given up, and
//! at shutdown). In broadcasting mode they are the truth, kept in a local file by the shell.

use crate::message::MessageQueue;
use std::collections::BTreeMap;

/// Next offset to consume, per queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    table: BTreeMap<MessageQueue, i64>,
}

impl Offsets {
    pub fn get(&self, queue: &MessageQueue) -> Option<i64> {
        self.table.get(queue).copied()
    }

    /// Moves a queue's offset, forward or back.
    pub fn set(&mut self, queue: &MessageQueue, offset: i64) {
        self.table.insert(queue.clone(), offset);
    }

    /// Moves a queue's offset forward; a smaller one (a batch that ended after its successor) changes nothing.
    pub fn advance(&mut self, queue: &MessageQueue, offset: i64) {
        let known = self.table.entry(queue.clone()).or_insert(offset);
        *known = offset.max(*known);
    }

    pub fn remove(&mut self, queue: &MessageQueue) -> Option<i64> {
        self.table.remove(queue)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&MessageQueue, i64)> {
        self.table.iter().map(|(queue, offset)| (queue, *offset))
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

impl FromIterator<(MessageQueue, i64)> for Offsets {
    fn from_iter<I: IntoIterator<Item = (MessageQueue, i64)>>(offsets: I) -> Offsets {
        Offsets { table: offsets.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: results that come in out of order never move an offset back; a reset may.
    #[test]
    fn offsets_advance() {
        let (mut offsets, queue) = (Offsets::default(), MessageQueue::new("T", "a", 0));
        offsets.advance(&queue, 5);
        offsets.advance(&queue, 3);
        assert_eq!(offsets.get(&queue), Some(5));
        offsets.set(&queue, 2);
        assert_eq!(offsets.get(&queue), Some(2));
        assert_eq!(offsets.remove(&queue), Some(2));
        assert_eq!(offsets.get(&queue), None);
    }
}
