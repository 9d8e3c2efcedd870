//! Consumers that are far behind, beside a pair that is not: how fast the ones get on, and what the others notice.
//!
//! ```text
//! cargo bench --package afterburner-dataplane --bench catchup [-- --dir DIR --gib 10 --consumers 8 --tail-rate 1000 --ahead-mib 64 --json]
//!
//! 1  a store of so many GiB, a queue for each consumer, their messages (1 KiB) mixed; nothing of it in the page cache
//! 2  the disk itself: the same files read in sequence, O_DIRECT, blocks of 1 MiB, one at a time and four; once more after 3,
//!    since disks change their minds; nothing of it in the page cache
//! 3  a whole broker on it, over kernel sockets on loopback: a producer and a long-polling consumer, alone, then while
//!    the others catch up
//! ```

#![allow(clippy::unwrap_used)] // A bench, on the test programs' requests.

#[path = "../../store/benches/bulk/mod.rs"]
mod bulk;
#[path = "../tests/common/requests.rs"]
mod requests;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bulk::{evict, wall_ms};
use dataplane::config::Config;
use dataplane::host;
use dataplane::net::kernel::KernelNet;
use dataplane::net::{NetLimits, idle::Spin};
use dataplane::plan::Plan;
use dataplane::rng::Rng;
use dataplane::run::Running;
use protocol::RemotingCommand;
use protocol::frame::Codec;
use requests::{pull, send, set};
use store::{Medium, RealMedium, Retention, StoreConfig};

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let value = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
    let number = |name: &str, otherwise: u64| value(name).map_or(otherwise, |text| text.parse().unwrap());
    let root = value("--dir").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = root.join(format!("ab-catchup-{}", std::process::id()));
    let (gib, consumers) = (number("--gib", 10), number("--consumers", 8) as i32);
    let rate = number("--tail-rate", 1_000);
    let settings = StoreConfig {
        retention: Retention {
            used_percent_max: 95,
            forced_percent: 99,
            full_percent: 99,
            ..Retention::default()
        },
        ..StoreConfig::new(&dir)
    };
    let ahead = number("--ahead-mib", settings.read_ahead_bytes as u64 >> 20) as usize;
    let settings = StoreConfig { read_ahead_bytes: ahead << 20, ..settings };
    let log_dir = settings.commitlog_dir();

    let began = Instant::now();
    let per_queue = fill(&settings, gib << 30, consumers);
    eprintln!(
        "{gib} GiB written in {:.1} s: {per_queue} messages for each consumer",
        began.elapsed().as_secs_f64()
    );
    evict(&dir);
    let mut raw = read_raw(&log_dir);

    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT);
    let config = Config {
        broker_name: "catchup".into(),
        broker_ip1: Some(address.ip()),
        listen_port: PORT,
        store_path_root_dir: dir.clone(),
        ..Config::default()
    };
    let mut plan = Plan::make(&config, &host::facts()).unwrap();
    let shard = plan.shards.remove(0);
    if let Some(core) = shard.core {
        host::leave_cores(&[core]).unwrap();
    }
    let net = KernelNet::new(address.ip(), NetLimits::default(), Spin::Adaptive).unwrap();
    let running = Running::start(net, &shard, settings, Arc::new(RealMedium::new()), Rng::from_os()).unwrap();

    let mut pair = Pair::new(address, rate);
    pair.run(WARM, || false);
    let mut quiet = pair.run(QUIET, || false);
    let bytes = Arc::new(AtomicU64::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let behind: Vec<_> = (0..consumers)
        .map(|queue_id| {
            let bytes = Arc::clone(&bytes);
            std::thread::spawn(move || catch_up(address, queue_id, per_queue, &bytes))
        })
        .collect();
    let told = Arc::clone(&done);
    let waits = std::thread::spawn(move || {
        let ends: Vec<Duration> = behind.into_iter().map(|one| one.join().unwrap()).collect();
        let took = began.elapsed();
        told.store(true, Ordering::Release);
        (took, ends)
    });
    let mut beside = pair.run(Duration::MAX, || done.load(Ordering::Acquire));
    let (took, mut ends) = waits.join().unwrap();
    ends.sort();
    running.stop().unwrap();
    raw.extend(read_raw(&log_dir));
    eprintln!("the disk alone, in GB/s, one at a time and four, before and after: {raw:.2?}");
    // What the disk gives at its best, averaged over before and after.
    let raw = (raw[0].max(raw[1]) + raw[2].max(raw[3])) / 2.0;
    std::fs::remove_dir_all(&dir).unwrap();

    let rate = bytes.load(Ordering::Relaxed) as f64 / took.as_secs_f64() / 1e9;
    let [quiet, beside] =
        [&mut quiet, &mut beside].map(|times| [0.5, 0.99, 0.999, 1.0].map(|at| quantile(times, at)));
    if words.iter().any(|word| word == "--json") {
        println!(
            "{{\"rawGBs\":{raw:.3},\"catchupGBs\":{rate:.3},\"consumers\":{consumers},\"firstDoneS\":{:.3},\"lastDoneS\":{:.3},\
             \"tailQuietUs\":{quiet:?},\"tailBesideUs\":{beside:?}}}",
            ends[0].as_secs_f64(),
            took.as_secs_f64()
        );
        return;
    }
    println!("the disk alone, in sequence:         {raw:.2} GB/s");
    println!(
        "{consumers} consumers catch up:              {rate:.2} GB/s ({:.0} % of it)",
        100.0 * rate / raw
    );
    println!(
        "the first and the last are done after {:.1} and {:.1} s",
        ends[0].as_secs_f64(),
        took.as_secs_f64()
    );
    for (name, [p50, p99, p999, max]) in [("quiet", quiet), ("beside them", beside)] {
        println!(
            "tailing pair, {name:<12} send to receipt: p50 {p50:.0} us, p99 {p99:.0}, p99.9 {p999:.0}, max {max:.0}"
        );
    }
}

/// Writes messages for every queue in turn. Returns how many each has.
fn fill(settings: &StoreConfig, bytes: u64, queues: i32) -> i64 {
    let (mut store, mut cold, _) = store::open(settings.clone(), Arc::new(RealMedium::new())).unwrap();
    let per_queue = bulk::fill(&mut store, &mut cold, TOPIC, queues, bytes);
    drop(store);
    cold.close(wall_ms()).unwrap();
    per_queue
}

/// GB/s of the log's files read in sequence, past the page cache: one read at a time, and four.
fn read_raw(dir: &Path) -> Vec<f64> {
    let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.truncate(RAW_FILES);
    [1, 4].map(|readers| read_by(readers, &paths)).to_vec()
}

/// Each takes the next block that nobody has.
fn read_by(readers: usize, paths: &[PathBuf]) -> f64 {
    let (next, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..readers {
            scope.spawn(|| read_some(paths, &next, &bytes));
        }
    });
    bytes.into_inner() as f64 / began.elapsed().as_secs_f64() / 1e9
}

fn read_some(paths: &[PathBuf], next: &AtomicU64, bytes: &AtomicU64) {
    let medium = RealMedium::new();
    let files: Vec<_> = paths
        .iter()
        .map(|path| match medium.open_direct(path).unwrap() {
            Some(file) => file,
            None => medium.open(path).unwrap().unwrap(),
        })
        .collect();
    let mut memory = vec![0; RAW_BLOCK_BYTES + 4096];
    let begin = memory.as_ptr().align_offset(4096);
    let block = &mut memory[begin..begin + RAW_BLOCK_BYTES];
    let file_bytes = files[0].len().unwrap();
    loop {
        let at = next.fetch_add(RAW_BLOCK_BYTES as u64, Ordering::Relaxed);
        let Some(file) = files.get((at / file_bytes) as usize) else { return };
        bytes.fetch_add(file.read_at(at % file_bytes, block).unwrap() as u64, Ordering::Relaxed);
    }
}

/// Pulls a queue from its first message to its last, as fast as answers come.
fn catch_up(address: SocketAddr, queue_id: i32, count: i64, bytes: &AtomicU64) -> Duration {
    let mut peer = Peer::connect(address);
    let (mut offset, began) = (0, Instant::now());
    while offset < count {
        let answer = peer.call(&pull(TOPIC, queue_id, offset));
        assert!(answer.next_offset > offset, "queue {queue_id} stands at {offset}");
        offset = answer.next_offset;
        bytes.fetch_add(answer.body_bytes, Ordering::Relaxed);
    }
    began.elapsed()
}

/// One that sends, and one that waits for it.
struct Pair {
    producer: Peer,
    consumer: Peer,
    offset: i64,
    pause: Duration,
}

impl Pair {
    fn new(address: SocketAddr, rate: u64) -> Self {
        // As much as the system lets us: it is the broker that is measured, not who else wants the client's core.
        let _ = rustix::process::nice(-15);
        let (producer, consumer) = (Peer::connect(address), Peer::connect(address));
        Self { producer, consumer, offset: 0, pause: Duration::from_nanos(1_000_000_000 / rate.max(1)) }
    }

    /// Microseconds from before a send until its message has come.
    fn run(&mut self, time: Duration, done: impl Fn() -> bool) -> Vec<f64> {
        let (mut times, began) = (Vec::new(), Instant::now());
        while began.elapsed() < time && !done() {
            let waits = set(pull("Tail", 0, self.offset), "sysFlag", 6);
            self.consumer.post(&waits);
            std::thread::sleep(self.pause);
            let one = Instant::now();
            self.producer.post(&send("Tail", 0, "", &[b'x'; 1_024]));
            let answer = self.consumer.answer();
            times.push(one.elapsed().as_secs_f64() * 1e6);
            self.producer.answer();
            self.offset = answer.next_offset;
        }
        times
    }
}

struct Peer {
    stream: TcpStream,
    scratch: Vec<u8>,
}

struct Answer {
    next_offset: i64,
    body_bytes: u64,
}

impl Peer {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, scratch: vec![0; 1 << 20] }
    }

    fn call(&mut self, command: &RemotingCommand) -> Answer {
        self.post(command);
        self.answer()
    }

    fn post(&mut self, command: &RemotingCommand) {
        self.stream.write_all(&command.encode(Codec::Json)).unwrap();
    }

    /// Looks at no more of an answer than it needs, with as few system calls as it can: this is the load, not what is measured.
    fn answer(&mut self) -> Answer {
        let mut there = 0;
        let word = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap()) as usize;
        let mut more = |scratch: &mut [u8], to: usize| {
            while there < to {
                there += self.stream.read(&mut scratch[there..]).unwrap();
            }
        };
        more(&mut self.scratch, 8);
        let (total, head_len) = (word(&self.scratch[..4]), word(&self.scratch[4..8]) & 0xFF_FFFF);
        more(&mut self.scratch, 4 + total);
        let head = str::from_utf8(&self.scratch[8..8 + head_len]).unwrap();
        let key = "\"nextBeginOffset\":\"";
        let next = head.split_once(key).and_then(|(_, rest)| rest.split('"').next()?.parse().ok());
        Answer { next_offset: next.unwrap_or(0), body_bytes: (total - 4 - head_len) as u64 }
    }
}

fn quantile(times: &mut [f64], at: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    let rank = (at * times.len() as f64) as usize;
    times.get(rank.min(times.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

const TOPIC: &str = "Old";
const PORT: u16 = 26_911;
const WARM: Duration = Duration::from_secs(1);
const QUIET: Duration = Duration::from_secs(8);
const RAW_FILES: usize = 2;
const RAW_BLOCK_BYTES: usize = 1 << 20;
