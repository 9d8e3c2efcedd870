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
}
