//! What a server costs, read from /proc: CPU time, page faults, memory.
//!
//! Of our broker the threads that poll, `ab-shard..`, are told apart from the ordinary ones beside them: the first
//! bound what it can serve, the sum is what it takes from the machine.

use std::fs;

/// One look at a process, or at one thread of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    cpu_s: f64,
    shard_cpu_s: f64,
    faults_minor: u64,
    faults_major: u64,
}

/// What a process used between two looks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    pub cpu_s: f64,
    /// The part of the threads that poll; 0 when there are none of that name.
    pub shard_cpu_s: f64,
    pub faults_minor: u64,
    pub faults_major: u64,
}

/// Whom to look at.
#[derive(Clone, Debug)]
pub enum Who {
    Process(u32),
    /// A thread of this process.
    Thread(i32),
}

impl Who {
    pub fn look(&self) -> Option<Usage> {
        let read = |path: String| parse_stat(&fs::read_to_string(path).ok()?);
        match self {
            Who::Process(pid) => {
                let shard_cpu_s = shard_cpu_s(*pid);
                Some(Usage { shard_cpu_s, ..read(format!("/proc/{pid}/stat"))? })
            }
            Who::Thread(tid) => read(format!("/proc/self/task/{tid}/stat")),
        }
    }

    /// Memory of its own, in KiB: what is shared with others, as a hot log on tmpfs is, does not count.
    pub fn own_kib(&self) -> Option<u64> {
        let Who::Process(pid) = self else { return None };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        Some(of("RssAnon:")? + of("RssFile:")?)
    }
}

impl Usage {
    pub fn until(self, later: Usage) -> Used {
        Used {
            cpu_s: later.cpu_s - self.cpu_s,
            shard_cpu_s: later.shard_cpu_s - self.shard_cpu_s,
            faults_minor: later.faults_minor.saturating_sub(self.faults_minor),
            faults_major: later.faults_major.saturating_sub(self.faults_major),
        }
    }
}

fn shard_cpu_s(pid: u32) -> f64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return 0.0;
    };
    let stats = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
    let shards = stats.filter(|stat| stat.contains("(ab-shard"));
    shards.filter_map(|stat| parse_stat(&stat)).map(|usage| usage.cpu_s).sum()
}

/// `pid (name) state ppid ..`: the name may hold anything, so the fields are counted from its last bracket.
fn parse_stat(text: &str) -> Option<Usage> {
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |field: usize| fields.get(field - FIRST_FIELD)?.parse::<u64>().ok();
    Some(Usage {
        cpu_s: (number(14)? + number(15)?) as f64 / TICKS_PER_S,
        shard_cpu_s: 0.0,
        faults_minor: number(10)?,
        faults_major: number(12)?,
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
        assert!(Who::Process(std::process::id()).look().is_some());
        assert!(Who::Process(std::process::id()).own_kib().is_some_and(|kib| kib > 100));
    }
}
