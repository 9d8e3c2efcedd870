//! The whole broker on a NIC: the real binary over AF_XDP, killed under load and started again.

use crate::awake;
use crate::place::{APPLIANCE, NIC, Place};
use crate::wire::Peer;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PORT: u16 = 10_911;
const MESSAGES: i32 = 2_000;
const IN_FLIGHT: i32 = 64;

struct Broker<'a> {
    place: &'a Place,
    folder: PathBuf,
    /// The ports of its shards.
    ports: &'a [u16],
    cores: String,
    child: Option<Child>,
}

impl Broker<'_> {
    fn start(&mut self) {
        let store = self.folder.join("store");
        let hot = self.folder.join("hot");
        let settings = [
            "brokerName=broker-xdp".to_owned(),
            format!("device=xdp:{NIC}"),
            format!("address={APPLIANCE}/24"),
            format!("listenPort={}", self.ports[0]),
            self.cores.clone(),
            format!("storePathRootDir={}", store.display()),
            format!("hotLogPath={}", hot.display()),
            "hotLogBytes=64M".to_owned(),
        ];
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.place.host, env!("CARGO_BIN_EXE_afterburner-dataplane")])
            .args(settings.iter().flat_map(|setting| ["--set", setting]))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.by_ref().map(Result::unwrap).filter(|line| line.contains("boot success"));
        assert_eq!(ready.take(self.ports.len()).count(), self.ports.len(), "it ended before it was ready");
        std::thread::spawn(move || lines.for_each(drop)); // Nobody may block on a full pipe.
        self.child = Some(child);
    }

    fn kill_9(&mut self) {
        // `ip netns exec` becomes the program, so the child is the broker itself.
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Broker<'_> {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill_9();
        }
        let _gone_or_kept = std::fs::remove_dir_all(&self.folder);
    }
}

/// T-xdp, D-kill. Goal: messages go in and come out over AF_XDP, and what was acknowledged is there after a kill -9 and a
/// restart on the same NIC, which the peers learn of at once. Method: a pipelining producer, a kill, a start, a reader.
#[test]
fn the_broker_on_a_nic() {
    let Some(place) = Place::new() else { return };
    kill_and_read_back(&place, "one", &[PORT], "cores=auto".to_owned());
}

/// M-1. The same with two shards on two queues of one NIC, and a producer for each.
#[test]
fn two_shards_on_a_nic() {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let [first, second, ..] = cores.as_slice() else {
        println!("skipped: two shards need two cores");
        return;
    };
    let Some(place) = Place::with_queues(2) else { return };
    kill_and_read_back(&place, "two", &[PORT, PORT + 10], format!("cores={},{}", first.id, second.id));
}

fn kill_and_read_back(place: &Place, name: &str, ports: &[u16], cores: String) {
    let folder = std::env::temp_dir().join(format!("afterburner-xdp-{}-{name}", std::process::id()));
    std::fs::create_dir_all(folder.join("hot")).unwrap();
    let mut broker = Broker { place, folder, ports, cores, child: None };
    broker.start();
    let addresses: Vec<SocketAddr> = ports.iter().map(|&port| SocketAddr::from((APPLIANCE, port))).collect();
    let mut producers: Vec<_> = addresses.iter().map(|&address| produce(place, address)).collect();

    broker.kill_9();
    broker.start();
    let ready = awake::now();
    // The producers wait and send nothing: the new process tells them.
    for (producer, _) in &mut producers {
        let error = producer.next_ack().err().expect("the new process knows no such connection");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    let late = awake::now() - ready;
    assert!(late < Duration::from_secs(2), "learnt {late:?} after the broker was ready again");
    for (address, (_, acked)) in addresses.iter().zip(&producers) {
        read_back(place, *address, acked);
    }
}

/// Sends messages; returns the peer and which message was acknowledged at which offset.
fn produce(place: &Place, address: SocketAddr) -> (Peer, HashMap<i64, i32>) {
    let mut producer = place.on_peer(|| Peer::connect(address));
    let mut acked = HashMap::new();
    let mut sent = 0;
    while sent < MESSAGES {
        for opaque in sent..sent + IN_FLIGHT {
            producer.send(0, opaque, body(address, opaque).as_bytes()).unwrap();
        }
        for _ in 0..IN_FLIGHT {
            let ack = producer.next_ack().unwrap();
            assert_eq!(ack.code, 0, "{}", ack.remark);
            assert!(acked.insert(ack.queue_offset, ack.opaque).is_none());
        }
        sent += IN_FLIGHT;
    }
    (producer, acked)
}

fn read_back(place: &Place, address: SocketAddr, acked: &HashMap<i64, i32>) {
    let mut reader = place.on_peer(|| Peer::connect(address));
    let mut next = 0;
    loop {
        let messages = reader.pull(0, next);
        if messages.is_empty() {
            break;
        }
        for message in messages {
            assert_eq!(message.queue_offset, next);
            let opaque = acked.get(&next).expect("nothing that was not acknowledged is left");
            assert_eq!(message.body, body(address, *opaque).as_bytes());
            next += 1;
        }
    }
    assert_eq!(next as usize, acked.len(), "every acknowledged message is there");
}

/// Says whose it is, so that shards which mix their messages are found out.
fn body(address: SocketAddr, opaque: i32) -> String {
    format!("message {opaque} to {address}")
}
