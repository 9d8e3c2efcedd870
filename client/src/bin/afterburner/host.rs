//! What this host offers, read from /proc and /sys: network devices, huge pages, limits.
//!
//! Only looks. `up` is what changes a host, and undoes it; `check` prints what is found here.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Something the host lacks: what was found, and the command that mends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    pub why: String,
    pub fix: String,
}

impl Lack {
    fn new(why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { why: why.into(), fix: fix.into() }
    }
}

/// Whether this process may hold a TAP of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tap {
    /// It stands already, and may be opened by this user.
    Ready,
    /// It does not stand, but this process may make it.
    MayCreate,
}

/// Looks whether a TAP called `name` can be had.
pub fn tap(name: &str) -> Result<Tap, Lack> {
    if !Path::new(TUN).exists() {
        return Err(Lack::new(format!("{TUN} does not exist"), "modprobe tun (as root)"));
    }
    if let Err(error) = File::options().read(true).write(true).open(TUN) {
        return Err(Lack::new(
            format!("{TUN} cannot be opened: {error}"),
            format!("run as root, or {}", net_up()),
        ));
    }
    let net_admin = has_capability(CAP_NET_ADMIN);
    let device = Path::new("/sys/class/net").join(name);
    if device.exists() {
        let Some(owner) = read_number::<i64>(device.join("owner")) else {
            return Err(Lack::new(
                format!("{name} exists and is not a TAP"),
                "choose another name: --device tap:NAME",
            ));
        };
        let ours = i64::from(rustix::process::geteuid().as_raw());
        return if net_admin || owner == ours {
            Ok(Tap::Ready)
        } else {
            Err(Lack::new(format!("TAP {name} belongs to another user"), net_up()))
        };
    }
    if !net_admin {
        return Err(Lack::new(
            "no right to make a TAP (CAP_NET_ADMIN)",
            format!("run as root, or {}", net_up()),
        ));
    }
    match find_program("ip") {
        Some(_) => Ok(Tap::MayCreate),
        None => Err(Lack::new("the `ip` command is missing", "apt-get install --yes iproute2")),
    }
}

/// Huge pages of 2 MiB: how many the kernel holds, and how many of them are free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HugePages {
    pub total: u64,
    pub free: u64,
}

impl HugePages {
    pub const BYTES: u64 = 2 << 20;

    /// `None` when this kernel has no huge pages of 2 MiB.
    pub fn look() -> Option<Self> {
        let folder = Path::new(HUGE_PAGES);
        let number = |name: &str| read_number::<u64>(folder.join(name));
        let spoken_for = number("resv_hugepages").unwrap_or(0);
        let free = number("free_hugepages")?.saturating_sub(spoken_for);
        Some(Self { total: number("nr_hugepages")?, free })
    }

    /// Where their number is written.
    pub fn knob() -> PathBuf {
        Path::new(HUGE_PAGES).join("nr_hugepages")
    }
}

/// The first hugetlbfs mount of 2 MiB pages that this user may write to.
pub fn hugetlbfs() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (_, path, kind, options) = (words.next()?, words.next()?, words.next()?, words.next()?);
            (kind == "hugetlbfs" && options.contains("pagesize=2M")).then(|| PathBuf::from(path))
        })
        .find(|path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok())
}

/// Whether this process holds the capability of that number.
pub fn has_capability(bit: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
        .is_some_and(|bits| bits & (1 << bit) != 0)
}

/// The file a program name stands for on PATH, /usr/sbin and /sbin included.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// A number from a file of one line.
pub fn read_number<T: std::str::FromStr>(path: impl AsRef<Path>) -> Option<T> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn net_up() -> String {
    "once as root: scripts/net-up --user $USER".to_owned()
}

pub const CAP_NET_ADMIN: u32 = 12;
pub const CAP_SYS_ADMIN: u32 = 21;
const TUN: &str = "/dev/net/tun";
const HUGE_PAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a device that is no TAP is never taken over. Method: the loopback device has no owner file.
    #[test]
    fn the_loopback_device_is_no_tap() {
        let lack = tap("lo").unwrap_err();
        assert!(!lack.why.is_empty() && !lack.fix.is_empty());
    }

    #[test]
    fn a_program_is_found_on_the_path() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program-here").is_none());
    }
}
