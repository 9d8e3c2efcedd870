//! Our own TCP: smoltcp as the engine, one socket set for each connection, over any device. Nobody else knows smoltcp.
//!
//! ```text
//!   device ─▶ front ─▶ flows: 4-tuple ─▶ connection ─▶ smoltcp, that one socket ─▶ events
//!   device ◀────────── smoltcp ◀─ dirty connections ◀─ sends · consumes · timers (wheel)
//! ```
//!
//! A connection costs something only when a segment comes for it, when the shard writes to it, or when its timer is due.
//! *Invariants*: a connection is in `flows` exactly while its phase is Handshake, Open or Orphan. Nothing is allocated
//! per packet. Time comes from the turn. smoltcp's own idea of loss is slow and coarse: recovery decides what is sent
//! again, tails.rs sends it, and smoltcp never has to (clock.rs).

mod clock;
mod conn;
mod cookies;
mod flows;
mod gauge;
mod isn;
mod options;
mod quiet;
mod recovery;
mod roll;
mod slab;
mod tails;
mod wheel;
mod wire;

pub use conn::{StackRx, StackTx};
pub use recovery::LossCounters;
pub use roll::Survivor;

use super::events::Pending;
use super::front::{Address, Bare, Front, FrontCounters, Segment};
use super::idle::{Idle, Spin, Waker};
use super::packet::{self, flag};
use super::pcapng::Way;
use super::watch::{Watch, Watched};
use super::{ConnId, Net, NetEvent, NetLimits};
use crate::counters::{Tell, count_fields};
use crate::device::lossy::Loss;
use crate::device::{Device, DeviceCaps, DeviceRx, DeviceTx};
use crate::rng::{KeyedHash, Rng};
use crate::time::TurnTime;
use clock::StackClock;
use conn::{Conn, Phase};
use cookies::Cookies;
use flows::{FlowKey, Flows};
use gauge::Gauge;
use roll::Roll;
use slab::Slab;
use smoltcp::iface::{Config, Interface, PollIngressSingleResult};
use smoltcp::socket::tcp::State;
use smoltcp::time::Instant as StackInstant;
use smoltcp::wire::{HardwareAddress, IpCidr, IpListenEndpoint};
use std::io;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::time::Duration;
use wheel::{NEVER, Wheel};
use wire::Wire;

/// How a stack behaves.
#[derive(Clone, Debug)]
pub struct StackConfig {
    pub address: Address,
    pub limits: NetLimits,
    /// Connections that have sent a SYN and not finished the handshake; more are answered and forgotten (cookies.rs).
    pub half_open_max: usize,
    /// How much faster than ours smoltcp's time passes while a connection is being made or ends: with 5, a lost answer to
    /// a SYN is repeated after 200 ms.
    pub clock_factor: u32,
    /// The share of segments that are lost on purpose, both ways; for experiments.
    pub loss: f64,
    pub spin: Spin,
    /// A file, best on tmpfs, in which open connections are noted, so that the next process can reset them at once if
    /// this one is killed.
    pub roll_path: Option<PathBuf>,
}

impl StackConfig {
    pub fn new(address: Address) -> Self {
        Self {
            address,
            limits: NetLimits::default(),
            half_open_max: 1024,
            clock_factor: 5,
            loss: 0.0,
            spin: Spin::Adaptive,
            roll_path: None,
        }
    }
}

/// Connections by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StackCounters {
    pub opened: u64,
    pub closed: u64,
    pub handshakes_expired: u64,
    pub syns_dropped: u64,
    /// SYNs answered without remembering them, and those whose senders came back.
    pub cookies_given: u64,
    pub cookies_taken: u64,
    pub resets_in: u64,
    pub resets_ignored: u64,
    pub frames_out: u64,
    /// Quiet connections whose buffers went back to the system.
    pub rings_given_back: u64,
    pub loss: LossCounters,
}

count_fields!(StackCounters: opened, closed, handshakes_expired, syns_dropped, resets_in, resets_ignored, frames_out,
    rings_given_back, cookies_given, cookies_taken; and loss);

/// Connections over a device of our own.
pub struct Stack<D: Device> {
    device: D,
    core: Core,
    idle: Idle,
    watch: Watch,
    loss: Option<Loss>,
    /// How many frames the last turns found in a row: asking for one more costs a system call on some devices.
    burst: usize,
}

struct Core {
    config: StackConfig,
    caps: DeviceCaps,
    front: Front,
    iface: Interface,
    hash: KeyedHash,
    cookies: Cookies,
    flows: Flows,
    wheel: Wheel,
    rx: StackRx,
    tx: StackTx,
    listening: Vec<u16>,
    half_open: usize,
    /// Since when there has been more to read than was read.
    behind_since_ns: Option<u64>,
    roll: Roll,
    counters: StackCounters,
}

impl<D: Device> Stack<D> {
    /// Takes all the memory it will need, and announces itself on the network.
    pub fn new(device: D, config: StackConfig, rng: &mut Rng) -> io::Result<Self> {
        let idle = Idle::new(config.spin)?;
        Self::build(device, config, KeyedHash::from_os(), rng, idle)
    }

    /// For the simulator: no randomness but the given one, and no sleep.
    pub fn simulated(device: D, config: StackConfig, rng: &mut Rng) -> io::Result<Self> {
        Self::build(device, config, KeyedHash::new(rng), rng, Idle::never())
    }

    fn build(
        mut device: D,
        config: StackConfig,
        hash: KeyedHash,
        rng: &mut Rng,
        idle: Idle,
    ) -> io::Result<Self> {
        assert!(config.clock_factor > 0);
        let limits = config.limits;
        let caps = device.caps();
        let loss = (config.loss > 0.0).then(|| Loss::new(config.loss, caps.mtu, rng));
        let slab = Slab::new(limits.conns_max, limits.rx_ring_bytes, limits.tx_ring_bytes)?;
        let (roll, survivors) = match &config.roll_path {
            Some(path) => Roll::open(path)?,
            None => (Roll::none(), Vec::new()),
        };
        let mut core = Core {
            caps,
            front: Front::new(config.address, caps),
            iface: new_interface(&caps, &config, 0, StackInstant::ZERO),
            hash,
            cookies: Cookies::new(),
            flows: Flows::with_capacity(limits.conns_max, rng),
            wheel: Wheel::with_capacity(limits.conns_max),
            rx: StackRx { views: Vec::with_capacity(limits.conns_max) },
            tx: StackTx::new(slab, limits.conns_max),
            listening: Vec::new(),
            half_open: 0,
            behind_since_ns: None,
            roll,
            counters: StackCounters::default(),
            config,
        };
        for _ in 0..limits.conns_max.min(SLOTS_READY) {
            core.tx.make_slot(&mut core.rx);
        }
        core.tx.free.reverse(); // The lowest slots, in huge pages, are taken first.
        core.front.announce(device.split().1);
        for survivor in &survivors {
            core.front.probe(survivor, rng.next_u32(), device.split().1);
        }
        device.kick();
        Ok(Self { device, core, idle, watch: Watch::default(), loss, burst: 1 })
    }

    pub fn counters(&self) -> (&FrontCounters, &StackCounters) {
        (self.core.front.counters(), &self.core.counters)
    }

    pub fn device(&self) -> &D {
        &self.device
    }
}

impl<D: Device> Net for Stack<D> {
    type Rx = StackRx;
    type Tx = StackTx;

    fn listen(&mut self, port: u16) -> io::Result<()> {
        if port == 0 || self.core.listening.contains(&port) {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("port {port} is taken already")));
        }
        self.core.listening.push(port);
        Ok(())
    }

    fn ingress(&mut self, now: &TurnTime, frames_max: usize) -> u32 {
        self.idle.begin_turn(now);
        self.core.run_timers(now);
        self.core.give_back_quiet(now);
        let limit = self.burst.min(frames_max);
        let (rx, tx) = self.device.split();
        let watch = &mut self.watch;
        let frames = match &mut self.loss {
            None => self.core.take_frames(rx, &mut Watched { tx, watch, now }, now, limit),
            Some(loss) => {
                let (mut rx, mut tx) = loss.over(rx, tx);
                self.core.take_frames(&mut rx, &mut Watched { tx: &mut tx, watch, now }, now, limit)
            }
        };
        self.core.note_read(now, frames < limit);
        self.burst = if frames == limit { (limit * 2).min(frames_max.max(1)) } else { frames.max(1) };
        if frames > 0 {
            self.idle.worked(now);
        }
        frames as u32
    }

    fn next_event(&mut self) -> Option<NetEvent> {
        self.core.tx.next_event(&mut self.core.rx)
    }

    fn split(&mut self) -> (&StackRx, &mut StackTx) {
        (&self.core.rx, &mut self.core.tx)
    }

    fn rx(&self) -> &StackRx {
        &self.core.rx
    }

    fn tx(&self) -> &StackTx {
        &self.core.tx
    }

    fn consume(&mut self, conn: ConnId, len: usize) {
        self.core.tx.consume(&mut self.core.rx, conn, len);
    }

    fn egress(&mut self, now: &TurnTime, frames_max: usize) -> u32 {
        let mut frames = 0;
        if !self.core.tx.dirty.is_empty() {
            self.idle.worked(now);
            let (rx, tx) = self.device.split();
            let watch = &mut self.watch;
            frames = match &mut self.loss {
                None => self.core.put_out(&mut Watched { tx, watch, now }, now, frames_max),
                Some(loss) => {
                    let (_, mut tx) = loss.over(rx, tx);
                    self.core.put_out(&mut Watched { tx: &mut tx, watch, now }, now, frames_max)
                }
            };
        }
        // Also for what was answered on the way in, and for what the device has left over from the last turn.
        self.device.kick();
        frames
    }

    fn idle_wait(&mut self, now: &TurnTime, max: Duration) {
        if !self.core.tx.dirty.is_empty() || !self.core.tx.events.is_empty() {
            return;
        }
        // Before a sleep only: in a spin it would make every look at the device later.
        if self.idle.may_sleep(now) && self.core.give_back_when_idle(now) {
            return;
        }
        let bell = self.idle.bell_fd();
        let (device, wheel) = (&mut self.device, &self.core.wheel);
        self.idle.sleep_with(now, max, |max| {
            let until_timer = Duration::from_nanos(wheel.next_ns().saturating_sub(now.mono_ns));
            device.wait(bell, max.min(until_timer));
        });
    }

    fn waker(&self) -> Waker {
        self.idle.waker()
    }

    fn conns_len(&self) -> usize {
        self.core.tx.conns_len
    }

    fn watch(&mut self) -> Option<&mut Watch> {
        Some(&mut self.watch)
    }

    fn count(&self, tell: &mut Tell<'_>) {
        self.core.front.counters().each(tell);
        self.core.counters.each(tell);
        self.device.count(tell);
    }
}

impl Core {
    fn run_timers(&mut self, now: &TurnTime) {
        self.tx.now_ns = now.mono_ns;
        let tx = &mut self.tx;
        self.wheel.advance(now.mono_ns, |slot| tx.mark_dirty(slot));
    }

    /// Whether the device has no more frames now.
    fn note_read(&mut self, now: &TurnTime, is_all: bool) {
        self.behind_since_ns = if is_all { None } else { self.behind_since_ns.or(Some(now.mono_ns)) };
    }

    /// At most so many frames from the device, answered or given to their connections; returns how many there were.
    fn take_frames(
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

    fn take_in_unknown(
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
    fn begin(
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
        conn.snd_next = 0;
        conn.window = 0;
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

    fn take_in_known(&mut self, slot: u32, segment: &Segment<'_>, tx: &mut impl DeviceTx, now: &TurnTime) {
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
        let is_ahead_of_us = segment.tcp.ack.wrapping_sub(conn.snd_next) as i32 > 0;
        if conn.phase != Phase::Handshake && segment.tcp.flags & flag::ACK != 0 && is_ahead_of_us {
            // RFC 5961, 5.2. smoltcp compares with what is queued: it would take queued bytes for delivered, unsent.
            return self.challenge(slot, segment, tx, now);
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
    fn after_input(&mut self, slot: u32, now: &TurnTime) {
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

    /// The connection is over for the network. The shard is told if it has been told of the connection at all.
    fn let_go(&mut self, slot: u32) {
        let conn = &mut self.tx.conns[slot as usize];
        self.flows.remove(conn.key);
        self.wheel.set(slot, NEVER);
        if conn.phase != Phase::Handshake {
            self.roll.strike(slot);
        }
        match conn.phase {
            Phase::Handshake => {
                self.half_open -= 1;
                self.tx.free_slot(slot);
            }
            Phase::Open => {
                conn.phase = Phase::Dead;
                conn.pending.only_opening();
                self.counters.closed += 1;
                self.tx.events.raise(slot, &mut conn.pending, Pending::CLOSED);
            }
            Phase::Orphan => {
                // `Closed` was raised when we closed; raising nothing makes the queue free the slot after it.
                conn.phase = Phase::Dead;
                self.counters.closed += 1;
                self.tx.events.raise(slot, &mut conn.pending, 0);
            }
            Phase::Free | Phase::Dead => unreachable!("not in the table of flows"),
        }
    }

    /// Sends what the dirty connections have to send, a few frames each in turn.
    fn put_out(&mut self, tx: &mut impl DeviceTx, now: &TurnTime, frames_max: usize) -> u32 {
        let mut frames = 0;
        // A connection with more to send comes again behind the others: in this call, as long as there is budget.
        while frames < frames_max as u32 {
            let Some(slot) = self.tx.dirty.pop_front() else { break };
            self.tx.conns[slot as usize].is_dirty = false;
            match self.put_out_one(slot, tx, now, &mut frames) {
                Progress::Done => (),
                Progress::More => self.tx.mark_dirty(slot),
                Progress::NoRoom => {
                    self.tx.conns[slot as usize].is_dirty = true;
                    self.tx.dirty.push_front(slot);
                    break;
                }
            }
        }
        self.counters.frames_out += u64::from(frames);
        frames
    }

    fn put_out_one(
        &mut self,
        slot: u32,
        tx: &mut impl DeviceTx,
        now: &TurnTime,
        frames: &mut u32,
    ) -> Progress {
        let conn = &mut self.tx.conns[slot as usize];
        match conn.phase {
            Phase::Free | Phase::Dead => return Progress::Done,
            Phase::Handshake if conn.deadline_ns <= now.mono_ns => {
                self.counters.handshakes_expired += 1;
                self.let_go(slot);
                return Progress::Done;
            }
            Phase::Orphan => {
                throw_away(conn);
                if conn.deadline_ns <= now.mono_ns {
                    let is_undelivered = conn.socket().send_queue() > 0;
                    let is_hopeful =
                        conn.heard_ns + ORPHAN_NANOS > now.mono_ns && conn.orphan_ends_ns > now.mono_ns;
                    if conn.socket().state() == State::TimeWait {
                        self.let_go(slot);
                        return Progress::Done;
                    }
                    if is_undelivered && is_hopeful {
                        conn.deadline_ns = now.mono_ns + ORPHAN_NANOS;
                    } else {
                        conn.socket_mut().abort();
                    }
                }
            }
            Phase::Handshake | Phase::Open => (),
        }
        if conn.phase != Phase::Handshake {
            *frames += self.speak_again(slot, tx, now);
        }
        let conn = &mut self.tx.conns[slot as usize];
        let stack_now = conn.clock.at(now.mono_ns);
        let mut sent = conn.sent();
        let mut next = None;
        let progress = loop {
            if !tx.has_room() {
                break Progress::NoRoom;
            }
            let frames_before = sent.frames;
            let mut wire = Wire { packet: None, tx, caps: &self.caps, to: conn.mac, sent: &mut sent };
            self.iface.poll_egress(stack_now, &mut wire, &mut conn.set);
            next = self.iface.poll_at(stack_now, &conn.set);
            if next.is_none_or(|at| at > stack_now) || sent.frames == frames_before {
                break Progress::Done;
            }
            if sent.frames >= FRAMES_PER_CONN_MAX {
                break Progress::More;
            }
        };
        *frames += sent.frames;
        tails::note_sent(conn, &sent, now, &mut self.counters.loss);
        if conn.socket().state() == State::Closed && conn.socket().remote_endpoint().is_none() {
            self.let_go(slot);
            return Progress::Done;
        }
        // What smoltcp wants now and could not do now is tried again in a while.
        let mut due_ns = next.map_or(NEVER, |at| conn.clock.real_ns(at));
        if conn.phase != Phase::Handshake {
            due_ns = due_ns.min(conn.recovery.deadline_ns());
        }
        if matches!(conn.phase, Phase::Handshake | Phase::Orphan) {
            due_ns = due_ns.min(conn.deadline_ns);
        }
        if matches!(progress, Progress::Done) {
            self.wheel.set(slot, due_ns.max(now.mono_ns + RETRY_NANOS));
        }
        self.tx.check_room(slot);
        progress
    }
}

enum Progress {
    Done,
    More,
    NoRoom,
}

/// Gives smoltcp one packet for one connection.
fn feed(
    iface: &mut Interface,
    conn: &mut Conn,
    caps: &DeviceCaps,
    packet: &[u8],
    tx: &mut impl DeviceTx,
    now: &TurnTime,
    counters: &mut StackCounters,
) {
    let mut sent = conn.sent();
    let stack_now = conn.clock.at(now.mono_ns);
    let mut wire = Wire { packet: Some(packet), tx, caps, to: conn.mac, sent: &mut sent };
    let result = iface.poll_ingress_single(stack_now, &mut wire, &mut conn.set);
    assert!(result != PollIngressSingleResult::None);
    tails::note_sent(conn, &sent, now, &mut counters.loss);
    counters.frames_out += u64::from(sent.frames);
}

/// What comes for a connection that nobody reads any more.
fn throw_away(conn: &mut Conn) {
    let mut thrown = 0;
    while conn.socket().can_recv() {
        match conn.socket_mut().recv(|run| (run.len(), run.len())) {
            Ok(len) => thrown += len,
            Err(_) => break,
        }
    }
    conn.consumed += thrown as u64;
}

fn new_interface(caps: &DeviceCaps, config: &StackConfig, seed: u64, now: StackInstant) -> Interface {
    let mut told = Config::new(HardwareAddress::Ip);
    told.random_seed = seed;
    let mut iface = Interface::new(told, &mut wire::Described(caps), now);
    iface.update_ip_addrs(|addresses| {
        let cidr = IpCidr::new(config.address.ip.into(), config.address.prefix_len);
        addresses.push(cidr).expect("an interface has room for one address");
    });
    iface
}

/// Made at start; more are made when first needed.
const SLOTS_READY: usize = 512;
/// After this a connection waits until the other ones have had their turn.
const FRAMES_PER_CONN_MAX: u32 = 4;
const CHALLENGE_NANOS: u64 = 100_000_000;
const HANDSHAKE_NANOS_MAX: u64 = 5_000_000_000;
/// How long a connection we have closed may take to end while nothing of ours is on its way.
const ORPHAN_NANOS: u64 = 10_000_000_000;
/// How long it may take to deliver our last bytes to a peer that is heard now and then.
const ORPHAN_NANOS_MAX: u64 = 60_000_000_000;
/// smoltcp wants something now that it cannot do now.
const RETRY_NANOS: u64 = 1_000_000;
