//! The network alone, no broker: our stack on a TAP and kernel sockets, alternating in one run.
//!
//! ```text
//!   cargo run --release --example net_bench -- [--rounds 3] [--seconds 1] [--only tap|kernel] [--tap ab-bench]
//!       [--rx-ring-kib 128] [--address 10.77.19.2] [--loss 0.001]
//! ```
//!
//! The server polls on core 0. The client is the kernel's TCP, polled on core 1. Rows: ping-pong of 64 bytes at one in
//! flight (p50, p99, p99.9), requests of 1 KiB answered by 64 bytes with 8 × 64 in flight (messages a second, and the
//! server's busy nanoseconds for each), bytes in, bytes out. With loss, of segments both ways and on the TAP only, a row ends
//! with what our side did about it; the client's answers to loss are the kernel's, and depend on the route (`ip route ..
//! rto_min 4ms`). So does its congestion control, and with it the rows with many requests in flight: by half, when it is BBR.

use dataplane::device::mac_for;
use dataplane::device::tap::{Tap, TapConfig};
use dataplane::net::front::Address;
use dataplane::net::kernel::KernelNet;
use dataplane::net::stack::{LossCounters, Stack, StackConfig};
use dataplane::net::{ConnId, Net, NetEvent, NetLimits, NetRx, NetTx, Spin};
use dataplane::rng::Rng;
use dataplane::time::{Clock, RealClock};
use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const ECHO: u16 = 18_000;
const REQUEST: u16 = 18_001;
const SINK: u16 = 18_002;
const SOURCE: u16 = 18_003;
const REQUEST_BYTES: usize = 1024;
const REPLY_BYTES: usize = 64;
const CONNS: usize = 8;
const IN_FLIGHT: usize = 64;

struct Options {
    rounds: u32,
    span: Duration,
    only: String,
    tap: String,
    rx_ring_bytes: usize,
    address: Ipv4Addr,
    loss: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let mut options = Options {
        rounds: 3,
        span: Duration::from_secs(1),
        only: String::new(),
        tap: "ab-bench".to_owned(),
        rx_ring_bytes: NetLimits::default().rx_ring_bytes,
        address: Ipv4Addr::new(10, 77, 19, 2),
        loss: 0.0,
    };
    while let Some(arg) = args.next() {
        let value = args.next().ok_or("every flag takes a value")?;
        match arg.as_str() {
            "--rounds" => options.rounds = value.parse()?,
            "--seconds" => options.span = Duration::from_secs_f64(value.parse()?),
            "--only" => options.only = value,
            "--tap" => options.tap = value,
            "--address" => options.address = value.parse()?,
            "--loss" => options.loss = value.parse()?,
            "--rx-ring-kib" => options.rx_ring_bytes = value.parse::<usize>()? << 10,
            _ => return Err(format!("unknown flag {arg}").into()),
        }
    }
    let control = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default();
    println!("clients send as {} does, unless their route says otherwise", control.trim());
    println!(
        "{:8} {:>7} {:>7} {:>7} | {:>9} {:>7} | {:>7} {:>7}",
        "net", "p50 us", "p99", "p99.9", "msg/s", "ns/msg", "in GB/s", "out"
    );
    for _ in 0..options.rounds {
        for kind in ["tap", "kernel"] {
            if options.only.is_empty() || options.only == kind {
                round(kind, &options)?;
            }
        }
    }
    Ok(())
}

fn round(kind: &str, options: &Options) -> Result<(), Box<dyn Error>> {
    let stop = Arc::new(AtomicBool::new(false));
    let busy_ns = Arc::new(AtomicU64::new(0));
    let (until, busy) = (Arc::clone(&stop), Arc::clone(&busy_ns));
    let (ip, server) = if kind == "tap" {
        let ip = options.address;
        let [a, b, c, _] = ip.octets();
        let host = Some((Ipv4Addr::new(a, b, c, 1), 24));
        let tap =
            Tap::open(&TapConfig { name: options.tap.clone(), mac: mac_for(ip), host, persist: false })?;
        let mut config = StackConfig::new(Address { ip, prefix_len: 24, gateway: None });
        config.spin = Spin::Always;
        config.loss = options.loss;
        config.limits.rx_ring_bytes = options.rx_ring_bytes;
        let stack = Stack::new(tap, config, &mut Rng::from_os())?;
        (ip, std::thread::spawn(move || serve(stack, &until, &busy, |stack| Some(stack.counters().1.loss))))
    } else {
        let net = KernelNet::new(IpAddr::V4(Ipv4Addr::LOCALHOST), NetLimits::default(), Spin::Always)?;
        (Ipv4Addr::LOCALHOST, std::thread::spawn(move || serve(net, &until, &busy, |_| None)))
    };
    pin(1);
    std::thread::sleep(Duration::from_millis(200));

    let [p50, p99, p999] = ping_pong(ip, options.span)?;
    let before_ns = busy_ns.load(Ordering::Relaxed);
    let (messages, taken) = pipelined(ip, options.span)?;
    let server_ns = (busy_ns.load(Ordering::Relaxed) - before_ns) as f64 / messages as f64;
    let bytes_in = bulk_in(ip, options.span)?;
    let bytes_out = bulk_out(ip, options.span)?;
    println!(
        "{kind:8} {p50:7.2} {p99:7.2} {p999:7.2} | {:9.0} {server_ns:7.0} | {bytes_in:7.2} {bytes_out:7.2}",
        messages as f64 / taken.as_secs_f64()
    );
    stop.store(true, Ordering::Relaxed);
    let loss = server.join().map_err(|_| "the server panicked")?;
    if let Some(loss) = loss.filter(|_| options.loss > 0.0) {
        println!("{loss:?}");
    }
    Ok(())
}

fn serve<N: Net>(
    mut net: N,
    until: &AtomicBool,
    busy_ns: &AtomicU64,
    told: impl FnOnce(&N) -> Option<LossCounters>,
) -> Option<LossCounters> {
    pin(0);
    for port in [ECHO, REQUEST, SINK, SOURCE] {
        net.listen(port).expect("the ports are free");
    }
    let mut clock = RealClock::start();
    let mut now = clock.read();
    while !until.load(Ordering::Relaxed) {
        let mut work = net.ingress(&now, 64);
        while let Some(event) = net.next_event() {
            match event {
                NetEvent::Readable(conn) | NetEvent::Writable(conn) => serve_one(&mut net, conn),
                NetEvent::Opened { conn, local, .. } if local.port() == SOURCE => serve_one(&mut net, conn),
                NetEvent::PeerFinished(conn) => net.close(conn),
                _ => (),
            }
        }
        work += net.egress(&now, 256);
        let next = clock.read();
        if work > 0 {
            busy_ns.fetch_add(next.mono_ns - now.mono_ns, Ordering::Relaxed);
        }
        now = next;
    }
    told(&net)
}

fn serve_one<N: Net>(net: &mut N, conn: ConnId) {
    let Some(info) = net.info(conn) else { return };
    let (rx, tx) = net.split();
    let (first, second) = rx.readable(conn);
    let len = first.len() + second.len();
    let taken = match info.local.port() {
        ECHO => tx.send(conn, first) + tx.send(conn, second),
        REQUEST => {
            let requests = (len / REQUEST_BYTES).min(tx.send_room(conn) / REPLY_BYTES);
            for _ in 0..requests {
                tx.send(conn, &[7; REPLY_BYTES]);
            }
            requests * REQUEST_BYTES
        }
        SINK => len,
        _ => {
            while tx.send_with(conn, &mut |run| run.len()) > 0 {}
            len
        }
    };
    net.consume(conn, taken);
}

fn connect(ip: Ipv4Addr, port: u16) -> Result<TcpStream, Box<dyn Error>> {
    let stream = TcpStream::connect_timeout(&SocketAddr::new(IpAddr::V4(ip), port), Duration::from_secs(3))?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

fn ping_pong(ip: Ipv4Addr, span: Duration) -> Result<[f64; 3], Box<dyn Error>> {
    let mut stream = connect(ip, ECHO)?;
    let mut times_ns = Vec::with_capacity(2_000_000);
    let (message, mut back) = ([1; 64], [0; 64]);
    let started = Instant::now();
    while started.elapsed() < span {
        let sent_at = Instant::now();
        stream.write_all(&message)?;
        let mut have = 0;
        while have < back.len() {
            have += read_some(&mut stream, &mut back[have..])?;
        }
        times_ns.push(sent_at.elapsed().as_nanos() as u64);
    }
    times_ns.drain(..times_ns.len() / 10); // Warming up.
    times_ns.sort_unstable();
    Ok([0.5, 0.99, 0.999].map(|part| times_ns[(times_ns.len() as f64 * part) as usize] as f64 / 1_000.0))
}

struct Pipe {
    stream: TcpStream,
    in_flight: usize,
    unsent_bytes: usize,
    reply_bytes: usize,
}

fn pipelined(ip: Ipv4Addr, span: Duration) -> Result<(u64, Duration), Box<dyn Error>> {
    let mut pipes = Vec::new();
    for _ in 0..CONNS {
        pipes.push(Pipe { stream: connect(ip, REQUEST)?, in_flight: 0, unsent_bytes: 0, reply_bytes: 0 });
    }
    let requests = vec![3u8; REQUEST_BYTES * IN_FLIGHT];
    let mut replies = vec![0u8; REPLY_BYTES * IN_FLIGHT];
    let (started, mut done) = (Instant::now(), 0u64);
    while started.elapsed() < span {
        for pipe in &mut pipes {
            pipe.reply_bytes += read_some(&mut pipe.stream, &mut replies)?;
            let complete = pipe.reply_bytes / REPLY_BYTES;
            pipe.reply_bytes %= REPLY_BYTES;
            pipe.in_flight -= complete;
            done += complete as u64;
            // Half the window at a time: one request in a system call measures the client.
            let more = IN_FLIGHT - pipe.in_flight;
            if more >= IN_FLIGHT / 2 {
                pipe.unsent_bytes += more * REQUEST_BYTES;
                pipe.in_flight += more;
            }
            if pipe.unsent_bytes > 0 {
                match pipe.stream.write(&requests[..pipe.unsent_bytes.min(requests.len())]) {
                    Ok(len) => pipe.unsent_bytes -= len,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => (),
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    Ok((done, started.elapsed()))
}

fn bulk_in(ip: Ipv4Addr, span: Duration) -> Result<f64, Box<dyn Error>> {
    let mut stream = connect(ip, SINK)?;
    let chunk = vec![5u8; 256 << 10];
    let (started, mut bytes) = (Instant::now(), 0usize);
    while started.elapsed() < span {
        match stream.write(&chunk) {
            Ok(len) => bytes += len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes as f64 / started.elapsed().as_secs_f64() / 1e9)
}

fn bulk_out(ip: Ipv4Addr, span: Duration) -> Result<f64, Box<dyn Error>> {
    let mut stream = connect(ip, SOURCE)?;
    let mut chunk = vec![0u8; 1 << 20];
    let (started, mut bytes) = (Instant::now(), 0usize);
    while started.elapsed() < span {
        bytes += read_some(&mut stream, &mut chunk)?;
    }
    Ok(bytes as f64 / started.elapsed().as_secs_f64() / 1e9)
}

fn read_some(stream: &mut TcpStream, into: &mut [u8]) -> Result<usize, Box<dyn Error>> {
    match stream.read(into) {
        Ok(0) => Err("the server has closed".into()),
        Ok(len) => Ok(len),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn pin(core: usize) {
    if !core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        eprintln!("cannot pin to core {core}: figures will be noisier");
    }
}
