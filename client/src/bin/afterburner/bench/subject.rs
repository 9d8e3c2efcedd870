//! What is to be measured, as it was asked for.
//!
//! ```text
//!   tap+flushDiskType=SYNC_FLUSH          a broker of ours, started here: device and settings of its own
//!   bare-tap                              our stack without a broker, started here
//!   java=127.0.0.1:10911,4711             a peer, which runs already; stopped (SIGSTOP) while others have their turn
//! ```

use rustix::process::{Pid, Signal};
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Stub,
    Ours(Ours),
    Peer(Peer),
    /// A broker that runs already, alone.
    Running {
        addr: SocketAddr,
        pid: Option<u32>,
    },
}

/// A broker of ours on this device, started here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ours {
    name: String,
    pub device: String,
    pub set: Vec<String>,
    /// How soon this host repeats what it lost, on its route to the broker.
    pub rto_min: Option<String>,
    /// The stack alone, without a broker.
    pub is_bare: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub name: String,
    pub addr: SocketAddr,
    pub pid: Option<u32>,
}

impl Subject {
    pub fn name(&self) -> String {
        match self {
            Subject::Stub => "stub".to_owned(),
            Subject::Ours(ours) => ours.name.clone(),
            Subject::Peer(peer) => peer.name.clone(),
            Subject::Running { addr, .. } => addr.to_string(),
        }
    }

    /// It keeps nothing: there is no topic to make and nothing to pull.
    pub fn only_answers_sends(&self) -> bool {
        matches!(self, Subject::Stub | Subject::Ours(Ours { is_bare: true, .. }))
    }
}

impl Ours {
    pub fn named(name: &str) -> Ours {
        let bare = name.strip_prefix(BARE);
        let mut parts = bare.unwrap_or(name).split('+').map(str::to_owned);
        let device = parts.next().unwrap_or_default();
        let (routes, set): (Vec<_>, Vec<_>) = parts.partition(|part| part.starts_with(RTO_MIN));
        let rto_min = routes.last().map(|route| route[RTO_MIN.len()..].to_owned());
        Ours { name: name.to_owned(), device, set, rto_min, is_bare: bare.is_some() }
    }
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Peer, String> {
        let wrong = || "write it as in java=127.0.0.1:10911,4711".to_owned();
        let (name, rest) = text.split_once('=').ok_or_else(wrong)?;
        let (addr, pid) = rest.split_once(',').map_or((rest, None), |(addr, pid)| (addr, Some(pid)));
        let pid = pid.map(str::parse).transpose().map_err(|_| wrong())?;
        Ok(Peer { name: name.to_owned(), addr: resolve(addr)?, pid })
    }
}

pub fn resolve(text: &str) -> Result<SocketAddr, String> {
    let mut found = text.to_socket_addrs().map_err(|error| format!("{text} is no address: {error}"))?;
    found.next().ok_or_else(|| format!("{text} is no address"))
}

/// All peers, at rest as long as this lives; they run on when it is dropped.
pub struct Peers {
    pids: Vec<u32>,
}

impl Peers {
    pub fn stopped(peers: &[Peer]) -> Peers {
        let pids: Vec<u32> = peers.iter().filter_map(|peer| peer.pid).collect();
        pids.iter().for_each(|pid| signal(*pid, Signal::STOP));
        Peers { pids }
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.pids.iter().for_each(|pid| signal(*pid, Signal::CONT));
    }
}

/// A peer whose turn it is.
pub struct Awake {
    pid: u32,
}

impl Awake {
    pub fn now(pid: u32) -> Awake {
        signal(pid, Signal::CONT);
        Awake { pid }
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        signal(self.pid, Signal::STOP);
    }
}

fn signal(pid: u32, signal: Signal) {
    let known = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(Err(error)) = known.map(|pid| rustix::process::kill_process(pid, signal)) {
        eprintln!("afterburner: process {pid} of a peer: {error}");
    }
}

const BARE: &str = "bare-";
const RTO_MIN: &str = "rto_min=";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_brings_its_settings() {
        let ours = Ours::named("tap+deviceLoss=0.01+rto_min=200ms");
        assert_eq!(ours.device, "tap");
        assert_eq!(ours.set, ["deviceLoss=0.01"]);
        assert_eq!(ours.rto_min.as_deref(), Some("200ms"));
        let plain =
            Ours { name: "xdp".into(), device: "xdp".into(), set: vec![], rto_min: None, is_bare: false };
        assert_eq!(Ours::named("xdp"), plain);
        let bare = Ours { name: "bare-xdp".into(), is_bare: true, ..plain.clone() };
        assert_eq!(Ours::named("bare-xdp"), bare);
        assert!(Subject::Ours(bare).only_answers_sends() && !Subject::Ours(plain).only_answers_sends());
    }

    #[test]
    fn peers_are_read() {
        let peer: Peer = "java=127.0.0.1:10911,42".parse().unwrap();
        assert_eq!(
            (peer.name.as_str(), peer.addr, peer.pid),
            ("java", ([127, 0, 0, 1], 10911).into(), Some(42))
        );
        assert_eq!("java=127.0.0.1:1".parse::<Peer>().unwrap().pid, None);
        assert!("127.0.0.1:1".parse::<Peer>().is_err());
        assert!("java=127.0.0.1:1,x".parse::<Peer>().is_err());
    }

    /// Goal: peers rest while others are measured, and run on afterwards. Method: a sleeping process and its state.
    #[test]
    fn peers_rest_until_their_turn() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        let rests = |wanted: bool| {
            let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") T ");
            (0..200).any(|_| {
                std::thread::sleep(std::time::Duration::from_millis(5));
                state() == wanted
            })
        };
        let peers =
            Peers::stopped(&[Peer { name: "p".into(), addr: ([127, 0, 0, 1], 1).into(), pid: Some(pid) }]);
        assert!(rests(true));
        let awake = Awake::now(pid);
        assert!(rests(false));
        drop(awake);
        assert!(rests(true));
        drop(peers);
        assert!(rests(false));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
