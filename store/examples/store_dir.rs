//! Fills a store directory with messages, or lists what one holds: for trying it against the official broker.
//!
//! ```text
//! store_dir fill DIR COUNT [kill]    appends COUNT messages to topic StoreDir, 4 queues; `kill`: ends without a clean stop
//! store_dir list DIR                 opens it, reads every message of every queue, says what was there
//! ```
//!
//! `AB_FILE_BYTES` is mappedFileSizeCommitLog.

use std::error::Error;
use std::sync::Arc;

use protocol::properties;
use protocol::record::{RecordDraft, RecordView};
use store::{PullLimits, RealMedium, StoreConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["fill", dir, count] => fill(dir, count.parse()?, false),
        ["fill", dir, count, "kill"] => fill(dir, count.parse()?, true),
        ["list", dir] => list(dir),
        _ => Err("store_dir fill DIR COUNT [kill] | list DIR".into()),
    }
}

fn fill(dir: &str, count: usize, kill: bool) -> Result<(), Box<dyn Error>> {
    let (mut store, mut cold, recovery) = store::open(config(dir)?, Arc::new(RealMedium::new()))?;
    println!("{recovery:#?}");
    let host = "127.0.0.1:10911".parse()?;
    let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() as i64;
    for nth in 0..count {
        let queue_id = (nth % 4) as i32;
        let mut list = Vec::new();
        properties::push(&mut list, "TAGS", [b"TagA", b"TagB"][nth % 2]);
        properties::push(&mut list, "KEYS", format!("key{nth}").as_bytes());
        let body = format!("message {nth} {}", "x".repeat(nth % 700));
        let draft = RecordDraft {
            born_timestamp: now_ms,
            properties: &list,
            ..RecordDraft::plain(b"StoreDir", queue_id, host, body.as_bytes())
        };
        while !store.has_room(draft.encoded_len()) {
            cold.catch_up(now_ms);
        }
        let queue = store.queue("StoreDir", queue_id);
        store.append(queue, &draft, properties::tags_code(&list), now_ms + nth as i64)?;
        if nth % 1_000 == 0 {
            cold.step(now_ms + nth as i64);
        }
    }
    println!("written to {}, published {}", store.written_to(), store.published());
    if kill {
        std::process::abort();
    }
    drop(store);
    Ok(cold.close(now_ms)?)
}

fn list(dir: &str) -> Result<(), Box<dyn Error>> {
    let (store, mut cold, recovery) = store::open(config(dir)?, Arc::new(RealMedium::new()))?;
    println!("{recovery:#?}");
    let limits = PullLimits { messages: 1_000, bytes: 1 << 20, entries: 1_000, ..PullLimits::default() };
    for queue in store.queues() {
        let (topic, queue_id) = store.queue_name(queue);
        let mut offsets = store.offsets(queue);
        let (mut messages, mut passed_over) = (0, 0);
        while offsets.start < offsets.end {
            let pull = cold.reader().read_pull(topic, queue_id, offsets.clone(), &limits, &mut |_| true)?;
            let mut rest = &pull.bytes[..];
            while !rest.is_empty() {
                let view = RecordView::parse(rest)?;
                assert!(view.crc_holds());
                rest = &rest[view.bytes.len()..];
            }
            if pull.next == offsets.start {
                break;
            }
            messages += pull.messages;
            passed_over += pull.passed_over;
            offsets.start = pull.next;
        }
        println!(
            "{topic} {queue_id}: {:?}, {messages} messages read, {passed_over} passed over",
            store.offsets(queue)
        );
    }
    drop(store);
    Ok(cold.close(0)?)
}

fn config(dir: &str) -> Result<StoreConfig, Box<dyn Error>> {
    let file_bytes = std::env::var("AB_FILE_BYTES").map_or(Ok(1 << 30), |bytes| bytes.parse())?;
    Ok(StoreConfig { commitlog_file_bytes: file_bytes, hot_bytes: 24 << 20, ..StoreConfig::new(dir) })
}
