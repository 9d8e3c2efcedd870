//! Orderly consuming: one listener call a queue at a time, by the one member that holds the queue's lock.
//!
//! ```text
//!   LOCK (41) ──granted──► take the queue ──► pull, consume ──► relock all every 20 s
//!        └───not────► again in a second              └ no confirmation for 30 s: consume nothing
//!   given up ──► UNLOCK (42), but only when no listener is at it any more
//! ```

use super::group::{Consumed, PushGroup, RunId};
use super::instance::Instance;
use super::links::Addr;
use super::time::Time;
use super::waiter::{Timer, Waiter};
use crate::error::ClientError;
use crate::message::{MessageExt, MessageQueue};
use protocol::RemotingCommand;
use protocol::body::{Body, LockBatchRequestBody, LockBatchResponseBody, UnlockBatchRequestBody};
use protocol::code::{request, response};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

impl Instance {
    /// Asks for the locks of queues that are to be taken, each broker for its own.
    pub(super) fn ask_locks(
        &mut self,
        group: &Arc<str>,
        topic: &Arc<str>,
        queues: &[MessageQueue],
        now: Time,
    ) {
        for (addr, asked) in self.by_master(queues) {
            let command = self.lock_request(request::LOCK_BATCH_MQ, group, &asked);
            let waiter = Waiter::Lock { group: group.clone(), topic: topic.clone(), asked };
            self.request(&addr, command, waiter, LOCK_TIMEOUT, now);
        }
    }

    pub(super) fn lock_answered(
        &mut self,
        group: &Arc<str>,
        topic: &Arc<str>,
        asked: &[MessageQueue],
        answer: Result<RemotingCommand, ClientError>,
        now: Time,
    ) {
        let granted = read_granted(answer, group);
        let mut is_all = true;
        let mut is_changed = false;
        for queue in asked {
            let is_held = self.groups.get(group).is_none_or(|state| state.queues.contains_key(queue));
            if !granted.contains(queue) {
                is_all = false;
            } else if !is_held {
                is_changed = true;
                self.take(group, queue.clone(), Some(now.mono), now);
            }
        }
        if is_changed {
            self.share_changed(group, topic, now);
        }
        if !is_all {
            self.rebalance_soon(group, LOCK_AGAIN, now);
        }
    }

    /// Keeps the locks of everything held: the broker forgets them after 60 s.
    pub(super) fn relock_all(&mut self, group: &Arc<str>, now: Time) {
        let Some(state) = self.groups.get(group).filter(|state| state.is_orderly) else {
            return;
        };
        let is_clustering = state.is_clustering();
        let held: Vec<MessageQueue> = state.queues.keys().cloned().collect();
        self.timers.set(now.mono + RELOCK_EVERY, Timer::Relock { group: group.clone() });
        if !is_clustering {
            return;
        }
        for (addr, asked) in self.by_master(&held) {
            let command = self.lock_request(request::LOCK_BATCH_MQ, group, &asked);
            let waiter = Waiter::Relock { group: group.clone(), asked };
            self.request(&addr, command, waiter, LOCK_TIMEOUT, now);
        }
    }

    pub(super) fn relock_answered(
        &mut self,
        group: &Arc<str>,
        asked: &[MessageQueue],
        answer: Result<RemotingCommand, ClientError>,
        now: Time,
    ) {
        if answer.is_err() {
            return; // Nothing is known; what was granted is trusted for its 30 s.
        }
        let granted = read_granted(answer, group);
        for queue in asked {
            let Some(held) = self.groups.get_mut(group).and_then(|state| state.queues.get_mut(queue)) else {
                continue;
            };
            held.locked_at = granted.contains(queue).then_some(now.mono);
            if held.locked_at.is_some() {
                held.locked_ms = now.wall_ms;
            }
            let run = held.id;
            self.wake_listener(group, run, now);
        }
    }

    /// Frees locks, without waiting for an answer.
    pub(super) fn unlock(&mut self, group: &str, queues: Vec<MessageQueue>, now: Time) {
        for (addr, asked) in self.by_master(&queues) {
            let command = self.lock_request(request::UNLOCK_BATCH_MQ, group, &asked);
            self.tell(&addr, command, now);
        }
    }

    /// An orderly listener is done with its messages.
    pub(super) fn orderly_done(
        &mut self,
        group: &Arc<str>,
        run: RunId,
        queue: &MessageQueue,
        messages: &[Arc<MessageExt>],
        result: Consumed,
        now: Time,
    ) {
        let Some(state) = self.groups.get_mut(group) else {
            return;
        };
        let max_times = state.max_reconsume_times();
        let pause = state.config.suspend_current_queue;
        let Some((_, held)) = state.run(run) else {
            // Given up while the listener was at it: now the lock may go.
            if state.leaving.remove(&run).is_some() {
                self.unlock(group, vec![queue.clone()], now);
            } else if let Some(run) = state.queues.get(queue).map(|held| held.id) {
                self.wake_listener(group, run, now); // Taken again meanwhile.
            }
            return;
        };
        let offsets: Vec<i64> = messages.iter().map(|message| message.queue_offset).collect();
        if result == Consumed::Done {
            held.is_occupied = false;
            self.done(group, run, offsets.into_iter(), now);
            return self.wake_listener(group, run, now);
        }
        if messages.iter().all(|message| message.reconsume_times >= max_times) {
            // Enough: they leave the order by way of the retry topic, which ends in the dead letters.
            return self.hold_back(group, run, messages.to_vec(), now);
        }
        held.cache.put_back(offsets, true);
        self.timers.set(now.mono + pause, Timer::Consume { group: group.clone(), run });
    }

    /// Messages that failed too often have left the queue, or could not.
    pub(super) fn orderly_sent_back(
        &mut self,
        group: &Arc<str>,
        run: RunId,
        messages: &[Arc<MessageExt>],
        is_gone: bool,
        now: Time,
    ) {
        let offsets: Vec<i64> = messages.iter().map(|message| message.queue_offset).collect();
        let Some(state) = self.groups.get_mut(group) else {
            return;
        };
        let pause = state.config.suspend_current_queue;
        let Some((_, held)) = state.run(run) else {
            if let Some(queue) = state.leaving.remove(&run) {
                self.unlock(group, vec![queue], now);
            }
            return;
        };
        if is_gone {
            held.is_occupied = false;
            self.done(group, run, offsets.into_iter(), now);
            return self.wake_listener(group, run, now);
        }
        held.cache.put_back(offsets, true);
        self.timers.set(now.mono + pause, Timer::Consume { group: group.clone(), run });
    }

    fn by_master(&self, queues: &[MessageQueue]) -> BTreeMap<Addr, Vec<MessageQueue>> {
        let mut by_master: BTreeMap<Addr, Vec<MessageQueue>> = BTreeMap::new();
        for queue in queues {
            if let Some(addr) = self.brokers.master(&queue.broker_name) {
                by_master.entry(addr.clone()).or_default().push(queue.clone());
            }
        }
        by_master
    }

    fn lock_request(&self, code: i32, group: &str, queues: &[MessageQueue]) -> RemotingCommand {
        let mq_set = queues.iter().map(crate::message::to_body).collect();
        let (consumer_group, client_id) = (group.to_owned(), self.settings.client_id.clone());
        let body = if code == request::LOCK_BATCH_MQ {
            let body = LockBatchRequestBody { consumer_group, client_id, mq_set, ..Default::default() };
            body.encode()
        } else {
            let body = UnlockBatchRequestBody { consumer_group, client_id, mq_set, ..Default::default() };
            body.encode()
        };
        RemotingCommand::request(code).body(body)
    }
}

/// Whether a run's lock was confirmed recently enough to consume by.
pub(super) fn is_locked(state: &mut PushGroup, run: RunId, now: Time) -> bool {
    let locked_at = state.run(run).and_then(|(_, held)| held.locked_at);
    locked_at.is_some_and(|at| now.mono < at + LOCK_TRUSTED)
}

fn read_granted(answer: Result<RemotingCommand, ClientError>, group: &str) -> BTreeSet<MessageQueue> {
    let answer = match answer {
        Ok(answer) if answer.code == response::SUCCESS => answer,
        Ok(answer) => {
            log::warn!("{group}: a broker refused to lock queues: {} {:?}", answer.code, answer.remark);
            return BTreeSet::new();
        }
        Err(error) => {
            log::warn!("{group}: queues could not be locked: {error}");
            return BTreeSet::new();
        }
    };
    let body = match LockBatchResponseBody::decode(&answer.body) {
        Ok(body) => body,
        Err(error) => {
            log::warn!("{group}: the answer to a lock does not read: {error}");
            return BTreeSet::new();
        }
    };
    body.lock_ok_mq_set.iter().map(crate::message::from_body).collect()
}

const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
const LOCK_AGAIN: Duration = Duration::from_secs(1);
const LOCK_TRUSTED: Duration = Duration::from_secs(30);
const RELOCK_EVERY: Duration = Duration::from_secs(20);
