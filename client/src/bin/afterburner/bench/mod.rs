//! `afterburner bench`: how fast a broker takes and gives messages, and what that costs it.
//!
//! ```text
//!   for every round:  for every server (tap, xdp, kernel, stub, peers, or one that runs):  for every load:
//!      warm up -> look at the server -> settle -> measure -> look again
//! ```
//!
//! A server that cannot be had here is skipped, and why is said. Servers take turns within each round, so that a busy neighbour hits all of them. The load is one thread on a core
//! of its own that polls; the server has the other core. `stub` is the load generator's own ceiling: where a server's
//! figure comes near it, the generator is what was measured.

mod beside;
mod conn;
mod frames;
mod interrupt;
mod load;
mod measure;
mod names;
mod pull;
mod report;
mod rota;
mod server;
mod stub;
mod subject;
mod target;
mod veth;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use report::{Figures, Row, Skipped};
use subject::{Ours, Peer, Peers, Subject, resolve};
use target::{Start, Target};

use crate::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Start our broker on each of these devices and alternate between them: tap; kernel, over loopback; xdp, over a veth
    /// pair; kernel-veth, kernel sockets over the same; kernel-veth-mtu, with segments of the MTU as xdp has them; bare-tap and
    /// bare-xdp, our stack without a broker; stub measures the load generator itself. A device may be followed by settings of its broker, as in
    /// tap+flushDiskType=SYNC_FLUSH, and the TAP by that of the host's route to it, tap+rto_min=200ms
    #[arg(long, value_name = "DEVICES", value_delimiter = ',', default_value = "tap,kernel")]
    compare: Vec<String>,
    /// Alternate with this broker too, which runs already; with its process it is stopped while others have their turn.
    /// May be given many times
    #[arg(long, value_name = "NAME=HOST:PORT[,PID]", conflicts_with_all = ["broker", "namesrv"])]
    peer: Vec<Peer>,
    /// Measure this broker, which runs already, instead
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "namesrv")]
    broker: Option<String>,
    /// Measure the first broker this name server knows, instead
    #[arg(short = 'n', long, value_name = "HOST:PORT")]
    namesrv: Option<String>,
    /// The process of the broker that runs already, to tell what it costs
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// What to do, one after another
    #[arg(long, value_enum, value_delimiter = ',', default_value = "ping,pipeline")]
    loads: Vec<LoadKind>,
    /// Bytes of a message's body
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Messages in one request (pipeline, open)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch: u16,
    /// Connections (pipeline, open, pull, rota); of several numbers all loads take each
    #[arg(long, value_delimiter = ',', default_value = "8", value_parser = clap::value_parser!(u16).range(1..=20_000))]
    connections: Vec<u16>,
    /// Requests under way on each connection (pipeline), or on all of them together (rota)
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    window: u16,
    /// Further connections, which say nothing
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=20_000))]
    idle: u16,
    /// Queues that each connection pulls at a time (pull, beside)
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pull_queues: u16,
    /// Messages a second (open)
    #[arg(long, default_value_t = 100_000.0)]
    rate: f64,
    /// How requests are written
    #[arg(long, value_enum, default_value = "binary")]
    codec: CodecName,
    /// Seconds measured in each round
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Seconds before that which do not count
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// How often everything is done
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The core this program polls on
    #[arg(long, default_value_t = 1)]
    client_core: usize,
    /// The core a broker started here polls on
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// Memory for messages of a broker started here
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    hot_log_mib: u64,
    /// Where a broker started here keeps its store, which is deleted afterwards
    #[arg(long, value_name = "FOLDER")]
    store: Option<PathBuf>,
    /// Set one key of a broker started here; may be given many times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Print JSON; the table goes to the error output
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LoadKind {
    /// Send, one request at a time on one connection
    Ping,
    /// Send, `window` requests under way on each of `connections`
    Pipeline,
    /// Send at a fixed rate, whatever the server does; latency counts from when a request was due
    Open,
    /// Pull messages that were sent before and are still in memory
    Pull,
    /// Send 100 bytes, one request at a time on one connection
    Small,
    /// The same, while another connection pulls as fast as it can
    Beside,
    /// Send on `connections` in turn, `window` of them at a time with one request each
    Rota,
}

impl LoadKind {
    fn takes_connections(self) -> bool {
        matches!(self, LoadKind::Pipeline | LoadKind::Open | LoadKind::Pull | LoadKind::Rota)
    }
}

/// A load as one row has it.
#[derive(Clone, Copy, Debug)]
struct LoadOf {
    kind: LoadKind,
    connections: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CodecName {
    Json,
    Binary,
}

pub fn run(args: Args) -> Outcome {
    let subjects = subjects(&args)?;
    names::sweep();
    interrupt::watch()?;
    let _peers = Peers::stopped(&args.peer);
    let connections_max = args.connections.iter().copied().max().unwrap_or(0);
    raise_limit_of_files(usize::from(connections_max) + usize::from(args.idle));
    let loads = loads(&args);
    let start = Start {
        server_core: Some(args.server_core),
        hot_log_mib: args.hot_log_mib,
        store: args.store.clone().unwrap_or_else(scratch_folder),
        set: args.set.clone(),
    };
    let mut rows: Vec<Vec<Row>> =
        subjects.iter().map(|subject| loads.iter().map(|load| row(subject, load, &args)).collect()).collect();
    let mut skipped: Vec<Skipped> = Vec::new();
    let shows_progress = std::io::stderr().is_terminal();
    for round in 1..=args.rounds {
        for (subject, rows) in subjects.iter().zip(&mut rows) {
            let is_out = |skipped: &[Skipped], load: &str| {
                skipped.iter().any(|out| {
                    out.server == subject.name() && out.load.as_deref().is_none_or(|out| out == load)
                })
            };
            if interrupt::is_asked() || is_out(&skipped, "") {
                continue;
            }
            let target = match Target::ready(subject, &start) {
                Ok(target) => target,
                Err(why) => {
                    skipped.push(Skipped { server: subject.name(), load: None, why });
                    continue;
                }
            };
            for (load, row) in loads.iter().zip(rows.iter_mut()) {
                if subject.only_answers_sends() && matches!(load.kind, LoadKind::Pull | LoadKind::Beside) {
                    continue; // It has nothing to give.
                }
                if interrupt::is_asked() || is_out(&skipped, &row.load) {
                    continue;
                }
                if shows_progress {
                    eprint!("\r{:78}\rround {round}/{}: {} {}", "", args.rounds, row.subject, row.load);
                }
                match on_core(args.client_core, || measure::measure(load, &target, &args)) {
                    Ok(measured) => row.add(measured),
                    Err(why) => {
                        skipped.push(Skipped { server: subject.name(), load: Some(row.load.clone()), why });
                    }
                }
            }
        }
    }
    if shows_progress {
        eprint!("\r{:78}\r", "");
    }
    let figures: Vec<Figures> = rows.iter().flatten().filter(|row| row.has_run()).map(Row::figures).collect();
    let mut table = report::table(&figures);
    table.extend(skipped.iter().map(|skipped| format!("{skipped}\n")));
    if args.json {
        let text = serde_json::json!({
            "machine": machine(),
            "codec": format!("{:?}", args.codec),
            "rows": figures,
            "skipped": skipped,
        });
        eprint!("{table}");
        println!("{text:#}");
    } else {
        print!("{table}");
    }
    // A broken pipe is the reader's choice.
    let _ = std::io::stdout().flush();
    let is_clean = figures.iter().all(|row| row.refused == 0 && row.messages > 0)
        && skipped.iter().all(|skipped| skipped.load.is_none())
        && !figures.is_empty();
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn subjects(args: &Args) -> Result<Vec<Subject>, String> {
    let running = match (&args.broker, &args.namesrv) {
        (Some(addr), _) => Some(resolve(addr)?),
        (None, Some(addr)) => Some(target::first_master(resolve(addr)?)?),
        (None, None) => None,
    };
    if let Some(addr) = running {
        return Ok(vec![Subject::Running { addr, pid: args.server_pid }]);
    }
    let named = args.compare.iter().filter(|name| !name.is_empty()).map(|name| match name.as_str() {
        "stub" => Subject::Stub,
        ours => Subject::Ours(Ours::named(ours)),
    });
    Ok(named.chain(args.peer.iter().cloned().map(Subject::Peer)).collect())
}

/// Each kind with each number of connections, where that makes a difference.
fn loads(args: &Args) -> Vec<LoadOf> {
    let of = |kind: LoadKind| {
        let numbers = if kind.takes_connections() { &args.connections[..] } else { &[1] };
        numbers.iter().map(move |&connections| LoadOf { kind, connections })
    };
    args.loads.iter().copied().flat_map(of).collect()
}

fn row(subject: &Subject, load: &LoadOf, args: &Args) -> Row {
    let &LoadOf { kind, connections } = load;
    let shape = match kind {
        LoadKind::Ping => "1 x 1".to_owned(),
        LoadKind::Pipeline => format!("{connections} x {}", args.window),
        LoadKind::Open => format!("{connections} at {}/s", args.rate),
        LoadKind::Pull => format!("{connections} x {}", args.pull_queues),
        LoadKind::Small => "1 x 1".to_owned(),
        LoadKind::Beside => "1 x 1, and pulls".to_owned(),
        LoadKind::Rota => format!("{} of {connections}", args.window.min(connections)),
    };
    let shape = if args.idle > 0 { format!("{shape}, {} idle", args.idle) } else { shape };
    let batch = if args.batch > 1 { format!(" of {}", args.batch) } else { String::new() };
    let load = match kind {
        LoadKind::Ping | LoadKind::Rota => format!("send {} B", args.size),
        LoadKind::Small => format!("send {SMALL_BYTES} B"),
        LoadKind::Beside => format!("send {SMALL_BYTES} B, pull {} B", args.size),
        LoadKind::Pipeline | LoadKind::Open => format!("send {} B{batch}", args.size),
        LoadKind::Pull => format!("pull {} B", args.size),
    };
    let bytes = if matches!(kind, LoadKind::Small | LoadKind::Beside) { SMALL_BYTES } else { args.size };
    Row::new(&subject.name(), &load, &shape, connections.into(), bytes)
}

/// Runs the load on a thread of its own: what is started from here must not inherit the core.
fn on_core<T: Send>(core: usize, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let pinned = scope.spawn(|| {
            pin(Some(core));
            work()
        });
        pinned.join().expect("the load does not panic")
    })
}

/// Binds this thread to a core; a machine without that core is told so once and runs on.
pub(crate) fn pin(core: Option<usize>) {
    if let Some(id) = core
        && !core_affinity::set_for_current(core_affinity::CoreId { id })
    {
        eprintln!("afterburner: cannot bind a thread to core {id}; the figures will vary more");
    }
}

/// A disk, as a broker has it: files in memory cost the write-out a copy and its pages, and what nobody runs is measured.
fn scratch_folder() -> PathBuf {
    let is_roomy_disk = |folder: &Path| {
        let is_disk = rustix::fs::statfs(folder).is_ok_and(|stat| stat.f_type != TMPFS_MAGIC);
        let free = rustix::fs::statvfs(folder).map_or(0, |stat| stat.f_bavail * stat.f_frsize);
        is_disk && free > STORE_BYTES_MIN
    };
    let temp = std::env::temp_dir();
    [&temp, Path::new("/var/tmp")]
        .into_iter()
        .find(|folder| is_roomy_disk(folder))
        .unwrap_or(&temp)
        .to_owned()
}

/// Of this process and those it starts: each connection is a file at both ends.
fn raise_limit_of_files(connections: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let wanted = connections as u64 + FILES_BESIDE;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < wanted) {
        let new = Rlimit { current: Some(maximum.map_or(wanted, |maximum| maximum.min(wanted))), maximum };
        if let Err(error) = setrlimit(Resource::Nofile, new) {
            eprintln!("afterburner: cannot have {wanted} files open: {error}");
        }
    }
}

fn machine() -> serde_json::Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("");
    serde_json::json!({
        "cpu": model.trim_start_matches([' ', '\t', ':']),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
    })
}

const SMALL_BYTES: usize = 100;
const FILES_BESIDE: u64 = 200;
const STORE_BYTES_MIN: u64 = 8 << 30;
const TMPFS_MAGIC: i64 = 0x0102_1994;
