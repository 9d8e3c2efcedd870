//! Moves a consumer group to another place: codes 222 and 314.
//!
//! As 5.x: the target of each queue is computed, waits in the offset table, and the next pull of the queue is answered
//! with it (21). What the group commits until then is ignored. `isForce` has no meaning any more.

use std::sync::Arc;

use protocol::body::{Body as _, MessageQueueForC, ResetOffsetBody, ResetOffsetBodyForC};
use protocol::code::response;
use protocol::headers::{CloneGroupOffsetRequestHeader, CustomHeader, ResetOffsetRequestHeader};
use protocol::version::Language;
use store::{Boundary, ByTime, QueueOffset};

use super::super::errands::{Question, Stretch};
use super::super::groups::is_group_name;
use super::super::offsets::NotTaken;
use super::super::{Broker, Refusal, ReplyTo, Request};
use super::invalid;
use crate::outbox::{Body, Outbox};

/// A reset on its way: targets that are known, and queues whose target the files must tell.
#[derive(Debug)]
pub struct Reset {
    pub to: ReplyTo,
    group: String,
    topic: Arc<str>,
    targets: Vec<(i32, i64)>,
    asked: Vec<i32>,
    for_cpp: bool,
}

impl Broker {
    /// Code 222.
    pub(super) fn reset_offset(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let header = ResetOffsetRequestHeader::read(&req.header.fields)?;
        let (group, topic) = (header.group.to_cow(), header.topic.to_cow());
        let Some(config) = self.topics.config(&topic).cloned() else {
            return Err(Refusal::new(response::TOPIC_NOT_EXIST, format!("Topic {topic} does not exist")));
        };
        if self.groups.get(&group).is_none() {
            let remark = format!("Group {group} does not exist");
            return Err(Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
        }
        let mut reset = Reset {
            to: req.reply_to(),
            group: group.into_owned(),
            topic: config.name.clone(),
            targets: Vec::new(),
            asked: Vec::new(),
            for_cpp: req.header.language == Language::Cpp,
        };
        let queue_ids = match header.queue_id {
            queue_id if queue_id >= 0 => queue_id..=queue_id,
            _ => 0..=config.read_queue_nums - 1,
        };
        if queue_ids.is_empty() {
            return Err(Refusal::new(response::SYSTEM_ERROR, "No queues to reset."));
        }
        let by_time =
            ByTime { timestamp: header.timestamp, boundary: Boundary::Lower, now_ms: req.now.wall_ms };
        let mut cold = Vec::new();
        for queue_id in queue_ids {
            let (min, max) = self.range_of(&topic, queue_id);
            match header.offset.filter(|&offset| offset != -1 && header.queue_id >= 0) {
                Some(offset) if offset < min || offset > max + 1 => {
                    let remark = format!("Target offset {offset} not in consume queue range [{min}-{max}]");
                    return Err(Refusal::new(response::SYSTEM_ERROR, remark));
                }
                Some(offset) => reset.targets.push((queue_id, offset)),
                None => self.reset_by_time(&mut reset, queue_id, &by_time, &mut cold),
            }
        }
        if cold.is_empty() {
            self.finish_reset(reset, &[], out);
        } else {
            let question = Question::SearchTimes { stretches: cold, timestamp_ms: header.timestamp };
            self.ask_for_admin(question, reset);
        }
        Ok(())
    }

    /// Code 314: gives a group the offsets that another one has on a topic, or on all its topics.
    pub(super) fn clone_offsets(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let header = CloneGroupOffsetRequestHeader::read(&req.header.fields)?;
        let (source, target) = (header.src_group.to_cow(), header.dest_group.to_cow());
        // A name that no group can have would be kept, in memory and in consumerOffset.json.
        if self.groups.get(&target).is_none() && !is_group_name(&target) {
            let shown: String = target.chars().take(protocol::names::GROUP_LEN_MAX_BROKER).collect();
            return Err(invalid(format!(
                "the group name[{shown}] is blank, too long or has other characters than {}",
                protocol::names::LEGAL_PATTERN
            )));
        }
        let named = header.topic.map(|topic| topic.to_cow()).filter(|topic| !topic.trim().is_empty());
        let topics: Vec<Arc<str>> = match named {
            Some(topic) => vec![topic.as_ref().into()],
            None => self.offsets.topics_of_group(&source).cloned().collect(),
        };
        for topic in topics.iter().filter(|topic| self.topics.find(topic).is_some()) {
            let offsets: Vec<(i32, i64)> = self.offsets.of(&source, topic).collect();
            for (queue_id, offset) in offsets {
                if let Err(NotTaken::NoRoom(full)) = self.offsets.commit(&target, topic, queue_id, offset) {
                    return Err(full.into());
                }
            }
        }
        out.done(req.reply_to());
        Ok(())
    }

    /// A time before 0 means the end of the queue.
    fn reset_by_time(&self, reset: &mut Reset, queue_id: i32, by_time: &ByTime, cold: &mut Vec<Stretch>) {
        let (_, max) = self.range_of(&reset.topic, queue_id);
        let Some(queue) = self.store.find_queue(&reset.topic, queue_id).filter(|_| by_time.timestamp >= 0)
        else {
            reset.targets.push((queue_id, max));
            return;
        };
        match self.search_hot(queue, by_time) {
            Some(offset) => reset.targets.push((queue_id, offset)),
            None => {
                reset.asked.push(queue_id);
                let end = QueueOffset(self.first_hot_record(queue));
                let offsets = self.store.offsets(queue).start..end;
                cold.push(Stretch {
                    topic: reset.topic.clone(),
                    queue_id,
                    offsets,
                    boundary: by_time.boundary,
                });
            }
        }
    }

    /// All targets are known.
    pub(super) fn finish_reset(&mut self, mut reset: Reset, found: &[QueueOffset], out: &mut Outbox) {
        let found = reset.asked.drain(..).zip(found.iter().map(|offset| offset.0));
        reset.targets.extend(found);
        for &(queue_id, offset) in &reset.targets {
            if let Err(full) = self.offsets.reset(&reset.group, &reset.topic, queue_id, offset) {
                return out.refuse(reset.to, &full.into());
            }
        }
        let body = if reset.for_cpp {
            let queue = |&(queue_id, offset): &(i32, i64)| MessageQueueForC {
                broker_name: self.config.broker_name.clone(),
                offset,
                queue_id,
                topic: reset.topic.to_string(),
            };
            ResetOffsetBodyForC { offset_table: reset.targets.iter().map(queue).collect() }.encode()
        } else {
            let queue =
                |&(queue_id, offset): &(i32, i64)| (self.message_queue(&reset.topic, queue_id), offset);
            ResetOffsetBody { offset_table: reset.targets.iter().map(queue).collect() }.encode()
        };
        out.reply(reset.to, response::SUCCESS, |w| w, Body::Owned(body));
    }
}
