//! The hot path allocates nothing: counted by the allocator itself.

use std::sync::Arc;

use protocol::record::RecordDraft;
use store::sim_medium::SimMedium;
use store::{PhysicalOffset, StoreConfig, UnitAt};

/// D-9. Goal: appends and hot reads allocate nothing once the queues are known. Method: count over 100,000 messages and many
/// rounds of segments and units.
#[test]
fn appends_and_hot_reads_allocate_nothing() {
    let config = StoreConfig {
        hot_bytes: 3 << 20,
        hot_segments: 3,
        unit_bytes: Some(1 << 18),
        ..StoreConfig::new("/store")
    };
    let config = StoreConfig { commitlog_file_bytes: 8 << 20, ..config };
    let (mut store, mut cold, _) = store::open(config, Arc::new(SimMedium::new(1))).unwrap();
    let queues = [0, 1, 2].map(|queue_id| (queue_id, store.queue("Topic", queue_id)));
    let host = "127.0.0.1:10911".parse().unwrap();
    let body = [7; 500];
    let mut on_the_shard = 0;
    for turn in 0..100_000_usize {
        let (queue_id, queue) = queues[turn % 3];
        let draft = RecordDraft {
            properties: b"TAGS\x01TagA\x02",
            ..RecordDraft::plain(b"Topic", queue_id, host, &body)
        };
        if !store.has_room(draft.encoded_len()) {
            cold.catch_up(turn as i64);
        }
        let counted = allocation_counter::measure(|| {
            assert!(store.has_room(draft.encoded_len()));
            let appended = store.append(queue, &draft, 1, 2).unwrap();
            let UnitAt::Hot(unit) = store.unit(queue, appended.queue_offset) else { panic!("not hot") };
            assert!(store.range(unit.range()).is_some());
            assert_eq!(store.units(queue, appended.queue_offset).len(), 1);
        });
        on_the_shard += counted.count_total;
    }
    assert_eq!(on_the_shard, 0);
}

/// Goal: a client who asks for a message at a place within a body, where somebody has put the size of a huge record, gets nothing and
/// takes no memory. Method: such a body, with a log behind it that is long enough; count bytes.
#[test]
fn a_forged_size_takes_no_memory() {
    let config = StoreConfig { commitlog_file_bytes: 8 << 20, ..StoreConfig::new("/store") };
    let config = StoreConfig { hot_bytes: 3 << 20, hot_segments: 3, unit_bytes: Some(1 << 18), ..config };
    let (mut store, mut cold, _) = store::open(config, Arc::new(SimMedium::new(1))).unwrap();
    let queue = store.queue("Topic", 0);
    let host = "127.0.0.1:10911".parse().unwrap();
    let (size, magic) = ((20_u32 << 20).to_be_bytes(), 0xDAA3_20A7_u32.to_be_bytes());
    let body = [size, magic].concat().repeat(16 << 10);
    let mut first = None;
    for turn in 0..200 {
        let draft = RecordDraft::plain(b"Topic", 0, host, &body);
        cold.catch_up(turn);
        let appended = store.append(queue, &draft, 1, turn).unwrap();
        first.get_or_insert(appended.physical);
    }
    cold.catch_up(200);
    let inside = first.unwrap().0 + 84 + 4 + 80; // Before the body: 84 bytes and its length.
    let mut found = Some(Vec::new());
    let counted = allocation_counter::measure(|| {
        found = cold.reader().read_record(PhysicalOffset(inside)).unwrap();
    });
    assert_eq!(found, None);
    assert!(counted.bytes_total < 16 << 10, "{} bytes", counted.bytes_total);
}
