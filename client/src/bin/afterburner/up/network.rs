//! The TAP that `up` gives the broker: found or made, addressed, and taken away again.
//!
//! ```text
//! host 10.77.0.1/24 on ab0 <==== Ethernet frames ====> the dataplane's own stack, 10.77.0.2
//! ```
//!
//! What is made here is removed when the `TapLease` is dropped; a TAP that stood before is left as it was, unless it is
//! one that an earlier `up` made and could not remove.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use crate::host::{self, Lack, Tap};

/// An address and the length of its network's prefix, as in `10.77.0.2/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    pub address: Ipv4Addr,
    pub prefix_len: u32,
}

impl FromStr for Network {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "write it as in 10.77.0.2/24";
        let (address, prefix_len) = text.split_once('/').ok_or(wrong)?;
        let address = address.parse().map_err(|_| wrong)?;
        match prefix_len.parse() {
            Ok(prefix_len @ 8..=30) => Ok(Self { address, prefix_len }),
            _ => Err("the prefix must be 8 to 30 bits long, as in 10.77.0.2/24"),
        }
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}", self.address, self.prefix_len)
    }
}

impl Network {
    /// The host's end: the first address of the network, or the second when the broker has the first.
    pub fn host_side(self) -> Self {
        let first = Ipv4Addr::from((u32::from(self.address) & self.mask()) + 1);
        let address = if first == self.address { Ipv4Addr::from(u32::from(first) + 1) } else { first };
        Self { address, ..self }
    }

    /// The same address of the network that lies so many networks further; none when addresses end before.
    pub fn further(self, networks: usize) -> Option<Self> {
        let step = u32::try_from(networks).ok()?.checked_mul(1 << (32 - self.prefix_len))?;
        Some(Self { address: u32::from(self.address).checked_add(step)?.into(), ..self })
    }

    fn mask(self) -> u32 {
        u32::MAX << (32 - self.prefix_len)
    }
}

/// A TAP in our hands.
#[derive(Debug)]
pub struct TapLease {
    name: String,
    made: bool,
    addressed: Option<Network>,
}

/// Finds or makes the TAP and gives the host's end its address.
pub fn lease(name: &str, broker: Network) -> Result<TapLease, Lack> {
    let host_side = broker.host_side();
    let found = host::tap(name)?;
    let mut lease = TapLease { name: name.to_owned(), made: false, addressed: None };
    if found == Tap::MayCreate {
        ip(&["tuntap", "add", "dev", name, "mode", "tap"])?;
        lease.made = true;
        mark(name);
    } else if carrier(name) {
        return Err(Lack {
            why: format!("TAP {name} is in use by another process"),
            fix: "stop that one, or take another: --device tap:ab1 --address 10.78.0.2/24".to_owned(),
        });
    } else {
        lease.made = marker(name).exists();
    }
    let wanted = format!(" {host_side} ");
    if !ip(&["-oneline", "-4", "address", "show", "dev", name])?.contains(&wanted) {
        if let Some(holder) = holder_of(host_side)? {
            return Err(Lack {
                why: format!("{holder} has an address in the network of {host_side} already"),
                fix: "take another network: --address 10.78.0.2/24".to_owned(),
            });
        }
        ip(&["address", "add", &host_side.to_string(), "dev", name])?;
        lease.addressed = Some(host_side);
    }
    if host::has_capability(host::CAP_NET_ADMIN) {
        ip(&["link", "set", "dev", name, "up"])?;
        if let Err(lack) = quicken(name, host_side, RTO_MIN) {
            super::warn(format_args!("clients on this host repeat lost requests late: {}", lack.why));
        }
    }
    Ok(lease)
}

/// Sets how soon clients on this host send a lost request again (the kernel's own is 200 ms), and that they do not pace what they
/// send where the host's default is BBR: there is no queue on the way.
pub fn quicken(name: &str, host_side: Network, rto_min: &str) -> Result<(), Lack> {
    let network =
        Network { address: Ipv4Addr::from(u32::from(host_side.address) & host_side.mask()), ..host_side };
    let (network, source) = (network.to_string(), host_side.address.to_string());
    let route =
        ["route", "change", &network, "dev", name, "proto", "kernel", "scope", "link", "src", &source];
    let quick = [&route[..], &["rto_min", rto_min]].concat();
    // A kernel without cubic keeps its own choice.
    ip(&[&quick[..], &["congctl", "cubic"]].concat()).or_else(|_| ip(&quick)).map(drop)
}

impl Drop for TapLease {
    fn drop(&mut self) {
        let undone = if self.made {
            let _ = fs::remove_file(marker(&self.name)); // A marker without its TAP means nothing.
            ip(&["tuntap", "del", "dev", &self.name, "mode", "tap"])
        } else if let Some(host_side) = self.addressed {
            ip(&["address", "del", &host_side.to_string(), "dev", &self.name])
        } else {
            return;
        };
        if let Err(lack) = undone {
            super::warn(format_args!("cannot undo TAP {}: {}", self.name, lack.why));
        }
    }
}

/// Notes that this TAP is ours to remove, for the next `up` if this one is killed.
fn mark(name: &str) {
    let marker = marker(name);
    let noted = fs::create_dir_all(marker.parent().expect("a marker lies in a folder"))
        .and_then(|()| fs::write(&marker, ""));
    if let Err(error) = noted {
        super::warn(format_args!("cannot note that TAP {name} is ours in {}: {error}", marker.display()));
    }
}

pub fn marker(name: &str) -> PathBuf {
    Path::new("/run/afterburner").join(format!("up.tap-{name}"))
}

/// Whether some process holds the device open.
fn carrier(name: &str) -> bool {
    host::read_number::<u8>(Path::new("/sys/class/net").join(name).join("carrier")) == Some(1)
}

/// The device through which this host already reaches the network of `network`, if one does.
fn holder_of(network: Network) -> Result<Option<String>, Lack> {
    let table = fs::read_to_string("/proc/net/route").unwrap_or_default();
    Ok(route_holder(&table, network))
}

/// Looks for a device with a route that is more than a default route and covers the network, or lies in it.
fn route_holder(table: &str, network: Network) -> Option<String> {
    let number = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::from_be);
    table.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (&name, target, mask) = (words.first()?, number(words.get(1)?)?, number(words.get(7)?)?);
        let common = mask & network.mask();
        (mask != 0 && target & common == u32::from(network.address) & common).then(|| name.to_owned())
    })
}

/// Runs `ip`, and returns what it prints.
pub fn ip(arguments: &[&str]) -> Result<String, Lack> {
    let line = || format!("ip {}", arguments.join(" "));
    let program = host::find_program("ip").ok_or_else(|| Lack {
        why: "the `ip` command is missing".to_owned(),
        fix: "apt-get install --yes iproute2".to_owned(),
    })?;
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| Lack { why: format!("{}: {error}", line()), fix: line() })?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let why = String::from_utf8_lossy(&output.stderr);
        Err(Lack { why: format!("{}: {}", line(), why.trim()), fix: "run as root".to_owned() })
    }
}

/// On a TAP nothing takes longer.
const RTO_MIN: &str = "4ms";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_takes_the_first_address_that_is_free() {
        let side = |text: &str| text.parse::<Network>().unwrap().host_side().to_string();
        assert_eq!(side("10.77.0.2/24"), "10.77.0.1/24");
        assert_eq!(side("10.77.0.1/24"), "10.77.0.2/24");
        assert_eq!(side("10.77.5.9/16"), "10.77.0.1/16");
    }

    #[test]
    fn a_network_that_makes_no_sense_is_refused() {
        for text in ["10.77.0.2", "10.77.0/24", "10.77.0.2/31", "10.77.0.2/x", "/24"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    /// Goal: a network that the host already uses is not taken a second time. Method: a routing table as in
    /// /proc/net/route, with a default route, 10.77.0.0/16 and 192.168.1.0/24.
    #[test]
    fn overlapping_routes_are_found() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
                     eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\n\
                     br0\t00004D0A\t00000000\t0001\t0\t0\t0\t0000FFFF\n\
                     eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\n";
        let holder = |text: &str| route_holder(table, text.parse().unwrap());
        assert_eq!(holder("10.77.0.2/24").as_deref(), Some("br0"));
        assert_eq!(holder("192.168.0.2/16").as_deref(), Some("eth0"));
        assert_eq!(holder("10.78.0.2/24"), None);
    }
}
