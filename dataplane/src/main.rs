//! `afterburner-dataplane`: parse -> plan -> open the store -> threads -> serve until told to stop.
//!
//! ```text
//! main: waits for SIGTERM or Ctrl-C
//! for each core of `cores`:  ab-shard: the polling loop, pinned
//!                            ab-disk, ab-reads, ab-keeper, ab-namesrv, ab-routes: the ordinary threads of cold/
//! ```
//!
//! The only file that picks the real clock, device and medium. A stop goes the other way round: the name servers are
//! told, the shard finishes, the files are completed.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use dataplane::alloc::Counting;
use dataplane::args::{self, Args, ArgsError};
use dataplane::config::{self, Config, ConfigErrors, Device, FlushDiskType};
use dataplane::device::mac_for;
use dataplane::device::tap::{Tap, TapConfig, TapError};
use dataplane::device::xdp::{Polling, Scope, Steering, Xdp, XdpConfig, XdpError};
use dataplane::host;
use dataplane::limits::SHARDS_MAX;
use dataplane::net::front::Address;
use dataplane::net::kernel::KernelNet;
use dataplane::net::stack::{Stack, StackConfig};
use dataplane::net::{Net, NetLimits, idle::Spin};
use dataplane::plan::{Plan, PlanError, ShardPlan};
use dataplane::rng::Rng;
use dataplane::shards::{self, ShardError, Shards};
use dataplane::speaker::{speak_for, start_logging};
use dataplane::store_tool;
use store::{FlushMode, IndexShape, Medium, RealMedium, Retention, StoreConfig};
use tokio::signal::unix::{Signal, SignalKind, signal};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Args(#[from] ArgsError),
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Tap(#[from] TapError),
    #[error(transparent)]
    Xdp(#[from] XdpError),
    #[error(
        "cannot take memory or descriptors for connections: {0}; lower connectionsMax, or raise `ulimit -n`"
    )]
    Net(std::io::Error),
    #[error(transparent)]
    Shard(#[from] ShardError),
    #[error("{0}; what is missing in the files is in the hot log, and the next start puts it there")]
    Stop(ShardError),
    #[error("cannot wait for signals: {0}")]
    Signals(std::io::Error),
}

impl StartError {
    /// What could not be done.
    fn when(&self) -> &'static str {
        match self {
            StartError::Stop(_) => "did not stop cleanly",
            _ => "does not start",
        }
    }
}

fn main() -> ExitCode {
    let began = Instant::now();
    let mut words = std::env::args_os();
    if words.nth(1).is_some_and(|word| word == "store") {
        return look_at_store();
    }
    let args = Args::parse();
    start_logging("info");
    match start(&args, began) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("afterburner-dataplane {}:\n{error}", error.when());
            ExitCode::FAILURE
        }
    }
}

/// `afterburner-dataplane store ..`: no broker is started.
fn look_at_store() -> ExitCode {
    start_logging("warn");
    let args = store_tool::StoreArgs::parse_from(std::env::args_os().skip(1));
    store_tool::run(&args).unwrap_or_else(|sentence| {
        eprintln!("afterburner store: {sentence}");
        ExitCode::FAILURE
    })
}

fn start(args: &Args, began: Instant) -> Result<(), StartError> {
    if args.help_keys {
        print!("{}", args::explain_keys());
        return Ok(());
    }
    let host = host::host();
    let loaded = config::load(&args.sources(std::env::var("NAMESRV_ADDR").ok())?, &host)?;
    let config = loaded.config;
    if args.print_all || args.print_important {
        print!("{}", args::print_settings(&config, !args.print_all));
        return Ok(());
    }
    for warning in &loaded.warnings {
        log::warn!("{warning}");
    }
    let plan = Plan::make(&config, &host::facts())?;
    print!("Afterburner {}\n{plan}", env!("CARGO_PKG_VERSION"));
    if plan.lock_memory
        && let Err(error) = host::lock_memory()
    {
        log::warn!("memory is not locked: {error}");
    }
    // From here on a signal is a wish to stop, not a death.
    let signals =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Signals)?;
    let told = {
        let _inside = signals.enter();
        Told::new().map_err(StartError::Signals)?
    };
    warn_of_idle_stores(&config, plan.shards.len());
    shards::abort_on_panic();
    // All networks first: what is wrong with one is told before a store is touched.
    let each = plan.shards.iter().map(|shard| &shard.config);
    match &config.device {
        Device::Tap { .. } => {
            let nets = each
                .map(|config| speak_for(config.speaker(), || tap(config)))
                .collect::<Result<Vec<_>, _>>()?;
            serve(nets, &plan, began, &signals, told)
        }
        Device::Xdp { .. } => {
            let nets = xdp(&each.collect::<Vec<_>>())?;
            serve(nets, &plan, began, &signals, told)
        }
        Device::Kernel { .. } => {
            let nets = each
                .map(|config| speak_for(config.speaker(), || kernel(config)))
                .collect::<Result<Vec<_>, _>>()?;
            serve(nets, &plan, began, &signals, told)
        }
    }
}

/// Stores of shards that ran here with more cores: nobody serves what is in them.
fn warn_of_idle_stores(config: &Config, shards: usize) {
    for number in shards..SHARDS_MAX {
        let folder = config::shard_folder(&config.store_path_root_dir, number);
        if folder.join("commitlog").is_dir() {
            log::warn!(
                "{} is the store of shard {number}, and {shards} of `cores` are listed: its messages are not served until                  {} are",
                folder.display(),
                number + 1
            );
        }
    }
}

/// Starts everything over one kind of network, and stops it when told.
fn serve<N: Net + Send + 'static>(
    nets: Vec<N>,
    plan: &Plan,
    began: Instant,
    signals: &tokio::runtime::Runtime,
    mut told: Told,
) -> Result<(), StartError> {
    if let Err(error) = host::leave_cores(&plan.cores()) {
        log::warn!("the threads for disk and name servers may run on the polling cores, too: {error}");
    }
    let medium: Arc<dyn Medium> = Arc::new(RealMedium::new());
    let shards = Shards::start(nets, &plan.shards, store_config, &medium)?;
    let all_known = shards.wait_until_known(KNOWN_WAIT_MAX);
    for ((name, running), shard) in shards.iter().zip(&plan.shards) {
        let (known, all) = running.standing();
        if !all_known && known < all {
            log::warn!("{known} of {all} name servers know {name} yet; registration goes on");
        }
        // Scripts wait for this line; it is the official one.
        let namesrv_addr: Vec<String> = shard.config.namesrv_addr.0.iter().map(ToString::to_string).collect();
        let tail = match namesrv_addr.len() {
            0 => String::new(),
            _ => format!(" and name server is {}", namesrv_addr.join(";")),
        };
        println!("The broker[{name}, {}] boot success. serializeType=JSON{tail}", running.address());
    }
    log::info!("ready after {} ms", began.elapsed().as_millis());

    signals.block_on(told.wait());
    log::info!("stopping; a second signal ends it at once");
    let stopping = std::thread::spawn(move || shards.stop());
    let outcome = signals.block_on(async {
        loop {
            if stopping.is_finished() {
                return Some(stopping);
            }
            if tokio::time::timeout(STOP_LOOK, told.wait()).await.is_ok() {
                return None;
            }
        }
    });
    match outcome.map(std::thread::JoinHandle::join) {
        Some(Ok(stopped)) => {
            stopped.map_err(StartError::Stop)?;
            log::info!("stopped; the files are complete");
            Ok(())
        }
        Some(Err(_)) => std::process::abort(), // A panic in the stop has been printed; the next start recovers.
        None => std::process::exit(KILLED_EXIT),
    }
}

/// Wishes to stop.
struct Told {
    terminate: Signal,
    interrupt: Signal,
}

impl Told {
    fn new() -> std::io::Result<Told> {
        Ok(Told { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Sockets of the kernel.
fn kernel(config: &Config) -> Result<KernelNet, StartError> {
    let Device::Kernel { ip } = config.device else { unreachable!("asked for kernel sockets only") };
    let address = IpAddr::V4(ip.unwrap_or(config.bind_address));
    KernelNet::new(address, limits(config), Spin::Adaptive).map_err(StartError::Net)
}

/// Our stack behind a TAP. An interface that a process which has just died still holds is waited for.
fn tap(config: &Config) -> Result<Stack<Tap>, StartError> {
    let Device::Tap { name } = &config.device else { unreachable!("asked for a TAP only") };
    let host_end = config.gateway.unwrap_or_else(|| config.address.host_end());
    let tap_config = TapConfig {
        name: name.to_owned(),
        mac: mac_for(config.address.ip),
        host: Some((host_end, config.address.prefix_len)),
        persist: false,
    };
    let began = Instant::now();
    let tap = loop {
        match Tap::open(&tap_config) {
            Err(TapError::Busy { .. }) if began.elapsed() < BUSY_WAIT_MAX => {
                std::thread::sleep(Duration::from_millis(10));
            }
            opened => break opened?,
        }
    };
    stack(tap, config, Some(host_end))
}

/// A stack for each shard on a NIC that the host keeps using: one address, and ports of their own. Queues that a process
/// which has just died still holds are waited for.
fn xdp(shards: &[&Config]) -> Result<Vec<Stack<Xdp>>, StartError> {
    let first = shards.first().expect("there is a shard");
    let Device::Xdp { interface } = &first.device else { unreachable!("asked for a card only") };
    let ip = first.address.ip;
    let ports: Vec<Vec<u16>> =
        shards.iter().map(|config| vec![config.listen_port, config.listen_port - 2]).collect();
    let scope = if host::has_address(ip) {
        let told: Vec<String> = shards.iter().map(|config| config.listen_port.to_string()).collect();
        log::info!(
            "{interface}: {ip} is the host's own address too: TCP to port {} is taken, the host answers the rest",
            told.join(", ")
        );
        Scope::Shared { ports: ports.concat() }
    } else {
        Scope::Alone
    };
    let xdp_config = XdpConfig {
        interface: interface.to_owned(),
        steering: Steering { ip, scope },
        polling: Polling { need_wakeup: first.xdp_need_wakeup, busy_poll_micros: first.xdp_busy_poll },
    };
    let began = Instant::now();
    let devices = loop {
        match Xdp::open_shards(&xdp_config, &ports) {
            Err(error) if error.is_busy() && began.elapsed() < BUSY_WAIT_MAX => {
                std::thread::sleep(Duration::from_millis(10));
            }
            opened => break opened?,
        }
    };
    let stack = |(device, config): (Xdp, &&Config)| {
        let stack = speak_for(config.speaker(), || stack(device, config, config.gateway))?;
        let waker = stack.waker();
        stack.device().woken_by(move || waker.wake());
        Ok(stack)
    };
    devices.into_iter().zip(shards).map(stack).collect()
}

fn stack<D: dataplane::device::Device>(
    device: D,
    config: &Config,
    gateway: Option<std::net::Ipv4Addr>,
) -> Result<Stack<D>, StartError> {
    if config.device_loss != config::Share::NONE {
        log::warn!("deviceLoss: segments are lost on purpose; remove it when the experiment is over");
    }
    let address = Address { ip: config.address.ip, prefix_len: config.address.prefix_len, gateway };
    let stack_config = StackConfig {
        limits: limits(config),
        clock_factor: config.stack_clock,
        loss: config.device_loss.as_f64(),
        roll_path: roll_path(config),
        ..StackConfig::new(address)
    };
    Stack::new(device, stack_config, &mut Rng::from_os()).map_err(StartError::Net)
}

/// Where open connections are noted for the case of a kill; none while there is no store directory yet.
fn roll_path(config: &Config) -> Option<PathBuf> {
    let root = &config.store_path_root_dir;
    match std::fs::create_dir_all(root) {
        Ok(()) => Some(root.join("connections")),
        Err(error) => {
            log::warn!("connections are not noted in {}: {error}", root.display());
            None
        }
    }
}

fn limits(config: &Config) -> NetLimits {
    NetLimits { conns_max: config.connections_max as usize, ..NetLimits::default() }
}

fn store_config(shard: &ShardPlan) -> StoreConfig {
    let config = &shard.config;
    StoreConfig {
        commitlog: config.store_path_commit_log.clone(),
        commitlog_file_bytes: config.mapped_file_size_commit_log,
        consumequeue_file_bytes: config.mapped_file_size_consume_queue,
        flush: match config.flush_disk_type {
            FlushDiskType::AsyncFlush => FlushMode::Async,
            FlushDiskType::SyncFlush => FlushMode::Sync,
        },
        record_bytes_max: config.max_message_size as usize + RECORD_EXTRA_BYTES,
        delay_levels_ms: config.message_delay_level.delays_ms().to_vec(),
        retention: Retention {
            reserved_ms: i64::from(config.file_reserved_time) * 3_600_000,
            hours: config.delete_when.0.clone(),
            // Within the bounds of the official broker.
            used_percent_max: config.disk_max_used_space_ratio.clamp(10, 95),
            forced_percent: config.disk_space_clean_forcibly_ratio.clamp(30, 85),
            full_percent: config.disk_space_warning_level_ratio.clamp(35, 90),
            may_force: config.clean_file_forcibly_enable,
            bytes_max: Some(config.commit_log_bytes_max.0).filter(|bytes| *bytes > 0),
            interval_ms: i64::try_from(config.clean_resource_interval).unwrap_or(i64::MAX),
            files_per_round: config.delete_file_batch_max.max(1) as usize,
        },
        index: config.message_index_enable,
        index_shape: IndexShape { slots: config.max_hash_slot_num, entries: config.max_index_num },
        utc_offset_ms: host::utc_offset_ms(),
        hot_dir: config.hot_log_path.clone(),
        hot_bytes: config.hot_log_bytes.0 as usize,
        ..StoreConfig::new(&config.store_path_root_dir)
    }
}

/// Name servers that do not answer within this time do not hold up the ready line.
const KNOWN_WAIT_MAX: Duration = Duration::from_millis(800);
const STOP_LOOK: Duration = Duration::from_millis(5);
/// How long an interface may stay busy after its last user died.
const BUSY_WAIT_MAX: Duration = Duration::from_secs(2);
/// What a record may have beyond its body: RocketMQ's own allowance.
const RECORD_EXTRA_BYTES: usize = 64 << 10;
/// As a shell reports a process that was interrupted.
const KILLED_EXIT: i32 = 130;
