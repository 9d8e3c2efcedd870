//! What is to be sent and for whom; what is known of a send while it is under way, and of a producer group.

use super::action::Token;
use super::group::TaskId;
use super::outgoing::Parcel;
use super::queue_choice::Rotor;
use crate::config::ProducerConfig;
use crate::message::{Message, MessageQueue};
use crate::result::SendResult;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// What is to be sent.
#[derive(Clone, Debug)]
pub enum Payload {
    Single(Message),
    Batch(Vec<Message>),
    /// The first half of a transaction.
    Half(Message),
}

/// How hard to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Sync,
    Async,
    Oneway,
}

/// A wish to send.
#[derive(Clone, Debug)]
pub struct Order {
    pub payload: Payload,
    pub how: How,
    /// This queue and no other.
    pub to: Option<MessageQueue>,
    /// Instead of the producer's own.
    pub timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SendId(pub u64);

/// Who hears of a send's end.
#[derive(Debug)]
pub(super) enum SendFor {
    Token(Token),
    /// A message a consumer failed on, which its broker would not take back the usual way.
    Back {
        group: Arc<str>,
        task: TaskId,
        offset: i64,
    },
    /// A request: only a failure is told, as success is the reply's matter.
    Request {
        token: Token,
        correlation: String,
    },
}

/// A send under way.
#[derive(Debug)]
pub(super) struct SendOp {
    pub whose: SendFor,
    pub group: Arc<str>,
    pub parcel: Parcel,
    pub how: How,
    pub to: Option<MessageQueue>,
    pub started: Duration,
    pub deadline: Duration,
    pub attempts: u32,
    pub attempts_max: u32,
    /// The queue of the attempt under way, and when it began.
    pub current: Option<(MessageQueue, Duration)>,
    pub asked_route: bool,
    pub brokers_sent: Vec<String>,
    /// It was stored, though not as safely as asked; better than the failure of a later attempt.
    pub stored: Option<SendResult>,
}

/// One producer group of an instance: its settings, and its place in the round over each topic's queues.
#[derive(Debug)]
pub(super) struct Producer {
    pub config: ProducerConfig,
    /// Every topic it has sent to; their routes are kept fresh.
    pub topics: HashMap<Arc<str>, Rotor>,
    /// Whether heartbeats name it; the one that sends retries for consumers stays unnamed.
    pub is_told: bool,
}

/// The topic that stands in for one nobody has created, and how many of its queues the new topic will have.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub topic: Arc<str>,
    pub queues: i32,
}
