//! The desk of offsets: what a group has committed, and where queues begin, end, or were at a time.
//!
//! ```text
//! 14 QUERY_CONSUMER_OFFSET, 15 UPDATE_CONSUMER_OFFSET   the offset table
//! 30 GET_MAX_OFFSET, 31 GET_MIN_OFFSET                  the queue's bounds; an unknown queue has 0
//! 29 SEARCH_OFFSET_BY_TIMESTAMP, 32 GET_EARLIEST_MSG_STORETIME   store times: hot ones here, older ones by the cold thread
//! ```
//!
//! Implements B-4 and B-5 (docs/PROMISES.md).

use protocol::code::response;
use protocol::headers::{
    CustomHeader, GetEarliestMsgStoretimeRequestHeader, GetEarliestMsgStoretimeResponseHeader,
    GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader, GetMinOffsetRequestHeader,
    GetMinOffsetResponseHeader, QueryConsumerOffsetRequestHeader, QueryConsumerOffsetResponseHeader,
    SearchOffsetRequestHeader, SearchOffsetResponseHeader, UpdateConsumerOffsetRequestHeader,
    UpdateConsumerOffsetResponseHeader,
};
use protocol::record::RecordView;
use store::{Boundary, ByTime, QueueIndex, QueueOffset, UnitAt};

use crate::broker::errands::{Answer, Question};
use crate::broker::offsets::NotTaken;
use crate::broker::{Broker, Refusal, ReplyTo, Request};
use crate::outbox::{Body, Outbox};
use crate::time::TurnTime;

/// Which of this desk's requests waits for the cold thread.
#[derive(Debug, Clone, Copy)]
pub enum OffsetErrand {
    Search { to: ReplyTo },
    Earliest { to: ReplyTo },
}

impl Broker {
    /// Code 14.
    pub(super) fn query_consumer_offset(
        &mut self,
        req: &Request<'_>,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        let header = QueryConsumerOffsetRequestHeader::read(&req.header.fields)?;
        let (group, topic) = (header.consumer_group.to_cow(), header.topic.to_cow());
        let offset = match self.offsets.committed(&group, &topic, header.queue_id) {
            Some(offset) => offset,
            None if header.set_zero_if_not_found == Some(false) => return Err(not_found(DO_NOT_SET_TO_ZERO)),
            None if self.begins_in_memory(&topic, header.queue_id) => 0,
            None => return Err(not_found(BOOT_FIRST)),
        };
        let write = QueryConsumerOffsetResponseHeader { offset };
        out.reply(req.reply_to(), response::SUCCESS, |w| w.with(&write), Body::None);
        Ok(())
    }

    /// Code 15.
    pub(super) fn update_consumer_offset(
        &mut self,
        req: &Request<'_>,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        let header = UpdateConsumerOffsetRequestHeader::read(&req.header.fields)?;
        let (group, topic) = (header.consumer_group.to_cow(), header.topic.to_cow());
        if self.groups.get(&group).is_none() {
            let remark = format!("Group {group} not exist!");
            return Err(Refusal::with_empty_fields(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
        }
        if self.topics.find(&topic).is_none() {
            let remark = format!("Topic {topic} not exist!");
            return Err(Refusal::with_empty_fields(response::TOPIC_NOT_EXIST, remark));
        }
        match self.offsets.commit(&group, &topic, header.queue_id, header.commit_offset) {
            Ok(()) => {}
            Err(NotTaken::ResetWaits) => {
                return Err(Refusal::with_empty_fields(
                    response::SUCCESS,
                    "Offset has been previously reset",
                ));
            }
            Err(NotTaken::NoRoom(full)) => return Err(full.into()),
        }
        let write = UpdateConsumerOffsetResponseHeader {};
        out.reply(req.reply_to(), response::SUCCESS, |w| w.with(&write), Body::None);
        Ok(())
    }

    /// Code 30.
    pub(super) fn max_offset(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let header = GetMaxOffsetRequestHeader::read(&req.header.fields)?;
        let queue = self.known_queue(&header.topic.to_cow(), header.queue_id);
        let offset = queue.map_or(0, |queue| self.store.offsets(queue).end.0);
        let write = GetMaxOffsetResponseHeader { offset };
        out.reply(req.reply_to(), response::SUCCESS, |w| w.with(&write), Body::None);
        Ok(())
    }

    /// Code 31.
    pub(super) fn min_offset(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let header = GetMinOffsetRequestHeader::read(&req.header.fields)?;
        let queue = self.known_queue(&header.topic.to_cow(), header.queue_id);
        let offset = queue.map_or(0, |queue| self.store.offsets(queue).start.0);
        let write = GetMinOffsetResponseHeader { offset };
        // The official broker says nothing here, in so many words.
        out.reply(req.reply_to(), response::SUCCESS, |w| w.with(&write).remark(""), Body::None);
        Ok(())
    }

    /// Code 29.
    pub(super) fn search_offset(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let header = SearchOffsetRequestHeader::read(&req.header.fields)?;
        let upper = header.boundary_type.is_some_and(|text| text.to_cow().eq_ignore_ascii_case("upper"));
        let to = req.reply_to();
        let Some(queue) = self.known_queue(&header.topic.to_cow(), header.queue_id) else {
            reply_search(to, 0, out);
            return Ok(());
        };
        let boundary = if upper { Boundary::Upper } else { Boundary::Lower };
        let by_time = ByTime { timestamp: header.timestamp, boundary, now_ms: req.now.wall_ms };
        match self.search_hot(queue, &by_time) {
            Some(offset) => reply_search(to, offset, out),
            None => {
                let (topic, queue_id) = self.store.queue_name(queue);
                let cold_end = QueueOffset(self.first_hot_record(queue));
                let question = Question::SearchByTime {
                    topic: topic.into(),
                    queue_id,
                    offsets: self.store.offsets(queue).start..cold_end,
                    timestamp_ms: header.timestamp,
                    boundary,
                };
                self.ask_for_desk(question, OffsetErrand::Search { to });
            }
        }
        Ok(())
    }

    /// Code 32.
    pub(super) fn earliest_store_time(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let header = GetEarliestMsgStoretimeRequestHeader::read(&req.header.fields)?;
        let to = req.reply_to();
        let Some(queue) = self.known_queue(&header.topic.to_cow(), header.queue_id) else {
            reply_earliest(to, NO_TIME, out);
            return Ok(());
        };
        let offsets = self.store.offsets(queue);
        match self.store_time(queue, offsets.start) {
            Some(timestamp) => reply_earliest(to, timestamp, out),
            None if offsets.is_empty() => reply_earliest(to, NO_TIME, out),
            None => {
                self.ask_queue(queue, offsets.start.0, OffsetErrand::Earliest { to });
            }
        }
        Ok(())
    }

    pub(super) fn offset_answered(&mut self, errand: OffsetErrand, answer: Answer, out: &mut Outbox) {
        match (errand, answer) {
            (OffsetErrand::Search { to }, Answer::Offset(offset)) => reply_search(to, offset.0, out),
            (OffsetErrand::Search { to }, Answer::Failed(error)) => {
                out.refuse(to, &Refusal::with_empty_fields(response::SYSTEM_ERROR, error));
            }
            (OffsetErrand::Earliest { to }, Answer::Pulled(pulled)) => {
                let timestamp =
                    RecordView::parse(&pulled.bytes).map_or(NO_TIME, |record| record.store_timestamp);
                reply_earliest(to, timestamp, out);
            }
            (OffsetErrand::Earliest { to }, _) => reply_earliest(to, NO_TIME, out),
            (errand, answer) => unreachable!("{errand:?} was answered with {answer:?}"),
        }
    }

    /// Hands what has been committed to the cold side, once a second.
    pub(super) fn keep_offsets(&mut self, now: &TurnTime) {
        if (self.offsets_kept_ms..self.offsets_kept_ms + KEEP_MS).contains(&now.wall_ms) {
            return;
        }
        self.offsets.drain_dirty(&mut self.ops);
        if self.ops.has_room() {
            self.offsets_kept_ms = now.wall_ms;
        }
    }

    /// Hands everything that files should keep to the cold side, as far as its lane takes it. At the end the caller
    /// repeats this until it says that nothing is left.
    pub fn keep_everything(&mut self, now: &TurnTime) -> bool {
        self.keep_delay_offsets(now.wall_ms);
        let moved = self.offsets.drain_dirty(&mut self.ops);
        self.hand_over();
        moved == 0 && self.ops.is_empty()
    }

    /// A queue that has, or had, a message.
    fn known_queue(&self, topic: &str, queue_id: i32) -> Option<QueueIndex> {
        self.store.find_queue(topic, queue_id)
    }

    /// Whether a queue still holds its message 0, in memory: then a new group starts there, wherever it says.
    fn begins_in_memory(&self, topic: &str, queue_id: i32) -> bool {
        let Some(queue) = self.known_queue(topic, queue_id) else { return false };
        self.store.offsets(queue).start.0 <= 0 && self.store_time(queue, QueueOffset(0)).is_some()
    }

    /// The store time of a message that is hot.
    pub(super) fn store_time(&self, queue: QueueIndex, offset: QueueOffset) -> Option<i64> {
        match self.store.unit(queue, offset) {
            UnitAt::Hot(unit) => self.store.record_at(unit.physical).map(|record| record.store_timestamp),
            UnitAt::NotHot | UnitAt::None => None,
        }
    }

    /// The answer to a search by time if it lies in the hot part of the queue.
    pub(super) fn search_hot(&self, queue: QueueIndex, by_time: &ByTime) -> Option<i64> {
        let offsets = self.store.offsets(queue);
        let (first, end) = (offsets.start.0, offsets.end.0);
        if first == end {
            return Some(first);
        }
        let hot = self.first_hot_record(queue)..end;
        let time_from = |offset| {
            let time = self.store_time(queue, QueueOffset(offset)).ok_or(NotHot)?;
            Ok::<_, NotHot>(Some((offset, time)))
        };
        if hot.is_empty() || (hot.start > first && by_time.before(hot.clone(), time_from).ok()?.is_none()) {
            return None; // The cold part has the answer, or its end is it.
        }
        by_time.search(hot, time_from).ok()
    }

    /// The first offset from which on entries and records are hot.
    pub(super) fn first_hot_record(&self, queue: QueueIndex) -> i64 {
        let (mut low, mut high) = (self.store.first_hot(queue).0, self.store.offsets(queue).end.0);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.store_time(queue, QueueOffset(middle)).is_some() {
                high = middle
            } else {
                low = middle + 1
            }
        }
        low
    }
}

/// A message that is not hot, although those before it are.
struct NotHot;

fn not_found(remark: &'static str) -> Refusal {
    Refusal::with_empty_fields(response::QUERY_NOT_FOUND, remark)
}

fn reply_search(to: ReplyTo, offset: i64, out: &mut Outbox) {
    let write = SearchOffsetResponseHeader { offset };
    out.reply(to, response::SUCCESS, |w| w.with(&write), Body::None);
}

fn reply_earliest(to: ReplyTo, timestamp: i64, out: &mut Outbox) {
    let write = GetEarliestMsgStoretimeResponseHeader { timestamp };
    out.reply(to, response::SUCCESS, |w| w.with(&write), Body::None);
}

const DO_NOT_SET_TO_ZERO: &str = "Not found, do not set to zero, maybe this group boot first";
const BOOT_FIRST: &str = "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first";
/// How often committed offsets are handed to the cold side.
const KEEP_MS: i64 = 1_000;
/// The store time of a message that is not there.
const NO_TIME: i64 = -1;
