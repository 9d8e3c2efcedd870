//! What one message costs in the network when there are many connections, and what many connects cost the others.
//!
//! ```text
//! cargo bench --package afterburner-dataplane --bench scale [-- --seconds 60]
//! ```
//!
//! A whole stack over the simulated device, so that no system call and no other program is in the figures: frames of
//! requests are made before and answers looked at after; only the turns are timed. Each answer is acknowledged by a frame of
//! its own. Each row is the median of many slices.

#![allow(clippy::unwrap_used)] // A bench, on the test programs' frames.

#[path = "../tests/attack/wire.rs"]
#[allow(dead_code)]
mod wire;

use dataplane::device::sim::{SimDevice, SimPort};
use dataplane::net::front::Address;
use dataplane::net::packet::flag;
use dataplane::net::stack::{Stack, StackConfig};
use dataplane::net::{Net, NetEvent, NetRx, NetTx};
use dataplane::rng::Rng;
use dataplane::time::{Clock, RealClock};
use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use wire::{OUR_MAC, Out, PORT, Seg, US};

/// A client as its frames show it.
#[derive(Clone, Copy)]
struct Client {
    ip: Ipv4Addr,
    port: u16,
    seq: u32,
    ack: u32,
}

struct Bench {
    stack: Stack<SimDevice>,
    port: SimPort,
    clock: RealClock,
    clients: Vec<Client>,
    busy: Duration,
}

impl Bench {
    fn new() -> Self {
        let (device, port) = SimDevice::plain(OUR_MAC, 1500);
        let mut config = StackConfig::new(Address { ip: US, prefix_len: 24, gateway: None });
        config.limits.conns_max = 16_384;
        let mut stack = Stack::simulated(device, config, &mut Rng::from_seed(1)).unwrap();
        stack.listen(PORT).unwrap();
        let bench =
            Self { stack, port, clock: RealClock::start(), clients: Vec::new(), busy: Duration::ZERO };
        while bench.port.take().is_some() {} // The announcement.
        bench
    }

    /// One turn, timed if it has something to do, in which every request is answered by `REPLY_BYTES`. Gives the frames read.
    fn turn(&mut self) -> u32 {
        let began = Instant::now();
        let now = self.clock.read();
        let frames = self.stack.ingress(&now, BURST);
        while let Some(event) = self.stack.next_event() {
            match event {
                NetEvent::Readable(conn) => {
                    let (rx, tx) = self.stack.split();
                    let (first, second) = rx.readable(conn);
                    let len = first.len() + second.len();
                    if len >= REQUEST_BYTES {
                        tx.send(conn, &[7; REPLY_BYTES]);
                    }
                    self.stack.consume(conn, len);
                }
                NetEvent::PeerFinished(conn) => self.stack.close(conn),
                NetEvent::Opened { .. } | NetEvent::Writable(_) | NetEvent::Closed(_) => (),
            }
        }
        if frames + self.stack.egress(&now, BURST) > 0 {
            self.busy += began.elapsed();
        }
        frames
    }

    /// What came in all the turns that it took; a stack that was idle reads few frames at a time at first.
    fn turns_until(&mut self, mut done: impl FnMut(&[Out]) -> bool) -> Option<Vec<Out>> {
        let mut all = Vec::new();
        // Not so many turns: when this program was held up, an answer may wait for a timer of the connection, and counts as late.
        let begun = Instant::now();
        while begun.elapsed() < ANSWER_TIME_MAX {
            self.turn();
            all.extend(self.take());
            if done(&all) {
                return Some(all);
            }
        }
        None
    }

    fn take(&mut self) -> Vec<Out> {
        let frames: Vec<_> = std::iter::from_fn(|| self.port.take()).collect();
        let outs = frames.iter().map(|frame| Out::parse(&frame.bytes)).collect();
        frames.into_iter().for_each(|frame| self.port.recycle(frame.bytes));
        outs
    }

    fn connect(&mut self, wanted: usize) {
        while self.clients.len() < wanted {
            let at = self.clients.len() as u32;
            let (ip, port) =
                (Ipv4Addr::new(10, 78, (at >> 14) as u8, (at >> 6) as u8), 1_024 + at as u16 % 64);
            let client = self.open(ip, port);
            self.clients.push(client);
        }
    }

    fn open(&mut self, ip: Ipv4Addr, port: u16) -> Client {
        self.port.give(&Seg::syn(ip, port, 99).frame());
        self.turn();
        let answer = self.take().remove(0);
        let client = Client { ip, port, seq: 100, ack: answer.tcp.seq.wrapping_add(1) };
        self.port.give(&segment(&client, flag::ACK, 0));
        self.turn();
        self.take();
        client
    }

    /// Nanoseconds a message, when requests come from the first `active` clients in turn, a burst of `BURST` a turn.
    fn messages(&mut self, active: usize) -> f64 {
        let mut slices = Vec::new();
        let mut at = 0;
        for _ in 0..SLICES {
            self.busy = Duration::ZERO;
            for _ in 0..TURNS_PER_SLICE {
                let mut missing = HashSet::new();
                for _ in 0..BURST.min(active) {
                    let client = &mut self.clients[at % active];
                    self.port.give(&segment(client, flag::ACK | flag::PSH, REQUEST_BYTES));
                    missing.insert((client.ip, client.port, client.ack));
                    client.seq = client.seq.wrapping_add(REQUEST_BYTES as u32);
                    client.ack = client.ack.wrapping_add(REPLY_BYTES as u32);
                    at += 1;
                }
                // When this program was held up, answers to what came before are probed for, and come once more.
                let answers = self.turns_until(|answers| {
                    answers.iter().filter(|out| out.data.len() == REPLY_BYTES).for_each(|out| {
                        missing.remove(&(out.to, out.tcp.to_port, out.tcp.seq));
                    });
                    missing.is_empty()
                });
                assert!(answers.is_some(), "every request is answered within a few turns");
                // Nobody is silent for so long that answers would be taken for lost.
                for number in at - BURST.min(active)..at {
                    self.port.give(&segment(&self.clients[number % active], flag::ACK, 0));
                }
                while self.turn() > 0 {}
                self.take();
            }
            let messages = TURNS_PER_SLICE * BURST.min(active);
            slices.push(self.busy.as_nanos() as f64 / messages as f64);
        }
        slices.sort_unstable_by(f64::total_cmp);
        slices[SLICES / 2]
    }

    /// Questions of one client, one every 100 microseconds, while `per_second` others connect, ask and close; how long each
    /// question took, in nanoseconds, sorted.
    fn questions(&mut self, per_second: u32, seconds: u64) -> Vec<u64> {
        let (mut took, mut number, mut rng) = (Vec::new(), 0u32, Rng::from_seed(2));
        let began = Instant::now();
        let mut next = Duration::ZERO;
        while began.elapsed() < Duration::from_secs(seconds) {
            while began.elapsed() < next {
                std::hint::spin_loop();
            }
            next += Duration::from_micros(100);
            for _ in 0..per_second / 10_000 {
                let from = Ipv4Addr::new(10, 90, (number >> 14) as u8, (number >> 6) as u8);
                self.port.give(&Seg::syn(from, 1_024 + number as u16 % 64, rng.next_u32()).frame());
                number += 1;
            }
            let client = &mut self.clients[0];
            let (ip, port) = (client.ip, client.port);
            self.port.give(&segment(client, flag::ACK | flag::PSH, REQUEST_BYTES));
            client.seq = client.seq.wrapping_add(REQUEST_BYTES as u32);
            client.ack = client.ack.wrapping_add(REPLY_BYTES as u32);
            self.busy = Duration::ZERO;
            let is_answer = |out: &Out| (out.to, out.tcp.to_port) == (ip, port) && !out.data.is_empty();
            let outs = self.turns_until(|outs| outs.iter().any(is_answer)).expect("the question is answered");
            took.push(self.busy.as_nanos() as u64);
            // What the others say next comes with the next question.
            for out in outs {
                if (out.to, out.tcp.to_port) == (ip, port) {
                    continue;
                }
                let after = out.tcp.seq.wrapping_add(out.tcp.sequence_len());
                let mut seg = Seg::new(flag::ACK, out.tcp.to_port, out.tcp.ack, after);
                seg.from = out.to;
                if out.tcp.flags & flag::SYN != 0 {
                    seg.data = vec![1; REQUEST_BYTES];
                } else if !out.data.is_empty() {
                    seg.flags |= flag::FIN;
                } else if out.tcp.flags & flag::FIN == 0 {
                    continue;
                }
                self.port.give(&seg.frame());
            }
        }
        took.sort_unstable();
        took
    }
}

fn segment(client: &Client, flags: u8, data_bytes: usize) -> Vec<u8> {
    let mut seg = Seg::new(flags, client.port, client.seq, client.ack);
    (seg.from, seg.data) = (client.ip, vec![5; data_bytes]);
    seg.frame()
}

fn rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let seconds =
        args.iter().position(|arg| arg == "--seconds").map_or(5, |at| args[at + 1].parse().unwrap());
    let mut bench = Bench::new();
    bench.connect(8);
    let few = bench.messages(8);
    println!("{:>6} connections, all active     {few:7.0} ns a message", 8);
    for active in [64, 512, 5_000, 10_000] {
        bench.connect(active);
        let ns = bench.messages(active);
        println!("{active:>6} connections, all active     {ns:7.0} ns a message   {:.2} x", ns / few);
    }
    let among = bench.messages(8);
    println!("{:>6} connections, 8 active       {among:7.0} ns a message   {:.2} x", 10_000, among / few);
    println!("{} MiB resident with 10,000 connections that were just busy", rss_kib() >> 10);
    for per_second in [0, 10_000, 0, 10_000] {
        let took = bench.questions(per_second, seconds);
        let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize] as f64 / 1_000.0;
        println!(
            "{per_second:>6} connects/s for {seconds} s           question p50 {:.1} p99 {:.1} p99.9 {:.1} max {:.0} us ({} asked)",
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0),
            took.len()
        );
    }
}

const REQUEST_BYTES: usize = 128;
const REPLY_BYTES: usize = 64;
const BURST: usize = 64;
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);
const TURNS_PER_SLICE: usize = 200;
const SLICES: usize = 15;
