//! A group of a push consumer: what it subscribes, which queues it holds, what its listener is busy with.
//!
//! A queue taken is a *run*: it has an id of its own, so that what comes in late for a queue that was given up and
//! taken again finds nothing.

use super::assign::Strategy;
use super::links::LinkId;
use super::offsets::Offsets;
use super::pace::PullPace;
use super::process_queue::ProcessQueue;
use super::subscription::Subscription;
use crate::config::PushConsumerConfig;
use crate::message::{MessageExt, MessageQueue};
use protocol::body::{ConsumeType, ConsumerData, MessageModel};
use protocol::frame::Codec;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct RunId(pub u64);

/// Names one call of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(pub u64);

#[derive(Debug)]
pub(super) struct PushGroup {
    pub config: PushConsumerConfig,
    pub is_orderly: bool,
    /// By topic; a clustering group's retry topic among them.
    pub subscriptions: BTreeMap<Arc<str>, Subscription>,
    pub queues: BTreeMap<MessageQueue, Run>,
    /// Orderly queues given up while a listener is still at them: unlocked when it is done.
    pub leaving: BTreeMap<RunId, MessageQueue>,
    pub offsets: Offsets,
    /// The broker id that was last suggested for a queue.
    pub pull_from: HashMap<MessageQueue, i64>,
    pub tasks: HashMap<TaskId, Task>,
    /// Calls of the listener under way, those for administrators not counted.
    pub busy: usize,
    /// Those for administrators.
    pub direct: usize,
    /// Runs that have messages for the listener, in the order they take turns.
    pub ready: VecDeque<RunId>,
    pub next_rebalance: Duration,
    /// When the last one began; `None` before the first.
    pub rebalanced: Option<Duration>,
    pub started_ms: i64,
    pub stats: BTreeMap<Arc<str>, Stats>,
}

/// One queue this member holds.
#[derive(Debug)]
pub(super) struct Run {
    pub id: RunId,
    pub cache: ProcessQueue,
    /// Where the next pull begins; `None` until the start is known.
    pub next_offset: Option<i64>,
    pub is_pulling: bool,
    pub pace: PullPace,
    pub is_ready: bool,
    /// A listener call of an orderly run is under way, or its pause is.
    pub is_occupied: bool,
    /// When the broker last confirmed that the queue is ours; orderly groups only.
    pub locked_at: Option<Duration>,
    pub locked_ms: i64,
    pub pulled_ms: i64,
    pub consumed_ms: i64,
}

/// What a listener did with a topic since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stats {
    pub ok: u64,
    pub failed: u64,
    pub took_ms: u64,
}

/// What a listener made of the messages it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumed {
    Done,
    /// To be tried again: later and perhaps elsewhere, or, if orderly, after a pause and before all others.
    Again,
    /// It panicked; counts as `Again`.
    Panicked,
}

/// One call of a listener.
#[derive(Debug)]
pub(super) struct Task {
    pub messages: Vec<Arc<MessageExt>>,
    pub began: Duration,
    pub kind: Kind,
}

/// What a task is for.
#[derive(Debug)]
pub(super) enum Kind {
    Run {
        run: RunId,
        queue: MessageQueue,
    },
    /// Failed messages on their way back; the offsets of those still without an answer.
    SendingBack {
        run: RunId,
        waiting: Vec<i64>,
        refused: Vec<i64>,
    },
    Direct(Direct),
}

/// An administrator asked for a message to be consumed at once; the answer goes back over this link.
#[derive(Clone, Copy, Debug)]
pub struct Direct {
    pub(super) link: LinkId,
    pub(super) codec: Codec,
    pub(super) opaque: i32,
}

impl PushGroup {
    pub fn heartbeat_data(&self, group: &str) -> ConsumerData {
        ConsumerData {
            group_name: group.to_owned(),
            consume_type: ConsumeType::Passively,
            message_model: self.config.model,
            consume_from_where: self.config.consume_from.on_wire(),
            subscription_data_set: self.subscriptions.values().map(Subscription::data).collect(),
            ..ConsumerData::default()
        }
    }

    pub fn is_clustering(&self) -> bool {
        self.config.model == MessageModel::Clustering
    }

    pub fn run(&mut self, id: RunId) -> Option<(&MessageQueue, &mut Run)> {
        self.queues.iter_mut().find(|(_, run)| run.id == id)
    }

    /// 16, or what the group was told; an orderly group knows no limit by itself.
    pub fn max_reconsume_times(&self) -> i32 {
        match (self.config.max_reconsume_times, self.is_orderly) {
            (-1, true) => i32::MAX,
            (-1, false) => RECONSUME_TIMES_MAX,
            (told, _) => told,
        }
    }

    pub fn strategy(&self) -> Strategy {
        self.config.strategy
    }
}

const RECONSUME_TIMES_MAX: i32 = 16;
