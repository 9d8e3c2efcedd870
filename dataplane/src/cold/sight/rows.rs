//! A connection as JSON.

use serde::Serialize;

use crate::sight::conns::ConnRow;

/// One element of `conns`. What the network cannot tell is null.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnJson {
    pub peer: String,
    pub local: String,
    pub state: &'static str,
    pub client_id: Option<String>,
    /// The first few, consumer groups before producer groups.
    pub groups: Vec<String>,
    pub groups_count: usize,
    pub age_ms: u64,
    pub idle_ms: u64,
    pub rtt_micros: Option<f64>,
    pub retransmits: Option<u64>,
    pub zero_window_ms: Option<f64>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub unread_bytes: usize,
    /// Given to the network and not acknowledged, or not taken by it.
    pub unacked_bytes: usize,
    pub outbox_bytes: usize,
}

impl ConnJson {
    pub fn new(row: &ConnRow, now_ns: u64) -> ConnJson {
        let (info, tcp) = (&row.info, &row.info.tcp);
        let since_ms = |then_ms: u64| (now_ns / 1_000_000).saturating_sub(then_ms);
        ConnJson {
            peer: info.peer.to_string(),
            local: info.local.to_string(),
            state: tcp.state,
            client_id: row.client.as_deref().map(str::to_owned),
            groups: row.groups.iter().flatten().map(|group| group.to_string()).collect(),
            groups_count: row.groups_len,
            age_ms: since_ms(row.opened_ms),
            idle_ms: since_ms(info.heard_ns / 1_000_000),
            rtt_micros: tcp.rtt_ns.map(|ns| ns as f64 / 1e3),
            retransmits: tcp.retransmits,
            zero_window_ms: tcp.zero_window_ns.map(|ns| (ns / 1_000) as f64 / 1e3),
            bytes_in: info.bytes_in,
            bytes_out: info.bytes_out,
            unread_bytes: row.unread_bytes,
            unacked_bytes: info.queued_bytes,
            outbox_bytes: row.outbox_bytes,
        }
    }
}
