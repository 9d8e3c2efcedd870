//! The stack's connections: one smoltcp socket each, in a set of its own, with its buffers in the slab.
//!
//! ```text
//!   SYN ─▶ Handshake ─▶ Open ─▶ (close | abort) Orphan ─▶ gone ─▶ slot free, generation moved on
//!              │          └─▶ (reset, timeout) ─▶ bytes unread: Reset until we close ─▶ Dead until `Closed` is told
//!              └─▶ expired or reset: nobody was told, slot free at once
//! ```
//!
//! This file is what the shard sees ([`StackRx`], [`StackTx`]); inward.rs and outward.rs move packets in and out of it.

use super::clock::StackClock;
use super::flows::FlowKey;
use super::gauge::Gauge;
use super::options::Offer;
use super::recovery::Recovery;
use super::slab::{self, RxView, Slab, TxView};
use super::stamps::Stamps;
use super::wire::Sent;
use crate::device::Mac;
use crate::net::events::{EventQueue, Pending};
use crate::net::packet::Tcp;
use crate::net::{ConnId, ConnInfo, NetEvent, NetRx, NetTx, TcpInfo};
use crate::touched;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Free,
    /// SYN seen; nobody has been told.
    Handshake,
    Open,
    /// Closed or aborted by us; the stack sees it off.
    Orphan,
    /// Gone for the network, with bytes that the shard has yet to read: it ends as one whose peer has finished, and what
    /// is sent to it is thrown away.
    Reset,
    /// Gone; `Closed` is still to be told.
    Dead,
}

/// One connection.
pub struct Conn {
    pub set: SocketSet<'static>,
    pub handle: SocketHandle,
    pub generation: u32,
    pub phase: Phase,
    pub pending: Pending,
    pub is_dirty: bool,
    pub wants_room: bool,
    pub finish_told: bool,
    pub key: FlowKey,
    pub peer: SocketAddrV4,
    pub local: SocketAddrV4,
    /// Where its segments come from, and ours go.
    pub mac: Mac,
    /// Where the last segment that was in order came from instead.
    pub mac_candidate: Mac,
    /// The peer's first data byte has this sequence number.
    pub rcv_first: u32,
    /// No byte at or behind this number has come (quiet.rs).
    pub rcv_high: u32,
    /// Bytes given to the shard and consumed by it.
    pub consumed: u64,
    /// Where our sending is: the number after the last one sent, and the last window we announced.
    pub snd_next: u32,
    pub window: u16,
    /// A segment behind the SYN has told the window.
    pub has_told_window: bool,
    pub gauge: Gauge,
    /// Before this time no forged segment is answered (RFC 5961, 7).
    pub next_challenge_ns: u64,
    pub bytes_out: u64,
    pub heard_ns: u64,
    /// smoltcp's time for this connection.
    pub clock: StackClock,
    /// The bytes that smoltcp holds to send, and to send again.
    pub tx_view: TxView,
    /// What the peer's SYN offered, and the segments we may send it.
    pub offer: Offer,
    pub mss: u32,
    pub recovery: Recovery,
    /// How often our answer to its SYN left, and when it did last.
    pub answers: u32,
    pub answered_ns: u64,
    /// What we acknowledged last: with `window`, what the peer knows that it may send.
    pub ack_told: u32,
    /// The peer's window in bytes, and what smoltcp takes it for: less, when more may not be on its way.
    pub peer_window: u32,
    pub engine_window: u32,
    /// When a handshake or an orphan is given up, or looked at again.
    pub deadline_ns: u64,
    /// When an orphan is given up for good.
    pub orphan_ends_ns: u64,
}

impl Conn {
    pub fn socket(&self) -> &tcp::Socket<'static> {
        self.set.get(self.handle)
    }

    pub fn socket_mut(&mut self) -> &mut tcp::Socket<'static> {
        self.set.get_mut(self.handle)
    }

    /// What has been sent so far, for smoltcp's device to go on from.
    pub fn sent(&self) -> Sent {
        Sent {
            frames: 0,
            snd_next: self.snd_next,
            ack: self.ack_told,
            window: self.window,
            tells_window: false,
            again: None,
            resent: 0,
        }
    }

    fn room(&self) -> usize {
        let socket = self.socket();
        if socket.may_send() { socket.send_capacity() - socket.send_queue() } else { 0 }
    }

    /// How far smoltcp shifts the window fields that we send, if the peer shifts its own.
    pub fn own_window_shift(&self) -> u32 {
        let capacity_bits = usize::BITS - self.socket().recv_capacity().leading_zeros();
        self.offer.window_shift.map_or(0, |_| capacity_bits.saturating_sub(u16::BITS))
    }

    /// The receive ring cannot hold all of this segment's data, though smoltcp may believe so: a SYN's window is not shifted,
    /// and smoltcp takes it for shifted until it has told another one.
    pub fn overruns_ring(&self, tcp: &Tcp) -> bool {
        if self.has_told_window {
            return false;
        }
        let ahead = i64::from(tcp.seq.wrapping_sub(self.rcv_next()) as i32);
        let room = self.socket().recv_capacity() - self.socket().recv_queue();
        ahead + tcp.data_bytes as i64 > room as i64
    }

    /// The peer will send no more (it may still be short of acknowledgements).
    pub fn peer_finished(&self) -> bool {
        matches!(
            self.socket().state(),
            tcp::State::CloseWait | tcp::State::LastAck | tcp::State::Closing | tcp::State::TimeWait
        )
    }

    /// The next sequence number we expect: everything before it has come.
    pub fn rcv_next(&self) -> u32 {
        let received = self.consumed + self.socket().recv_queue() as u64;
        self.rcv_first.wrapping_add(received as u32).wrapping_add(u32::from(self.peer_finished()))
    }
}

/// What has been received, by connection.
pub struct StackRx {
    pub views: Vec<RxView>,
}

/// The connections, as the shard writes to them.
pub struct StackTx {
    pub conns: Vec<Conn>,
    /// Free slots, the lowest last.
    pub free: Vec<u32>,
    /// Connections with something to send or to say, and those of them that have much.
    pub dirty: VecDeque<u32>,
    pub bulky: VecDeque<u32>,
    pub events: EventQueue,
    pub conns_len: usize,
    /// When this turn is.
    pub now_ns: u64,
    /// While somebody waits for turns to end: how many answers this turn has for who does.
    pub hurry: Option<usize>,
    pub stamps: Stamps,
    slab: Slab,
    conns_max: usize,
    /// Where goes what is sent to nobody.
    void: Box<[u8]>,
}

impl StackTx {
    pub fn new(slab: Slab, conns_max: usize) -> Self {
        Self {
            conns: Vec::with_capacity(conns_max),
            free: Vec::with_capacity(conns_max),
            dirty: touched::queue(conns_max, 0),
            bulky: touched::queue(conns_max, 0),
            events: EventQueue::with_capacity(conns_max),
            conns_len: 0,
            now_ns: 0,
            hurry: None,
            stamps: Stamps::with_capacity(conns_max),
            slab,
            conns_max,
            void: touched::items(VOID_BYTES, 0).into_boxed_slice(),
        }
    }

    /// A slot for a new connection, with a socket that has never been used; none if all are taken.
    pub fn take_slot(&mut self, rx: &mut StackRx) -> Option<u32> {
        if self.free.is_empty() && !self.make_slot(rx) {
            return None;
        }
        let slot = self.free.pop()?;
        let conn = &mut self.conns[slot as usize];
        assert!(conn.phase == Phase::Free);
        let socket = self.slab.new_socket(slot);
        slab::forget(std::mem::replace(conn.set.get_mut(conn.handle), socket));
        (conn.wants_room, conn.finish_told) = (false, false);
        (conn.consumed, conn.bytes_out) = (0, 0);
        conn.tx_view = self.slab.new_tx_view(slot);
        let view = &mut rx.views[slot as usize];
        (view.read_at, view.len) = (0, 0);
        Some(slot)
    }

    /// Makes one more slot; false if there are as many as there may be. The first ones are made at start.
    pub fn make_slot(&mut self, rx: &mut StackRx) -> bool {
        if self.conns.len() == self.conns_max {
            return false;
        }
        let slot = self.conns.len() as u32;
        let mut set = SocketSet::new(Vec::with_capacity(1));
        let handle = set.add(self.slab.new_socket(slot));
        self.conns.push(Conn {
            set,
            handle,
            generation: 0,
            phase: Phase::Free,
            pending: Pending::default(),
            is_dirty: false,
            wants_room: false,
            finish_told: false,
            key: FlowKey::new(Ipv4Addr::UNSPECIFIED, 0, 0),
            peer: NOBODY,
            local: NOBODY,
            mac: [0; 6],
            mac_candidate: [0; 6],
            rcv_first: 0,
            rcv_high: 0,
            consumed: 0,
            snd_next: 0,
            window: 0,
            has_told_window: false,
            gauge: Gauge::default(),
            next_challenge_ns: 0,
            bytes_out: 0,
            heard_ns: 0,
            clock: StackClock::new(1, 0),
            tx_view: self.slab.new_tx_view(slot),
            offer: Offer::default(),
            mss: 1,
            recovery: Recovery::new(0, 1, 0, None),
            answers: 0,
            answered_ns: 0,
            ack_told: 0,
            peer_window: 0,
            engine_window: 0,
            deadline_ns: 0,
            orphan_ends_ns: 0,
        });
        rx.views.push(self.slab.new_view(slot));
        self.free.push(slot);
        true
    }

    /// Gives the pages of a slot's rings back, both of which must be empty.
    pub fn give_back(&mut self, slot: u32) {
        self.slab.give_back(slot);
    }

    pub fn has_dirty(&self) -> bool {
        !self.dirty.is_empty() || !self.bulky.is_empty()
    }

    pub fn mark_dirty(&mut self, slot: u32) {
        let conn = &mut self.conns[slot as usize];
        if !conn.is_dirty {
            conn.is_dirty = true;
            self.dirty.push_back(slot);
        }
    }

    /// The slot may be used again; ids of its last connection are dead.
    pub fn free_slot(&mut self, slot: u32) {
        let conn = &mut self.conns[slot as usize];
        conn.phase = Phase::Free;
        conn.generation = conn.generation.wrapping_add(1);
        self.free.push(slot);
    }

    pub fn next_event(&mut self, rx: &mut StackRx) -> Option<NetEvent> {
        loop {
            let slot = self.events.front()?;
            let conn = &mut self.conns[slot as usize];
            let id = ConnId { slot, generation: conn.generation };
            let Some(what) = conn.pending.take() else {
                self.events.done(&mut conn.pending);
                if conn.phase == Phase::Dead {
                    self.free_slot(slot);
                }
                continue;
            };
            return Some(match what {
                Pending::OPENED => {
                    NetEvent::Opened { conn: id, peer: conn.peer.into(), local: conn.local.into() }
                }
                Pending::READABLE => NetEvent::Readable(id),
                Pending::WRITABLE => NetEvent::Writable(id),
                Pending::FINISHED => NetEvent::PeerFinished(id),
                _ => {
                    self.conns_len -= 1;
                    rx.views[slot as usize].generation = conn.generation.wrapping_add(1);
                    NetEvent::Closed(id)
                }
            });
        }
    }

    /// The phase of a connection that the shard has not been told is closed, and has not closed.
    fn phase(&self, conn: ConnId) -> Option<Phase> {
        let slot = self.conns.get(conn.slot as usize).filter(|slot| slot.generation == conn.generation)?;
        Some(slot.phase).filter(|phase| matches!(phase, Phase::Open | Phase::Reset))
    }

    fn is_open(&self, conn: ConnId) -> bool {
        self.phase(conn) == Some(Phase::Open)
    }

    fn is_reset(&self, conn: ConnId) -> bool {
        self.phase(conn) == Some(Phase::Reset)
    }

    /// Gives received bytes back to the ring.
    pub fn consume(&mut self, rx: &mut StackRx, id: ConnId, len: usize) {
        if len == 0 || self.phase(id).is_none() {
            return;
        }
        let view = &mut rx.views[id.slot as usize];
        assert!(len <= view.len);
        let conn = &mut self.conns[id.slot as usize];
        let capacity = conn.socket().recv_capacity();
        let mut left = len;
        while left > 0 {
            let taken = conn.socket_mut().recv(|run| {
                let taken = left.min(run.len());
                (taken, taken)
            });
            left -= taken.expect("received bytes stay readable until they are consumed");
        }
        view.read_at = (view.read_at + len) % capacity;
        view.len -= len;
        conn.consumed += len as u64;
        self.mark_dirty(id.slot); // The window has grown; the peer may have to hear of it.
    }

    /// Leaves the connection to the stack: the shard hears `Closed` and nothing more.
    fn orphan(&mut self, slot: u32) {
        let conn = &mut self.conns[slot as usize];
        conn.phase = Phase::Orphan;
        conn.deadline_ns = self.now_ns + ORPHAN_NANOS;
        conn.orphan_ends_ns = self.now_ns + ORPHAN_NANOS_MAX;
        conn.pending.only_opening();
        self.events.raise(slot, &mut conn.pending, Pending::CLOSED);
        self.mark_dirty(slot);
    }

    /// The network has been done with it for a while; now the shard is.
    fn bury(&mut self, slot: u32) {
        let conn = &mut self.conns[slot as usize];
        conn.phase = Phase::Dead;
        conn.pending.only_opening();
        self.events.raise(slot, &mut conn.pending, Pending::CLOSED);
    }

    fn after_send(&mut self, slot: u32, len: usize, wanted_more: bool) {
        let conn = &mut self.conns[slot as usize];
        conn.wants_room |= wanted_more;
        conn.bytes_out += len as u64;
        if len > 0 {
            self.stamps.touch(slot, self.now_ns);
            conn.tx_view.pushed(len);
            self.mark_dirty(slot);
        }
    }

    /// Tells of room if somebody waits for it and there is enough to be worth it.
    pub fn check_room(&mut self, slot: u32) {
        let conn = &mut self.conns[slot as usize];
        if conn.wants_room && conn.phase == Phase::Open && conn.room() >= conn.socket().send_capacity() / 4 {
            conn.wants_room = false;
            self.events.raise(slot, &mut conn.pending, Pending::WRITABLE);
        }
    }
}

impl Drop for StackTx {
    fn drop(&mut self) {
        for conn in &mut self.conns {
            let smoltcp::socket::Socket::Tcp(socket) = conn.set.remove(conn.handle);
            slab::forget(socket);
        }
    }
}

impl NetRx for StackRx {
    fn readable(&self, conn: ConnId) -> (&[u8], &[u8]) {
        match self.views.get(conn.slot as usize) {
            Some(view) if view.generation == conn.generation => view.runs(),
            _ => (&[], &[]),
        }
    }
}

impl NetTx for StackTx {
    fn send_room(&self, conn: ConnId) -> usize {
        match self.phase(conn) {
            Some(Phase::Open) => self.conns[conn.slot as usize].room(),
            Some(_) => VOID_BYTES,
            None => 0,
        }
    }

    fn send_with(&mut self, conn: ConnId, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> usize {
        if !self.is_open(conn) {
            return if self.is_reset(conn) { fill(&mut self.void) } else { 0 };
        }
        let socket = self.conns[conn.slot as usize].socket_mut();
        if !socket.can_send() {
            self.conns[conn.slot as usize].wants_room = true;
            return 0;
        }
        let len = socket.send(|run| {
            let len = fill(run);
            (len, len)
        });
        let len = len.expect("can_send was asked");
        self.after_send(conn.slot, len, false);
        len
    }

    fn send(&mut self, conn: ConnId, bytes: &[u8]) -> usize {
        if !self.is_open(conn) {
            return if self.is_reset(conn) { bytes.len() } else { 0 };
        }
        // Refused only after our own end.
        let len = self.conns[conn.slot as usize].socket_mut().send_slice(bytes).unwrap_or(0);
        self.after_send(conn.slot, len, len < bytes.len());
        len
    }

    fn want_room(&mut self, conn: ConnId) {
        if self.is_open(conn) {
            self.conns[conn.slot as usize].wants_room = true;
            self.check_room(conn.slot);
        } else if self.is_reset(conn) {
            let pending = &mut self.conns[conn.slot as usize].pending;
            self.events.raise(conn.slot, pending, Pending::WRITABLE);
        }
    }

    fn close(&mut self, conn: ConnId) {
        if self.is_open(conn) {
            self.conns[conn.slot as usize].socket_mut().close();
            self.orphan(conn.slot);
        } else if self.is_reset(conn) {
            self.bury(conn.slot);
        }
    }

    fn abort(&mut self, conn: ConnId) {
        if self.is_open(conn) {
            self.conns[conn.slot as usize].socket_mut().abort();
            self.orphan(conn.slot);
        } else if self.is_reset(conn) {
            self.bury(conn.slot);
        }
    }

    fn hurry(&mut self, little_answers: Option<usize>) {
        self.hurry = little_answers;
    }

    fn info(&self, conn: ConnId) -> Option<ConnInfo> {
        self.phase(conn)?;
        let conn = &self.conns[conn.slot as usize];
        Some(ConnInfo {
            peer: SocketAddr::V4(conn.peer),
            local: SocketAddr::V4(conn.local),
            bytes_in: conn.consumed + conn.socket().recv_queue() as u64,
            bytes_out: conn.bytes_out,
            queued_bytes: conn.socket().send_queue(),
            heard_ns: conn.heard_ns,
            tcp: TcpInfo {
                state: state_name(conn.socket().state()),
                rtt_ns: conn.recovery.smoothed_rtt_ns(),
                retransmits: Some(conn.gauge.retransmits()),
                zero_window_ns: Some(conn.gauge.zero_window_ns(self.now_ns)),
            },
        })
    }
}

/// As `ss` writes it.
fn state_name(state: tcp::State) -> &'static str {
    match state {
        tcp::State::Closed => "closed",
        tcp::State::Listen => "listen",
        tcp::State::SynSent => "syn-sent",
        tcp::State::SynReceived => "syn-received",
        tcp::State::Established => "established",
        tcp::State::FinWait1 => "fin-wait-1",
        tcp::State::FinWait2 => "fin-wait-2",
        tcp::State::CloseWait => "close-wait",
        tcp::State::Closing => "closing",
        tcp::State::LastAck => "last-ack",
        tcp::State::TimeWait => "time-wait",
    }
}

/// As much as a turn may want to write in one piece.
const VOID_BYTES: usize = 64 << 10;
const NOBODY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
/// How long a connection we have closed may take to end while nothing of ours is on its way.
pub const ORPHAN_NANOS: u64 = 10_000_000_000;
/// How long it may take to deliver our last bytes to a peer that is heard now and then.
pub const ORPHAN_NANOS_MAX: u64 = 60_000_000_000;
