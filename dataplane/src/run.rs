//! One running broker, a shard: the store opened, the tables loaded, the shard and its cold threads started, and how they stop.
//!
//! ```text
//! start: ports -> store -> tables -> disk, reads, routes -> broker -> shard -> keeper -> registration
//! stop:  unregister -> shard: answers leave, connections end, changes are handed over -> keeper -> reads -> disk
//! ```
//!
//! Knows neither which network nor which medium it runs on. An edge file: it starts threads.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use store::{HotFound, Medium, MediumError, Recovery, StoreConfig, StoreError, config_files};
use tokio::sync::watch;

use crate::broker::admin::Admin;
use crate::broker::assignment::Routes;
use crate::broker::errands::Errands;
use crate::broker::facts::SharedFacts;
use crate::broker::persist_ops::PersistOp;
use crate::broker::{Broker, BrokerStart};
use crate::cold::clean;
use crate::cold::disk::DiskThread;
use crate::cold::files::FilesThread;
use crate::cold::keeper::{ConfigFiles, Intervals, Keeper};
use crate::cold::mirror::{ConfigFile, Mirror};
use crate::cold::namesrv::{Identity, Pace, Registrar, Tables};
use crate::cold::reads::{self, Reads};
use crate::cold::routes::RouteAsker;
use crate::cold::sight::{About, SOCKET, SightServer};
use crate::cold::{tables, wall_ms};
use crate::config::{Config, FlushDiskType, Setting};
use crate::host;
use crate::lane::lane;
use crate::net::{Net, Waker};
use crate::plan::{Amount, ShardPlan};
use crate::rng::Rng;
use crate::shard::Shard;
use crate::sight::Sight;
use crate::speaker;
use crate::time::{Clock, RealClock};

/// Why a broker does not start, or did not stop cleanly.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Medium(#[from] MediumError),
    #[error("cannot listen on port {port}: {error}; stop who uses it, or set another listenPort")]
    Listen { port: u16, error: std::io::Error },
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    #[error("the shard stopped with a panic; the next start recovers from the hot log")]
    ShardPanicked,
}

/// All threads of a broker.
pub struct Running {
    address: SocketAddr,
    recovery: Recovery,
    registrar: Registrar,
    routes: Option<RouteAsker>,
    shard: Worker<()>,
    keeper: Worker<()>,
    reads: Worker<()>,
    ahead: Vec<Worker<()>>,
    clean: Worker<()>,
    ground: Option<Worker<()>>,
    writers: Vec<Worker<()>>,
    disk: Worker<Result<(), StoreError>>,
    sight: Option<SightServer>,
    waker: Waker,
}

/// A thread and the flag that ends it.
struct Worker<T> {
    thread: JoinHandle<T>,
    stop: Arc<AtomicBool>,
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
        // First of all, since it is what goes wrong most; nobody is served before the shard runs.
        for port in [config.listen_port, config.listen_port - 2] {
            net.listen(port).map_err(|error| RunError::Listen { port, error })?;
        }
        let now_ms = wall_ms();
        let config_dir = store_config.config_dir();
        let (store, cold, recovery) = store::open(store_config, Arc::clone(&medium))?;
        let mut mirror = tables::load(&*medium, &config_dir)?;
        medium.create_dir(&config_dir)?;
        let mut loaded = tables::start(config, &mirror, now_ms);
        let mut reader = cold.new_reader();
        let tables_ms = mirror.topics.data_version.timestamp;
        let back = tables::bring_back(&mut loaded, tables_ms, &recovery.queues, &mut reader, now_ms)?;
        if back > 0 {
            log::warn!("{back} topics had messages and no entry in topics.json, and were made again");
        }
        // The first registration and the first files are complete: what every broker has is in them.
        while let Some(op) = loaded.ops.pop() {
            mirror.apply(op);
        }

        let facts = SharedFacts::default();
        let sync = config.flush_disk_type == FlushDiskType::SyncFlush;
        let disk = DiskThread { cold, facts: facts.clone(), root: config.store_path_root_dir.clone(), sync };
        let trash = disk.cold.trash();
        let clean = Worker::start(plan.thread_name("ab-clean"), move |stop| clean::run(&trash, stop))?;
        let ground = match disk.cold.ground() {
            Some(ground) => Some(Worker::start(plan.thread_name("ab-ground"), move |stop| {
                clean::run_ground(&ground, stop)
            })?),
            None => None,
        };
        let mut ahead = Vec::new();
        for _ in 0..READ_AHEAD_THREADS {
            let Some(blocks) = disk.cold.read_ahead() else { break };
            let name = plan.thread_name("ab-ahead");
            ahead.push(Worker::start(name, move |stop| reads::run_ahead(&blocks, stop))?);
        }
        let mut writers = Vec::new();
        for _ in 0..WRITE_THREADS {
            let Some(runs) = disk.cold.writers() else { break };
            writers.push(Worker::start(plan.thread_name("ab-write"), move |_| runs.serve())?);
        }
        if let Some(pieces) = disk.cold.index_writers() {
            writers.push(Worker::start(plan.thread_name("ab-index"), move |_| pieces.serve())?);
        }
        let disk = Worker::start(plan.thread_name("ab-disk"), move |stop| disk.run(stop))?;

        let waker = net.waker();
        let (errands, cold_ends) = Errands::new();
        errands.woken_by(wakes(&waker));
        let mut reads = Reads::new(cold_ends, reader);
        let reads = Worker::start(plan.thread_name("ab-reads"), move |stop| {
            reads.ends().requests.sleeps_as(std::thread::current());
            while !stop.load(Ordering::Acquire) {
                if reads.step(QUESTIONS_PER_STEP_MAX) == 0 {
                    std::thread::park_timeout(PARK_MAX);
                }
            }
        })?;

        let servers = &config.namesrv_addr.0;
        let (routes, asker) = match servers.is_empty() {
            true => (None, None),
            false => {
                let (routes, ends) = Routes::new();
                routes.woken_by(wakes(&waker));
                let asker = RouteAsker::start(servers.clone(), ends).map_err(RunError::Thread)?;
                (Some(routes), Some(asker))
            }
        };

        let (persist, persist_ops) = lane::<PersistOp>(PERSIST_LANE_MAX);
        let ip = config.broker_ip1.expect("a loaded configuration has an address");
        let address = SocketAddr::new(ip, config.listen_port);
        let ha_ip = config.broker_ip2.unwrap_or(ip);
        let identity = Identity {
            cluster: config.broker_cluster_name.clone(),
            broker_name: config.broker_name.clone(),
            broker_id: config.broker_id,
            broker_addr: address.to_string(),
            ha_server_addr: SocketAddr::new(ha_ip, config.ha_listen_port).to_string(),
        };
        let pace = Pace {
            period: Duration::from_millis(config.register_name_server_period),
            answer_wait_max: Duration::from_millis(config.register_broker_timeout_mills),
        };
        let (tables, newest) = watch::channel(None);
        let registrar = Registrar::start(servers, identity, pace, newest).map_err(RunError::Thread)?;
        let keeper = keeper(config, mirror, persist_ops, tables, Arc::clone(&medium), &config_dir, now_ms)
            .map_err(RunError::Thread)?;

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
        if sync {
            broker.wakes_disk(disk.thread.thread().clone());
        }
        let mut shard = Shard::new(net, broker);
        let sight = sight(plan, address, &mut shard, &waker);
        let core = plan.core;
        let shard = Worker::start(plan.thread_name("ab-shard"), move |stop| run_shard(shard, core, stop))?;
        let keeper = Worker::start(plan.thread_name("ab-keeper"), move |stop| keeper.run(stop))?;
        Ok(Running {
            address,
            recovery,
            registrar,
            routes: asker,
            shard,
            keeper,
            reads,
            ahead,
            clean,
            ground,
            writers,
            disk,
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
        let found = &self.recovery;
        log::info!(
            "log from {} to {}, {} queues; last stop {}; {} and {} records looked at in {} ms",
            found.min,
            found.max,
            found.queues.len(),
            if found.clean { "clean" } else { "not clean" },
            Amount(found.scanned_bytes),
            found.scanned_records,
            found.ms
        );
        match found.hot {
            HotFound::None => {}
            HotFound::Replayed => log::info!(
                "{} and {} records of the hot log were not in the files yet: they are now",
                Amount(found.replayed_bytes),
                found.replayed_records
            ),
            HotFound::Diverged => {
                log::warn!(
                    "another broker has written these files since: {} records that only the hot log had are appended again",
                    found.replayed_records
                );
            }
            HotFound::Detached => log::warn!(
                "the files end before the hot log found begins, so they are older than it: not replayed"
            ),
        }
        if let Some((at, error)) = &found.cut {
            log::warn!("the log ends at {at}, where {error}");
        }
        log::info!("hot log in {}", found.hot_kind);
        for remark in &found.remarks {
            log::warn!("{remark}");
        }
    }

    /// Signs off, lets answers leave, completes the files. What fails is told after all else was tried.
    pub fn stop(self) -> Result<(), RunError> {
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
        for ahead in self.ahead {
            let _ = ahead.end();
        }
        let _ = self.clean.end();
        let _ = self.ground.map(Worker::end);
        shard?;
        let closed = self.disk.end().map_err(|_| RunError::ShardPanicked)?;
        for writer in self.writers {
            let _ = writer.end(); // The disk thread's end is theirs.
        }
        closed?;
        Ok(())
    }
}

impl<T: Send + 'static> Worker<T> {
    fn start(
        name: String,
        body: impl FnOnce(&Arc<AtomicBool>) -> T + Send + 'static,
    ) -> Result<Worker<T>, RunError> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = speaker::spawn(name, move || body(&stopped)).map_err(RunError::Thread)?;
        Ok(Worker { thread, stop })
    }

    fn end(self) -> std::thread::Result<T> {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        self.thread.join()
    }
}

/// The polling loop of one core.
fn run_shard<N: Net>(mut shard: Shard<N>, core: Option<usize>, stop: &Arc<AtomicBool>) {
    if let Some(id) = core
        && !core_affinity::set_for_current(core_affinity::CoreId { id })
    {
        log::warn!("the polling thread could not be pinned to core {id}");
    }
    let mut clock = RealClock::start();
    shard.open_sight(clock.fine(), &clock.read());
    while !stop.load(Ordering::Relaxed) {
        let now = clock.read();
        if shard.turn(&now) == 0 {
            // Somebody waits for the disk: a look at it must not be late.
            let max = if shard.broker.gate.is_empty() { IDLE_WAIT_MAX } else { Duration::ZERO };
            shard.net.idle_wait(&now, max);
        }
    }
    finish_shard(&mut shard, &mut clock);
}

/// Every connection gets what it is owed and ends; then what changed goes to the keeper.
fn finish_shard<N: Net>(shard: &mut Shard<N>, clock: &mut RealClock) {
    let began = Instant::now();
    shard.close_all();
    while shard.net.conns_len() > 0 && began.elapsed() < GOODBYE_MAX {
        let now = clock.read();
        if shard.turn(&now) == 0 {
            shard.net.idle_wait(&now, Duration::from_millis(1));
        }
    }
    while !shard.broker.keep_everything(&clock.read()) && began.elapsed() < HAND_OVER_MAX {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn keeper(
    config: &Config,
    mirror: Mirror,
    ops: crate::lane::LaneOut<PersistOp>,
    tables: watch::Sender<Option<Tables>>,
    medium: Arc<dyn Medium>,
    config_dir: &Path,
    now_ms: i64,
) -> std::io::Result<Keeper<FilesThread>> {
    let millis = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    let intervals = Intervals {
        consumer_offsets_ms: millis(config.flush_consumer_offset_interval),
        delay_offsets_ms: millis(config.flush_delay_offset_interval),
    };
    let files = FilesThread::start(Directory { medium, dir: config_dir.to_path_buf() })?;
    Ok(Keeper::new(ops, mirror, files, tables, intervals, config.broker_permission.0, now_ms))
}

/// The directory `config/` on a medium.
struct Directory {
    medium: Arc<dyn Medium>,
    dir: std::path::PathBuf,
}

impl ConfigFiles for Directory {
    fn replace(&mut self, file: ConfigFile, text: &str) -> Result<(), MediumError> {
        config_files::replace(&*self.medium, &self.dir.join(file.name()), text.as_bytes())
    }
}

/// Opens the broker to operators on this host; one that cannot be looked into serves all the same.
fn sight<N: Net>(
    plan: &ShardPlan,
    address: SocketAddr,
    shard: &mut Shard<N>,
    waker: &Waker,
) -> Option<SightServer> {
    let config = &plan.config;
    let (sight, ends) = Sight::new();
    sight.woken_by(wakes(waker));
    let about = About {
        name: config.broker_name.clone(),
        address: address.to_string(),
        device: config.device.show(),
        shard: plan.number,
        core: plan.core,
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION"),
    };
    let folder = &config.store_path_root_dir;
    let recorder_bytes = config.flight_recorder_bytes.0 as usize;
    if config.latency_bound_micros > 0 && recorder_bytes == 0 {
        log::warn!("latencyBoundMicros writes nothing while flightRecorderBytes is 0; set it, as in 16M");
    }
    match SightServer::start(folder, about, ends, recorder_bytes) {
        Ok(server) => {
            shard.sight = Some(sight);
            Some(server)
        }
        Err(error) => {
            log::warn!("nobody can look in through {}: {error}", folder.join(SOCKET).display());
            None
        }
    }
}

fn wakes(waker: &Waker) -> impl Fn() + Send + Sync + 'static {
    let waker = waker.clone();
    move || waker.wake()
}

const PARK_MAX: Duration = Duration::from_secs(1);
/// A shard without traffic looks around this often: timers of the broker are no finer.
const IDLE_WAIT_MAX: Duration = Duration::from_millis(10);
/// As many as the store has runs under way.
const WRITE_THREADS: usize = 2;
/// What keeps a disk busy.
const READ_AHEAD_THREADS: usize = 2;
const QUESTIONS_PER_STEP_MAX: u32 = 16;
const PERSIST_LANE_MAX: usize = 4096;
/// How long peers may take to take what they are owed.
const GOODBYE_MAX: Duration = Duration::from_millis(500);
const HAND_OVER_MAX: Duration = Duration::from_secs(5);
