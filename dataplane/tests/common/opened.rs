//! A broker on an opened store, with the ends that its cold side holds.

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
use store::{ColdStore, Store};

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

const PERSIST_LANE_MAX: usize = 64 * 1024;
