//! What a quiet broker costs, and what its sleep costs the first message after it. As root over TAP, else kernel sockets.
//!
//! ```text
//! cargo bench --package afterburner-dataplane --bench idle [-- --seconds 10 --wakes 100]
//! ```
//!
//! The real program, unpinned, as on a laptop. The client stays awake between the messages, so that only the broker's own
//! sleep is in the difference.

#![allow(clippy::unwrap_used)] // A bench, on the test programs' broker.

#[path = "../tests/kill/broker.rs"]
#[allow(dead_code)]
mod broker;
#[path = "../tests/kill/wire.rs"]
#[allow(dead_code)]
mod wire;

use broker::Broker;
use std::time::{Duration, Instant};
use wire::Peer;

fn main() {
    let (seconds, wakes) = (option("--seconds", 10), option("--wakes", 100));
    let broker = Broker::start_at("idle", 73);
    let mut peer = Peer::connect(broker.address);
    let mut opaque = 0;
    let mut exchange = || {
        opaque += 1;
        let began = Instant::now();
        peer.send(0, opaque, &[7; 1_024]).unwrap();
        assert_eq!(peer.next_ack().unwrap().code, 0);
        began.elapsed()
    };
    let warm: Vec<Duration> = (0..5_000).map(|_| exchange()).collect();
    let warm = sorted(warm.into_iter().skip(1_000));

    // Long enough for what follows the messages (write-out, the index, committed offsets) to be over.
    std::thread::sleep(Duration::from_secs(6));
    let (before, began) = (broker.cpu(), Instant::now());
    std::thread::sleep(Duration::from_secs(seconds));
    let share = (broker.cpu() - before).as_secs_f64() / began.elapsed().as_secs_f64();
    println!("{}: quiet, {:.2} % of a core over {seconds} s", broker.device, share * 100.0);

    let first = sorted((0..wakes).map(|_| {
        let began = Instant::now();
        while began.elapsed() < SLEEP {
            std::hint::spin_loop();
        }
        exchange()
    }));
    let at = |times: &[Duration], share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1e6;
    for (name, times) in [("one after the other", &warm), ("after sleep", &first)] {
        println!(
            "{name:>20}: p50 {:7.1}  p90 {:7.1}  p99 {:7.1} us",
            at(times, 50),
            at(times, 90),
            at(times, 99)
        );
    }
    println!("{:>20}: p50 {:7.1} us more", "sleep costs", at(&first, 50) - at(&warm, 50));
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
