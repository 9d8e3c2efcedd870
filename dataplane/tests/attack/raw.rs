//! The same over a real TAP device, with the host's kernel as the honest peer and a raw socket as the stranger.

use crate::common::apart::apart;
use crate::common::{self, Running};
use crate::wire::{self, PORT, Seg};
use dataplane::device::mac_for;
use dataplane::device::tap::{Tap, TapConfig, TapError};
use dataplane::net::front::Address;
use dataplane::net::packet::{ETHERNET_BYTES, flag};
use dataplane::net::stack::{Stack, StackConfig};
use dataplane::rng::Rng;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const US: Ipv4Addr = Ipv4Addr::new(10, 78, 3, 2);
const HOST: Ipv4Addr = Ipv4Addr::new(10, 78, 3, 1);

/// A server on a TAP and a raw socket; none, with a word why, where there may be none.
fn start() -> Option<(Running, Socket)> {
    let config =
        TapConfig { name: "ab-atk0".into(), mac: mac_for(US), host: Some((HOST, 24)), persist: false };
    let tap = match Tap::open(&config) {
        Ok(tap) => tap,
        Err(error @ (TapError::NoTun | TapError::NotAllowed { .. })) => {
            println!("skipped: {error}");
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP))
        .and_then(|raw| raw.set_header_included_v4(true).map(|()| raw));
    let raw = match raw {
        Ok(raw) => raw,
        Err(error) => {
            println!("skipped: no raw socket: {error}");
            return None;
        }
    };
    let config = StackConfig::new(Address { ip: US, prefix_len: 24, gateway: None });
    let stack = Stack::new(tap, config, &mut Rng::from_os()).unwrap();
    Some((Running::start(stack, PORT).unwrap(), raw))
}

/// Sends what `next` makes, at about this rate, until told to stop.
struct Stranger {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Stranger {
    fn start(raw: Socket, per_second: u64, mut next: impl FnMut(&mut Rng) -> Seg + Send + 'static) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (until, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::spawn(move || {
            let mut rng = Rng::from_seed(7);
            let (began, to) = (Instant::now(), SocketAddrV4::new(US, 0).into());
            while !until.load(Ordering::Relaxed) {
                let due = began.elapsed().as_micros() as u64 * per_second / 1_000_000;
                while count.load(Ordering::Relaxed) < due {
                    let mut frame = next(&mut rng).frame();
                    frame[30..34].copy_from_slice(&US.octets());
                    wire::finish_tcp(&mut frame);
                    // A full queue drops it: that is what queues do in floods.
                    let _sent = raw.send_to(&frame[ETHERNET_BYTES..], &to);
                    count.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        Self { stop, sent, thread: Some(thread) }
    }

    fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        self.sent.load(Ordering::Relaxed)
    }
}

/// Echoes for a while, all compared; the sorted times.
fn echoes(stream: &mut TcpStream, span: Duration) -> Vec<Duration> {
    let (mut times, began, mut rng) = (Vec::new(), Instant::now(), Rng::from_seed(1));
    while began.elapsed() < span {
        let mut bytes = vec![0; 1 + rng.below(3_000) as usize];
        rng.fill(&mut bytes);
        let sent = Instant::now();
        stream.write_all(&bytes).unwrap();
        let mut back = vec![0; bytes.len()];
        stream.read_exact(&mut back).unwrap();
        times.push(sent.elapsed());
        assert!(back == bytes);
    }
    times.sort_unstable();
    times
}

fn tell(name: &str, times: &[Duration]) {
    let at = |share: usize| times[(times.len() - 1) * share / 1_000];
    println!("{name}: {} echoes, p50 {:?} p99 {:?} p99.9 {:?}", times.len(), at(500), at(990), at(999));
}

/// T-6, T-7, T-27. Goal: on a real device, a flood of SYNs and a stranger who forges segments of a connection at full speed
/// change no byte of it, do not end it, and do not keep others out. Method: raw packets with made-up senders; resets,
/// SYNs, data and acknowledgements with random numbers in the connection's own name; echoes all the while.
#[test]
fn floods_and_forgeries() {
    apart(flood_and_forge);
}

fn flood_and_forge() {
    let Some((_server, raw)) = start() else { return };
    let forging = raw.try_clone().unwrap();
    let mut stream = common::connect(US, PORT);
    tell("quiet", &echoes(&mut stream, Duration::from_secs(1)));

    let flood = Stranger::start(raw, 100_000, |rng| {
        let from = Ipv4Addr::new(10, 78, 3, 10 + rng.below(240) as u8);
        Seg::syn(from, rng.next_u32() as u16, rng.next_u32())
    });
    tell("under a flood of SYNs", &echoes(&mut stream, Duration::from_secs(2)));
    let mut other = common::connect(US, PORT);
    other.write_all(b"me too").unwrap();
    other.read_exact(&mut [0; 6]).unwrap();
    println!("{} SYNs", flood.end());

    let port = stream.local_addr().unwrap().port();
    let forgeries = Stranger::start(forging, 50_000, move |rng| {
        let flags = [
            flag::RST,
            flag::SYN,
            flag::ACK,
            flag::ACK | flag::PSH,
            flag::FIN | flag::ACK,
            flag::RST | flag::ACK,
        ];
        let kind = flags[rng.below(flags.len() as u64) as usize];
        let mut seg = Seg::new(kind, port, rng.next_u32(), rng.next_u32());
        seg.from = HOST;
        seg.data = if kind & flag::PSH != 0 { vec![0xee; 40] } else { Vec::new() };
        seg
    });
    tell("under forgeries", &echoes(&mut stream, Duration::from_secs(2)));
    println!("{} forged segments", forgeries.end());
    echoes(&mut stream, Duration::from_millis(100));
}
