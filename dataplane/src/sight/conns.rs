//! Connections as an operator sees them: one page of slots a look.

use std::sync::Arc;

use crate::net::{ConnId, ConnInfo};

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

/// Slots looked at in one piece.
pub const SLOTS_PER_PAGE: usize = 256;
pub const GROUPS_SHOWN: usize = 4;
