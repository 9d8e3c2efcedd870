//! The shards that a broker will run here, and what the host and its card must be like for each of them. Pure.
//!
//! ```text
//! cores=2,3   shard 0: core 2, queues 0, 2, .. of the card, listenPort 10911, huge pages for a hot log
//!             shard 1: core 3, queues 1, 3, ..              10921             as many again
//! ```

use std::net::Ipv4Addr;

use super::core_sets;
use super::facts::Facts;
use super::finding::{Change, Finding, Fix, Knob, command, finding};
use super::nic::Nic;
use super::threads::{Unbound, WORKQUEUES};

/// Cores and ports of the shards, as the broker's settings have them.
#[derive(Debug, Clone)]
pub struct Shards {
    /// None when there is one shard and one core.
    pub cores: Vec<usize>,
    /// Of the first.
    pub listen_port: u16,
    /// On the network card.
    pub address: Option<Ipv4Addr>,
}

impl Shards {
    /// On the cores listed. When none is, on the last of several: the broker takes that one.
    pub fn new(listed: &[usize], facts: &Facts) -> Shards {
        let cores = match listed {
            [] => facts.cores.last().copied().filter(|_| facts.cores.len() > 1).into_iter().collect(),
            listed => listed.to_vec(),
        };
        Shards { cores, listen_port: LISTEN_PORT, address: None }
    }

    pub fn count(&self) -> usize {
        self.cores.len().max(1)
    }

    fn port(&self, number: usize) -> usize {
        usize::from(self.listen_port) + number * PORT_STEP
    }

    /// Those of the list that no shard has.
    fn spare<'a>(&self, list: &'a [usize]) -> impl Iterator<Item = usize> + use<'a, '_> {
        list.iter().copied().filter(|core| !self.cores.contains(core))
    }

    /// Those of the shards' cores that are not in the list.
    fn not_in(&self, list: &[usize]) -> Vec<usize> {
        self.cores.iter().copied().filter(|core| !list.contains(core)).collect()
    }
}

/// Every line about the shards.
pub fn judge(facts: &Facts, shards: &Shards) -> impl Iterator<Item = Finding> {
    let of_nic = facts.nic.iter().flat_map(|nic| [Some(queues(nic, shards)), steering(nic, shards)]);
    let of_cores = [
        cores(facts, shards),
        isolation(facts, shards),
        ticks(facts, shards),
        interrupts(facts, shards),
        kernel_threads(facts, shards),
        workqueues(facts, shards),
    ];
    of_nic.chain(of_cores).flatten().collect::<Vec<_>>().into_iter()
}

fn queues(nic: &Nic, shards: &Shards) -> Finding {
    let count = shards.count();
    let whose = match count {
        1 => String::new(),
        _ => format!(", shard n of {count} polls n, n + {count}, .."),
    };
    let found = format!("{}: {} to receive{whose}", nic.name, nic.rx_queues);
    let is_good = nic.rx_queues >= count;
    let why = if nic.rx_queues == 0 { "nothing is known of its queues" } else { "each shard polls its own" };
    finding("queues", found, is_good, why, || {
        command(match nic.rx_queues {
            0 => "name another: --nic NAME".to_owned(),
            _ => format!("ethtool --set-channels {} combined {count}", nic.name),
        })
    })
}

/// Which connection comes by which queue: the card's choice, unless it is told.
fn steering(nic: &Nic, shards: &Shards) -> Option<Finding> {
    let count = shards.count();
    if count == 1 || nic.rx_queues < count || nic.ntuple != Some(true) {
        return None;
    }
    let is_led = |number: &usize| {
        let port = shards.port(*number);
        nic.rules.iter().any(|rule| usize::from(rule.port) == port && rule.queue % count == *number)
    };
    let astray: Vec<usize> = (0..count).filter(|number| !is_led(number)).collect();
    let ports: Vec<String> = astray.iter().map(|number| shards.port(*number).to_string()).collect();
    let found = match astray.is_empty() {
        true => format!("{}: the port of each shard leads to a queue of its own", nic.name),
        false => format!("{}: nothing leads port {} to a queue of its shard", nic.name, ports.join(", ")),
    };
    Some(finding(
        "steering",
        found,
        astray.is_empty(),
        "frames that come by another shard's queue are copied across",
        || {
            let address = shards.address.map_or(String::new(), |address| format!("dst-ip {address} "));
            let rule = |number: &usize| {
                let (name, port) = (&nic.name, shards.port(*number));
                format!(
                    "ethtool --config-ntuple {name} flow-type tcp4 {address}dst-port {port} action {number}"
                )
            };
            command(astray.iter().map(rule).collect::<Vec<_>>().join("; "))
        },
    ))
}

fn cores(facts: &Facts, shards: &Shards) -> Option<Finding> {
    let usable = facts.cores.len();
    let foreign = shards.not_in(&facts.cores);
    let twice = shards.cores.iter().enumerate().find(|(at, core)| shards.cores[..*at].contains(core));
    let left = shards.spare(&facts.cores).count();
    let (found, why, fix) = match (usable, twice) {
        (0, _) => return None,
        (_, Some((_, core))) => (format!("core {core} is listed twice"), NO_START, "list it once".to_owned()),
        _ if !foreign.is_empty() => (
            format!("{} not for this process", are(&foreign)),
            NO_START,
            format!("list some of {}", list(&facts.cores)),
        ),
        (1, _) => ("one core".to_owned(), SHARED, "give this host at least two cores".to_owned()),
        _ if left == 0 => (
            format!("{usable} usable, and shards take all"),
            SHARED,
            "leave one out, or give this host more".to_owned(),
        ),
        _ => (format!("{usable} usable; shards take {}", list(&shards.cores)), "", String::new()),
    };
    Some(finding("cores", found, why.is_empty(), why, || command(fix)))
}

fn isolation(facts: &Facts, shards: &Shards) -> Option<Finding> {
    let missing = shards.not_in(&facts.isolated);
    let found = match (shards.cores.is_empty(), missing.is_empty()) {
        (true, _) => return None,
        (_, true) => format!("{} isolated", are(&shards.cores)),
        (_, false) => format!("{} not isolated", are(&missing)),
    };
    let why = "the scheduler puts others on the polling core";
    Some(finding("isolated core", found, missing.is_empty(), why, || {
        command(format!("boot with isolcpus={}", list(&shards.cores)))
    }))
}

fn ticks(facts: &Facts, shards: &Shards) -> Option<Finding> {
    let (ticks, callbacks) = (shards.not_in(&facts.nohz_full), shards.not_in(&facts.rcu_nocbs));
    let found = match (ticks.is_empty(), callbacks.is_empty()) {
        _ if shards.cores.is_empty() => return None,
        (true, true) => format!("{} left alone", are(&shards.cores)),
        (false, true) => format!("timer ticks on {}", names(&ticks)),
        (true, false) => format!("RCU callbacks on {}", names(&callbacks)),
        (false, false) if ticks == callbacks => format!("timer ticks and RCU callbacks on {}", names(&ticks)),
        (false, false) => format!("timer ticks on {}, RCU callbacks on {}", names(&ticks), names(&callbacks)),
    };
    let is_good = ticks.is_empty() && callbacks.is_empty();
    Some(finding("ticks", found, is_good, "each costs the polling core some microseconds", || {
        let all = list(&shards.cores);
        command(format!("boot with nohz_full={all} rcu_nocbs={all}"))
    }))
}

fn interrupts(facts: &Facts, shards: &Shards) -> Option<Finding> {
    if shards.cores.is_empty() {
        return None;
    }
    let others: Vec<usize> = shards.spare(&facts.cores).collect();
    let is_there = |core: &usize| shards.cores.contains(core);
    let there: Vec<_> = facts.irqs.iter().filter(|irq| irq.cores.iter().any(is_there)).collect();
    let shown: Vec<&str> = there.iter().take(NAMES_SHOWN).map(|irq| irq.name.as_str()).collect();
    let found = match there.len() {
        0 => format!("none may fire on {}", names(&shards.cores)),
        count => format!("{count} may fire on {}: {}, ..", names(&shards.cores), shown.join(", ")),
    };
    let why = "they stop the polling core for microseconds";
    Some(finding("interrupts", found, there.is_empty(), why, || {
        if others.is_empty() {
            return command(LIST_FEWER);
        }
        let change = |number| Change::file(format!("/proc/irq/{number}/smp_affinity_list"), list(&others));
        Fix::Write(there.iter().map(|irq| change(irq.number)).collect())
    }))
}

/// Each stays on those of its own cores that no shard has; where there is none, on the host's.
fn kernel_threads(facts: &Facts, shards: &Shards) -> Option<Finding> {
    if shards.cores.is_empty() {
        return None;
    }
    let is_there = |core: &usize| shards.cores.contains(core);
    let there: Vec<_> = facts.threads.iter().filter(|unbound| unbound.cores.iter().any(is_there)).collect();
    let shown: Vec<&str> =
        there.iter().rev().take(NAMES_SHOWN).map(|unbound| unbound.thread.name.as_str()).collect();
    let found = match there.len() {
        0 => format!("none may run on {}", names(&shards.cores)),
        count => format!("{count} may run on {}: {}, ..", names(&shards.cores), shown.join(", ")),
    };
    let why = "they take the polling core for milliseconds";
    Some(finding("kernel threads", found, there.is_empty(), why, || {
        let others: Vec<usize> = shards.spare(&facts.cores).collect();
        if others.is_empty() {
            return command(LIST_FEWER);
        }
        let change = |unbound: &&Unbound| {
            let own: Vec<usize> = shards.spare(&unbound.cores).collect();
            let value = list(if own.is_empty() { &others } else { &own });
            Change { knob: Knob::Cores { thread: unbound.thread.clone() }, value }
        };
        Fix::Write(there.iter().map(change).collect())
    }))
}

fn workqueues(facts: &Facts, shards: &Shards) -> Option<Finding> {
    if shards.cores.is_empty() || facts.workqueues.is_empty() {
        return None;
    }
    let there: Vec<usize> =
        shards.cores.iter().copied().filter(|core| facts.workqueues.contains(core)).collect();
    let found = match there.is_empty() {
        true => format!("those of no core stay off {}", names(&shards.cores)),
        false => format!("those of no core may run on {}", names(&there)),
    };
    let why = "write-back and the like take the polling core for milliseconds";
    Some(finding("workqueues", found, there.is_empty(), why, || {
        let others: Vec<usize> = shards.spare(&facts.workqueues).collect();
        match others.is_empty() {
            true => command(LIST_FEWER),
            false => Fix::Write(vec![Change::file(WORKQUEUES, core_sets::to_mask(&others))]),
        }
    }))
}

/// As files of /proc have it.
pub fn list(cores: &[usize]) -> String {
    cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

fn names(cores: &[usize]) -> String {
    format!("{} {}", if cores.len() == 1 { "core" } else { "cores" }, list(cores))
}

fn are(cores: &[usize]) -> String {
    format!("{} {}", names(cores), if cores.len() == 1 { "is" } else { "are" })
}

pub const LISTEN_PORT: u16 = 10911;
/// From one shard's port to the next one's.
const PORT_STEP: usize = 10;
const NAMES_SHOWN: usize = 3;
const LIST_FEWER: &str = "leave a core to them: list fewer";
pub const NO_START: &str = "the broker does not start so";
const SHARED: &str =
    "a polling shard shares its core with clients and with the threads for disk and name servers";
