//! A cable to a namespace of its own: the path of brokers that are measured over a veth pair.
//!
//! ```text
//!   this host, the load: ab-bl4711, 10.77.199.1 ═══ veth ═══ ab-bn4711 :a namespace, the broker 10.77.199.2
//! ```
//!
//! The same cable for AF_XDP and for kernel sockets, so that the two differ in the stack alone. Names and networks follow from
//! this process's id, so that benches beside each other do not meet.

use super::names;
use crate::host::{self, Lack};
use crate::up::network::{Network, ip};
use std::path::{Path, PathBuf};

/// What the kernel hands to the cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segments {
    /// As large as it likes: cut by nobody on the way.
    Large,
    /// Of the MTU, as they would be on a wire without offload.
    OfMtu,
}

#[derive(Debug)]
pub struct Veth {
    namespace: String,
    /// The load's end, and the broker's.
    load_end: String,
    pub nic: String,
}

impl Veth {
    /// The broker's address.
    pub fn network() -> Network {
        names::subnet(names::VETH_NETWORKS)
    }

    /// Makes both; the kernel has the broker's address itself, if it is to.
    pub fn make(segments: Segments, kernel_has_address: bool) -> Result<Veth, String> {
        let veth = Veth {
            namespace: names::of(names::NAMESPACE),
            load_end: names::of(names::LOAD_END),
            nic: names::of(names::NIC),
        };
        veth.set_up(segments, kernel_has_address).map_err(|lack| format!("{}; {}", lack.why, lack.fix))?;
        Ok(veth)
    }

    fn set_up(&self, segments: Segments, kernel_has_address: bool) -> Result<(), Lack> {
        let namespace = self.namespace.as_str();
        let (load_end, nic) = (self.load_end.as_str(), self.nic.as_str());
        let (host_side, broker_side) = (Self::network().host_side().to_string(), Self::network().to_string());
        ip(&["netns", "add", namespace])?;
        ip(&["link", "add", load_end, "type", "veth", "peer", "name", nic, "netns", namespace])?;
        if segments == Segments::OfMtu {
            ip(&["link", "set", load_end, "gso_max_segs", "1"])?;
            ip(&["-n", namespace, "link", "set", nic, "gso_max_segs", "1"])?;
        }
        if kernel_has_address {
            ip(&["-n", namespace, "address", "add", &broker_side, "dev", nic])?;
        }
        ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        ip(&["-n", namespace, "link", "set", nic, "up"])?;
        ip(&["address", "add", &host_side, "dev", load_end])?;
        ip(&["link", "set", load_end, "up"])?;
        Ok(())
    }

    /// What to run so that `program` runs in the namespace, as the same process.
    pub fn inside(&self, program: &Path, arguments: Vec<String>) -> Result<(PathBuf, Vec<String>), String> {
        let ip =
            host::find_program("ip").ok_or("the `ip` command is missing: apt-get install --yes iproute2")?;
        let mut all = ["netns", "exec", &self.namespace].map(str::to_owned).to_vec();
        all.push(program.display().to_string());
        all.extend(arguments);
        Ok((ip, all))
    }
}

impl Drop for Veth {
    fn drop(&mut self) {
        // The pair goes first, and at once: the namespace may outlive its name for a moment.
        let pair = ip(&["link", "delete", &self.load_end]);
        let namespace = ip(&["netns", "delete", &self.namespace]);
        for lack in [pair, namespace].into_iter().filter_map(Result::err) {
            eprintln!("afterburner: cannot undo the veth pair: {}", lack.why);
        }
    }
}
