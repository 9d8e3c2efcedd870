//! One running broker, a shard: the store opened, the tables loaded, the shard and its cold threads started, and how they stop.
//!
//! ```text
//! start: ports -> store -> tables -> disk, reads, routes -> broker -> shard -> keeper -> registration
//! stop:  unregister -> shard: answers leave, connections end, changes are handed over -> keeper -> reads -> disk
//! ```
//!
//! Knows neither which network nor which medium it runs on. With the files in `run/` an edge: it starts threads.

mod error;
mod kept;
mod looking;
mod polling;
mod recovered;
mod registration;
mod store_threads;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use store::{Medium, Recovery, StoreConfig};
use tokio::sync::watch;

use crate::broker::admin::Admin;
use crate::broker::errands::Errands;
use crate::broker::facts::SharedFacts;
use crate::broker::persist_ops::PersistOp;
use crate::broker::{Broker, BrokerStart};
use crate::cold::namesrv::Registrar;
use crate::cold::reads::Reads;
use crate::cold::routes::RouteAsker;
use crate::cold::sight::SightServer;
use crate::cold::wall_ms;
use crate::config::FlushDiskType;
use crate::host;
use crate::lane::lane;
use crate::limits::PERSIST_LANE_MAX;
use crate::net::{Net, Waker};
use crate::plan::ShardPlan;
use crate::rng::Rng;
use crate::shard::Shard;
pub use error::RunError;
use store_threads::StoreThreads;
use worker::{Worker, wakes};

/// All threads of a broker.
pub struct Running {
    address: SocketAddr,
    recovery: Recovery,
    registrar: Registrar,
    routes: Option<RouteAsker>,
    shard: Worker<()>,
    keeper: Worker<()>,
    reads: Worker<()>,
    store: StoreThreads,
    sight: Option<SightServer>,
    waker: Waker,
}

impl Running {
    /// Returns when the broker serves; it may not be registered yet.
    pub fn start<N: Net + Send + 'static>(
        mut net: N,
        plan: &ShardPlan,
        store_config: StoreConfig,
        medium: Arc<dyn Medium>,
        rng: Rng,
    ) -> Result<Running, RunError> {
        let config = &plan.config;
        listen(&mut net, config.listen_port)?;
        let now_ms = wall_ms();
        let config_dir = store_config.config_dir();
        let (store, cold, recovery) = store::open(store_config, Arc::clone(&medium))?;
        let mut reader = cold.new_reader();
        let (loaded, mirror) = kept::load(config, &*medium, &config_dir, &recovery, &mut reader, now_ms)?;

        let facts = SharedFacts::default();
        let store_threads = StoreThreads::start(plan, cold, facts.clone())?;
        let waker = net.waker();
        let (errands, cold_ends) = Errands::new();
        errands.woken_by(wakes(&waker));
        let reads = start_reads(plan, Reads::new(cold_ends, reader))?;
        let (routes, asker) = registration::ask_routes(config, &waker)?;
        let (persist, persist_ops) = lane::<PersistOp>(PERSIST_LANE_MAX);
        let (tables, newest) = watch::channel(None);
        let registrar = registration::register(config, newest)?;
        let keeper = kept::keeper(config, mirror, persist_ops, tables, medium, &config_dir, now_ms)?;

        let address = registration::address(config);
        let mut broker = Broker::new(BrokerStart {
            address,
            store,
            topics: loaded.topics,
            groups: loaded.groups,
            offsets: loaded.offsets,
            delay_offsets: loaded.delay_offsets,
            ops: loaded.ops,
            persist,
            errands,
            routes,
            rng,
            admin: Admin::new(now_ms, host::utc_offset_ms(), facts),
            pid: std::process::id(),
            config: config.clone(),
        });
        let announced = registrar.standing().announced();
        announced.woken_by(wakes(&waker));
        broker.announced_by(announced);
        if config.flush_disk_type == FlushDiskType::SyncFlush {
            broker.wakes_disk(store_threads.disk());
        }
        let mut shard = Shard::new(net, broker);
        let sight = looking::open(plan, address, &mut shard, &waker);
        let core = plan.core;
        let shard = Worker::start(plan.thread_name("ab-shard"), move |stop| {
            polling::run_shard(shard, core, stop);
        })?;
        let keeper = Worker::start(plan.thread_name("ab-keeper"), move |stop| keeper.run(stop))?;
        Ok(Running {
            address,
            recovery,
            registrar,
            routes: asker,
            shard,
            keeper,
            reads,
            store: store_threads,
            sight,
            waker,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many of how many name servers know us.
    pub fn standing(&self) -> (usize, usize) {
        self.registrar.standing().count()
    }

    /// Whether all name servers know us within this time.
    pub fn wait_until_known(&self, max: Duration) -> bool {
        self.registrar.standing().wait_for_all(max)
    }

    /// What recovery found, in the log.
    pub fn announce_remarks(&self) {
        recovered::announce(&self.recovery);
    }

    /// Signs off, lets answers leave, completes the files. What fails is told after all else was tried.
    pub fn stop(mut self) -> Result<(), RunError> {
        if let Some(sight) = self.sight {
            sight.stop();
        }
        self.registrar.leave();
        self.shard.stop.store(true, Ordering::Release);
        self.waker.wake();
        let shard = self.shard.thread.join().map_err(|_| RunError::ShardPanicked);
        if let Some(routes) = self.routes {
            routes.stop();
        }
        // A panic in one of these has been printed; the files that matter are the disk thread's.
        let _ = self.keeper.end();
        let _ = self.reads.end();
        self.store.end_helpers();
        shard?;
        self.store.close()
    }
}

/// First of all, since it is what goes wrong most; nobody is served before the shard runs.
fn listen(net: &mut impl Net, listen_port: u16) -> Result<(), RunError> {
    for (port, what) in [(listen_port, ""), (listen_port - 2, " (listenPort - 2, for VIP channels)")] {
        net.listen(port).map_err(|error| RunError::Listen { port, what, error })?;
    }
    Ok(())
}

/// The thread that answers the shard's questions about the files.
fn start_reads(plan: &ShardPlan, mut reads: Reads) -> Result<Worker<()>, RunError> {
    Worker::start(plan.thread_name("ab-reads"), move |stop| {
        reads.ends().requests.sleeps_as(std::thread::current());
        while !stop.load(Ordering::Acquire) {
            if reads.step(QUESTIONS_PER_STEP_MAX) == 0 {
                std::thread::park_timeout(PARK_MAX);
            }
        }
    })
}

const PARK_MAX: Duration = Duration::from_secs(1);
const QUESTIONS_PER_STEP_MAX: u32 = 16;
