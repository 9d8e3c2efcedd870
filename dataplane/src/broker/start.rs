//! How a broker begins: what was loaded, and the seams it is given.

use std::net::SocketAddr;

use protocol::header::SendShapes;
use protocol::ids::UniqKeys;
use store::Store;

use crate::broker::admin::Admin;
use crate::broker::announce::{Announced, Announcing};
use crate::broker::assignment::Routes;
use crate::broker::beats::Beats;
use crate::broker::calls::Calls;
use crate::broker::consumers::Consumers;
use crate::broker::desk_errands::Stalled;
use crate::broker::errands::Errands;
use crate::broker::groups::Groups;
use crate::broker::leaving::Leaving;
use crate::broker::locks::Locks;
use crate::broker::long_bodies::LongBodies;
use crate::broker::long_work::LongWorks;
use crate::broker::notices::Notices;
use crate::broker::offsets::ConsumerOffsets;
use crate::broker::peers::Peers;
use crate::broker::persist_ops::{PersistOp, PersistOps};
use crate::broker::producers::Producers;
use crate::broker::schedule::Schedule;
use crate::broker::second_halves::Errand;
use crate::broker::send_properties::stamp;
use crate::broker::sent::{MsgIds, region_fields};
use crate::broker::topics::Topics;
use crate::broker::transaction::EndedWaits;
use crate::broker::transaction_check::Transactions;
use crate::broker::{Broker, Gate, Holds, Queues, Scratch};
use crate::config::Config;
use crate::counters::Counters;
use crate::lane::LaneIn;
use crate::rng::Rng;

/// Everything a broker is made of that comes from outside.
pub struct BrokerStart {
    pub config: Config,
    /// brokerIP1 and listenPort.
    pub address: SocketAddr,
    pub store: Store,
    pub topics: Topics,
    pub groups: Groups,
    pub offsets: ConsumerOffsets,
    /// delayOffset.json: level, next entry to deliver.
    pub delay_offsets: Vec<(u8, i64)>,
    /// What loading the tables has changed already.
    pub ops: PersistOps,
    pub persist: LaneIn<PersistOp>,
    pub errands: Errands<Errand>,
    /// None: there is no name server to ask.
    pub routes: Option<Routes>,
    pub rng: Rng,
    pub admin: Admin,
    /// Our process number, for the message ids we make.
    pub pid: u32,
}

impl Broker {
    pub fn new(start: BrokerStart) -> Broker {
        let BrokerStart { config, address, mut store, mut rng, .. } = start;
        let schedule = Schedule::start(&mut store, &config.message_delay_level, &start.delay_offsets);
        let transactions = Transactions::start(&mut store, &start.offsets);
        Broker {
            topics: start.topics,
            groups: start.groups,
            offsets: start.offsets,
            consumers: Consumers::default(),
            producers: Producers::default(),
            beats: Beats::default(),
            long_bodies: LongBodies::default(),
            long_work: LongWorks::default(),
            leaving: Leaving::default(),
            notices: Notices::default(),
            locks: Locks::default(),
            peers: Peers::default(),
            admin: start.admin,
            disk: None,
            waits_told: 0,
            schedule,
            transactions,
            ended_waits: EndedWaits::default(),
            announced: Announced::default(),
            announcing: Announcing::default(),
            calls: Calls::default(),
            stalled: Stalled::default(),
            routes: start.routes,
            record_buffer: Vec::new(),
            offsets_kept_ms: 0,
            store,
            holds: Holds::default(),
            gate: Gate::default(),
            errands: start.errands,
            ops: start.ops,
            persist: start.persist,
            counters: Counters::default(),
            uniq_keys: UniqKeys::new(address.ip(), start.pid, rng.next_u32()),
            msg_ids: MsgIds::new(address),
            region: region_fields(&config),
            stamp: stamp(&config.region_id, config.trace_on, &config.broker_cluster_name),
            queues: Queues::default(),
            scratch: Scratch::default(),
            shapes: SendShapes::default(),
            ticked_ms: 0,
            rng,
            address,
            config,
        }
    }

    /// The thread that sends wait for under SYNC_FLUSH: it is woken in case it sleeps.
    pub fn wakes_disk(&mut self, disk: std::thread::Thread) {
        self.disk = Some(disk);
    }

    /// Settings have changed: what was made from them is made again.
    pub fn config_changed(&mut self) {
        self.region = region_fields(&self.config);
        self.stamp = stamp(&self.config.region_id, self.config.trace_on, &self.config.broker_cluster_name);
    }
}
