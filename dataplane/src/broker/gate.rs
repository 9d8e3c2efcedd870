//! The gate of SYNC_FLUSH: answers and wake-ups that wait until the disk has the log up to their message.
//!
//! ```text
//! append, append, append      answers wait in log order, since the log grows in that order
//!    |       |       |
//!   end 1   end 2   end 3     synced_to passes end 2: the first two go; a deadline passes: 10 FLUSH_DISK_TIMEOUT
//! ```
//!
//! Both ends of the line leave from its front: later messages have later ends and later deadlines. A message that
//! timed out stays stored and may still be synced. Buffers are used again, so waiting allocates nothing when warm.

use std::collections::VecDeque;

use protocol::code::response;
use store::{PhysicalOffset, QueueIndex};

use crate::answer::ReplyTo;
use crate::broker::Broker;
use crate::broker::sent::Sent;
use crate::limits::GATE_PER_TURN_MAX;
use crate::outbox::Outbox;
use crate::time::TurnTime;

/// What waits for `synced_to`.
#[derive(Debug, Default)]
pub struct Gate {
    answers: VecDeque<Waiting>,
    arrivals: VecDeque<Arrival>,
    spare: Vec<Waiting>,
}

/// One answer.
#[derive(Debug)]
struct Waiting {
    to: ReplyTo,
    end: PhysicalOffset,
    deadline_ms: u64,
    queue_id: i32,
    queue_offset: i64,
    places: Vec<PhysicalOffset>,
    transaction_id: Vec<u8>,
    has_transaction_id: bool,
}

/// A message that consumers may see once it is synced.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    end: PhysicalOffset,
    queue: QueueIndex,
    next_offset: i64,
    tags_code: i64,
}

impl Gate {
    pub fn wait(&mut self, to: ReplyTo, sent: &Sent<'_>, end: PhysicalOffset, deadline_ms: u64) {
        let mut waiting = self.spare.pop().unwrap_or_else(|| Waiting {
            to,
            end,
            deadline_ms,
            queue_id: 0,
            queue_offset: 0,
            places: Vec::new(),
            transaction_id: Vec::new(),
            has_transaction_id: false,
        });
        assert!(self.answers.back().is_none_or(|last| last.end <= end));
        waiting.to = to;
        waiting.end = end;
        waiting.deadline_ms = deadline_ms;
        waiting.queue_id = sent.queue_id;
        waiting.queue_offset = sent.queue_offset;
        waiting.places.clear();
        waiting.places.extend_from_slice(sent.places);
        waiting.transaction_id.clear();
        waiting.transaction_id.extend_from_slice(sent.transaction_id.unwrap_or_default());
        waiting.has_transaction_id = sent.transaction_id.is_some();
        self.answers.push_back(waiting);
    }

    /// A message that must not wake anybody before it is synced.
    pub fn arrives(&mut self, end: PhysicalOffset, queue: QueueIndex, next_offset: i64, tags_code: i64) {
        self.arrivals.push_back(Arrival { end, queue, next_offset, tags_code });
    }

    /// The next answer that has waited enough. When a sync has `failed` none waits any longer: no other will follow.
    fn next(&mut self, synced_to: PhysicalOffset, failed: bool, now_ms: u64) -> Option<Waiting> {
        let first = self.answers.front()?;
        let over = first.end <= synced_to || failed || first.deadline_ms <= now_ms;
        if over { self.answers.pop_front() } else { None }
    }

    /// How many answers wait.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.arrivals.is_empty()
    }
}

impl Broker {
    /// Answers what the disk has, and what waited in vain; wakes the pulls that wait for it.
    pub(super) fn release_synced(&mut self, now: &TurnTime, out: &mut Outbox) -> u32 {
        if self.gate.is_empty() {
            return 0;
        }
        // In this order: what was synced before the failure is told so.
        let failed = self.store.is_read_only();
        let synced_to = self.store.synced_to();
        let mut released = 0;
        while let Some(arrival) = self.gate.arrivals.front().copied()
            && arrival.end <= synced_to
        {
            self.gate.arrivals.pop_front();
            self.holds.arrived(arrival.queue, arrival.next_offset, arrival.tags_code);
        }
        while released < GATE_PER_TURN_MAX
            && let Some(waiting) = self.gate.next(synced_to, failed, now.mono_ms())
        {
            let code =
                if waiting.end <= synced_to { response::SUCCESS } else { response::FLUSH_DISK_TIMEOUT };
            self.counters.flush_timeouts += u64::from(code != response::SUCCESS);
            let sent = Sent {
                queue_id: waiting.queue_id,
                queue_offset: waiting.queue_offset,
                places: &waiting.places,
                transaction_id: waiting.has_transaction_id.then_some(&waiting.transaction_id),
            };
            self.reply_sent(waiting.to, code, &sent, out);
            self.gate.spare.push(waiting);
            released += 1;
        }
        released
    }
}
