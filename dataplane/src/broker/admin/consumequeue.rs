//! The entries of a queue, one by one: code 321, mqadmin's queryCq.

use protocol::body::{Body as _, ConsumeQueueData, QueryConsumeQueueResponseBody};
use protocol::code::response;
use protocol::headers::{CustomHeader, QueryConsumeQueueRequestHeader};
use store::{QueueOffset, Unit};

use super::super::errands::Question;
use super::super::{Broker, Refusal, ReplyTo, Request};
use super::clients::subscription_data;
use crate::answer::cut_remark;
use crate::outbox::{Body, Outbox};

/// An answer that waits for its entries.
#[derive(Debug)]
pub struct Lines {
    pub to: ReplyTo,
    body: QueryConsumeQueueResponseBody,
}

impl Lines {
    pub fn finish(mut self, units: &[Unit], out: &mut Outbox) {
        self.body.queue_data.extend(units.iter().map(|unit| ConsumeQueueData {
            physic_offset: unit.physical.0,
            physic_size: unit.size as i32,
            tags_code: unit.tags_code,
            ..ConsumeQueueData::default()
        }));
        out.reply(self.to, response::SUCCESS, |w| w, Body::Owned(self.body.encode()));
    }
}

impl Broker {
    /// What stands above the entries when a group is named: its subscription, and the filter data of SQL92, which is none.
    fn above_entries(&self, group: &str, topic: &str) -> QueryConsumeQueueResponseBody {
        let group_found = self.consumers.group(group);
        let found = group_found.and_then(|group| group.subscription(topic)).map(subscription_data);
        let filter_data = match (group.is_empty(), &found) {
            (true, _) => None,
            (false, Some(_)) => Some("null".to_owned()),
            (false, None) => Some(cut_remark(format!("{group}@{topic} is not online!").into()).into_owned()),
        };
        QueryConsumeQueueResponseBody {
            filter_data,
            subscription_data: found,
            ..QueryConsumeQueueResponseBody::default()
        }
    }

    /// Code 321. At most `LINES_MAX` entries, whatever is asked for.
    pub(super) fn query_consume_queue(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let header = QueryConsumeQueueRequestHeader::read(&req.header.fields)?;
        let topic = header.topic.map(|topic| topic.to_cow()).unwrap_or_default();
        let group = header.consumer_group.map(|group| group.to_cow()).unwrap_or_default();
        let above = self.above_entries(&group, &topic);
        let queue_id = header.queue_id.unwrap_or(0);
        let Some(queue) = self.store.find_queue(&topic, queue_id) else {
            let queues = self.topics.config(&topic).map_or(0, |config| config.read_queue_nums);
            if (0..queues).contains(&queue_id) {
                // A queue of this topic that never had a message.
                let empty = Lines { to: req.reply_to(), body: above };
                empty.finish(&[], out);
                return Ok(());
            }
            let remark = format!("{queue_id}@{topic} is not exist!");
            return Err(Refusal::new(response::SYSTEM_ERROR, remark));
        };
        let kept = self.store.offsets(queue);
        let count = i64::from(header.count.unwrap_or(0)).clamp(0, LINES_MAX);
        let first = QueueOffset(header.index.unwrap_or(0)).max(kept.start);
        let end = QueueOffset(first.0.saturating_add(count)).min(kept.end);
        let lines = Lines {
            to: req.reply_to(),
            body: QueryConsumeQueueResponseBody {
                max_queue_index: kept.end.0,
                min_queue_index: kept.start.0,
                ..above
            },
        };
        let mut units = Vec::new();
        let mut next = first;
        while next < end {
            let hot = self.store.units(queue, next);
            if hot.is_empty() {
                let topic = topic.as_ref().into();
                let question = Question::Units { topic, queue_id, offsets: first..end };
                self.ask_for_admin(question, lines);
                return Ok(());
            }
            let wanted = hot.len().min((end.0 - next.0) as usize);
            units.extend_from_slice(&hot[..wanted]);
            next = next.plus(wanted as u64);
        }
        lines.finish(&units, out);
        Ok(())
    }
}

const LINES_MAX: i64 = 1_024;
