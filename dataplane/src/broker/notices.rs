//! Tells the members of a consumer group that it has changed (code 40), so that they rebalance at once.
//!
//! ```text
//! heartbeat, goodbye, closed connection --group--> Notices --some a turn--> 40 to every member
//! ```
//!
//! One client may change thousands of groups at once, with hundreds of members each. So a group that has changed waits here, once
//! however often it has changed since, and each turn tells some members. Whoever joins while a group is being told has changed it
//! again. Broadcasting members have all queues anyway and are told nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashSet;
use protocol::code::request;

use super::Broker;
use super::consumers::MessageModel;
use crate::limits::NOTICES_PER_TURN_MAX;
use crate::net::ConnId;
use crate::outbox::{Body, Outbox};

/// Groups whose members must be told.
#[derive(Debug, Default)]
pub struct Notices {
    groups: VecDeque<Arc<str>>,
    /// The same ones, to be found by name.
    waiting: HashSet<Arc<str>>,
    /// The group that is being told, and its members that have not been.
    group: Arc<str>,
    members: Vec<ConnId>,
}

impl Broker {
    /// This group has changed.
    pub(super) fn notify_members(&mut self, group: &str) {
        let Some(group) = self.consumers.group(group) else { return };
        if !self.config.notify_consumer_ids_changed_enable || group.kind.model == MessageModel::Broadcasting {
            return;
        }
        if !self.notices.waiting.contains(&group.name) {
            self.notices.waiting.insert(group.name.clone());
            self.notices.groups.push_back(group.name.clone());
        }
    }

    /// Called every turn. Returns how much was done.
    pub(super) fn tell_members(&mut self, out: &mut Outbox) -> u32 {
        let notices = &mut self.notices;
        for done in 0..NOTICES_PER_TURN_MAX {
            if let Some(conn) = notices.members.pop() {
                let group = &*notices.group;
                let code = request::NOTIFY_CONSUMER_IDS_CHANGED;
                out.request(conn, code, true, |w| w.field("consumerGroup", group), Body::None);
                continue;
            }
            let Some(group) = notices.groups.pop_front() else { return done };
            notices.waiting.remove(&group);
            let members = self.consumers.group(&group).map_or(&[][..], |group| group.members());
            notices.members.extend(members.iter().map(|member| member.conn));
            notices.group = group;
        }
        NOTICES_PER_TURN_MAX
    }
}
