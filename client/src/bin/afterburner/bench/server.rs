//! What a server costs: CPU time, page faults and memory from /proc, and of our own broker what it counts itself.
//!
//! Of our broker the threads that poll, `ab-shard..`, are told apart from the ordinary ones beside them: the first
//! bound what it can serve, the sum is what it takes from the machine. How long turns with work took and what was allocated
//! it tells through its socket, in a page brought by the asker: being asked costs the polling thread no allocation.

use crate::sight::Broker;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// One look at a process, or at one thread of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    cpu_s: f64,
    faults_minor: u64,
    faults_major: u64,
    own_kib: Option<u64>,
    shard: Shard,
}

/// What is known of the threads that poll.
#[derive(Clone, Copy, Debug, Default)]
struct Shard {
    cpu_s: f64,
    faults: u64,
    busy_ns: Option<u64>,
    allocations: Option<u64>,
}

/// What a process used between two looks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    pub cpu_s: f64,
    /// The part of the threads that poll; 0 when there are none of that name.
    pub shard_cpu_s: f64,
    /// How long their turns with work took.
    pub shard_busy_ns: Option<u64>,
    pub shard_faults: Option<u64>,
    pub shard_allocations: Option<u64>,
    pub faults_minor: u64,
    pub faults_major: u64,
    /// Memory of its own at the first look and at the last.
    pub own_kib: Option<(u64, u64)>,
}

impl Used {
    /// How long the turns with work took, of a server that tells; else CPU time of the threads that poll; else of all.
    pub fn busy_s(&self) -> f64 {
        let cpu_s = if self.shard_cpu_s > 0.0 { self.shard_cpu_s } else { self.cpu_s };
        self.shard_busy_ns.map_or(cpu_s, |ns| ns as f64 / 1e9)
    }
}

/// Whom to look at.
#[derive(Clone, Debug)]
pub enum Who {
    Process(u32),
    /// A broker of ours, which tells about itself.
    Ours {
        pid: u32,
        socket: PathBuf,
    },
    /// A thread of this process.
    Thread(i32),
}

impl Who {
    /// The first look of a pair asks before it reads, the other one after: so little of the asking is between them.
    pub fn look(&self, first: bool) -> Option<Usage> {
        match self {
            Who::Process(pid) => process(*pid),
            Who::Ours { pid, socket } => {
                let before = if first { asked(socket) } else { Shard::default() };
                let usage = process(*pid)?;
                let told = if first { before } else { asked(socket) };
                let shard = Shard { cpu_s: usage.shard.cpu_s, faults: usage.shard.faults, ..told };
                Some(Usage { shard, ..usage })
            }
            Who::Thread(tid) => parse_stat(&fs::read_to_string(format!("/proc/self/task/{tid}/stat")).ok()?),
        }
    }
}

impl Usage {
    pub fn until(self, later: Usage) -> Used {
        let grown = |from: Option<u64>, to: Option<u64>| Some(to?.saturating_sub(from?));
        let (from, to) = (&self.shard, &later.shard);
        let allocations = grown(from.allocations, to.allocations);
        Used {
            cpu_s: later.cpu_s - self.cpu_s,
            shard_cpu_s: to.cpu_s - from.cpu_s,
            shard_busy_ns: grown(from.busy_ns, to.busy_ns),
            shard_faults: allocations.map(|_| to.faults.saturating_sub(from.faults)),
            shard_allocations: allocations,
            faults_minor: later.faults_minor.saturating_sub(self.faults_minor),
            faults_major: later.faults_major.saturating_sub(self.faults_major),
            own_kib: self.own_kib.zip(later.own_kib),
        }
    }
}

fn process(pid: u32) -> Option<Usage> {
    let usage = parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    Some(Usage { own_kib: own_kib(pid), shard: shard(pid), ..usage })
}

/// Memory of its own, in KiB: what is shared with others, as a hot log on tmpfs is, does not count.
fn own_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(of("RssAnon:")? + of("RssFile:")?)
}

fn shard(pid: u32) -> Shard {
    let mut sum = Shard::default();
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return sum;
    };
    let stats = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
    for usage in stats.filter(|stat| stat.contains("(ab-shard")).filter_map(|stat| parse_stat(&stat)) {
        sum.cpu_s += usage.cpu_s;
        sum.faults += usage.faults_minor + usage.faults_major;
    }
    sum
}

/// What our broker tells; of one that is not ours, nothing.
fn asked(socket: &Path) -> Shard {
    let Some(answer) = Broker::at(socket.to_owned())
        .ask(&json!({ "ask": "stats" }))
        .ok()
        .and_then(|all| all.into_iter().next())
    else {
        return Shard::default();
    };
    let polls = &answer.value["stats"]["counts"]["polls"];
    Shard {
        busy_ns: polls["busyNs"].as_u64(),
        allocations: polls["allocations"].as_u64(),
        ..Shard::default()
    }
}

/// `pid (name) state ppid ..`: the name may hold anything, so the fields are counted from its last bracket.
fn parse_stat(text: &str) -> Option<Usage> {
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |field: usize| fields.get(field - FIRST_FIELD)?.parse::<u64>().ok();
    Some(Usage {
        cpu_s: (number(14)? + number(15)?) as f64 / TICKS_PER_S,
        faults_minor: number(10)?,
        faults_major: number(12)?,
        ..Usage::default()
    })
}

/// The number, in proc(5), of the field behind the name.
const FIRST_FIELD: usize = 3;
/// USER_HZ: 100 on every Linux there is.
const TICKS_PER_S: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: fields are found behind a name with blanks and brackets.
    #[test]
    fn stat_is_read_behind_the_name() {
        let text =
            "42 (a) b) S 1 42 42 0 -1 4194560 700 0 3 0 250 50 0 0 20 0 5 0 100 1000 10 18446744073709551615";
        let usage = parse_stat(text).unwrap();
        assert!((usage.cpu_s - 3.0).abs() < 1e-9);
        assert_eq!((usage.faults_minor, usage.faults_major), (700, 3));
        let look = Who::Process(std::process::id()).look(true).unwrap();
        assert!(look.own_kib.is_some_and(|kib| kib > 100));
        assert_eq!(look.until(look).shard_allocations, None, "a process that does not count them");
    }
}
