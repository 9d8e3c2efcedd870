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
mod ends;
mod engine;
mod flows;
mod gauge;
mod inward;
mod isn;
mod options;
mod outward;
mod pause;
mod quiet;
mod recovery;
mod roll;
mod slab;
mod stamps;
mod tails;
mod wheel;
mod wire;

pub use conn::{StackRx, StackTx};
pub use recovery::LossCounters;

use super::front::{Address, Ends, Front, FrontCounters};
use super::idle::{Idle, Spin, Waker};
use super::lossy::Loss;
use super::watch::{Watch, Watched};
use super::{ConnId, Net, NetEvent, NetLimits};
use crate::counters::{Tell, count_fields};
use crate::device::{Device, DeviceCaps};
use crate::rng::{KeyedHash, Rng};
use crate::time::TurnTime;
use cookies::Cookies;
use flows::Flows;
use pause::Pause;
use roll::Roll;
use slab::Slab;
use smoltcp::iface::Interface;
use smoltcp::time::Instant as StackInstant;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use wheel::Wheel;

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
    /// Of these, the ones that the peer ended at once while bytes of its were still to be read.
    pub ended_unread: u64,
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

count_fields!(StackCounters: opened, closed, ended_unread, handshakes_expired, syns_dropped, resets_in, resets_ignored, frames_out,
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
    pause: Pause,
    roll: Roll,
    /// Who was connected to the process before us and is still to be asked, each with a number to ask with.
    survivors: Vec<(Ends, u32)>,
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
            iface: engine::new_interface(&caps, &config, 0, StackInstant::ZERO),
            hash,
            cookies: Cookies::new(),
            flows: Flows::with_capacity(limits.conns_max, rng),
            wheel: Wheel::with_capacity(limits.conns_max),
            rx: StackRx { views: Vec::with_capacity(limits.conns_max) },
            tx: StackTx::new(slab, limits.conns_max),
            listening: Vec::new(),
            half_open: 0,
            behind_since_ns: None,
            pause: Pause::default(),
            roll,
            survivors: survivors.into_iter().map(|survivor| (survivor, rng.next_u32())).collect(),
            counters: StackCounters::default(),
            config,
        };
        for _ in 0..limits.conns_max.min(SLOTS_READY) {
            core.tx.make_slot(&mut core.rx);
        }
        core.tx.free.reverse(); // The lowest slots, in huge pages, are taken first.
        core.front.announce(device.split().1);
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
        if self.core.has_to_send() {
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
        if self.core.has_to_send() || !self.core.tx.events.is_empty() {
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
    fn has_to_send(&self) -> bool {
        self.tx.has_dirty() || !self.survivors.is_empty()
    }

    fn run_timers(&mut self, now: &TurnTime) {
        self.tx.now_ns = now.mono_ns;
        self.pause.turn(now.mono_ns, self.counters.frames_out);
        let tx = &mut self.tx;
        self.wheel.advance(now.mono_ns, |slot| tx.mark_dirty(slot));
    }

    /// Whether the device has no more frames now.
    fn note_read(&mut self, now: &TurnTime, is_all: bool) {
        self.behind_since_ns = if is_all { None } else { self.behind_since_ns.or(Some(now.mono_ns)) };
    }

    /// Whether all has been read, or so much was tried for so long: what a shard that was held up for a while has not read
    /// yet may be the news that a timer waits for.
    fn has_read_for(&self, nanos_max: u64, now: &TurnTime) -> bool {
        self.behind_since_ns.is_none_or(|since_ns| now.mono_ns - since_ns > nanos_max)
    }
}

/// Made at start; more are made when first needed.
const SLOTS_READY: usize = 512;
