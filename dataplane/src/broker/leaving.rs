//! Clients that have gone leave their groups.
//!
//! ```text
//! closed connection, 120 s of silence, looked for every 10 s --> Leaving --some groups a turn--> consumers, producers; 40 to those who stay
//! ```
//!
//! One client may be in tens of thousands of groups, and thousands of clients may go at once; nobody else shall wait for that. Whoever
//! comes back meanwhile does so on another connection, and members are kept by connection: what the old one leaves is never the new one's.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Broker;
use crate::limits::{LEAVES_PER_TURN_MAX, LEAVING_MAX, SCANNED_PER_TURN_MAX};
use crate::net::ConnId;
use crate::outbox::Outbox;
use crate::time::TurnTime;

/// Who has gone, and who may have.
#[derive(Debug, Default)]
pub struct Leaving {
    /// Connections that are gone, and may still be in groups.
    conns: VecDeque<ConnId>,
    scanned_ms: i64,
    scan: Option<Scan>,
}

/// A look for silent clients under way: at which connection, in which of its groups.
#[derive(Debug, Default)]
struct Scan {
    place: usize,
    producers: bool,
    group: Option<Arc<str>>,
}

impl Leaving {
    /// Whether so many have yet to leave that nobody else may join.
    pub fn is_full(&self) -> bool {
        self.conns.len() >= LEAVING_MAX
    }
}

impl Broker {
    /// Called every millisecond; every ten seconds clients without a heartbeat for too long are looked for, some of their groups each time,
    /// and dropped.
    pub(super) fn scan_clients(&mut self, now: &TurnTime, out: &mut Outbox) {
        if self.leaving.scan.is_none() && now.wall_ms - self.leaving.scanned_ms >= SCAN_MS {
            self.leaving.scanned_ms = now.wall_ms;
            self.leaving.scan = Some(Scan::default());
        }
        let Some(mut scan) = self.leaving.scan.take() else { return };
        let silence_ms_max = i64::try_from(self.config.channel_expired_timeout).unwrap_or(i64::MAX);
        for _ in 0..SCANNED_PER_TURN_MAX {
            if scan.place >= self.peers.places() {
                return;
            }
            let Some(conn) = self.peers.at(scan.place) else {
                scan = Scan { place: scan.place + 1, ..Scan::default() };
                continue;
            };
            let next = match scan.producers {
                false => self.consumers.next_group_of(conn, scan.group.as_ref()),
                true => self
                    .producers
                    .next_group_of(conn, scan.group.as_ref())
                    .map(|(group, channel)| (group, channel.seen_ms)),
            };
            scan = match next {
                Some((group, seen_ms)) if now.wall_ms - seen_ms <= silence_ms_max => {
                    Scan { group: Some(group.clone()), ..scan }
                }
                Some(_) => {
                    self.client_left(conn);
                    out.close(conn);
                    Scan { place: scan.place + 1, ..Scan::default() }
                }
                None if scan.producers => Scan { place: scan.place + 1, ..Scan::default() },
                None => Scan { producers: true, group: None, ..scan },
            };
        }
        self.leaving.scan = Some(scan);
    }

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

const SCAN_MS: i64 = 10_000;
