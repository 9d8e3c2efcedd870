//! New connections: from the listeners' backlogs into slots.

use std::io;
use std::net::{IpAddr, SocketAddr};

use mio::net::TcpStream;
use mio::{Interest, Token};

use super::tx::{Phase, TxSlot};
use super::{KernelNet, RxSlot};
use crate::net::events::Pending;
use crate::net::ring::Ring;
use crate::time::TurnTime;

impl KernelNet {
    pub(super) fn accept_some(&mut self, now: &TurnTime) -> u32 {
        let mut accepted = 0;
        for index in 0..self.listeners.len() {
            while self.listeners[index].may_accept && accepted < ACCEPTS_PER_TURN_MAX {
                if self.tx.free.is_empty() && self.tx.slots.len() >= self.limits.conns_max {
                    return accepted; // The rest wait in the kernel's backlog.
                }
                match self.listeners[index].socket.accept() {
                    Ok((stream, peer)) => {
                        accepted += 1;
                        self.adopt(stream, peer, now);
                    }
                    Err(error) => {
                        // Anything but "none left" concerns one connection attempt, or is cured by a later one.
                        self.listeners[index].may_accept = error.kind() != io::ErrorKind::WouldBlock
                            && error.kind() != io::ErrorKind::Other
                            && error.raw_os_error() != Some(libc::EMFILE)
                            && error.raw_os_error() != Some(libc::ENFILE);
                    }
                }
            }
        }
        accepted
    }

    fn adopt(&mut self, mut stream: TcpStream, peer: SocketAddr, now: &TurnTime) {
        let slot = self.free_slot();
        let ready = stream.set_nodelay(true).and_then(|()| stream.local_addr()).and_then(|local| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(slot as usize), interest)?;
            Ok(local)
        });
        let Ok(local) = ready else {
            self.tx.free.push(slot); // The peer was gone before we came.
            return;
        };
        let conn = &mut self.tx.slots[slot as usize];
        assert!(conn.phase == Phase::Free);
        conn.stream = Some(stream);
        conn.phase = Phase::Open;
        conn.peer = peer;
        conn.local = local;
        conn.bytes_in = 0;
        conn.bytes_out = 0;
        conn.heard_ns = now.mono_ns;
        conn.wants_room = false;
        conn.end_seen = false;
        conn.peer_finished = false;
        conn.is_deaf = false;
        self.tx.conns_len += 1;
        self.tx.events.raise(slot, &mut conn.pending, Pending::OPENED);
        if !conn.is_hungry {
            conn.is_hungry = true;
            self.hungry.push_back(slot);
        }
    }

    /// A slot is made once and used again ever after; its rings are address space until they are written to.
    fn free_slot(&mut self) -> u32 {
        if let Some(slot) = self.tx.free.pop() {
            return slot;
        }
        let slot = self.tx.slots.len() as u32;
        self.rx.slots.push(RxSlot { generation: 0, ring: Ring::with_capacity(self.limits.rx_ring_bytes) });
        self.tx.slots.push(TxSlot {
            stream: None,
            generation: 0,
            phase: Phase::Free,
            pending: Pending::default(),
            ring: Ring::with_capacity(self.limits.tx_ring_bytes),
            peer: NOBODY,
            local: NOBODY,
            bytes_in: 0,
            bytes_out: 0,
            heard_ns: 0,
            is_hungry: false,
            is_dirty: false,
            wants_room: false,
            end_seen: false,
            peer_finished: false,
            is_deaf: false,
        });
        slot
    }
}

const ACCEPTS_PER_TURN_MAX: u32 = 64;
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);
