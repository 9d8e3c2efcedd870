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
use store::{PhysicalOffset, PullLimits, QueueIndex, QueueOffset};

use crate::broker::Broker;
use crate::broker::errands::{Answer, ColdAsk, Question, waiting};
use crate::broker::filter::TagFilter;
use crate::broker::offset_desk::OffsetErrand;
use crate::broker::schedule::DelayRead;
use crate::broker::send_back::SendBack;
use crate::broker::transaction::EndTransaction;
use crate::broker::transaction_check::CheckRead;
use crate::limits::{OLD_RECORDS_READ_BYTES_MAX, OLD_RECORDS_READ_MAX, STALLED_PER_TURN_MAX};
use crate::outbox::Outbox;
use crate::time::TurnTime;

waiting! {
    /// Who of the desks waits for an answer.
    DeskErrand:
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

    /// Asks the cold thread for a desk.
    pub(super) fn ask_for_desk(&mut self, question: Question, errand: impl Into<DeskErrand>) {
        self.errands.ask(question, errand.into());
    }

    /// Asks for the record that lies at `physical`, below the hot log.
    pub(super) fn ask_record(&mut self, physical: i64, errand: impl Into<DeskErrand>) {
        self.ask_for_desk(Question::Record(PhysicalOffset(physical)), errand);
    }

    /// Asks for the next records of a queue from `offset` on, below the hot log.
    pub(super) fn ask_queue(&mut self, queue: QueueIndex, offset: i64, errand: impl Into<DeskErrand>) {
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
        self.ask_for_desk(Question::Pull(ask), errand);
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

/// What properties and headers a copy of a message may need beyond its body: 32 KiB of properties, a topic, a head; and
/// an op message.
const COPY_EXTRA_BYTES: usize = 64 * 1024;
/// A buffer that a large message has blown up is given back.
const RECORD_BUFFER_BYTES_MAX: usize = 256 * 1024;
