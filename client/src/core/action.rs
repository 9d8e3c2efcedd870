//! What an instance tells its shell to do.

use super::group::TaskId;
use super::links::{Addr, LinkId};
use super::packed::Packed;
use crate::error::ClientError;
use crate::message::{Message, MessageExt, MessageQueue};
use crate::result::SendResult;
use protocol::RemotingCommand;
use std::sync::Arc;

/// Names an operation of the caller's; comes back with its `Action::Answer`.
pub type Token = u64;

/// What the shell is to do. Taken one by one with `next_action`.
#[derive(Debug)]
pub enum Action {
    /// Open a connection; say `link_up` or `link_down`.
    Connect { link: LinkId, addr: Addr },
    /// Send these bytes after those before them.
    Write { link: LinkId, bytes: Vec<u8> },
    /// Drop the connection, or stop making it. Nothing more is said of this link.
    Close { link: LinkId },
    /// The end of the operation that came with this token.
    Answer { token: Token, answer: Result<Answer, ClientError> },
    /// Give these to the group's listener and say `consumed`.
    Consume { group: Arc<str>, task: TaskId, messages: Vec<Arc<MessageExt>> },
    /// Ask the transaction listener of this producer group and say `checked`.
    Check(Box<Check>),
    /// Unpack this where it holds nobody up and say `unpacked`. The next one comes when that was said.
    Unpack(Packed),
    /// Keep the offsets of a broadcasting group in its local file.
    SaveOffsets { group: Arc<str>, json: String },
}

/// What an operation ended with.
#[derive(Debug)]
pub enum Answer {
    Reply(RemotingCommand),
    Sent(SendResult),
    Queues(Vec<MessageQueue>),
    Message(Box<Message>),
}

/// A broker asks what became of a half message.
#[derive(Clone, Debug)]
pub struct Check {
    pub group: Arc<str>,
    pub message: MessageExt,
    pub(super) link: LinkId,
    pub(super) tran_state_table_offset: i64,
    pub(super) commit_log_offset: i64,
    pub(super) msg_id: String,
    pub(super) transaction_id: Option<String>,
}
