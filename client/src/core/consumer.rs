//! A group of a push consumer: what it subscribes, which queues it holds, what its listener is busy with.
//!
//! ```text
//!  rebalance: members (38) ─► share ─► new queue ─► (lock 41) ─► offset (14, 30, 29) ─► pull (11) ◄──┐
//!                                                                                       │          │ next
//!                                    listener ◄── Consume ◄── process queue ◄── found ──┴──────────┘
//!                                       └── consumed ─► offset moves on, or send back (36)
//! ```
//!
//! A queue taken is a *run*: it has an id of its own, so that what comes in late for a queue that was given up and
//! taken again finds nothing.

use super::assign::Strategy;
use super::consuming::Task;
use super::instance::{Action, Instance, Timer};
use super::offsets::Offsets;
use super::process_queue::ProcessQueue;
use super::time::Time;
use super::validate;
use crate::config::{PullConsumerConfig, PushConsumerConfig};
use crate::error::{ClientError, Invalid, Service};
use crate::message::MessageQueue;
use protocol::body::{
    ConsumeType, ConsumerData, EXPRESSION_SQL92, EXPRESSION_TAG, MessageModel, SubscriptionData,
};
use protocol::names;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct RunId(pub u64);

/// Names one call of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(pub u64);

#[derive(Debug)]
pub(super) struct PushGroup {
    pub config: PushConsumerConfig,
    pub is_orderly: bool,
    /// By topic; a clustering group's retry topic among them.
    pub subscriptions: BTreeMap<Arc<str>, Subscription>,
    pub queues: BTreeMap<MessageQueue, Run>,
    /// Orderly queues given up while a listener is still at them: unlocked when it is done.
    pub leaving: BTreeMap<RunId, MessageQueue>,
    pub offsets: Offsets,
    /// The broker id that was last suggested for a queue.
    pub pull_from: HashMap<MessageQueue, i64>,
    pub tasks: HashMap<TaskId, Task>,
    /// Calls of the listener under way, those for administrators not counted.
    pub busy: usize,
    /// Runs that have messages for the listener, in the order they take turns.
    pub ready: VecDeque<RunId>,
    pub next_rebalance: Duration,
    pub started_ms: i64,
    pub stats: BTreeMap<Arc<str>, Stats>,
}

/// One queue this member holds.
#[derive(Debug)]
pub(super) struct Run {
    pub id: RunId,
    pub cache: ProcessQueue,
    /// Where the next pull begins; `None` until the start is known.
    pub next_offset: Option<i64>,
    pub is_pulling: bool,
    pub is_ready: bool,
    /// A listener call of an orderly run is under way, or its pause is.
    pub is_occupied: bool,
    /// When the broker last confirmed that the queue is ours; orderly groups only.
    pub locked_at: Option<Duration>,
    pub locked_ms: i64,
    pub pulled_ms: i64,
    pub consumed_ms: i64,
}

/// What a listener did with a topic since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stats {
    pub ok: u64,
    pub failed: u64,
    pub took_ms: u64,
}

/// What a group wants of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub topic: String,
    /// "TAG" or "SQL92".
    pub kind: &'static str,
    pub expression: String,
    pub tags: BTreeSet<String>,
    /// The client's clock when it last changed, or its share of the queues did.
    pub version: i64,
}

impl Subscription {
    /// `*`, nothing, or tags joined by `||`.
    pub fn tags(topic: &str, expression: &str) -> Result<Subscription, Invalid> {
        validate::topic(topic)?;
        let mut subscription = Subscription {
            topic: topic.to_owned(),
            kind: EXPRESSION_TAG,
            expression: ALL.to_owned(),
            tags: BTreeSet::new(),
            version: 0,
        };
        if expression.trim().is_empty() || expression.trim() == ALL {
            return Ok(subscription);
        }
        let tags = expression.split("||").map(str::trim).filter(|tag| !tag.is_empty());
        subscription.tags = tags.map(str::to_owned).collect();
        if subscription.tags.is_empty() {
            return Err(Invalid::Subscription { topic: topic.to_owned(), expression: expression.to_owned() });
        }
        subscription.expression = expression.to_owned();
        Ok(subscription)
    }

    /// An expression over properties; the broker must have enablePropertyFilter set.
    pub fn sql(topic: &str, expression: &str) -> Result<Subscription, Invalid> {
        validate::topic(topic)?;
        if expression.trim().is_empty() {
            return Err(Invalid::Subscription { topic: topic.to_owned(), expression: expression.to_owned() });
        }
        let (topic, expression) = (topic.to_owned(), expression.to_owned());
        Ok(Subscription { topic, kind: EXPRESSION_SQL92, expression, tags: BTreeSet::new(), version: 0 })
    }

    /// Whether a message the broker let through is wanted: two tags may share a hash.
    pub fn is_sql(&self) -> bool {
        self.kind == EXPRESSION_SQL92
    }

    pub(crate) fn wants(&self, tag: Option<&str>) -> bool {
        self.tags.is_empty() || tag.is_some_and(|tag| self.tags.contains(tag))
    }

    pub(crate) fn data(&self) -> SubscriptionData {
        SubscriptionData {
            topic: self.topic.clone(),
            sub_string: self.expression.clone(),
            tags_set: self.tags.clone(),
            code_set: self.tags.iter().map(|tag| protocol::hash::java_hash(tag)).collect(),
            sub_version: self.version,
            expression_type: self.kind.to_owned(),
            ..SubscriptionData::default()
        }
    }
}

impl PushGroup {
    pub fn heartbeat_data(&self, group: &str) -> ConsumerData {
        ConsumerData {
            group_name: group.to_owned(),
            consume_type: ConsumeType::Passively,
            message_model: self.config.model,
            consume_from_where: self.config.consume_from.on_wire(),
            subscription_data_set: self.subscriptions.values().map(Subscription::data).collect(),
            ..ConsumerData::default()
        }
    }

    pub fn is_clustering(&self) -> bool {
        self.config.model == MessageModel::Clustering
    }

    pub fn run(&mut self, id: RunId) -> Option<(&MessageQueue, &mut Run)> {
        self.queues.iter_mut().find(|(_, run)| run.id == id)
    }

    /// 16, or what the group was told; an orderly group knows no limit by itself.
    pub fn max_reconsume_times(&self) -> i32 {
        match (self.config.max_reconsume_times, self.is_orderly) {
            (-1, true) => i32::MAX,
            (-1, false) => RECONSUME_TIMES_MAX,
            (told, _) => told,
        }
    }

    pub fn strategy(&self) -> Strategy {
        self.config.strategy
    }
}

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
            ready: VecDeque::new(),
            next_rebalance: Duration::MAX,
            started_ms: now.wall_ms,
            stats: BTreeMap::new(),
        };
        self.groups.insert(group.clone(), state);
        for topic in topics {
            let waiter = super::lookup::RouteWaiter::Rebalance { group: group.clone() };
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
        let waiter = super::lookup::RouteWaiter::Rebalance { group };
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
            self.actions.push_back(Action::SaveOffsets { group, json });
            return;
        }
        let group = group.clone();
        let offsets: Vec<(MessageQueue, i64)> =
            state.offsets.iter().map(|(queue, offset)| (queue.clone(), offset)).collect();
        for (queue, offset) in offsets {
            self.commit(&group, &queue, offset, now);
        }
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

const ALL: &str = "*";
const RECONSUME_TIMES_MAX: i32 = 16;
/// Unless the routes are there sooner.
const FIRST_REBALANCE: Duration = Duration::from_secs(1);
const FIRST_RELOCK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the forms of a tag expression.
    #[test]
    fn tag_expressions_are_read() {
        let tags = |expression| {
            Subscription::tags("T", expression)
                .map(|read| (read.expression, read.tags.into_iter().collect::<Vec<_>>()))
        };
        assert_eq!(tags("*"), Ok(("*".to_owned(), vec![])));
        assert_eq!(tags(" "), Ok(("*".to_owned(), vec![])));
        assert_eq!(tags("a || b||c"), Ok(("a || b||c".to_owned(), vec!["a".into(), "b".into(), "c".into()])));
        assert!(tags("||").is_err());
        assert!(Subscription::sql("T", " ").is_err());
        let data = Subscription::tags("T", "TagA").unwrap().data();
        assert_eq!(data.code_set, BTreeSet::from([2_598_919]));
    }

    /// Goal: a message with a tag of the same hash is not wanted.
    #[test]
    fn the_tag_itself_is_compared() {
        let some = Subscription::tags("T", "AaAa || x").unwrap();
        assert!(some.wants(Some("AaAa")) && !some.wants(Some("BBBB")) && !some.wants(None));
        let all = Subscription::tags("T", "*").unwrap();
        assert!(all.wants(Some("any")) && all.wants(None));
    }
}
