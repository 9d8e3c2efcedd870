//! The messages of one queue that were pulled and are not done yet.
//!
//! ```text
//!   put ──► waiting ──take──► taken ──done──► gone        committed offset = smallest one left,
//!              ▲                 │                         or last pulled + 1 when none is left
//!              └────put_back─────┘
//! ```
//!
//! Concurrent consumers take as fast as they may and finish in any order; orderly ones take again only when nothing is
//! taken. Either way the offset to commit is the smallest that is not done.

use crate::message::MessageExt;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Default)]
pub struct ProcessQueue {
    waiting: BTreeMap<i64, Arc<MessageExt>>,
    taken: BTreeMap<i64, Taken>,
    bytes: usize,
    /// The greatest offset ever put in.
    offset_max: Option<i64>,
}

#[derive(Debug)]
struct Taken {
    message: Arc<MessageExt>,
    at: Duration,
}

impl ProcessQueue {
    /// Messages as they were pulled; those already here (pulled twice after a reset, or one offset told twice) are left as they
    /// are.
    pub fn put(&mut self, messages: impl IntoIterator<Item = Arc<MessageExt>>) {
        for message in messages {
            let offset = message.queue_offset;
            if self.taken.contains_key(&offset) {
                continue;
            }
            self.offset_max = Some(self.offset_max.map_or(offset, |max| max.max(offset)));
            if let Entry::Vacant(place) = self.waiting.entry(offset) {
                self.bytes += message.body().len();
                place.insert(message);
            }
        }
    }

    /// Up to `count` messages, the oldest first.
    pub fn take(&mut self, count: usize, now: Duration) -> Vec<Arc<MessageExt>> {
        let mut taken = Vec::new();
        while taken.len() < count
            && let Some((offset, message)) = self.waiting.pop_first()
        {
            taken.push(message.clone());
            self.taken.insert(offset, Taken { message, at: now });
        }
        taken
    }

    /// These are done. Gives the offset to commit now.
    pub fn done(&mut self, offsets: impl IntoIterator<Item = i64>) -> Option<i64> {
        for offset in offsets {
            if let Some(taken) = self.taken.remove(&offset) {
                self.bytes -= taken.message.body().len();
            }
        }
        self.commit_offset()
    }

    /// These were not consumed after all and are to be taken again. `failed` counts one more failure on each.
    pub fn put_back(&mut self, offsets: impl IntoIterator<Item = i64>, failed: bool) {
        for offset in offsets {
            if let Some(Taken { mut message, .. }) = self.taken.remove(&offset) {
                if failed {
                    let times = &mut Arc::make_mut(&mut message).reconsume_times;
                    *times = times.saturating_add(1);
                }
                self.waiting.insert(offset, message);
            }
        }
    }

    /// The smallest offset that is not done, or the one after the last when all are.
    pub fn commit_offset(&self) -> Option<i64> {
        let first = |offset: Option<&i64>| offset.copied();
        match (first(self.waiting.keys().next()), first(self.taken.keys().next())) {
            (Some(waiting), Some(taken)) => Some(waiting.min(taken)),
            (Some(only), None) | (None, Some(only)) => Some(only),
            (None, None) => self.offset_max.map(|max| max.saturating_add(1)),
        }
    }

    /// Messages taken at `since` or before and still not done.
    pub fn taken_since(&self, since: Duration) -> Vec<Arc<MessageExt>> {
        self.taken.values().filter(|taken| taken.at <= since).map(|taken| taken.message.clone()).collect()
    }

    pub fn taken_len(&self) -> usize {
        self.taken.len()
    }

    pub fn waiting_len(&self) -> usize {
        self.waiting.len()
    }

    pub fn len(&self) -> usize {
        self.waiting.len() + self.taken.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.taken.is_empty()
    }

    /// Bytes of the bodies held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// From the smallest offset held to the greatest.
    pub fn span(&self) -> i64 {
        match (self.offset_min(), self.offset_max_held()) {
            (Some(min), Some(max)) => max.saturating_sub(min),
            _ => 0,
        }
    }

    pub fn offset_min(&self) -> Option<i64> {
        self.waiting.keys().next().into_iter().chain(self.taken.keys().next()).min().copied()
    }

    pub fn offset_max_held(&self) -> Option<i64> {
        self.waiting.keys().next_back().into_iter().chain(self.taken.keys().next_back()).max().copied()
    }

    /// (count, smallest, greatest) of what is taken, for the running info.
    pub fn taken_span(&self) -> (usize, i64, i64) {
        let min = self.taken.keys().next().copied().unwrap_or(0);
        let max = self.taken.keys().next_back().copied().unwrap_or(0);
        (self.taken.len(), min, max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::message_at;

    fn filled(offsets: std::ops::Range<i64>) -> ProcessQueue {
        let mut queue = ProcessQueue::default();
        queue.put(offsets.map(|offset| Arc::new(message_at("T", 0, offset))));
        queue
    }

    fn offsets(messages: &[Arc<MessageExt>]) -> Vec<i64> {
        messages.iter().map(|message| message.queue_offset).collect()
    }

    /// Goal: out-of-order completion commits the smallest offset not done, then the one after the last.
    #[test]
    fn the_commit_offset_is_the_smallest_not_done() {
        let mut queue = filled(10..14);
        assert_eq!(queue.commit_offset(), Some(10));
        let taken = queue.take(3, Duration::ZERO);
        assert_eq!(offsets(&taken), [10, 11, 12]);
        assert_eq!(queue.done([12]), Some(10));
        assert_eq!(queue.done([10]), Some(11));
        assert_eq!(queue.done([11]), Some(13));
        assert_eq!(offsets(&queue.take(9, Duration::ZERO)), [13]);
        assert_eq!(queue.done([13]), Some(14));
        assert!(queue.is_empty());
        assert_eq!(queue.bytes(), 0);
    }

    /// Goal: what is put back is taken again first, with its failure counted.
    #[test]
    fn put_back_messages_return_in_order() {
        let mut queue = filled(0..3);
        queue.take(2, Duration::ZERO);
        queue.put_back([0, 1], true);
        let again = queue.take(3, Duration::ZERO);
        assert_eq!(offsets(&again), [0, 1, 2]);
        let failures: Vec<i32> = again.iter().map(|message| message.reconsume_times).collect();
        assert_eq!(failures, [1, 1, 0]);
    }

    /// Goal: a message pulled twice is held once.
    #[test]
    fn a_message_is_held_once() {
        let mut queue = filled(0..3);
        let bytes = queue.bytes();
        queue.take(1, Duration::ZERO);
        queue.put((0..3).map(|offset| Arc::new(message_at("T", 0, offset))));
        assert_eq!((queue.len(), queue.bytes(), queue.span()), (3, bytes, 2));
    }

    /// Goal: of two messages at one offset the first stays, and what is held comes to nothing when all is done.
    #[test]
    fn an_offset_that_comes_twice_counts_once() {
        let message = |body: &'static str| {
            let mut message = message_at("T", 0, 7);
            message.message.body = body.into();
            Arc::new(message)
        };
        let mut queue = ProcessQueue::default();
        queue.put([message("short"), message("a good deal longer")]);
        assert_eq!(queue.bytes(), 5);
        let taken = queue.take(9, Duration::ZERO);
        assert_eq!(taken[0].body(), "short");
        assert_eq!(queue.done([7]), Some(8));
        assert_eq!(queue.bytes(), 0);
    }

    /// Goal: offsets at both ends of what the wire can say are counted without end or wrap.
    #[test]
    fn offsets_at_the_ends_are_counted() {
        let mut queue = ProcessQueue::default();
        let mut last = message_at("T", 0, 0);
        last.queue_offset = i64::MAX;
        last.reconsume_times = i32::MAX;
        let mut first = last.clone();
        first.queue_offset = i64::MIN;
        queue.put([Arc::new(first), Arc::new(last)]);
        assert_eq!(queue.span(), i64::MAX);
        queue.take(2, Duration::ZERO);
        queue.put_back([i64::MAX], true);
        assert_eq!(queue.take(1, Duration::ZERO)[0].reconsume_times, i32::MAX);
        assert_eq!(queue.done([i64::MIN, i64::MAX]), Some(i64::MAX));
    }

    /// Goal: an untouched queue commits nothing.
    #[test]
    fn an_empty_queue_has_nothing_to_commit() {
        assert_eq!(ProcessQueue::default().commit_offset(), None);
    }
}
