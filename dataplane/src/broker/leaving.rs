//! Clients that have gone leave their groups.
//!
//! ```text
//! closed connection, 120 s of silence --> Leaving --some groups a turn--> consumers, producers; 40 to those who stay
//! ```
//!
//! One client may be in tens of thousands of groups, and thousands of clients may go at once; nobody else shall wait for that. Whoever
//! comes back meanwhile does so on another connection, and members are kept by connection: what the old one leaves is never the new one's.

use std::collections::VecDeque;

use super::Broker;
use crate::limits::{LEAVES_PER_TURN_MAX, LEAVING_MAX};
use crate::net::ConnId;
use crate::outbox::Outbox;

/// Connections that are gone, and may still be in groups.
#[derive(Debug, Default)]
pub struct Leaving {
    conns: VecDeque<ConnId>,
}

impl Leaving {
    /// Whether so many have yet to leave that nobody else may join.
    pub fn is_full(&self) -> bool {
        self.conns.len() >= LEAVING_MAX
    }
}

impl Broker {
    /// The connection is gone, or its client is taken for dead: out of every group, beginning with this turn.
    pub(super) fn client_left(&mut self, conn: ConnId) {
        self.beats.forget(conn);
        self.long_work.left(conn);
        self.producers.gone(conn);
        if self.producers.groups_of(conn).is_some() || self.consumers.groups_of(conn).is_some() {
            self.leaving.conns.push_back(conn);
        }
    }

    /// Called every turn. Returns how much was done.
    pub(super) fn take_leaves(&mut self, out: &mut Outbox) -> u32 {
        let mut left = 0;
        while left < LEAVES_PER_TURN_MAX as u32
            && let Some(&conn) = self.leaving.conns.front()
        {
            left += 1;
            if let Some(group) = self.consumers.a_group_of(conn) {
                self.consumers.unregister(&group, conn);
                self.notify_members(&group);
            } else if let Some(group) = self.producers.a_group_of(conn) {
                self.producers.unregister(&group, conn);
            } else {
                self.leaving.conns.pop_front();
                // Somebody may have found it in a group meanwhile, and asked it something.
                self.lose_calls_to(conn, out);
            }
        }
        left
    }
}
