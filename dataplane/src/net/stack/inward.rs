//! From the device to the connections: whose segment this is, whether it is to be believed, and what it has changed.
//!
//! ```text
//!   frame ─▶ front ─▶ flows ─▶ known:   reset · SYN · data · acknowledgement ─▶ smoltcp ─▶ events, recovery
//!                          └─▶ unknown: a SYN for an open port begins a connection; a reset for the rest
//! ```
//!
//! RFC 9293, 3.10.7; RFC 5961 for what may be forged.

use super::clock::StackClock;
use super::conn::Phase;
use super::engine::{feed, new_interface};
use super::flows::FlowKey;
use super::gauge::Gauge;
use super::{Core, isn, options, tails};
use crate::device::{DeviceRx, DeviceTx};
use crate::net::events::Pending;
use crate::net::front::{Bare, Segment};
use crate::net::packet::{self, flag};
use crate::net::pcapng::Way;
use crate::net::watch::Watched;
use crate::time::TurnTime;
use smoltcp::socket::tcp::State;
use smoltcp::wire::IpListenEndpoint;
use std::net::SocketAddrV4;

impl Core {
    /// At most so many frames from the device, answered or given to their connections; returns how many there were.
    pub fn take_frames(
        &mut self,
        rx: &mut impl DeviceRx,
        tx: &mut Watched<'_, impl DeviceTx>,
        now: &TurnTime,
        limit: usize,
    ) -> usize {
        let mut frames = 0;
        while frames < limit {
            let Some(received) = rx.receive() else { break };
            frames += 1;
            tx.watch.see(Way::In, received.frame, now);
            if let Some(segment) = self.front.look(received, tx, now) {
                self.take_in(&segment, tx, now);
            }
        }
        frames
    }

    /// One segment to its connection, or to nobody.
    fn take_in(&mut self, segment: &Segment<'_>, tx: &mut impl DeviceTx, now: &TurnTime) {
        let key = FlowKey::new(segment.from, segment.tcp.from_port, segment.tcp.to_port);
        match self.flows.find(key) {
            Some(slot) => self.take_in_known(slot, segment, tx, now),
            None => self.take_in_unknown(key, segment, tx, now),
        }
    }

    pub fn take_in_unknown(
        &mut self,
        key: FlowKey,
        segment: &Segment<'_>,
        tx: &mut impl DeviceTx,
        now: &TurnTime,
    ) {
        let controls = segment.tcp.flags & (flag::SYN | flag::ACK | flag::RST | flag::FIN);
        if controls == flag::SYN && self.listening.contains(&segment.tcp.to_port) {
            self.accept(key, segment, tx, now);
        } else if controls != flag::ACK
            || !self.listening.contains(&segment.tcp.to_port)
            || !self.redeem(key, segment, tx, now)
        {
            self.front.refuse(segment, tx, now);
        }
    }

    /// A SYN for an open port.
    fn accept(&mut self, key: FlowKey, segment: &Segment<'_>, tx: &mut impl DeviceTx, now: &TurnTime) {
        if self.half_open >= self.config.half_open_max {
            return self.answer_and_forget(key, segment, tx, now);
        }
        let first = isn::initial_sequence(&self.hash, key, now);
        match self.begin(key, segment, first, tx, now) {
            Some(slot) => {
                self.flows.insert(key, slot);
                self.half_open += 1;
                self.tx.mark_dirty(slot);
            }
            None => self.counters.syns_dropped += 1, // Silently: the peer tries again.
        }
    }

    /// Takes a slot for a connection that begins with this SYN, and whose first number of ours is `first`; none if there is
    /// no slot, or smoltcp does not take it for a SYN.
    pub fn begin(
        &mut self,
        key: FlowKey,
        segment: &Segment<'_>,
        first: u32,
        tx: &mut impl DeviceTx,
        now: &TurnTime,
    ) -> Option<u32> {
        let slot = self.tx.take_slot(&mut self.rx)?;
        let local = SocketAddrV4::new(self.config.address.ip, segment.tcp.to_port);
        let conn = &mut self.tx.conns[slot as usize];
        conn.clock = StackClock::new(self.config.clock_factor, now.mono_ns);
        let socket = conn.socket_mut();
        tails::prepare(socket);
        let endpoint = IpListenEndpoint { addr: Some((*local.ip()).into()), port: local.port() };
        socket.listen(endpoint).expect("a new socket may listen on a port that is not zero");
        conn.key = key;
        conn.phase = Phase::Handshake;
        conn.peer = SocketAddrV4::new(segment.from, segment.tcp.from_port);
        conn.local = local;
        conn.mac = segment.from_mac;
        conn.mac_candidate = segment.from_mac;
        conn.rcv_first = segment.tcp.seq.wrapping_add(1);
        conn.snd_next = first;
        conn.window = 0;
        conn.has_told_window = false;
        conn.gauge = Gauge::default();
        conn.next_challenge_ns = 0;
        conn.rcv_high = conn.rcv_first;
        conn.offer = options::offer(options::of(segment));
        conn.mss = tails::segment_bytes(&conn.offer, self.caps.mtu);
        conn.answers = 0;
        (conn.peer_window, conn.engine_window) = (segment.tcp.window.into(), segment.tcp.window.into());
        conn.heard_ns = now.mono_ns;
        conn.deadline_ns = now.mono_ns + HANDSHAKE_NANOS_MAX;

        let seed = isn::seed_for(first);
        let mut iface = new_interface(&self.caps, &self.config, seed, conn.clock.at(now.mono_ns));
        feed(&mut iface, conn, &self.caps, segment.packet, tx, now, &mut self.counters);
        if conn.socket().state() == State::SynReceived {
            return Some(slot);
        }
        self.tx.free_slot(slot);
        None
    }

    pub fn take_in_known(
        &mut self,
        slot: u32,
        segment: &Segment<'_>,
        tx: &mut impl DeviceTx,
        now: &TurnTime,
    ) {
        let conn = &mut self.tx.conns[slot as usize];
        let rcv_next = conn.rcv_next();
        let state = conn.socket().state();
        if segment.tcp.flags & flag::RST != 0 && segment.tcp.seq != rcv_next {
            // RFC 5961, 3.2: in the window but not exact may be forged; the true peer will answer with the exact one.
            let is_in_window = segment.tcp.seq.wrapping_sub(rcv_next) < conn.socket().recv_capacity() as u32;
            self.counters.resets_ignored += 1;
            if is_in_window {
                self.challenge(slot, segment, tx, now);
            }
            return;
        }
        if segment.tcp.flags & flag::SYN != 0 && segment.tcp.flags & flag::RST == 0 {
            let is_newer = segment.tcp.seq.wrapping_sub(rcv_next) as i32 > 0;
            match state {
                State::TimeWait if is_newer && segment.tcp.flags & flag::ACK == 0 => {
                    let key = conn.key;
                    self.let_go(slot);
                    self.take_in_unknown(key, segment, tx, now);
                }
                // Our answer is lost or late; its own timer sends it again.
                State::SynReceived => (),
                // RFC 5961, 4.2.
                _ => self.challenge(slot, segment, tx, now),
            }
            return;
        }
        if conn.phase == Phase::Handshake
            && segment.tcp.flags & (flag::ACK | flag::RST) == flag::ACK
            && segment.tcp.ack != conn.snd_next
        {
            // RFC 9293, 3.10.7.4. smoltcp would take an acknowledgement of its answer that has not left yet, and go on
            // without having sent it.
            return self.front.refuse(segment, tx, now);
        }
        let is_ahead_of_us = segment.tcp.ack.wrapping_sub(conn.snd_next) as i32 > 0;
        if conn.phase != Phase::Handshake && segment.tcp.flags & flag::ACK != 0 && is_ahead_of_us {
            // RFC 5961, 5.2. smoltcp compares with what is queued: it would take queued bytes for delivered, unsent.
            return self.challenge(slot, segment, tx, now);
        }
        if segment.tcp.data_bytes > 0 && conn.overruns_ring(&segment.tcp) {
            // More than anybody was promised.
            if conn.phase != Phase::Handshake {
                self.challenge(slot, segment, tx, now);
            }
            return;
        }
        if segment.from_mac != conn.mac && segment.tcp.seq == rcv_next {
            // The peer, or the router before it, has moved: believed when it is said twice.
            if segment.from_mac == conn.mac_candidate {
                conn.mac = segment.from_mac;
            }
            conn.mac_candidate = segment.from_mac;
        }
        if segment.tcp.data_bytes > 0 {
            conn.note_data(&segment.tcp);
            self.tx.stamps.touch(slot, now.mono_ns);
        }
        conn.heard_ns = now.mono_ns;
        conn.gauge.heard(segment.tcp.window, now.mono_ns);
        self.counters.resets_in += u64::from(segment.tcp.flags & flag::RST != 0);
        if tails::tells_smoltcp_nothing(conn, &segment.tcp) {
            self.hear_reports(slot, segment, now);
            return self.tx.mark_dirty(slot);
        }
        let is_expected = tails::is_in_window(conn, &segment.tcp);
        let is_shut = conn.window == 0;
        feed(&mut self.iface, conn, &self.caps, segment.packet, tx, now, &mut self.counters);
        let ahead = segment.tcp.seq.wrapping_sub(rcv_next) as i32;
        let says_more = ahead > 0 || (ahead == 0 && segment.tcp.data_bytes > 0);
        if is_shut && says_more && segment.tcp.flags & (flag::ACK | flag::RST) == flag::ACK {
            // RFC 9293, 3.10.7.4: with our window closed no data is acceptable, but what the peer acknowledges and offers
            // is. smoltcp looks at neither unless the whole segment is acceptable; so it gets these alone.
            let bare = packet::bare_acknowledgement(segment.packet, rcv_next, &segment.tcp);
            feed(&mut self.iface, conn, &self.caps, &bare, tx, now, &mut self.counters);
        }
        self.after_input(slot, now);
        self.hear(slot, segment, is_expected, now);
    }

    /// At most one in a while, counted for each connection: a budget for all would tell strangers whether their guesses hit
    /// somebody else's connection (CVE-2016-5696).
    fn challenge(&mut self, slot: u32, segment: &Segment<'_>, tx: &mut impl DeviceTx, now: &TurnTime) {
        let conn = &mut self.tx.conns[slot as usize];
        if conn.next_challenge_ns > now.mono_ns {
            return;
        }
        conn.next_challenge_ns = now.mono_ns + CHALLENGE_NANOS;
        let bare = Bare { seq: conn.snd_next, ack: conn.rcv_next(), flags: flag::ACK, window: conn.window };
        self.front.challenge(segment, bare, tx);
    }

    /// What a segment has changed: tells the shard, and sees to the answer.
    pub fn after_input(&mut self, slot: u32, now: &TurnTime) {
        let conn = &mut self.tx.conns[slot as usize];
        let state = conn.socket().state();
        if matches!(state, State::Closed | State::Listen) {
            return self.let_go(slot);
        }
        if conn.phase == Phase::Handshake && state != State::SynReceived {
            tails::begin(conn, now);
            conn.phase = Phase::Open;
            self.half_open -= 1;
            self.counters.opened += 1;
            self.tx.conns_len += 1;
            self.rx.views[slot as usize].generation = conn.generation;
            self.tx.events.raise(slot, &mut conn.pending, Pending::OPENED);
            self.roll.enter(slot, conn);
        }
        if conn.phase == Phase::Open {
            let received = conn.socket().recv_queue();
            let view = &mut self.rx.views[slot as usize];
            if received != view.len {
                view.len = received;
                self.tx.events.raise(slot, &mut conn.pending, Pending::READABLE);
            }
            if conn.peer_finished() && !conn.finish_told {
                conn.finish_told = true;
                self.tx.events.raise(slot, &mut conn.pending, Pending::FINISHED);
            }
            self.tx.check_room(slot);
        }
        if state == State::TimeWait {
            let conn = &mut self.tx.conns[slot as usize];
            conn.clock.set_factor(self.config.clock_factor, now.mono_ns);
        }
        self.tx.mark_dirty(slot);
    }
}

const CHALLENGE_NANOS: u64 = 100_000_000;
const HANDSHAKE_NANOS_MAX: u64 = 5_000_000_000;
