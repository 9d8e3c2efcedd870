//! `afterburner bench`: how fast a broker takes and gives messages, and what that costs it.
//!
//! ```text
//!   for every round:  for every server (tap, xdp, kernel, stub, or one that runs):  for every load:
//!      warm up -> look at the server -> measure -> look again
//! ```
//!
//! Servers take turns within each round, so that a busy neighbour hits all of them. The load is one thread on a core
//! of its own that polls; the server has the other core. `stub` is the load generator's own ceiling: where a server's
//! figure comes near it, the generator is what was measured.

mod conn;
mod frames;
mod load;
mod pull;
mod report;
mod server;
mod stub;
mod target;
mod veth;

use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use frames::{Template, send_request};
use load::Load;
use protocol::frame::Codec;
use pull::PullLoad;
use report::{Figures, Round, Row};
use server::{Usage, Used, Who};
use target::{Start, Subject, Target};

use crate::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Start our broker on each of these devices and alternate between them: tap; kernel, over loopback; xdp, over a veth
    /// pair; kernel-veth, kernel sockets over the same; kernel-veth-mtu, with segments of the MTU as xdp has them; stub
    /// measures the load generator itself
    #[arg(long, value_name = "DEVICES", value_delimiter = ',', default_value = "tap,kernel")]
    compare: Vec<String>,
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
    /// Connections (pipeline, open, pull)
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// Requests under way on each connection (pipeline)
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    window: u16,
    /// Queues that each connection pulls at a time (pull)
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
    /// Pull messages that were sent before
    Pull,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CodecName {
    Json,
    Binary,
}

pub fn run(args: Args) -> Outcome {
    let subjects = subjects(&args)?;
    let start = Start {
        server_core: Some(args.server_core),
        hot_log_mib: args.hot_log_mib,
        store: args.store.clone().unwrap_or_else(scratch_folder),
        set: args.set.clone(),
    };
    let mut rows: Vec<Vec<Row>> = subjects
        .iter()
        .map(|subject| args.loads.iter().map(|kind| row(subject, *kind, &args)).collect())
        .collect();
    for round in 1..=args.rounds {
        for (subject, rows) in subjects.iter().zip(&mut rows) {
            let target = Target::ready(subject, &start)?;
            for (kind, row) in args.loads.iter().zip(rows.iter_mut()) {
                if *subject == Subject::Stub && *kind == LoadKind::Pull {
                    continue; // It has nothing to give.
                }
                eprint!("\rround {round}/{}: {} {}        ", args.rounds, row.subject, row.load);
                let measured = on_core(args.client_core, || measure(*kind, &target, &args));
                row.add(measured.map_err(|reason| format!("{} {}: {reason}", row.subject, row.load))?);
            }
        }
    }
    eprintln!("\r{:60}\r", "");
    let figures: Vec<Figures> = rows.iter().flatten().filter(|row| row.has_run()).map(Row::figures).collect();
    let table = report::table(&figures);
    if args.json {
        let text = serde_json::json!({ "machine": machine(), "codec": format!("{:?}", args.codec), "rows": figures });
        eprint!("{table}");
        println!("{text:#}");
    } else {
        print!("{table}");
    }
    // A broken pipe is the reader's choice.
    let _ = std::io::stdout().flush();
    let is_clean = figures.iter().all(|row| row.refused == 0 && row.messages > 0);
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn subjects(args: &Args) -> Result<Vec<Subject>, String> {
    let resolve = |text: &str| -> Result<SocketAddr, String> {
        let mut found = text.to_socket_addrs().map_err(|error| format!("{text} is no address: {error}"))?;
        found.next().ok_or_else(|| format!("{text} is no address"))
    };
    let running = match (&args.broker, &args.namesrv) {
        (Some(addr), _) => Some(resolve(addr)?),
        (None, Some(addr)) => Some(target::first_master(resolve(addr)?)?),
        (None, None) => None,
    };
    if let Some(addr) = running {
        return Ok(vec![Subject::Running { addr, pid: args.server_pid }]);
    }
    let named = args.compare.iter().map(|name| match name.as_str() {
        "stub" => Subject::Stub,
        device => Subject::Ours { device: device.to_owned() },
    });
    Ok(named.collect())
}

fn row(subject: &Subject, kind: LoadKind, args: &Args) -> Row {
    let shape = match kind {
        LoadKind::Ping => "1 x 1".to_owned(),
        LoadKind::Pipeline => format!("{} x {}", args.connections, args.window),
        LoadKind::Open => format!("{} at {}/s", args.connections, args.rate),
        LoadKind::Pull => format!("{} x {}", args.connections, args.pull_queues),
    };
    let batch = if args.batch > 1 { format!(" of {}", args.batch) } else { String::new() };
    let load = match kind {
        LoadKind::Ping => format!("send {} B", args.size),
        LoadKind::Pipeline | LoadKind::Open => format!("send {} B{batch}", args.size),
        LoadKind::Pull => format!("pull {} B", args.size),
    };
    Row::new(&subject.name(), &load, &shape, args.size)
}

fn measure(kind: LoadKind, target: &Target, args: &Args) -> Result<Round, String> {
    let queues = usize::from(args.connections.max(8) * args.pull_queues.max(1));
    let topic = format!("Bench_{}_{queues}", args.size);
    let is_stub = matches!(target.who, Some(Who::Thread(_)));
    if !is_stub {
        target::create_topic(target.addr, &topic, queues)?;
    }
    let codec = match args.codec {
        CodecName::Json => Codec::Json,
        CodecName::Binary => Codec::Binary,
    };
    let seconds = |seconds: f64| Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0));
    let (connections, window, batch) = match kind {
        LoadKind::Ping => (1, 1, 1),
        LoadKind::Pipeline | LoadKind::Pull => {
            (usize::from(args.connections), usize::from(args.window), usize::from(args.batch))
        }
        LoadKind::Open => (usize::from(args.connections), OPEN_WINDOW, usize::from(args.batch)),
    };
    let send = Load {
        addr: target.addr,
        templates: (0..queues as i32)
            .map(|queue| Template::new(&send_request(&topic, queue, args.size, batch), codec))
            .collect(),
        connections,
        window,
        batch,
        rate: (kind == LoadKind::Open).then_some(args.rate / batch as f64),
        warmup: seconds(args.warmup),
        measured: seconds(args.seconds),
    };
    let mut look = Look::new(target.who.clone());
    let mut later = look.clone();
    let (outcome, bytes) = if kind == LoadKind::Pull {
        fill(&send, queues, args)?;
        let pull = PullLoad {
            addr: target.addr,
            topic,
            codec,
            connections,
            queues_each: usize::from(args.pull_queues),
            count: 32,
            warmup: seconds(args.warmup),
            measured: seconds(args.seconds),
        };
        let pulled = pull::run(&pull, &mut || look.take(), &mut || later.take());
        pulled.map(|(outcome, pulled)| (outcome, pulled.bytes))
    } else {
        let sent = load::run(&send, &mut || look.take(), &mut || later.take());
        sent.map(|outcome| {
            let bytes = outcome.messages * args.size as u64;
            (outcome, bytes)
        })
    }
    .map_err(|error| error.to_string())?;
    let (used, client) = look.until(&later);
    let own_kib = target.who.as_ref().and_then(Who::own_kib);
    Ok(Round { outcome, used, client, bytes, own_kib })
}

/// Gives every queue messages to be pulled.
fn fill(send: &Load, queues: usize, args: &Args) -> Result<(), String> {
    let mut send = send.clone();
    send.connections = queues; // Each connection writes to a queue of its own.
    send.window = 16;
    send.warmup = Duration::ZERO;
    send.measured = FILL_TIME;
    let filled = load::run(&send, &mut || (), &mut || ()).map_err(|error| error.to_string())?;
    match filled.first_refusal {
        Some(code) => Err(format!("the broker refuses messages to pull later: code {code}")),
        None if filled.messages < args.pull_queues.into() => Err("the broker takes no messages".to_owned()),
        None => Ok(()),
    }
}

/// The server and this thread at one moment.
#[derive(Clone)]
struct Look {
    who: Option<Who>,
    server: Option<Usage>,
    client: Option<Usage>,
}

impl Look {
    fn new(who: Option<Who>) -> Look {
        Look { who, server: None, client: None }
    }

    fn take(&mut self) {
        self.server = self.who.as_ref().and_then(Who::look);
        self.client = Who::Thread(rustix::thread::gettid().as_raw_nonzero().get()).look();
    }

    fn until(&self, later: &Look) -> (Option<Used>, Used) {
        let used = |from: Option<Usage>, to: Option<Usage>| Some(from?.until(to?));
        (used(self.server, later.server), used(self.client, later.client).unwrap_or_default())
    }
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

const OPEN_WINDOW: usize = 4096;
const FILL_TIME: Duration = Duration::from_millis(500);
const STORE_BYTES_MIN: u64 = 8 << 30;
const TMPFS_MAGIC: i64 = 0x0102_1994;
