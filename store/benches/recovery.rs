//! How long a start takes on a large store, by how the last run ended.
//!
//! ```text
//! cargo bench --package afterburner-store --bench recovery [-- --dir DIR --gib 20 --hot DIR --keep]
//!
//! fill -> clean stop -> open -> more, half of it still hot -> kill -9 -> open -> more, synced -> power cut -> open
//! ```
//!
//! `--keep`: ends after the first clean stop and leaves the store, so that other brokers may be tried on it.
//! Before each start the files are taken out of the page cache. A kill is the halves of the store dropped as they are: what a dead
//! process leaves. A power cut is that, and the hot log gone.

mod bulk;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bulk::{evict, fill, wall_ms};
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
    if words.iter().any(|word| word == "--keep") {
        return println!("left in {}", dir.display());
    }

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
    fill(store, cold, "Recovery", 8, bytes);
    if write_out {
        cold.catch_up(wall_ms());
    }
}

/// Less than the hot log, whose default is 256 MiB.
const HOT_BYTES: u64 = 160 << 20;
