//! Threads of the kernel that may run on several cores, and where its unbound workqueues may: found under /proc and /sys.
//!
//! Not here: threads that the kernel keeps where they are (PF_NO_SETAFFINITY: per-CPU ones, workers of workqueues), those of one
//! core, those of interrupts, which follow their interrupt, and kthreadd, which only starts others and does not pass its cores on.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::core_sets;

/// One thread, and not another one to which the system gave the same number later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    pub pid: u32,
    pub name: String,
    /// In clock ticks since the boot.
    pub started: u64,
}

/// A thread of the kernel, and where it may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unbound {
    pub thread: Thread,
    pub cores: Vec<usize>,
}

/// Those that may run on several cores and may be kept to some of them, by number.
pub fn unbound(root: &Path) -> Vec<Unbound> {
    let entries = fs::read_dir(root.join("proc")).into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut found: Vec<Unbound> = pids
        .filter_map(|pid| {
            let (thread, flags) = stat(root, pid)?;
            let may_be_moved = flags & PF_KTHREAD != 0 && flags & PF_NO_SETAFFINITY == 0;
            let cores = cores(root, pid)?;
            let is_meant =
                may_be_moved && cores.len() > 1 && pid != KTHREADD && !thread.name.starts_with("irq/");
            is_meant.then_some(Unbound { thread, cores })
        })
        .collect();
    found.sort_by_key(|unbound| unbound.thread.pid);
    found
}

/// Which thread has this number now.
pub fn thread(root: &Path, pid: u32) -> Option<Thread> {
    stat(root, pid).map(|(thread, _)| thread)
}

/// Where that thread may run.
pub fn cores(root: &Path, pid: u32) -> Option<Vec<usize>> {
    let status = fs::read_to_string(root.join(format!("proc/{pid}/status"))).ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    Some(core_sets::from_list(list.trim()))
}

/// Where unbound workqueues may run; none where the kernel does not say.
pub fn workqueues(root: &Path) -> Vec<usize> {
    let mask = fs::read_to_string(root.join(WORKQUEUES.trim_start_matches('/'))).unwrap_or_default();
    core_sets::from_mask(mask.trim())
}

/// The thread and its flags. A name may hold anything, also brackets and spaces.
fn stat(root: &Path, pid: u32) -> Option<(Thread, u32)> {
    let text = fs::read_to_string(root.join(format!("proc/{pid}/stat"))).ok()?;
    let (head, rest) = text.rsplit_once(") ")?;
    let (_, name) = head.split_once(" (")?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let flags = words.get(FLAGS_AT)?.parse().ok()?;
    let started = words.get(STARTED_AT)?.parse().ok()?;
    Some((Thread { pid, name: name.to_owned(), started }, flags))
}

pub const WORKQUEUES: &str = "/sys/devices/virtual/workqueue/cpumask";
const KTHREADD: u32 = 2;
const PF_KTHREAD: u32 = 0x0020_0000;
const PF_NO_SETAFFINITY: u32 = 0x0400_0000;
/// Of the words behind the name (proc_pid_stat(5) counts them from 3).
const FLAGS_AT: usize = 9 - 3;
const STARTED_AT: usize = 22 - 3;

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: threads that can be moved are found, and no others. Method: a folder that looks like /proc, with one of each kind.
    #[test]
    fn threads_that_can_be_moved_are_found() {
        let root = std::env::temp_dir().join(format!("afterburner-threads-{}", std::process::id()));
        let put = |pid: u32, name: &str, flags: u32, cores: &str| {
            let folder = root.join(format!("proc/{pid}"));
            fs::create_dir_all(&folder).unwrap();
            let stat = format!("{pid} ({name}) S 2 0 0 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 7{pid} 0 0\n");
            fs::write(folder.join("stat"), stat).unwrap();
            fs::write(folder.join("status"), format!("Name:\t{name}\nCpus_allowed_list:\t{cores}\n"))
                .unwrap();
        };
        put(77, "kdamond.0", PF_KTHREAD | 0x8040, "0-3");
        put(36, "odd) S (name", PF_KTHREAD, "0,3");
        put(2, "kthreadd", PF_KTHREAD, "0-3");
        put(10, "kworker/u8:0", PF_KTHREAD | PF_NO_SETAFFINITY, "0-3");
        put(14, "ksoftirqd/0", PF_KTHREAD | PF_NO_SETAFFINITY, "0");
        put(50, "irq/24-eth0", PF_KTHREAD, "0-3");
        put(52, "kcompactd1", PF_KTHREAD, "3");
        put(900, "java", 0x40_0000, "0-3");
        fs::create_dir_all(root.join("proc/self")).unwrap();
        let found = unbound(&root);
        fs::remove_dir_all(&root).unwrap();
        let thread = |pid, name: &str, started| Thread { pid, name: name.into(), started };
        assert_eq!(
            found,
            [
                Unbound { thread: thread(36, "odd) S (name", 736), cores: vec![0, 3] },
                Unbound { thread: thread(77, "kdamond.0", 777), cores: vec![0, 1, 2, 3] },
            ]
        );
        assert_eq!((thread_here(), workqueues(Path::new("/nonexistent"))), (std::process::id(), vec![]));
    }

    /// This process, as the running kernel tells of it; none of the kernel's own is mistaken for one that may be moved.
    fn thread_here() -> u32 {
        let root = Path::new("/");
        assert!(unbound(root).iter().all(|unbound| unbound.thread.pid != std::process::id()));
        thread(root, std::process::id()).unwrap().pid
    }
}
