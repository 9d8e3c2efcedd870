//! Order locks: which client of a group may consume a queue in order (codes 41 and 42).
//!
//! ```text
//! group -> (topic, broker, queue) -> client, refreshed at
//! ```
//!
//! A lock is taken when it is free, own, or not refreshed for `LOCK_MS_MAX`. Nothing is persisted: after a restart
//! the first client to ask gets the queue, and a client trusts its lock for 30 s only. Time is passed in.
//! Implements B-3 (docs/PROMISES.md).

use std::sync::Arc;

use hashbrown::HashMap;
use protocol::body::{
    Body as _, LockBatchRequestBody, LockBatchResponseBody, MessageQueue, UnlockBatchRequestBody,
};
use protocol::code::response;

use super::{Broker, Refusal, Request};
use crate::outbox::{Body, Outbox};

impl Broker {
    /// Code 41: the answer names the queues the client got.
    pub(super) fn lock_batch(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let mut asked: LockBatchRequestBody = req.json()?;
        let (group, client_id) = (&asked.consumer_group, &asked.client_id);
        asked.mq_set.retain(|queue| self.locks.lock(group, client_id, name_of(queue), req.now.wall_ms));
        let body = LockBatchResponseBody { lock_ok_mq_set: asked.mq_set }.encode();
        out.reply(req.reply_to(), response::SUCCESS, |w| w, Body::Owned(body));
        Ok(())
    }

    /// Code 42.
    pub(super) fn unlock_batch(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let asked: UnlockBatchRequestBody = req.json()?;
        for queue in &asked.mq_set {
            self.locks.unlock(&asked.consumer_group, &asked.client_id, name_of(queue));
        }
        out.done(req.reply_to());
        Ok(())
    }
}

fn name_of(queue: &MessageQueue) -> QueueName<'_> {
    QueueName { topic: &queue.topic, broker_name: &queue.broker_name, queue_id: queue.queue_id }
}

/// A queue as the clients name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QueueName<'a> {
    pub topic: &'a str,
    pub broker_name: &'a str,
    pub queue_id: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct QueueKey {
    topic: Arc<str>,
    broker_name: Arc<str>,
    queue_id: i32,
}

impl hashbrown::Equivalent<QueueKey> for QueueName<'_> {
    fn equivalent(&self, key: &QueueKey) -> bool {
        self.queue_id == key.queue_id && *self.topic == *key.topic && *self.broker_name == *key.broker_name
    }
}

#[derive(Debug)]
struct Lock {
    client_id: Arc<str>,
    refreshed_ms: i64,
}

impl Lock {
    fn is_expired(&self, now_ms: i64) -> bool {
        now_ms - self.refreshed_ms > LOCK_MS_MAX
    }
}

/// The table of one broker.
#[derive(Debug, Default)]
pub struct Locks {
    groups: HashMap<Arc<str>, HashMap<QueueKey, Lock>>,
    swept_ms: i64,
}

impl Locks {
    /// Takes or refreshes one lock; false when another client holds it.
    pub fn lock(&mut self, group: &str, client_id: &str, queue: QueueName<'_>, now_ms: i64) -> bool {
        if !self.groups.contains_key(group) {
            self.groups.insert(group.into(), HashMap::new());
        }
        let queues = self.groups.get_mut(group).expect("inserted above when it was missing");
        match queues.get_mut(&queue) {
            Some(lock) if *lock.client_id == *client_id => {
                lock.refreshed_ms = now_ms;
                true
            }
            Some(lock) if lock.is_expired(now_ms) => {
                *lock = Lock { client_id: client_id.into(), refreshed_ms: now_ms };
                true
            }
            Some(_) => false,
            None => {
                let key = QueueKey {
                    topic: queue.topic.into(),
                    broker_name: queue.broker_name.into(),
                    queue_id: queue.queue_id,
                };
                queues.insert(key, Lock { client_id: client_id.into(), refreshed_ms: now_ms });
                true
            }
        }
    }

    /// Frees a lock if it is the client's own; says nothing otherwise, as the official broker does.
    pub fn unlock(&mut self, group: &str, client_id: &str, queue: QueueName<'_>) {
        let Some(queues) = self.groups.get_mut(group) else { return };
        if queues.get(&queue).is_some_and(|lock| *lock.client_id == *client_id) {
            queues.remove(&queue);
        }
        if queues.is_empty() {
            self.groups.remove(group);
        }
    }

    /// Whether some client of the group consumes in order now. A retry of such a group that comes back with its
    /// last attempt goes to the dead letters at once.
    pub fn group_holds_any(&self, group: &str, now_ms: i64) -> bool {
        self.groups.get(group).is_some_and(|queues| queues.values().any(|lock| !lock.is_expired(now_ms)))
    }

    /// Drops what expired, so that clients which vanished do not stay here for ever. Cheap to call every turn.
    pub fn sweep(&mut self, now_ms: i64) {
        if now_ms - self.swept_ms < LOCK_MS_MAX {
            return;
        }
        self.swept_ms = now_ms;
        self.groups.retain(|_, queues| {
            queues.retain(|_, lock| !lock.is_expired(now_ms));
            !queues.is_empty()
        });
    }
}

/// How long a lock is kept without being refreshed (`rocketmq.broker.rebalance.lockMaxLiveTime`).
pub const LOCK_MS_MAX: i64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: QueueName<'static> = QueueName { topic: "T", broker_name: "broker-a", queue_id: 1 };

    /// Goal: free and own locks are granted, another client's are not.
    /// Method: two clients ask for the same queue.
    #[test]
    fn a_lock_belongs_to_the_first_client_that_asks() {
        let mut locks = Locks::default();
        assert!(locks.lock("G", "a", QUEUE, 0));
        assert!(locks.lock("G", "a", QUEUE, 10));
        assert!(!locks.lock("G", "b", QUEUE, 20));
        assert!(locks.lock("G", "b", QueueName { queue_id: 2, ..QUEUE }, 20));
        assert!(locks.lock("H", "b", QUEUE, 20));
    }

    /// Goal: a lock lives 60 s from its last refresh, and one millisecond more is too much.
    #[test]
    fn a_lock_that_is_not_refreshed_expires_after_sixty_seconds() {
        let mut locks = Locks::default();
        assert!(locks.lock("G", "a", QUEUE, 0));
        assert!(locks.lock("G", "a", QUEUE, 30_000));
        assert!(!locks.lock("G", "b", QUEUE, 90_000));
        assert!(locks.group_holds_any("G", 90_000));
        assert!(!locks.group_holds_any("G", 90_001));
        assert!(locks.lock("G", "b", QUEUE, 90_001));
        assert!(!locks.lock("G", "a", QUEUE, 90_002));
    }

    /// Goal: unlocking another client's lock does nothing; unlocking one's own frees it.
    #[test]
    fn unlock_frees_own_locks_only() {
        let mut locks = Locks::default();
        assert!(locks.lock("G", "a", QUEUE, 0));
        locks.unlock("G", "b", QUEUE);
        assert!(!locks.lock("G", "b", QUEUE, 1));
        locks.unlock("G", "a", QUEUE);
        assert!(locks.lock("G", "b", QUEUE, 2));
        locks.unlock("nobody", "a", QUEUE);
    }

    /// Goal: the table forgets groups nobody refreshes.
    #[test]
    fn the_sweep_drops_expired_locks_and_keeps_live_ones() {
        let mut locks = Locks::default();
        assert!(locks.lock("G", "a", QUEUE, 0));
        assert!(locks.lock("H", "a", QUEUE, 50_000));
        locks.sweep(61_000);
        assert_eq!(locks.groups.len(), 1);
        assert!(locks.group_holds_any("H", 61_000));
    }
}
