//! Whole tables in one answer: what a replica copies and the dashboard shows.
//!
//! ```text
//! table --its entries, as they are shared--> Make --> cold thread: sorted, cut to the page, encoded --> the answer
//! ```
//!
//! 5.x pages 21 and 201 by a sequence number; 4.9 takes all at once. Names are sorted, so a page means the same
//! entries as long as the table's version does.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use protocol::body::{
    self, Body as _, ConsumerOffsetSerializeWrapper, ProducerInfo, ProducerTableInfo,
    SubscriptionGroupWrapper, TopicConfigAndMappingSerializeWrapper,
};
use protocol::code::response;
use protocol::header::Fields;

use super::super::client::Client;
use super::super::errands::{Make, Question};
use super::super::group_config::GroupConfig;
use super::super::topic_config::TopicConfig;
use super::super::{Broker, Refusal, ReplyTo, Request};
use crate::outbox::{Body, Outbox};

/// A table on its way to who asked.
#[derive(Debug)]
pub struct Dump {
    pub to: ReplyTo,
    /// The field that says how many entries there are, of which this may be a page.
    total: Option<(&'static str, i64)>,
}

impl Dump {
    pub fn finish(self, body: Vec<u8>, out: &mut Outbox) {
        let Dump { to, total } = self;
        out.reply(
            to,
            response::SUCCESS,
            |w| match total {
                Some((name, count)) => w.field(name, count),
                None => w,
            },
            Body::Owned(body),
        );
    }
}

impl Broker {
    /// Code 21.
    pub(super) fn all_topics(&mut self, req: &Request<'_>) -> Result<(), Refusal> {
        let configs: Vec<_> = self.topics.iter().cloned().collect();
        let total = configs.len();
        let page = page(&req.header.fields, "topicSeq", "maxTopicNum", total);
        let parts = AllTopics {
            configs,
            page,
            data_version: self.topics.version().into(),
            mapping_data_version: body::DataVersion::new(self.admin.started_ms),
        };
        self.put_together(req.reply_to(), Some(("totalTopicNum", total)), parts);
        Ok(())
    }

    /// Code 201.
    pub(super) fn all_groups(&mut self, req: &Request<'_>) -> Result<(), Refusal> {
        let configs: Vec<_> = self.groups.iter().cloned().collect();
        let total = configs.len();
        let page = page(&req.header.fields, "groupSeq", "maxGroupNum", total);
        let parts = AllGroups { configs, page, data_version: self.groups.version().into() };
        self.put_together(req.reply_to(), Some(("totalGroupNum", total)), parts);
        Ok(())
    }

    /// Code 43.
    pub(super) fn all_consumer_offsets(&mut self, req: &Request<'_>) -> Result<(), Refusal> {
        let data_version = body::DataVersion::new(req.now.wall_ms);
        let mut parts = AllOffsets { rows: Vec::new(), queues: Vec::new(), data_version };
        for (group, topic, committed) in self.offsets.rows() {
            let before = parts.queues.len();
            parts.queues.extend(committed);
            parts.rows.push((group.clone(), topic.clone(), parts.queues.len() - before));
        }
        self.put_together(req.reply_to(), None, parts);
        Ok(())
    }

    /// Code 328.
    pub(super) fn all_producers(&mut self, req: &Request<'_>) -> Result<(), Refusal> {
        let mut parts = AllProducers { groups: Vec::new(), producers: Vec::new() };
        for (group, channels) in self.producers.groups() {
            parts.groups.push((group.clone(), channels.len()));
            parts.producers.extend(channels.iter().map(|channel| Producer {
                client: channel.client.clone(),
                seen_ms: channel.seen_ms,
                peer: self.peers.of(channel.conn),
            }));
        }
        self.put_together(req.reply_to(), None, parts);
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
        self.ask_for_admin(Question::Make(Box::new(parts)), Dump { to, total });
    }
}

#[derive(Debug)]
struct AllTopics {
    configs: Vec<Arc<TopicConfig>>,
    page: Range<usize>,
    data_version: body::DataVersion,
    mapping_data_version: body::DataVersion,
}

impl Make for AllTopics {
    fn body(mut self: Box<Self>) -> Vec<u8> {
        self.configs.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        TopicConfigAndMappingSerializeWrapper {
            data_version: self.data_version,
            mapping_data_version: self.mapping_data_version,
            topic_config_table: self.configs[self.page]
                .iter()
                .map(|config| (config.name.to_string(), body::TopicConfig::from(&**config)))
                .collect(),
            ..TopicConfigAndMappingSerializeWrapper::default()
        }
        .encode()
    }
}

#[derive(Debug)]
struct AllGroups {
    configs: Vec<Arc<GroupConfig>>,
    page: Range<usize>,
    data_version: body::DataVersion,
}

impl Make for AllGroups {
    fn body(mut self: Box<Self>) -> Vec<u8> {
        self.configs.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        SubscriptionGroupWrapper {
            data_version: self.data_version,
            subscription_group_table: self.configs[self.page]
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
    /// Group, topic, and how many of `queues` are theirs, in order.
    rows: Vec<(Arc<str>, Arc<str>, usize)>,
    /// Queue id, and what is committed.
    queues: Vec<(i32, i64)>,
    data_version: body::DataVersion,
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
    /// Group, and how many of `producers` are in it, in order.
    groups: Vec<(Arc<str>, usize)>,
    producers: Vec<Producer>,
}

#[derive(Debug)]
struct Producer {
    client: Arc<Client>,
    seen_ms: i64,
    peer: Option<SocketAddr>,
}

impl Make for AllProducers {
    fn body(self: Box<Self>) -> Vec<u8> {
        let mut infos = self.producers.into_iter().map(|producer| ProducerInfo {
            client_id: producer.client.id.to_string(),
            language: producer.client.language,
            last_update_timestamp: producer.seen_ms,
            remote_ip: producer.peer.map_or_else(|| "/".to_owned(), |peer| format!("/{peer}")),
            version: producer.client.version,
        });
        let mut table = ProducerTableInfo::default();
        for (group, count) in self.groups {
            table.data.insert(group.to_string(), infos.by_ref().take(count).collect());
        }
        table.encode()
    }
}

/// The entries asked for. No sequence number, or one that is none: all of them, as 4.9 asks.
fn page(fields: &Fields<'_>, seq: &str, max: &str, total: usize) -> Range<usize> {
    let number = |name: &str| fields.get(name).and_then(|text| text.parse_i32());
    let Some(first) = number(seq).and_then(|first| usize::try_from(first).ok()) else { return 0..total };
    let first = first.min(total);
    let count = number(max).and_then(|count| usize::try_from(count).ok()).filter(|&count| count > 0);
    first..count.map_or(total, |count| first.saturating_add(count).min(total))
}

#[cfg(test)]
mod tests {
    use protocol::header::Fields;

    use super::*;

    #[test]
    fn pages_are_cut_out_of_the_table() {
        let cut = |seq: &str, max: &str| {
            let pairs = [("s".to_owned(), seq.to_owned()), ("m".to_owned(), max.to_owned())];
            page(&Fields::from_pairs(&pairs), "s", "m", 10)
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
