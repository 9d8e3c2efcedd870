//! The send desk: codes 10, 310 and 320.
//!
//! ```text
//! header --check_send--> topic and queue --properties--> one record, a batch of them, or a half message
//!                                                             |
//!                                                  log --+-- ASYNC_FLUSH or WAIT=false: answered now
//!                                                        '-- SYNC_FLUSH: the gate answers when the disk has it
//! ```
//!
//! What passes is stored exactly once, body untouched. Codes, remarks and order are those of SendMessageProcessor; the checks are in
//! send_checks.rs. Deliberately absent: exact delivery times (TIMER_*), refused as with timerWheelEnable=false, and
//! inner batches.

use protocol::code::response;
use protocol::header::Alike;
use protocol::headers::SendMessageRequestHeader;
use protocol::ids;
use protocol::names::{RETRY_PREFIX, TRANS_HALF_TOPIC};
use protocol::properties::{self, key};
use protocol::record::{RecordDraft, sys_flag};
use store::Appended;

use crate::broker::put::push_number;
use crate::broker::send_properties::{Known, STAMP_NAMES, Seen};
use crate::broker::sent::Sent;
use crate::broker::topics::TopicIndex;
use crate::broker::{Broker, Refusal, Request};
use crate::outbox::Outbox;
use crate::time::TurnTime;

/// Where a checked send goes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub topic: TopicIndex,
    pub queue_id: i32,
}

impl Broker {
    pub(super) fn send(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        self.counters.sends += 1;
        let header = req.send.header()?;
        if req.body.is_empty() {
            return Err(Refusal::new(response::SYSTEM_ERROR, "the message has no body"));
        }
        if let Err(refusal) = self.checked_send(req, header, out) {
            if refusal.is_no_room() {
                return Err(refusal);
            }
            self.counters.refusals += 1;
            out.refuse_with(req.reply_to(), &refusal, |w| w.encoded(&self.region));
        }
        Ok(())
    }

    fn checked_send(
        &mut self,
        req: &Request<'_>,
        header: &SendMessageRequestHeader<'_>,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        let target = self.check_send(req, header)?;
        if header.batch {
            return self.send_batch(req, header, target, out);
        }
        // The lists leave the broker while it works on them, and come back warm.
        let mut list = std::mem::take(&mut self.scratch.properties);
        let sent = self.send_one(req, header, target, &mut list);
        self.scratch.properties = list;
        let (appended, waits) = sent?;
        let uniq_key = std::mem::take(&mut self.scratch.uniq_key);
        let sent = Sent {
            queue_id: target.queue_id,
            queue_offset: appended.queue_offset.0,
            places: &[appended.physical],
            transaction_id: Some(&uniq_key),
        };
        self.answer_sent(req.reply_to(), &sent, appended.end(), waits, req.now, out);
        self.scratch.uniq_key = uniq_key;
        Ok(())
    }

    fn send_one(
        &mut self,
        req: &Request<'_>,
        header: &SendMessageRequestHeader<'_>,
        checked: Target,
        list: &mut Vec<u8>,
    ) -> Result<(Appended, bool), Refusal> {
        let mut target = checked;
        let mut seen = self.take_properties(header, list, req);
        let reconsume_times = header.reconsume_times.unwrap_or(0);
        let topic = self.topics.get(target.topic).expect("checked");
        let mut flags = header.sys_flag;
        if topic.multi_tag {
            flags |= sys_flag::MULTI_TAGS;
        }
        if topic.name.starts_with(RETRY_PREFIX) && self.is_dead_letter(req, header, target.topic)? {
            target = self.dead_letter_target(target.topic, req.now)?;
            self.replace_property(list, key::DELAY, b"-1");
            seen.delay_level = Some(-1);
        }
        let Some(delay_level) = seen.delay_level else {
            return Err(Refusal::new(response::SYSTEM_ERROR, "the property DELAY is not a number"));
        };
        let is_half = seen.is_half && !(reconsume_times > 0 && delay_level > 0);
        if is_half {
            if self.config.reject_transaction_message {
                let ip = self.address.ip();
                let remark = format!("the broker[{ip}] sending transaction message is forbidden");
                return Err(Refusal::new(response::NO_PERMISSION, remark));
            }
            flags &= !sys_flag::TRANSACTION_MASK;
            target = self.half_target(target, list, req.now);
        }
        let is_plain = matches!(flags & sys_flag::TRANSACTION_MASK, 0 | sys_flag::TRANSACTION_COMMIT);
        if is_plain && seen.is_timed && delay_level <= 0 {
            let remark = "accurate timer message is not enabled, timerWheelEnable is false";
            return Err(Refusal::new(response::SYSTEM_ERROR, remark));
        }
        let copy;
        let name = match header.topic.plain_bytes() {
            Some(name) if target.topic == checked.topic => name,
            _ => {
                copy = self.topics.get(target.topic).expect("checked").name.clone();
                copy.as_bytes()
            }
        };
        let draft = RecordDraft {
            topic: name,
            queue_id: target.queue_id,
            flag: header.flag,
            sys_flag: flags,
            born_timestamp: header.born_timestamp,
            born_host: req.peer,
            store_host: self.address,
            reconsume_times,
            prepared_transaction_offset: 0,
            body: req.body,
            properties: list,
        };
        // A half message is delayed when it is committed; the official broker would lose it on its way.
        let appended = if is_plain && delay_level > 0 && !is_half {
            self.put_delayed(&draft, delay_level, req.now)?
        } else {
            self.append(target.topic, &draft, seen.tags_code, req.now)?
        };
        Ok((appended, seen.waits))
    }

    /// Brings the client's properties into `list` as they will be stored; the UNIQ_KEY goes to the scratch as well.
    fn take_properties(
        &mut self,
        header: &SendMessageRequestHeader<'_>,
        list: &mut Vec<u8>,
        req: &Request<'_>,
    ) -> Seen {
        list.clear();
        let (seen, uniq_key) = match self.shapes.alike(&req.send) {
            Some(Alike { properties, derived }) => {
                list.extend_from_slice(properties);
                derived.get_or_insert_with(|| Known::of(properties)).in_list(list)
            }
            None => {
                header.properties.unwrap_or_default().append_to(list);
                Seen::read(list)
            }
        };
        let has_uniq_key = uniq_key.is_some();
        self.scratch.uniq_key.clear();
        match uniq_key {
            Some(uniq_key) => self.scratch.uniq_key.extend_from_slice(uniq_key),
            None => {
                let id = self.uniq_keys.next(ids::ms_of_month(req.now.wall_ms));
                self.scratch.uniq_key.extend_from_slice(id.as_str().as_bytes());
            }
        }
        if seen.has_stamp {
            self.scratch.rebuilt.clear();
            properties::extend_without(&mut self.scratch.rebuilt, list, &STAMP_NAMES);
            std::mem::swap(list, &mut self.scratch.rebuilt);
        } else if list.last().is_some_and(|last| *last != properties::ENTRY_SEPARATOR) {
            list.push(properties::ENTRY_SEPARATOR);
        }
        if !has_uniq_key {
            properties::push(list, key::UNIQ_KEY, &self.scratch.uniq_key);
        }
        list.extend_from_slice(&self.stamp);
        seen
    }

    /// A half message lies in the half topic, hidden from consumers, until END_TRANSACTION; where it is meant for goes
    /// with it.
    fn half_target(&mut self, target: Target, list: &mut Vec<u8>, now: &TurnTime) -> Target {
        let name = self.topics.get(target.topic).expect("checked").name.clone();
        let rebuilt = &mut self.scratch.rebuilt;
        rebuilt.clear();
        // It is no copy of another one, whatever it says, which would be taken for decided with it.
        let ours = [key::REAL_TOPIC, key::REAL_QID, key::TRANSACTION_ID, key::TRAN_PREPARED_QUEUE_OFFSET];
        properties::extend_without(rebuilt, list, &ours);
        properties::push(rebuilt, key::REAL_TOPIC, name.as_bytes());
        push_number(rebuilt, key::REAL_QID, target.queue_id);
        properties::push(rebuilt, key::TRANSACTION_ID, &self.scratch.uniq_key);
        std::mem::swap(list, rebuilt);
        let topic = self.topics.start_topic(TRANS_HALF_TOPIC, now.wall_ms, &mut self.ops);
        Target { topic, queue_id: 0 }
    }

    fn replace_property(&mut self, list: &mut Vec<u8>, name: &str, value: &[u8]) {
        let rebuilt = &mut self.scratch.rebuilt;
        rebuilt.clear();
        properties::extend_without(rebuilt, list, &[name]);
        properties::push(rebuilt, name, value);
        std::mem::swap(list, rebuilt);
    }

    /// A batch: one append, consecutive queue offsets; properties are those inside, unchanged (MessageDecoder.decodeMessages).
    fn send_batch(
        &mut self,
        req: &Request<'_>,
        header: &SendMessageRequestHeader<'_>,
        target: Target,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        let topic = self.topics.get(target.topic).expect("checked").clone();
        if topic.name.len() > BATCH_TOPIC_BYTES_MAX {
            let remark = format!("message topic length too long {}", topic.name.len());
            return Err(Refusal::new(response::MESSAGE_ILLEGAL, remark));
        }
        if topic.name.starts_with(RETRY_PREFIX) {
            let remark = format!("batch request does not support retry group {}", topic.name);
            return Err(Refusal::new(response::MESSAGE_ILLEGAL, remark));
        }
        let mut list = std::mem::take(&mut self.scratch.properties);
        list.clear();
        if let Some(text) = header.properties {
            text.append_to(&mut list);
        }
        let (seen, transaction_id) = Seen::read(&list);
        let draft = RecordDraft {
            topic: topic.name.as_bytes(),
            queue_id: target.queue_id,
            flag: 0,
            sys_flag: header.sys_flag | if topic.multi_tag { sys_flag::MULTI_TAGS } else { 0 },
            born_timestamp: header.born_timestamp,
            born_host: req.peer,
            store_host: self.address,
            reconsume_times: header.reconsume_times.unwrap_or(0),
            prepared_transaction_offset: 0,
            body: &[],
            properties: &[],
        };
        let result = if draft.sys_flag & sys_flag::TRANSACTION_MASK != 0 || seen.delay_level != Some(0) {
            Err(self.illegal_message())
        } else {
            self.append_batch(target.topic, &draft, req.body, req.now)
        };
        if let Ok(appended) = &result {
            let places = std::mem::take(&mut self.scratch.batch);
            let sent = Sent {
                queue_id: target.queue_id,
                queue_offset: appended.first_offset.0,
                places: &places,
                transaction_id,
            };
            let end = appended.physical.plus(appended.bytes as u64);
            self.answer_sent(req.reply_to(), &sent, end, seen.waits, req.now, out);
            self.scratch.batch = places;
        }
        self.scratch.properties = list;
        result.map(|_| ())
    }
}

/// A batch to a longer topic name is refused, though single messages to a long retry topic are not.
const BATCH_TOPIC_BYTES_MAX: usize = 127;
