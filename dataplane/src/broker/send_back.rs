//! The send-back desk (code 36): a message a consumer could not handle comes again later, or is given up.
//!
//! ```text
//! original, by its place in the log --hot: now, old: by the cold thread--> copy, reconsumeTimes + 1
//!    | attempts left: %RETRY%group through SCHEDULE_TOPIC_XXXX, 10 s for the first retry, 2 h at last
//!    '-- none left, or delayLevel < 0: %DLQ%group
//! ```
//!
//! The copy keeps body, flags, birth and every property of the original. Implements B-6 (docs/PROMISES.md).

use protocol::code::response;
use protocol::headers::{ConsumerSendMsgBackRequestHeader, CustomHeader};
use protocol::ids;
use protocol::names::{DLQ_PREFIX, RETRY_PREFIX};
use protocol::properties::{self, key};
use protocol::record::{RecordDraft, RecordView};
use protocol::version;

use crate::broker::delay;
use crate::broker::put::push_number;
use crate::broker::send_checks::{TOPIC_SYS_FLAG_UNIT_SUB, group_not_exist};
use crate::broker::topic_config::PERM_WRITE;
use crate::broker::{Broker, Refusal, ReplyTo, Request};
use crate::outbox::Outbox;
use crate::time::TurnTime;

/// A send-back that passed its checks, while its original is looked up.
#[derive(Debug)]
pub struct SendBack {
    to: ReplyTo,
    group: String,
    physical: i64,
    delay_level: i32,
    attempts_max: i32,
}

impl Broker {
    /// Code 36.
    pub(super) fn send_back(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let header = ConsumerSendMsgBackRequestHeader::read(&req.header.fields)?;
        let group = header.group.to_cow();
        let now_ms = req.now.wall_ms;
        let auto_create = self.config.auto_create_subscription_group;
        let found = self.groups.find_or_create(&group, auto_create, now_ms, &mut self.ops);
        let config = found.map_err(|why| why.refusal(|| group_not_exist(&group)))?.clone();
        if !self.config.broker_permission.can_write() {
            let remark = format!("the broker[{}] sending message is forbidden", self.address.ip());
            return Err(Refusal::new(response::NO_PERMISSION, remark));
        }
        if config.retry_queue_nums <= 0 {
            out.done(req.reply_to());
            return Ok(());
        }
        let topic = format!("{RETRY_PREFIX}{group}");
        let unit_flag = if header.unit_mode { TOPIC_SYS_FLAG_UNIT_SUB } else { 0 };
        let queues = config.retry_queue_nums;
        let index = self.topics.create_for_group(&topic, queues, None, unit_flag, now_ms, &mut self.ops)?;
        let perm = self.topics.get(index).expect("just made or found").perm;
        if perm & PERM_WRITE == 0 {
            let remark = format!("the topic[{topic}] sending message is forbidden");
            return Err(Refusal::new(response::NO_PERMISSION, remark));
        }
        let attempts_max = match header.max_reconsume_times {
            Some(max) if req.header.version >= version::V3_4_9 => max,
            _ => config.retry_max_times,
        };
        let back = SendBack {
            to: req.reply_to(),
            group: group.into_owned(),
            physical: header.offset,
            delay_level: header.delay_level,
            attempts_max,
        };
        if !self.has_room_for_copy() {
            return Err(Refusal::no_room());
        }
        match self.copy_hot(back.physical) {
            Some(bytes) => {
                let record = RecordView::parse(&bytes).ok();
                self.finish_send_back(&back, record.as_ref(), req.now, out);
                self.keep_buffer(bytes);
            }
            None if self.is_below_hot(back.physical) => {
                self.ask_record(back.physical, Box::new(back));
            }
            None => self.finish_send_back(&back, None, req.now, out),
        }
        Ok(())
    }

    /// The original is here, or nowhere.
    pub(super) fn finish_send_back(
        &mut self,
        back: &SendBack,
        record: Option<&RecordView<'_>>,
        now: &TurnTime,
        out: &mut Outbox,
    ) {
        let Some(record) = record.filter(|record| record.physical_offset == back.physical) else {
            let remark = format!("look message by offset failed, {}", back.physical);
            return out.refuse(back.to, &Refusal::new(response::SYSTEM_ERROR, remark));
        };
        match self.store_retry(back, record, now) {
            Ok(()) => out.done(back.to),
            Err(refusal) => out.refuse(back.to, &refusal),
        }
    }

    fn store_retry(
        &mut self,
        back: &SendBack,
        record: &RecordView<'_>,
        now: &TurnTime,
    ) -> Result<(), Refusal> {
        let dead = record.reconsume_times >= back.attempts_max || back.delay_level < 0;
        let (topic, queue_id, level) = if dead {
            let topic = format!("{DLQ_PREFIX}{}", back.group);
            self.topics.create_for_group(&topic, DLQ_QUEUES, None, 0, now.wall_ms, &mut self.ops)?;
            (topic, 0, 0)
        } else {
            let topic = format!("{RETRY_PREFIX}{}", back.group);
            let wanted = self.groups.get(&back.group).map_or(1, |config| config.retry_queue_nums);
            // The topic may be older than the group's wish for more queues.
            let has = self.topics.config(&topic).map_or(1, |config| config.write_queue_nums);
            let queue_id = self.rng.below(wanted.min(has).max(1) as u64) as i32;
            let level = match back.delay_level {
                0 => delay::retry_level(record.reconsume_times),
                level => level,
            };
            (topic, queue_id, level)
        };
        let level = if level > 0 { delay::clamp(&self.config.message_delay_level, level) } else { 0 };
        let mut list = std::mem::take(&mut self.scratch.properties);
        retry_properties(&mut list, record, level);
        let draft = RecordDraft {
            topic: topic.as_bytes(),
            queue_id,
            store_host: self.address,
            reconsume_times: record.reconsume_times.saturating_add(1),
            prepared_transaction_offset: 0,
            properties: &list,
            ..record.to_draft()
        };
        let stored = self.put(&draft, level, now);
        self.scratch.properties = list;
        stored.map(|_| ()).map_err(|refusal| Refusal::new(response::SYSTEM_ERROR, status_name(refusal.code)))
    }

    /// Whether a place lies in the kept part of the log that has left the hot one.
    pub(super) fn is_below_hot(&self, physical: i64) -> bool {
        (self.store.min_physical().0..self.store.hot_start().0).contains(&physical)
    }
}

/// The properties of a retry: the original's, and where it comes from.
fn retry_properties(list: &mut Vec<u8>, original: &RecordView<'_>, level: i32) {
    list.clear();
    properties::extend_without(list, original.properties, &[key::WAIT, key::DELAY]);
    if properties::get(original.properties, key::RETRY_TOPIC).is_none() {
        properties::push(list, key::RETRY_TOPIC, original.topic);
    }
    if properties::get(original.properties, key::ORIGIN_MESSAGE_ID).is_none() {
        let id = ids::offset_id(original.store_host, original.physical_offset);
        properties::push(list, key::ORIGIN_MESSAGE_ID, id.as_str().as_bytes());
    }
    properties::push(list, key::WAIT, b"false");
    push_number(list, key::DELAY, level);
}

/// The put status behind a code, as the official remark has it.
fn status_name(code: i32) -> &'static str {
    match code {
        response::MESSAGE_ILLEGAL => "MESSAGE_ILLEGAL",
        response::SERVICE_NOT_AVAILABLE => "SERVICE_NOT_AVAILABLE",
        _ => "UNKNOWN_ERROR",
    }
}

const DLQ_QUEUES: i32 = 1;
