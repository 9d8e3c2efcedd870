//! Connections as an operator sees them: one page of slots a look.

use std::sync::Arc;

use crate::net::{ConnId, ConnInfo, Net};
use crate::shard::Shard;
use crate::time::TurnTime;

/// A stretch of the table of connections.
#[derive(Debug)]
pub struct ConnPage {
    /// Where to look; afterwards where to go on, if anywhere.
    pub slot: Option<usize>,
    /// Brought with room for `SLOTS_PER_PAGE`.
    pub rows: Vec<ConnRow>,
    /// When this was: `TurnTime::mono_ns`.
    pub now_ns: u64,
}

/// One connection.
#[derive(Debug, Clone)]
pub struct ConnRow {
    pub conn: ConnId,
    pub info: ConnInfo,
    pub opened_ms: u64,
    /// Received, and not yet taken as frames.
    pub unread_bytes: usize,
    /// Answers not yet given to the network; those it has are `info.queued_bytes`.
    pub outbox_bytes: usize,
    /// What its heartbeat says; None before the first one.
    pub client: Option<Arc<str>>,
    /// Its first groups, and how many there are.
    pub groups: [Option<Arc<str>>; GROUPS_SHOWN],
    pub groups_len: usize,
}

impl ConnPage {
    /// An empty page with room, from this slot on.
    pub fn from(slot: usize) -> ConnPage {
        ConnPage { slot: Some(slot), rows: Vec::with_capacity(SLOTS_PER_PAGE), now_ns: 0 }
    }
}

impl<N: Net> Shard<N> {
    /// Looks at the next slots.
    pub(super) fn show_conns(&self, page: &mut ConnPage, now: &TurnTime) {
        page.now_ns = now.mono_ns;
        let Some(first) = page.slot else { return };
        let end = self.sessions.slots_len().min(first.saturating_add(SLOTS_PER_PAGE));
        for slot in first..end {
            let row = self.sessions.at(slot).and_then(|(conn, opened_ms)| self.row(conn, opened_ms));
            if let Some(row) = row
                && page.rows.len() < page.rows.capacity()
            {
                page.rows.push(row);
            }
        }
        page.slot = (end < self.sessions.slots_len()).then_some(end);
    }

    fn row(&self, conn: ConnId, opened_ms: u64) -> Option<ConnRow> {
        let info = self.net.info(conn)?;
        let (first, second) = self.net.readable(conn);
        let consumers = self.broker.consumers.groups_of(conn);
        let producers = self.broker.producers.groups_of(conn);
        let mut groups = [const { None }; GROUPS_SHOWN];
        for (place, group) in groups.iter_mut().zip(consumers.iter().chain(producers)) {
            *place = Some(Arc::clone(group));
        }
        Some(ConnRow {
            conn,
            info,
            opened_ms,
            unread_bytes: first.len() + second.len(),
            outbox_bytes: self.outbox.queued(conn),
            client: self.broker.peers.client_of(conn).map(|client| Arc::clone(&client.id)),
            groups,
            groups_len: consumers.len() + producers.len(),
        })
    }
}

/// Slots looked at in one piece.
pub const SLOTS_PER_PAGE: usize = 256;
pub const GROUPS_SHOWN: usize = 4;
