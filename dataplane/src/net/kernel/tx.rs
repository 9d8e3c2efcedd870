//! The sockets of connections and their send rings: how far each connection is, from its opening to its slot's next use.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use socket2::SockRef;

use crate::net::events::{EventQueue, Pending};
use crate::net::ring::Ring;
use crate::net::{ConnId, ConnInfo, NetTx, TcpInfo};

/// The sockets and their send rings.
pub struct KernelTx {
    pub(super) slots: Vec<TxSlot>,
    pub(super) free: Vec<u32>,
    pub(super) dirty: VecDeque<u32>,
    pub(super) events: EventQueue,
    pub(super) conns_len: usize,
}

pub(super) struct TxSlot {
    pub(super) stream: Option<TcpStream>,
    pub(super) generation: u32,
    pub(super) phase: Phase,
    pub(super) pending: Pending,
    pub(super) ring: Ring,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) heard_ns: u64,
    pub(super) is_hungry: bool,
    pub(super) is_dirty: bool,
    pub(super) wants_room: bool,
    /// epoll has said that an end or an error lies behind the bytes.
    pub(super) end_seen: bool,
    pub(super) peer_finished: bool,
    /// Takes nothing any more: what is sent to it is thrown away.
    pub(super) is_deaf: bool,
    /// Stands among those that are flushed until a deadline.
    pub(super) is_timed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Free,
    Open,
    /// Closed by us: what is queued goes out, then our end is shut.
    Flushing,
    /// Our end is shut; the peer's bytes are thrown away until it shuts its end, or we have waited enough.
    Lingering,
    /// The peer has ended it with a reset, and bytes that came before are still to be read: it ends as one whose peer
    /// has finished.
    Reset,
    /// The socket is gone; the slot waits for `Closed` to be told.
    Dead,
}

impl KernelTx {
    pub(super) fn open(&self, conn: ConnId) -> Option<&TxSlot> {
        let slot = self.slots.get(conn.slot as usize)?;
        (slot.generation == conn.generation && slot.is_there()).then_some(slot)
    }

    fn open_mut(&mut self, conn: ConnId) -> Option<&mut TxSlot> {
        let slot = self.slots.get_mut(conn.slot as usize)?;
        (slot.generation == conn.generation && slot.is_there()).then_some(slot)
    }

    pub(super) fn mark_dirty(&mut self, slot: u32) {
        let conn = &mut self.slots[slot as usize];
        if !conn.is_dirty {
            conn.is_dirty = true;
            self.dirty.push_back(slot);
        }
    }

    /// There always is room for what is thrown away.
    pub(super) fn deaf_has_room(&mut self, slot: u32) {
        let conn = &mut self.slots[slot as usize];
        conn.wants_room = false;
        self.events.raise(slot, &mut conn.pending, Pending::WRITABLE);
    }

    /// The socket is dropped; if the shard has not been told of the end yet, it will be.
    pub(super) fn lose(&mut self, slot: u32) {
        let conn = &mut self.slots[slot as usize];
        conn.stream = None;
        conn.ring.clear();
        let was_there = conn.is_there();
        conn.phase = Phase::Dead;
        if was_there {
            conn.pending.only_opening();
            self.events.raise(slot, &mut conn.pending, Pending::CLOSED);
        } else {
            // `Closed` was raised by `close`; if it has been told already, this makes the queue bury the slot.
            self.events.raise(slot, &mut conn.pending, 0);
        }
    }

    /// The socket is dropped; what it has brought is read still.
    pub(super) fn reset(&mut self, slot: u32) {
        let conn = &mut self.slots[slot as usize];
        (conn.stream, conn.phase, conn.is_deaf) = (None, Phase::Reset, true);
        conn.ring.clear();
        let told = Pending::READABLE | Pending::WRITABLE | Pending::FINISHED;
        self.events.raise(slot, &mut conn.pending, told);
    }

    pub(super) fn bury(&mut self, slot: u32) {
        let conn = &mut self.slots[slot as usize];
        conn.phase = Phase::Free;
        conn.generation = conn.generation.wrapping_add(1);
        self.free.push(slot);
    }
}

impl NetTx for KernelTx {
    fn send_room(&self, conn: ConnId) -> usize {
        self.open(conn).map_or(0, |slot| slot.ring.room())
    }

    fn send_with(&mut self, conn: ConnId, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> usize {
        let Some(slot) = self.open_mut(conn) else { return 0 };
        if slot.ring.room() == 0 {
            slot.wants_room = true;
            return 0;
        }
        let (first, _) = slot.ring.free();
        let len = fill(first);
        slot.ring.filled(len);
        if slot.is_deaf {
            slot.ring.clear();
        } else if len > 0 {
            self.mark_dirty(conn.slot);
        }
        len
    }

    fn send(&mut self, conn: ConnId, bytes: &[u8]) -> usize {
        let Some(slot) = self.open_mut(conn) else { return 0 };
        if slot.is_deaf {
            return bytes.len();
        }
        let len = slot.ring.put(bytes);
        slot.wants_room |= len < bytes.len();
        if len > 0 {
            self.mark_dirty(conn.slot);
        }
        len
    }

    fn want_room(&mut self, conn: ConnId) {
        if let Some(slot) = self.open_mut(conn) {
            slot.wants_room = true;
            match slot.is_deaf {
                true => self.deaf_has_room(conn.slot),
                false => self.mark_dirty(conn.slot),
            }
        }
    }

    fn close(&mut self, conn: ConnId) {
        match self.open(conn) {
            Some(slot) if slot.phase == Phase::Reset => return self.lose(conn.slot),
            Some(_) => (),
            None => return,
        }
        let slot = &mut self.slots[conn.slot as usize];
        slot.phase = Phase::Flushing;
        slot.pending.only_opening();
        self.events.raise(conn.slot, &mut slot.pending, Pending::CLOSED);
        self.mark_dirty(conn.slot);
    }

    fn abort(&mut self, conn: ConnId) {
        let Some(slot) = self.open_mut(conn) else { return };
        if let Some(stream) = slot.stream.as_ref() {
            // Without the option the peer sees an orderly end instead of a reset: no reason to keep the socket.
            let _set = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
        self.lose(conn.slot);
    }

    fn info(&self, conn: ConnId) -> Option<ConnInfo> {
        let slot = self.open(conn)?;
        Some(ConnInfo {
            peer: slot.peer,
            local: slot.local,
            bytes_in: slot.bytes_in,
            bytes_out: slot.bytes_out,
            queued_bytes: slot.ring.len(),
            heard_ns: slot.heard_ns,
            // The rest is the kernel's: `ss --tcp --info` shows it.
            tcp: TcpInfo {
                state: match (slot.phase, slot.peer_finished) {
                    (Phase::Reset, _) => "closed",
                    (_, true) => "close-wait",
                    (_, false) => "established",
                },
                ..TcpInfo::default()
            },
        })
    }
}

impl TxSlot {
    /// The shard has not closed it, nor been told that it is.
    fn is_there(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Reset)
    }
}
