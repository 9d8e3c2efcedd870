//! A store of many messages, for benches: filled as fast as it takes them, and taken out of the page cache.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use protocol::record::RecordDraft;
use store::{ColdStore, Store};

/// Appends messages of 1 KiB for every queue in turn, until the log is so many bytes longer. Returns how many each got.
pub fn fill(store: &mut Store, cold: &mut ColdStore, topic: &str, queues: i32, bytes: u64) -> i64 {
    let host = "127.0.0.1:10911".parse().expect("an address");
    let indexes: Vec<_> = (0..queues).map(|queue_id| store.queue(topic, queue_id)).collect();
    let to = store.published().plus(bytes);
    let mut per_queue = 0;
    while store.published() < to {
        for (queue_id, queue) in (0..).zip(&indexes) {
            let draft = RecordDraft::plain(topic.as_bytes(), queue_id, host, &[b'x'; 1_024]);
            while !store.has_room(draft.encoded_len()) {
                cold.step(wall_ms());
            }
            store.append(*queue, &draft, 0, wall_ms()).expect("there is room");
        }
        per_queue += 1;
    }
    per_queue
}

/// Takes the files of a directory out of the page cache.
pub fn evict(dir: &Path) {
    for entry in std::fs::read_dir(dir).expect("our own directory").flatten() {
        if entry.path().is_dir() {
            evict(&entry.path());
        } else if let Ok(file) = std::fs::File::open(entry.path()) {
            file.sync_all().expect("a sync");
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("advice");
        }
    }
}

pub fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
