//! Whole tables in one answer: what a replica copies and the dashboard shows.
//!
//! 5.x pages 21 and 201 by a sequence number; 4.9 takes all at once. Names are sorted, so a page means the same
//! entries as long as the table's version does.

use protocol::body::{
    self, Body as _, ConsumerOffsetSerializeWrapper, SubscriptionGroupWrapper,
    TopicConfigAndMappingSerializeWrapper,
};
use protocol::code::response;
use protocol::header::Fields;

use super::super::{Broker, Refusal, Request};
use crate::outbox::{Body, Outbox};

impl Broker {
    /// Code 21.
    pub(super) fn all_topics(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let mut configs: Vec<_> = self.topics.iter().collect();
        configs.sort_by(|a, b| a.name.cmp(&b.name));
        let total = configs.len();
        let page = page(&req.header.fields, "topicSeq", "maxTopicNum", total);
        let body = TopicConfigAndMappingSerializeWrapper {
            data_version: self.topics.version().into(),
            mapping_data_version: body::DataVersion::new(self.admin.started_ms),
            topic_config_table: configs[page]
                .iter()
                .map(|config| (config.name.to_string(), body::TopicConfig::from(&***config)))
                .collect(),
            ..TopicConfigAndMappingSerializeWrapper::default()
        }
        .encode();
        out.reply(
            req.reply_to(),
            response::SUCCESS,
            |w| w.field("totalTopicNum", total as i64),
            Body::Owned(body),
        );
        Ok(())
    }

    /// Code 201.
    pub(super) fn all_groups(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let mut configs: Vec<_> = self.groups.iter().collect();
        configs.sort_by(|a, b| a.name.cmp(&b.name));
        let total = configs.len();
        let page = page(&req.header.fields, "groupSeq", "maxGroupNum", total);
        let body = SubscriptionGroupWrapper {
            data_version: self.groups.version().into(),
            subscription_group_table: configs[page]
                .iter()
                .map(|config| (config.name.to_string(), body::SubscriptionGroupConfig::from(&***config)))
                .collect(),
            ..SubscriptionGroupWrapper::default()
        }
        .encode();
        out.reply(
            req.reply_to(),
            response::SUCCESS,
            |w| w.field("totalGroupNum", total as i64),
            Body::Owned(body),
        );
        Ok(())
    }

    /// Code 43.
    pub(super) fn all_consumer_offsets(
        &mut self,
        req: &Request<'_>,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        let mut table = ConsumerOffsetSerializeWrapper::default();
        for (group, topic, queue_id, committed, _) in self.offsets.entries() {
            if committed >= 0 {
                table.offset_table.entry(format!("{topic}@{group}")).or_default().insert(queue_id, committed);
            }
        }
        table.data_version = Some(body::DataVersion::new(req.now.wall_ms));
        out.reply(req.reply_to(), response::SUCCESS, |w| w, Body::Owned(table.encode()));
        Ok(())
    }
}

/// The entries asked for. No sequence number, or one that is none: all of them, as 4.9 asks.
fn page(fields: &Fields<'_>, seq: &str, max: &str, total: usize) -> std::ops::Range<usize> {
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
