//! Asks producers about half messages that nobody has ended.
//!
//! ```text
//! start   op queue from its committed offset on --> Halves: what is ended already
//! round   half queue from the first undecided on, every transactionCheckInterval:
//!           asked 15 times, or days old   -> TRANS_CHECK_MAX_TIME_TOPIC
//!           immune for longer, by its own word -> put back at the end of the half queue
//!           younger than transactionTimeOut, or newer than the round -> the round ends
//!           otherwise  -> put back with its count + 1; code 39 to one producer of its group
//! ```
//!
//! A message is put back before anybody is asked, so that the question survives the retention of the log. Both offsets
//! are those of the group CID_RMQ_SYS_TRANS. Everything is done in bounded steps of the shard's turn; what has left the
//! hot log is read ahead by the cold thread. Implements B-9 (docs/PROMISES.md).

use protocol::code::{request, response};
use protocol::header::Text;
use protocol::headers::CheckTransactionStateRequestHeader;
use protocol::ids;
use protocol::names::{
    TRANS_CHECK_MAX_TIME_TOPIC, TRANS_CONSUMER_GROUP, TRANS_HALF_TOPIC, TRANS_OP_HALF_TOPIC,
};
use protocol::properties::{self, PROPERTIES_BYTES_MAX, key};
use protocol::record::{RecordDraft, RecordView, Stamp};
use store::{Appended, ColdPull, QueueIndex, QueueOffset, Store, UnitAt};

use crate::broker::halves::Halves;
use crate::broker::offsets::ConsumerOffsets;
use crate::broker::put::push_number;
use crate::broker::read_ahead::{Filled, ReadAhead};
use crate::broker::{Broker, Refusal};
use crate::limits::HALVES_PER_TURN_MAX;
use crate::outbox::{Body, Outbox};
use crate::time::TurnTime;

/// Where the check loop stands.
#[derive(Debug)]
pub struct Transactions {
    halves: Halves,
    pub(super) half_queue: QueueIndex,
    op_queue: QueueIndex,
    phase: Phase,
    /// Ended while the op queue was still being read: half offset, op offset.
    late: Vec<(i64, i64)>,
    reading: bool,
    ahead: ReadAhead,
    /// What a cold read found missing: the queue goes on at this offset.
    gone_to: i64,
    /// The files could not be read.
    paused_until_ms: u64,
    next_round_ms: u64,
    kept: (i64, i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Op messages up to here were written by an earlier run.
    Loading {
        end: i64,
    },
    Idle,
    Walking {
        at: i64,
        started_ms: i64,
    },
}

/// A read-ahead on its way. There is never more than one.
#[derive(Debug, Clone, Copy)]
pub struct CheckRead {
    offset: i64,
}

enum Fetched {
    Record(Vec<u8>),
    /// Not in the log any more; the queue goes on at this offset.
    Gone(i64),
    /// Comes later.
    Reading,
}

/// What a round does with a half message.
enum Verdict {
    Decided,
    GiveUp,
    /// Comes again in a later round, without being asked about.
    PutBack,
    Ask {
        asked_before: i32,
    },
    /// This one and all after it are too young.
    EndRound,
}

impl Transactions {
    /// Goes on where the committed offsets of CID_RMQ_SYS_TRANS say.
    pub fn start(store: &mut Store, offsets: &ConsumerOffsets) -> Transactions {
        let mut begin = |topic| {
            let queue = store.queue(topic, 0);
            let kept = store.offsets(queue);
            let committed = offsets.committed(TRANS_CONSUMER_GROUP, topic, 0).unwrap_or(0);
            (queue, committed.clamp(kept.start.0, kept.end.0), kept.end.0)
        };
        let (half_queue, base, _) = begin(TRANS_HALF_TOPIC);
        let (op_queue, op_from, op_end) = begin(TRANS_OP_HALF_TOPIC);
        Transactions {
            halves: Halves::new(base, op_from),
            half_queue,
            op_queue,
            phase: Phase::Loading { end: op_end },
            late: Vec::new(),
            reading: false,
            ahead: ReadAhead::default(),
            gone_to: 0,
            paused_until_ms: 0,
            next_round_ms: 0,
            kept: (base, op_from),
        }
    }

    /// The op message at `op_offset` ends the half message at `half_offset`.
    pub fn decide(&mut self, half_offset: i64, op_offset: i64) {
        match self.phase {
            Phase::Loading { .. } => self.late.push((half_offset, op_offset)),
            Phase::Idle | Phase::Walking { .. } => self.halves.decide(half_offset, op_offset),
        }
    }
}

impl Broker {
    /// Goes on with the check loop, up to a bound. Returns how many messages were looked at.
    pub(super) fn check_transactions(&mut self, now: &TurnTime, out: &mut Outbox) -> u32 {
        if now.mono_ms() < self.transactions.paused_until_ms {
            return 0;
        }
        let mut looked = 0;
        while looked < HALVES_PER_TURN_MAX && !self.transactions.reading {
            let goes_on = match self.transactions.phase {
                Phase::Loading { end } => self.load_op(end, now),
                Phase::Idle if now.mono_ms() < self.transactions.next_round_ms => false,
                Phase::Idle => {
                    let at = self.transactions.halves.base();
                    self.transactions.phase = Phase::Walking { at, started_ms: now.wall_ms };
                    true
                }
                Phase::Walking { at, started_ms } => self.look_at_half(at, started_ms, now, out),
            };
            if !goes_on {
                break;
            }
            looked += 1;
        }
        self.keep_transaction_offsets();
        looked
    }

    /// The cold thread has read ahead.
    pub(super) fn check_answered(&mut self, read: CheckRead, pulled: Option<ColdPull>, now: &TurnTime) {
        self.transactions.reading = false;
        match self.transactions.ahead.fill(pulled, read.offset) {
            Filled::Records => {}
            Filled::Gone { next_offset } => self.transactions.gone_to = next_offset,
            Filled::Nothing => self.transactions.paused_until_ms = now.mono_ms() + PAUSE_MS,
        }
    }

    /// Reads one op message of an earlier run. False when there is none left, or it comes later.
    fn load_op(&mut self, end: i64, now: &TurnTime) -> bool {
        let at = self.transactions.halves.op_next();
        if at >= end {
            let transactions = &mut self.transactions;
            for (half_offset, op_offset) in std::mem::take(&mut transactions.late) {
                transactions.halves.decide(half_offset, op_offset);
            }
            self.end_round(now);
            return false;
        }
        match self.fetch(self.transactions.op_queue, at) {
            Fetched::Record(bytes) => {
                if let Ok(op) = RecordView::parse(&bytes) {
                    let half_end = self.store.offsets(self.transactions.half_queue).end.0;
                    for half_offset in half_offsets(op.body).filter(|half_offset| *half_offset < half_end) {
                        self.transactions.halves.decide(half_offset, at);
                    }
                }
                self.transactions.halves.op_read(at);
                self.keep_buffer(bytes);
                true
            }
            Fetched::Gone(next) => {
                self.transactions.halves.op_read(next.max(at + 1) - 1);
                true
            }
            Fetched::Reading => false,
        }
    }

    /// Looks at the first undecided half message from `at` on. False when the round pauses or has ended.
    fn look_at_half(&mut self, at: i64, started_ms: i64, now: &TurnTime, out: &mut Outbox) -> bool {
        let at = self.transactions.halves.undecided_from(at);
        self.transactions.phase = Phase::Walking { at, started_ms };
        if at >= self.store.offsets(self.transactions.half_queue).end.0 {
            self.end_round(now);
            return false;
        }
        if !self.has_room_for_copy() {
            return false;
        }
        let bytes = match self.fetch(self.transactions.half_queue, at) {
            Fetched::Record(bytes) => bytes,
            Fetched::Gone(next) => {
                for gone in at..next.max(at + 1) {
                    self.transactions.halves.pass(gone);
                }
                return true;
            }
            Fetched::Reading => return false,
        };
        let goes_on = match RecordView::parse(&bytes) {
            Ok(half) => self.judge_half(at, &half, started_ms, now, out),
            Err(_) => {
                self.transactions.halves.pass(at);
                true
            }
        };
        self.keep_buffer(bytes);
        if !goes_on {
            self.end_round(now);
        }
        goes_on
    }

    fn judge_half(
        &mut self,
        at: i64,
        half: &RecordView<'_>,
        started_ms: i64,
        now: &TurnTime,
        out: &mut Outbox,
    ) -> bool {
        match self.verdict(at, half, started_ms, now) {
            Verdict::Decided => true,
            Verdict::EndRound => false,
            Verdict::GiveUp => self.give_up_half(at, half, now),
            Verdict::PutBack => match self.put_half_back(half, None, now) {
                Ok((appended, list)) => {
                    self.scratch.properties = list;
                    self.transactions.halves.put_back(at, appended.queue_offset.0);
                    true
                }
                Err(refusal) => refusal.code == response::MESSAGE_ILLEGAL && self.give_up_half(at, half, now),
            },
            Verdict::Ask { asked_before } => match self.put_half_back(half, Some(asked_before + 1), now) {
                Ok((appended, list)) => {
                    self.transactions.halves.put_back(at, appended.queue_offset.0);
                    self.ask_producer(half, &list, (appended.queue_offset.0, appended.physical.0), out);
                    self.scratch.properties = list;
                    true
                }
                Err(refusal) if refusal.code == response::MESSAGE_ILLEGAL => {
                    // Too long by our count in it: asked about this once, where it lies.
                    self.ask_producer(half, half.properties, (half.queue_offset, half.physical_offset), out);
                    self.give_up_half(at, half, now)
                }
                Err(_) => false,
            },
        }
    }

    /// Puts a half message where an operator finds it. False when it must wait for that. One that no topic takes any more stays where
    /// it is: others come after it.
    fn give_up_half(&mut self, at: i64, half: &RecordView<'_>, now: &TurnTime) -> bool {
        let draft =
            RecordDraft { topic: TRANS_CHECK_MAX_TIME_TOPIC.as_bytes(), queue_id: 0, ..half.to_draft() };
        match self.put_as_is(&draft, now) {
            Err(refusal) if refusal.code != response::MESSAGE_ILLEGAL => false,
            _ => {
                self.transactions.halves.pass(at);
                true
            }
        }
    }

    fn verdict(&mut self, at: i64, half: &RecordView<'_>, started_ms: i64, now: &TurnTime) -> Verdict {
        let property = |name| properties::get_str(half.properties, name);
        let first_copy = property(key::TRAN_PREPARED_QUEUE_OFFSET).and_then(|offset| offset.parse().ok());
        if first_copy.is_some_and(|first_copy| self.transactions.halves.continues(at, first_copy)) {
            return Verdict::Decided;
        }
        let asked_before =
            property(key::TRANSACTION_CHECK_TIMES).and_then(|times| times.parse().ok()).unwrap_or(0);
        let age_ms = now.wall_ms.saturating_sub(half.born_timestamp);
        if i64::from(asked_before) >= i64::from(self.config.transaction_check_max) || age_ms > self.kept_ms()
        {
            return Verdict::GiveUp;
        }
        if half.store_timestamp >= started_ms {
            return Verdict::EndRound;
        }
        match property(key::CHECK_IMMUNITY_TIME_IN_SECONDS).map(|text| self.immunity_ms(text)) {
            Some(immunity_ms) if age_ms < immunity_ms => Verdict::PutBack,
            None if (0..self.transaction_timeout_ms()).contains(&age_ms) => Verdict::EndRound,
            _ => Verdict::Ask { asked_before },
        }
    }

    /// fileReservedTime: what is older than the log is kept is not asked about any more.
    fn kept_ms(&self) -> i64 {
        i64::from(self.config.file_reserved_time) * 3_600_000
    }

    /// Stores a half message once more at the end of the half queue. Returns where, and its properties.
    fn put_half_back(
        &mut self,
        half: &RecordView<'_>,
        asked: Option<i32>,
        now: &TurnTime,
    ) -> Result<(Appended, Vec<u8>), Refusal> {
        let mut list = std::mem::take(&mut self.scratch.properties);
        list.clear();
        match asked {
            Some(asked) => {
                properties::extend_without(&mut list, half.properties, &[key::TRANSACTION_CHECK_TIMES]);
                push_number(&mut list, key::TRANSACTION_CHECK_TIMES, asked);
            }
            None => {
                properties::extend(&mut list, half.properties);
                if properties::get(half.properties, key::TRAN_PREPARED_QUEUE_OFFSET).is_none() {
                    let first_copy = half.queue_offset.to_string();
                    properties::push(&mut list, key::TRAN_PREPARED_QUEUE_OFFSET, first_copy.as_bytes());
                }
            }
        }
        let draft = RecordDraft { properties: &list, ..half.to_draft() };
        match self.put_as_is(&draft, now) {
            Ok(appended) => Ok((appended, list)),
            Err(refusal) => {
                self.scratch.properties = list;
                Err(refusal)
            }
        }
    }

    /// Code 39 to one producer of the message's group, if one is here. It answers with END_TRANSACTION, which names the place given here.
    fn ask_producer(
        &mut self,
        half: &RecordView<'_>,
        list: &[u8],
        (queue_offset, physical_offset): (i64, i64),
        out: &mut Outbox,
    ) {
        let group = properties::get_str(list, key::PGROUP).unwrap_or_default();
        let Some(conn) = self.producers.next_channel(group) else { return };
        let mut delivered = Vec::with_capacity(list.len());
        properties::extend_without(&mut delivered, list, &[key::WAIT]);
        properties::push(&mut delivered, key::WAIT, b"false");
        if delivered.len() > PROPERTIES_BYTES_MAX {
            delivered.clear();
            delivered.extend_from_slice(list); // No room for it.
        }
        let topic = properties::get(list, key::REAL_TOPIC).unwrap_or(half.topic);
        let queue_id = properties::get_str(list, key::REAL_QID).and_then(|id| id.parse().ok());
        let draft = RecordDraft {
            topic,
            queue_id: queue_id.unwrap_or(half.queue_id),
            properties: &delivered,
            ..half.to_draft()
        };
        let stamp = Stamp { queue_offset, physical_offset, store_timestamp: half.store_timestamp };
        let mut body = vec![0; draft.encoded_len()];
        draft.encode_into(&mut body, &stamp);
        let uniq_key = properties::get(list, key::UNIQ_KEY).map(Text::new);
        let offset_msg_id = ids::offset_id(half.store_host, physical_offset);
        let header = CheckTransactionStateRequestHeader {
            topic: Some(Text::new(TRANS_HALF_TOPIC.as_bytes())),
            tran_state_table_offset: queue_offset,
            commit_log_offset: physical_offset,
            msg_id: uniq_key,
            transaction_id: uniq_key,
            offset_msg_id: Some(Text::new(offset_msg_id.as_str().as_bytes())),
        };
        let broker_name = self.config.broker_name.as_str();
        out.request(
            conn,
            request::CHECK_TRANSACTION_STATE,
            true,
            |w| w.with(&header).field("bname", broker_name),
            Body::Owned(body),
        );
    }

    fn end_round(&mut self, now: &TurnTime) {
        self.transactions.phase = Phase::Idle;
        self.transactions.ahead.clear();
        self.transactions.next_round_ms = now.mono_ms() + self.config.transaction_check_interval;
    }

    /// The record at an offset of one of the two queues.
    fn fetch(&mut self, queue: QueueIndex, at: i64) -> Fetched {
        let hot = match self.store.unit(queue, QueueOffset(at)) {
            UnitAt::Hot(unit) => self.copy_hot(unit.physical.0),
            UnitAt::NotHot => None,
            UnitAt::None => return Fetched::Gone(self.store.offsets(queue).start.0),
        };
        match hot.or_else(|| self.transactions.ahead.take(at)) {
            Some(bytes) => Fetched::Record(bytes),
            None if self.transactions.gone_to > at => {
                Fetched::Gone(std::mem::take(&mut self.transactions.gone_to))
            }
            None => {
                self.transactions.reading = true;
                self.ask_queue(queue, at, CheckRead { offset: at });
                Fetched::Reading
            }
        }
    }

    /// Commits how far both queues are done with.
    fn keep_transaction_offsets(&mut self) {
        let (base, op_base) = (self.transactions.halves.base(), self.transactions.halves.op_base());
        if self.transactions.kept != (base, op_base) {
            self.transactions.kept = (base, op_base);
            self.offsets.commit_own(TRANS_CONSUMER_GROUP, TRANS_HALF_TOPIC, 0, base);
            self.offsets.commit_own(TRANS_CONSUMER_GROUP, TRANS_OP_HALF_TOPIC, 0, op_base);
        }
    }
}

/// The half offsets an op message names: one (4.9), or several with commas (5.x).
fn half_offsets(body: &[u8]) -> impl Iterator<Item = i64> + '_ {
    let parts = body.split(|byte| *byte == b',');
    parts.filter_map(|part| std::str::from_utf8(part).ok()?.trim().parse().ok())
}

/// After a read that brought nothing.
const PAUSE_MS: u64 = 100;
