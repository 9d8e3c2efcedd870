//! What recovery decides, done: it hears the acknowledgements, its repetitions are sent, and smoltcp is told how far it
//! may go.
//!
//! ```text
//!   segment in ──▶ smoltcp ──▶ how much it let go of ──▶ recovery.heard
//!   egress ──▶ recovery.due ──▶ repetitions, copied from the send ring ──▶ device
//!                          └──▶ limit ──▶ a segment of our own making: "the peer's window is that" ──▶ smoltcp
//! ```
//!
//! *Invariants*: a repetition repeats what was sent: smoltcp holds its bytes until they are acknowledged. Repetitions
//! acknowledge and announce what was last told, so they take nothing back and promise nothing new.

use super::Core;
use super::conn::{Conn, Phase};
use super::engine::feed;
use super::options::{self, Offer};
use super::recovery::Recovery;
use super::wire;
use crate::device::{DeviceCaps, DeviceTx};
use crate::net::front::Segment;
use crate::net::packet::{
    self, ETHERNET_BYTES, ETHERTYPE_IPV4, IPV4_BYTES, PROTOCOL_TCP, TCP_BYTES, Tcp, flag,
};
use crate::time::TurnTime;
use smoltcp::socket::tcp::{self, State};
use smoltcp::time::Duration;
use std::num::NonZeroU16;

impl Core {
    /// What a segment acknowledges and reports, after smoltcp has seen it. `is_expected`: it began where the peer may send.
    pub fn hear(&mut self, slot: u32, segment: &Segment<'_>, is_expected: bool, now: &TurnTime) {
        let conn = &mut self.tx.conns[slot as usize];
        if !matches!(conn.phase, Phase::Open | Phase::Orphan) {
            return;
        }
        let gone = conn.tx_view.len() - conn.socket().send_queue();
        conn.tx_view.popped(gone);
        let is_over = matches!(conn.socket().state(), State::FinWait2 | State::TimeWait);
        let una = if is_over { conn.snd_next } else { conn.recovery.una().wrapping_add(gone as u32) };
        if !is_expected && gone == 0 {
            return;
        }
        if segment.tcp.ack == una {
            conn.peer_window = window_bytes(conn, &segment.tcp);
            conn.engine_window = conn.peer_window;
        }
        let sacks = options::sacks(options::of(segment));
        conn.recovery.heard(now.mono_ns, una, &sacks, &mut self.counters.loss);
    }

    /// What a segment reports that acknowledges nothing new and that smoltcp has not seen.
    pub fn hear_reports(&mut self, slot: u32, segment: &Segment<'_>, now: &TurnTime) {
        let recovery = &mut self.tx.conns[slot as usize].recovery;
        let sacks = options::sacks(options::of(segment));
        recovery.heard(now.mono_ns, recovery.una(), &sacks, &mut self.counters.loss);
    }

    /// Sends again what has to be, and tells smoltcp how far it may go on. Returns how many frames that took.
    pub fn speak_again(&mut self, slot: u32, tx: &mut impl DeviceTx, now: &TurnTime) -> u32 {
        let may_time_out = self.has_read_for(BEHIND_NANOS_MAX, now);
        let conn = &mut self.tx.conns[slot as usize];
        if !holds_bytes(conn.socket().state()) {
            return 0;
        }
        let queue = conn.socket().send_queue();
        let is_stalled = queue > 0 && conn.peer_window == 0;
        conn.recovery.stall(now.mono_ns, is_stalled);
        conn.recovery.held_up(self.pause.from_ns, self.pause.to_ns);
        let counters = &mut self.counters.loss;
        let is_nudged = may_time_out && conn.recovery.due(now.mono_ns, counters) && tx.has_room();
        if is_nudged {
            // What lies before the window is answered with an acknowledgement, which tells the window.
            send_segment(conn, &self.caps, conn.recovery.una().wrapping_sub(1), 0, flag::ACK, tx);
        }
        let mut frames = u32::from(is_nudged);
        let bytes_max =
            self.caps.tso_bytes_max.map_or(conn.mss, |max| max.saturating_sub(HEADERS_BYTES_MAX) as u32);
        while tx.has_room()
            && let Some((from, to)) = conn.recovery.next_repeat(now.mono_ns, bytes_max, counters)
        {
            let una = conn.recovery.una();
            let len = to.wrapping_sub(from);
            let held = (conn.tx_view.len() as u32).saturating_sub(from.wrapping_sub(una));
            let fin = if len > held { flag::FIN } else { 0 };
            send_segment(conn, &self.caps, from, len.min(held), flag::ACK | flag::PSH | fin, tx);
            frames += 1;
        }
        conn.gauge.resent(frames - u32::from(is_nudged));
        self.tell_window(slot, tx, now);
        frames
    }

    /// Makes smoltcp believe in a window that is no larger than what may be on its way. Only when it matters.
    fn tell_window(&mut self, slot: u32, tx: &mut impl DeviceTx, now: &TurnTime) {
        let conn = &mut self.tx.conns[slot as usize];
        let queue = conn.socket().send_queue() as u32;
        let shift = conn.offer.window_shift.unwrap_or(0);
        // A window is told in units. A little too much is better than nothing for ever, or a last segment of a few bytes.
        let whole_units = conn.recovery.limit() >> shift;
        let is_last = queue.div_ceil(1 << shift) == whole_units + 1;
        let limit = whole_units + u32::from(is_last || whole_units == 0);
        let field = limit.min(conn.peer_window >> shift).min(u16::MAX.into());
        let window = field << shift;
        if window == conn.engine_window || queue <= window.min(conn.engine_window) {
            return;
        }
        let mut packet = [0; IPV4_BYTES + TCP_BYTES];
        let (ip, rest) = packet.split_first_chunk_mut::<IPV4_BYTES>().expect("it was made this long");
        packet::write_ipv4(ip, *conn.peer.ip(), *conn.local.ip(), PROTOCOL_TCP, TCP_BYTES);
        let told = Tcp {
            from_port: conn.peer.port(),
            to_port: conn.local.port(),
            seq: conn.rcv_next(),
            ack: conn.recovery.una(),
            flags: flag::ACK,
            window: field as u16,
            header_bytes: TCP_BYTES,
            data_bytes: 0,
        };
        told.write(rest.first_chunk_mut().expect("it was made this long"));
        conn.engine_window = window;
        feed(&mut self.iface, conn, &self.caps, &packet, tx, now, &mut self.counters);
    }
}

/// The connection is made: from now on loss is ours to see to.
pub fn begin(conn: &mut Conn, now: &TurnTime) {
    // Of two answers nobody knows which one was heard.
    let handshake_ns = (conn.answers == 1).then_some(now.mono_ns - conn.answered_ns);
    conn.recovery = Recovery::new(now.mono_ns, conn.mss, conn.snd_next, handshake_ns);
    conn.clock.set_factor(1, now.mono_ns);
    // What the SYN told, as other segments tell it.
    conn.window >>= conn.own_window_shift();
}

/// Sets a new socket up. Its times are those of a connection that is made, when smoltcp's time is ours.
pub fn prepare(socket: &mut tcp::Socket<'_>) {
    // How much may be on its way is stack/recovery's business, which smoltcp learns as the peer's window.
    socket.set_congestion_control(tcp::CongestionControl::None);
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(Some(ACK_DELAY));
    socket.set_keep_alive(Some(KEEP_ALIVE));
    socket.set_timeout(Some(USER_TIMEOUT));
}

/// The longest segment that both ends take, as smoltcp reckons.
pub fn segment_bytes(offer: &Offer, mtu: usize) -> u32 {
    let peer = match offer.mss {
        None | Some(0) => SEGMENT_BYTES_DEFAULT,
        Some(mss) => u32::from(mss).max(SEGMENT_BYTES_MIN),
    };
    peer.min((mtu - IPV4_BYTES - TCP_BYTES) as u32)
}

/// An acknowledgement that says again what smoltcp knows already. Three of them would make it send its first segment once
/// more; recovery knows better which ones are missing, from the reports that come with them.
pub fn tells_smoltcp_nothing(conn: &Conn, tcp: &Tcp) -> bool {
    conn.offer.sack
        && matches!(conn.phase, Phase::Open | Phase::Orphan)
        && tcp.flags & !flag::PSH == flag::ACK
        && tcp.data_bytes == 0
        && tcp.ack == conn.recovery.una()
        && conn.recovery.flight() > 0
        && window_bytes(conn, tcp) == conn.peer_window
        && is_in_window(conn, tcp)
}

/// Begins where the peer may send. Only such a segment's acknowledgement counts.
pub fn is_in_window(conn: &Conn, tcp: &Tcp) -> bool {
    let ahead = tcp.seq.wrapping_sub(conn.rcv_next());
    ahead == 0 || ahead < conn.socket().recv_capacity() as u32
}

fn window_bytes(conn: &Conn, tcp: &Tcp) -> u32 {
    u32::from(tcp.window) << conn.offer.window_shift.unwrap_or(0)
}

/// States in which bytes of ours, or our end, may be on their way.
fn holds_bytes(state: State) -> bool {
    matches!(state, State::Established | State::CloseWait | State::FinWait1 | State::Closing | State::LastAck)
}

/// Sends `len` bytes from the send ring, beginning with number `seq`.
fn send_segment(conn: &Conn, caps: &DeviceCaps, seq: u32, len: u32, flags: u8, tx: &mut impl DeviceTx) {
    let len = len as usize;
    let segment_len = TCP_BYTES + len;
    tx.send(ETHERNET_BYTES + IPV4_BYTES + segment_len, |frame| {
        let (ethernet, rest) = frame.split_first_chunk_mut().expect("the frame was made this long");
        packet::write_ethernet(ethernet, conn.mac, caps.mac, ETHERTYPE_IPV4);
        let (ip, segment) = rest.split_first_chunk_mut().expect("the frame was made this long");
        packet::write_ipv4(ip, *conn.local.ip(), *conn.peer.ip(), PROTOCOL_TCP, segment_len);
        let (header, data) = segment.split_first_chunk_mut().expect("the frame was made this long");
        Tcp {
            from_port: conn.local.port(),
            to_port: conn.peer.port(),
            seq,
            ack: conn.ack_told,
            flags,
            window: conn.window,
            header_bytes: TCP_BYTES,
            data_bytes: len,
        }
        .write(header);
        if len > 0 {
            conn.tx_view.copy_to(seq.wrapping_sub(conn.recovery.una()) as usize, data);
        }
        let pseudo = packet::pseudo_sum(*conn.local.ip(), *conn.peer.ip(), PROTOCOL_TCP, segment_len);
        let cut = if len > conn.mss as usize { NonZeroU16::new(conn.mss as u16) } else { None };
        wire::seal(segment, pseudo, TCP_BYTES, caps, cut)
    });
}

const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// A peer that has not been heard for this long, keep-alives included, is gone.
pub const USER_TIMEOUT: Duration = Duration::from_secs(65);
/// How long an acknowledgement waits for something to go with. Short: the peer reckons from it how soon it may send again.
const ACK_DELAY: Duration = Duration::from_millis(1);
/// RFC 9293, 3.7.1.
const SEGMENT_BYTES_DEFAULT: u32 = 536;
/// smoltcp takes no less.
const SEGMENT_BYTES_MIN: u32 = 48;
const HEADERS_BYTES_MAX: usize = 120;
/// A shard that has more to read than it can for this long times out all the same.
const BEHIND_NANOS_MAX: u64 = 5_000_000;

const _: () = assert!(USER_TIMEOUT.secs() > 3 * KEEP_ALIVE.secs());
