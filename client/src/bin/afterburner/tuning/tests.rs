//! The rules, on made-up hosts.

use super::facts::{Disk, Facts, Irq};
use super::finding::{Change, Finding, Fix, Knob};
use super::nic::{Coalescing, Nic, Rule};
use super::shards::Shards;
use super::threads::{Thread, Unbound};

/// A host on which nothing is lacking.
fn good() -> Facts {
    Facts {
        kernel: "6.8.0-generic".into(),
        cores: vec![0, 1, 2, 3],
        isolated: vec![2, 3],
        nohz_full: vec![3],
        rcu_nocbs: vec![3],
        governors: (0..4).map(|core| (core, "performance".to_owned())).collect(),
        clock_sources: ("tsc".into(), vec!["tsc".into(), "hpet".into()]),
        transparent_huge_pages: "madvise".into(),
        swappiness: Some(60),
        has_swap: false,
        overcommit: Some(0),
        page_list_fraction: Some(1_000_000),
        open_files_max: None,
        may_lock_memory: true,
        irqs: vec![Irq { number: 30, name: "eth0-rx-0".into(), cores: vec![0, 1] }],
        threads: vec![unbound(77, "kdamond.0", &[0, 1, 2])],
        workqueues: vec![0, 1, 2],
        nic: Some(Nic {
            name: "eth0".into(),
            driver: "ice".into(),
            mtu: 1_500,
            rx_queues: 8,
            coalescing: Some(Coalescing { adaptive_rx: false, rx_usecs: 0 }),
            ntuple: Some(true),
            rules: vec![Rule { port: 10_911, queue: 4 }, Rule { port: 10_921, queue: 3 }],
        }),
        disk: Disk { folder: "/data".into(), free_bytes: 100 << 30, direct: Some(Ok(())) },
    }
}

fn unbound(pid: u32, name: &str, cores: &[usize]) -> Unbound {
    Unbound { thread: Thread { pid, name: name.into(), started: 7 }, cores: cores.to_vec() }
}

fn judge(facts: &Facts, cores: &[usize]) -> Vec<Finding> {
    super::rules::judge(facts, &Shards::new(cores, facts))
}

fn lacking(facts: &Facts) -> Vec<Finding> {
    lacking_on(&[], facts)
}

/// With a shard on each of these cores.
fn lacking_on(cores: &[usize], facts: &Facts) -> Vec<Finding> {
    judge(facts, cores).into_iter().filter(|finding| finding.lack.is_some()).collect()
}

#[test]
fn a_good_host_lacks_nothing() {
    assert_eq!(lacking(&good()), []);
    assert!(judge(&good(), &[]).len() >= 20);
}

/// Goal: each thing that is wrong is found, and nothing else. Method: spoil one at a time.
#[test]
fn each_lack_is_found_alone() {
    type Spoil = fn(&mut Facts);
    let table: [(&str, Spoil); 21] = [
        ("kernel", |facts| facts.kernel = "5.10.0".into()),
        ("driver", |facts| facts.nic.as_mut().unwrap().driver = "e1000".into()),
        ("queues", |facts| facts.nic.as_mut().unwrap().rx_queues = 0),
        ("mtu", |facts| facts.nic.as_mut().unwrap().mtu = 9_000),
        ("coalescing", |facts| facts.nic.as_mut().unwrap().coalescing.as_mut().unwrap().adaptive_rx = true),
        ("ntuple", |facts| facts.nic.as_mut().unwrap().ntuple = Some(false)),
        ("isolated core", |facts| facts.isolated = vec![2]),
        ("ticks", |facts| facts.rcu_nocbs.clear()),
        ("interrupts", |facts| facts.irqs[0].cores = vec![0, 1, 2, 3]),
        ("kernel threads", |facts| facts.threads[0].cores = vec![2, 3]),
        ("workqueues", |facts| facts.workqueues = vec![0, 1, 2, 3]),
        ("governor", |facts| facts.governors[2].1 = "powersave".into()),
        ("clock source", |facts| facts.clock_sources.0 = "hpet".into()),
        ("transparent huge pages", |facts| facts.transparent_huge_pages = "always".into()),
        ("swap", |facts| facts.has_swap = true),
        ("overcommit", |facts| facts.overcommit = Some(2)),
        ("page lists", |facts| facts.page_list_fraction = Some(0)),
        ("memlock", |facts| facts.may_lock_memory = false),
        ("open files", |facts| facts.open_files_max = Some(1_024)),
        ("disk", |facts| facts.disk.direct = Some(Err("Invalid argument".into()))),
        ("free space", |facts| facts.disk.free_bytes = 1 << 30),
    ];
    for (what, spoil) in table {
        let mut facts = good();
        spoil(&mut facts);
        let found = lacking(&facts);
        assert_eq!(found.len(), 1, "{what}: {found:?}");
        let lack = found[0].lack.as_ref().unwrap();
        assert_eq!(found[0].what, what);
        assert!(!lack.why.is_empty() && !lack.fix.text().is_empty() && !found[0].found.is_empty());
    }
}

/// Goal: what can be changed at run time is: the very files, with the very values.
#[test]
fn changes_name_files_and_values() {
    let mut facts = good();
    facts.irqs[0].cores = vec![0, 1, 2, 3];
    facts.governors[2].1 = "powersave".into();
    let changes: Vec<Change> = lacking(&facts)
        .into_iter()
        .flat_map(|finding| match finding.lack.unwrap().fix {
            Fix::Write(changes) => changes,
            Fix::Command(command) => panic!("{command}"),
        })
        .collect();
    let expected = [
        ("/proc/irq/30/smp_affinity_list", "0,1,2"),
        ("/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "performance"),
    ];
    let expected = expected.map(|(path, value)| Change::file(path, value));
    assert_eq!(changes, expected);
}

/// Goal: threads and workqueues of the kernel leave the shards' cores and no others, and what they may keep they keep.
/// Method: threads of all cores, of some, of a shard's alone, and of none of the shards'.
#[test]
fn the_kernel_leaves_the_shards_cores() {
    let mut facts = good_for_two();
    facts.threads = vec![
        unbound(38, "khugepaged", &[0, 1, 2, 3]),
        unbound(45, "kswapd0", &[1, 3]),
        unbound(46, "kswapd1", &[2, 3]),
        unbound(47, "kauditd", &[0, 1]),
    ];
    facts.workqueues = vec![1, 2, 3];
    let found = lacking_on(&[2, 3], &facts);
    let [threads, workqueues] = &found[..] else { panic!("{found:?}") };
    let expected = [("0,1", 38, "khugepaged"), ("1", 45, "kswapd0"), ("0,1", 46, "kswapd1")];
    let change = |(value, pid, name): (&str, u32, &str)| Change {
        knob: Knob::Cores { thread: unbound(pid, name, &[]).thread },
        value: value.into(),
    };
    let (threads, workqueues) = (threads.lack.as_ref().unwrap(), workqueues.lack.as_ref().unwrap());
    assert_eq!(threads.fix, Fix::Write(expected.map(change).to_vec()));
    assert!(threads.fix.text().starts_with("taskset --pid --cpu-list 0,1 38; "), "{}", threads.fix.text());
    let line = super::json(&found[0], &[2, 3]);
    assert_eq!(line["fix"], "afterburner tune --cores 2,3 --only 'kernel threads' (as root)");
    assert_eq!(workqueues.fix.text(), "echo 00000002 > /sys/devices/virtual/workqueue/cpumask");
    // Shards on all cores leave none to move to: said, and nothing is changed.
    facts.cores = vec![2, 3];
    facts.workqueues = vec![2, 3];
    let found = lacking_on(&[2, 3], &facts);
    for what in ["kernel threads", "workqueues"] {
        let lack = found.iter().find(|finding| finding.what == what).unwrap().lack.as_ref().unwrap();
        assert_eq!(lack.fix, Fix::Command("leave a core to them: list fewer".into()), "{what}");
    }
}

/// Goal: a host that tells nothing, or has one core, is not told off for what does not apply.
#[test]
fn what_does_not_apply_is_not_said() {
    let one_core = Facts { cores: vec![0], isolated: vec![], nohz_full: vec![], rcu_nocbs: vec![], ..good() };
    let whats: Vec<&str> = lacking(&one_core).iter().map(|finding| finding.what).collect();
    assert_eq!(whats, ["cores"]);
    let silent = Facts { kernel: "6.1".into(), may_lock_memory: true, ..Facts::default() };
    let whats: Vec<&str> = lacking(&silent).iter().map(|finding| finding.what).collect();
    assert_eq!(whats, ["free space"]);
}

/// A good host for shards on the cores 2 and 3.
fn good_for_two() -> Facts {
    Facts {
        nohz_full: vec![2, 3],
        rcu_nocbs: vec![2, 3],
        threads: vec![unbound(77, "kdamond.0", &[0, 1])],
        workqueues: vec![0, 1],
        ..good()
    }
}

/// Goal: what one shard of two lacks is found, and named. Method: spoil what only the first shard's core or port has.
#[test]
fn each_of_several_shards_is_looked_after() {
    assert_eq!(lacking_on(&[2, 3], &good_for_two()), []);
    type Spoil = fn(&mut Facts);
    let table: [(&str, &str, Spoil); 9] = [
        ("isolated core", "isolcpus=2,3", |facts| facts.isolated = vec![3]),
        ("ticks", "nohz_full=2,3", |facts| facts.nohz_full = vec![3]),
        ("interrupts", "echo 0,1 > /proc/irq/30/", |facts| facts.irqs[0].cores = vec![0, 1, 2]),
        ("kernel threads", "--cpu-list 0,1 77", |facts| facts.threads[0].cores = vec![0, 1, 2]),
        ("workqueues", "echo 00000003 > ", |facts| facts.workqueues = vec![0, 1, 2]),
        ("governor", "cpu2/cpufreq", |facts| facts.governors[2].1 = "powersave".into()),
        ("queues", "combined 2", |facts| facts.nic.as_mut().unwrap().rx_queues = 1),
        ("steering", "dst-port 10911 action 0", |facts| facts.nic.as_mut().unwrap().rules[0].port = 1),
        ("steering", "dst-port 10921 action 1", |facts| facts.nic.as_mut().unwrap().rules[1].queue = 4),
    ];
    for (what, fix, spoil) in table {
        let mut facts = good_for_two();
        spoil(&mut facts);
        let found = lacking_on(&[2, 3], &facts);
        assert_eq!(found.len(), 1, "{what}: {found:?}");
        let lack = found[0].lack.as_ref().unwrap();
        assert!(found[0].what == what && lack.fix.text().contains(fix), "{what}: {found:?}");
    }
}

/// Goal: cores that do not do are said, with what to do. Method: one twice, one that is not ours, and all of them.
#[test]
fn cores_that_do_not_do_are_said() {
    let host = || Facts {
        isolated: (0..5).collect(),
        nohz_full: (0..5).collect(),
        rcu_nocbs: (0..5).collect(),
        irqs: vec![],
        threads: vec![],
        workqueues: vec![],
        nic: None,
        ..good()
    };
    for (cores, found) in [(&[3, 3][..], "twice"), (&[3, 4], "core 4"), (&[0, 1, 2, 3], "take all")] {
        let lacking = lacking_on(cores, &host());
        assert_eq!(lacking.len(), 1, "{lacking:?}");
        assert!(lacking[0].what == "cores" && lacking[0].found.contains(found), "{lacking:?}");
    }
}
