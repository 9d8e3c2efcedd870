//! The hot path allocates nothing: counted by the allocator itself.

use std::sync::Arc;

use protocol::record::RecordDraft;
use store::sim_medium::SimMedium;
use store::{StoreConfig, UnitAt};

/// D-9. Goal: appends and hot reads allocate nothing once the queues are known. Method: count over 100,000 messages and many
/// rounds of segments and units.
#[test]
fn appends_and_hot_reads_allocate_nothing() {
    let config = StoreConfig {
        hot_bytes: 3 << 20,
        hot_segments: 3,
        unit_bytes: 1 << 18,
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
