//! The pull desk: codes 11 and 361.
//!
//! ```text
//! header --checks--> filter --> read (read.rs)
//!                                |-- found: head + record bytes straight from the hot log
//!                                |-- nothing new, may suspend: park in Holds; woken, it runs once more from the top
//!                                '-- below the hot log: the cold thread reads; answered when it comes back
//! ```
//!
//! The checks, their order, codes and remarks are those of PullMessageProcessor. A pull that runs again never waits again.
//! Deliberately absent: reading from slaves, and SQL92, which is refused as the official broker does while
//! enablePropertyFilter is false.

use std::ops::Range;

use protocol::code::{request, response};
use protocol::headers::{
    PULL_COMMIT_OFFSET, PULL_SUSPEND, PullMessageRequestHeader, PullMessageResponseHeader,
};
use store::{ColdPull, LogRange, PullLimits, QueueIndex, QueueOffset};

use crate::broker::errands::{Answer, ColdAsk, Question};
use crate::broker::held_pull::{HeldPull, Pull, PullNumbers};
use crate::broker::offsets::NotTaken;
use crate::broker::pull_checks::PullRefusal;
use crate::broker::put::Scratch;
use crate::broker::read::{Level, Read, ReadLimits, ReadStatus, read, visible_offsets};
use crate::broker::topics::TopicIndex;
use crate::broker::{Broker, Refusal, Request};
use crate::config::FlushDiskType;
use crate::limits::{PULL_RECORDS_MAX, PULL_UNITS_MIN};
use crate::net::{ConnId, NetTx};
use crate::outbox::{Body, Outbox};
use crate::time::TurnTime;

/// Which of this desk's answers waits for the cold thread.
#[derive(Debug)]
pub enum PullErrand {
    /// A pull, and how often it has asked already.
    Again(Box<HeldPull>, u32),
    /// The rest of an answer that left the hot log before it was sent.
    Rest(ConnId),
}

/// Whether this is the first try of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Try {
    First,
    /// Woken, due, or back from the cold thread, which has been asked so often.
    Again {
        asked: u32,
    },
}

impl Broker {
    pub(super) fn pull(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let mut header = PullMessageRequestHeader::default();
        header.read_from(&req.header.fields)?;
        let group = header.consumer_group.to_cow();
        let topic = header.topic.to_cow();
        let subscription = header.subscription.map(|text| text.to_cow());
        let expression_type = header.expression_type.map(|text| text.to_cow());
        let pull = Pull {
            to: req.reply_to(),
            peer: req.peer,
            lite: req.header.code == request::LITE_PULL_MESSAGE,
            group: &group,
            topic: &topic,
            subscription: subscription.as_deref(),
            expression_type: expression_type.as_deref(),
            numbers: PullNumbers {
                queue_id: header.queue_id,
                queue_offset: header.queue_offset,
                max_msg_nums: header.max_msg_nums,
                max_msg_bytes: header.max_msg_bytes.unwrap_or(i32::MAX),
                sys_flag: header.sys_flag,
                commit_offset: header.commit_offset,
                suspend_ms: header.suspend_timeout_millis,
                sub_version: header.sub_version,
            },
        };
        self.counters.pulls += 1;
        self.run_pull(&pull, Try::First, req.now, out);
        Ok(())
    }

    /// Runs the held pulls that a message or their deadline has woken.
    pub(super) fn run_due_holds(&mut self, now: &TurnTime, holds_max: u32, out: &mut Outbox) -> u32 {
        let mut run = 0;
        while run < holds_max
            && let Some(hold) = self.holds.take_due()
        {
            self.run_pull(&hold.pull.as_pull(), Try::Again { asked: 0 }, now, out);
            self.holds.recycle(hold);
            run += 1;
        }
        run
    }

    fn run_pull(&mut self, pull: &Pull<'_>, turn: Try, now: &TurnTime, out: &mut Outbox) {
        if let Err(refused) = self.try_pull(pull, turn, now, out) {
            out.refuse_with(pull.to, &refused.refusal, |w| w.with(&refused.fields));
        }
    }

    fn try_pull(
        &mut self,
        pull: &Pull<'_>,
        turn: Try,
        now: &TurnTime,
        out: &mut Outbox,
    ) -> Result<(), PullRefusal> {
        let PullNumbers { queue_id, queue_offset, sys_flag, commit_offset, .. } = pull.numbers;
        let topic = self.check_pull(pull, now)?;
        let queue = self.queue(topic, queue_id);
        if turn == Try::First && sys_flag & PULL_COMMIT_OFFSET != 0 {
            let committed = self.offsets.commit(pull.group, pull.topic, queue_id, commit_offset);
            if let Err(NotTaken::NoRoom(full)) = committed {
                // Who went on would begin again where it began, and learn it at its next start.
                return Err(PullRefusal::of(full.into()));
            }
        }
        let limits = self.read_limits(pull);
        let visible = visible_offsets(&self.store, queue, self.level());
        let Scratch { filter, ranges, .. } = &mut self.scratch;
        let read = match self.offsets.take_reset(pull.group, pull.topic, queue_id) {
            Some(offset) => Some(Read::without_records(ReadStatus::OffsetReset, offset, &visible)),
            None => read(&self.store, queue, queue_offset, &visible, &limits, filter, ranges),
        };
        let Some(read) = read else {
            let asked = match turn {
                Try::First => 0,
                Try::Again { asked } => asked,
            };
            self.pull_cold(pull, topic, &visible, asked);
            return Ok(());
        };
        self.offsets.pulled(pull.group, pull.topic, queue_id, read.next_offset);
        if turn == Try::First
            && read.code(queue_offset) == response::PULL_NOT_FOUND
            && self.hold(pull, queue, now)
        {
            return Ok(());
        }
        self.answer_pull(pull, &read, None, out);
        Ok(())
    }

    /// Lets a pull wait that may; false when it must be answered now.
    fn hold(&mut self, pull: &Pull<'_>, queue: QueueIndex, now: &TurnTime) -> bool {
        if pull.numbers.sys_flag & PULL_SUSPEND == 0 || pull.to.oneway {
            return false;
        }
        let wait_ms = if self.config.long_polling_enable {
            pull.numbers.suspend_ms.max(0) as u64
        } else {
            self.config.short_polling_time_mills
        };
        let held = self.holds.park(queue, pull, &self.scratch.filter, now.mono_ms().saturating_add(wait_ms));
        self.counters.holds += u64::from(held);
        held
    }

    /// Answers with what was read: the ranges in the scratch list, or the bytes the cold thread brought.
    fn answer_pull(&mut self, pull: &Pull<'_>, read: &Read, cold: Option<Body<'static>>, out: &mut Outbox) {
        let code = read.code(pull.numbers.queue_offset);
        match code {
            response::SUCCESS => {
                self.counters.got_messages += u64::from(read.records);
                self.counters.got_bytes += read.bytes;
                self.counters.pulls_found += 1;
            }
            _ => self.counters.pulls_missed += 1,
        }
        let header = PullMessageResponseHeader {
            suggest_which_broker_id: MASTER_ID,
            next_begin_offset: read.next_offset,
            min_offset: read.min_offset,
            max_offset: read.max_offset,
            offset_delta: None,
            topic_sys_flag: Some(self.topics.config(pull.topic).map_or(0, |topic| topic.topic_sys_flag)),
            group_sys_flag: Some(self.groups.get(pull.group).map_or(0, |group| group.group_sys_flag)),
            forbidden_type: None,
        };
        let body = match (code, cold) {
            (response::SUCCESS, Some(body)) => body,
            (response::SUCCESS, None) => Body::Log(&self.scratch.ranges),
            _ => Body::None,
        };
        out.reply(pull.to, code, |w| w.with(&header).remark(read.status.name()), body);
    }

    /// Sends a pull to the cold thread, which reads the queue's files.
    #[cold]
    fn pull_cold(&mut self, pull: &Pull<'_>, topic: TopicIndex, visible: &Range<i64>, asked: u32) {
        self.counters.cold_pulls += 1;
        let mut held = Box::<HeldPull>::default();
        held.copy_from(pull);
        let messages_max = self.config.max_transfer_count_on_message_in_disk;
        let bytes_max = self.config.max_transfer_bytes_on_message_in_disk as usize;
        let ask = ColdAsk {
            topic: self.topics.get(topic).expect("checked").name.clone(),
            queue_id: pull.numbers.queue_id,
            offsets: QueueOffset(pull.numbers.queue_offset)..QueueOffset(visible.end),
            limits: PullLimits {
                messages: u32::try_from(pull.numbers.max_msg_nums).unwrap_or(0).clamp(1, messages_max.max(1)),
                bytes: usize::try_from(pull.numbers.max_msg_bytes).unwrap_or(0).min(bytes_max),
                entries: u32::try_from(pull.numbers.max_msg_nums).unwrap_or(0).max(PULL_UNITS_MIN as u32),
                // What was read ahead lies in memory.
                messages_ahead: u32::try_from(pull.numbers.max_msg_nums)
                    .unwrap_or(0)
                    .clamp(1, self.config.max_transfer_count_on_message_in_memory.max(1))
                    .min(PULL_RECORDS_MAX as u32),
                bytes_ahead: usize::try_from(pull.numbers.max_msg_bytes)
                    .unwrap_or(0)
                    .min(self.config.max_transfer_bytes_on_message_in_memory as usize),
                shares: true,
            },
            filter: self.scratch.filter.clone(),
        };
        self.errands.ask(Question::Pull(ask), PullErrand::Again(held, asked + 1));
    }

    pub(super) fn pull_answered(
        &mut self,
        errand: PullErrand,
        answer: Answer,
        now: &TurnTime,
        net: &mut impl NetTx,
        out: &mut Outbox,
    ) {
        match (errand, answer) {
            (PullErrand::Again(pull, asked), Answer::Pulled(cold)) => {
                self.pulled_cold(&pull, asked, cold, now, out);
            }
            (PullErrand::Again(pull, _), Answer::Failed(error)) => refuse_pull(&pull, error, out),
            (PullErrand::Rest(conn), Answer::Bytes(bytes)) => out.fetched(conn, bytes, net),
            (PullErrand::Rest(conn), Answer::Failed(_)) => out.fetched(conn, None, net),
            (errand, answer) => unreachable!("{errand:?} was answered with {answer:?}"),
        }
    }

    /// The cold thread has read for a pull.
    fn pulled_cold(&mut self, pull: &HeldPull, asked: u32, cold: ColdPull, now: &TurnTime, out: &mut Outbox) {
        let pull = pull.as_pull();
        let offset = pull.numbers.queue_offset;
        if cold.next.0 == offset && !cold.is_waiting && asked < COLD_TRIES_MAX {
            // Not written out yet: the hot log has it, or has had it written meanwhile.
            return self.run_pull(&pull, Try::Again { asked }, now, out);
        }
        let Some(topic) = self.topics.find(pull.topic) else {
            return self.run_pull(&pull, Try::Again { asked }, now, out);
        };
        let queue = self.queue(topic, pull.numbers.queue_id);
        let visible = visible_offsets(&self.store, queue, self.level());
        let (status, next_offset) = match (cold.messages, cold.passed_over) {
            // The client asks again at once, and hears of it until they are made again or given up.
            (0, _) if cold.is_waiting => (ReadStatus::NoMatchedMessage, cold.next.0),
            (0, _) if cold.next.0 == offset => {
                (ReadStatus::OffsetFoundNull, self.next_queue_file(offset, &visible))
            }
            (0, 0) => (ReadStatus::NoMatchedMessage, cold.next.0),
            (0, _) => (ReadStatus::MessageWasRemoving, cold.next.0),
            _ => (ReadStatus::Found, cold.next.0),
        };
        let body = match cold.shared.is_empty() {
            true => Body::Owned(cold.bytes),
            false => Body::Shared(cold.shared),
        };
        let read = Read {
            records: cold.messages,
            bytes: body.len() as u64,
            ..Read::without_records(status, next_offset, &visible)
        };
        self.offsets.pulled(pull.group, pull.topic, pull.numbers.queue_id, next_offset);
        self.answer_pull(&pull, &read, Some(body), out);
    }

    /// Where to go on behind entries that cannot be read.
    fn next_queue_file(&self, offset: i64, visible: &Range<i64>) -> i64 {
        let file_units = (self.config.mapped_file_size_consume_queue / QUEUE_UNIT_BYTES).max(1) as i64;
        ((offset / file_units + 1) * file_units).min(visible.end)
    }

    /// What consumers may see: nothing that has not reached the level that senders are promised.
    pub fn level(&self) -> Level {
        match self.config.flush_disk_type {
            FlushDiskType::AsyncFlush => Level::Memory,
            FlushDiskType::SyncFlush => Level::Disk,
        }
    }

    /// Asks for the rest of an answer that left the hot log before it was sent.
    #[cold]
    pub fn fetch_rest(&mut self, conn: ConnId, range: LogRange) {
        self.errands.ask(Question::Bytes(range), PullErrand::Rest(conn));
    }

    fn read_limits(&self, pull: &Pull<'_>) -> ReadLimits {
        ReadLimits {
            records_max: pull.numbers.max_msg_nums,
            bytes_max: pull.numbers.max_msg_bytes,
            kind_records_max: self.config.max_transfer_count_on_message_in_memory,
            kind_bytes_max: self.config.max_transfer_bytes_on_message_in_memory,
        }
    }
}

impl Read {
    /// The code a status is answered with; it depends on what was asked for.
    fn code(&self, queue_offset: i64) -> i32 {
        match self.status {
            ReadStatus::Found => response::SUCCESS,
            ReadStatus::NoMatchedMessage | ReadStatus::MessageWasRemoving => response::PULL_RETRY_IMMEDIATELY,
            ReadStatus::OffsetFoundNull | ReadStatus::OffsetOverflowOne => response::PULL_NOT_FOUND,
            ReadStatus::NoMessageInQueue if queue_offset == 0 => response::PULL_NOT_FOUND,
            ReadStatus::NoMessageInQueue
            | ReadStatus::OffsetOverflowBadly
            | ReadStatus::OffsetTooSmall
            | ReadStatus::OffsetReset => response::PULL_OFFSET_MOVED,
        }
    }
}

/// The files could not be read for a pull.
#[cold]
fn refuse_pull(pull: &HeldPull, error: String, out: &mut Outbox) {
    out.refuse(pull.as_pull().to, &Refusal::with_empty_fields(response::SYSTEM_ERROR, error));
}

/// How often the files are asked before a place in a queue counts as unreadable.
const COLD_TRIES_MAX: u32 = 3;
/// A consume queue entry on disk.
const QUEUE_UNIT_BYTES: u64 = 20;
/// slaveReadEnable is false here: the master is always the one to ask.
const MASTER_ID: i64 = 0;
