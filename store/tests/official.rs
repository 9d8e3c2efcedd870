//! The store against files of the official broker: its consume queue entries, and its directory opened by us.
#![allow(clippy::unwrap_used)] // Tests: the helpers too.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::record::RecordView;
use serde_json::Value;
use store::{QueueOffset, RealMedium, StoreConfig, entry_tags_code, open};

/// D-5. Goal: recovery makes the entries the official broker made. Method: every entry of its queues, the delayed ones too.
#[test]
fn official_entries_are_made_again() {
    let store = vectors();
    let levels = store::config::default_delay_levels_ms();
    let records = records(&store);
    let mut compared = HashMap::new();
    for queue in store["consumequeue"].as_array().unwrap() {
        let topic = queue["topic"].as_str().unwrap();
        for entry in queue["entries"].as_array().unwrap() {
            let Some(bytes) = records.get(&entry["physicalOffset"].as_i64().unwrap()) else { continue };
            let view = RecordView::parse(bytes).unwrap();
            let code = entry_tags_code(view.topic, view.properties, view.store_timestamp, &levels);
            assert_eq!(code, entry["tagsCode"].as_i64().unwrap(), "{topic}");
            assert_eq!(i64::from(view.size()), entry["size"].as_i64().unwrap());
            *compared.entry(topic.to_string()).or_insert(0) += 1;
        }
    }
    assert!(compared["SCHEDULE_TOPIC_XXXX"] > 0);
    assert!(compared.len() > 5);
}

/// D-4, D-6. Goal: a directory that the official broker stopped cleanly opens, and so does one without its queues. Method: lay
/// the vector's commitlog out as far as it is recorded, from the first gap on nothing; rebuild the queues and compare.
#[test]
fn an_official_log_opens() {
    let vector = vectors();
    let dir = TempDir::new("official");
    let root = dir.0.join("store");
    let log = root.join("commitlog");
    fs::create_dir_all(&log).unwrap();
    let mut content = vec![0; 1 << 20];
    let mut end = 0;
    let records = records(&vector);
    while let Some(bytes) = records.get(&(end as i64)) {
        content[end..end + bytes.len()].copy_from_slice(bytes);
        end += bytes.len();
    }
    assert!(end > 500, "the vector begins at 0");
    fs::write(log.join("00000000000000000000"), &content).unwrap();
    let config = StoreConfig {
        commitlog_file_bytes: 1 << 20,
        hot_dir: Some(dir.0.join("hot")),
        hot_bytes: 3 << 20,
        hot_segments: 3,
        ..StoreConfig::new(&root)
    };
    let (store, cold, recovery) = open(config, Arc::new(RealMedium::new())).unwrap();
    assert_eq!(recovery.max.0 as usize, end);
    assert_eq!(recovery.lost_entries, 0);
    for queue in vector["consumequeue"].as_array().unwrap() {
        let (topic, id) = (queue["topic"].as_str().unwrap(), queue["queueId"].as_i64().unwrap() as i32);
        let inside = |entry: &&Value| entry["physicalOffset"].as_i64().unwrap() < end as i64;
        let known = queue["entries"].as_array().unwrap().iter().filter(inside);
        let entries: String = known.map(|entry| entry["hex"].as_str().unwrap()).collect();
        if entries.is_empty() {
            continue;
        }
        let index = store.find_queue(topic, id).unwrap();
        assert_eq!(store.offsets(index).end, QueueOffset(entries.len() as i64 / 40), "{topic}");
        let path = root.join("consumequeue").join(topic).join(id.to_string()).join("00000000000000000000");
        let ours = fs::read(path).unwrap();
        assert_eq!(ours.len(), 6_000_000);
        let ours: String = ours[..entries.len() / 2].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(ours, entries, "{topic}");
    }
    assert!(root.join("abort").exists());
    assert_eq!(fs::read(root.join("lock")).unwrap(), b"lock");
    drop(store);
    cold.close(0).unwrap();
    assert!(!root.join("abort").exists());
    assert_eq!(fs::metadata(root.join("checkpoint")).unwrap().len(), 4096);
}

fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../protocol/tests/vectors/store.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn records(store: &Value) -> HashMap<i64, Vec<u8>> {
    let items = store["items"].as_array().unwrap().iter();
    let record = |item: &Value| Some((item["physicalOffset"].as_i64()?, hex(item["hex"].as_str()?)));
    items.filter_map(record).collect()
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a hex digit") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

struct TempDir(PathBuf);

impl TempDir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ab-store-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(Path::new(&self.0));
    }
}
