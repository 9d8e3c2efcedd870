//! A small store, and a broker on one that is open, with the ends that its cold side holds.

use std::net::SocketAddr;

use dataplane::broker::admin::Admin;
use dataplane::broker::errands::Errands;
use dataplane::broker::facts::SharedFacts;
use dataplane::broker::persist_ops::PersistOp;
use dataplane::broker::{Broker, BrokerStart};
use dataplane::cold::mirror::Mirror;
use dataplane::cold::reads::Reads;
use dataplane::cold::tables;
use dataplane::config::Config;
use dataplane::lane::{LaneOut, lane};
use dataplane::rng::Rng;
use store::{ColdStore, IndexShape, Store, StoreConfig};

pub struct Opened {
    pub broker: Broker,
    pub reads: Reads,
    pub persisted: LaneOut<PersistOp>,
}

/// `kept` is what the files of an earlier run hold.
pub fn broker(
    config: Config,
    address: SocketAddr,
    kept: &Mirror,
    (store, cold): (Store, &ColdStore),
    rng: Rng,
    now_ms: i64,
) -> Opened {
    let tables = tables::start(&config, kept, now_ms);
    let (persist, persisted) = lane(PERSIST_LANE_MAX);
    let (errands, ends) = Errands::new();
    let reads = Reads::new(ends, cold.new_reader());
    let broker = Broker::new(BrokerStart {
        address,
        config,
        store,
        topics: tables.topics,
        groups: tables.groups,
        offsets: tables.offsets,
        delay_offsets: tables.delay_offsets,
        ops: tables.ops,
        persist,
        errands,
        routes: None,
        rng,
        admin: Admin::new(now_ms, 0, SharedFacts::default()),
        pid: 77,
    });
    Opened { broker, reads, persisted }
}

/// Small files and a small hot log, so that messages get cold within a test.
pub fn small_store() -> StoreConfig {
    let mut store = StoreConfig::new("/store");
    store.commitlog_file_bytes = 8 << 20;
    store.consumequeue_file_bytes = 20_000;
    store.hot_bytes = 24 << 20;
    store.hot_segments = 4;
    store.index_shape = IndexShape { slots: 64, entries: 2_000 };
    store
}

const PERSIST_LANE_MAX: usize = 64 * 1024;
