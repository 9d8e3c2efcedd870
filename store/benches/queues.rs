//! A store of 100,000 queues on real files: what a start, an idle queue and an append cost. Says which of its bounds do not hold, and fails.
//!
//! ```text
//!   cargo bench --package afterburner-store --bench queues [-- COUNT]
//! ```

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::record::RecordDraft;
use store::{ColdStore, RealMedium, Recovery, Store, StoreConfig};

fn main() -> ExitCode {
    let count = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(QUEUES);
    let dir = std::env::temp_dir().join(format!("ab-queues-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    let names: Vec<(String, i32)> =
        (0..count).map(|nth| (format!("Topic{}", nth / 100), nth % 100)).collect();
    let few = {
        let (mut store, mut cold, _, _) = open(&dir.join("few"));
        let few = append_all(&mut store, &mut cold, &names[..8], 8 * 12_500);
        close(store, cold);
        few
    };
    let root = dir.join("many");
    let (mut store, mut cold, _, _) = open(&root);
    append_all(&mut store, &mut cold, &names, count as usize);
    close(store, cold);

    let before = resident_bytes();
    let (mut store, mut cold, recovery, clean) = open(&root);
    let per_queue = resident_bytes().saturating_sub(before + HOT_BYTES as u64) / count as u64;
    let open_files = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    assert_eq!((recovery.clean, recovery.queues.len()), (true, count as usize));
    let (busy, all) = (8 * 12_500, count as usize);
    let many = append_all(&mut store, &mut cold, &names[..8], busy);
    let each = append_all(&mut store, &mut cold, &names, all);
    drop((store, cold)); // As a kill leaves it.
    let (store, cold, _, killed) = open(&root);
    close(store, cold);
    let removed = fs::remove_dir_all(&dir);

    println!(
        "{count} queues: clean start {clean:?}, start after a kill {killed:?}, {per_queue} bytes for an idle one"
    );
    println!(
        "{open_files} open files; an append {many:.0} ns to 8 of them, {few:.0} ns with 8 queues, {each:.0} ns to each in turn"
    );
    let bounds = [
        ("start < 5 s", clean < START_MAX && killed < START_MAX),
        ("at most 1 KiB for an idle queue", per_queue <= 1024),
        ("no open file for an idle queue", open_files < 300),
        ("append as cheap as with 8 queues", many <= 1.5 * few),
        ("removed again", removed.is_ok()),
    ];
    let missed: Vec<_> = bounds.iter().filter(|(_, holds)| !holds).map(|(what, _)| what).collect();
    println!(
        "{}",
        if missed.is_empty() { "all bounds hold".into() } else { format!("NOT HELD: {missed:?}") }
    );
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn open(root: &Path) -> (Store, ColdStore, Recovery, Duration) {
    let config = StoreConfig {
        commitlog_file_bytes: 64 << 20,
        hot_bytes: HOT_BYTES,
        hot_dir: Some(root.with_extension("hot")),
        index: false,
        ..StoreConfig::new(root)
    };
    let began = Instant::now();
    let (store, cold, recovery) = store::open(config, Arc::new(RealMedium::new())).expect("the store opens");
    (store, cold, recovery, began.elapsed())
}

fn close(store: Store, cold: ColdStore) {
    drop(store);
    cold.close(NOW_MS).expect("the store closes");
}

/// Nanoseconds of an append; the write-out is not among them.
fn append_all(store: &mut Store, cold: &mut ColdStore, names: &[(String, i32)], appends: usize) -> f64 {
    let host: SocketAddr = "127.0.0.1:10911".parse().expect("an address");
    let body = [7; 200];
    let indexes: Vec<_> = names.iter().map(|(topic, id)| store.queue(topic, *id)).collect();
    let mut spent = Duration::ZERO;
    for first in (0..appends).step_by(1_000) {
        cold.catch_up(NOW_MS);
        let began = Instant::now();
        for nth in first..appends.min(first + 1_000) {
            let ((topic, queue_id), index) = (&names[nth % names.len()], indexes[nth % names.len()]);
            let draft = RecordDraft::plain(topic.as_bytes(), *queue_id, host, &body);
            store.append(index, &draft, 0, NOW_MS).expect("there is room");
        }
        spent += began.elapsed();
    }
    cold.catch_up(NOW_MS);
    spent.as_nanos() as f64 / appends as f64
}

fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

const QUEUES: i32 = 100_000;
const START_MAX: Duration = Duration::from_secs(5);
const HOT_BYTES: usize = 32 << 20;
const NOW_MS: i64 = 1_700_000_000_000;
