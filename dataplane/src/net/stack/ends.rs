//! How connections end.
//!
//! ```text
//!   the peer's reset, or its silence ─▶ let_go ─▶ unread bytes are served ─▶ `Closed` for the shard ─▶ slot free
//!   our close ─▶ orphan: delivers its last bytes, throws away what comes ─▶ let_go
//! ```
//!
//! Bytes that came before a reset were sent in good faith: an application that sends one-way messages and ends without
//! reading its answers ends with a reset. They are served first, as by the kernel's sockets, and their answers vanish.

use super::Core;
use super::conn::{Conn, Phase};
use super::tails::USER_TIMEOUT;
use super::wheel::NEVER;
use crate::net::events::Pending;

impl Core {
    /// The connection is over for the network. The shard is told if it has been told of the connection at all.
    pub fn let_go(&mut self, slot: u32) {
        let conn = &mut self.tx.conns[slot as usize];
        self.flows.remove(conn.key);
        self.wheel.set(slot, NEVER);
        if conn.phase != Phase::Handshake {
            self.roll.strike(slot);
        }
        match conn.phase {
            Phase::Handshake => {
                self.half_open -= 1;
                self.tx.free_slot(slot);
            }
            Phase::Open if conn.socket().recv_queue() > 0 => {
                conn.phase = Phase::Reset;
                conn.finish_told = true;
                self.counters.closed += 1;
                self.counters.ended_unread += 1;
                let told = Pending::READABLE | Pending::WRITABLE | Pending::FINISHED;
                self.tx.events.raise(slot, &mut conn.pending, told);
            }
            Phase::Open => {
                conn.phase = Phase::Dead;
                conn.pending.only_opening();
                self.counters.closed += 1;
                self.tx.events.raise(slot, &mut conn.pending, Pending::CLOSED);
            }
            Phase::Orphan => {
                // `Closed` was raised when we closed; raising nothing makes the queue free the slot after it.
                conn.phase = Phase::Dead;
                self.counters.closed += 1;
                self.tx.events.raise(slot, &mut conn.pending, 0);
            }
            Phase::Free | Phase::Reset | Phase::Dead => unreachable!("not in the table of flows"),
        }
    }
}

/// When it ends if nothing more is heard of its peer.
pub fn gives_up_ns(conn: &Conn) -> u64 {
    let silent_ns = conn.heard_ns + USER_TIMEOUT.total_micros() * 1_000;
    match conn.phase {
        Phase::Free | Phase::Reset | Phase::Dead => NEVER,
        Phase::Handshake => conn.deadline_ns,
        Phase::Open => silent_ns,
        Phase::Orphan => conn.deadline_ns.min(silent_ns),
    }
}

/// What comes for a connection that nobody reads any more.
pub fn throw_away(conn: &mut Conn) {
    let mut thrown = 0;
    while conn.socket().can_recv() {
        match conn.socket_mut().recv(|run| (run.len(), run.len())) {
            Ok(len) => thrown += len,
            Err(_) => break,
        }
    }
    conn.consumed += thrown as u64;
}
