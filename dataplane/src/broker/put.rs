//! Putting a message into the log: the way of every desk that stores one.
//!
//! ```text
//! draft --delay level > 0--> SCHEDULE_TOPIC_XXXX, queue = level - 1, REAL_TOPIC and REAL_QID kept
//!       --------------------> size checks --> append --> wake the queue's held pulls (once the level is reached)
//! ```
//!
//! What the store says no to becomes the official code and remark here (SendMessageProcessor.handlePutMessageResult).

use protocol::batch;
use protocol::code::response;
use protocol::names::SCHEDULE_TOPIC;
use protocol::properties::{self, PROPERTIES_BYTES_MAX, key};
use protocol::record::RecordDraft;
use store::{
    AppendError, Appended, BatchAppendError, BatchAppended, LogRange, PhysicalOffset, QueueIndex, QueueOffset,
};

use crate::broker::delay;
use crate::broker::filter::TagFilter;
use crate::broker::read::Level;
use crate::broker::topics::TopicIndex;
use crate::broker::{Broker, Refusal};
use crate::time::TurnTime;

/// Buffers that stay warm: nothing is allocated per message.
#[derive(Debug, Default)]
pub struct Scratch {
    /// A message's properties as they will be stored, and a second list to rebuild them in.
    pub properties: Vec<u8>,
    pub rebuilt: Vec<u8>,
    /// The UNIQ_KEY of the message in hand.
    pub uniq_key: Vec<u8>,
    /// Physical offsets of the records of a batch.
    pub batch: Vec<PhysicalOffset>,
    /// What a pull wants and what it gets.
    pub filter: TagFilter,
    pub ranges: Vec<LogRange>,
}

/// The store's queues of the topics, interned once. One row per topic index.
#[derive(Debug, Default)]
pub struct Queues {
    rows: Vec<Vec<Option<QueueIndex>>>,
}

impl Broker {
    /// The store's index of a queue.
    #[inline]
    pub fn queue(&mut self, topic: TopicIndex, queue_id: i32) -> QueueIndex {
        let known = self
            .queues
            .rows
            .get(topic.as_usize())
            .and_then(|row| row.get(queue_id as usize).copied().flatten());
        match known {
            Some(queue) => queue,
            None => self.intern_queue(topic, queue_id),
        }
    }

    /// Stores a message for a desk; with a level above 0 it goes to its queue when the delay is over.
    pub fn put(
        &mut self,
        draft: &RecordDraft<'_>,
        delay_level: i32,
        now: &TurnTime,
    ) -> Result<Appended, Refusal> {
        if delay_level > 0 {
            return self.put_delayed(draft, delay_level, now);
        }
        let topic = std::str::from_utf8(draft.topic).ok().and_then(|name| self.topics.find(name));
        let Some(topic) = topic else {
            let name = String::from_utf8_lossy(draft.topic);
            return Err(Refusal::new(response::SYSTEM_ERROR, format!("topic[{name}] not exist")));
        };
        self.append(topic, draft, properties::tags_code(draft.properties), now)
    }

    /// Stores a message in the schedule topic, to be delivered to its own when the level's delay is over.
    pub(super) fn put_delayed(
        &mut self,
        draft: &RecordDraft<'_>,
        level: i32,
        now: &TurnTime,
    ) -> Result<Appended, Refusal> {
        let clamped = delay::clamp(&self.config.message_delay_level, level);
        let mut list = std::mem::take(&mut self.scratch.rebuilt);
        list.clear();
        properties::extend_without(
            &mut list,
            draft.properties,
            &[key::REAL_TOPIC, key::REAL_QID, key::DELAY],
        );
        push_number(&mut list, key::DELAY, clamped);
        properties::push(&mut list, key::REAL_TOPIC, draft.topic);
        push_number(&mut list, key::REAL_QID, draft.queue_id);
        let diverted = RecordDraft {
            topic: SCHEDULE_TOPIC.as_bytes(),
            queue_id: clamped - 1,
            properties: &list,
            ..*draft
        };
        let topic = self.topics.start_topic(SCHEDULE_TOPIC, now.wall_ms, &mut self.ops);
        let delivery_ms = now.wall_ms + delay::delay_ms(&self.config.message_delay_level, clamped);
        let appended = self.append(topic, &diverted, delivery_ms, now);
        self.scratch.rebuilt = list;
        appended
    }

    /// The last step: sizes, log, wake-ups.
    pub(super) fn append(
        &mut self,
        topic: TopicIndex,
        draft: &RecordDraft<'_>,
        tags_code: i64,
        now: &TurnTime,
    ) -> Result<Appended, Refusal> {
        if draft.properties.len() > PROPERTIES_BYTES_MAX
            || draft.body.len() > self.config.max_message_size as usize
        {
            return Err(self.illegal_message());
        }
        let queue = self.queue(topic, draft.queue_id);
        match self.store.append(queue, draft, tags_code, now.wall_ms) {
            Ok(appended) => {
                self.counters.put_messages += 1;
                self.counters.put_bytes += u64::from(appended.size);
                if draft.is_queued() {
                    self.arrived(queue, appended.queue_offset, appended.end(), tags_code);
                }
                Ok(appended)
            }
            Err(error) => Err(self.append_refusal(error)),
        }
    }

    /// Stores the messages of a batch body, all or none. `common` is what they share.
    pub(super) fn append_batch(
        &mut self,
        topic: TopicIndex,
        common: &RecordDraft<'_>,
        body: &[u8],
        now: &TurnTime,
    ) -> Result<BatchAppended, Refusal> {
        if body.len() > self.config.max_message_size as usize {
            let remark =
                format!("message batch of {}B is longer than {}B", body.len(), self.config.max_message_size);
            return Err(Refusal::new(response::SYSTEM_ERROR, remark));
        }
        let queue = self.queue(topic, common.queue_id);
        let places = &mut self.scratch.batch;
        match self.store.append_batch(queue, common, batch::iter(body), now.wall_ms, places) {
            Ok(appended) => {
                self.counters.put_messages += appended.count as u64;
                self.counters.put_bytes += appended.bytes as u64;
                self.batch_arrived(queue, &appended, body);
                Ok(appended)
            }
            Err(BatchAppendError::Append(error)) => Err(self.append_refusal(error)),
            Err(BatchAppendError::Batch(error)) => {
                self.counters.put_failures += 1;
                Err(Refusal::new(response::SYSTEM_ERROR, error.to_string()))
            }
        }
    }

    /// A message lies in its queue: whoever waits for it may go, now or once it has reached its level. Who comes to
    /// wait while it is not yet synced must be woken too.
    #[inline]
    fn arrived(&mut self, queue: QueueIndex, offset: QueueOffset, end: PhysicalOffset, tags_code: i64) {
        match self.level() {
            Level::Memory => {
                if self.holds.waits_on(queue) {
                    self.holds.arrived(queue, offset.0 + 1, tags_code);
                }
            }
            Level::Disk => self.gate.arrives(end, queue, offset.0 + 1, tags_code),
        }
    }

    fn batch_arrived(&mut self, queue: QueueIndex, appended: &BatchAppended, body: &[u8]) {
        if self.level() == Level::Memory && !self.holds.waits_on(queue) {
            return;
        }
        let end = appended.physical.plus(appended.bytes as u64);
        for (nth, message) in batch::iter(body).flatten().enumerate() {
            let tags_code = properties::tags_code(message.properties);
            self.arrived(queue, appended.first_offset.plus(nth as u64), end, tags_code);
        }
    }

    #[cold]
    pub(super) fn append_refusal(&mut self, error: AppendError) -> Refusal {
        self.counters.put_failures += 1;
        match error {
            AppendError::ReadOnly | AppendError::DiskFull => {
                Refusal::new(response::SERVICE_NOT_AVAILABLE, NOT_AVAILABLE)
            }
            AppendError::TooBig { .. } => self.illegal_message(),
            AppendError::NoRoom => Refusal::no_room(),
        }
    }

    #[cold]
    pub(super) fn illegal_message(&self) -> Refusal {
        let remark = format!(
            "the message is illegal, maybe msg body or properties length not matched. msg body length limit {}B, \
             msg properties length limit 32KB.",
            self.config.max_message_size
        );
        Refusal::new(response::MESSAGE_ILLEGAL, remark)
    }

    #[cold]
    fn intern_queue(&mut self, topic: TopicIndex, queue_id: i32) -> QueueIndex {
        assert!(queue_id >= 0);
        let name = &self.topics.get(topic).expect("only topics that are there are written or read").name;
        let queue = self.store.queue(name, queue_id);
        let (at, id) = (topic.as_usize(), queue_id as usize);
        if id >= QUEUES_CACHED_MAX {
            return queue;
        }
        if at >= self.queues.rows.len() {
            self.queues.rows.resize_with(at + 1, Vec::new);
        }
        let row = &mut self.queues.rows[at];
        if id >= row.len() {
            row.resize(id + 1, None);
        }
        row[id] = Some(queue);
        queue
    }
}

/// Adds a property that is a number.
pub fn push_number(list: &mut Vec<u8>, name: &str, number: i32) {
    properties::push(list, name, protocol::decimal::Decimal::new(i64::from(number)).as_bytes());
}

/// Queues of a topic whose index is kept at hand; the store looks up the others by name.
const QUEUES_CACHED_MAX: usize = 65_536;
const NOT_AVAILABLE: &str = "service not available now. It may be caused by one of the following reasons: the broker's \
     disk is full, messages are put to the slave, message store has been shut down, etc.";
