//! What a flood of SYNs costs those who are connected, and how much memory it takes. As root, over TAP.
//!
//! ```text
//! cargo bench --package afterburner-dataplane --bench attack [-- --rate 100000 --seconds 3 --rounds 3]
//!
//!   core 0: stack, echo ◀── TAP ── core 1: one connection asks 1 KiB at a time, and while it waits a raw socket of the
//!                                          same thread sends SYNs of made-up senders, evenly
//! ```
//!
//! Sending the flood takes time of the asking core. So a row beside it sends the same packets to an interface that nobody
//! reads: what is more than that is the server's.

#![allow(clippy::unwrap_used)] // A bench, on the test programs' frames.

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/attack/wire.rs"]
#[allow(dead_code)]
mod wire;

use common::Echo;
use core_affinity::CoreId;
use dataplane::device::mac_for;
use dataplane::device::tap::{Tap, TapConfig, TapError};
use dataplane::net::front::Address;
use dataplane::net::packet::ETHERNET_BYTES;
use dataplane::net::stack::{Stack, StackConfig, StackCounters};
use dataplane::net::{Net, Spin};
use dataplane::rng::Rng;
use dataplane::time::{Clock, RealClock};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use wire::{PORT, Seg};

fn main() {
    let (rate, seconds, rounds) = (option("--rate", 100_000), option("--seconds", 3), option("--rounds", 3));
    let Some(tap) = tap("ab-atkb0", US) else { return };
    // Nobody reads this one.
    let Some(_unread) = tap_to_nowhere() else { return };
    let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP)).unwrap();
    raw.set_header_included_v4(true).unwrap();
    raw.set_nonblocking(true).unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&stop);
    let server = std::thread::spawn(move || serve(tap, &until));
    pin(1);
    let mut stream = common::connect(US, PORT);
    stream.set_nonblocking(true).unwrap();
    let mut client = Client { stream: &mut stream, raw, sent: 0, failed: 0 };
    let span = Duration::from_secs(seconds);
    let (here, beside) = (Flood::new(US, rate * seconds), Flood::new(NOWHERE, rate * seconds));
    client.ask(Duration::from_millis(500), 0, &here, &mut Vec::new()); // Warm.

    // Written, so that the figures themselves are in the memory before.
    let room = || {
        let mut times = vec![1_u64; (rounds * seconds * ECHOES_PER_SECOND_MAX) as usize];
        times.clear();
        times
    };
    let mut rows = [("quiet", room()), ("sent to nobody", room()), ("sent to us", room())];
    let before_kib = rss_kib();
    for _ in 0..rounds {
        client.ask(span, 0, &here, &mut rows[0].1);
        client.ask(span, rate, &beside, &mut rows[1].1);
        client.sent = 0;
        client.ask(span, rate, &here, &mut rows[2].1);
    }
    let after_kib = rss_kib();
    println!("echo of 1 KiB on one connection, {rounds} rounds of {seconds} s; SYNs: {rate}/s wanted");
    for (name, times) in &mut rows {
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize] as f64 / 1_000.0;
        println!(
            "{name:>14}: {:>8} echoes   p50 {:6.1}  p99 {:6.1}  p99.9 {:7.1}  max {:8.0} us",
            times.len(),
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0)
        );
    }
    println!("{} SYNs left in the last round ({} not taken)", client.sent, client.failed);
    println!("resident: {before_kib} KiB before, {} KiB after", after_kib);
    stop.store(true, Ordering::Relaxed);
    println!("{:?}", server.join().unwrap());
}

fn serve(tap: Tap, until: &AtomicBool) -> StackCounters {
    pin(0);
    let mut config = StackConfig::new(Address { ip: US, prefix_len: 24, gateway: None });
    config.spin = Spin::Always;
    let mut stack = Stack::new(tap, config, &mut Rng::from_os()).unwrap();
    let mut echo = Echo::new(&mut stack, PORT).unwrap();
    let mut clock = RealClock::start();
    while !until.load(Ordering::Relaxed) {
        let now = clock.read();
        if echo.turn(&mut stack, &now) == 0 {
            stack.idle_wait(&now, Duration::from_millis(20));
        }
    }
    *stack.counters().1
}

struct Client<'a> {
    stream: &'a mut TcpStream,
    raw: Socket,
    sent: u64,
    failed: u64,
}

impl Client<'_> {
    /// Asks for so long, with so many packets of `flood` a second beside; adds how long each question took, in nanoseconds.
    fn ask(&mut self, span: Duration, per_second: u64, flood: &Flood, times: &mut Vec<u64>) {
        let mut back = [0; QUESTION_BYTES];
        let (began, mut flooded) = (Instant::now(), 0);
        while began.elapsed() < span {
            let asked = Instant::now();
            self.stream.write_all(&[7; QUESTION_BYTES]).unwrap();
            let mut got = 0;
            while got < QUESTION_BYTES {
                match self.stream.read(&mut back[got..]) {
                    Ok(0) => panic!("the server ended"),
                    Ok(len) => got += len,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        let due = began.elapsed().as_nanos() as u64 * per_second / 1_000_000_000;
                        if flooded < due {
                            self.send(flood, flooded);
                            flooded += 1;
                        }
                    }
                    Err(error) => panic!("{error}"),
                }
                assert!(asked.elapsed() < Duration::from_secs(10), "no answer");
            }
            times.push(asked.elapsed().as_nanos() as u64);
        }
    }

    fn send(&mut self, flood: &Flood, at: u64) {
        let packet = &flood.packets[at as usize % flood.packets.len()];
        match self.raw.send_to(packet, &flood.to) {
            Ok(_) => self.sent += 1,
            Err(_) => self.failed += 1, // A full queue: that is what queues do in floods.
        }
    }
}

/// SYNs to one address, each from another sender.
struct Flood {
    to: SockAddr,
    packets: Vec<[u8; SYN_BYTES]>,
}

impl Flood {
    fn new(to: Ipv4Addr, count: u64) -> Self {
        let mut rng = Rng::from_seed(7);
        let packet = |_| {
            let from = Ipv4Addr::new(10, 78, to.octets()[2], 10 + rng.below(240) as u8);
            let mut frame = Seg::syn(from, rng.next_u32() as u16, rng.next_u32()).frame();
            frame[30..34].copy_from_slice(&to.octets());
            wire::finish_tcp(&mut frame);
            frame[ETHERNET_BYTES..].try_into().unwrap()
        };
        Self { to: SocketAddrV4::new(to, 0).into(), packets: (0..count).map(packet).collect() }
    }
}

/// None, with a word why, where there may be no TAP.
fn tap(name: &str, ip: Ipv4Addr) -> Option<Tap> {
    let [a, b, c, _] = ip.octets();
    let host = Some((Ipv4Addr::new(a, b, c, 1), 24));
    match Tap::open(&TapConfig { name: name.into(), mac: mac_for(ip), host, persist: false }) {
        Ok(tap) => Some(tap),
        Err(error @ (TapError::NoTun | TapError::NotAllowed { .. })) => {
            println!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn tap_to_nowhere() -> Option<Tap> {
    let tap = tap("ab-atkb1", NOWHERE)?;
    let mac: Vec<String> = mac_for(NOWHERE).iter().map(|byte| format!("{byte:02x}")).collect();
    let (ip, mac) = (NOWHERE.to_string(), mac.join(":"));
    let arguments = ["neighbour", "replace", &ip, "lladdr", &mac, "dev", "ab-atkb1"];
    assert!(Command::new("ip").args(arguments).status().unwrap().success());
    Some(tap)
}

fn pin(id: usize) {
    if !core_affinity::set_for_current(CoreId { id }) {
        println!("not pinned to core {id}");
    }
}

fn rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn option(name: &str, default: u64) -> u64 {
    let args: Vec<String> = std::env::args().collect();
    args.iter().position(|arg| arg == name).map_or(default, |at| args[at + 1].parse().unwrap())
}

const US: Ipv4Addr = Ipv4Addr::new(10, 78, 71, 2);
const NOWHERE: Ipv4Addr = Ipv4Addr::new(10, 78, 72, 2);
const QUESTION_BYTES: usize = 1_024;
const ECHOES_PER_SECOND_MAX: u64 = 200_000;
/// Two headers.
const SYN_BYTES: usize = 40;
