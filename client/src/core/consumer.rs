//! Groups of consumers come and go, change what they subscribe, keep their offsets and let go of queues.
//!
//! ```text
//!  rebalance: members (38) ─► share ─► new queue ─► (lock 41) ─► offset (14, 30, 29) ─► pull (11) ◄──┐
//!                                                                                       │          │ next
//!                                    listener ◄── Consume ◄── process queue ◄── found ──┴──────────┘
//!                                       └── consumed ─► offset moves on, or send back (36)
//! ```

use super::action::Action;
use super::group::PushGroup;
use super::instance::Instance;
use super::offsets::Offsets;
use super::subscription::{ALL, Subscription};
use super::time::Time;
use super::waiter::{RouteWaiter, Timer};
use crate::config::{PullConsumerConfig, PushConsumerConfig};
use crate::error::{ClientError, Service};
use crate::message::MessageQueue;
use protocol::body::MessageModel;
use protocol::names;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

impl Instance {
    /// Adds a push consumer's group. `offsets` are those a broadcasting group kept from its last life.
    pub fn push_start(
        &mut self,
        config: PushConsumerConfig,
        is_orderly: bool,
        subscriptions: Vec<Subscription>,
        offsets: Offsets,
        now: Time,
    ) -> Result<(), ClientError> {
        let group: Arc<str> = Arc::from(config.group.as_str());
        if self.groups.contains_key(&group) || self.pull_groups.contains_key(&group) {
            return Err(ClientError::GroupTaken { service: Service::PushConsumer, group: config.group });
        }
        self.start(now);
        let retry = (config.model == MessageModel::Clustering)
            .then(|| Subscription::tags(&names::retry_topic(&group), ALL))
            .transpose()?;
        let stamped = subscriptions.into_iter().chain(retry).map(|mut subscription| {
            subscription.version = now.wall_ms;
            (Arc::from(subscription.topic.as_str()), subscription)
        });
        let subscriptions: BTreeMap<Arc<str>, Subscription> = stamped.collect();
        let topics: Vec<Arc<str>> = subscriptions.keys().cloned().collect();
        let consume_timeout = config.consume_timeout;
        let state = PushGroup {
            config,
            is_orderly,
            subscriptions,
            queues: BTreeMap::new(),
            leaving: BTreeMap::new(),
            offsets,
            pull_from: HashMap::new(),
            tasks: HashMap::new(),
            busy: 0,
            direct: 0,
            ready: VecDeque::new(),
            next_rebalance: Duration::MAX,
            rebalanced: None,
            started_ms: now.wall_ms,
            stats: BTreeMap::new(),
        };
        self.groups.insert(group.clone(), state);
        for topic in topics {
            let waiter = RouteWaiter::Rebalance { group: group.clone() };
            self.look_up(&topic, None, Some(waiter), now);
        }
        self.heartbeat_all(now);
        self.rebalance_soon(&group, FIRST_REBALANCE, now);
        if is_orderly {
            self.timers.set(now.mono + FIRST_RELOCK, Timer::Relock { group: group.clone() });
        } else {
            self.timers.set(now.mono + consume_timeout, Timer::CleanExpired { group });
        }
        Ok(())
    }

    /// Adds or changes what a running group wants of a topic.
    pub fn subscribe(&mut self, group: &str, mut subscription: Subscription, now: Time) {
        let Some((group, state)) = self.groups.iter_mut().find(|(name, _)| &***name == group) else {
            return;
        };
        let (group, topic): (Arc<str>, Arc<str>) = (group.clone(), Arc::from(subscription.topic.as_str()));
        subscription.version = now.wall_ms;
        state.subscriptions.insert(topic.clone(), subscription);
        let waiter = RouteWaiter::Rebalance { group };
        self.look_up(&topic, None, Some(waiter), now);
        self.heartbeat_all(now);
    }

    /// A running group no longer wants a topic.
    pub fn unsubscribe(&mut self, group: &str, topic: &str, now: Time) {
        let Some(state) = self.groups.get_mut(group) else {
            return;
        };
        if state.subscriptions.remove(topic).is_none() {
            return;
        }
        let given_up: Vec<MessageQueue> =
            state.queues.keys().filter(|queue| &*queue.topic == topic).cloned().collect();
        for queue in given_up {
            self.give_up(group, &queue, now);
        }
        self.heartbeat_all(now);
    }

    /// Gives a group's listener nothing more; how many calls of it are under way still.
    pub fn push_drain(&mut self, group: &str) -> usize {
        self.groups.get_mut(group).map_or(0, |state| {
            state.config.consume_threads = 0;
            state.busy
        })
    }

    /// Ends a group: offsets kept, queues unlocked, brokers told. Listener calls under way end unheard.
    pub fn push_stop(&mut self, group: &str, now: Time) {
        let Some(state) = self.groups.get(group) else {
            return;
        };
        let held: Vec<MessageQueue> = state.queues.keys().cloned().collect();
        self.persist(group, now);
        for queue in &held {
            self.give_up(group, queue, now);
        }
        let Some(state) = self.groups.remove(group) else {
            return;
        };
        let unlocked: Vec<MessageQueue> = state.leaving.into_values().collect();
        self.unlock(group, unlocked, now);
        self.unregister(None, Some(group), now);
    }

    /// Adds the group of a pull consumer, so that heartbeats name it.
    pub fn pull_start(&mut self, config: PullConsumerConfig, now: Time) -> Result<(), ClientError> {
        let group: Arc<str> = Arc::from(config.group.as_str());
        if self.groups.contains_key(&group) || self.pull_groups.contains_key(&group) {
            return Err(ClientError::GroupTaken { service: Service::PullConsumer, group: config.group });
        }
        self.start(now);
        self.pull_groups.insert(group, config);
        self.heartbeat_all(now);
        Ok(())
    }

    pub fn pull_stop(&mut self, group: &str, now: Time) {
        if self.pull_groups.remove(group).is_some() {
            self.unregister(None, Some(group), now);
        }
    }

    /// Keeps the offsets of every group where they belong.
    pub(super) fn persist_all(&mut self, now: Time) {
        let groups: Vec<Arc<str>> = self.groups.keys().cloned().collect();
        for group in groups {
            self.persist(&group, now);
        }
    }

    pub(super) fn persist(&mut self, group: &str, now: Time) {
        let Some((group, state)) = self.groups.get_key_value(group) else {
            return;
        };
        if !state.is_clustering() {
            let (group, json) = (group.clone(), crate::offset_file::write(&state.offsets));
            return self.save(&group, json);
        }
        let group = group.clone();
        let offsets: Vec<(MessageQueue, i64)> =
            state.offsets.iter().map(|(queue, offset)| (queue.clone(), offset)).collect();
        for (queue, offset) in offsets {
            self.commit(&group, &queue, offset, now);
        }
    }

    /// Has the offsets of a broadcasting group kept.
    pub fn save(&mut self, group: &str, json: String) {
        self.actions.push_back(Action::SaveOffsets { group: Arc::from(group), json });
    }

    /// Tells the broker how far a clustering group has come in a queue.
    pub(super) fn commit(&mut self, group: &str, queue: &MessageQueue, offset: i64, now: Time) {
        let Some(addr) = self.brokers.to_pull_from(&queue.broker_name, protocol::body::MASTER_ID) else {
            return;
        };
        let addr = addr.0.clone();
        let command = protocol::RemotingCommand::request(protocol::code::request::UPDATE_CONSUMER_OFFSET)
            .field("consumerGroup", group)
            .field("topic", &queue.topic)
            .field("queueId", queue.queue_id)
            .field("commitOffset", offset)
            .field("bname", &queue.broker_name);
        self.tell(&addr, command, now);
    }

    /// Lets go of a queue: its offset is kept first, and its lock freed once no listener is at it.
    pub(super) fn give_up(&mut self, group: &str, queue: &MessageQueue, now: Time) {
        let Some(state) = self.groups.get_mut(group) else {
            return;
        };
        let Some(run) = state.queues.remove(queue) else {
            return;
        };
        let is_clustering = state.is_clustering();
        let is_locked = state.is_orderly && is_clustering && run.locked_at.is_some();
        let offset = if is_clustering { state.offsets.remove(queue) } else { None };
        if is_locked && run.is_occupied {
            state.leaving.insert(run.id, queue.clone());
        }
        if let Some(offset) = offset {
            self.commit(group, queue, offset, now);
        }
        if is_locked && !run.is_occupied {
            self.unlock(group, vec![queue.clone()], now);
        }
    }
}

/// Unless the routes are there sooner.
const FIRST_REBALANCE: Duration = Duration::from_secs(1);
const FIRST_RELOCK: Duration = Duration::from_secs(1);
