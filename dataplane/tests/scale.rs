//! What connections and quiet cost: process-wide figures, so these tests run one at a time in a process of their own.

#![allow(clippy::unwrap_used)] // All of it is tests.

mod common;

use common::apart::apart;
use common::{Running, awake};
use dataplane::device::mac_for;
use dataplane::device::tap::{Tap, TapConfig, TapError};
use dataplane::net::front::Address;
use dataplane::net::stack::{Stack, StackConfig};
use dataplane::rng::Rng;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A server on a TAP; none, with a word why, where there may be no TAP.
fn tap_server(net: u8) -> Option<(Running, Ipv4Addr)> {
    let ip = Ipv4Addr::new(10, 77, net, 2);
    let host = Some((Ipv4Addr::new(10, 77, net, 1), 24));
    let tap = TapConfig { name: format!("ab-net{net}"), mac: mac_for(ip), host, persist: false };
    match Tap::open(&tap) {
        Ok(tap) => {
            let config = StackConfig::new(Address { ip, prefix_len: 24, gateway: None });
            let stack = Stack::new(tap, config, &mut Rng::from_os()).unwrap();
            Some((Running::start(stack, PORT).unwrap(), ip))
        }
        Err(error @ (TapError::NoTun | TapError::NotAllowed { .. })) => {
            println!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// CPU time of this process so far.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// Resident memory of this process.
fn rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn echo(stream: &mut TcpStream, bytes: &[u8]) {
    try_echo(stream, bytes).unwrap();
}

fn try_echo(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)?;
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back)?;
    assert_eq!(back, bytes);
    Ok(())
}

/// The share of a core that this process takes while nothing is asked of it: the least of three times three seconds, since
/// what was asked before is done later on a machine that has no time for it.
fn quiet_share() -> f64 {
    let mut least = f64::INFINITY;
    for _ in 0..3 {
        let (before, began) = (cpu(), Instant::now());
        std::thread::sleep(Duration::from_secs(3));
        least = least.min((cpu() - before).as_secs_f64() / began.elapsed().as_secs_f64());
        if least < QUIET_SHARE_MAX {
            break;
        }
    }
    least
}

/// Quiet, with connections open; then how long the first message after a sleep takes.
fn quiet(name: &str, ip: Ipv4Addr, port: u16) {
    let mut streams: Vec<TcpStream> = (0..100).map(|_| common::connect(ip, port)).collect();
    streams.iter_mut().for_each(|stream| echo(stream, b"hello"));
    std::thread::sleep(Duration::from_millis(200));
    let used = quiet_share();
    let mut wakes: Vec<Duration> = (0..20)
        .map(|_| {
            std::thread::sleep(Duration::from_millis(50));
            let sent = Instant::now();
            echo(&mut streams[0], b"wake");
            sent.elapsed()
        })
        .collect();
    wakes.sort_unstable();
    println!(
        "{name}: {:.1} % CPU when quiet, first message after a sleep {:?} (median)",
        used * 100.0,
        wakes[10]
    );
    assert!(used < QUIET_SHARE_MAX, "{name} used {:.1} % while quiet", used * 100.0);
}

/// Goal: a quiet broker sleeps, on either network. Method: CPU time over three quiet seconds with connections open.
#[test]
fn a_quiet_shard_sleeps() {
    let _alone = alone();
    let (server, port) = common::start_on_kernel_sockets();
    quiet("kernel", Ipv4Addr::LOCALHOST, port);
    drop(server);
    apart(|| {
        let Some((_server, ip)) = tap_server(17) else { return };
        quiet("tap", ip, PORT);
    });
}

/// Goal: ten thousand connections, none refused, in bounded memory; an active one does not feel the idle ones.
/// Method: connect them in one burst, use each once, then measure echoes on one of them.
#[test]
fn ten_thousand_connections() {
    let _alone = alone();
    if !common::may_connect(CONNS) {
        return;
    }
    // A server that stands still for longer than a handshake may take lets go of those that were under way.
    for _ in 0..5 {
        let (began, awake) = (Instant::now(), awake::now());
        let Err(error) = apart(among_ten_thousand) else { return };
        let still = began.elapsed().saturating_sub(awake::now() - awake);
        assert!(still > Duration::from_secs(3), "a connection failed: {error}");
        println!("{error}, after {still:?} in which nothing ran; again");
    }
    panic!("this machine stands still too often");
}

fn among_ten_thousand() -> io::Result<()> {
    let before_kib = rss_kib();
    let Some((server, ip)) = tap_server(18) else { return Ok(()) };
    let started_kib = rss_kib();
    let burst = Instant::now();
    let mut streams: Vec<TcpStream> =
        (0..CONNS).map(|_| common::try_connect(ip, PORT)).collect::<Result<_, _>>()?;
    let burst = burst.elapsed();
    streams.iter_mut().try_for_each(|stream| try_echo(stream, b"I am here too"))?;
    let per_conn_kib = (rss_kib() - started_kib) as f64 / CONNS as f64;
    let mut times: Vec<Duration> = (0..2_000)
        .map(|_| {
            let sent = Instant::now();
            echo(&mut streams[CONNS / 2], b"ping");
            sent.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!(
        "stack alone {} MiB; {CONNS} connects in {burst:?}; {per_conn_kib:.1} KiB each; echo among them {:?} (median)",
        (started_kib - before_kib) / 1024,
        times[1_000]
    );
    assert!(per_conn_kib < 40.0, "{per_conn_kib} KiB");
    drop(streams);
    server.until_ended(CONNS as u64);
    assert_eq!(server.stop(), (CONNS as u64, CONNS as u64));
    Ok(())
}

/// Goal: connections that were busy once and are quiet now cost what idle ones do: their buffers are given back.
/// Method: fill the rings of hundreds, then wait; they still work.
#[test]
fn quiet_connections_give_their_buffers_back() {
    let _alone = alone();
    apart(busy_then_quiet);
}

fn busy_then_quiet() {
    let Some((_server, ip)) = tap_server(20) else { return };
    let before_kib = rss_kib();
    const BUSY: usize = 200;
    let mut streams: Vec<TcpStream> = (0..BUSY).map(|_| common::connect(ip, PORT)).collect();
    let per_conn_kib = || rss_kib().saturating_sub(before_kib) as f64 / BUSY as f64;
    // A test that stands still for some seconds meanwhile finds the first ones given back when it comes to the last.
    let filled = (0..10).find_map(|_| {
        for stream in &mut streams {
            (0..3).for_each(|_| echo(stream, &[7; 60_000]));
        }
        Some(per_conn_kib()).filter(|kib| *kib > 40.0)
    });
    let busy_kib = filled.expect("the rings are filled");
    common::eventually("the buffers are given back", || per_conn_kib() < 20.0);
    println!("{busy_kib:.1} KiB each when just used, {:.1} KiB when quiet", per_conn_kib());
    streams.iter_mut().for_each(|stream| echo(stream, &[8; 60_000]));
}

const PORT: u16 = 10911;
const QUIET_SHARE_MAX: f64 = 0.02;
const CONNS: usize = 10_000;
