//! What is measured, ready for requests: a broker that runs already, one started for the purpose, or the stub.
//!
//! A broker started here has a store of its own that ends with it, no name server, and the core it was given. It is
//! started afresh for every round, so that one device's leavings (a log still being written out) are not charged to
//! the other.

use super::names;
use super::server::Who;
use super::stub::Stub;
use super::subject::{Awake, Ours, Subject};
use super::veth::{Segments, Veth};
use crate::host::Lack;
use crate::up::child::Child;
use crate::up::memory::{self, HugeLease};
use crate::up::network::{self, Network, TapLease};
use protocol::RemotingCommand;
use protocol::body::{Body, ClusterInfo, MASTER_ID};
use protocol::code::{request, response};
use protocol::frame::{Codec, Found, find};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How brokers are started.
#[derive(Clone, Debug)]
pub struct Start {
    pub server_core: Option<usize>,
    pub hot_log_mib: u64,
    pub store: PathBuf,
    pub set: Vec<String>,
}

/// A subject that is ready for requests.
pub struct Target {
    pub addr: SocketAddr,
    pub who: Option<Who>,
    /// It is free to use the core that the load polls on.
    pub shares_our_core: bool,
    /// It has no topics.
    pub only_answers_sends: bool,
    _held: Held,
}

/// What ends with the target, in this order.
enum Held {
    Nothing,
    Stub { _stub: Stub },
    Peer { _awake: Option<Awake> },
    Broker { _child: Child, _path: Route, _huge: Option<HugeLease>, _store: Scratch },
}

impl Target {
    fn new(addr: SocketAddr, who: Option<Who>, shares_our_core: bool, held: Held) -> Target {
        Target { addr, who, shares_our_core, only_answers_sends: false, _held: held }
    }

    pub fn ready(subject: &Subject, start: &Start) -> Result<Target, String> {
        let target = match subject {
            Subject::Running { addr, pid } => {
                Ok(Target::new(*addr, pid.map(Who::Process), true, Held::Nothing))
            }
            Subject::Stub => {
                let stub =
                    Stub::start(start.server_core).map_err(|error| format!("no stub server: {error}"))?;
                let who = Some(Who::Thread(stub.thread_id));
                Ok(Target::new(stub.addr, who, false, Held::Stub { _stub: stub }))
            }
            Subject::Peer(peer) => {
                let held = Held::Peer { _awake: peer.pid.map(Awake::now) };
                Ok(Target::new(peer.addr, peer.pid.map(Who::Process), true, held))
            }
            Subject::Ours(ours) => started(ours, start),
        }?;
        Ok(Target { only_answers_sends: subject.only_answers_sends(), ..target })
    }
}

fn started(ours: &Ours, start: &Start) -> Result<Target, String> {
    let program = program(ours)?;
    let store = Scratch::new(&start.store)?;
    let folder = store.path.join("store");
    let lease = || memory::lease(start.hot_log_mib << 20, &folder).ok();
    let huge = if ours.is_bare { None } else { lease() };
    let (path, device, addr) = route(ours)?;
    let arguments = match ours.is_bare {
        true => of_bare(&path, device, addr, start)?,
        false => of_broker(ours, &path, &device, addr, &folder, start),
    };
    let (program, arguments) = match &path {
        Route::Veth(veth) => veth.inside(&program, arguments)?,
        Route::Loopback | Route::Tap { .. } => (program, arguments),
    };
    let mut child = Child::start("broker", &program, &arguments, store.path.join("dataplane.log"))?;
    let until = Instant::now() + BOOT_LIMIT;
    while !child.has_said("boot success") {
        if child.ended().is_some() || Instant::now() > until {
            return Err(child.obituary());
        }
        std::thread::sleep(BOOT_POLL);
    }
    let who = match ours.is_bare {
        true => Who::Process(child.id()),
        false => Who::Ours { pid: child.id(), socket: folder.join(SOCKET) },
    };
    let held = Held::Broker { _child: child, _path: path, _huge: huge, _store: store };
    Ok(Target::new(addr, Some(who), false, held))
}

/// What is started, which lies beside us.
fn program(ours: &Ours) -> Result<PathBuf, String> {
    let this = std::env::current_exe().map_err(|error| format!("cannot find my own program: {error}"))?;
    let (name, how) = match ours.is_bare {
        true => ("examples/bare", "cargo build --release --example bare"),
        false => ("afterburner-dataplane", "cargo build --release --workspace"),
    };
    let program = this.with_file_name(name);
    match program.is_file() {
        true => Ok(program),
        false => Err(format!("{} is missing; build it: {how}", program.display())),
    }
}

/// The arguments of the stack alone.
fn of_bare(path: &Route, device: String, addr: SocketAddr, start: &Start) -> Result<Vec<String>, String> {
    let network = path.network().ok_or("there is no bare stack over kernel sockets: that is `stub`")?;
    let core = start.server_core.map(|core| core.to_string());
    let told = [device, network.to_string(), addr.port().to_string()];
    Ok(told.into_iter().chain(core).collect())
}

/// The arguments of a broker.
fn of_broker(
    ours: &Ours,
    path: &Route,
    device: &str,
    addr: SocketAddr,
    folder: &Path,
    start: &Start,
) -> Vec<String> {
    let mut settings = vec![
        format!("listenPort={}", addr.port()),
        format!("storePathRootDir={}", folder.display()),
        format!("hotLogBytes={}M", start.hot_log_mib),
        format!("device={device}"),
    ];
    settings.extend(path.network().map(|network| format!("address={network}")));
    settings.extend(start.server_core.map(|core| format!("cores={core}")));
    settings.extend(start.set.iter().chain(&ours.set).cloned());
    settings.into_iter().flat_map(|set| ["--set".to_owned(), set]).collect()
}

/// How a broker is reached; undone when dropped.
enum Route {
    Loopback,
    Tap { _lease: TapLease },
    Veth(Veth),
}

impl Route {
    /// The broker's address on it, unless it is one of the host's.
    fn network(&self) -> Option<Network> {
        match self {
            Route::Loopback => None,
            Route::Tap { .. } => Some(names::subnet(names::TAP_NETWORKS)),
            Route::Veth(_) => Some(Veth::network()),
        }
    }
}

/// Sets up the way to a broker on this device: what it is called in the settings, and where it will listen.
fn route(ours: &Ours) -> Result<(Route, String, SocketAddr), String> {
    let (tap, network) = (names::of(names::TAP), names::subnet(names::TAP_NETWORKS));
    let over_veth = SocketAddr::from((Veth::network().address, BROKER_PORT));
    let kernel = |segments| -> Result<(Route, String, SocketAddr), String> {
        let veth = Veth::make(segments, true)?;
        Ok((Route::Veth(veth), format!("kernel:{}", over_veth.ip()), over_veth))
    };
    match ours.device.as_str() {
        "tap" => {
            let lacking = |lack: Lack| format!("{}; {}", lack.why, lack.fix);
            let lease = network::lease(&tap, network).map_err(lacking)?;
            if let Some(rto_min) = &ours.rto_min {
                network::quicken(&tap, network.host_side(), rto_min).map_err(lacking)?;
            }
            let addr = SocketAddr::from((network.address, BROKER_PORT));
            Ok((Route::Tap { _lease: lease }, format!("tap:{tap}"), addr))
        }
        "xdp" => {
            let veth = Veth::make(Segments::Large, false)?;
            let device = format!("xdp:{}", veth.nic);
            Ok((Route::Veth(veth), device, over_veth))
        }
        "kernel" => {
            let port = free_port().map_err(|error| format!("no free port: {error}"))?;
            let addr = SocketAddr::from(([127, 0, 0, 1], port));
            Ok((Route::Loopback, "kernel:127.0.0.1".to_owned(), addr))
        }
        "kernel-veth" => kernel(Segments::Large),
        "kernel-veth-mtu" => kernel(Segments::OfMtu),
        other => Err(format!(
            "device {other} cannot be started here; write tap, xdp, kernel, kernel-veth, kernel-veth-mtu, \
             bare-tap, bare-xdp or stub"
        )),
    }
}

/// A folder that is gone when this is.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new(parent: &Path) -> Result<Scratch, String> {
        let path = parent.join(format!("afterburner-bench-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        Ok(Scratch { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("afterburner: {} stays: {error}", self.path.display());
        }
    }
}

/// A port that is free now, and so are the two below and the one above it.
fn free_port() -> io::Result<u16> {
    loop {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let around = [port - 2, port, port + 1];
        if around.iter().all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()) {
            return Ok(port);
        }
    }
}

/// Asks once, over a connection of its own.
pub fn ask(addr: SocketAddr, command: &RemotingCommand) -> Result<RemotingCommand, String> {
    let asked = || -> io::Result<RemotingCommand> {
        let mut stream = TcpStream::connect_timeout(&addr, ASK_LIMIT)?;
        stream.set_read_timeout(Some(ASK_LIMIT))?;
        stream.write_all(&command.encode(Codec::Json))?;
        let mut bytes = Vec::new();
        let mut part = [0; 64 * 1024];
        loop {
            let read = stream.read(&mut part)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes.extend_from_slice(&part[..read]);
            if let Found::Whole { frame, .. } = find(&bytes).map_err(io::Error::other)? {
                return RemotingCommand::from_frame(&frame).map_err(io::Error::other);
            }
        }
    };
    asked().map_err(|error| format!("{addr} does not answer: {error}"))
}

/// Makes the topic, or gives it this many queues.
pub fn create_topic(addr: SocketAddr, topic: &str, queues: usize) -> Result<(), String> {
    let command = RemotingCommand::request(request::UPDATE_AND_CREATE_TOPIC)
        .field("topic", topic)
        .field("defaultTopic", "TBW102")
        .field("readQueueNums", queues)
        .field("writeQueueNums", queues)
        .field("perm", 6)
        .field("topicFilterType", "SINGLE_TAG")
        .field("topicSysFlag", 0)
        .field("order", false);
    let answer = ask(addr, &command)?;
    match answer.code {
        response::SUCCESS => Ok(()),
        code => {
            Err(format!("{addr} does not make topic {topic}: {code} {}", answer.remark.unwrap_or_default()))
        }
    }
}

/// Where each queue's next message will be.
pub fn ends(addr: SocketAddr, topic: &str, queues: usize) -> Result<Vec<i64>, String> {
    let end = |queue: usize| -> Result<i64, String> {
        let command =
            RemotingCommand::request(request::GET_MAX_OFFSET).field("topic", topic).field("queueId", queue);
        let answer = ask(addr, &command)?;
        let offset = answer.ext_fields.iter().find(|(name, _)| name == "offset");
        offset.and_then(|(_, offset)| offset.parse().ok()).ok_or_else(|| {
            format!("{addr} does not tell the end of queue {queue} of {topic}: {}", answer.code)
        })
    };
    (0..queues).map(end).collect()
}

/// The first master the name server knows.
pub fn first_master(name_server: SocketAddr) -> Result<SocketAddr, String> {
    let answer = ask(name_server, &RemotingCommand::request(request::GET_BROKER_CLUSTER_INFO))?;
    let info = ClusterInfo::decode(&answer.body)
        .map_err(|error| format!("{name_server} answers nonsense: {error}"))?;
    let masters = info.broker_addr_table.values().filter_map(|broker| broker.broker_addrs.get(&MASTER_ID));
    let mut addrs = masters.filter_map(|addr| addr.parse().ok());
    addrs.next().ok_or_else(|| format!("{name_server} knows no broker"))
}

/// In a broker's store: where it is looked into.
const SOCKET: &str = "afterburner.sock";
const BROKER_PORT: u16 = 10911;
const BOOT_LIMIT: Duration = Duration::from_secs(60);
const BOOT_POLL: Duration = Duration::from_millis(5);
const ASK_LIMIT: Duration = Duration::from_secs(5);
