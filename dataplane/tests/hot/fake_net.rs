//! A network in memory: each connection is two small rings, and the test is the peer at the other end.
//!
//! Behaves as `net::Net` promises: events say "look again", a short send is followed by `Writable` once the peer has
//! taken something, `Closed` is the last word of a connection. Nothing is allocated between `connect` and `closed`.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use dataplane::net::{ConnId, ConnInfo, Net, NetEvent, NetRx, NetTx, TcpInfo, Waker};
use dataplane::time::TurnTime;

/// Fixed bytes, read at `head`.
pub struct ByteRing {
    bytes: Box<[u8]>,
    head: usize,
    len: usize,
}

impl ByteRing {
    pub fn new(capacity: usize) -> ByteRing {
        ByteRing { bytes: vec![0; capacity].into(), head: 0, len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn room(&self) -> usize {
        self.bytes.len() - self.len
    }

    pub fn runs(&self) -> (&[u8], &[u8]) {
        let first = self.len.min(self.bytes.len() - self.head);
        (&self.bytes[self.head..self.head + first], &self.bytes[..self.len - first])
    }

    pub fn consume(&mut self, len: usize) {
        assert!(len <= self.len);
        self.head = (self.head + len) % self.bytes.len();
        self.len -= len;
    }

    /// The free bytes up to the ring's end.
    pub fn free_run(&mut self) -> &mut [u8] {
        let tail = (self.head + self.len) % self.bytes.len();
        let run = self.room().min(self.bytes.len() - tail);
        &mut self.bytes[tail..tail + run]
    }

    pub fn put(&mut self, mut bytes: &[u8]) -> usize {
        let mut put = 0;
        while !bytes.is_empty() && self.room() > 0 {
            let run = self.free_run();
            let part = run.len().min(bytes.len());
            run[..part].copy_from_slice(&bytes[..part]);
            self.len += part;
            put += part;
            bytes = &bytes[part..];
        }
        put
    }
}

struct Received {
    generation: u32,
    ring: ByteRing,
}

struct Sending {
    generation: u32,
    open: bool,
    ring: ByteRing,
    peer: SocketAddr,
    local: SocketAddr,
    wants_room: bool,
    closing: bool,
    aborted: bool,
}

#[derive(Default)]
pub struct FakeRx {
    conns: Vec<Received>,
}

#[derive(Default)]
pub struct FakeTx {
    conns: Vec<Sending>,
    ended: Vec<ConnId>,
}

/// The whole network.
pub struct FakeNet {
    rx: FakeRx,
    tx: FakeTx,
    events: VecDeque<NetEvent>,
    pub rx_ring_bytes: usize,
    pub tx_ring_bytes: usize,
}

impl FakeNet {
    pub fn new(rx_ring_bytes: usize, tx_ring_bytes: usize) -> FakeNet {
        FakeNet {
            rx: FakeRx::default(),
            tx: FakeTx::default(),
            events: VecDeque::with_capacity(1024),
            rx_ring_bytes,
            tx_ring_bytes,
        }
    }

    /// A peer connects.
    pub fn connect(&mut self, peer: &str, local: &str) -> ConnId {
        let (peer, local) = (peer.parse().unwrap(), local.parse().unwrap());
        let slot = self.tx.conns.iter().position(|conn| !conn.open).unwrap_or(self.tx.conns.len());
        let generation = self.tx.conns.get(slot).map_or(1, |conn| conn.generation + 1);
        let received = Received { generation, ring: ByteRing::new(self.rx_ring_bytes) };
        let sending = Sending {
            generation,
            open: true,
            ring: ByteRing::new(self.tx_ring_bytes),
            peer,
            local,
            wants_room: false,
            closing: false,
            aborted: false,
        };
        if slot == self.tx.conns.len() {
            self.rx.conns.push(received);
            self.tx.conns.push(sending);
        } else {
            self.rx.conns[slot] = received;
            self.tx.conns[slot] = sending;
        }
        let conn = ConnId { slot: slot as u32, generation };
        self.events.push_back(NetEvent::Opened { conn, peer, local });
        conn
    }

    /// The peer sends; returns how much the ring took.
    pub fn feed(&mut self, conn: ConnId, bytes: &[u8]) -> usize {
        let Some(received) =
            self.rx.conns.get_mut(conn.slot as usize).filter(|c| c.generation == conn.generation)
        else {
            return 0;
        };
        let put = received.ring.put(bytes);
        if put > 0 {
            self.events.push_back(NetEvent::Readable(conn));
        }
        put
    }

    /// The peer takes up to `out.len()` bytes of what was sent to it.
    pub fn take(&mut self, conn: ConnId, out: &mut [u8]) -> usize {
        let Some(sending) =
            self.tx.conns.get_mut(conn.slot as usize).filter(|c| c.generation == conn.generation)
        else {
            return 0;
        };
        let (first, second) = sending.ring.runs();
        let first_len = first.len().min(out.len());
        out[..first_len].copy_from_slice(&first[..first_len]);
        let second_len = second.len().min(out.len() - first_len);
        out[first_len..first_len + second_len].copy_from_slice(&second[..second_len]);
        let taken = first_len + second_len;
        sending.ring.consume(taken);
        if taken > 0 && std::mem::take(&mut sending.wants_room) {
            self.events.push_back(NetEvent::Writable(conn));
        }
        if sending.closing && sending.ring.len() == 0 && sending.open {
            self.tx.ended.push(conn);
        }
        taken
    }

    /// The peer half-closes.
    pub fn finish(&mut self, conn: ConnId) {
        self.events.push_back(NetEvent::PeerFinished(conn));
    }

    /// The peer vanishes.
    pub fn reset(&mut self, conn: ConnId) {
        self.tx.abort(conn);
    }

    pub fn is_open(&self, conn: ConnId) -> bool {
        self.tx.live(conn).is_some_and(|sending| !sending.closing && !sending.aborted)
    }

    pub fn unread(&self, conn: ConnId) -> usize {
        self.rx.conns[conn.slot as usize].ring.len()
    }
}

impl NetRx for FakeRx {
    fn readable(&self, conn: ConnId) -> (&[u8], &[u8]) {
        match self.conns.get(conn.slot as usize).filter(|received| received.generation == conn.generation) {
            Some(received) => received.ring.runs(),
            None => (&[], &[]),
        }
    }
}

impl FakeTx {
    fn live(&self, conn: ConnId) -> Option<&Sending> {
        self.conns
            .get(conn.slot as usize)
            .filter(|sending| sending.open && sending.generation == conn.generation)
    }

    fn live_mut(&mut self, conn: ConnId) -> Option<&mut Sending> {
        self.conns
            .get_mut(conn.slot as usize)
            .filter(|sending| sending.open && sending.generation == conn.generation)
    }
}

impl NetTx for FakeTx {
    fn send_room(&self, conn: ConnId) -> usize {
        self.live(conn).map_or(0, |sending| sending.ring.room())
    }

    fn send_with(&mut self, conn: ConnId, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> usize {
        let Some(sending) = self.live_mut(conn) else { return 0 };
        let run = sending.ring.free_run();
        if run.is_empty() {
            return 0;
        }
        let filled = fill(run);
        sending.ring.len += filled;
        filled
    }

    fn send(&mut self, conn: ConnId, bytes: &[u8]) -> usize {
        let Some(sending) = self.live_mut(conn) else { return 0 };
        let sent = sending.ring.put(bytes);
        sending.wants_room |= sent < bytes.len();
        sent
    }

    fn want_room(&mut self, conn: ConnId) {
        if let Some(sending) = self.live_mut(conn) {
            sending.wants_room = true;
        }
    }

    fn close(&mut self, conn: ConnId) {
        let Some(sending) = self.live_mut(conn) else { return };
        if !std::mem::replace(&mut sending.closing, true) && sending.ring.len() == 0 {
            self.ended.push(conn);
        }
    }

    fn abort(&mut self, conn: ConnId) {
        let Some(sending) = self.live_mut(conn) else { return };
        if !std::mem::replace(&mut sending.aborted, true) {
            self.ended.push(conn);
        }
    }

    fn info(&self, conn: ConnId) -> Option<ConnInfo> {
        let sending = self.live(conn)?;
        Some(ConnInfo {
            peer: sending.peer,
            local: sending.local,
            bytes_in: 0,
            bytes_out: 0,
            queued_bytes: sending.ring.len(),
            heard_ns: 0,
            tcp: TcpInfo { state: "established", ..TcpInfo::default() },
        })
    }
}

impl Net for FakeNet {
    type Rx = FakeRx;
    type Tx = FakeTx;

    fn listen(&mut self, _port: u16) -> io::Result<()> {
        Ok(())
    }

    fn ingress(&mut self, _now: &TurnTime, _frames_max: usize) -> u32 {
        0
    }

    fn next_event(&mut self) -> Option<NetEvent> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        let conn = self.tx.ended.pop()?;
        let sending = self.tx.live_mut(conn)?;
        sending.open = false;
        // Nothing can be read of it any more either.
        self.rx.conns[conn.slot as usize].ring.len = 0;
        Some(NetEvent::Closed(conn))
    }

    fn split(&mut self) -> (&FakeRx, &mut FakeTx) {
        (&self.rx, &mut self.tx)
    }

    fn rx(&self) -> &FakeRx {
        &self.rx
    }

    fn tx(&self) -> &FakeTx {
        &self.tx
    }

    fn consume(&mut self, conn: ConnId, len: usize) {
        if len > 0 {
            self.rx.conns[conn.slot as usize].ring.consume(len);
        }
    }

    fn egress(&mut self, _now: &TurnTime, _frames_max: usize) -> u32 {
        0
    }

    fn idle_wait(&mut self, _now: &TurnTime, _max: Duration) {}

    fn waker(&self) -> Waker {
        Waker::idle()
    }

    fn conns_len(&self) -> usize {
        self.tx.conns.iter().filter(|sending| sending.open).count()
    }
}
