//! Offsets with their times: how far a topic has come (202), how far groups are behind (208, 317).
//!
//! ```text
//! rows: a topic, and a group that reads it --some queues a turn--> Counted: min, max, committed, pulled, store time
//!       store times of messages that are not hot --> one errand for all of the request's
//!       the answer, of numbers and names --> the cold thread writes it out
//! ```
//!
//! A topic may have 65,535 queues, and code 317 asks for all topics of all groups: so a turn takes some queues only. What is told is how
//! things stood at some time while the question was under way, as in the official broker.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::vec;

use protocol::body::{
    Body as _, ConsumeStats, ConsumeStatsList, MessageQueue, OffsetWrapper, TopicOffset, TopicStatsTable,
};
use protocol::code::response;
use protocol::headers::{
    CustomHeader, GetConsumeStatsInBrokerHeader, GetConsumeStatsRequestHeader,
    GetTopicStatsInfoRequestHeader, ViewBrokerStatsDataRequestHeader,
};
use store::QueueOffset;

use super::super::errands::{Make, Place, Question};
use super::super::topic_config::TopicConfig;
use super::super::{Broker, Refusal, ReplyTo, Request};
use crate::limits::{COUNTS_MAX, QUEUES_COUNTED_PER_TURN_MAX};

/// Questions that are being answered, one after the other.
#[derive(Debug, Default)]
pub struct Counts {
    under_way: VecDeque<Count>,
}

/// One of them.
#[derive(Debug)]
struct Count {
    to: ReplyTo,
    /// Not looked at yet.
    rows: vec::IntoIter<Named>,
    /// What is being counted, and its next queue.
    row: Option<(Row, i32)>,
    counted: Counted,
}

/// A group and a topic. No group: the topic itself is asked about.
type Named = (Option<Arc<str>>, Arc<str>);

/// What was found.
#[derive(Debug)]
pub struct Counted {
    asked: Asked,
    broker_name: Arc<str>,
    /// Each with the number of `queues` that are its own, in order.
    rows: Vec<(Row, usize)>,
    queues: Vec<Queue>,
    /// Messages that are not hot, and the queues that want their times.
    places: Vec<Place>,
    untimed: Vec<usize>,
}

#[derive(Debug)]
enum Asked {
    Topic,
    Group,
    /// All these groups.
    Broker {
        address: String,
        groups: Vec<Arc<str>>,
        /// Places in the tables of groups and of offsets, of those that have not been looked at.
        group: usize,
        row: usize,
        order_only: bool,
    },
}

#[derive(Debug)]
struct Row {
    group: Option<Arc<str>>,
    config: Arc<TopicConfig>,
}

#[derive(Debug, Clone, Copy)]
struct Queue {
    id: i32,
    min: i64,
    max: i64,
    committed: i64,
    pulled: i64,
    /// When the newest message was stored, or the last that is committed.
    stored_ms: i64,
}

/// An answer that lacks some store times.
#[derive(Debug)]
pub struct Untimed {
    pub to: ReplyTo,
    counted: Counted,
}

impl Broker {
    /// Code 202.
    pub(super) fn topic_stats(&mut self, req: &Request<'_>) -> Result<(), Refusal> {
        let header = GetTopicStatsInfoRequestHeader::read(&req.header.fields)?;
        let topic = header.topic.to_cow();
        let Some(config) = self.topics.config(&topic) else {
            return Err(Refusal::new(response::TOPIC_NOT_EXIST, format!("topic[{topic}] not exist")));
        };
        let rows = vec![(None, config.name.clone())];
        self.count(req.reply_to(), Asked::Topic, rows)
    }

    /// Code 208. A group nobody knows has an empty table.
    pub(super) fn consume_stats(&mut self, req: &Request<'_>) -> Result<(), Refusal> {
        let header = GetConsumeStatsRequestHeader::read(&req.header.fields)?;
        let group: Arc<str> = header.consumer_group.to_cow().into();
        // Each once, however often a list names it: a topic may have very many queues.
        let named: BTreeSet<Arc<str>> = match (header.topic, header.topic_list) {
            (Some(topic), _) if !topic.to_cow().trim().is_empty() => [topic.to_cow().into()].into(),
            (_, Some(list)) if !list.to_cow().trim().is_empty() => {
                list.to_cow().split(';').map(Arc::from).collect()
            }
            _ => self.offsets.topics_of_group(&group).cloned().collect(),
        };
        let rows = named.into_iter().map(|topic| (Some(group.clone()), topic)).collect();
        self.count(req.reply_to(), Asked::Group, rows)
    }

    /// Code 317: all groups this broker has a configuration for. `isOrder` asks for groups of order topics only.
    pub(super) fn broker_consume_stats(&mut self, req: &Request<'_>) -> Result<(), Refusal> {
        let header = GetConsumeStatsInBrokerHeader::read(&req.header.fields)?;
        let asked = Asked::Broker {
            address: self.address_text(),
            groups: Vec::new(),
            group: 0,
            row: 0,
            order_only: header.is_order,
        };
        self.count(req.reply_to(), asked, Vec::new())
    }

    /// Code 315. No figure is kept by topic and group yet, which the official broker answers so too.
    pub(super) fn stats_data(&mut self, req: &Request<'_>) -> Result<(), Refusal> {
        let header = ViewBrokerStatsDataRequestHeader::read(&req.header.fields)?;
        let (name, key) = (header.stats_name.to_cow(), header.stats_key.to_cow());
        Err(Refusal::new(response::SYSTEM_ERROR, format!("The stats <{name}> <{key}> not exist")))
    }

    /// Begins; the next turns go on.
    fn count(&mut self, to: ReplyTo, asked: Asked, rows: Vec<Named>) -> Result<(), Refusal> {
        if self.admin.counts.under_way.len() >= COUNTS_MAX {
            return Err(Refusal::no_room());
        }
        let counted = Counted {
            asked,
            broker_name: self.config.broker_name.as_str().into(),
            rows: Vec::new(),
            queues: Vec::new(),
            places: Vec::new(),
            untimed: Vec::new(),
        };
        self.admin.counts.under_way.push_back(Count { to, rows: rows.into_iter(), row: None, counted });
        Ok(())
    }

    /// Goes on with what is asked about queues. Called every turn; returns how much was done.
    pub(in crate::broker) fn count_queues(&mut self) -> u32 {
        let Some(mut count) = self.admin.counts.under_way.pop_front() else { return 0 };
        for _ in 0..QUEUES_COUNTED_PER_TURN_MAX {
            if let Some((row, queue_id)) = &mut count.row {
                match *queue_id < row.queues() {
                    true => {
                        self.count_queue(row, *queue_id, &mut count.counted);
                        *queue_id += 1;
                    }
                    false => count.row = None,
                }
            } else if let Some(next) = count.rows.next().map(Some).or_else(|| self.next_place(&mut count)) {
                let Some((group, topic)) = next else { continue };
                if let Some(config) = self.topic_to_count(&count.counted.asked, group.as_deref(), &topic) {
                    count.counted.rows.push((Row { group: group.clone(), config: config.clone() }, 0));
                    count.row = Some((Row { group, config }, 0));
                }
            } else {
                self.counted(count.to, count.counted);
                return 1;
            }
        }
        self.admin.counts.under_way.push_front(count);
        1
    }

    /// What lies at the next place of the tables, of which code 317 asks for all rows. None: all have been looked at.
    fn next_place(&self, count: &mut Count) -> Option<Option<Named>> {
        let Asked::Broker { groups, group, row, .. } = &mut count.counted.asked else { return None };
        if *group < self.groups.places() {
            groups.extend(self.groups.at(*group).map(|config| config.name.clone()));
            *group += 1;
            return Some(None);
        }
        if *row >= self.offsets.places() {
            return None;
        }
        *row += 1;
        let at = self.offsets.row_at(*row - 1).filter(|at| at.committed().next().is_some());
        Some(at.map(|at| (Some(at.group().clone()), at.topic().clone())))
    }

    /// A topic counts for a group unless the group is online and does not subscribe it.
    fn topic_to_count(&self, asked: &Asked, group: Option<&str>, topic: &str) -> Option<Arc<TopicConfig>> {
        let config = self.topics.config(topic)?;
        let Some(group) = group else { return Some(config.clone()) };
        if let Asked::Broker { order_only, .. } = asked
            && (self.groups.get(group).is_none() || *order_only && !config.order)
        {
            return None;
        }
        let online = self.consumers.group(group).filter(|online| online.subscriptions().next().is_some());
        online.is_none_or(|online| online.subscription(topic).is_some()).then(|| config.clone())
    }

    fn count_queue(&self, row: &Row, id: i32, counted: &mut Counted) {
        let topic = &row.config.name;
        let (min, max) = self.range_of(topic, id);
        let (mut committed, mut pulled, mut last) = (0, 0, (max > min).then_some(max - 1));
        if let Some(group) = &row.group {
            committed = self.offsets.committed(group, topic, id).unwrap_or(0);
            pulled = self.offsets.pulled_to(group, topic, id).unwrap_or(0);
            last = (committed > 0).then_some(committed - 1);
        }
        let stored_ms = last.map_or(0, |offset| self.store_time_or_want(topic, id, offset, counted));
        counted.queues.push(Queue { id, min, max, committed, pulled, stored_ms });
        if let Some((_, queues)) = counted.rows.last_mut() {
            *queues += 1;
        }
    }

    /// The store time of a hot message; a cold one is wanted and 0 until it comes.
    fn store_time_or_want(&self, topic: &Arc<str>, queue_id: i32, offset: i64, counted: &mut Counted) -> i64 {
        let Some(index) = self.store.find_queue(topic, queue_id) else { return 0 };
        let offset = QueueOffset(offset);
        if let Some(time) = self.store_time(index, offset) {
            return time;
        }
        if self.store.offsets(index).contains(&offset) {
            counted.places.push(Place { topic: topic.clone(), queue_id, offset });
            counted.untimed.push(counted.queues.len());
        }
        0
    }

    fn counted(&mut self, to: ReplyTo, mut counted: Counted) {
        match std::mem::take(&mut counted.places) {
            places if places.is_empty() => self.put_together(to, None, counted),
            places => self.ask_for_admin(Question::StoreTimes(places), Untimed { to, counted }),
        }
    }

    /// The cold thread has the times; a message that is gone has none, which is 0.
    pub(super) fn timed(&mut self, untimed: Untimed, times: &[i64]) {
        let Untimed { to, mut counted } = untimed;
        for (&at, &time) in counted.untimed.iter().zip(times) {
            if let Some(queue) = counted.queues.get_mut(at) {
                queue.stored_ms = time;
            }
        }
        self.put_together(to, None, counted);
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

impl Row {
    fn queues(&self) -> i32 {
        match self.group {
            Some(_) => self.config.read_queue_nums,
            None => self.config.read_queue_nums.max(self.config.write_queue_nums),
        }
    }
}

impl Queue {
    fn of_topic(self) -> TopicOffset {
        TopicOffset { last_update_timestamp: self.stored_ms, max_offset: self.max, min_offset: self.min }
    }

    fn of_group(self) -> OffsetWrapper {
        OffsetWrapper {
            broker_offset: self.max,
            consumer_offset: self.committed,
            last_timestamp: self.stored_ms,
            pull_offset: self.pulled.max(self.committed),
        }
    }
}

impl Make for Counted {
    fn body(self: Box<Self>) -> Vec<u8> {
        let Counted { asked, broker_name, rows, queues, .. } = *self;
        let mut queues = queues.into_iter();
        let mut rows = rows.into_iter().map(|(row, count)| {
            let named = |queue: Queue| (MessageQueue::new(&*row.config.name, &*broker_name, queue.id), queue);
            let of_row: Vec<_> = queues.by_ref().take(count).map(named).collect();
            (row.group, of_row)
        });
        match asked {
            Asked::Topic => {
                let of_topic = rows.flat_map(|(_, queues)| queues);
                let offset_table = of_topic.map(|(name, queue)| (name, queue.of_topic())).collect();
                TopicStatsTable { offset_table, ..TopicStatsTable::default() }.encode()
            }
            Asked::Group => {
                let of_group = rows.flat_map(|(_, queues)| queues);
                let offset_table = of_group.map(|(name, queue)| (name, queue.of_group())).collect();
                ConsumeStats { offset_table, ..ConsumeStats::default() }.encode()
            }
            Asked::Broker { address, groups, .. } => {
                let mut list = ConsumeStatsList { broker_addr: Some(address), ..ConsumeStatsList::default() };
                let mut of_groups: BTreeMap<Arc<str>, Vec<ConsumeStats>> =
                    groups.into_iter().map(|group| (group, Vec::new())).collect();
                for (group, queues) in &mut rows {
                    let of_row = queues.into_iter().map(|(name, queue)| (name, queue.of_group()));
                    let stats = ConsumeStats { offset_table: of_row.collect(), ..ConsumeStats::default() };
                    for offset in stats.offset_table.values() {
                        let diff = offset.broker_offset.saturating_sub(offset.consumer_offset);
                        list.total_diff = list.total_diff.saturating_add(diff);
                        let in_flight = offset.pull_offset.saturating_sub(offset.consumer_offset).max(0);
                        list.total_inflight_diff = list.total_inflight_diff.saturating_add(in_flight);
                    }
                    of_groups.entry(group.unwrap_or_default()).or_default().push(stats);
                }
                let entry = |(group, stats): (Arc<str>, _)| BTreeMap::from([(group.to_string(), stats)]);
                list.consume_stats_list = of_groups.into_iter().map(entry).collect();
                list.encode()
            }
        }
    }
}
