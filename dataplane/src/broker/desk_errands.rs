//! What the desks ask of the cold thread, and where its answers go on.
//!
//! ```text
//! desk --record below the hot log--> Errands --> cold thread --> desk_answered --> the desk's second half
//!                                                                    | no room in the log: stalled, again next turn
//! ```
//!
//! A request that needs an old record is finished here, long after its frame is gone, so everything it still needs
//! lies in its errand. Answers that store a message wait in line while the log has no room, as requests do.

use std::collections::VecDeque;

use protocol::record::RecordView;
use store::{ColdPull, PhysicalOffset, PullLimits, QueueIndex, QueueOffset};

use crate::broker::Broker;
use crate::broker::errands::{Answer, ColdAsk, Errand, Question};
use crate::broker::filter::TagFilter;
use crate::broker::offset_desk::OffsetErrand;
use crate::broker::schedule::DelayRead;
use crate::broker::send_back::SendBack;
use crate::broker::transaction::EndTransaction;
use crate::broker::transaction_check::CheckRead;
use crate::limits::{OLD_RECORDS_READ_BYTES_MAX, OLD_RECORDS_READ_MAX, STALLED_PER_TURN_MAX};
use crate::outbox::Outbox;
use crate::time::TurnTime;

/// Who of the desks waits for an answer.
#[derive(Debug)]
pub enum DeskErrand {
    SendBack(Box<SendBack>),
    EndTransaction(Box<EndTransaction>),
    Offset(OffsetErrand),
    Delay(DelayRead),
    Check(CheckRead),
}

/// Answers with a record to store, waiting for room in the log.
#[derive(Debug, Default)]
pub struct Stalled {
    queue: VecDeque<(DeskErrand, Option<Vec<u8>>)>,
}

impl Broker {
    /// The cold thread has answered a desk.
    pub(super) fn desk_answered(
        &mut self,
        errand: DeskErrand,
        answer: Answer,
        now: &TurnTime,
        out: &mut Outbox,
    ) {
        match (errand, answer) {
            (errand @ (DeskErrand::SendBack(_) | DeskErrand::EndTransaction(_)), Answer::Bytes(bytes)) => {
                self.stalled.queue.push_back((errand, bytes));
                self.run_stalled(now, out);
            }
            (errand @ (DeskErrand::SendBack(_) | DeskErrand::EndTransaction(_)), Answer::Failed(_)) => {
                self.stalled.queue.push_back((errand, None));
                self.run_stalled(now, out);
            }
            (DeskErrand::Offset(errand), answer) => self.offset_answered(errand, answer, out),
            (DeskErrand::Delay(read), Answer::Pulled(pulled)) => self.delay_answered(read, Some(pulled), now),
            (DeskErrand::Delay(read), Answer::Failed(_)) => self.delay_answered(read, None, now),
            (DeskErrand::Check(read), Answer::Pulled(pulled)) => self.check_answered(read, Some(pulled), now),
            (DeskErrand::Check(read), Answer::Failed(_)) => self.check_answered(read, None, now),
            (errand, answer) => unreachable!("{errand:?} was answered with {answer:?}"),
        }
    }

    /// Goes on with what waited for room. Called every turn.
    pub(super) fn run_stalled(&mut self, now: &TurnTime, out: &mut Outbox) {
        for _ in 0..STALLED_PER_TURN_MAX {
            if self.stalled.queue.is_empty() || !self.has_room_for_copy() {
                return;
            }
            let Some((errand, bytes)) = self.stalled.queue.pop_front() else { return };
            let record = bytes.as_deref().and_then(|bytes| RecordView::parse(bytes).ok());
            match errand {
                DeskErrand::SendBack(back) => self.finish_send_back(&back, record.as_ref(), now, out),
                DeskErrand::EndTransaction(end) => {
                    self.finish_end_transaction(&end, record.as_ref(), now, out)
                }
                errand => unreachable!("{errand:?} never waits for room"),
            }
        }
    }

    /// Whether any stored message could be stored once more, with some properties added, and a note about it.
    pub(super) fn has_room_for_copy(&self) -> bool {
        self.store.has_room(self.config.max_message_size as usize + COPY_EXTRA_BYTES)
    }

    /// Asks for the record that lies at `physical`, below the hot log.
    pub(super) fn ask_record(&mut self, physical: i64, errand: DeskErrand) {
        self.errands.ask(Question::Record(PhysicalOffset(physical)), Errand::Desk(errand));
    }

    /// Asks for the next records of a queue from `offset` on, below the hot log.
    pub(super) fn ask_queue(&mut self, queue: QueueIndex, offset: i64, errand: DeskErrand) {
        let mut filter = TagFilter::default();
        filter.set_all();
        let (topic, queue_id) = self.store.queue_name(queue);
        let ask = ColdAsk {
            topic: topic.into(),
            queue_id,
            offsets: QueueOffset(offset)..self.store.offsets(queue).end,
            limits: PullLimits {
                messages: OLD_RECORDS_READ_MAX,
                bytes: OLD_RECORDS_READ_BYTES_MAX as usize,
                entries: OLD_RECORDS_READ_MAX,
                messages_ahead: OLD_RECORDS_READ_MAX,
                bytes_ahead: OLD_RECORDS_READ_BYTES_MAX as usize,
                shares: false,
            },
            filter,
        };
        self.errands.ask(Question::Pull(ask), Errand::Desk(errand));
    }

    /// A copy of the record at `physical` if it is hot, in a buffer that `keep_buffer` takes back.
    pub(super) fn copy_hot(&mut self, physical: i64) -> Option<Vec<u8>> {
        let record = self.store.record_at(PhysicalOffset(physical))?;
        let mut bytes = std::mem::take(&mut self.record_buffer);
        bytes.clear();
        bytes.extend_from_slice(record.bytes);
        Some(bytes)
    }

    pub(super) fn keep_buffer(&mut self, bytes: Vec<u8>) {
        if bytes.capacity() <= RECORD_BUFFER_BYTES_MAX {
            self.record_buffer = bytes;
        }
    }
}

/// Records read ahead from below the hot log, handed out one by one.
#[derive(Debug, Default)]
pub struct ReadAhead {
    bytes: Vec<u8>,
    at: usize,
}

impl ReadAhead {
    /// Takes over what a read from `offset` on brought; None when the files could not be read.
    pub fn fill(&mut self, pulled: Option<ColdPull>, offset: i64) -> Filled {
        self.clear();
        let Some(pulled) = pulled.filter(|pulled| pulled.next.0 > offset) else { return Filled::Nothing };
        self.bytes = pulled.bytes;
        match self.front().map(|record| record.queue_offset) {
            Some(front) if front <= offset => Filled::Records,
            Some(front) => Filled::Gone { next_offset: front },
            None => Filled::Gone { next_offset: pulled.next.0.max(offset + 1) },
        }
    }

    /// The record at the front, whatever its queue offset.
    pub fn front(&self) -> Option<RecordView<'_>> {
        RecordView::parse(self.bytes.get(self.at..)?).ok()
    }

    /// Takes the front record out, as bytes.
    pub fn take(&mut self, queue_offset: i64) -> Option<Vec<u8>> {
        while let Some(record) = self.front() {
            let (size, found) = (record.bytes.len(), record.queue_offset);
            let bytes = (found == queue_offset).then(|| record.bytes.to_vec());
            if found > queue_offset {
                break;
            }
            self.at += size;
            if bytes.is_some() {
                return bytes;
            }
        }
        self.clear();
        None
    }

    pub fn clear(&mut self) {
        *self = ReadAhead::default();
    }
}

/// What a cold read of a queue brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    Records,
    /// Nothing is there; the queue goes on at this offset.
    Gone {
        next_offset: i64,
    },
    /// The files cannot be read, or do not have it yet: to be tried again.
    Nothing,
}

/// What properties and headers a copy of a message may need beyond its body: 32 KiB of properties, a topic, a head; and
/// an op message.
const COPY_EXTRA_BYTES: usize = 64 * 1024;
/// A buffer that a large message has blown up is given back.
const RECORD_BUFFER_BYTES_MAX: usize = 256 * 1024;
