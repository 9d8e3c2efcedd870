//! A workload for the network alone: streams of random bytes that must come back as they went, whatever happens.
//!
//! The oracle is each stream itself: the bytes are a function of the stream's seed, so every byte that comes back is
//! checked at its place. A stream whose connection dies begins anew; only a kill of the appliance may be the cause.

use crate::client::{Client, Conn};
use crate::common::Echo;
use crate::link::Faults;
use crate::world::{APPLIANCE, Appliance, Boot, World};
use dataplane::device::sim::SimDevice;
use dataplane::net::Net;
use dataplane::net::front::Address;
use dataplane::net::stack::{Stack, StackConfig};
use dataplane::rng::Rng;
use dataplane::time::TurnTime;
use std::net::SocketAddrV4;
use std::time::Duration;

struct EchoAppliance {
    stack: Stack<SimDevice>,
    echo: Echo,
}

impl Appliance for EchoAppliance {
    fn turn(&mut self, now: &TurnTime) -> u32 {
        self.echo.turn(&mut self.stack, now)
    }
}

fn boot() -> Boot {
    Box::new(|device, rng, _now| {
        let mut config = StackConfig::new(Address { ip: APPLIANCE, prefix_len: 24, gateway: None });
        config.limits.conns_max = 64;
        let mut stack = Stack::simulated(device, config, rng).unwrap();
        let echo = Echo::new(&mut stack, PORT).unwrap();
        assert_eq!(stack.conns_len(), 0);
        Box::new(EchoAppliance { stack, echo })
    })
}

/// One connection and what it has sent and got back.
struct Stream {
    client: usize,
    conn: Conn,
    seed: u64,
    left_bytes: usize,
    to_send: Vec<u8>,
    expected: Vec<u8>,
    checked_bytes: usize,
    closed: bool,
    quiet_since_ns: u64,
}

impl Stream {
    fn start(client: usize, clients: &mut [Client], rng: &mut Rng, now_ns: u64) -> Self {
        let seed = rng.next_u64();
        let magnitude = rng.below(18);
        let left_bytes = 1 + rng.below(1 << magnitude) as usize;
        let mut to_send = vec![0; left_bytes];
        Rng::from_seed(seed).fill(&mut to_send);
        Self {
            client,
            conn: clients[client].connect(SocketAddrV4::new(APPLIANCE, PORT)),
            seed,
            left_bytes,
            expected: to_send.clone(),
            to_send,
            checked_bytes: 0,
            closed: false,
            quiet_since_ns: now_ns,
        }
    }

    /// Sends, receives, checks. True when all has come back and the connection has ended.
    fn turn(&mut self, clients: &mut [Client], rng: &mut Rng, now_ns: u64) -> bool {
        let client = &mut clients[self.client];
        let mut back = Vec::new();
        client.recv(self.conn, &mut back);
        let place = self.checked_bytes..self.checked_bytes + back.len();
        assert!(self.expected.get(place) == Some(&back[..]), "stream {:x}: wrong bytes came back", self.seed);
        self.checked_bytes += back.len();
        let mut sent = 0;
        if client.is_open(self.conn) && !self.to_send.is_empty() {
            let some = 1 + rng.below(self.to_send.len().min(20_000) as u64) as usize;
            sent = client.send(self.conn, &self.to_send[..some]);
            self.to_send.drain(..sent);
        }
        if !self.closed && client.is_open(self.conn) && self.to_send.is_empty() {
            client.close(self.conn);
            self.closed = true;
        }
        if !back.is_empty() || sent > 0 {
            self.quiet_since_ns = now_ns;
        }
        assert!(
            now_ns - self.quiet_since_ns < STALL_NANOS_MAX,
            "stream {:x} of {} bytes stalls",
            self.seed,
            self.left_bytes
        );
        self.closed && self.checked_bytes == self.expected.len() && client.is_finished(self.conn)
    }
}

/// Goal: TCP keeps its promise over any link, and peers of a killed appliance learn of it. Method: streams from three
/// clients; a seeded mixture of faults; in every other world the appliance is killed now and then.
pub fn run(seed: u64) -> String {
    let kills = if seed.is_multiple_of(2) { 0 } else { 3 };
    streams(World::new(seed, 3, Faults::random, boot()), kills, None)
}

/// Goal: an appliance that stands still for long ends no connection that has gone on meanwhile, as far as its card can tell.
/// Method: streams over links that lose nothing; now and then the appliance gets no turn for several seconds.
pub fn run_still(seed: u64) -> String {
    let faults = |rng: &mut Rng| Faults { loss: 0.0, damage: 0.0, ..Faults::random(rng) };
    streams(World::new(seed, 3, faults, boot()), 0, Some(0))
}

fn streams(mut world: World, kills: usize, mut still_at_ns: Option<u64>) -> String {
    let mut rng = world.rng.fork();
    let (mut streams, mut done, mut broken, mut killed) = (Vec::<Stream>::new(), 0, 0, 0);
    while done < STREAMS || !streams.is_empty() {
        let now = world.now();
        if streams.len() < STREAMS_AT_ONCE && done < STREAMS && rng.chance(0.2) {
            let client = rng.below(world.clients.len() as u64) as usize;
            streams.push(Stream::start(client, &mut world.clients, &mut rng, now.mono_ns));
        }
        let mut index = 0;
        while index < streams.len() {
            let stream = &mut streams[index];
            let is_done = stream.turn(&mut world.clients, &mut rng, now.mono_ns);
            let client = &mut world.clients[stream.client];
            if is_done {
                done += 1;
                client.forget(stream.conn);
                streams.swap_remove(index);
            } else if client.is_dead(stream.conn) {
                assert!(
                    killed > 0,
                    "stream {:x} died without cause: {} of {} bytes came back, {} were not sent, closed: {}",
                    stream.seed,
                    stream.checked_bytes,
                    stream.expected.len(),
                    stream.to_send.len(),
                    stream.closed
                );
                broken += 1;
                client.forget(stream.conn);
                streams.swap_remove(index);
            } else {
                index += 1;
            }
        }
        if killed < kills && done > STREAMS / (kills + 1) * (killed + 1) && rng.chance(0.05) {
            killed += 1;
            world.kill();
            for _ in 0..rng.below(400) {
                world.step();
            }
            world.start();
        }
        if still_at_ns.is_some_and(|at_ns| at_ns <= now.mono_ns) {
            world.stand_still(Duration::from_millis(5_000 + rng.below(10_000)));
            still_at_ns = Some(world.still_until_ns + AWAKE_NANOS_MIN + rng.below(AWAKE_NANOS_MIN));
        }
        world.step();
    }
    let now = world.now();
    format!(
        "{done} streams, {broken} broken by {killed} kills, {:?}, {} ms of the world's time",
        world.link.counters,
        now.mono_ms()
    )
}

const PORT: u16 = 10911;
const STREAMS: usize = 60;
/// Several times from one end to the other and back.
const AWAKE_NANOS_MIN: u64 = 30_000_000;
const STREAMS_AT_ONCE: usize = 12;
/// Longer than any honest silence: the retransmission back-off of an unlucky segment.
const STALL_NANOS_MAX: u64 = 120_000_000_000;
