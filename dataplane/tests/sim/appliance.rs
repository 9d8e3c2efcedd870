//! A whole broker as an appliance: shard, stack, store and cold side on a simulated machine that may die at any call.

use crate::opened::{self, Opened};
use crate::world::{APPLIANCE, Appliance, Boot};
use dataplane::broker::persist_ops::PersistOp;
use dataplane::broker::topic_config::TopicConfig;
use dataplane::cold::mirror::Mirror;
use dataplane::cold::reads::Reads;
use dataplane::config::{Config, FlushDiskType};
use dataplane::device::sim::SimDevice;
use dataplane::lane::LaneOut;
use dataplane::net::Net;
use dataplane::net::front::Address;
use dataplane::net::stack::{Stack, StackConfig};
use dataplane::rng::Rng;
use dataplane::shard::Shard;
use dataplane::time::TurnTime;
use std::sync::Arc;
use store::sim_medium::SimMedium;
use store::{ColdStore, FlushMode};

pub const PORT: u16 = 10911;
pub const TOPIC: &str = "T_sim";
pub const QUEUES: i32 = 3;

/// How a machine dies, and what its broker has promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// kill -9 under ASYNC_FLUSH: memory and finished writes stay.
    Kill,
    /// Power cut under SYNC_FLUSH: only what was synced stays.
    PowerCut,
}

struct BrokerAppliance {
    shard: Shard<Stack<SimDevice>>,
    cold: ColdStore,
    reads: Reads,
    persisted: LaneOut<PersistOp>,
    medium: SimMedium,
    rng: Rng,
}

impl Appliance for BrokerAppliance {
    fn turn(&mut self, now: &TurnTime) -> u32 {
        let work = self.shard.turn(now);
        // The cold side is other threads: it moves when it likes.
        if self.rng.chance(0.3) {
            self.cold.step(now.wall_ms);
        }
        if self.rng.chance(0.5) {
            self.reads.step(8);
        }
        while self.persisted.pop().is_some() {}
        work
    }

    fn has_died(&self) -> bool {
        self.medium.is_killed()
    }
}

/// Boots a broker on what the last one left behind.
pub fn boot(medium: SimMedium, death: Death) -> Boot {
    let mut boots = 0;
    Box::new(move |device, rng, now| {
        if boots > 0 {
            match death {
                Death::Kill => medium.restart(),
                Death::PowerCut => medium.power_cut(),
            }
        }
        boots += 1;
        Box::new(start(device, rng, now, medium.clone(), death))
    })
}

fn start(
    device: SimDevice,
    rng: &mut Rng,
    now: &TurnTime,
    medium: SimMedium,
    death: Death,
) -> BrokerAppliance {
    let mut stack_config = StackConfig::new(Address { ip: APPLIANCE, prefix_len: 24, gateway: None });
    stack_config.limits.conns_max = 64;
    let mut stack = Stack::simulated(device, stack_config, rng).unwrap();
    stack.listen(PORT).unwrap();

    let mut store_config = opened::small_store();
    store_config.commitlog_file_bytes = 1 << 20;
    store_config.consumequeue_file_bytes = 20 * 500;
    store_config.hot_bytes = 2 << 20;
    let mut config =
        Config { broker_name: "broker-sim".into(), broker_ip1: Some(APPLIANCE.into()), ..Config::default() };
    if death == Death::PowerCut {
        config.flush_disk_type = FlushDiskType::SyncFlush;
        store_config.flush = FlushMode::Sync;
    }
    let (store, cold, _recovery) = store::open(store_config, Arc::new(medium.clone())).unwrap();

    let now_ms = now.wall_ms;
    let address = std::net::SocketAddr::new(APPLIANCE.into(), PORT);
    let kept = Mirror::default();
    let Opened { mut broker, reads, persisted } =
        opened::broker(config, address, &kept, (store, &cold), rng.fork(), now_ms);
    broker.topics.put(TopicConfig::new(TOPIC, QUEUES, 6), now_ms, &mut broker.ops);
    BrokerAppliance { shard: Shard::new(stack, broker), cold, reads, persisted, medium, rng: rng.fork() }
}
