//! How long a start takes on a large store, by how the last run ended.
//!
//! ```text
//! cargo bench --package afterburner-store --bench recovery [-- --dir DIR --gib 20 --hot DIR]
//!
//! fill -> clean stop -> open -> more, half of it still hot -> kill -9 -> open -> more, synced -> power cut -> open
//! ```
//!
//! Before each start the files are taken out of the page cache. A kill is the halves of the store dropped as they are: what a dead
//! process leaves. A power cut is that, and the hot log gone.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use protocol::record::RecordDraft;
use store::{ColdStore, Medium, RealMedium, Recovery, Retention, Store, StoreConfig};

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let value = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
    let root = value("--dir").map_or_else(std::env::temp_dir, PathBuf::from);
    let gib: u64 = value("--gib").map_or(20, |gib| gib.parse().expect("a number"));
    let dir = root.join(format!("ab-recovery-{}", std::process::id()));
    let hot = value("--hot").map_or_else(|| PathBuf::from("/dev/shm"), PathBuf::from);
    let hot = hot.join(format!("ab-recovery-{}", std::process::id()));
    let config = StoreConfig {
        hot_dir: Some(hot.clone()),
        retention: Retention {
            used_percent_max: 95,
            forced_percent: 99,
            full_percent: 99,
            ..Retention::default()
        },
        ..StoreConfig::new(&dir)
    };

    let began = Instant::now();
    let (mut store, mut cold, _) = open(&config);
    append(&mut store, &mut cold, gib << 30, true);
    println!("{gib} GiB written in {:.1} s", began.elapsed().as_secs_f64());
    drop(store);
    cold.close(wall_ms()).expect("a clean stop");

    let (mut store, mut cold) = timed("clean stop", &config);
    append(&mut store, &mut cold, HOT_BYTES / 2, true);
    append(&mut store, &mut cold, HOT_BYTES / 2, false);
    drop((store, cold));

    let (mut store, mut cold) = timed("kill -9", &config);
    append(&mut store, &mut cold, HOT_BYTES, true);
    // What the broker does every second: queues synced, checkpoint saved.
    for _ in 0..1_000 {
        cold.step(wall_ms() + 2_000);
    }
    append(&mut store, &mut cold, HOT_BYTES / 2, true);
    drop((store, cold));
    std::fs::remove_dir_all(&hot).expect("our own hot log");

    let (store, cold) = timed("power cut", &config);
    drop(store);
    cold.close(wall_ms()).expect("a clean stop");
    std::fs::remove_dir_all(&dir).expect("our own directory");
    let _ = std::fs::remove_dir_all(&hot); // A clean stop has removed it.
}

fn open(config: &StoreConfig) -> (Store, ColdStore, Recovery) {
    store::open(config.clone(), Arc::new(RealMedium::new()) as Arc<dyn Medium>).expect("it opens")
}

fn timed(after: &str, config: &StoreConfig) -> (Store, ColdStore) {
    evict(&config.root);
    let began = Instant::now();
    let (store, cold, found) = open(config);
    println!(
        "start after {after:<10} {:>6.0} ms; {} MiB of files looked at, {} MiB of the hot log replayed ({:?}), log ends at {}",
        began.elapsed().as_secs_f64() * 1e3,
        found.scanned_bytes >> 20,
        found.replayed_bytes >> 20,
        found.hot,
        found.max
    );
    (store, cold)
}

/// Appends so many bytes of messages, and with `write_out` has all of them in the files at the end.
fn append(store: &mut Store, cold: &mut ColdStore, bytes: u64, write_out: bool) {
    let host = "127.0.0.1:10911".parse().expect("an address");
    let queues: Vec<_> = (0..8).map(|queue_id| store.queue("Recovery", queue_id)).collect();
    let to = store.published().plus(bytes);
    while store.published() < to {
        for (queue_id, queue) in (0..).zip(&queues) {
            let draft = RecordDraft {
                topic: b"Recovery",
                queue_id,
                flag: 0,
                sys_flag: 0,
                born_timestamp: 0,
                born_host: host,
                store_host: host,
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                body: &[b'x'; 1_024],
                properties: b"",
            };
            while !store.has_room(draft.encoded_len()) {
                cold.step(wall_ms());
            }
            store.append(*queue, &draft, 0, wall_ms()).expect("there is room");
        }
    }
    if write_out {
        cold.catch_up(wall_ms());
    }
}

/// Takes the files out of the page cache.
fn evict(dir: &Path) {
    for entry in std::fs::read_dir(dir).expect("our own directory").flatten() {
        if entry.path().is_dir() {
            evict(&entry.path());
        } else if let Ok(file) = std::fs::File::open(entry.path()) {
            file.sync_all().expect("a sync");
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("advice");
        }
    }
}

fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// Less than the hot log, whose default is 256 MiB.
const HOT_BYTES: u64 = 160 << 20;
