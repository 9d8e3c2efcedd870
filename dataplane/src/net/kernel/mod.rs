//! The `Net` face over the kernel's own sockets: for machines without privileges, and the baseline of every claim.
//!
//! ```text
//!   epoll ──▶ accept | read into the connection's ring ──▶ ··· ──▶ its send ring ──▶ one write a turn
//! ```
//!
//! Non-blocking and polled. Reads and writes are as large as the rings allow and take both runs in one system call.
//! No connection costs anything while it is quiet; nothing is allocated per message.

mod accept;
mod traffic;
mod tx;

pub use tx::KernelTx;

use super::events::{EventQueue, Pending};
use super::idle::{Idle, Spin, Waker};
use super::ring::Ring;
use super::{ConnId, Net, NetEvent, NetLimits, NetRx};
use crate::time::TurnTime;
use crate::touched;
use mio::net::TcpListener;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tx::Phase;

/// Connections over kernel sockets bound to one address.
pub struct KernelNet {
    address: IpAddr,
    poll: Poll,
    events: Events,
    listeners: Vec<Listener>,
    rx: KernelRx,
    tx: KernelTx,
    /// Slots whose socket may have bytes to read.
    hungry: VecDeque<u32>,
    /// Closed by us and flushed; waiting for the peer's end, oldest first.
    lingering: VecDeque<(ConnId, u64)>,
    /// Closed by us and not flushed yet, because the peer does not read; oldest first.
    flushing: VecDeque<(ConnId, u64)>,
    /// When to accept again after that has failed.
    accept_again_ns: u64,
    complain_again_ns: u64,
    idle: Idle,
    limits: NetLimits,
}

struct Listener {
    socket: TcpListener,
    may_accept: bool,
}

/// The receive rings.
pub struct KernelRx {
    slots: Vec<RxSlot>,
}

struct RxSlot {
    generation: u32,
    ring: Ring,
}

impl KernelNet {
    pub fn new(address: IpAddr, limits: NetLimits, spin: Spin) -> io::Result<Self> {
        let poll = Poll::new()?;
        let idle = Idle::new(spin)?;
        if let Some(bell) = idle.bell_fd() {
            poll.registry().register(&mut SourceFd(&bell), BELL, Interest::READABLE)?;
        }
        Ok(Self {
            address,
            poll,
            events: Events::with_capacity(EVENTS_PER_POLL_MAX),
            listeners: Vec::new(),
            rx: KernelRx { slots: Vec::with_capacity(limits.conns_max) },
            tx: KernelTx {
                slots: Vec::with_capacity(limits.conns_max),
                free: Vec::with_capacity(limits.conns_max),
                dirty: touched::queue(limits.conns_max, 0),
                events: EventQueue::with_capacity(limits.conns_max),
                conns_len: 0,
            },
            hungry: touched::queue(limits.conns_max, 0),
            lingering: VecDeque::with_capacity(limits.conns_max),
            flushing: VecDeque::with_capacity(limits.conns_max),
            accept_again_ns: 0,
            complain_again_ns: 0,
            idle,
            limits,
        })
    }

    fn note_events(&mut self) {
        for event in &self.events {
            let token = event.token();
            if token == BELL {
                continue;
            }
            if token.0 >= LISTENER_BASE {
                self.listeners[token.0 - LISTENER_BASE].may_accept = true;
                continue;
            }
            let slot = token.0 as u32;
            let conn = &mut self.tx.slots[token.0];
            if conn.stream.is_none() {
                continue;
            }
            conn.end_seen |= event.is_read_closed() || event.is_error();
            if (event.is_readable() || conn.end_seen) && !conn.is_hungry {
                conn.is_hungry = true;
                self.hungry.push_back(slot);
            }
            if event.is_writable() && !conn.is_dirty && (conn.wants_room || !conn.ring.is_empty()) {
                conn.is_dirty = true;
                self.tx.dirty.push_back(slot);
            }
        }
        self.events.clear();
    }
}

impl Net for KernelNet {
    type Rx = KernelRx;
    type Tx = KernelTx;

    fn listen(&mut self, port: u16) -> io::Result<()> {
        let address = SocketAddr::new(self.address, port);
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG_LEN)?;
        let mut socket = TcpListener::from_std(socket.into());
        let token = Token(LISTENER_BASE + self.listeners.len());
        self.poll.registry().register(&mut socket, token, Interest::READABLE)?;
        self.listeners.push(Listener { socket, may_accept: true });
        Ok(())
    }

    fn ingress(&mut self, now: &TurnTime, frames_max: usize) -> u32 {
        self.idle.begin_turn(now);
        if self.events.is_empty() {
            // An interrupted or failed poll finds nothing; the next turn asks again.
            let _polled = self.poll.poll(&mut self.events, Some(Duration::ZERO));
        }
        self.note_events();
        let mut work = self.accept_some(now);
        for _ in 0..self.hungry.len().min(frames_max) {
            let Some(slot) = self.hungry.pop_front() else { break };
            self.tx.slots[slot as usize].is_hungry = false;
            self.read_one(slot, now);
            work += 1;
        }
        self.end_closed(now);
        if work > 0 {
            self.idle.worked(now);
        }
        work
    }

    fn next_event(&mut self) -> Option<NetEvent> {
        loop {
            let slot = self.tx.events.front()?;
            let conn = &mut self.tx.slots[slot as usize];
            let Some(what) = conn.pending.take() else {
                self.tx.events.done(&mut conn.pending);
                if conn.phase == Phase::Dead {
                    self.tx.bury(slot);
                    let rx = &mut self.rx.slots[slot as usize];
                    rx.ring.clear();
                }
                continue;
            };
            let id = ConnId { slot, generation: conn.generation };
            return Some(match what {
                Pending::OPENED => {
                    self.rx.slots[slot as usize].generation = conn.generation;
                    NetEvent::Opened { conn: id, peer: conn.peer, local: conn.local }
                }
                Pending::READABLE => NetEvent::Readable(id),
                Pending::WRITABLE => NetEvent::Writable(id),
                Pending::FINISHED => NetEvent::PeerFinished(id),
                _ => {
                    self.tx.conns_len -= 1;
                    // From here on the id is dead to the reader, even while its last bytes are on their way.
                    self.rx.slots[slot as usize].generation = conn.generation.wrapping_add(1);
                    NetEvent::Closed(id)
                }
            });
        }
    }

    fn split(&mut self) -> (&KernelRx, &mut KernelTx) {
        (&self.rx, &mut self.tx)
    }

    fn rx(&self) -> &KernelRx {
        &self.rx
    }

    fn tx(&self) -> &KernelTx {
        &self.tx
    }

    fn consume(&mut self, conn: ConnId, len: usize) {
        if len == 0 || self.tx.open(conn).is_none() {
            return;
        }
        let ring = &mut self.rx.slots[conn.slot as usize].ring;
        let was_full = ring.room() == 0;
        ring.consume(len);
        let slot = &mut self.tx.slots[conn.slot as usize];
        if was_full && !slot.is_hungry {
            slot.is_hungry = true;
            self.hungry.push_back(conn.slot);
        }
    }

    fn egress(&mut self, now: &TurnTime, frames_max: usize) -> u32 {
        let count = self.tx.dirty.len().min(frames_max);
        for _ in 0..count {
            let Some(slot) = self.tx.dirty.pop_front() else { break };
            self.tx.slots[slot as usize].is_dirty = false;
            self.write_one(slot, now);
        }
        if count > 0 {
            self.idle.worked(now);
        }
        count as u32
    }

    fn idle_wait(&mut self, now: &TurnTime, max: Duration) {
        if !self.hungry.is_empty() || !self.tx.dirty.is_empty() || !self.tx.events.is_empty() {
            return;
        }
        let ends =
            [&self.lingering, &self.flushing].map(|queue| queue.front().map(|(_, until_ns)| *until_ns));
        let again = (self.accept_again_ns > now.mono_ns).then_some(self.accept_again_ns);
        let due_ns = ends.into_iter().chain([again]).flatten().min();
        let max =
            due_ns.map_or(max, |due_ns| max.min(Duration::from_nanos(due_ns.saturating_sub(now.mono_ns))));
        let (poll, events) = (&mut self.poll, &mut self.events);
        self.idle.sleep_with(now, max, |max| {
            // Interrupted or not, the next turn looks at whatever was found.
            let _polled = poll.poll(events, Some(max));
        });
    }

    fn waker(&self) -> Waker {
        self.idle.waker()
    }

    fn conns_len(&self) -> usize {
        self.tx.conns_len
    }
}

impl NetRx for KernelRx {
    fn readable(&self, conn: ConnId) -> (&[u8], &[u8]) {
        match self.slots.get(conn.slot as usize) {
            Some(slot) if slot.generation == conn.generation => slot.ring.readable(),
            _ => (&[], &[]),
        }
    }
}

const BELL: Token = Token(usize::MAX);
const LISTENER_BASE: usize = 1 << 32;
const BACKLOG_LEN: i32 = 4096;
const EVENTS_PER_POLL_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::sync::mpsc;

    /// T-36. Goal: a listener that fails for good ends no turn late. Method: one that listens no more, for which accept
    /// says EINVAL, in a thread that is given five seconds.
    #[test]
    fn a_broken_listener_stops_nobody() {
        let (done, is_done) = mpsc::channel();
        std::thread::spawn(move || {
            let limits = NetLimits { conns_max: 8, rx_ring_bytes: 4 << 10, tx_ring_bytes: 4 << 10 };
            let mut net = KernelNet::new(Ipv4Addr::LOCALHOST.into(), limits, Spin::Adaptive).unwrap();
            net.listen(0).unwrap();
            let listener = socket2::SockRef::from(&net.listeners[0].socket);
            listener.shutdown(std::net::Shutdown::Both).unwrap();
            let turns = (0..100).map(|ms| net.ingress(&TurnTime { mono_ns: ms * 1_000_000, wall_ms: 0 }, 64));
            done.send(turns.sum::<u32>()).unwrap();
        });
        assert_eq!(is_done.recv_timeout(Duration::from_secs(5)), Ok(0));
    }
}
