//! What an acknowledgement under SYNC_FLUSH costs, beside what the disk itself takes for the same bytes.
//!
//! ```text
//! cargo bench --package afterburner-store --bench sync [-- --dir DIR --seconds 5]
//!
//! raw:   O_DIRECT write + fdatasync of one block, into blocks as a log finds them: sparse, reserved, written before
//! ours:  append -> synced_to, one message in flight; then 8 x 64 in flight, the disk thread on the other core
//! ```
//!
//! Raw and ours alternate in slices, so that a disk that changes its mind meanwhile does so for both.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use protocol::properties;
use protocol::record::RecordDraft;
use rustix::fs::FallocateFlags;
use store::medium::MediumFile;
use store::{ColdStore, FlushMode, Haste, Medium, PhysicalOffset, RealMedium, Store, StoreConfig};

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let value = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
    let root = value("--dir").map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds: u64 = value("--seconds").and_then(|seconds| seconds.parse().ok()).unwrap_or(3);
    let dir = root.join(format!("ab-sync-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory that may be written");
    let slice = Duration::from_millis(seconds * 1_000 / SLICES);

    bandwidth(&dir);
    let mut raws: Vec<Raw> = Blocks::ALL.into_iter().map(|blocks| Raw::new(&dir, blocks)).collect();
    let mut ours = Ours::new(&dir.join("store"));
    let mut alone = Times::default();
    let mut crowd = (Times::default(), 0, Duration::ZERO);
    for _ in 0..SLICES {
        for raw in &mut raws {
            raw.run(slice, BLOCK_BYTES, 0);
            raw.run(slice, CROWD_BLOCK_BYTES, 1);
        }
        ours.run(slice, 1, &mut alone);
        let (count, took) = ours.run(slice, IN_FLIGHT, &mut crowd.0);
        crowd.1 += count;
        crowd.2 += took;
    }
    for raw in &mut raws {
        println!("raw, {:<15} 4 KiB: {}", raw.blocks.name(), raw.times[0].line());
        println!("raw, {:<15} {} KiB: {}", raw.blocks.name(), CROWD_BLOCK_BYTES >> 10, raw.times[1].line());
    }
    println!("ours, 1 in flight:           {}", alone.line());
    println!("ours, {IN_FLIGHT} in flight:         {}", crowd.0.line());
    println!(
        "ours, {IN_FLIGHT} in flight:         {:.0} messages of 1 KiB a second, each synced",
        crowd.1 as f64 / crowd.2.as_secs_f64()
    );
    let reserved = raws[1].times[0].at(0.5);
    println!("p50 of ours with 1 in flight / raw into reserved blocks: {:.2}", alone.at(0.5) / reserved);
    ours.end();
    std::fs::remove_dir_all(&dir).expect("our own directory");
}

/// What the disk takes and gives at most, in one stream.
fn bandwidth(dir: &Path) {
    let path = dir.join("bandwidth");
    let bytes: u64 = 2 << 30;
    let medium = RealMedium::new();
    let file = medium.create(&path, bytes).expect("a file");
    reserve(&path, bytes);
    let direct = medium.open_direct(&path).expect("just made").unwrap_or(file);
    let mut memory = vec![7; (1 << 20) + 4096];
    let from = memory.as_ptr().align_offset(4096);
    let block = &mut memory[from..from + (1 << 20)];
    let began = Instant::now();
    for at in (0..bytes).step_by(block.len()) {
        direct.write_at(at, block).expect("a write");
    }
    direct.sync().expect("a sync");
    println!("disk: {:.2} GB/s written in one stream of 1 MiB, O_DIRECT", rate(bytes, began.elapsed()));
    drop(direct);
    std::fs::remove_file(&path).expect("our own file");
}

fn rate(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / took.as_secs_f64() / 1e9
}

fn reserve(path: &Path, bytes: u64) {
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("just made");
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes).expect("room");
}

/// What the blocks are like that are written.
#[derive(Clone, Copy, PartialEq)]
enum Blocks {
    Sparse,
    Reserved,
    WrittenBefore,
}

impl Blocks {
    const ALL: [Blocks; 3] = [Blocks::Sparse, Blocks::Reserved, Blocks::WrittenBefore];

    fn name(self) -> &'static str {
        match self {
            Blocks::Sparse => "sparse",
            Blocks::Reserved => "reserved",
            Blocks::WrittenBefore => "written before",
        }
    }
}

/// Blocks one after the other, each synced.
struct Raw {
    blocks: Blocks,
    file: Box<dyn MediumFile>,
    at: u64,
    times: [Times; 2],
}

impl Raw {
    fn new(dir: &Path, blocks: Blocks) -> Self {
        let path = dir.join(blocks.name().replace(' ', "-"));
        let medium = RealMedium::new();
        let file = medium.create(&path, RAW_BYTES).expect("a file");
        if blocks != Blocks::Sparse {
            reserve(&path, RAW_BYTES);
        }
        if blocks == Blocks::WrittenBefore {
            let zeros = vec![0; 1 << 20];
            for at in (0..RAW_BYTES).step_by(zeros.len()) {
                file.write_at(at, &zeros).expect("a write");
            }
            file.sync().expect("a sync");
        }
        let file = medium.open_direct(&path).expect("just made").unwrap_or(file);
        Self { blocks, file, at: 0, times: Default::default() }
    }

    fn run(&mut self, slice: Duration, bytes: usize, into: usize) {
        let memory = vec![1; bytes + 4096];
        let block = &memory[memory.as_ptr().align_offset(4096)..][..bytes];
        let began = Instant::now();
        while began.elapsed() < slice && self.at + bytes as u64 <= RAW_BYTES {
            let one = Instant::now();
            self.file.write_at(self.at, block).expect("a write");
            self.file.sync().expect("a sync");
            self.times[into].add(one.elapsed());
            self.at += bytes as u64;
        }
    }
}

/// A store under SYNC_FLUSH, its cold half on a thread of its own.
struct Ours {
    store: Store,
    cold: std::thread::JoinHandle<ColdStore>,
    stop: Arc<AtomicBool>,
    sent: u64,
}

impl Ours {
    fn new(dir: &Path) -> Self {
        let config = StoreConfig { flush: FlushMode::Sync, ..StoreConfig::new(dir) };
        let (store, mut cold, _) =
            store::open(config, Arc::new(RealMedium::new())).expect("a fresh directory opens");
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let ground = cold.ground().expect("whole blocks");
        std::thread::spawn(move || {
            while !told.load(Ordering::Acquire) {
                std::thread::sleep(match ground.step() {
                    Haste::None => Duration::from_millis(50),
                    Haste::Little => Duration::from_millis(20),
                    Haste::Much => Duration::from_millis(1),
                });
            }
        });
        let told = Arc::clone(&stop);
        let cold = std::thread::spawn(move || {
            let began = Instant::now();
            while !told.load(Ordering::Acquire) {
                if cold.step(began.elapsed().as_millis() as i64) == store::Work::Idle {
                    std::hint::spin_loop();
                }
            }
            cold
        });
        Self { store, cold, stop, sent: 0 }
    }

    /// Keeps so many messages in flight; returns how many were synced in what time.
    fn run(&mut self, slice: Duration, in_flight: usize, times: &mut Times) -> (u64, Duration) {
        let body = [b'x'; 1_024];
        let host = "127.0.0.1:10911".parse().expect("an address");
        let mut list = Vec::new();
        properties::push(&mut list, "UNIQ_KEY", b"7F0000010000000000000000000000000000");
        properties::push(&mut list, "CLUSTER", b"DefaultCluster");
        let queues: Vec<_> = (0..8).map(|queue_id| self.store.queue("Bench", queue_id)).collect();
        let mut waiting: VecDeque<(PhysicalOffset, Instant)> = VecDeque::with_capacity(in_flight);
        let mut done = 0;
        let began = Instant::now();
        loop {
            let open = began.elapsed() < slice;
            let synced_to = self.store.synced_to();
            while waiting.front().is_some_and(|(end, _)| *end <= synced_to) {
                let (_, sent) = waiting.pop_front().expect("looked at just now");
                times.add(sent.elapsed());
                done += 1;
            }
            if !open && waiting.is_empty() {
                return (done, began.elapsed());
            }
            while open && waiting.len() < in_flight {
                let queue_id = (self.sent % 8) as i32;
                let draft =
                    RecordDraft { properties: &list, ..RecordDraft::plain(b"Bench", queue_id, host, &body) };
                if !self.store.has_room(draft.encoded_len()) {
                    break;
                }
                let sent = Instant::now();
                let appended =
                    self.store.append(queues[queue_id as usize], &draft, 0, 1).expect("there is room");
                waiting.push_back((appended.end(), sent));
                self.sent += 1;
            }
            std::hint::spin_loop();
        }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Release);
        let cold = self.cold.join().expect("no panic");
        drop(self.store);
        cold.close(0).expect("a clean stop");
    }
}

#[derive(Default)]
struct Times(Vec<u32>);

impl Times {
    fn add(&mut self, took: Duration) {
        self.0.push(took.as_nanos().try_into().unwrap_or(u32::MAX));
    }

    /// In microseconds.
    fn at(&mut self, quantile: f64) -> f64 {
        self.0.sort_unstable();
        let rank = (quantile * self.0.len() as f64) as usize;
        self.0.get(rank.min(self.0.len().saturating_sub(1))).map_or(0.0, |ns| f64::from(*ns) / 1e3)
    }

    fn line(&mut self) -> String {
        let [p50, p99, p999, max] = [0.5, 0.99, 0.999, 1.0].map(|quantile| self.at(quantile));
        format!("p50 {p50:.0} us, p99 {p99:.0}, p99.9 {p999:.0}, max {max:.0} ({} times)", self.0.len())
    }
}

const SLICES: u64 = 6;
const BLOCK_BYTES: usize = 4096;
/// About what 8 x 64 messages of 1 KiB come to.
const CROWD_BLOCK_BYTES: usize = 640 << 10;
const IN_FLIGHT: usize = 512;
const RAW_BYTES: u64 = 2 << 30;
