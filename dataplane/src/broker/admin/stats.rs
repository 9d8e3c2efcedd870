//! Offsets with their times: how far a topic has come (202), how far groups are behind (208, 317).
//!
//! ```text
//! queue -> min, max, committed, pulled; store time of one message: hot -> at once
//!                                                                  cold -> one errand for all of the request's
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use protocol::body::{
    Body as _, ConsumeStats, ConsumeStatsList, MessageQueue, OffsetWrapper, TopicOffset, TopicStatsTable,
};
use protocol::code::response;
use protocol::headers::{
    CustomHeader, GetConsumeStatsInBrokerHeader, GetConsumeStatsRequestHeader,
    GetTopicStatsInfoRequestHeader, ViewBrokerStatsDataRequestHeader,
};
use store::QueueOffset;

use super::super::errands::{Place, Question};
use super::super::topic_config::TopicConfig;
use super::super::{Broker, Refusal, ReplyTo, Request};
use crate::outbox::{Body, Outbox};

/// An answer that lacks some store times; the places where they go, in the order of the question.
#[derive(Debug)]
pub struct Untimed {
    pub to: ReplyTo,
    body: Box<dyn Timed>,
    missing: Vec<Slot>,
}

/// Where in the body a store time belongs.
#[derive(Debug)]
struct Slot {
    group: String,
    list_index: usize,
    queue: MessageQueue,
}

/// Bodies with store times in them.
trait Timed: fmt::Debug + Send {
    fn time_of(&mut self, group: &str, list_index: usize, queue: &MessageQueue) -> Option<&mut i64>;

    fn bytes(&self) -> Vec<u8>;
}

impl Timed for TopicStatsTable {
    fn time_of(&mut self, _group: &str, _list_index: usize, queue: &MessageQueue) -> Option<&mut i64> {
        self.offset_table.get_mut(queue).map(|offset| &mut offset.last_update_timestamp)
    }

    fn bytes(&self) -> Vec<u8> {
        self.encode()
    }
}

impl Timed for ConsumeStats {
    fn time_of(&mut self, _group: &str, _list_index: usize, queue: &MessageQueue) -> Option<&mut i64> {
        self.offset_table.get_mut(queue).map(|offset| &mut offset.last_timestamp)
    }

    fn bytes(&self) -> Vec<u8> {
        self.encode()
    }
}

impl Timed for ConsumeStatsList {
    fn time_of(&mut self, group: &str, list_index: usize, queue: &MessageQueue) -> Option<&mut i64> {
        let of_group = self.consume_stats_list.iter_mut().find_map(|entry| entry.get_mut(group))?;
        of_group.get_mut(list_index)?.time_of(group, list_index, queue)
    }

    fn bytes(&self) -> Vec<u8> {
        self.encode()
    }
}

impl Untimed {
    /// The cold thread has the times; a message that is gone has none, which is 0.
    pub fn finish(mut self, times: Vec<i64>, out: &mut Outbox) {
        for (slot, time) in self.missing.iter().zip(times) {
            if let Some(place) = self.body.time_of(&slot.group, slot.list_index, &slot.queue) {
                *place = time;
            }
        }
        out.reply(self.to, response::SUCCESS, |w| w, Body::Owned(self.body.bytes()));
    }
}

/// Cold places collected while a body is made.
#[derive(Default)]
struct Wanted {
    places: Vec<Place>,
    slots: Vec<Slot>,
}

impl Broker {
    /// Code 202.
    pub(super) fn topic_stats(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let header = GetTopicStatsInfoRequestHeader::read(&req.header.fields)?;
        let topic = header.topic.to_cow();
        let Some(config) = self.topics.config(&topic).cloned() else {
            return Err(Refusal::new(response::TOPIC_NOT_EXIST, format!("topic[{topic}] not exist")));
        };
        let mut wanted = Wanted::default();
        let mut body = TopicStatsTable::default();
        for queue_id in 0..config.read_queue_nums.max(config.write_queue_nums) {
            let (min, max) = self.range_of(&topic, queue_id);
            let queue = self.message_queue(&topic, queue_id);
            let last_update_timestamp = match max > min {
                true => {
                    self.store_time_or_want(&config.name, queue_id, max - 1, ("", 0, &queue), &mut wanted)
                }
                false => 0,
            };
            body.offset_table
                .insert(queue, TopicOffset { last_update_timestamp, max_offset: max, min_offset: min });
        }
        self.answer_when_timed(req.reply_to(), body, wanted, out);
        Ok(())
    }

    /// Code 208. A group nobody knows has an empty table.
    pub(super) fn consume_stats(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let header = GetConsumeStatsRequestHeader::read(&req.header.fields)?;
        let group = header.consumer_group.to_cow();
        // Each once, however often a list names it: a topic may have very many queues.
        let named: BTreeSet<String> = match (header.topic, header.topic_list) {
            (Some(topic), _) if !topic.to_cow().trim().is_empty() => [topic.to_cow().into_owned()].into(),
            (_, Some(list)) if !list.to_cow().trim().is_empty() => {
                list.to_cow().split(';').map(str::to_owned).collect()
            }
            _ => self.offsets.topics_of_group(&group).map(|topic| topic.to_string()).collect(),
        };
        let mut wanted = Wanted::default();
        let mut body = ConsumeStats::default();
        for topic in named {
            if let Some(config) = self.topic_of_stats(&group, &topic) {
                self.put_group_offsets(&group, &config, 0, &mut body, &mut wanted);
            }
        }
        self.answer_when_timed(req.reply_to(), body, wanted, out);
        Ok(())
    }

    /// Code 317: all groups this broker has a configuration for. `isOrder` asks for groups of order topics only.
    pub(super) fn broker_consume_stats(
        &mut self,
        req: &Request<'_>,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        let header = GetConsumeStatsInBrokerHeader::read(&req.header.fields)?;
        let groups: BTreeSet<Arc<str>> = self.groups.iter().map(|config| config.name.clone()).collect();
        let mut wanted = Wanted::default();
        let mut body =
            ConsumeStatsList { broker_addr: Some(self.address_text()), ..ConsumeStatsList::default() };
        let mut topics_of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (group, topic) in self.offsets.committed_rows() {
            topics_of.entry(group).or_default().push(topic);
        }
        for group in groups {
            let mut of_group = Vec::new();
            for topic in topics_of.remove(&*group).unwrap_or_default() {
                let Some(config) = self.topic_of_stats(&group, topic) else { continue };
                if header.is_order && !config.order {
                    continue;
                }
                let mut stats = ConsumeStats::default();
                self.put_group_offsets(&group, &config, of_group.len(), &mut stats, &mut wanted);
                for offset in stats.offset_table.values() {
                    let diff = offset.broker_offset.saturating_sub(offset.consumer_offset);
                    body.total_diff = body.total_diff.saturating_add(diff);
                    let in_flight = offset.pull_offset.saturating_sub(offset.consumer_offset).max(0);
                    body.total_inflight_diff = body.total_inflight_diff.saturating_add(in_flight);
                }
                of_group.push(stats);
            }
            body.consume_stats_list.push(BTreeMap::from([(group.to_string(), of_group)]));
        }
        self.answer_when_timed(req.reply_to(), body, wanted, out);
        Ok(())
    }

    /// Code 315. No figure is kept by topic and group yet, which the official broker answers so too.
    pub(super) fn stats_data(&mut self, req: &Request<'_>) -> Result<(), Refusal> {
        let header = ViewBrokerStatsDataRequestHeader::read(&req.header.fields)?;
        let (name, key) = (header.stats_name.to_cow(), header.stats_key.to_cow());
        Err(Refusal::new(response::SYSTEM_ERROR, format!("The stats <{name}> <{key}> not exist")))
    }

    /// A topic counts for a group unless the group is online and does not subscribe it.
    fn topic_of_stats(&self, group: &str, topic: &str) -> Option<Arc<TopicConfig>> {
        let config = self.topics.config(topic)?;
        let online = self.consumers.group(group).filter(|online| online.subscriptions().next().is_some());
        online.is_none_or(|online| online.subscription(topic).is_some()).then(|| config.clone())
    }

    fn put_group_offsets(
        &self,
        group: &str,
        config: &Arc<TopicConfig>,
        list_index: usize,
        stats: &mut ConsumeStats,
        wanted: &mut Wanted,
    ) {
        for queue_id in 0..config.read_queue_nums {
            let (_, broker_offset) = self.range_of(&config.name, queue_id);
            let consumer_offset = self.offsets.committed(group, &config.name, queue_id).unwrap_or(0);
            let pulled = self.offsets.pulled_to(group, &config.name, queue_id).unwrap_or(0);
            let queue = self.message_queue(&config.name, queue_id);
            let last_timestamp = match consumer_offset > 0 {
                true => {
                    let slot = (group, list_index, &queue);
                    self.store_time_or_want(&config.name, queue_id, consumer_offset - 1, slot, wanted)
                }
                false => 0,
            };
            let pull_offset = pulled.max(consumer_offset);
            let offsets = OffsetWrapper { broker_offset, consumer_offset, last_timestamp, pull_offset };
            stats.offset_table.insert(queue, offsets);
        }
    }

    /// The store time of a hot message; a cold one is wanted and 0 until it comes.
    fn store_time_or_want(
        &self,
        topic: &Arc<str>,
        queue_id: i32,
        offset: i64,
        (group, list_index, queue): (&str, usize, &MessageQueue),
        wanted: &mut Wanted,
    ) -> i64 {
        let Some(index) = self.store.find_queue(topic, queue_id) else { return 0 };
        let offset = QueueOffset(offset);
        if let Some(time) = self.store_time(index, offset) {
            return time;
        }
        if self.store.offsets(index).contains(&offset) {
            wanted.places.push(Place { topic: topic.clone(), queue_id, offset });
            wanted.slots.push(Slot { group: group.to_owned(), list_index, queue: queue.clone() });
        }
        0
    }

    fn answer_when_timed(
        &mut self,
        to: ReplyTo,
        body: impl Timed + 'static,
        wanted: Wanted,
        out: &mut Outbox,
    ) {
        let untimed = Untimed { to, body: Box::new(body), missing: wanted.slots };
        if wanted.places.is_empty() {
            return untimed.finish(Vec::new(), out);
        }
        self.ask_for_admin(Question::StoreTimes(wanted.places), untimed);
    }

    /// First offset kept and the next one to be written; a queue that never had a message has neither.
    pub(super) fn range_of(&self, topic: &str, queue_id: i32) -> (i64, i64) {
        let Some(queue) = self.store.find_queue(topic, queue_id) else { return (0, 0) };
        let offsets = self.store.offsets(queue);
        (offsets.start.0, offsets.end.0)
    }

    pub(super) fn message_queue(&self, topic: &str, queue_id: i32) -> MessageQueue {
        MessageQueue::new(topic, self.config.broker_name.as_str(), queue_id)
    }
}
