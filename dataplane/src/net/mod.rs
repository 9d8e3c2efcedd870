//! Connections and their bytes. Knows no frames and no device.
//!
//! ```text
//!             shard.turn()
//!   ingress ──▶ next_event ──▶ readable · consume · send ──▶ egress      idle_wait
//!      │                                                       │             │
//!      └──────────── one of: stack (ours, over a device) · kernel (sockets) ─┘
//! ```
//!
//! Both halves of [`Net`] behave alike; which one runs is main.rs's choice. Ids are never reused while
//! somebody may still hold them: a slot's generation moves on when its connection is gone.

mod events;
pub mod front;
pub mod idle;
pub mod kernel;
pub mod lossy;
pub mod packet;
pub mod pcapng;
mod ring;
pub mod stack;
pub mod watch;

pub use idle::{Spin, Waker};

use crate::counters::Tell;
use crate::time::TurnTime;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// One connection, past or present. A dead id is harmless: it reads nothing, takes nothing, closes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    pub slot: u32,
    pub generation: u32,
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conn {}.{}", self.slot, self.generation)
    }
}

/// "Look again": an event may come once for many causes, and may find nothing left to do.
///
/// Every connection has one `Opened` first and one `Closed` last, whoever closes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetEvent {
    Opened {
        conn: ConnId,
        peer: SocketAddr,
        local: SocketAddr,
    },
    /// Bytes have come since the last look. Whoever leaves bytes unread on purpose must come back by himself.
    Readable(ConnId),
    /// There is room again, after a send that did not take everything.
    Writable(ConnId),
    /// The peer will send no more; what it sent is readable still. Answer with `close`. It may still read, unless it has
    /// ended with a reset: then what is sent to it vanishes.
    PeerFinished(ConnId),
    /// Gone, for whatever reason; the id is dead.
    Closed(ConnId),
}

/// How much a [`Net`] may hold. Memory is bounded by these; rings are touched only as far as they are used.
#[derive(Clone, Copy, Debug)]
pub struct NetLimits {
    pub conns_max: usize,
    pub rx_ring_bytes: usize,
    pub tx_ring_bytes: usize,
}

impl Default for NetLimits {
    fn default() -> Self {
        Self { conns_max: 16_384, rx_ring_bytes: 128 << 10, tx_ring_bytes: 256 << 10 }
    }
}

/// What is known about one connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnInfo {
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Sent by us, and not yet taken by the network or not yet acknowledged by the peer.
    pub queued_bytes: usize,
    /// When the peer was last heard: [`TurnTime::mono_ns`].
    pub heard_ns: u64,
    pub tcp: TcpInfo,
}

/// What TCP itself knows of a connection; what a [`Net`] cannot see is None.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpInfo {
    /// As RFC 9293 calls it, in small letters.
    pub state: &'static str,
    /// Smoothed, from data to its acknowledgement.
    pub rtt_ns: Option<u64>,
    /// Frames that carried bytes which had been sent before.
    pub retransmits: Option<u64>,
    /// How long the peer has kept its window shut, altogether.
    pub zero_window_ns: Option<u64>,
}

/// The reading half: bytes as they lie in the receive rings.
pub trait NetRx {
    /// What has come and was not consumed: two runs if the ring's end lies between them, the second empty if not.
    fn readable(&self, conn: ConnId) -> (&[u8], &[u8]);
}

/// The writing half.
pub trait NetTx {
    /// How many bytes `send` would take now.
    fn send_room(&self, conn: ConnId) -> usize;

    /// Lends the free run of the send ring to `fill`, which says how much of it was written. Call again for the
    /// run after the ring's end. `fill` is not called when there is no room.
    fn send_with(&mut self, conn: ConnId, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> usize;

    /// Copies what fits. Fewer than all: a `Writable` follows when there is room again.
    fn send(&mut self, conn: ConnId, bytes: &[u8]) -> usize;

    /// Asks for a `Writable` when there is room again (as a short `send` does by itself).
    fn want_room(&mut self, conn: ConnId);

    /// Sends what is queued, then ends. `Closed` is the next event; nothing more can be read or sent.
    fn close(&mut self, conn: ConnId);

    /// Ends at once with a reset; queued bytes are dropped. `Closed` is the next event.
    fn abort(&mut self, conn: ConnId);

    /// While somebody waits for turns to end, how many answers this turn has for who does; None: nobody waits. A network that is slow to
    /// take much takes less of it in such a turn, but more in one with many answers, which is long anyway.
    fn hurry(&mut self, _little_answers: Option<usize>) {}

    fn info(&self, conn: ConnId) -> Option<ConnInfo>;
}

/// A way to have connections. One shard thread owns it; it never blocks but in `idle_wait`.
pub trait Net {
    type Rx: NetRx;
    type Tx: NetTx;

    /// Accepts connections on this port from now on.
    fn listen(&mut self, port: u16) -> io::Result<()>;

    /// Takes in at most about `frames_max` frames; returns how many there were.
    fn ingress(&mut self, now: &TurnTime, frames_max: usize) -> u32;

    fn next_event(&mut self) -> Option<NetEvent>;

    /// Both halves at once, so that a frame can lie in the receive ring while its answer is written.
    fn split(&mut self) -> (&Self::Rx, &mut Self::Tx);

    fn rx(&self) -> &Self::Rx;
    fn tx(&self) -> &Self::Tx;

    /// Gives the first `len` readable bytes back to the ring.
    fn consume(&mut self, conn: ConnId, len: usize);

    /// Puts out what was sent, at most about `frames_max` frames, and kicks the device; returns how many there were.
    fn egress(&mut self, now: &TurnTime, frames_max: usize) -> u32;

    /// Called instead of the next turn when this one had nothing to do. Returns at once for a while (that is the spin),
    /// then sleeps until there is traffic, a timer of ours is due, somebody [`Waker::wake`]s us, or `max` is over.
    fn idle_wait(&mut self, now: &TurnTime, max: Duration);

    /// For other threads that have something for this shard.
    fn waker(&self) -> Waker;

    /// How many connections there are.
    fn conns_len(&self) -> usize;

    /// Who watches the frames, where there are any.
    fn watch(&mut self) -> Option<&mut watch::Watch> {
        None
    }

    /// Tells what is counted here and in the device, by name. Names that begin with `drop_` are frames dropped.
    fn count(&self, _tell: &mut Tell<'_>) {}

    fn readable(&self, conn: ConnId) -> (&[u8], &[u8]) {
        self.rx().readable(conn)
    }

    fn send_room(&self, conn: ConnId) -> usize {
        self.tx().send_room(conn)
    }

    fn send_with(&mut self, conn: ConnId, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> usize {
        self.split().1.send_with(conn, fill)
    }

    fn send(&mut self, conn: ConnId, bytes: &[u8]) -> usize {
        self.split().1.send(conn, bytes)
    }

    fn close(&mut self, conn: ConnId) {
        self.split().1.close(conn);
    }

    fn abort(&mut self, conn: ConnId) {
        self.split().1.abort(conn);
    }

    fn info(&self, conn: ConnId) -> Option<ConnInfo> {
        self.tx().info(conn)
    }
}
