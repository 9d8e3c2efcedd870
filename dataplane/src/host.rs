//! Looks at the machine once, before the start: names, addresses, cores, memory, rights.
//!
//! An edge file: it may ask the operating system. What it cannot find out it leaves open; nothing fails here.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use crate::config::Host;
use crate::plan::HostFacts;

/// What defaults of the configuration are made of.
pub fn host() -> Host {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    Host {
        name: name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()),
        home: std::env::var_os("HOME").map(Into::into),
        address: address(),
    }
}

/// Whether this address is one of the host's own.
pub fn has_address(ip: Ipv4Addr) -> bool {
    let table = std::fs::read_to_string("/proc/self/net/fib_trie").unwrap_or_default();
    is_local(&table, ip)
}

/// A local address stands in the table as `|-- ADDRESS`, followed by a line `/32 host LOCAL`.
fn is_local(table: &str, ip: Ipv4Addr) -> bool {
    let mut last = None;
    table.lines().any(|line| {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        }
        line == "/32 host LOCAL" && last == Some(ip)
    })
}

/// What the plan depends on.
pub fn facts() -> HostFacts {
    let mut cores: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    cores.sort_unstable();
    HostFacts { cores, memory_available: memory_available().unwrap_or(0), may_lock_memory: may_lock_memory() }
}

/// How far local time is ahead of UTC, now.
pub fn utc_offset_ms() -> i64 {
    i64::from(jiff::Zoned::now().offset().seconds()) * 1_000
}

/// Takes this thread, and those it will start, off the cores that are to belong to polling threads, if another is left. A
/// cold thread that the scheduler puts there would stop a shard for a whole slice.
pub fn leave_cores(taken: &[usize]) -> std::io::Result<()> {
    let mut cores = rustix::thread::sched_getaffinity(None)?;
    let before = cores.count();
    taken.iter().for_each(|&core| cores.unset(core));
    if (1..before).contains(&cores.count()) {
        rustix::thread::sched_setaffinity(None, &cores)?;
    }
    Ok(())
}

/// Keeps what is in memory there, so that nothing the shard touches is ever fetched from a disk. Only pages that are
/// used: untouched ones cost nothing.
pub fn lock_memory() -> std::io::Result<()> {
    use rustix::mm::MlockAllFlags;
    Ok(rustix::mm::mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)?)
}

/// The address this host would use to talk to others. No packet is sent by connecting a UDP socket.
fn address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((SOMEWHERE, 9)).ok()?;
    match socket.local_addr().ok()? {
        SocketAddr::V4(local) if !local.ip().is_loopback() => Some(*local.ip()),
        _ => None,
    }
}

fn memory_available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

fn may_lock_memory() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capable = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let unlimited = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max locked memory"))
        .is_some_and(|rest| rest.split_whitespace().next() == Some("unlimited"));
    unlimited || capable.is_some_and(|mask| mask & (1 << CAP_IPC_LOCK) != 0)
}

/// An address of the documentation range: routed like any other, and nobody's.
const SOMEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const CAP_IPC_LOCK: u32 = 14;

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: this machine is understood. Method: look at it; every Linux has these.
    #[test]
    fn this_machine_tells_its_cores_and_memory() {
        let facts = facts();
        assert!(!facts.cores.is_empty());
        assert!(facts.memory_available > 0);
        assert!(host().name.is_some());
        assert!(has_address(Ipv4Addr::LOCALHOST));
        assert!(!has_address(SOMEWHERE));
    }

    /// Goal: the host's addresses are told from its networks. Method: a table as in /proc/net/fib_trie.
    #[test]
    fn local_addresses_are_found() {
        let table = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 10.0.0.0\n        /8 link UNICAST\n\
                     Local:\n     |-- 10.0.0.7\n        /32 host LOCAL\n     |-- 10.255.255.255\n        /32 link BROADCAST\n";
        assert!(is_local(table, Ipv4Addr::new(10, 0, 0, 7)));
        for other in [[10, 0, 0, 0], [10, 255, 255, 255], [0, 0, 0, 0], [10, 0, 0, 8]] {
            assert!(!is_local(table, other.into()));
        }
    }
}
