//! A network card, as far as AF_XDP and latency depend on it.

use std::fs;
use std::path::Path;
use std::process::Command;

/// One interface.
#[derive(Debug, Clone, Default)]
pub struct Nic {
    pub name: String,
    pub driver: String,
    pub mtu: u64,
    pub rx_queues: usize,
    /// What ethtool says; None: it is not installed, or the driver does not tell.
    pub coalescing: Option<Coalescing>,
    pub ntuple: Option<bool>,
    /// Where it is told to lead TCP by port; empty when it does not tell.
    pub rules: Vec<Rule>,
}

/// An ntuple filter: what comes for the port leads to the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    pub port: u16,
    pub queue: usize,
}

/// How long the card waits before it interrupts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coalescing {
    pub adaptive_rx: bool,
    pub rx_usecs: u64,
}

/// How far a driver goes with AF_XDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Xdp {
    ZeroCopy,
    /// Native mode, with a copy.
    Native,
    /// Generic mode only, as far as is known.
    Generic,
}

impl Nic {
    /// None when there is no such interface.
    pub fn look(root: &Path, name: &str) -> Option<Nic> {
        let folder = root.join("sys/class/net").join(name);
        let mtu = fs::read_to_string(folder.join("mtu")).ok()?.trim().parse().ok()?;
        let driver = fs::read_link(folder.join("device/driver")).ok();
        let driver =
            driver.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        let queues = fs::read_dir(folder.join("queues")).into_iter().flatten().flatten();
        let rx_queues = queues.filter(|queue| queue.file_name().to_string_lossy().starts_with("rx-")).count();
        // ethtool knows this host's interfaces only.
        let is_here = root == Path::new("/");
        let asked = |what: &str| if is_here { ethtool(what, name) } else { None };
        Some(Nic {
            name: name.to_owned(),
            driver: driver.unwrap_or_else(|| "none".to_owned()),
            mtu,
            rx_queues,
            coalescing: asked("--show-coalesce").as_deref().and_then(coalescing),
            ntuple: asked("--show-features").as_deref().and_then(ntuple),
            rules: asked("--show-ntuple").as_deref().map_or_else(Vec::new, rules),
        })
    }

    /// By what kernels of today's distributions have.
    pub fn xdp(&self) -> Xdp {
        match self.driver.as_str() {
            "i40e" | "ice" | "ixgbe" | "igc" | "mlx5_core" | "stmmac" => Xdp::ZeroCopy,
            "veth" | "virtio_net" | "tun" | "ena" | "bnxt_en" | "hv_netvsc" | "mlx4_en" | "igb"
            | "ixgbevf" | "nfp" | "qede" | "sfc" | "gve" | "mvneta" | "vmxnet3" => Xdp::Native,
            _ => Xdp::Generic,
        }
    }
}

fn ethtool(what: &str, name: &str) -> Option<String> {
    let answer = Command::new(crate::host::find_program("ethtool")?).args([what, name]).output().ok()?;
    answer.status.success().then(|| String::from_utf8_lossy(&answer.stdout).into_owned())
}

fn coalescing(text: &str) -> Option<Coalescing> {
    let value = |key: &str| text.lines().find_map(|line| line.trim().strip_prefix(key)).map(str::trim);
    let adaptive = value("Adaptive RX:").unwrap_or("");
    let rx_usecs = value("rx-usecs:")?.parse().ok()?;
    Some(Coalescing { adaptive_rx: adaptive.starts_with("on"), rx_usecs })
}

fn ntuple(text: &str) -> Option<bool> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix("ntuple-filters:"))?;
    Some(line.trim().starts_with("on"))
}

/// A filter is some lines after `Filter:`, among them the port and, last, the queue.
fn rules(text: &str) -> Vec<Rule> {
    let of_filter = |filter: &str| {
        let value = |key: &str| filter.lines().find_map(|line| line.trim().strip_prefix(key));
        let is_exact = |port: &&str| port.ends_with("mask: 0x0");
        let port = value("Dest port:").filter(is_exact)?.split_whitespace().next()?.parse().ok()?;
        let queue = value("Action: Direct to queue")?.trim().parse().ok()?;
        value("Rule Type: TCP over IPv4").map(|_| Rule { port, queue })
    };
    text.split("Filter:").skip(1).filter_map(of_filter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ethtool_is_read() {
        let text = "Coalesce parameters for eth0:\nAdaptive RX: on  TX: off\nrx-usecs:\t50\nrx-frames: n/a\n";
        assert_eq!(coalescing(text), Some(Coalescing { adaptive_rx: true, rx_usecs: 50 }));
        assert_eq!(coalescing("rx-usecs: n/a\n"), None);
        assert_eq!(ntuple("Features:\nntuple-filters: off [fixed]\n"), Some(false));
        assert_eq!(ntuple(""), None);
    }

    /// Goal: only filters that lead one TCP port to one queue count. Method: one that does, one for UDP, one that drops, one
    /// for many ports.
    #[test]
    fn filters_are_read() {
        let filter = |kind: &str, port: &str, action: &str| {
            format!(
                "Filter: 1\n\tRule Type: {kind} over IPv4\n\tSrc port: 0 mask: 0xffff\n\tDest port: {port}\n\tAction: {action}\n\n"
            )
        };
        let text = [
            "8 RX rings available\nTotal 4 rules\n\n".to_owned(),
            filter("TCP", "10911 mask: 0x0", "Direct to queue 2"),
            filter("UDP", "10921 mask: 0x0", "Direct to queue 1"),
            filter("TCP", "10921 mask: 0x0", "Drop"),
            filter("TCP", "0 mask: 0xffff", "Direct to queue 1"),
        ];
        assert_eq!(rules(&text.concat()), [Rule { port: 10911, queue: 2 }]);
        assert_eq!(rules("rxclass: Cannot get RX class rule count: Operation not supported\n"), []);
    }
}
