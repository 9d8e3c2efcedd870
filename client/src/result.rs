//! What sends and pulls end with.

use crate::message::{MessageExt, MessageQueue};
use std::sync::Arc;

/// How safe a stored message is. All but `Ok` say: stored, but not as safe as the broker was configured to make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendStatus {
    Ok,
    FlushDiskTimeout,
    FlushSlaveTimeout,
    SlaveNotAvailable,
    /// A one-way send: written to the connection, nothing more is known.
    Oneway,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendResult {
    pub status: SendStatus,
    /// The producer's own id of the message; a comma list for a batch.
    pub msg_id: String,
    /// Where it lies on the broker; a comma list for a batch.
    pub offset_msg_id: String,
    pub queue: MessageQueue,
    /// Of the first message, for a batch.
    pub queue_offset: i64,
    pub transaction_id: Option<String>,
    pub region_id: Option<String>,
    pub trace_on: bool,
    /// For a timed message that may still be taken back.
    pub recall_handle: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullStatus {
    Found,
    NoNewMessage,
    NoMatchedMessage,
    OffsetIllegal,
}

#[derive(Clone, Debug)]
pub struct PullResult {
    pub status: PullStatus,
    /// Where to go on.
    pub next_begin_offset: i64,
    pub min_offset: i64,
    pub max_offset: i64,
    pub messages: Vec<Arc<MessageExt>>,
}
