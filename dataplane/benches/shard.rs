//! What one message costs inside the shard, the network and the disk left out.
//!
//! ```text
//! cargo bench --package afterburner-dataplane --bench shard [-- --json]
//! ```
//!
//! With `--shards 2` so many shards run the rows at the same time, each on a core of its own with a world of its own, after
//! one has run them alone: what sharing a machine costs them, and what they carry together.
//!
//! With `--only TEXT` one row, with `--turns N` fewer turns: for callgrind, which counts the instructions of
//! `Shard::turn` (`--toggle-collect='*turn*'`).
//!
//! A network in memory hands bursts of requests to a whole shard and throws its answers away; only `turn` is timed. The
//! hot log is real memory; the cold side moves between the turns, untimed. Each row is the median of many slices.

#![allow(clippy::unwrap_used)] // A bench, on the test programs' worlds.

#[path = "../tests/hot/fake_net.rs"]
#[allow(dead_code)]
mod fake_net;
#[path = "../tests/common/opened.rs"]
mod opened;
#[path = "../tests/common/requests.rs"]
mod requests;
#[path = "../tests/hot/world.rs"]
#[allow(dead_code)]
mod world;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use dataplane::alloc;
use dataplane::net::ConnId;
use dataplane::time::Clock;
use protocol::RemotingCommand;
use protocol::batch::{self, BatchMessage};
use protocol::code::request;
use protocol::frame::Codec;

use store::{RealMedium, StoreConfig};

use requests::{pull, send, set};
use world::{Settings, World};

/// One line of the table.
struct Row {
    name: &'static str,
    messages: u64,
    ns_per_request: f64,
    ns_per_message: f64,
    allocations: u64,
}

struct Bench<'a> {
    world: World,
    /// All shards begin a row together.
    all_ready: &'a Barrier,
    buffer: Vec<u8>,
    only: Option<String>,
    turns: usize,
    rows: Vec<Row>,
}

impl<'a> Bench<'a> {
    fn new(root: &Path, all_ready: &'a Barrier) -> Bench<'a> {
        let mut settings = Settings { store: StoreConfig::new(root.join("store")), ..Settings::default() };
        settings.store.hot_dir = Some(root.join("hot"));
        settings.medium = Arc::new(RealMedium::new());
        settings.store.hot_bytes = 256 << 20;
        settings.store.hot_segments = 8;
        settings.store.commitlog_file_bytes = 1 << 30;
        settings.rx_ring_bytes = 256 << 10;
        settings.tx_ring_bytes = 1 << 20;
        let mut world = World::with(settings);
        world.topic("TopicTest", 4);
        let turns = argument("--turns").map_or(TURNS, |turns| turns.parse().expect("a number"));
        Bench {
            world,
            all_ready,
            buffer: vec![0; 1 << 20],
            only: argument("--only"),
            turns,
            rows: Vec::new(),
        }
    }

    /// Times turns that serve `burst`, which holds `requests` requests of `messages` messages in all. The median turn
    /// counts, so that what else runs on the machine does not.
    fn run(&mut self, name: &'static str, conn: ConnId, burst: &[u8], requests: u64, messages: u64) {
        if self.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            return;
        }
        self.all_ready.wait();
        let mut turns = Vec::new();
        let mut allocations = 0;
        for turn in 0..WARM_UP + self.turns {
            self.world.clock.advance(Duration::from_micros(50));
            let now = self.world.clock.read();
            assert_eq!(self.world.shard.net.feed(conn, burst), burst.len());
            let before = alloc::on_this_thread();
            let began = Instant::now();
            self.world.shard.turn(&now);
            let mut spent = began.elapsed();
            // For a while after small answers a turn moves less than large ones hold: only while it warms up.
            while self.world.shard.net.unread(conn) > 0 {
                self.world.shard.net.take(conn, &mut self.buffer);
                let began = Instant::now();
                self.world.shard.turn(&now);
                spent += began.elapsed();
            }
            if turn >= WARM_UP {
                turns.push(spent.as_nanos() as f64);
                allocations += alloc::on_this_thread() - before;
            }
            assert!(self.world.shard.net.take(conn, &mut self.buffer) > 0);
            while !self.world.shard.broker.store.has_room(ROOM_BYTES) {
                self.world.clock.advance(Duration::from_millis(1));
                let now = self.world.clock.read();
                self.world.cold.step(now.wall_ms);
            }
        }
        turns.sort_by(f64::total_cmp);
        let ns = turns[turns.len() / 2];
        self.rows.push(Row {
            name,
            messages: messages / requests,
            ns_per_request: ns / requests as f64,
            ns_per_message: ns / messages as f64,
            allocations,
        });
    }
}

/// The value behind a flag.
fn argument(flag: &str) -> Option<String> {
    std::env::args().skip_while(|arg| arg != flag).nth(1)
}

fn encoded(commands: impl IntoIterator<Item = RemotingCommand>, codec: Codec) -> Vec<u8> {
    commands.into_iter().flat_map(|command| command.encode(codec)).collect()
}

/// What a Java client puts into a message.
const PROPERTIES: &str = "KEYS\u{1}order-1234\u{2}UNIQ_KEY\u{1}7F00000100002A9F00000000075BCD15\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}";

fn main() {
    let root = PathBuf::from(format!("/dev/shm/afterburner-bench-{}", std::process::id()));
    let shards = argument("--shards").map_or(1, |shards| shards.parse().expect("a number"));
    let together = side_by_side(&root, 1);
    if shards == 1 {
        print(&together[0]);
    } else {
        print_gain(&together[0], &side_by_side(&root, shards));
    }
    std::fs::remove_dir_all(&root).expect("it is ours");
}

/// The rows of each of so many shards that run them at the same time; alone, it is not pinned.
fn side_by_side(root: &Path, shards: usize) -> Vec<Vec<Row>> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    assert!(shards == 1 || shards <= cores.len(), "each shard needs a core");
    let all_ready = Barrier::new(shards);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..shards)
            .map(|shard| {
                let (all_ready, core) = (&all_ready, cores.get(shard).copied());
                scope.spawn(move || {
                    if let Some(core) = core.filter(|_| shards > 1) {
                        assert!(core_affinity::set_for_current(core), "a shard could not be pinned");
                    }
                    rows(&root.join(format!("{shards}-{shard}")), all_ready)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a bench does not panic")).collect()
    })
}

fn rows(root: &Path, all_ready: &Barrier) -> Vec<Row> {
    let mut bench = Bench::new(root, all_ready);
    let conn = bench.world.connect();
    // Untimed, once round the hot log: its pages are there from now on, as those of a real one are from the start.
    let burst = encoded((0..32).map(|at| send("TopicTest", at % 4, PROPERTIES, &[7; 2048])), Codec::Binary);
    bench.run("", conn, &burst, 32, 32);
    for (name, codec, bytes) in [
        ("SEND 1 KiB, JSON, 32 in flight", Codec::Json, 1024),
        ("SEND 1 KiB, binary, 32 in flight", Codec::Binary, 1024),
        ("SEND 100 B, JSON, 32 in flight", Codec::Json, 100),
    ] {
        let burst = encoded((0..32).map(|at| send("TopicTest", at % 4, PROPERTIES, &vec![7; bytes])), codec);
        bench.run(name, conn, &burst, 32, 32);
    }
    let one = encoded([send("TopicTest", 0, PROPERTIES, &[7; 1024])], Codec::Json);
    bench.run("SEND 1 KiB, JSON, 1 in flight (whole turn)", conn, &one, 1, 1);
    let mut body = Vec::new();
    for _ in 0..32 {
        batch::push(&mut body, &BatchMessage { flag: 0, body: &[7; 128], properties: PROPERTIES.as_bytes() });
    }
    let mut batch = set(send("TopicTest", 0, "WAIT\u{1}true\u{2}", &body), "m", true);
    batch.code = request::SEND_BATCH_MESSAGE;
    let burst = encoded((0..8).map(|_| batch.clone()), Codec::Json);
    bench.run("SEND batch of 32 x 128 B, JSON", conn, &burst, 8, 256);
    // The last 32 of queue 3 are hot whatever the rows above wrote.
    let fill = encoded((0..32).map(|_| send("TopicTest", 3, PROPERTIES, &[7; 1024])), Codec::Json);
    bench.run("", conn, &fill, 32, 32);
    let queue = bench.world.shard.broker.store.queue("TopicTest", 3);
    let end = bench.world.shard.broker.store.offsets(queue).end.0;
    for (name, codec, count) in [
        ("PULL 32 x 1 KiB, JSON", Codec::Json, 32),
        ("PULL 32 x 1 KiB, binary", Codec::Binary, 32),
        ("PULL 1 x 1 KiB, JSON", Codec::Json, 1),
    ] {
        let burst = encoded((0..4).map(|_| pull("TopicTest", 3, end - count)), codec);
        bench.run(name, conn, &burst, 4, 4 * count as u64);
    }
    let burst = encoded((0..8).map(|_| pull("TopicTest", 3, end)), Codec::Json);
    bench.run("PULL nothing, JSON", conn, &burst, 8, 8);
    bench.rows.retain(|row| !row.name.is_empty());
    bench.rows
}

fn print(rows: &[Row]) {
    if std::env::args().any(|arg| arg == "--json") {
        for row in rows {
            println!(
                "{{\"name\":\"{}\",\"ns_per_request\":{:.0},\"ns_per_message\":{:.0},\"allocations\":{}}}",
                row.name, row.ns_per_request, row.ns_per_message, row.allocations
            );
        }
        return;
    }
    println!("{:<46} {:>9} {:>12} {:>12} {:>12}", "", "messages", "ns/request", "ns/message", "allocations");
    for row in rows {
        println!(
            "{:<46} {:>9} {:>12.0} {:>12.0} {:>12}",
            row.name, row.messages, row.ns_per_request, row.ns_per_message, row.allocations
        );
    }
}

/// One shard beside several: what a message costs, and how much more they carry together.
fn print_gain(alone: &[Row], together: &[Vec<Row>]) {
    let json = std::env::args().any(|arg| arg == "--json");
    if !json {
        println!("{:<46} {:>12} {:>24} {:>9}", "ns/message", "one alone", "each of several", "capacity");
    }
    for (at, one) in alone.iter().enumerate() {
        let each: Vec<f64> = together.iter().map(|rows| rows[at].ns_per_message).collect();
        let capacity: f64 = each.iter().map(|ns| one.ns_per_message / ns).sum();
        let each: Vec<String> = each.iter().map(|ns| format!("{ns:.0}")).collect();
        if json {
            println!(
                "{{\"name\":\"{}\",\"ns_alone\":{:.0},\"ns_each\":[{}],\"capacity\":{capacity:.2}}}",
                one.name,
                one.ns_per_message,
                each.join(",")
            );
        } else {
            println!(
                "{:<46} {:>12.0} {:>24} {capacity:>8.2}x",
                one.name,
                one.ns_per_message,
                each.join("  ")
            );
        }
    }
}

/// Turns before the first that counts: rings, buffers and tables have their size then.
const WARM_UP: usize = 1000;
const TURNS: usize = 4000;
/// The log always has room for a burst.
const ROOM_BYTES: usize = 4 << 20;

/// Counts what each thread allocates.
#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;
