//! The index against the official broker's file, byte by byte.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use protocol::record::RecordView;
use serde_json::Value;

use super::format::{HEADER_BYTES, IndexEntry, IndexHeader};
use super::hash::TopicHash;
use super::intake::{Intake, Key};
use super::keys;
use super::state::Current;
use crate::brief::{Brief, Labels};
use crate::config::IndexShape;
use crate::config::StoreConfig;
use crate::files::Files;
use crate::medium::Medium;
use crate::offsets::PhysicalOffset;
use crate::sim_medium::SimMedium;

const SHAPE: IndexShape = IndexShape { slots: 64, entries: 256 };

fn vector() -> (Vec<u8>, HashMap<i64, Vec<u8>>) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../protocol/tests/vectors/store.json");
    let vector: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let record = |item: &Value| Some((item["physicalOffset"].as_i64()?, hex(item["hex"].as_str()?)));
    let records = vector["items"].as_array().unwrap().iter().filter_map(record).collect();
    (hex(vector["index"]["hex"].as_str().unwrap()), records)
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a hex digit") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn entries(file: &[u8]) -> Vec<IndexEntry> {
    let from = SHAPE.entry_at(1) as usize;
    file[from..].as_chunks::<20>().0.iter().map(IndexEntry::decode).collect()
}

/// D-10. Goal: a record is indexed by the official keys, in the official order. Method: for each recorded message, its keys against
/// the entries of the official file.
#[test]
fn the_keys_are_the_official_ones() {
    let (file, records) = vector();
    let mut of_message: HashMap<i64, Vec<i32>> = HashMap::new();
    for entry in entries(&file) {
        of_message.entry(entry.physical).or_default().push(entry.hash);
    }
    let mut compared = 0;
    for (physical, hashes) in of_message {
        let Some(bytes) = records.get(&physical) else { continue };
        let (mut ours, mut topic) = (Vec::new(), TopicHash::default());
        let view = RecordView::parse(bytes).unwrap();
        keys::for_each(&Brief::of(&view), &Labels::of(view.properties), &mut topic, |hash| ours.push(hash));
        assert_eq!(ours, hashes, "{physical}");
        compared += 1;
    }
    assert!(compared > 20, "only {compared}");
}

/// D-10. Goal: the same keys make the same file. Method: the official file's entries, put in again, one by one.
#[test]
fn the_file_is_the_official_one() {
    let (file, _) = vector();
    let official = IndexHeader::decode(file[..HEADER_BYTES as usize].try_into().unwrap());
    assert!(official.fits(SHAPE) && official.is_full(SHAPE));
    let config = StoreConfig { index_shape: SHAPE, index_piece_bytes: 4096, ..StoreConfig::new("/store") };
    let header = IndexHeader { count: 1, ..IndexHeader::default() };
    let mut current = Current::new("20261120124038960".into(), header, vec![0; 64], &config, None).unwrap();
    let all = entries(&file);
    for (nth, entry) in all.iter().enumerate() {
        let physical = PhysicalOffset(entry.physical);
        // Entries know whole seconds; the last time is in the header.
        let last = nth + 1 == all.len();
        let store_timestamp = if last { official.end_timestamp } else { official.time_of(entry) };
        let (hash, slot) = (entry.hash, SHAPE.slot_of(entry.hash));
        current.insert(&Key { hash, slot, physical, store_timestamp });
    }
    let mut made = current.header.encode().to_vec();
    made.extend(current.slots.iter().flat_map(|slot| slot.to_be_bytes()));
    made.extend([0; 20]);
    current.tail.unwritten(SHAPE.file_bytes()).for_each(|(_, part)| made.extend(part));
    assert!(made == file);
}

/// D-10. Goal: the next record behind what cannot be read is found wherever it lies. Method: around the end of what one step looks at; two records
/// that bear keys, and ones between them.
#[test]
fn the_next_record_is_found_over_many_steps() {
    const FILE_BYTES: u64 = 4 << 20;
    const STEP: usize = 1 << 20;
    let (_, records) = vector();
    let mut record = records.into_values().find(|bytes| {
        let view = RecordView::parse(bytes).unwrap();
        let mut keys = 0;
        keys::for_each(&Brief::of(&view), &Labels::of(view.properties), &mut TopicHash::default(), |_| {
            keys += 1
        });
        keys > 0
    });
    let record = record.as_mut().unwrap();
    for gap in (STEP - 38..STEP - 33).chain([1, 35, 36, 37, STEP - 1, STEP, 2 * STEP - 60, 3 * STEP]) {
        let medium = SimMedium::new(1);
        let path = Path::new("/log").join(crate::commitlog::name_of_offset(0));
        medium.create_dir(Path::new("/log")).unwrap();
        let file = medium.create(&path, FILE_BYTES).unwrap();
        file.write_at(record.len() as u64, &vec![1; gap]).unwrap();
        let second = record.len() + gap;
        for place in [0, second] {
            record[28..36].copy_from_slice(&(place as i64).to_be_bytes());
            file.write_at(place as u64, record).unwrap();
        }
        let mut log = Files::new(Arc::new(medium), FILE_BYTES);
        log.dir = "/log".into();
        let mut intake = Intake::new(SHAPE, log, PhysicalOffset(0));
        let (level, mut places) = (PhysicalOffset((second + record.len()) as i64), Vec::new());
        while intake.fetch(level).unwrap() || intake.is_due(level) {
            places.extend(intake.take(usize::MAX).map(|key| key.physical.0));
        }
        places.dedup();
        assert_eq!(places, [0, second as i64], "{gap} bytes apart");
    }
}
