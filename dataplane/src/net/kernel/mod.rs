//! The `Net` face over the kernel's own sockets: for machines without privileges, and the baseline of every claim.
//!
//! ```text
//!   epoll ──▶ accept | read into the connection's ring ──▶ ··· ──▶ its send ring ──▶ one write a turn
//! ```
//!
//! Non-blocking and polled. Reads and writes are as large as the rings allow and take both runs in one system call.
//! No connection costs anything while it is quiet; nothing is allocated per message.

use super::events::{EventQueue, Pending};
use super::idle::{Idle, Spin, Waker};
use super::ring::Ring;
use super::{ConnId, ConnInfo, Net, NetEvent, NetLimits, NetRx, NetTx, TcpInfo};
use crate::time::TurnTime;
use mio::net::{TcpListener, TcpStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::time::Duration;

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

/// The sockets and their send rings.
pub struct KernelTx {
    slots: Vec<TxSlot>,
    free: Vec<u32>,
    dirty: VecDeque<u32>,
    events: EventQueue,
    conns_len: usize,
}

struct TxSlot {
    stream: Option<TcpStream>,
    generation: u32,
    phase: Phase,
    pending: Pending,
    ring: Ring,
    peer: SocketAddr,
    local: SocketAddr,
    bytes_in: u64,
    bytes_out: u64,
    heard_ns: u64,
    is_hungry: bool,
    is_dirty: bool,
    wants_room: bool,
    /// epoll has said that an end or an error lies behind the bytes.
    end_seen: bool,
    peer_finished: bool,
    /// Takes nothing any more: what is sent to it is thrown away.
    is_deaf: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
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
                dirty: VecDeque::with_capacity(limits.conns_max),
                events: EventQueue::with_capacity(limits.conns_max),
                conns_len: 0,
            },
            hungry: VecDeque::with_capacity(limits.conns_max),
            lingering: VecDeque::with_capacity(limits.conns_max),
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

    fn accept_some(&mut self, now: &TurnTime) -> u32 {
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

    /// Reads once from the next hungry socket.
    fn read_one(&mut self, slot: u32, now: &TurnTime) {
        let conn = &mut self.tx.slots[slot as usize];
        let Some(stream) = conn.stream.as_mut() else { return };
        match conn.phase {
            Phase::Open => (),
            Phase::Flushing | Phase::Lingering => return self.throw_away(slot),
            Phase::Free | Phase::Reset | Phase::Dead => return,
        }
        let ring = &mut self.rx.slots[slot as usize].ring;
        let room = ring.room();
        if room == 0 {
            return; // `consume` makes it hungry again.
        }
        let (first, second) = ring.free();
        let read = stream.read_vectored(&mut [IoSliceMut::new(first), IoSliceMut::new(second)]);
        match read {
            Ok(0) => {
                conn.peer_finished = true;
                self.tx.events.raise(slot, &mut conn.pending, Pending::FINISHED);
            }
            Ok(len) => {
                ring.filled(len);
                conn.bytes_in += len as u64;
                conn.heard_ns = now.mono_ns;
                self.tx.events.raise(slot, &mut conn.pending, Pending::READABLE);
                // Less than there was room for: the socket is empty, and what comes later rings again. All there was
                // room for: `consume` makes it hungry again. An end that came with these bytes does not ring again.
                if len < room && conn.end_seen {
                    conn.is_hungry = true;
                    self.hungry.push_back(slot);
                }
            }
            Err(error) if is_transient(&error) && !conn.is_deaf => (),
            Err(_) if self.rx.slots[slot as usize].ring.is_empty() => self.tx.lose(slot),
            Err(_) => self.tx.reset(slot),
        }
    }

    /// It cannot be written to any more. What came before that may still lie in the socket.
    fn deafen(&mut self, slot: u32) {
        let conn = &mut self.tx.slots[slot as usize];
        if conn.phase != Phase::Open {
            return self.tx.lose(slot);
        }
        conn.is_deaf = true;
        conn.ring.clear();
        if conn.wants_room {
            self.tx.deaf_has_room(slot);
        }
        let conn = &mut self.tx.slots[slot as usize];
        if !conn.is_hungry {
            conn.is_hungry = true;
            self.hungry.push_back(slot);
        }
    }

    /// After our close: the peer's bytes have no reader. Its end, or an error, is what we wait for.
    fn throw_away(&mut self, slot: u32) {
        let conn = &mut self.tx.slots[slot as usize];
        let Some(stream) = conn.stream.as_mut() else { return };
        let mut scrap = [0; 4096];
        match stream.read(&mut scrap) {
            Ok(0) if conn.phase == Phase::Lingering => self.tx.lose(slot),
            Ok(0) => conn.peer_finished = true,
            Ok(_) => {
                conn.is_hungry = true;
                self.hungry.push_back(slot);
            }
            Err(error) if is_transient(&error) => (),
            Err(_) => self.tx.lose(slot),
        }
    }

    /// Writes once: everything that is queued, if the socket takes it.
    fn write_one(&mut self, slot: u32, now: &TurnTime) {
        let conn = &mut self.tx.slots[slot as usize];
        let Some(stream) = conn.stream.as_mut() else { return };
        if !conn.ring.is_empty() {
            let (first, second) = conn.ring.readable();
            match stream.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]) {
                Ok(len) => {
                    conn.ring.consume(len);
                    conn.bytes_out += len as u64;
                }
                Err(error) if is_transient(&error) => (), // epoll tells when there is room again.
                Err(_) => return self.deafen(slot),
            }
        }
        let conn = &mut self.tx.slots[slot as usize];
        if conn.wants_room && conn.phase == Phase::Open && conn.ring.room() >= self.limits.tx_ring_bytes / 4 {
            conn.wants_room = false;
            self.tx.events.raise(slot, &mut conn.pending, Pending::WRITABLE);
        }
        if conn.phase == Phase::Flushing && conn.ring.is_empty() {
            let ended = conn.stream.as_ref().is_none_or(|stream| stream.shutdown(Shutdown::Write).is_err());
            if ended || conn.peer_finished {
                return self.tx.lose(slot);
            }
            conn.phase = Phase::Lingering;
            let id = ConnId { slot, generation: conn.generation };
            self.lingering.push_back((id, now.mono_ns + LINGER_NANOS_MAX));
            if !conn.is_hungry {
                conn.is_hungry = true;
                self.hungry.push_back(slot);
            }
        }
    }

    fn end_lingering(&mut self, now: &TurnTime) {
        while let Some((id, until_ns)) = self.lingering.front().copied() {
            if until_ns > now.mono_ns {
                break;
            }
            self.lingering.pop_front();
            let conn = &self.tx.slots[id.slot as usize];
            if conn.generation == id.generation && conn.phase == Phase::Lingering {
                self.tx.lose(id.slot);
            }
        }
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
        self.end_lingering(now);
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
        let max = match self.lingering.front() {
            Some((_, until_ns)) => max.min(Duration::from_nanos(until_ns.saturating_sub(now.mono_ns))),
            None => max,
        };
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

impl KernelTx {
    fn open(&self, conn: ConnId) -> Option<&TxSlot> {
        let slot = self.slots.get(conn.slot as usize)?;
        (slot.generation == conn.generation && slot.is_there()).then_some(slot)
    }

    fn open_mut(&mut self, conn: ConnId) -> Option<&mut TxSlot> {
        let slot = self.slots.get_mut(conn.slot as usize)?;
        (slot.generation == conn.generation && slot.is_there()).then_some(slot)
    }

    fn mark_dirty(&mut self, slot: u32) {
        let conn = &mut self.slots[slot as usize];
        if !conn.is_dirty {
            conn.is_dirty = true;
            self.dirty.push_back(slot);
        }
    }

    /// There always is room for what is thrown away.
    fn deaf_has_room(&mut self, slot: u32) {
        let conn = &mut self.slots[slot as usize];
        conn.wants_room = false;
        self.events.raise(slot, &mut conn.pending, Pending::WRITABLE);
    }

    /// The socket is dropped; if the shard has not been told of the end yet, it will be.
    fn lose(&mut self, slot: u32) {
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
    fn reset(&mut self, slot: u32) {
        let conn = &mut self.slots[slot as usize];
        (conn.stream, conn.phase, conn.is_deaf) = (None, Phase::Reset, true);
        conn.ring.clear();
        let told = Pending::READABLE | Pending::WRITABLE | Pending::FINISHED;
        self.events.raise(slot, &mut conn.pending, told);
    }

    fn bury(&mut self, slot: u32) {
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

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

const BELL: Token = Token(usize::MAX);
const LISTENER_BASE: usize = 1 << 32;
const BACKLOG_LEN: i32 = 4096;
const EVENTS_PER_POLL_MAX: usize = 1024;
const ACCEPTS_PER_TURN_MAX: u32 = 64;
/// How long a connection we have closed may keep its slot until the peer closes it too.
const LINGER_NANOS_MAX: u64 = 2_000_000_000;
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);
