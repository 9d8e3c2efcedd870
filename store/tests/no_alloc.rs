//! The hot path allocates nothing: counted by the allocator itself.
#![allow(unsafe_code)] // A counting allocator cannot be written without; test code only.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use protocol::record::RecordDraft;
use store::sim_medium::SimMedium;
use store::{QueueOffset, StoreConfig, UnitAt};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is handed on to the system's allocator as it came.
// WHY: only the global allocator sees every allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as above. WHY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above. WHY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

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
            topic: b"Topic",
            queue_id,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &body,
            properties: b"TAGS\x01TagA\x02",
        };
        if !store.has_room(draft.encoded_len()) {
            cold.catch_up(turn as i64);
        }
        let before = ALLOCATIONS.with(Cell::get);
        assert!(store.has_room(draft.encoded_len()));
        let appended = store.append(queue, &draft, 1, 2).unwrap();
        let UnitAt::Hot(unit) = store.unit(queue, appended.queue_offset) else { panic!("not hot") };
        assert!(store.range(unit.range()).is_some());
        assert!(!store.units(queue, QueueOffset(appended.queue_offset.0)).is_empty());
        on_the_shard += ALLOCATIONS.with(Cell::get) - before;
    }
    assert_eq!(on_the_shard, 0);
}
