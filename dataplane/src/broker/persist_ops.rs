//! What the broker's tables ask the cold side to keep.
//!
//! ```text
//! desk -> table (changes in memory, at once) -> PersistOps -> lane -> cold mirror -> config/*.json, name servers
//! ```
//!
//! A table never waits for a file: it changes, leaves a `PersistOp` here, and the shard moves the queue to its lane
//! at the end of the turn. Every op carries the whole new state of one entry, so the mirror only replaces entries
//! and a later op for the same entry makes an earlier one pointless. Names are shared (`Arc<str>`), so an op for a
//! committed offset costs no allocation once the queue has grown to its working size.

use std::collections::VecDeque;
use std::sync::Arc;

use super::group_config::GroupConfig;
use super::topic_config::TopicConfig;
use super::version::DataVersion;
use crate::limits::{PERSIST_OPS_MAX, PERSIST_OPS_ROOM};

/// One change of one entry. `version` is the table's version after the change.
#[derive(Debug, Clone, PartialEq)]
pub enum PersistOp {
    /// topics.json, and a registration at every name server at once.
    TopicChanged { config: Arc<TopicConfig>, version: DataVersion },
    /// topics.json, and a registration at every name server at once.
    TopicRemoved { topic: Arc<str>, version: DataVersion },
    /// brokerPermission was changed (code 25): registered at once, since it limits what every topic is told to allow.
    PermissionChanged { permission: i32, version: DataVersion },
    /// The log: settings that were changed (code 25) and by whom. No file: it is the operator's, and serves every shard.
    SettingsChanged { told: Box<str> },
    /// subscriptionGroup.json.
    GroupChanged { config: Arc<GroupConfig>, version: DataVersion },
    /// subscriptionGroup.json.
    GroupRemoved { group: Arc<str>, version: DataVersion },
    /// consumerOffset.json, `offsetTable`; written with the next flushConsumerOffsetInterval.
    OffsetCommitted { group: Arc<str>, topic: Arc<str>, queue_id: i32, offset: i64 },
    /// consumerOffset.json, `pullOffsetTable` (5.x): how far the group has read, committed or not.
    OffsetPulled { group: Arc<str>, topic: Arc<str>, queue_id: i32, offset: i64 },
    /// consumerOffset.json: every offset of this group on this topic is gone.
    OffsetsRemoved { group: Arc<str>, topic: Arc<str> },
    /// delayOffset.json: the next entry of `SCHEDULE_TOPIC_XXXX` queue `level - 1` to deliver.
    DelayOffset { level: u8, offset: i64 },
}

/// Ops waiting for the lane. Owned by the broker, emptied by the shard.
#[derive(Debug, Default)]
pub struct PersistOps {
    queue: VecDeque<PersistOp>,
}

impl PersistOps {
    pub fn new() -> PersistOps {
        PersistOps { queue: VecDeque::with_capacity(PERSIST_OPS_ROOM) }
    }

    /// Never refuses: what a request changed must reach the files. Ops that may wait (offsets) ask `has_room` first, requests that may
    /// change one thing again and again ask `is_full`; what others can bring is bounded by the tables.
    pub fn push(&mut self, op: PersistOp) {
        self.queue.push_back(op);
    }

    /// Whether ops that can wait in their table (committed offsets) should be moved here now.
    pub fn has_room(&self) -> bool {
        self.queue.len() < PERSIST_OPS_ROOM
    }

    /// Whether the files are so far behind that who would change more has to wait.
    pub fn is_full(&self) -> bool {
        self.queue.len() >= PERSIST_OPS_MAX
    }

    pub fn pop(&mut self) -> Option<PersistOp> {
        self.queue.pop_front()
    }

    /// Puts back what the lane had no room for; order is kept.
    pub fn unpop(&mut self, op: PersistOp) {
        self.queue.push_front(op);
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}
