//! What one append costs, CRC included: `cargo bench -p afterburner-store`.
//!
//! The cold half runs between the measured bursts, as it would on its own core; huge pages or tmpfs as found.

mod cpu;
mod sent;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::record::RecordDraft;
use store::{FlushMode, Medium, QueueOffset, RealMedium, Store, StoreConfig};

fn main() {
    let dir = std::env::temp_dir().join(format!("ab-bench-{}", std::process::id()));
    let config = StoreConfig::new(&dir);
    let (mut store, mut cold, recovery) =
        store::open(config, Arc::new(RealMedium::new())).expect("a fresh directory opens");
    println!("hot log on {}, opened in {} ms", recovery.hot_kind, recovery.ms);
    for queues in [1, 8] {
        for body_len in [128, 1_024, 4_096, 65_536] {
            let body = vec![b'x'; body_len];
            // Many short bursts: on a busy machine most of them are disturbed, the best ones are not.
            let count = (4 << 20) / (body_len + 300);
            let mut took: Vec<Duration> = (0..200)
                .map(|_| {
                    if !store.has_room(8 << 20) || store.published().since(store.written_to()) > 64 << 20 {
                        cold.catch_up(0);
                    }
                    burst(&mut store, queues, &body, count) / count as u32
                })
                .collect();
            took.sort();
            println!(
                "append {body_len:>6} bytes, {queues} queues: best {:?}, median {:?} a message",
                took[0], took[100]
            );
        }
    }
    let queue = store.queue("Bench", 0);
    let end = store.offsets(queue).end.0;
    let began = Instant::now();
    let mut read = 0;
    let mut offset = store.first_hot(queue).0;
    while offset < end {
        let units = store.units(queue, QueueOffset(offset));
        offset += units.len() as i64;
        for unit in units {
            read += black_box(store.range(unit.range())).map_or(0, |bytes| bytes.len());
        }
    }
    let units = (end - store.first_hot(queue).0).max(1) as u32;
    println!("look-up of a hot record: {:?} ({read} bytes)", began.elapsed() / units);

    let body = vec![b'x'; 1_024];
    let (mut bytes, mut took, mut on_cpu) = (0_u64, Duration::ZERO, 0);
    for _ in 0..8 {
        burst(&mut store, 8, &body, 50_000);
        let (from, cpu) = (store.written_to(), cpu::ns());
        let began = Instant::now();
        cold.catch_up(0);
        took += began.elapsed();
        on_cpu += cpu::ns() - cpu;
        bytes += store.written_to().since(from);
    }
    let (rate, cost) = (bytes as f64 / took.as_secs_f64() / 1e9, on_cpu as f64 / bytes as f64);
    println!("write-out of 1 KiB messages in 8 queues: {rate:.2} GB/s, {cost:.2} processor seconds per GB");
    drop(store);
    cold.close(0).expect("a clean stop");
    std::fs::remove_dir_all(&dir).expect("our own directory");
    synced(&dir);
    std::fs::remove_dir_all(&dir).expect("our own directory");
}

/// SYNC_FLUSH with one message in flight, beside the disk's own write and sync of one block.
fn synced(dir: &Path) {
    let config = StoreConfig { flush: FlushMode::Sync, ..StoreConfig::new(dir) };
    let medium = RealMedium::new();
    let raw_path = dir.join("raw");
    let file = medium.create(&raw_path, 64 << 20).expect("a fresh directory");
    let direct = medium.open_direct(&raw_path).expect("just made").unwrap_or(file);
    let memory = vec![1; 2 * 4096];
    let block = &memory[memory.as_ptr().align_offset(4096)..][..4096];
    let (mut store, mut cold, _) =
        store::open(config, Arc::new(RealMedium::new())).expect("a fresh directory opens");
    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    for nth in 0..1_000 {
        let began = Instant::now();
        burst(&mut store, 1, &[b'x'; 1_024], 1);
        while store.synced_to() < store.published() {
            cold.step(nth);
        }
        ours.push(began.elapsed());
        let began = Instant::now();
        direct.write_at(nth as u64 * 4096, block).expect("a write");
        direct.sync().expect("a sync");
        raw.push(began.elapsed());
    }
    ours.sort();
    raw.sort();
    println!("synced, one in flight: p50 {:?}, p99 {:?}", ours[500], ours[990]);
    println!("one block, O_DIRECT and fdatasync: p50 {:?}, p99 {:?}", raw[500], raw[990]);
    drop(store);
    cold.close(0).expect("a clean stop");
}

fn burst(store: &mut Store, queues: i32, body: &[u8], count: usize) -> Duration {
    let host = "127.0.0.1:10911".parse().expect("an address");
    let list = sent::list();
    let queues: Vec<_> = (0..queues).map(|queue_id| (queue_id, store.queue("Bench", queue_id))).collect();
    let began = Instant::now();
    for (queue_id, queue) in queues.iter().copied().cycle().take(count) {
        let draft = RecordDraft {
            properties: &list,
            ..RecordDraft::plain(b"Bench", queue_id, host, black_box(body))
        };
        assert!(store.has_room(draft.encoded_len()));
        black_box(store.append(queue, &draft, 0, 1).expect("there is room"));
    }
    began.elapsed()
}
