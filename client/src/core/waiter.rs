//! Who waits for what: for the answer to a call, for a route, for a reply, for what is unpacked, for a moment.

use super::action::Token;
use super::group::{RunId, TaskId};
use super::links::{Addr, LinkId};
use super::order::{SendId, Template};
use super::packed::Packed;
use crate::message::MessageQueue;
use protocol::RemotingCommand;
use protocol::frame::Codec;
use protocol::headers::PullMessageResponseHeader;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Who waits for the answer to a call.
#[derive(Debug)]
pub(super) enum Waiter {
    Outside(Token),
    Nobody,
    Route { topic: Arc<str> },
    Heartbeat { broker: Arc<str>, addr: Addr },
    Send(SendId),
    Members { group: Arc<str>, topic: Arc<str> },
    Lock { group: Arc<str>, topic: Arc<str>, asked: Vec<MessageQueue> },
    Relock { group: Arc<str>, asked: Vec<MessageQueue> },
    Offset { group: Arc<str>, run: RunId },
    StartAt { group: Arc<str>, run: RunId },
    Pull { group: Arc<str>, run: RunId },
    SendBack { group: Arc<str>, task: TaskId, offset: i64 },
}

/// What is to happen at a moment.
#[derive(Debug)]
pub(super) enum Timer {
    RefreshRoutes,
    Heartbeat,
    PersistOffsets,
    CloseIdle,
    Rebalance {
        group: Arc<str>,
    },
    Pull {
        group: Arc<str>,
        run: RunId,
    },
    /// An orderly queue's pause is over, or a failed batch is to be tried again.
    Consume {
        group: Arc<str>,
        run: RunId,
    },
    Relock {
        group: Arc<str>,
    },
    CleanExpired {
        group: Arc<str>,
    },
    RequestExpired {
        correlation: String,
    },
}

/// A topic that is being asked for.
#[derive(Debug)]
pub(super) struct Lookup {
    pub waiters: Vec<RouteWaiter>,
    pub template: Option<Template>,
    pub asking_template: bool,
    pub servers_left: usize,
}

/// Who wants to know a route.
#[derive(Debug)]
pub(super) enum RouteWaiter {
    Send(SendId),
    PublishQueues(Token),
    ReadableQueues(Token),
    QueueCall { token: Token, queue: MessageQueue, command: Box<RemotingCommand>, timeout: Duration },
    Rebalance { group: Arc<str> },
}

/// Requests whose reply is still out.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pub open: HashMap<String, Request>,
}

#[derive(Debug)]
pub(super) struct Request {
    pub token: Token,
    pub topic: String,
    pub ttl: Duration,
}

/// Who goes on with what was unpacked.
#[derive(Debug)]
pub(super) enum Then {
    Pulled { group: Arc<str>, run: RunId, header: PullMessageResponseHeader },
    Asked { link: LinkId, codec: Codec, command: Box<RemotingCommand> },
}

/// What is being unpacked beside the core, and what waits for that.
#[derive(Debug, Default)]
pub(super) struct Unpacking {
    pub under_way: Option<Then>,
    pub waiting: VecDeque<(Packed, Then)>,
    /// Bytes of those waiting.
    pub waiting_bytes: usize,
}

impl Requests {
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether it was still open.
    pub fn forget(&mut self, correlation: &str) -> bool {
        self.open.remove(correlation).is_some()
    }
}
