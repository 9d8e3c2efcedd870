//! What a host is like, as far as speed depends on it: read from /proc and /sys, changed nowhere.
//!
//! ```text
//! / (or a folder that looks like it) --look--> Facts --rules.rs--> findings
//! ```
//!
//! What a host does not tell is None or empty; rules then say nothing about it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::core_sets;
use super::nic::Nic;
use super::threads::{self, Unbound};
use crate::host;

/// One host, real or made up.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// As `uname -r` says it.
    pub kernel: String,
    /// Cores this process may run on.
    pub cores: Vec<usize>,
    pub isolated: Vec<usize>,
    pub nohz_full: Vec<usize>,
    pub rcu_nocbs: Vec<usize>,
    /// By core; none where the host does not scale frequencies.
    pub governors: Vec<(usize, String)>,
    /// In use, and those that could be.
    pub clock_sources: (String, Vec<String>),
    /// `always`, `madvise` or `never`.
    pub transparent_huge_pages: String,
    pub swappiness: Option<u64>,
    pub has_swap: bool,
    pub overcommit: Option<u64>,
    /// Which part of a zone's pages a core may keep for itself; 0: the kernel's own choice. None before Linux 5.14.
    pub page_list_fraction: Option<u64>,
    /// None: no limit.
    pub open_files_max: Option<u64>,
    pub may_lock_memory: bool,
    /// Interrupts that may fire on some core and have fired.
    pub irqs: Vec<Irq>,
    /// Threads of the kernel that may run on several cores, and may be moved.
    pub threads: Vec<Unbound>,
    /// Where workqueues that belong to no core may run; none where the kernel does not say.
    pub workqueues: Vec<usize>,
    pub nic: Option<Nic>,
    pub disk: Disk,
}

/// One interrupt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Irq {
    pub number: u32,
    pub name: String,
    /// Where it may fire.
    pub cores: Vec<usize>,
}

/// Where the store will lie.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    pub folder: PathBuf,
    pub free_bytes: u64,
    /// Whether O_DIRECT works; why not.
    pub direct: Option<Result<(), String>>,
}

impl Facts {
    /// Looks at the host under `root`; `nic`: which card, by default that of the default route.
    pub fn look(root: &Path, nic: Option<&str>, store: &Path) -> Facts {
        let text = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default().trim().to_owned();
        let number = |path: &str| text(path).parse().ok();
        let command_line = text("proc/cmdline");
        let booted = |key: &str| {
            core_sets::from_list(
                command_line.split(' ').find_map(|word| word.strip_prefix(key)).unwrap_or(""),
            )
        };
        let status = text("proc/self/status");
        let allowed =
            status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or("").trim();
        let clocks = "sys/devices/system/clocksource/clocksource0";
        let available = text(&format!("{clocks}/available_clocksource"));
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let locked = rustix::process::getrlimit(rustix::process::Resource::Memlock);
        Facts {
            kernel: text("proc/sys/kernel/osrelease"),
            cores: core_sets::from_list(allowed),
            isolated: core_sets::from_list(&text("sys/devices/system/cpu/isolated")),
            nohz_full: core_sets::from_list(
                text("sys/devices/system/cpu/nohz_full").trim_matches(['(', ')']),
            ),
            rcu_nocbs: booted("rcu_nocbs="),
            governors: governors(root),
            clock_sources: (
                text(&format!("{clocks}/current_clocksource")),
                available.split_whitespace().map(str::to_owned).collect(),
            ),
            transparent_huge_pages: bracketed(&text("sys/kernel/mm/transparent_hugepage/enabled")),
            swappiness: number("proc/sys/vm/swappiness"),
            has_swap: text("proc/swaps").lines().count() > 1,
            overcommit: number("proc/sys/vm/overcommit_memory"),
            page_list_fraction: number("proc/sys/vm/percpu_pagelist_high_fraction"),
            open_files_max: files.maximum,
            may_lock_memory: locked.current.is_none() || host::has_capability(CAP_IPC_LOCK),
            irqs: irqs(root),
            threads: threads::unbound(root),
            workqueues: threads::workqueues(root),
            nic: nic
                .map(str::to_owned)
                .or_else(|| default_nic(&text("proc/net/route")))
                .and_then(|name| Nic::look(root, &name)),
            disk: Disk::look(store),
        }
    }
}

impl Disk {
    fn look(store: &Path) -> Disk {
        let folder = store.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/")).to_path_buf();
        let free_bytes = rustix::fs::statvfs(&folder).map_or(0, |free| free.f_bavail * free.f_frsize);
        let direct = Some(try_direct(&folder).map_err(|error| error.to_string()));
        Disk { folder, free_bytes, direct }
    }
}

/// Writes one block past the page cache.
fn try_direct(folder: &Path) -> std::io::Result<()> {
    let path = folder.join(format!(".afterburner-direct-{}", std::process::id()));
    let opened = fs::File::options().write(true).create_new(true).custom_flags(libc::O_DIRECT).open(&path);
    let written = opened.and_then(|mut file| {
        let memory = vec![0_u8; 2 * BLOCK_BYTES];
        let at = memory.as_ptr().align_offset(BLOCK_BYTES);
        file.write_all(&memory[at..at + BLOCK_BYTES])
    });
    let _ = fs::remove_file(&path); // It may never have been there.
    written
}

fn governors(root: &Path) -> Vec<(usize, String)> {
    let folder = root.join("sys/devices/system/cpu");
    let names = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let numbers = names.filter_map(|name| name.to_str()?.strip_prefix("cpu")?.parse::<usize>().ok());
    let mut found: Vec<(usize, String)> = numbers
        .filter_map(|core| {
            let governor =
                fs::read_to_string(folder.join(format!("cpu{core}/cpufreq/scaling_governor"))).ok()?;
            Some((core, governor.trim().to_owned()))
        })
        .collect();
    found.sort();
    found
}

fn irqs(root: &Path) -> Vec<Irq> {
    let table = fs::read_to_string(root.join("proc/interrupts")).unwrap_or_default();
    let count = table.lines().next().map_or(0, |head| head.split_whitespace().count());
    let of_line = |line: &str| {
        let mut words = line.split_whitespace();
        let number = words.next()?.strip_suffix(':')?.parse().ok()?;
        let fired: u64 = words.by_ref().take(count).filter_map(|word| word.parse::<u64>().ok()).sum();
        let name = words.last().unwrap_or_default().to_owned();
        let affinity = fs::read_to_string(root.join(format!("proc/irq/{number}/smp_affinity_list"))).ok()?;
        (fired > 0).then(|| Irq { number, name, cores: core_sets::from_list(affinity.trim()) })
    };
    table.lines().skip(1).filter_map(of_line).collect()
}

/// The interface of the default route.
fn default_nic(routes: &str) -> Option<String> {
    routes.lines().skip(1).find_map(|line| {
        let mut words = line.split_whitespace();
        let (name, to) = (words.next()?, words.next()?);
        (to == "00000000").then(|| name.to_owned())
    })
}

/// `always [madvise] never`: the one in use.
fn bracketed(text: &str) -> String {
    text.split_whitespace()
        .find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))
        .unwrap_or("")
        .to_owned()
}

const CAP_IPC_LOCK: u32 = 14;
const BLOCK_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_and_routes_are_read() {
        assert_eq!(bracketed("always [madvise] never"), "madvise");
        let routes = "Iface\tDestination\tGateway\neth1\t000A0A0A\t0\neth0\t00000000\t0101010A\n";
        assert_eq!(default_nic(routes).as_deref(), Some("eth0"));
    }

    /// Goal: a host is read as it is. Method: this one, and a folder with nothing in it.
    #[test]
    fn hosts_are_read() {
        let here = Facts::look(Path::new("/"), None, &std::env::temp_dir());
        assert!(!here.kernel.is_empty() && !here.cores.is_empty() && here.disk.free_bytes > 0);
        let nowhere = Facts::look(Path::new("/nonexistent"), None, Path::new("/nonexistent/store"));
        assert!(nowhere.kernel.is_empty() && nowhere.irqs.is_empty() && nowhere.nic.is_none());
        assert_eq!(nowhere.disk.folder, Path::new("/"));
    }
}
