//! Order locks: which client of a group may consume a queue in order (codes 41 and 42).
//!
//! ```text
//! group -> (topic, broker, queue) -> client, refreshed at
//! ```
//!
//! A lock is taken when it is free, own, or not refreshed for `LOCK_MS_MAX`. Nothing is persisted: after a restart
//! the first client to ask gets the queue, and a client trusts its lock for 30 s only. Time is passed in.
//!
//! Clients name the queues, and nothing says that there are such. So names have a length, a group has a number of locks and so has the table;
//! what expired makes room.
//! Implements B-3 (docs/PROMISES.md).

use std::sync::Arc;
use std::vec;

use hashbrown::HashMap;
use protocol::body::{
    Body as _, LockBatchRequestBody, LockBatchResponseBody, MessageQueue, UnlockBatchRequestBody,
};
use protocol::code::response;

use super::client::check_client_id;
use super::errands::Make;
use super::long_work::LongWork;
use super::{Broker, Refusal, ReplyTo, Request};
use crate::limits::{LOCKS_MAX, LOCKS_PER_GROUP_MAX, LONG_WORK_PER_TURN_MAX, NAME_BYTES_MAX};
use crate::outbox::{Body, Outbox};
use crate::time::TurnTime;

impl Broker {
    /// Code 41: the answer names the queues the client got.
    pub(super) fn lock_batch(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let asked = self.json_list(req, |asked: &LockBatchRequestBody| asked.mq_set.len())?;
        check_names(&asked)?;
        self.locks.make_room(&asked.consumer_group, asked.mq_set.len(), req.now.wall_ms);
        let batch = LockBatch {
            group: asked.consumer_group,
            client_id: asked.client_id.into(),
            asked: asked.mq_set.into_iter(),
            locked: Vec::new(),
            full: false,
        };
        self.begin_work(batch, req, out);
        Ok(())
    }

    /// Code 42.
    pub(super) fn unlock_batch(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let asked = self.json_list(req, |asked: &UnlockBatchRequestBody| asked.mq_set.len())?;
        let batch = UnlockBatch {
            group: asked.consumer_group,
            client_id: asked.client_id,
            asked: asked.mq_set.into_iter(),
        };
        self.begin_work(batch, req, out);
        Ok(())
    }
}

/// Code 41 on its way into the table.
#[derive(Debug)]
struct LockBatch {
    group: String,
    client_id: Arc<str>,
    asked: vec::IntoIter<MessageQueue>,
    locked: Vec<MessageQueue>,
    /// There was no room for one of them.
    full: bool,
}

impl LongWork for LockBatch {
    fn ends_with_its_client(&self) -> bool {
        true
    }

    fn go_on(&mut self, to: ReplyTo, broker: &mut Broker, now: &TurnTime, out: &mut Outbox) -> bool {
        for queue in self.asked.by_ref().take(LONG_WORK_PER_TURN_MAX) {
            match broker.locks.lock(&self.group, &self.client_id, name_of(&queue), now.wall_ms) {
                Grant::Yes => self.locked.push(queue),
                Grant::Others => {}
                Grant::Full => self.full = true,
            }
        }
        if self.asked.len() > 0 {
            return false;
        }
        let locked = LockBatchResponseBody { lock_ok_mq_set: std::mem::take(&mut self.locked) };
        if self.full && locked.lock_ok_mq_set.is_empty() {
            let remark = format!(
                "no room for more order locks: a group has {LOCKS_PER_GROUP_MAX} at most, all together {LOCKS_MAX}"
            );
            broker.counters.refusals += 1;
            out.refuse(to, &Refusal::new(response::SYSTEM_ERROR, remark));
        } else if locked.lock_ok_mq_set.len() <= LONG_WORK_PER_TURN_MAX {
            out.reply(to, response::SUCCESS, |w| w, Body::Owned(locked.encode()));
        } else {
            broker.put_together(to, None, locked);
        }
        true
    }
}

impl Make for LockBatchResponseBody {
    fn body(self: Box<Self>) -> Vec<u8> {
        self.encode()
    }
}

/// Code 42.
#[derive(Debug)]
struct UnlockBatch {
    group: String,
    client_id: String,
    asked: vec::IntoIter<MessageQueue>,
}

impl LongWork for UnlockBatch {
    fn go_on(&mut self, to: ReplyTo, broker: &mut Broker, _now: &TurnTime, out: &mut Outbox) -> bool {
        for queue in self.asked.by_ref().take(LONG_WORK_PER_TURN_MAX) {
            broker.locks.unlock(&self.group, &self.client_id, name_of(&queue));
        }
        if self.asked.len() > 0 {
            return false;
        }
        out.done(to);
        true
    }
}

/// Names that no client has, and that would be kept.
fn check_names(asked: &LockBatchRequestBody) -> Result<(), Refusal> {
    let too_long = |name: &str| name.len() > NAME_BYTES_MAX;
    let names = asked.mq_set.iter().flat_map(|queue| [&queue.topic, &queue.broker_name]);
    if names.chain([&asked.consumer_group]).any(|name| too_long(name)) {
        let remark =
            format!("a group, topic or broker to lock for has a name of more than {NAME_BYTES_MAX} bytes");
        return Err(Refusal::new(response::SYSTEM_ERROR, remark));
    }
    check_client_id(&asked.client_id)
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

/// What became of a wish for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    Yes,
    /// Another client has it.
    Others,
    /// There is no room for one more.
    Full,
}

/// Those of one group.
#[derive(Debug, Default)]
struct GroupLocks {
    queues: HashMap<QueueKey, Lock>,
    /// When it was swept for want of room.
    swept_ms: i64,
}

/// The table of one broker.
#[derive(Debug, Default)]
pub struct Locks {
    groups: HashMap<Arc<str>, GroupLocks>,
    /// Locks of all groups.
    len: usize,
    swept_ms: i64,
    /// Groups that the sweep under way has not looked at yet.
    to_sweep: Vec<Arc<str>>,
}

impl Locks {
    /// Takes or refreshes one lock.
    pub fn lock(&mut self, group: &str, client_id: &Arc<str>, queue: QueueName<'_>, now_ms: i64) -> Grant {
        let known = self.groups.get_mut(group).map(|locks| &mut locks.queues);
        let group_len = known.as_ref().map_or(0, |queues| queues.len());
        if let Some(lock) = known.and_then(|queues| queues.get_mut(&queue)) {
            if *lock.client_id == **client_id {
                lock.refreshed_ms = now_ms;
                return Grant::Yes;
            }
            if !lock.is_expired(now_ms) {
                return Grant::Others;
            }
            *lock = Lock { client_id: client_id.clone(), refreshed_ms: now_ms };
            return Grant::Yes;
        }
        if group_len >= LOCKS_PER_GROUP_MAX || self.len >= LOCKS_MAX {
            return Grant::Full;
        }
        if group_len == 0 {
            self.groups.insert(group.into(), GroupLocks::default());
        }
        let locks = self.groups.get_mut(group).expect("inserted above when it was missing");
        let key = QueueKey {
            topic: queue.topic.into(),
            broker_name: queue.broker_name.into(),
            queue_id: queue.queue_id,
        };
        locks.queues.insert(key, Lock { client_id: client_id.clone(), refreshed_ms: now_ms });
        self.len += 1;
        Grant::Yes
    }

    /// Called before a client of the group takes up to `wanted` locks: where they might not fit, what expired goes.
    fn make_room(&mut self, group: &str, wanted: usize, now_ms: i64) {
        if let Some(locks) = self.groups.get_mut(group)
            && locks.queues.len() + wanted > LOCKS_PER_GROUP_MAX
            && now_ms - locks.swept_ms >= SWEEP_MS_MIN
        {
            locks.swept_ms = now_ms;
            self.sweep_group(group, now_ms);
        }
        if self.len + wanted > LOCKS_MAX && now_ms - self.swept_ms >= SWEEP_MS_MIN {
            // The rest of the table follows within milliseconds; the client asks again within seconds.
            self.begin_sweep(now_ms);
        }
    }

    /// Frees a lock if it is the client's own; says nothing otherwise, as the official broker does.
    pub fn unlock(&mut self, group: &str, client_id: &str, queue: QueueName<'_>) {
        let Some(GroupLocks { queues, .. }) = self.groups.get_mut(group) else { return };
        if queues.get(&queue).is_some_and(|lock| *lock.client_id == *client_id) {
            queues.remove(&queue);
            self.len -= 1;
        }
        if queues.is_empty() {
            self.groups.remove(group);
        }
    }

    /// Whether some client of the group consumes in order now. A retry of such a group that comes back with its
    /// last attempt goes to the dead letters at once.
    pub fn group_holds_any(&mut self, group: &str, now_ms: i64) -> bool {
        let Some(GroupLocks { queues, .. }) = self.groups.get(group) else { return false };
        if queues.values().any(|lock| !lock.is_expired(now_ms)) {
            return true;
        }
        // Who asks next does not look at them again.
        self.sweep_group(group, now_ms);
        false
    }

    /// Drops what expired, so that clients which vanished do not stay here for ever. Called every millisecond: looks at a part of the
    /// table, once in `LOCK_MS_MAX` at all of it.
    pub fn sweep(&mut self, now_ms: i64) {
        if self.to_sweep.is_empty() {
            if now_ms - self.swept_ms < LOCK_MS_MAX || self.groups.is_empty() {
                return;
            }
            self.begin_sweep(now_ms);
        }
        let mut looked_at = 0;
        while looked_at < SWEEP_STEP
            && let Some(group) = self.to_sweep.pop()
        {
            looked_at += 1 + self.sweep_group(&group, now_ms);
        }
    }

    fn begin_sweep(&mut self, now_ms: i64) {
        self.swept_ms = now_ms;
        self.to_sweep.clear();
        self.to_sweep.extend(self.groups.keys().cloned());
    }

    /// Returns how many locks the group had.
    fn sweep_group(&mut self, group: &str, now_ms: i64) -> usize {
        let Some(GroupLocks { queues, .. }) = self.groups.get_mut(group) else { return 0 };
        let before = queues.len();
        queues.retain(|_, lock| !lock.is_expired(now_ms));
        self.len -= before - queues.len();
        if queues.is_empty() {
            self.groups.remove(group);
        }
        before
    }
}

/// How long a lock is kept without being refreshed (`rocketmq.broker.rebalance.lockMaxLiveTime`).
pub const LOCK_MS_MAX: i64 = 60_000;
/// A full table or group is swept no more often than this.
const SWEEP_MS_MIN: i64 = 1_000;
/// Locks after which a sweep goes on in the next millisecond.
const SWEEP_STEP: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: QueueName<'static> = QueueName { topic: "T", broker_name: "broker-a", queue_id: 1 };

    fn lock(locks: &mut Locks, group: &str, client: &str, queue: QueueName<'_>, now_ms: i64) -> Grant {
        locks.lock(group, &client.into(), queue, now_ms)
    }

    /// Goal: free and own locks are granted, another client's are not.
    /// Method: two clients ask for the same queue.
    #[test]
    fn a_lock_belongs_to_the_first_client_that_asks() {
        let mut locks = Locks::default();
        assert_eq!(lock(&mut locks, "G", "a", QUEUE, 0), Grant::Yes);
        assert_eq!(lock(&mut locks, "G", "a", QUEUE, 10), Grant::Yes);
        assert_eq!(lock(&mut locks, "G", "b", QUEUE, 20), Grant::Others);
        assert_eq!(lock(&mut locks, "G", "b", QueueName { queue_id: 2, ..QUEUE }, 20), Grant::Yes);
        assert_eq!(lock(&mut locks, "H", "b", QUEUE, 20), Grant::Yes);
    }

    /// Goal: a lock lives 60 s from its last refresh, and one millisecond more is too much.
    #[test]
    fn a_lock_that_is_not_refreshed_expires_after_sixty_seconds() {
        let mut locks = Locks::default();
        assert_eq!(lock(&mut locks, "G", "a", QUEUE, 0), Grant::Yes);
        assert_eq!(lock(&mut locks, "G", "a", QUEUE, 30_000), Grant::Yes);
        assert_eq!(lock(&mut locks, "G", "b", QUEUE, 90_000), Grant::Others);
        assert!(locks.group_holds_any("G", 90_000));
        assert!(!locks.group_holds_any("G", 90_001));
        assert_eq!(locks.len, 0, "nobody looks at them again");
        assert_eq!(lock(&mut locks, "G", "b", QUEUE, 90_001), Grant::Yes);
        assert_eq!(lock(&mut locks, "G", "a", QUEUE, 90_002), Grant::Others);
    }

    /// Goal: unlocking another client's lock does nothing; unlocking one's own frees it.
    #[test]
    fn unlock_frees_own_locks_only() {
        let mut locks = Locks::default();
        assert_eq!(lock(&mut locks, "G", "a", QUEUE, 0), Grant::Yes);
        locks.unlock("G", "b", QUEUE);
        assert_eq!(lock(&mut locks, "G", "b", QUEUE, 1), Grant::Others);
        locks.unlock("G", "a", QUEUE);
        assert_eq!(lock(&mut locks, "G", "b", QUEUE, 2), Grant::Yes);
        locks.unlock("nobody", "a", QUEUE);
    }

    /// Goal: the table forgets groups nobody refreshes.
    #[test]
    fn the_sweep_drops_expired_locks_and_keeps_live_ones() {
        let mut locks = Locks::default();
        assert_eq!(lock(&mut locks, "G", "a", QUEUE, 0), Grant::Yes);
        assert_eq!(lock(&mut locks, "H", "a", QUEUE, 50_000), Grant::Yes);
        locks.sweep(61_000);
        assert_eq!(locks.groups.len(), 1);
        assert!(locks.group_holds_any("H", 61_000));
    }

    /// Goal: a group takes its share of the table at most, the groups together all of it; own locks are refreshed when it is full, and what
    /// expired makes room. Method: as many queues as there may be, by names nobody else has.
    #[test]
    fn a_full_table_takes_no_more_until_locks_expire() {
        let mut locks = Locks::default();
        let groups = (LOCKS_MAX / LOCKS_PER_GROUP_MAX) as i32;
        let queue = |queue_id| QueueName { queue_id, ..QUEUE };
        for group in 0..groups {
            let group = group.to_string();
            for id in 0..LOCKS_PER_GROUP_MAX as i32 {
                assert_eq!(lock(&mut locks, &group, "a", queue(id), 0), Grant::Yes);
            }
            assert_eq!(lock(&mut locks, &group, "a", queue(-1), 0), Grant::Full);
        }
        assert_eq!(lock(&mut locks, "G", "a", QUEUE, 0), Grant::Full);
        assert_eq!(lock(&mut locks, "0", "b", queue(0), 0), Grant::Others);
        assert_eq!(lock(&mut locks, "0", "a", queue(0), 30_000), Grant::Yes);
        locks.make_room("0", 1, 60_000);
        locks.make_room("0", 1, 60_001);
        assert_eq!(locks.groups["0"].queues.len(), LOCKS_PER_GROUP_MAX, "swept just now");
        locks.make_room("0", 1, 61_000);
        assert_eq!(locks.groups["0"].queues.len(), 1);
        locks.make_room("G", 1, 61_000);
        (61_001..62_000).for_each(|now_ms| locks.sweep(now_ms));
        assert_eq!((locks.len, locks.groups.len()), (1, 1));
        assert_eq!(lock(&mut locks, "G", "a", QUEUE, 62_000), Grant::Yes);
        locks.unlock("G", "a", QUEUE);
        locks.unlock("0", "a", queue(0));
        assert_eq!((locks.len, locks.groups.len()), (0, 0));
    }
}
