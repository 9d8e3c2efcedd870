//! A workload for the tails: how late the last exchanges are when the appliance's frames are lost, and how much is sent
//! again on paths where nothing is.
//!
//! What the clients send is not lost here: their repetitions are their own business.

use crate::client::{Client, Conn};
use crate::common::Echo;
use crate::link::Faults;
use crate::world::{APPLIANCE, Appliance, Boot, World};
use dataplane::device::mac_for;
use dataplane::device::sim::SimDevice;
use dataplane::net::front::Address;
use dataplane::net::stack::{LossCounters, Stack, StackConfig};
use dataplane::time::TurnTime;
use std::cell::Cell;
use std::net::SocketAddrV4;
use std::rc::Rc;

struct EchoAppliance {
    stack: Stack<SimDevice>,
    echo: Echo,
    counters: Rc<Cell<LossCounters>>,
}

impl Appliance for EchoAppliance {
    fn turn(&mut self, now: &TurnTime) -> u32 {
        let work = self.echo.turn(&mut self.stack, now);
        self.counters.set(self.stack.counters().1.loss);
        work
    }
}

/// A world with one path, and what the appliance has done about loss in it.
struct Path {
    world: World,
    conn: Conn,
    counters: Rc<Cell<LossCounters>>,
}

impl Path {
    fn new(seed: u64, delay_us: u64, jitter_us: u64, loss: f64) -> Self {
        let counters = Rc::new(Cell::new(LossCounters::default()));
        let told = Rc::clone(&counters);
        let boot: Boot = Box::new(move |device, rng, _now| {
            let mut config = StackConfig::new(Address { ip: APPLIANCE, prefix_len: 24, gateway: None });
            config.limits.conns_max = 4;
            let mut stack = Stack::simulated(device, config, rng).unwrap();
            let echo = Echo::new(&mut stack, PORT).unwrap();
            Box::new(EchoAppliance { stack, echo, counters: Rc::clone(&told) })
        });
        let faults = Faults {
            delay_ns: delay_us * 1_000,
            jitter_ns: jitter_us * 1_000,
            loss,
            loss_from: Some(mac_for(APPLIANCE)),
            ..Faults::none()
        };
        let mut world = World::new(seed, 1, |_| faults, boot);
        world.link.faults.loss = 0.0; // Not of the handshake: who knows nothing of a path waits a second.
        let conn = world.clients[0].connect(SocketAddrV4::new(APPLIANCE, PORT));
        while !world.clients[0].is_open(conn) {
            world.step();
        }
        (0..3).for_each(|_| world.step());
        world.link.faults.loss = loss;
        Self { world, conn, counters }
    }

    /// Sends bytes and waits until they are back; how long that took, in ms.
    fn exchange(&mut self, bytes: usize) -> f64 {
        let began_ns = self.world.now().mono_ns;
        let (mut sent, mut back) = (0, Vec::new());
        let bytes_out = vec![7; bytes];
        while back.len() < bytes {
            let client: &mut Client = &mut self.world.clients[0];
            assert!(!client.is_dead(self.conn));
            sent += client.send(self.conn, &bytes_out[sent..]);
            client.recv(self.conn, &mut back);
            if back.len() < bytes {
                self.world.step();
            }
            assert!(self.world.now().mono_ns - began_ns < 60_000_000_000, "it stalls");
        }
        (self.world.now().mono_ns - began_ns) as f64 / 1e6
    }

    fn rest(&mut self, ms: u64) {
        let until_ns = self.world.now().mono_ns + ms * 1_000_000;
        while self.world.now().mono_ns < until_ns {
            self.world.step();
        }
    }
}

/// The value that all but one in `one_in` do not exceed.
fn quantile(mut all: Vec<f64>, one_in: usize) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() - 1 - all.len() / one_in]
}

/// T-31. Goal: on a local network a lost answer costs milliseconds. Method: one request at a time; one answer in a
/// thousand, then one in a hundred, is lost.
fn answers(seed: u64, loss: f64) -> String {
    let mut path = Path::new(seed, 50, 10, loss);
    let times: Vec<f64> = (0..EXCHANGES).map(|_| path.exchange(1_024)).collect();
    let (late, last) = (quantile(times.clone(), 1_000), quantile(times, usize::MAX));
    let bound_ms = if loss < 0.005 { 10.0 } else { 30.0 };
    assert!(late <= bound_ms, "p99.9 {late} ms at {loss}");
    assert!(last <= 60.0, "the last one took {last} ms at {loss}");
    assert!(loss < 0.005 || path.world.link.counters.lost > 0);
    format!("answers at {loss}: p99.9 {late:.2} ms, last {last:.2} ms")
}

/// T-31. Goal: holes in bulk are filled without waiting for a timer, and the window bears them: 60 % of the lossless speed
/// are left at one in a thousand, 20 % at one in a hundred. Method: bytes in bulk; segments are lost.
fn bulk(seed: u64, loss: f64) -> String {
    let lossless_ms = Path::new(seed, 50, 10, 0.0).exchange(BULK_BYTES);
    let mut path = Path::new(seed, 50, 10, loss);
    let took_ms = path.exchange(BULK_BYTES);
    let share = lossless_ms / took_ms;
    assert!(share >= if loss < 0.005 { 0.6 } else { 0.2 }, "{:.0} % of the lossless speed", share * 100.0);
    let counters = path.counters.get();
    let lost = path.world.link.counters.lost;
    assert!(loss < 0.005 || counters.holes > 0);
    assert!(counters.timeouts * 20 <= lost, "{counters:?}, {lost} lost");
    // Each lost segment once, and few others.
    assert!(counters.repeated_frames <= 2 * lost + 10, "{counters:?}, {lost} lost");
    format!(
        "bulk at {loss}: {took_ms:.0} ms ({:.0} %), {lost} lost, {} sent again, {} timeouts",
        share * 100.0,
        counters.repeated_frames,
        counters.timeouts
    )
}

/// T-30. Goal: no storms on a path of 50 ms with jitter. Method: bulk, bursts and single exchanges with pauses; nothing is
/// lost, so whatever is sent again is needless.
fn far(seed: u64) -> String {
    let mut path = Path::new(seed, 20_000, 10_000, 0.0);
    let mut bytes = 0;
    for round in 0..60 {
        let size = [100, 1_024, 30_000, 200_000][round % 4];
        path.exchange(size);
        bytes += size;
        path.rest([0, 5, 300, 1_000][round / 4 % 4]);
    }
    path.exchange(BULK_BYTES / 8);
    bytes += BULK_BYTES / 8;
    let counters = path.counters.get();
    assert!(counters.repeated_bytes * 100 < bytes as u64, "{counters:?} of {bytes}");
    assert_eq!(counters.timeouts, 0, "{counters:?}");
    format!("far: {} of {bytes} bytes again", counters.repeated_bytes)
}

/// T-30. Goal: a path that loses keeps its timers to itself. Method: 50 ms, one in a hundred lost.
fn far_and_lossy(seed: u64) -> String {
    let mut path = Path::new(seed, 20_000, 10_000, 0.01);
    let took_ms = path.exchange(BULK_BYTES / 8);
    let (counters, lost) = (path.counters.get(), path.world.link.counters.lost);
    assert!(counters.repeated_frames <= 2 * lost + 10, "{counters:?}, {lost} lost");
    format!("far and lossy: {took_ms:.0} ms, {lost} lost, {} sent again", counters.repeated_frames)
}

pub fn run(seed: u64) -> String {
    [
        answers(seed, 0.001),
        answers(seed, 0.01),
        bulk(seed, 0.001),
        bulk(seed, 0.01),
        far(seed),
        far_and_lossy(seed),
    ]
    .join("; ")
}

const PORT: u16 = 10911;
const EXCHANGES: usize = 4_000;
const BULK_BYTES: usize = 8 << 20;
