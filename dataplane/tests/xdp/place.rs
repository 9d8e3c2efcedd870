//! Two hosts and the cable between them: network namespaces and a veth pair of this test's own, gone when it ends.
//!
//! ```text
//!   namespace "host": ab-x0, 10.78.1.1 ═══ veth ═══ ab-x1, 10.78.1.9 :namespace "peer"
//!                     the appliance takes its address off ab-x0
//! ```

use crate::common::apart::{ip, within};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};

pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 78, 1, 1);
pub const APPLIANCE: Ipv4Addr = Ipv4Addr::new(10, 78, 1, 2);
pub const PEER: Ipv4Addr = Ipv4Addr::new(10, 78, 1, 9);
/// The host's end, where the appliance is.
pub const NIC: &str = "ab-x0";
pub const PEER_NIC: &str = "ab-x1";

pub struct Place {
    pub host: String,
    pub peer: String,
}

impl Place {
    /// None, with a word why, where there may be no such thing.
    pub fn new() -> Option<Place> {
        Place::with_queues(1)
    }

    /// With so many queues at each end, both ways.
    pub fn with_queues(queues: u32) -> Option<Place> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let place = Place { host: format!("ab-xdp-h{number}"), peer: format!("ab-xdp-p{number}") };
        let (host, peer) = (&place.host, &place.peer);
        let (host_end, peer_end) = (format!("{HOST}/24"), format!("{PEER}/24"));
        let queues = queues.to_string();
        let queues = ["numrxqueues", &queues, "numtxqueues", &queues];
        let near =
            [&["-n", host, "link", "add", NIC][..], &queues, &["type", "veth", "peer", "name", PEER_NIC]]
                .concat();
        let made = [
            vec!["netns", "add", host],
            vec!["netns", "add", peer],
            [&near[..], &queues, &["netns", peer]].concat(),
            vec!["-n", host, "address", "add", &host_end, "dev", NIC],
            vec!["-n", peer, "address", "add", &peer_end, "dev", PEER_NIC],
            vec!["-n", host, "link", "set", "lo", "up"],
            vec!["-n", host, "link", "set", NIC, "up"],
            vec!["-n", peer, "link", "set", PEER_NIC, "up"],
        ]
        .iter()
        .all(|arguments| ip(arguments));
        if !made {
            println!("skipped: network namespaces and veth (they need root and iproute2)");
            return None;
        }
        Some(place)
    }

    /// Runs `work` on a thread that sees the network as the host does.
    pub fn on_host<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        within(&self.host, work)
    }

    /// Runs `work` on a thread that sees the network as the peer does.
    pub fn on_peer<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        within(&self.peer, work)
    }

    /// `ip` in the host's namespace.
    pub fn ip(&self, arguments: &[&str]) -> bool {
        ip(&[&["-n", self.host.as_str()], arguments].concat())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for namespace in [&self.host, &self.peer] {
            ip(&["netns", "del", namespace]);
        }
    }
}
