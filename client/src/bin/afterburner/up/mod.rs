//! `afterburner up`: the name server and the broker on this host, with what they need, until Ctrl-C.
//!
//! ```text
//! network (TAP, else kernel sockets) -> memory (huge pages, else tmpfs) -> controlplane -> dataplane
//!   -> registered? -> addresses on the screen -> COMMAND, if one was given -> wait
//! dataplane stops (signs off) -> controlplane stops -> memory and network as they were before
//! ```
//!
//! What this host cannot give is replaced by the next best with one line that says why and how to get the better.

pub(crate) mod child;
pub(crate) mod memory;
pub(crate) mod network;
mod settings;
pub mod shards;

use std::fmt::Display;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use protocol::RemotingCommand;
use protocol::code::request;
use rustix::fs::FlockOperation;
use tokio::process::Command;
use tokio::time::sleep;

use crate::Outcome;
use crate::host::Lack;
use crate::stop::Stop;
use child::Child;
use memory::HugeLease;
use network::{Network, TapLease};

#[derive(clap::Args)]
pub struct Args {
    /// tap[:NAME]: our own TCP stack behind a TAP; xdp:INTERFACE: the same on a network card, which the host keeps using;
    /// kernel[:IP]: sockets of the kernel.
    /// When not given: tap:ab0 if this host allows it, else kernel:127.0.0.1
    #[arg(long)]
    device: Option<Device>,
    /// The broker's address and network on the TAP or card; of a TAP the host takes the first other address
    #[arg(long, default_value = "10.77.0.2/24")]
    address: Network,
    /// The name server's port
    #[arg(long, default_value_t = 9876)]
    namesrv_port: u16,
    /// The broker's port
    #[arg(long, default_value_t = 10911)]
    broker_port: u16,
    /// Folder for messages, settings and the programs' output. When not given: afterburner in the home folder
    #[arg(long, value_name = "FOLDER")]
    store: Option<PathBuf>,
    /// Memory for messages that are served without a disk
    #[arg(long, value_name = "MIB", default_value_t = HOT_LOG_MIB, value_parser = clap::value_parser!(u64).range(16..))]
    hot_log_mib: u64,
    /// A properties file of RocketMQ's for the broker; port, store, device, addresses and hot log are those of the flags here
    #[arg(long, value_name = "FILE")]
    broker_config: Option<PathBuf>,
    /// A properties file of RocketMQ's for the name server
    #[arg(long, value_name = "FILE")]
    namesrv_config: Option<PathBuf>,
    /// Set one key of the broker that has no flag here, over the file; may be given many times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Stop when COMMAND has ended, with its exit code; without a COMMAND, as soon as everything is ready
    #[arg(long)]
    once: bool,
    /// Run this when everything is ready, with NAMESRV_ADDR set
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// What `up` runs as the parent of its children; see child.rs.
#[derive(clap::Args)]
pub struct ChildArgs {
    parent: u32,
    program: PathBuf,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Device {
    Tap { name: String },
    Xdp { interface: String },
    Kernel { address: Ipv4Addr },
}

impl std::str::FromStr for Device {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, rest) = text.split_once(':').map_or((text, None), |(kind, rest)| (kind, Some(rest)));
        match (kind, rest) {
            ("tap", name) => match name.unwrap_or(TAP) {
                "" => Err("a TAP needs a name, as in tap:ab0"),
                name if name.len() > 15 => Err("the name of a device has at most 15 letters"),
                name => Ok(Self::Tap { name: name.to_owned() }),
            },
            ("xdp", Some(name)) if (1..16).contains(&name.len()) => {
                Ok(Self::Xdp { interface: name.to_owned() })
            }
            ("xdp", _) => Err("write the name of a network interface, as in xdp:eth1"),
            ("kernel", None) => Ok(Self::Kernel { address: Ipv4Addr::LOCALHOST }),
            ("kernel", Some(address)) => match address.parse() {
                Ok(address) => Ok(Self::Kernel { address }),
                Err(_) => Err("write an IPv4 address of this host, as in kernel:127.0.0.1"),
            },
            _ => Err("write tap, tap:NAME, xdp:INTERFACE, kernel or kernel:IP"),
        }
    }
}

pub fn run(args: Args) -> Outcome {
    // One thread: the kernel ends the children when the thread that started them ends.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| format!("cannot start: {error}"))?.block_on(up(args))
}

pub fn run_child(args: ChildArgs) -> Outcome {
    Err(child::become_program(args.parent, &args.program, &args.arguments))
}

async fn up(args: Args) -> Outcome {
    let began = Instant::now();
    let mut stop = Stop::listen()?;
    let programs = Programs::find()?;
    let mut site = Site::prepare(&args)?;
    let started = tokio::select! {
        started = site.start(&args, &programs) => Some(started),
        () = stop.wanted() => None,
    };
    let outcome = match started {
        None => Ok(ExitCode::SUCCESS),
        Some(Err(sentence)) => Err(sentence),
        Some(Ok(())) => {
            say(site.describe(&args, began.elapsed()));
            tokio::select! {
                sentence = site.watch() => Err(sentence),
                outcome = attend(&args) => outcome,
                () = stop.wanted() => Ok(ExitCode::SUCCESS),
            }
        }
    };
    say("afterburner: stopping");
    site.stop();
    outcome
}

/// Runs the command, if there is one, and waits for as long as it should.
async fn attend(args: &Args) -> Outcome {
    let mut code = ExitCode::SUCCESS;
    if let [program, arguments @ ..] = args.command.as_slice() {
        let status = Command::new(program)
            .args(arguments)
            .env("NAMESRV_ADDR", args.namesrv_addr())
            .kill_on_drop(true)
            .status()
            .await
            .map_err(|error| format!("cannot run {program}: {error}"))?;
        code = exit_code(status);
        if !args.once && !status.success() {
            warn(format_args!("{program} ended ({status}); everything stays up until Ctrl-C"));
        }
    }
    match args.once {
        true => Ok(code),
        false => std::future::pending().await,
    }
}

/// What was set up, in the order it is taken down.
struct Site {
    broker: Option<Child>,
    namesrv: Option<Child>,
    device: Device,
    /// One for each shard, when it is a TAP.
    taps: Vec<TapLease>,
    huge: Option<HugeLease>,
    store: PathBuf,
    /// How many the broker runs.
    shards: usize,
    /// Held for as long as this store is ours.
    _lock: fs::File,
}

impl Site {
    fn prepare(args: &Args) -> Result<Self, String> {
        settings::refuse(&args.set)?;
        let store = match &args.store {
            Some(folder) => folder.clone(),
            None => Path::new(&std::env::var("HOME").unwrap_or_else(|_| ".".to_owned())).join("afterburner"),
        };
        let writable = |error| {
            format!("cannot write to {}: {error}; choose another folder: --store FOLDER", store.display())
        };
        fs::create_dir_all(store.join("logs")).map_err(writable)?;
        let store = store.canonicalize().map_err(writable)?;
        let lock = fs::File::create(store.join("up.lock")).map_err(writable)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            format!(
                "another `afterburner up` runs on {}; choose another folder: --store FOLDER",
                store.display()
            )
        })?;
        let shards = shards::count(&args.set, args.broker_config.as_deref());
        let (device, taps) = find_network(args, shards)?;
        let huge = match memory::lease((args.hot_log_mib << 20) * shards as u64, &store.join("store")) {
            Ok(lease) => Some(lease),
            Err(lack) => {
                fell_back("the hot log lies on tmpfs instead of huge pages", &lack);
                None
            }
        };
        Ok(Self { broker: None, namesrv: None, device, taps, huge, store, shards, _lock: lock })
    }

    async fn start(&mut self, args: &Args, programs: &Programs) -> Result<(), String> {
        let output = |name: &str| self.store.join("logs").join(name);
        let arguments = namesrv_arguments(args, &self.store);
        let mut namesrv =
            Child::start("name server", &programs.controlplane, &arguments, output("controlplane.log"))?;
        wait_for_boot(&mut namesrv).await?;
        self.namesrv = Some(namesrv);
        let arguments = self.broker_arguments(args);
        let broker = Child::start("broker", &programs.dataplane, &arguments, output("dataplane.log"))?;
        let broker_addr = self.broker_addr(args);
        let broker = self.broker.insert(broker);
        wait_for_boot(broker).await?;
        wait_for_registration(broker, args, broker_addr).await?;
        for line in self.broker.iter().chain(&self.namesrv).flat_map(Child::warnings) {
            warn(line);
        }
        Ok(())
    }

    fn broker_arguments(&self, args: &Args) -> Vec<String> {
        let mut arguments = vec!["-n".to_owned(), args.namesrv_addr()];
        if let Some(file) = &args.broker_config {
            arguments.extend(["-c".to_owned(), file.display().to_string()]);
        }
        let mut set = |key: &str, value: &dyn Display| {
            arguments.extend(["--set".to_owned(), format!("{key}={value}")]);
        };
        set("listenPort", &args.broker_port);
        set("storePathRootDir", &self.store.join("store").display());
        set("hotLogBytes", &format_args!("{}M", args.hot_log_mib));
        match &self.device {
            Device::Tap { name } => {
                set("device", &format_args!("tap:{name}"));
                set("address", &args.address);
                set("gateway", &args.address.host_side().address);
            }
            Device::Xdp { interface } => {
                set("device", &format_args!("xdp:{interface}"));
                set("address", &args.address);
            }
            Device::Kernel { address } => set("device", &format_args!("kernel:{address}")),
        }
        arguments.extend(args.set.iter().flat_map(|pair| ["--set".to_owned(), pair.clone()]));
        arguments
    }

    fn broker_addr(&self, args: &Args) -> SocketAddr {
        let address = match self.device {
            Device::Tap { .. } | Device::Xdp { .. } => args.address.address,
            Device::Kernel { address } => address,
        };
        SocketAddr::from((address, args.broker_port))
    }

    /// Waits until a child ends by itself, which is always a fault.
    async fn watch(&mut self) -> String {
        loop {
            for child in [&mut self.broker, &mut self.namesrv].into_iter().flatten() {
                if child.ended().is_some() {
                    return child.obituary();
                }
            }
            sleep(WATCH_PERIOD).await;
        }
    }

    /// The broker first, so that it can sign off; then what was set up.
    fn stop(self) {
        let Self { broker, namesrv, taps, huge, .. } = self;
        drop(broker);
        drop(namesrv);
        drop(taps);
        drop(huge);
    }

    fn describe(&self, args: &Args, took: Duration) -> String {
        let namesrv = args.namesrv_addr();
        let broker = self.broker_addr(args);
        let network = match &self.device {
            Device::Tap { name } => format!("TAP {name}, the host is {}", args.address.host_side()),
            Device::Xdp { interface } => {
                format!("card {interface} (AF_XDP), which the host keeps using for the rest")
            }
            Device::Kernel { .. } => "kernel sockets".to_owned(),
        };
        let hot_log = memory::hot_log_folder(&self.store.join("store")).unwrap_or_default();
        let hot_log = hot_log.display();
        let store = self.store.display();
        let hot_log_mib = args.hot_log_mib;
        let more = match self.shards {
            1 => String::new(),
            count => format!(
                "\n  shards       {count}, a broker each; this is the first, `afterburner cluster -n {namesrv}` lists all"
            ),
        };
        format!(
            "Afterburner is up, in {:.2} s.\n\n  \
             name server  {namesrv}, on every address of this host\n  \
             broker       {broker}, {network}{more}\n  \
             hot log      {hot_log_mib} MiB in {hot_log}\n  \
             store        {store}/store, output of both programs in {store}/logs\n\n\
             Point any RocketMQ client at it:\n\n  \
             Java         producer.setNamesrvAddr(\"{namesrv}\");\n  \
             mqadmin      mqadmin clusterList -n {namesrv}\n  \
             environment  export NAMESRV_ADDR={namesrv}\n",
            took.as_secs_f64()
        ) + if args.once { "" } else { "\nCtrl-C stops it and undoes what it set up.\n" }
    }
}

impl Args {
    /// Where clients on this host find the name server.
    fn namesrv_addr(&self) -> String {
        format!("127.0.0.1:{}", self.namesrv_port)
    }
}

/// The device that was asked for, or the best there is.
fn find_network(args: &Args, shards: usize) -> Result<(Device, Vec<TapLease>), String> {
    let name = match &args.device {
        Some(Device::Kernel { .. } | Device::Xdp { .. }) => None, // Nothing to set up.
        Some(Device::Tap { name }) => Some(name.as_str()),
        None => Some(TAP),
    };
    let Some(name) = name else {
        return Ok((args.device.clone().expect("it was matched above"), Vec::new()));
    };
    let taps = shards::taps(name, args.address, shards);
    let leases: Result<Vec<_>, _> =
        taps.iter().map(|(name, address)| network::lease(name, *address)).collect();
    match (leases, &args.device) {
        (Ok(leases), _) => Ok((Device::Tap { name: name.to_owned() }, leases)),
        (Err(lack), Some(_)) => Err(format!("{}; {}", lack.why, lack.fix)),
        (Err(lack), None) => {
            fell_back("kernel sockets on 127.0.0.1 instead of our own stack on a TAP", &lack);
            Ok((Device::Kernel { address: Ipv4Addr::LOCALHOST }, Vec::new()))
        }
    }
}

fn fell_back(what: &str, lack: &Lack) {
    say(format_args!("afterburner: {what}, because {}; to change that: {}", lack.why, lack.fix));
}

/// A line on the screen. Unlike `println!` it does not end us when the screen is gone, before everything is undone.
fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn warn(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "afterburner: {line}");
}

fn namesrv_arguments(args: &Args, store: &Path) -> Vec<String> {
    let mut arguments = Vec::new();
    if let Some(file) = &args.namesrv_config {
        arguments.extend(["-c".to_owned(), file.display().to_string()]);
    } else {
        let file = store.join("namesrv/namesrv.properties");
        arguments.extend(["--set".to_owned(), format!("configStorePath={}", file.display())]);
    }
    let file = store.join("namesrv/kvConfig.json");
    arguments.extend(["--set".to_owned(), format!("kvConfigPath={}", file.display())]);
    arguments.extend(["--set".to_owned(), format!("listenPort={}", args.namesrv_port)]);
    arguments
}

async fn wait_for_boot(child: &mut Child) -> Result<(), String> {
    let until = Instant::now() + BOOT_LIMIT;
    while !child.has_said("boot success") {
        if child.ended().is_some() || Instant::now() > until {
            return Err(child.obituary());
        }
        sleep(BOOT_POLL).await;
    }
    Ok(())
}

async fn wait_for_registration(
    broker: &mut Child,
    args: &Args,
    broker_addr: SocketAddr,
) -> Result<(), String> {
    let until = Instant::now() + BOOT_LIMIT;
    while !knows(args.namesrv_port, broker_addr) {
        if broker.ended().is_some() || Instant::now() > until {
            return Err(format!(
                "the broker is not known to the name server as {broker_addr}; {}",
                broker.obituary()
            ));
        }
        sleep(BOOT_POLL).await;
    }
    Ok(())
}

/// Whether the name server lists a broker at that address.
fn knows(namesrv_port: u16, broker_addr: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, namesrv_port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        let ask = RemotingCommand::request(request::GET_BROKER_CLUSTER_INFO);
        stream.write_all(&ask.encode(protocol::Codec::Json))?;
        let mut len = [0; 4];
        stream.read_exact(&mut len)?;
        let mut answer = Vec::new();
        stream.take(u32::from_be_bytes(len).into()).read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).contains(&format!("\"{broker_addr}\"")))
    };
    ask().unwrap_or(false)
}

struct Programs {
    controlplane: PathBuf,
    dataplane: PathBuf,
}

impl Programs {
    /// The two servers lie beside this program.
    fn find() -> Result<Self, String> {
        let this = std::env::current_exe().map_err(|error| format!("cannot find my own program: {error}"))?;
        let folder = this.parent().expect("a program lies in a folder");
        let find = |name: &str| {
            let file = folder.join(name);
            match file.is_file() {
                true => Ok(file),
                false => {
                    Err(format!("{} is missing; build it: cargo build --release --workspace", file.display()))
                }
            }
        };
        Ok(Self {
            controlplane: find("afterburner-controlplane")?,
            dataplane: find("afterburner-dataplane")?,
        })
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

const TAP: &str = "ab0";
/// Enough for a broker that must first recover a big store.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
const BOOT_POLL: Duration = Duration::from_millis(5);
/// Of each shard.
pub const HOT_LOG_MIB: u64 = 256;
const WATCH_PERIOD: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_the_broker_reads_them() {
        let device = |text: &str| text.parse::<Device>();
        assert_eq!(device("tap"), Ok(Device::Tap { name: "ab0".into() }));
        assert_eq!(device("tap:x1"), Ok(Device::Tap { name: "x1".into() }));
        assert_eq!(device("xdp:eth1"), Ok(Device::Xdp { interface: "eth1".into() }));
        assert_eq!(device("kernel"), Ok(Device::Kernel { address: Ipv4Addr::LOCALHOST }));
        assert_eq!(device("kernel:10.0.0.1"), Ok(Device::Kernel { address: Ipv4Addr::new(10, 0, 0, 1) }));
        for text in ["", "tap:", "tap:sixteen-letters-", "kernel:here", "xdp", "xdp:"] {
            assert!(device(text).is_err(), "{text}");
        }
    }
}
