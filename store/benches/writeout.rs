//! How fast the log is written out when it is always full, beside what the disk itself takes:
//! `cargo bench -p afterburner-store --bench writeout -- [--gib N] [--rounds N]`.
//!
//! One thread appends 1 KiB messages to 8 queues as fast as there is room, another steps the cold half, alone or with two writers. The
//! disk's own figures are of writes of 4 MiB past the page cache into a new file, one and two at a time.
//!
//! Then messages of 128 bytes, each with a key of its own (one after the other as producers make them, or in no order), in batches of 32: the log is filled and written out in turns, and what is told is
//! the processor time of the thread that steps while others write. It shares a core with clients on small machines.

mod cpu;
mod sent;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use protocol::batch::{self, BatchMessage};
use protocol::properties;
use protocol::record::RecordDraft;
use store::medium::MediumFile;
use store::{ColdStore, Medium, RealMedium, Store, StoreConfig};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str, default: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    let bytes = number("--gib", 3) << 30;
    let dir = std::env::temp_dir().join(format!("ab-bench-writeout-{}", std::process::id()));
    for _ in 0..number("--rounds", 3) {
        for depth in [1, 2] {
            println!("raw, {depth} at a time: {:.2} GB/s", raw(&dir, bytes, depth));
        }
        for writers in [0, 2] {
            let (rate, cpu) = write_out(&dir, bytes, writers);
            println!("write-out, {writers} writers: {rate:.2} GB/s, {cpu:.2} processor seconds per GB");
        }
        let (near, far) = (small(&dir, bytes, |number| number), small(&dir, bytes, mixed));
        println!(
            "small messages: {near:.1} ns each of the thread that steps, {far:.1} ns with keys in no order"
        );
    }
}

/// GB/s of the disk alone.
fn raw(dir: &Path, bytes: u64, depth: usize) -> f64 {
    let medium = RealMedium::new();
    let path = dir.join("raw");
    let file = medium.create(&path, bytes).expect("a fresh directory");
    let file: Box<dyn MediumFile> = medium.open_direct(&path).expect("just made").unwrap_or(file);
    let memory = vec![1; RUN_BYTES + 4096];
    let run = &memory[memory.as_ptr().align_offset(4096)..][..RUN_BYTES];
    let next = AtomicU64::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..depth {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(RUN_BYTES as u64, Ordering::Relaxed);
                    if at >= bytes {
                        return;
                    }
                    file.write_at(at, run).expect("a write");
                }
            });
        }
    });
    let rate = bytes as f64 / began.elapsed().as_secs_f64() / 1e9;
    drop(file);
    std::fs::remove_dir_all(dir).expect("our own directory");
    rate
}

/// GB/s of the log, and processor seconds for each GB, of all threads but the one that appends.
fn write_out(dir: &Path, bytes: u64, writers: usize) -> (f64, f64) {
    let (mut store, mut cold, _) =
        store::open(StoreConfig::new(dir), Arc::new(RealMedium::new())).expect("a fresh directory opens");
    let helpers: Vec<_> = (0..writers)
        .filter_map(|_| cold.writers())
        .map(|runs| {
            std::thread::spawn(move || {
                runs.serve();
                cpu::ns()
            })
        })
        .collect();
    let (began, cpu_before) = (Instant::now(), cpu::ns());
    let appender = std::thread::spawn(move || {
        let body = vec![b'x'; 1_024];
        while (store.published().0 as u64) < bytes {
            append(&mut store, &body);
        }
    });
    while (cold.written_to().0 as u64) < bytes {
        if cold.step(began.elapsed().as_millis() as i64) == store::Work::Idle {
            std::thread::yield_now();
        }
    }
    let took = began.elapsed();
    let mut cpu = cpu::ns() - cpu_before;
    appender.join().expect("the appender ends");
    cold.close(took.as_millis() as i64).expect("a clean stop");
    for helper in helpers {
        cpu += helper.join().expect("a writer ends with its store");
    }
    std::fs::remove_dir_all(dir).expect("our own directory");
    (bytes as f64 / took.as_secs_f64() / 1e9, cpu as f64 / bytes as f64)
}

/// Processor ns for a small message, of the thread that steps. `key`: of the message of this number.
fn small(dir: &Path, bytes: u64, key: fn(u64) -> u64) -> f64 {
    let (mut store, mut cold, _) =
        store::open(StoreConfig::new(dir), Arc::new(RealMedium::new())).expect("a fresh directory opens");
    let helpers: Vec<_> = [cold.writers(), cold.writers(), cold.index_writers()]
        .into_iter()
        .flatten()
        .map(|writers| std::thread::spawn(move || writers.serve()))
        .collect();
    let (began, mut count, mut cpu) = (Instant::now(), 0_u64, 0);
    let mut batch = Batch::new();
    while (store.published().0 as u64) < bytes {
        while batch.append(&mut store, (count / 1_024 % 8) as i32, (count..).map(key)) {
            count += BATCH as u64;
        }
        cpu += write_all(&mut cold, &store, began);
    }
    drop(store);
    cold.close(began.elapsed().as_millis() as i64).expect("a clean stop");
    helpers.into_iter().for_each(|helper| helper.join().expect("a writer ends with its store"));
    std::fs::remove_dir_all(dir).expect("our own directory");
    cpu as f64 / count as f64
}

/// A number of no order.
fn mixed(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16
}

/// Writes out all that is there, but for what is too little for a write. Returns the processor time of it.
fn write_all(cold: &mut ColdStore, store: &Store, began: Instant) -> u64 {
    let before = cpu::ns();
    while cold.written_to().plus(2 << 20) < store.published() {
        if cold.step(began.elapsed().as_millis() as i64) == store::Work::Idle {
            std::thread::yield_now();
        }
    }
    cpu::ns() - before
}

/// A batch of small messages, as a producer sends it.
struct Batch {
    bytes: Vec<u8>,
    /// Where the part of each key lies that is its own.
    keys: Vec<usize>,
    places: Vec<store::PhysicalOffset>,
}

impl Batch {
    fn new() -> Self {
        let (mut list, mut bytes) = (Vec::new(), Vec::new());
        properties::push(&mut list, "UNIQ_KEY", &[b'0'; 32]);
        properties::push(&mut list, "WAIT", b"true");
        let behind_key = list.len() - "UNIQ_KEY=00000000000000000000000000000000".len();
        let keys = (0..BATCH).map(|_| {
            batch::push(&mut bytes, &BatchMessage { flag: 0, body: &[b'x'; 128], properties: &list });
            bytes.len() - behind_key - KEY_DIGITS
        });
        let keys = keys.collect();
        Self { bytes, keys, places: Vec::new() }
    }

    /// `false`: there is no room.
    fn append(&mut self, store: &mut Store, queue_id: i32, keys: impl Iterator<Item = u64>) -> bool {
        for (at, number) in self.keys.iter().zip(keys) {
            for (nth, digit) in self.bytes[*at..][..KEY_DIGITS].iter_mut().rev().enumerate() {
                *digit = b"0123456789ABCDEF"[(number >> (4 * nth)) as usize % 16];
            }
        }
        let host = "127.0.0.1:10911".parse().expect("an address");
        let queue = store.queue("Bench", queue_id);
        let common = RecordDraft::plain(b"Bench", queue_id, host, b"");
        store
            .append_batch(queue, &common, batch::iter(&self.bytes), 1_700_000_000_000, &mut self.places)
            .is_ok()
    }
}

fn append(store: &mut Store, body: &[u8]) {
    let host = "127.0.0.1:10911".parse().expect("an address");
    let list = sent::list();
    for queue_id in 0..8 {
        let queue = store.queue("Bench", queue_id);
        let draft = RecordDraft { properties: &list, ..RecordDraft::plain(b"Bench", queue_id, host, body) };
        while !store.has_room(draft.encoded_len()) {
            std::hint::spin_loop();
        }
        store.append(queue, &draft, 0, 1).expect("there is room");
    }
}

const RUN_BYTES: usize = 4 << 20;
const BATCH: usize = 32;
/// The last of a key's 32.
const KEY_DIGITS: usize = 12;
