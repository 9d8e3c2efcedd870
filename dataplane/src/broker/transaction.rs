//! The transaction desk (code 37): a half message becomes real, or never was.
//!
//! ```text
//! END_TRANSACTION --> half message, by its place in the log --checks--> commit: the message under its real name
//!                                                            '--------> both: an op message naming the half one
//! ```
//!
//! A half message that nobody ends is asked about by transaction_check.rs. Ending one twice delivers it twice, as the
//! official broker does: the op message is written after the delivery, so that a kill in between asks again rather than
//! loses. Implements B-8 (docs/PROMISES.md).

use std::collections::VecDeque;

use protocol::code::response;
use protocol::headers::{CustomHeader, EndTransactionRequestHeader};
use protocol::names::{TRANS_HALF_TOPIC, TRANS_OP_HALF_TOPIC};
use protocol::properties::{self, key};
use protocol::record::{RecordDraft, RecordView, sys_flag};
use store::{Appended, PhysicalOffset, QueueOffset, UnitAt};

use crate::broker::request::check_kept;
use crate::broker::{Broker, Refusal, ReplyTo, Request};
use crate::config::FlushDiskType;
use crate::outbox::{Body, Outbox};
use crate::time::TurnTime;

/// An END_TRANSACTION while its half message is looked up.
#[derive(Debug)]
pub struct EndTransaction {
    to: ReplyTo,
    producer_group: String,
    physical: i64,
    half_offset: i64,
    commit: bool,
    from_check: bool,
}

/// Answers that wait until the disk has their message (SYNC_FLUSH). Hardly any client wants one.
#[derive(Debug, Default)]
pub struct EndedWaits {
    queue: VecDeque<(PhysicalOffset, u64, ReplyTo)>,
}

impl Broker {
    /// Code 37.
    pub(super) fn end_transaction(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let header = EndTransactionRequestHeader::read(&req.header.fields)?;
        let commit = match header.commit_or_rollback {
            sys_flag::TRANSACTION_COMMIT => true,
            sys_flag::TRANSACTION_ROLLBACK => false,
            _ => return Ok(()), // The producer does not know yet, and hears nothing either.
        };
        check_kept([header.producer_group])?;
        let end = EndTransaction {
            to: req.reply_to(),
            producer_group: header.producer_group.to_cow().into_owned(),
            physical: header.commit_log_offset,
            half_offset: header.tran_state_table_offset,
            commit,
            from_check: header.from_transaction_check,
        };
        if !self.has_room_for_copy() {
            return Err(Refusal::no_room());
        }
        match self.copy_hot(end.physical) {
            Some(bytes) => {
                let record = RecordView::parse(&bytes).ok();
                self.finish_end_transaction(&end, record.as_ref(), req.now, out);
                self.keep_buffer(bytes);
            }
            None if self.is_below_hot(end.physical) => {
                self.ask_record(end.physical, Box::new(end));
            }
            None => self.finish_end_transaction(&end, None, req.now, out),
        }
        Ok(())
    }

    /// The half message is here, or nowhere.
    pub(super) fn finish_end_transaction(
        &mut self,
        end: &EndTransaction,
        record: Option<&RecordView<'_>>,
        now: &TurnTime,
        out: &mut Outbox,
    ) {
        match self.check_end(end, record, now).and_then(|half| self.end_half(end, half, now)) {
            Ok(Some(appended)) if self.waits_for_disk(end, record) => {
                let deadline_ms = now.mono_ms() + self.config.sync_flush_timeout;
                self.ended_waits.queue.push_back((appended.end(), deadline_ms, end.to));
            }
            Ok(_) => out.done(end.to),
            Err(refusal) if refusal.remark.is_empty() => out.reply(end.to, refusal.code, |w| w, Body::None),
            Err(refusal) => out.refuse(end.to, &refusal),
        }
    }

    /// Answers what the disk has; a flush that takes too long is still a success here.
    pub(super) fn release_ended(&mut self, now: &TurnTime, out: &mut Outbox) {
        let synced_to = self.store.synced_to();
        while let Some((end, deadline_ms, to)) = self.ended_waits.queue.front().copied() {
            if end > synced_to && now.mono_ms() < deadline_ms {
                return;
            }
            self.ended_waits.queue.pop_front();
            out.done(to);
        }
    }

    fn check_end<'r>(
        &self,
        end: &EndTransaction,
        record: Option<&'r RecordView<'r>>,
        now: &TurnTime,
    ) -> Result<&'r RecordView<'r>, Refusal> {
        let wrong = |remark| Refusal::new(response::SYSTEM_ERROR, remark);
        let Some(half) = record.filter(|record| record.topic == TRANS_HALF_TOPIC.as_bytes()) else {
            return Err(wrong("Find prepared transaction message failed"));
        };
        let immunity = properties::get_str(half.properties, key::CHECK_IMMUNITY_TIME_IN_SECONDS);
        if let (Some(text), false) = (immunity, end.from_check)
            && now.wall_ms.saturating_sub(half.born_timestamp) > self.immunity_ms(text)
        {
            return Err(Refusal::new(response::ILLEGAL_OPERATION, ""));
        }
        if properties::get(half.properties, key::PGROUP) != Some(end.producer_group.as_bytes()) {
            return Err(wrong("The producer group wrong"));
        }
        if half.queue_offset != end.half_offset {
            return Err(wrong("The transaction state table offset wrong"));
        }
        if half.physical_offset != end.physical || !self.is_in_half_queue(end) {
            return Err(wrong("The commit log offset wrong"));
        }
        Ok(half)
    }

    /// Whether the half message is where its record says. What lies in the body of another message can look like a record, and
    /// say anything.
    fn is_in_half_queue(&self, end: &EndTransaction) -> bool {
        let (queue, offset) = (self.transactions.half_queue, QueueOffset(end.half_offset));
        match self.store.unit(queue, offset) {
            UnitAt::Hot(unit) => unit.physical.0 == end.physical,
            UnitAt::NotHot => true,
            UnitAt::None => false,
        }
    }

    /// Stores what a checked END_TRANSACTION means. The real message comes first: a kill after it asks the producer once
    /// more, a kill before it too.
    fn end_half(
        &mut self,
        end: &EndTransaction,
        half: &RecordView<'_>,
        now: &TurnTime,
    ) -> Result<Option<Appended>, Refusal> {
        let appended = if end.commit { Some(self.commit_half(half, now)?) } else { None };
        let op_offset = self.put_op(half.queue_offset, now)?.queue_offset.0;
        self.transactions.decide(half.queue_offset, op_offset);
        Ok(appended)
    }

    fn commit_half(&mut self, half: &RecordView<'_>, now: &TurnTime) -> Result<Appended, Refusal> {
        let topic = properties::get(half.properties, key::REAL_TOPIC).unwrap_or_default();
        let queue_id = properties::get_str(half.properties, key::REAL_QID).and_then(|id| id.parse().ok());
        let Some(queue_id) = queue_id.filter(|queue_id: &i32| *queue_id >= 0 && !topic.is_empty()) else {
            return Err(Refusal::new(
                response::SYSTEM_ERROR,
                "the half message does not say where it belongs",
            ));
        };
        let level = properties::get_str(half.properties, key::DELAY).and_then(|level| level.parse().ok());
        let mut list = std::mem::take(&mut self.scratch.properties);
        list.clear();
        properties::extend_without(&mut list, half.properties, &[key::REAL_TOPIC, key::REAL_QID]);
        let draft = RecordDraft {
            topic,
            queue_id,
            sys_flag: half.sys_flag & !sys_flag::TRANSACTION_MASK | sys_flag::TRANSACTION_COMMIT,
            prepared_transaction_offset: half.physical_offset,
            properties: &list,
            ..half.to_draft()
        };
        let stored = match level {
            Some(level @ 1..) => self.put_delayed(&draft, level, now),
            _ => self.put_as_is(&draft, now),
        };
        self.scratch.properties = list;
        stored
    }

    /// Notes in the log that a half message is ended.
    fn put_op(&mut self, half_offset: i64, now: &TurnTime) -> Result<Appended, Refusal> {
        let mut list = std::mem::take(&mut self.scratch.properties);
        list.clear();
        properties::push(&mut list, key::WAIT, b"true");
        properties::push(&mut list, key::TAGS, OP_TAG);
        let body = format!("{half_offset},");
        let draft = RecordDraft {
            topic: TRANS_OP_HALF_TOPIC.as_bytes(),
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: now.wall_ms,
            born_host: self.address,
            store_host: self.address,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: body.as_bytes(),
            properties: &list,
        };
        let stored = self.put_as_is(&draft, now);
        self.scratch.properties = list;
        stored
    }

    fn waits_for_disk(&self, end: &EndTransaction, half: Option<&RecordView<'_>>) -> bool {
        let wait = half.and_then(|half| properties::get(half.properties, key::WAIT));
        self.config.flush_disk_type == FlushDiskType::SyncFlush && !end.to.oneway && wait != Some(b"false")
    }

    /// How long a half message must not be asked about, when it says so itself.
    pub(super) fn immunity_ms(&self, text: &str) -> i64 {
        match text.parse::<i64>() {
            Ok(seconds @ 0..) => seconds.saturating_mul(1_000),
            _ => self.transaction_timeout_ms(),
        }
    }

    pub(super) fn transaction_timeout_ms(&self) -> i64 {
        i64::try_from(self.config.transaction_time_out).unwrap_or(i64::MAX)
    }
}

/// The tag of an op message: the half message is done with.
const OP_TAG: &[u8] = b"d";
