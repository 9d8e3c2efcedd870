//! Errands: what the shard asks of the cold thread, and what waits for the answers.
//!
//! ```text
//! desk --ask--> Question + token --lane--> cold thread: files, indexes
//!      '-------> Errand, kept under the token          |
//! desk <--- (Errand, Answer) <---------- lane <--------'
//! ```
//!
//! The shard never waits: a question that finds the lane full stays in a backlog, and a request that might need an
//! errand is not taken from its connection while too many are under way (`is_full`). An answer whose connection is gone
//! is simply answered into the void. Answers have a number and a size: the cold thread stops while so many bytes of them have not been
//! taken, and a connection for which so many may come is not read meanwhile. A desk that asks something new adds its question and its answer here. Who waits (`E`) is
//! unknown here: second_halves.rs lists them.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use store::{
    Boundary, ColdPull, KeyKind, KeysFound, LogRange, PhysicalOffset, PullLimits, QueueOffset, Unit,
};

use crate::broker::filter::TagFilter;
use crate::lane::{LaneIn, LaneOut, lane};
use crate::limits::{ANSWERS_UNTAKEN_BYTES_MAX, COLD_LANE_MAX, ERRANDS_MAX, FRAME_BYTES_MAX};
use crate::net::ConnId;

/// One question on the lane. The answer carries the same token.
#[derive(Debug)]
pub struct ColdRequest {
    pub token: Token,
    pub question: Question,
}

/// One answer on the lane back.
#[derive(Debug)]
pub struct ColdReply {
    pub token: Token,
    pub answer: Answer,
}

/// What the cold thread can do for the shard.
#[derive(Debug)]
pub enum Question {
    /// A pull of what has left the hot log. Answered with `Answer::Pulled`.
    Pull(ColdAsk),
    /// The bytes of a range. Answered with `Answer::Bytes`.
    Bytes(LogRange),
    /// The record that begins at this place. Answered with `Answer::Bytes`.
    Record(PhysicalOffset),
    /// The queue offset of a time. Answered with `Answer::Offset`.
    SearchByTime {
        topic: Arc<str>,
        queue_id: i32,
        offsets: Range<QueueOffset>,
        timestamp_ms: i64,
        boundary: Boundary,
    },
    /// When these messages were stored. Answered with `Answer::StoreTimes`, 0 for those that are gone.
    StoreTimes(Vec<Place>),
    /// The offset of a time in each of these queues. Answered with `Answer::Offsets`.
    SearchTimes { stretches: Vec<Stretch>, timestamp_ms: i64 },
    /// Entries of a queue. Answered with `Answer::Units`, which ends at the first that is not there.
    Units { topic: Arc<str>, queue_id: i32, offsets: Range<QueueOffset> },
    /// The messages that bear a key. Answered with `Answer::Keys`.
    ByKey(Box<KeyAsk>),
    /// A body that takes long to make. Answered with `Answer::Bytes`.
    Make(Box<dyn Make>),
    /// A body that takes long to read. Answered with `Answer::Read`.
    Read { body: Vec<u8>, read: ReadBody },
}

impl Question {
    /// How many bytes its answer may have for the connection that waits for it.
    fn answer_bytes_max(&self) -> usize {
        match self {
            Question::Pull(ask) => ask.limits.bytes.max(ask.limits.bytes_ahead),
            Question::Bytes(range) => range.len as usize,
            Question::ByKey(ask) => ask.bytes_max,
            Question::Record(_) | Question::Make(_) => FRAME_BYTES_MAX,
            Question::SearchByTime { .. }
            | Question::StoreTimes(_)
            | Question::SearchTimes { .. }
            | Question::Units { .. }
            | Question::Read { .. } => 0,
        }
    }
}

/// What of a table goes into an answer, taken out of it as cheaply as can be. The answer is put together by the cold thread: for a large table
/// that takes longer than who sends should wait.
pub trait Make: fmt::Debug + Send {
    fn body(self: Box<Self>) -> Vec<u8>;
}

/// Reads a body as one of its kind. What comes of it is known to who asked.
pub type ReadBody = fn(&[u8]) -> Box<dyn Any + Send>;

/// A message by its queue.
#[derive(Debug)]
pub struct Place {
    pub topic: Arc<str>,
    pub queue_id: i32,
    pub offset: QueueOffset,
}

/// A part of a queue that is searched.
#[derive(Debug)]
pub struct Stretch {
    pub topic: Arc<str>,
    pub queue_id: i32,
    pub offsets: Range<QueueOffset>,
    pub boundary: Boundary,
}

#[derive(Debug)]
pub enum Answer {
    Pulled(ColdPull),
    /// None: not in the log, or no longer.
    Bytes(Option<Vec<u8>>),
    Offset(QueueOffset),
    StoreTimes(Vec<i64>),
    Offsets(Vec<QueueOffset>),
    Units(Vec<Unit>),
    Keys(KeysFound),
    /// The body that was read, and what it says.
    Read(Vec<u8>, Box<dyn Any + Send>),
    /// The files cannot be read.
    Failed(String),
}

impl Answer {
    /// Bytes of records, which the shard copies on.
    pub fn bytes_len(&self) -> usize {
        match self {
            Answer::Pulled(pull) => pull.bytes.len() + pull.shared.len(),
            Answer::Bytes(bytes) => bytes.as_ref().map_or(0, Vec::len),
            Answer::Keys(found) => found.bytes.len(),
            Answer::Offset(_)
            | Answer::StoreTimes(_)
            | Answer::Offsets(_)
            | Answer::Units(_)
            | Answer::Read(..)
            | Answer::Failed(_) => 0,
        }
    }
}

/// What a pull wants from the files.
#[derive(Debug)]
pub struct ColdAsk {
    pub topic: Arc<str>,
    pub queue_id: i32,
    pub offsets: Range<QueueOffset>,
    pub limits: PullLimits,
    pub filter: TagFilter,
}

/// What a query by key wants from the index.
#[derive(Debug)]
pub struct KeyAsk {
    pub topic: Arc<str>,
    pub key: String,
    pub kind: KeyKind,
    pub max: usize,
    pub begin_ms: i64,
    pub end_ms: i64,
    pub bytes_max: usize,
}

/// Bytes of answers that the cold thread has made and the shard has not taken.
#[derive(Clone, Debug, Default)]
pub struct Untaken(Arc<AtomicUsize>);

impl Untaken {
    pub fn add(&self, answer: &Answer) {
        self.0.fetch_add(answer.bytes_len(), Ordering::Relaxed);
    }

    /// Whether there are so many that no other answer should be made.
    pub fn is_full(&self) -> bool {
        self.bytes() >= ANSWERS_UNTAKEN_BYTES_MAX
    }

    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// One of them is taken. True: there were too many.
    fn take(&self, answer: &Answer) -> bool {
        self.0.fetch_sub(answer.bytes_len(), Ordering::Relaxed) >= ANSWERS_UNTAKEN_BYTES_MAX
    }
}

/// Who waits.
pub trait Waits {
    /// The connection that the answer goes to as it comes.
    fn conn(&self) -> Option<ConnId>;
}

/// Names a question under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    slot: u32,
    generation: u32,
}

/// The cold thread's ends of the two lanes.
pub struct ColdEnds {
    pub requests: LaneOut<ColdRequest>,
    pub replies: LaneIn<ColdReply>,
    pub untaken: Untaken,
}

/// The shard's half.
pub struct Errands<E> {
    requests: LaneIn<ColdRequest>,
    replies: LaneOut<ColdReply>,
    backlog: VecDeque<ColdRequest>,
    slots: Vec<Slot<E>>,
    free: Vec<u32>,
    untaken: Untaken,
    /// Bytes that may come for each connection, by its place.
    awaited: Vec<usize>,
    /// Something was pushed, or taken that was in its way, since the cold thread was woken last.
    pushed: bool,
}

struct Slot<E> {
    generation: u32,
    errand: Option<E>,
    /// The place of its connection, and the bytes that may come.
    awaited: Option<(usize, usize)>,
}

impl<E: Waits> Errands<E> {
    /// Both halves of a pair of lanes.
    pub fn new() -> (Errands<E>, ColdEnds) {
        let (requests_in, requests_out) = lane(COLD_LANE_MAX);
        let (replies_in, replies_out) = lane(COLD_LANE_MAX);
        let errands = Errands {
            requests: requests_in,
            replies: replies_out,
            backlog: VecDeque::new(),
            slots: Vec::new(),
            free: Vec::new(),
            untaken: Untaken::default(),
            awaited: Vec::new(),
            pushed: false,
        };
        let untaken = errands.untaken.clone();
        (errands, ColdEnds { requests: requests_out, replies: replies_in, untaken })
    }

    /// Who is woken when an answer has come.
    pub fn woken_by(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.replies.woken_by(wake);
    }

    /// Sends a question on its way; `errand` comes back with the answer.
    pub fn ask(&mut self, question: Question, errand: impl Into<E>) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, errand: None, awaited: None });
            self.slots.len() as u32 - 1
        });
        let place = &mut self.slots[slot as usize];
        assert!(place.errand.is_none());
        let errand = errand.into();
        let bytes = question.answer_bytes_max();
        place.awaited = errand.conn().filter(|_| bytes > 0).map(|conn| (conn.slot as usize, bytes));
        place.errand = Some(errand);
        if let Some((conn, bytes)) = place.awaited {
            if conn >= self.awaited.len() {
                self.awaited.resize(conn + 1, 0);
            }
            self.awaited[conn] += bytes;
        }
        let token = Token { slot, generation: place.generation };
        self.backlog.push_back(ColdRequest { token, question });
        self.flush();
    }

    /// The next answer, with whom it is for.
    pub fn take_next(&mut self) -> Option<(E, Answer)> {
        loop {
            let ColdReply { token, answer } = self.replies.pop()?;
            let place = &mut self.slots[token.slot as usize];
            assert!(place.generation == token.generation);
            self.pushed |= self.untaken.take(&answer) | self.replies.was_full();
            if let Some((conn, bytes)) = place.awaited.take() {
                self.awaited[conn] -= bytes;
            }
            place.generation = place.generation.wrapping_add(1);
            self.free.push(token.slot);
            if let Some(errand) = place.errand.take() {
                return Some((errand, answer));
            }
        }
    }

    /// Moves what the lane takes, and wakes the cold thread if there was anything. Called once a turn.
    pub fn flush(&mut self) {
        while let Some(request) = self.backlog.pop_front() {
            if let Err(request) = self.requests.push(request) {
                self.backlog.push_front(request);
                break;
            }
            self.pushed = true;
        }
    }

    /// Wakes the cold thread if anything was pushed since the last time.
    pub fn wake(&mut self) {
        self.flush();
        if std::mem::take(&mut self.pushed) {
            self.requests.wake();
        }
    }

    /// Questions without an answer yet.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// No request that may need another errand should be taken from this connection now, if so many bytes may come for one.
    #[inline]
    pub fn is_full(&self, conn: ConnId, bytes_max: usize) -> bool {
        self.len() >= ERRANDS_MAX
            || self.awaited.get(conn.slot as usize).is_some_and(|&bytes| bytes >= bytes_max)
    }

    /// Bytes of answers that wait to be taken.
    pub fn untaken_bytes(&self) -> usize {
        self.untaken.bytes()
    }
}

/// An enum of who waits. Each kind becomes it by itself, so that who asks need not know who else does.
macro_rules! waiting {
    ($(#[$of_all:meta])* $all:ident: $($(#[$of_kind:meta])* $kind:ident($state:ty)),+ $(,)?) => {
        $(#[$of_all])*
        #[derive(Debug)]
        pub enum $all {
            $($(#[$of_kind])* $kind($state)),+
        }

        $(impl From<$state> for $all {
            fn from(state: $state) -> $all {
                $all::$kind(state)
            }
        })+
    };
}
pub(super) use waiting;
