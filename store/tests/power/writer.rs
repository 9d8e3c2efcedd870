//! The process whose power is cut: it appends until it is killed, and tells what it did on its standard output.
//!
//! ```text
//! up <log end>                                     it has recovered
//! a <queue> <offset> <begin> <end>                 it has appended a message, there
//! s <place>                                        all below is synced
//! ```

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::properties;
use protocol::record::RecordDraft;
use store::{ColdStore, FlushMode, IndexShape, PhysicalOffset, RealMedium, Store, StoreConfig, Work, open};

pub const DIR_VAR: &str = "AB_POWER_DIR";
pub const FLUSH_VAR: &str = "AB_POWER_FLUSH";
pub const TOPIC: &str = "Power";
pub const QUEUES: usize = 5;

pub fn config(dir: &Path, flush: FlushMode) -> StoreConfig {
    StoreConfig {
        flush,
        flush_interval_ms: 20,
        commitlog_file_bytes: 2 << 20,
        consumequeue_file_bytes: 20_000,
        hot_bytes: 3 << 20,
        hot_segments: 3,
        hot_dir: Some(dir.join("hot")),
        index_shape: IndexShape { slots: 1_100, entries: 3_000 },
        index_piece_bytes: 8 << 10,
        direct_bytes_min: 16 << 10,
        ..StoreConfig::new(dir.join("mnt/store"))
    }
}

/// What belongs at an offset: its length and bytes follow from it.
pub fn body(queue_id: i32, offset: i64) -> Vec<u8> {
    let seed = offset * 31 + i64::from(queue_id);
    vec![seed as u8; (seed % 3_000) as usize]
}

pub fn key(queue_id: i32, offset: i64) -> String {
    format!("key-{queue_id}-{offset}")
}

pub fn run(dir: &Path) {
    let flush = match std::env::var(FLUSH_VAR).as_deref() {
        Ok("sync") => FlushMode::Sync,
        _ => FlushMode::Async,
    };
    let began = Instant::now();
    let (mut store, cold, recovery) = open(config(dir, flush), Arc::new(RealMedium::new())).unwrap();
    let mut output = std::io::stdout();
    writeln!(output, "up {}", recovery.max).unwrap();
    work(cold, began);
    let mut synced = PhysicalOffset(0);
    for turn in 0_u64.. {
        let now = store.synced_to();
        if now > synced {
            synced = now;
            writeln!(output, "s {synced}").unwrap();
        }
        // As a few producers would under SYNC_FLUSH; under ASYNC_FLUSH as fast as the disk.
        let waits = flush == FlushMode::Sync && store.published().since(synced) > 64 << 10;
        // Now and then a moment in which all is quiet.
        if turn % 997 == 996 {
            std::thread::sleep(Duration::from_millis(turn % 31));
        }
        if waits || !append(&mut store, (turn % QUEUES as u64) as i32, &mut output) {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

/// `false`: there is no room, or nothing can be written any more.
fn append(store: &mut Store, queue_id: i32, output: &mut impl Write) -> bool {
    let host: SocketAddr = "127.0.0.1:10911".parse().unwrap();
    let queue = store.queue(TOPIC, queue_id);
    let offset = store.offsets(queue).end.0;
    let body = body(queue_id, offset);
    let mut list = Vec::new();
    properties::push(&mut list, "KEYS", key(queue_id, offset).as_bytes());
    let draft =
        RecordDraft { properties: &list, ..RecordDraft::plain(TOPIC.as_bytes(), queue_id, host, &body) };
    if !store.has_room(draft.encoded_len()) {
        return false;
    }
    let now_ms = 1_700_000_000_000 + offset;
    let Ok(appended) = store.append(queue, &draft, 0, now_ms) else { return false };
    let (begin, end) = (appended.physical, appended.physical.plus(appended.size.into()));
    writeln!(output, "a {queue_id} {offset} {begin} {end}").unwrap();
    true
}

/// The cold threads.
fn work(mut cold: ColdStore, began: Instant) {
    if let Some(ground) = cold.ground() {
        std::thread::spawn(move || {
            loop {
                ground.step();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    }
    std::thread::spawn(move || {
        loop {
            let now_ms = 1_700_000_000_000 + began.elapsed().as_millis() as i64;
            if cold.step(now_ms) == Work::Idle {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    });
}
