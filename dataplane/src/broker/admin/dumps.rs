//! Whole tables in one answer: what a replica copies and the dashboard shows.
//!
//! ```text
//! table --some rows a turn, as they are shared--> Make --> cold thread: sorted, cut to the page, encoded --> the answer
//! ```
//!
//! 5.x pages 21 and 201 by a sequence number; 4.9 takes all at once. Names are sorted, so a page means the same
//! entries as long as the table's version does.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use protocol::body::{
    self, Body as _, ConsumerOffsetSerializeWrapper, ProducerInfo, ProducerTableInfo,
    SubscriptionGroupWrapper, TopicConfigAndMappingSerializeWrapper, TopicList,
};
use protocol::code::response;
use protocol::header::Fields;
use protocol::headers::HeartbeatRequestHeader as NoFields;
use protocol::names;

use super::super::client::Client;
use super::super::errands::{Make, Question};
use super::super::group_config::GroupConfig;
use super::super::long_work::LongWork;
use super::super::topic_config::TopicConfig;
use super::super::{Broker, Refusal, ReplyTo, Request};
use crate::limits::{LONG_WORK_PER_TURN_MAX, ROWS_PER_TURN_MAX};
use crate::outbox::{Body, Outbox};
use crate::time::TurnTime;

/// A table on its way to who asked.
#[derive(Debug)]
pub struct Dump {
    pub to: ReplyTo,
    /// The field that says how many entries there are, of which this may be a page.
    total: Option<(&'static str, i64)>,
    /// The code has a header class for its answers, so official brokers write `"extFields":{}`.
    empty_fields: bool,
}

impl Dump {
    pub fn finish(self, body: Vec<u8>, out: &mut Outbox) {
        let Dump { to, total, empty_fields } = self;
        out.reply(
            to,
            response::SUCCESS,
            |w| match total {
                Some((name, count)) => w.field(name, count),
                None if empty_fields => w.with(&NoFields {}),
                None => w,
            },
            Body::Owned(body),
        );
    }
}

/// What goes into an answer of a whole table.
trait Table: Make + 'static {
    /// Copies the next rows out of the broker's table, `ROWS_PER_TURN_MAX` of them at most. False: there are no more.
    fn copy_some(&mut self, broker: &Broker) -> bool;

    /// The field that says how many rows there are, of which the answer may have a page.
    fn total(&self) -> Option<(&'static str, usize)> {
        None
    }
}

/// A table that is being copied.
#[derive(Debug)]
struct Copying<T> {
    /// None: it has been.
    table: Option<T>,
}

impl<T: Table> LongWork for Copying<T> {
    fn ends_with_its_client(&self) -> bool {
        true
    }

    fn go_on(&mut self, to: ReplyTo, broker: &mut Broker, _now: &TurnTime, _out: &mut Outbox) -> bool {
        if self.table.as_mut().is_some_and(|table| table.copy_some(broker)) {
            return false;
        }
        if let Some(table) = self.table.take() {
            broker.put_together(to, table.total(), table);
        }
        true
    }
}

impl Broker {
    /// Code 21.
    pub(super) fn all_topics(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let table = AllTopics {
            place: 0,
            configs: Vec::new(),
            page: Page::read(&req.header.fields, "topicSeq", "maxTopicNum"),
            data_version: self.topics.version().into(),
            mapping_data_version: body::DataVersion::new(self.admin.started_ms),
        };
        self.copy_table(table, req, out)
    }

    /// Code 201.
    pub(super) fn all_groups(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let page = Page::read(&req.header.fields, "groupSeq", "maxGroupNum");
        let data_version = self.groups.version().into();
        self.copy_table(AllGroups { place: 0, configs: Vec::new(), page, data_version }, req, out)
    }

    /// Code 43.
    pub(super) fn all_consumer_offsets(
        &mut self,
        req: &Request<'_>,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        let data_version = body::DataVersion::new(req.now.wall_ms);
        self.copy_table(AllOffsets { place: 0, rows: Vec::new(), queues: Vec::new(), data_version }, req, out)
    }

    /// Code 328.
    pub(super) fn all_producers(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        self.copy_table(AllProducers { place: 0, group: None, producers: Vec::new() }, req, out)
    }

    /// Code 305.
    pub(super) fn system_topics(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let own = names::SYSTEM_TOPICS.iter().map(|name| Arc::from(*name));
        let names = own.chain([self.topics.reply_topic().into()]).collect();
        self.copy_table(SystemTopics { place: 0, names }, req, out)
    }

    fn copy_table(&mut self, table: impl Table, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        self.check_place_for_work()?;
        self.begin_work(Copying { table: Some(table) }, req, out);
        Ok(())
    }

    /// Has an answer written out; `total` is a field of it.
    pub(in crate::broker) fn put_together(
        &mut self,
        to: ReplyTo,
        total: Option<(&'static str, usize)>,
        parts: impl Make + 'static,
    ) {
        let total = total.map(|(name, count)| (name, count as i64));
        self.ask_for_admin(Question::Make(Box::new(parts)), Dump { to, total, empty_fields: false });
    }

    /// As `put_together`, for what most often has few items, and is written out at once then.
    pub(in crate::broker) fn put_list_together(
        &mut self,
        to: ReplyTo,
        empty_fields: bool,
        items: usize,
        parts: impl Make + 'static,
        out: &mut Outbox,
    ) {
        let (dump, parts) = (Dump { to, total: None, empty_fields }, Box::new(parts));
        match items <= LONG_WORK_PER_TURN_MAX {
            true => dump.finish(parts.body(), out),
            false => self.ask_for_admin(Question::Make(parts), dump),
        }
    }
}

#[derive(Debug)]
struct AllTopics {
    /// The next of the table's.
    place: usize,
    configs: Vec<Arc<TopicConfig>>,
    page: Page,
    /// Of when it began: who copies it comes again when it has changed meanwhile.
    data_version: body::DataVersion,
    mapping_data_version: body::DataVersion,
}

impl Table for AllTopics {
    fn copy_some(&mut self, broker: &Broker) -> bool {
        let end = broker.topics.places().min(self.place + ROWS_PER_TURN_MAX);
        self.configs.extend((self.place..end).filter_map(|place| broker.topics.at(place)).cloned());
        self.place = end;
        end < broker.topics.places()
    }

    fn total(&self) -> Option<(&'static str, usize)> {
        Some(("totalTopicNum", self.configs.len()))
    }
}

impl Make for AllTopics {
    fn body(mut self: Box<Self>) -> Vec<u8> {
        self.configs.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        TopicConfigAndMappingSerializeWrapper {
            data_version: self.data_version,
            mapping_data_version: self.mapping_data_version,
            topic_config_table: self.configs[self.page.of(self.configs.len())]
                .iter()
                .map(|config| (config.name.to_string(), body::TopicConfig::from(&**config)))
                .collect(),
            ..TopicConfigAndMappingSerializeWrapper::default()
        }
        .encode()
    }
}

#[derive(Debug)]
struct SystemTopics {
    place: usize,
    names: BTreeSet<Arc<str>>,
}

impl Table for SystemTopics {
    fn copy_some(&mut self, broker: &Broker) -> bool {
        let end = broker.topics.places().min(self.place + ROWS_PER_TURN_MAX);
        let configs = (self.place..end).filter_map(|place| broker.topics.at(place));
        let names = configs.map(|config| &config.name).filter(|name| broker.topics.is_system(name));
        self.names.extend(names.cloned());
        self.place = end;
        end < broker.topics.places()
    }
}

impl Make for SystemTopics {
    fn body(self: Box<Self>) -> Vec<u8> {
        let topic_list = self.names.iter().map(|name| name.to_string()).collect();
        TopicList { broker_addr: None, topic_list }.encode()
    }
}

#[derive(Debug)]
struct AllGroups {
    place: usize,
    configs: Vec<Arc<GroupConfig>>,
    page: Page,
    data_version: body::DataVersion,
}

impl Table for AllGroups {
    fn copy_some(&mut self, broker: &Broker) -> bool {
        let end = broker.groups.places().min(self.place + ROWS_PER_TURN_MAX);
        self.configs.extend((self.place..end).filter_map(|place| broker.groups.at(place)).cloned());
        self.place = end;
        end < broker.groups.places()
    }

    fn total(&self) -> Option<(&'static str, usize)> {
        Some(("totalGroupNum", self.configs.len()))
    }
}

impl Make for AllGroups {
    fn body(mut self: Box<Self>) -> Vec<u8> {
        self.configs.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        SubscriptionGroupWrapper {
            data_version: self.data_version,
            subscription_group_table: self.configs[self.page.of(self.configs.len())]
                .iter()
                .map(|config| (config.name.to_string(), body::SubscriptionGroupConfig::from(&**config)))
                .collect(),
            ..SubscriptionGroupWrapper::default()
        }
        .encode()
    }
}

#[derive(Debug)]
struct AllOffsets {
    place: usize,
    /// Group, topic, and how many of `queues` are theirs, in order.
    rows: Vec<(Arc<str>, Arc<str>, usize)>,
    /// Queue id, and what is committed.
    queues: Vec<(i32, i64)>,
    data_version: body::DataVersion,
}

impl Table for AllOffsets {
    fn copy_some(&mut self, broker: &Broker) -> bool {
        let queues_before = self.queues.len();
        for _ in 0..ROWS_PER_TURN_MAX {
            if self.place >= broker.offsets.places() {
                return false;
            }
            if let Some(row) = broker.offsets.row_at(self.place) {
                let before = self.queues.len();
                self.queues.extend(row.committed());
                let count = self.queues.len() - before;
                self.rows.push((row.group().clone(), row.topic().clone(), count));
            }
            self.place += 1;
            if self.queues.len() - queues_before >= OFFSETS_PER_TURN_MIN {
                break;
            }
        }
        true
    }
}

impl Make for AllOffsets {
    fn body(self: Box<Self>) -> Vec<u8> {
        let mut queues = self.queues.into_iter();
        let mut table = ConsumerOffsetSerializeWrapper::default();
        for (group, topic, count) in self.rows.into_iter().filter(|&(_, _, count)| count > 0) {
            table.offset_table.insert(format!("{topic}@{group}"), queues.by_ref().take(count).collect());
        }
        table.data_version = Some(self.data_version);
        table.encode()
    }
}

#[derive(Debug)]
struct AllProducers {
    /// The next connection, and the last of its groups that has been copied.
    place: usize,
    group: Option<Arc<str>>,
    producers: Vec<(Arc<str>, Producer)>,
}

impl Table for AllProducers {
    fn copy_some(&mut self, broker: &Broker) -> bool {
        for _ in 0..ROWS_PER_TURN_MAX {
            if self.place >= broker.peers.places() {
                return false;
            }
            let conn = broker.peers.at(self.place);
            match conn.and_then(|conn| broker.producers.next_group_of(conn, self.group.as_ref())) {
                Some((group, channel)) => {
                    let (client, seen_ms) = (channel.client.clone(), channel.seen_ms);
                    let producer = Producer { client, seen_ms, peer: broker.peers.of(channel.conn) };
                    self.producers.push((group.clone(), producer));
                    self.group = Some(group.clone());
                }
                None => {
                    self.place += 1;
                    self.group = None;
                }
            }
        }
        true
    }
}

#[derive(Debug)]
struct Producer {
    client: Arc<Client>,
    seen_ms: i64,
    peer: Option<SocketAddr>,
}

impl Make for AllProducers {
    fn body(self: Box<Self>) -> Vec<u8> {
        let mut table = ProducerTableInfo::default();
        for (group, producer) in self.producers {
            let info = ProducerInfo {
                client_id: producer.client.id.to_string(),
                language: producer.client.language,
                last_update_timestamp: producer.seen_ms,
                remote_ip: producer.peer.map_or_else(|| "/".to_owned(), |peer| format!("/{peer}")),
                version: producer.client.version,
            };
            table.data.entry(group.to_string()).or_default().push(info);
        }
        table.encode()
    }
}

/// The entries asked for. No sequence number, or one that is none: all of them, as 4.9 asks.
#[derive(Debug, Clone, Copy)]
struct Page {
    first: Option<usize>,
    count: Option<usize>,
}

impl Page {
    fn read(fields: &Fields<'_>, seq: &str, max: &str) -> Page {
        let number = |name: &str| fields.get(name).and_then(|text| text.parse_i32()?.try_into().ok());
        Page { first: number(seq), count: number(max).filter(|&count| count > 0) }
    }

    fn of(self, total: usize) -> Range<usize> {
        let Some(first) = self.first else { return 0..total };
        let first = first.min(total);
        first..self.count.map_or(total, |count| first.saturating_add(count).min(total))
    }
}

/// Once a turn has copied so many offsets the rest waits for the next one.
const OFFSETS_PER_TURN_MIN: usize = 4_096;

#[cfg(test)]
mod tests {
    use protocol::header::Fields;

    use super::*;

    #[test]
    fn pages_are_cut_out_of_the_table() {
        let cut = |seq: &str, max: &str| {
            let pairs = [("s".to_owned(), seq.to_owned()), ("m".to_owned(), max.to_owned())];
            Page::read(&Fields::from_pairs(&pairs), "s", "m").of(10)
        };
        assert_eq!(cut("0", "4"), 0..4);
        assert_eq!(cut("8", "4"), 8..10);
        assert_eq!(cut("99", "4"), 10..10);
        assert_eq!(cut("0", ""), 0..10);
        assert_eq!(cut("", ""), 0..10);
        assert_eq!(cut("-1", "4"), 0..10);
        assert_eq!(cut("2", "2147483647"), 2..10);
    }
}
