//! New connections: from the listeners' backlogs into slots.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Token};

use super::tx::{Phase, TxSlot};
use super::{KernelNet, RxSlot};
use crate::net::events::Pending;
use crate::net::ring::Ring;
use crate::time::TurnTime;

impl KernelNet {
    pub(super) fn accept_some(&mut self, now: &TurnTime) -> u32 {
        let (mut accepted, mut tried) = (0, 0);
        if now.mono_ns < self.accept_again_ns {
            return 0;
        }
        for index in 0..self.listeners.len() {
            while self.listeners[index].may_accept && tried < ACCEPTS_PER_TURN_MAX {
                if self.tx.free.is_empty() && self.tx.slots.len() >= self.limits.conns_max {
                    return accepted; // The rest wait in the kernel's backlog.
                }
                tried += 1;
                match self.listeners[index].socket.accept() {
                    Ok((stream, peer)) => {
                        accepted += 1;
                        self.adopt(stream, peer, now);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.listeners[index].may_accept = false;
                    }
                    Err(error) if is_of_one_attempt(&error) => (),
                    Err(error) => {
                        self.pause_accepting(&error, now);
                        return accepted;
                    }
                }
            }
        }
        accepted
    }

    /// Most likely descriptors or memory have run out. Who waits in a backlog does not ring again, so we must look again.
    fn pause_accepting(&mut self, error: &io::Error, now: &TurnTime) {
        if now.mono_ns >= self.complain_again_ns {
            self.complain_again_ns = now.mono_ns + COMPLAINT_NANOS;
            log::warn!("cannot accept connections: {error}; trying again every {ACCEPT_PAUSE:?}");
        }
        self.accept_again_ns = now.mono_ns + ACCEPT_PAUSE.as_nanos() as u64;
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
        conn.is_timed = false;
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
            is_timed: false,
        });
        slot
    }
}

/// The next attempt may well succeed at once.
fn is_of_one_attempt(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted)
}

const ACCEPTS_PER_TURN_MAX: u32 = 64;
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);
/// Long enough for descriptors to come free again, short enough that nobody gives up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const COMPLAINT_NANOS: u64 = 60_000_000_000;
