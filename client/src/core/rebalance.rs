//! Who of the group holds which queue: asking for the members, sharing out, taking and giving up.
//!
//! Every 20 s; at once when the broker says the members changed; every second while something could not be taken.

use super::group::{PushGroup, Run, RunId};
use super::instance::Instance;
use super::pace::PullPace;
use super::process_queue::ProcessQueue;
use super::time::Time;
use super::waiter::{Timer, Waiter};
use crate::config::ConsumeFrom;
use crate::error::ClientError;
use crate::message::MessageQueue;
use protocol::RemotingCommand;
use protocol::body::{Body, GetConsumerListByGroupResponseBody};
use protocol::code::{request, response};
use protocol::names;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

impl Instance {
    /// Shares out again `after` this long, or sooner if that was planned already.
    pub(super) fn rebalance_soon(&mut self, group: &Arc<str>, after: Duration, now: Time) {
        let Some(state) = self.groups.get_mut(group) else {
            return;
        };
        // A broker that says "the members changed" without end has us ask all brokers no faster than this.
        let earliest = state.rebalanced.map_or(Duration::ZERO, |at| at + REBALANCE_LEAST);
        let at = (now.mono + after).max(earliest);
        if at < state.next_rebalance {
            state.next_rebalance = at;
            self.timers.set(at, Timer::Rebalance { group: group.clone() });
        }
    }

    /// A topic's queues are not what they were.
    pub(super) fn topic_changed(&mut self, topic: &str, now: Time) {
        let subscribed = self.groups.iter().filter(|(_, state)| state.subscriptions.contains_key(topic));
        let groups: Vec<Arc<str>> = subscribed.map(|(group, _)| group.clone()).collect();
        for group in groups {
            self.rebalance_soon(&group, Duration::ZERO, now);
        }
    }

    pub(super) fn rebalance_due(&mut self, group: &Arc<str>, now: Time) {
        let Some(state) = self.groups.get_mut(group) else {
            return;
        };
        if now.mono < state.next_rebalance {
            return; // An earlier plan, already carried out.
        }
        state.next_rebalance = Duration::MAX;
        state.rebalanced = Some(now.mono);
        let is_clustering = state.is_clustering();
        let topics: Vec<Arc<str>> = state.subscriptions.keys().cloned().collect();
        self.rebalance_soon(group, REBALANCE_EVERY, now);
        for topic in topics {
            if !self.routes.contains_key(&topic) {
                continue; // The refresh of routes will find it, and rebalance then.
            }
            if is_clustering {
                self.ask_members(group, &topic, now);
            } else {
                let all = self.readable(&topic);
                self.share(group, &topic, &all, now);
            }
        }
    }

    pub(super) fn members_answered(
        &mut self,
        group: &Arc<str>,
        topic: &Arc<str>,
        answer: Result<RemotingCommand, ClientError>,
        now: Time,
    ) {
        let members = answer.and_then(|answer| read_members(&answer));
        let mut members = match members {
            Ok(members) => members,
            Err(error) => {
                log::debug!("the members of {group} are not known, its share of {topic} stays: {error}");
                return self.rebalance_soon(group, REBALANCE_AGAIN, now);
            }
        };
        let Some(strategy) = self.groups.get(group).map(PushGroup::strategy) else {
            return;
        };
        members.sort();
        let mine = strategy.assign(&self.settings.client_id, &self.readable(topic), &members);
        if !members.contains(&self.settings.client_id) {
            // The heartbeat is still on its way.
            self.rebalance_soon(group, REBALANCE_AGAIN, now);
        }
        self.share(group, topic, &mine, now);
    }

    /// Takes what is ours and not held, gives up what is held and not ours.
    fn share(&mut self, group: &Arc<str>, topic: &Arc<str>, mine: &[MessageQueue], now: Time) {
        let Some(state) = self.groups.get(group) else {
            return;
        };
        let must_lock = state.is_orderly && state.is_clustering();
        let mine_set: BTreeSet<&MessageQueue> = mine.iter().collect();
        let held = state.queues.keys().filter(|queue| queue.topic == *topic);
        let lost: Vec<MessageQueue> = held.filter(|queue| !mine_set.contains(queue)).cloned().collect();
        let fresh: Vec<MessageQueue> =
            mine.iter().filter(|queue| !state.queues.contains_key(queue)).cloned().collect();
        for queue in &lost {
            log::info!("{group} gives up {queue}");
            self.give_up(group, queue, now);
        }
        if must_lock {
            self.ask_locks(group, topic, &fresh, now);
            if !lost.is_empty() {
                self.share_changed(group, topic, now);
            }
        } else if !lost.is_empty() || !fresh.is_empty() {
            self.share_changed(group, topic, now);
            for queue in fresh {
                self.take(group, queue, None, now);
            }
        }
    }

    /// The share of a topic changed: brokers hear of it with a newer subscription.
    pub(super) fn share_changed(&mut self, group: &Arc<str>, topic: &Arc<str>, now: Time) {
        let subscription = self.groups.get_mut(group).and_then(|state| state.subscriptions.get_mut(topic));
        if let Some(subscription) = subscription {
            subscription.version = now.wall_ms.max(subscription.version + 1);
        }
        self.heartbeat_all(now);
    }

    /// Holds a queue from now on and finds out where to begin.
    pub(super) fn take(
        &mut self,
        group: &Arc<str>,
        queue: MessageQueue,
        locked_at: Option<Duration>,
        now: Time,
    ) {
        let id = RunId(self.next_id());
        let Some(state) = self.groups.get_mut(group) else {
            return;
        };
        log::info!("{group} takes {queue}");
        let run = Run {
            id,
            cache: ProcessQueue::default(),
            next_offset: None,
            is_pulling: false,
            pace: PullPace::default(),
            is_ready: false,
            is_occupied: false,
            locked_at,
            locked_ms: now.wall_ms,
            pulled_ms: now.wall_ms,
            consumed_ms: now.wall_ms,
        };
        state.queues.insert(queue.clone(), run);
        // Ours again before an old listener call has ended: its end must not unlock it.
        state.leaving.retain(|_, leaving| *leaving != queue);
        if !state.is_clustering() {
            return match state.offsets.get(&queue) {
                Some(offset) => self.begin(group, id, offset, now),
                None => self.begin_new(group, id, &queue, now),
            };
        }
        state.offsets.remove(&queue); // What is known from an earlier run may be old.
        let command = RemotingCommand::request(request::QUERY_CONSUMER_OFFSET)
            .field("consumerGroup", group)
            .field("topic", &queue.topic)
            .field("queueId", queue.queue_id)
            .field("bname", &queue.broker_name);
        let waiter = Waiter::Offset { group: group.clone(), run: id };
        self.ask_about(group, &queue, command, waiter, now);
    }

    pub(super) fn offset_answered(
        &mut self,
        group: &Arc<str>,
        run: RunId,
        answer: Result<RemotingCommand, ClientError>,
        now: Time,
    ) {
        let Some(queue) = self.queue_of(group, run) else {
            return;
        };
        match answer {
            Ok(answer) if answer.code == response::SUCCESS => {
                match answer.ext("offset").and_then(|offset| offset.parse::<i64>().ok()) {
                    Some(offset) if offset >= 0 => self.begin(group, run, offset, now),
                    _ => self.begin_new(group, run, &queue, now),
                }
            }
            Ok(answer) if answer.code == response::QUERY_NOT_FOUND => self.begin_new(group, run, &queue, now),
            Ok(answer) => {
                let error = ClientError::Refused { code: answer.code, remark: answer.remark };
                self.not_taken(group, &queue, &error, now);
            }
            Err(error) => self.not_taken(group, &queue, &error, now),
        }
    }

    /// The answer to "what is the last offset" or "which offset has this time".
    pub(super) fn start_answered(
        &mut self,
        group: &Arc<str>,
        run: RunId,
        answer: Result<RemotingCommand, ClientError>,
        now: Time,
    ) {
        let Some(queue) = self.queue_of(group, run) else {
            return;
        };
        let offset = answer.and_then(|answer| {
            let offset = answer.ext("offset").and_then(|offset| offset.parse::<i64>().ok());
            let refused = ClientError::Refused { code: answer.code, remark: answer.remark.clone() };
            offset.filter(|_| answer.code == response::SUCCESS).ok_or(refused)
        });
        match offset {
            Ok(offset) => self.begin(group, run, offset, now),
            Err(error) => self.not_taken(group, &queue, &error, now),
        }
    }

    pub(super) fn queue_of(&mut self, group: &str, run: RunId) -> Option<MessageQueue> {
        self.groups.get_mut(group)?.run(run).map(|(queue, _)| queue.clone())
    }

    /// The group has never consumed this queue: its setting says where it begins.
    fn begin_new(&mut self, group: &Arc<str>, run: RunId, queue: &MessageQueue, now: Time) {
        let Some(from) = self.groups.get(group).map(|state| state.config.consume_from) else {
            return;
        };
        let is_retry = names::is_retry_topic(&queue.topic);
        let command = match from {
            ConsumeFrom::FirstOffset => return self.begin(group, run, 0, now),
            ConsumeFrom::LastOffset if is_retry => return self.begin(group, run, 0, now),
            ConsumeFrom::Timestamp(from_ms) if !is_retry => {
                RemotingCommand::request(request::SEARCH_OFFSET_BY_TIMESTAMP).field("timestamp", from_ms)
            }
            ConsumeFrom::LastOffset | ConsumeFrom::Timestamp(_) => {
                RemotingCommand::request(request::GET_MAX_OFFSET)
            }
        };
        let command = command
            .field("topic", &queue.topic)
            .field("queueId", queue.queue_id)
            .field("bname", &queue.broker_name);
        let waiter = Waiter::StartAt { group: group.clone(), run };
        self.ask_about(group, queue, command, waiter, now);
    }

    fn begin(&mut self, group: &Arc<str>, run: RunId, offset: i64, now: Time) {
        if let Some((_, state)) = self.groups.get_mut(group).and_then(|state| state.run(run)) {
            state.next_offset = Some(offset);
            self.pull(group, run, now);
        }
    }

    /// Something about a queue just taken could not be found out: it is given back and tried again in a second.
    fn not_taken(&mut self, group: &Arc<str>, queue: &MessageQueue, error: &ClientError, now: Time) {
        log::warn!("{group} cannot begin with {queue} yet: {error}");
        self.give_up(group, queue, now);
        self.rebalance_soon(group, REBALANCE_AGAIN, now);
    }

    fn ask_about(
        &mut self,
        group: &Arc<str>,
        queue: &MessageQueue,
        command: RemotingCommand,
        waiter: Waiter,
        now: Time,
    ) {
        match self.brokers.to_pull_from(&queue.broker_name, protocol::body::MASTER_ID) {
            Some((addr, _)) => {
                let addr = addr.clone();
                self.request(&addr, command, waiter, OFFSET_TIMEOUT, now);
            }
            None => {
                let error = ClientError::NoBroker { broker: queue.broker_name.to_string() };
                self.not_taken(group, queue, &error, now);
            }
        }
    }

    /// Asks one broker of the topic, whichever, who is in the group.
    fn ask_members(&mut self, group: &Arc<str>, topic: &Arc<str>, now: Time) {
        let names: Vec<Arc<str>> =
            self.routes.get(topic).map(|route| route.brokers.keys().cloned().collect()).unwrap_or_default();
        let addrs: Vec<_> = names
            .iter()
            .filter_map(|name| self.brokers.to_pull_from(name, protocol::body::MASTER_ID))
            .map(|(addr, _)| addr.clone())
            .collect();
        if addrs.is_empty() {
            self.look_up(topic, None, None, now);
            return self.rebalance_soon(group, REBALANCE_AGAIN, now);
        }
        let addr = addrs[self.rng.below(addrs.len())].clone();
        let command =
            RemotingCommand::request(request::GET_CONSUMER_LIST_BY_GROUP).field("consumerGroup", group);
        let waiter = Waiter::Members { group: group.clone(), topic: topic.clone() };
        self.request(&addr, command, waiter, self.config().api_timeout, now);
    }

    fn readable(&self, topic: &str) -> Vec<MessageQueue> {
        self.routes.get(topic).map(|route| route.readable.clone()).unwrap_or_default()
    }
}

fn read_members(answer: &RemotingCommand) -> Result<Vec<String>, ClientError> {
    if answer.code != response::SUCCESS {
        return Err(ClientError::Refused { code: answer.code, remark: answer.remark.clone() });
    }
    let body = GetConsumerListByGroupResponseBody::decode(&answer.body).map_err(|error| {
        ClientError::BadAnswer { addr: "the broker".to_owned(), reason: error.to_string() }
    })?;
    Ok(body.consumer_id_list)
}

const REBALANCE_EVERY: Duration = Duration::from_secs(20);
const REBALANCE_LEAST: Duration = Duration::from_millis(5);
const REBALANCE_AGAIN: Duration = Duration::from_secs(1);
const OFFSET_TIMEOUT: Duration = Duration::from_secs(5);
