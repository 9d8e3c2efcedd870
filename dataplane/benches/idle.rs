//! What a quiet broker costs, and what its sleep costs the first message after it. As root over TAP, else kernel sockets.
//!
//! ```text
//! cargo bench --package afterburner-dataplane --bench idle [-- --seconds 10 --wakes 100]
//! ```
//!
//! The real program with its defaults, so that it polls on the last core; the client is on the first, and stays awake
//! between the messages, so that only the broker's own sleep is in the difference. Beside it a thread on the same core
//! that does nothing but echo on a kernel socket: what waking up costs on this machine, whoever does it.

#![allow(clippy::unwrap_used)] // A bench, on the test programs' broker.

#[path = "../tests/common/awake.rs"]
mod awake;
#[path = "../tests/kill/broker.rs"]
#[allow(dead_code)]
mod broker;
#[path = "../tests/kill/wire.rs"]
#[allow(dead_code)]
mod wire;

use broker::Broker;
use core_affinity::CoreId;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};
use wire::Peer;

fn main() {
    let (seconds, wakes) = (option("--seconds", 10), option("--wakes", 100));
    let last = core_affinity::get_core_ids().and_then(|ids| ids.into_iter().next_back()).unwrap();
    let broker = Broker::start_at("idle", 73);
    // Now, since a child inherits it.
    if !core_affinity::set_for_current(CoreId { id: 0 }) {
        println!("the client is not pinned");
    }
    let mut peer = Peer::connect(broker.address);
    let mut opaque = 0;
    let mut exchange = || {
        opaque += 1;
        let began = Instant::now();
        peer.send(0, opaque, &[7; 1_024]).unwrap();
        assert_eq!(peer.next_ack().unwrap().code, 0);
        began.elapsed()
    };
    let _warming = sorted((0..1_000).map(|_| exchange()));
    let warm = sorted((0..5_000).map(|_| exchange()));

    // Long enough for what follows the messages (write-out, the index, committed offsets) to be over.
    std::thread::sleep(Duration::from_secs(6));
    let (before, began) = (broker.cpu(), Instant::now());
    std::thread::sleep(Duration::from_secs(seconds));
    let share = (broker.cpu() - before).as_secs_f64() / began.elapsed().as_secs_f64();
    println!("{}: quiet, {:.2} % of a core over {seconds} s", broker.device, share * 100.0);

    let first = after_sleep(wakes, &mut exchange);
    tell("the broker", &warm, &first);
    drop(broker);

    let mut bare = bare_echo(last);
    let mut exchange = || {
        let began = Instant::now();
        bare.write_all(&[7; 1_024]).unwrap();
        bare.read_exact(&mut [0; 64]).unwrap();
        began.elapsed()
    };
    let warm = sorted((0..5_000).map(|_| exchange()));
    let first = after_sleep(wakes, &mut exchange);
    tell("a bare thread", &warm, &first);
}

fn after_sleep(wakes: u64, exchange: &mut dyn FnMut() -> Duration) -> Vec<Duration> {
    sorted((0..wakes).map(|_| {
        let began = Instant::now();
        while began.elapsed() < SLEEP {
            std::hint::spin_loop();
        }
        exchange()
    }))
}

fn tell(who: &str, warm: &[Duration], first: &[Duration]) {
    let at = |times: &[Duration], share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1e6;
    println!(
        "{who:>14}: one after the other p50 {:6.1} us; after sleep p50 {:6.1}  p90 {:6.1} us: {:6.1} us more",
        at(warm, 50),
        at(first, 50),
        at(first, 90),
        at(first, 50) - at(warm, 50)
    );
}

/// A thread on that core which sleeps in `read`.
fn bare_echo(core: CoreId) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut theirs, _) = listener.accept().unwrap();
    stream.set_nodelay(true).unwrap();
    theirs.set_nodelay(true).unwrap();
    std::thread::spawn(move || {
        core_affinity::set_for_current(core);
        while theirs.read_exact(&mut [0; 1_024]).is_ok() && theirs.write_all(&[7; 64]).is_ok() {}
    });
    stream
}

fn sorted(times: impl Iterator<Item = Duration>) -> Vec<Duration> {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times
}

fn option(name: &str, default: u64) -> u64 {
    let args: Vec<String> = std::env::args().collect();
    args.iter().position(|arg| arg == name).map_or(default, |at| args[at + 1].parse().unwrap())
}

/// Much longer than the longest spin.
const SLEEP: Duration = Duration::from_millis(100);
