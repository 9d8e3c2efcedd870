//! The budget of a run: core, memory, queues and the promise about messages. Made once, printed at start.
//!
//! ```text
//! Config + HostFacts --make--> Plan --Display--> aligned lines      (what does not fit is an error with its fix)
//! ```
//!
//! Pure: host.rs looks at the machine. Every bound is a constant of limits.rs or a setting; nothing grows past it.

use std::fmt;

use crate::config::{Config, Cores, Device, FlushDiskType};
use crate::limits;

/// What the machine has, as far as the plan depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// Cores this process may run on.
    pub cores: Vec<usize>,
    /// Bytes that can be taken without swapping; 0 when the host does not tell.
    pub memory_available: u64,
    /// Whether memory may be locked without a limit.
    pub may_lock_memory: bool,
}

/// What an acknowledged message survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    Mem,
    Disk,
}

/// One shard: a core, and the settings of its broker.
#[derive(Debug, Clone, PartialEq)]
pub struct ShardPlan {
    pub number: usize,
    /// The core its thread keeps to.
    pub core: Option<usize>,
    pub config: Config,
}

impl ShardPlan {
    /// A thread of this shard; those of the first have plain names. The kernel shows 15 letters.
    pub fn thread_name(&self, work: &str) -> String {
        match self.number {
            0 => work.to_owned(),
            number => format!("{work}-{number}"),
        }
    }
}

/// One part of the memory budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    pub bytes: u64,
    pub of: &'static str,
    /// Taken at start, or only as far as it is needed.
    pub at_start: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub shards: Vec<ShardPlan>,
    pub durability: Durability,
    pub shares: Vec<Share>,
    /// Keep everything in memory, since we may.
    pub lock_memory: bool,
    /// `name`, `text` of the printed lines.
    lines: Vec<(&'static str, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error(
        "cores: this process may run on {allowed} only, and not on core {wanted}: write others, auto or none"
    )]
    CoreNotAllowed { wanted: usize, allowed: String },
    #[error(
        "hotLogBytes: {wanted}{each} do not fit into the {available} of memory that are free; write a smaller one, as in hotLogBytes={fits}M"
    )]
    NoMemory { wanted: Amount, each: String, available: Amount, fits: u64 },
}

impl Plan {
    pub fn make(config: &Config, facts: &HostFacts) -> Result<Plan, PlanError> {
        let cores = cores(&config.cores, facts)?;
        let count = cores.len() as u64;
        let hot_log = config.hot_log_bytes.0;
        if facts.memory_available > 0 && hot_log.saturating_mul(count) > facts.memory_available / 10 * 9 {
            return Err(PlanError::NoMemory {
                wanted: Amount(hot_log),
                each: if count > 1 { format!(" for each of {count} shards") } else { String::new() },
                available: Amount(facts.memory_available),
                fits: (facts.memory_available / 2 / count) >> 20,
            });
        }
        let mut shares = vec![
            Share { bytes: hot_log, of: "hot log", at_start: true },
            Share { bytes: limits::JOIN_POOL_BYTES_MAX as u64, of: "split frames", at_start: false },
        ];
        if config.flight_recorder_bytes.0 > 0 {
            // One is written to, one is spare.
            let bytes = 2 * config.flight_recorder_bytes.0;
            shares.push(Share { bytes, of: "flight recorder", at_start: true });
        }
        let durability = match config.flush_disk_type {
            FlushDiskType::AsyncFlush => Durability::Mem,
            FlushDiskType::SyncFlush => Durability::Disk,
        };
        let shard = |(number, core)| ShardPlan { number, core, config: config.of_shard(number) };
        let shards = cores.into_iter().enumerate().map(shard).collect();
        let mut plan =
            Plan { shards, durability, shares, lock_memory: facts.may_lock_memory, lines: Vec::new() };
        plan.lines = plan.describe(config, facts);
        Ok(plan)
    }

    /// The cores that are to be kept free for shards.
    pub fn cores(&self) -> Vec<usize> {
        self.shards.iter().filter_map(|shard| shard.core).collect()
    }

    fn describe(&self, config: &Config, facts: &HostFacts) -> Vec<(&'static str, String)> {
        let mut lines: Vec<_> = self.shards.iter().flat_map(|shard| shard.describe(facts)).collect();
        let several = self.shards.len() > 1;
        if !several {
            // As ever, the names come second and the promise before the store.
            lines.insert(1, ("name servers", names(config)));
            lines.insert(4, ("durability", self.durability.explain().to_owned()));
        } else {
            lines.push(("name servers", names(config)));
            lines.push(("durability", self.durability.explain().to_owned()));
            if let Some(line) = self.crowded(facts) {
                lines.push(("note", line));
            }
        }
        let each = if several { "each shard: " } else { "" };
        let shares: Vec<String> = self
            .shares
            .iter()
            .map(|share| {
                let upto = if share.at_start { "" } else { "up to " };
                format!("{upto}{} {}", Amount(share.bytes), share.of)
            })
            .collect();
        let lock = if self.lock_memory { "locked" } else { "not locked (no right to; give CAP_IPC_LOCK)" };
        lines.push(("memory", format!("{each}{}; {lock}", shares.join(", "))));
        lines.push((
            "limits",
            format!(
                "{each}{} connections, {} held pulls, messages of {} bytes",
                config.connections_max,
                limits::HOLDS_MAX,
                config.max_message_size
            ),
        ));
        lines
    }

    /// What to know when no core is left for the rest of the process.
    fn crowded(&self, facts: &HostFacts) -> Option<String> {
        let taken = self.cores();
        let is_full = facts.cores.iter().all(|core| taken.contains(core));
        is_full.then(|| {
            "every core runs a shard: threads for disk and name servers share them; leave one out for steadier times"
                .to_owned()
        })
    }
}

impl ShardPlan {
    fn describe(&self, facts: &HostFacts) -> Vec<(&'static str, String)> {
        let config = &self.config;
        let address = config.broker_ip1.map_or_else(String::new, |ip| ip.to_string());
        let core = match self.core {
            Some(core) => format!("{core} of {}, pinned and polling", ranges(&facts.cores)),
            None => format!("any of {}, polling", ranges(&facts.cores)),
        };
        let device = match &config.device {
            Device::Tap { name } => format!(
                "tap {name}: {}/{} behind {}, TCP of our own",
                config.address.ip,
                config.address.prefix_len,
                config.gateway.unwrap_or_else(|| config.address.host_end()),
            ),
            Device::Xdp { interface } => format!(
                "xdp {interface}: {}/{}, TCP of our own, retransmission after {} ms at the earliest; the host keeps the rest",
                config.address.ip,
                config.address.prefix_len,
                1_000 / config.stack_clock.max(1),
            ),
            Device::Kernel { ip } => {
                format!("kernel: sockets on {}", ip.unwrap_or(config.bind_address))
            }
        };
        vec![
            (
                "broker",
                format!(
                    "{} of {} at {address}:{}, VIP port {}",
                    config.broker_name,
                    config.broker_cluster_name,
                    config.listen_port,
                    config.listen_port - 2
                ),
            ),
            ("device", device),
            ("core", core),
            ("store", config.store_path_root_dir.display().to_string()),
        ]
    }
}

impl Durability {
    fn explain(self) -> &'static str {
        match self {
            Durability::Mem => {
                "mem: what is acknowledged survives kill -9; a power cut may take the last moments (ASYNC_FLUSH)"
            }
            Durability::Disk => "disk: what is acknowledged survives a power cut (SYNC_FLUSH)",
        }
    }
}

/// The core of each shard.
fn cores(wanted: &Cores, facts: &HostFacts) -> Result<Vec<Option<usize>>, PlanError> {
    match wanted {
        Cores::None => Ok(vec![None]),
        // The last core is the one least used by interrupts and by whatever runs beside us.
        Cores::Auto => Ok(vec![facts.cores.last().copied().filter(|_| facts.cores.len() > 1)]),
        Cores::List(cores) => match cores.iter().find(|core| !facts.cores.contains(core)) {
            None => Ok(cores.iter().copied().map(Some).collect()),
            Some(&wanted) => Err(PlanError::CoreNotAllowed { wanted, allowed: ranges(&facts.cores) }),
        },
    }
}

fn names(config: &Config) -> String {
    match config.namesrv_addr.0.len() {
        0 => "none".to_owned(),
        _ => config.namesrv_addr.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, text) in &self.lines {
            writeln!(f, "  {name:width$}  {text}")?;
        }
        Ok(())
    }
}

/// Bytes for people: `512 MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount(pub u64);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        match units.into_iter().find(|&(_, unit)| self.0 >= unit) {
            Some((name, unit)) if self.0.is_multiple_of(unit) => write!(f, "{} {name}", self.0 / unit),
            Some((name, unit)) => write!(f, "{:.1} {name}", self.0 as f64 / unit as f64),
            None => write!(f, "{} B", self.0),
        }
    }
}

/// `0-3,6` for people.
fn ranges(cores: &[usize]) -> String {
    let mut text = String::new();
    let mut rest = cores;
    while let Some(&first) = rest.first() {
        let run = rest.iter().enumerate().take_while(|&(at, &core)| core == first + at).count();
        let comma = if text.is_empty() { "" } else { "," };
        text += &match run {
            1 => format!("{comma}{first}"),
            _ => format!("{comma}{first}-{}", first + run - 1),
        };
        rest = &rest[run..];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Bytes, Host, Override, Sources, load};

    fn config(settings: &[(&str, &str)]) -> Config {
        let flags = settings
            .iter()
            .map(|(key, value)| Override { flag: "--set", key: (*key).into(), value: (*value).into() })
            .collect();
        let host = Host { name: Some("box".into()), home: Some("/home/me".into()), address: None };
        load(&Sources { flags, ..Sources::default() }, &host).unwrap().config
    }

    fn facts() -> HostFacts {
        HostFacts { cores: vec![0, 1], memory_available: 8 << 30, may_lock_memory: true }
    }

    #[test]
    fn the_last_core_is_taken_when_there_are_several() {
        let core = |settings: &[(&str, &str)], cores: &[usize]| {
            Plan::make(&config(settings), &HostFacts { cores: cores.into(), ..facts() })
                .map(|plan| plan.shards[0].core)
        };
        assert_eq!(core(&[], &[0, 1]), Ok(Some(1)));
        assert_eq!(core(&[], &[0]), Ok(None));
        assert_eq!(core(&[("cores", "none")], &[0, 1]), Ok(None));
        assert_eq!(core(&[("cores", "0")], &[0, 1]), Ok(Some(0)));
        let error = core(&[("cores", "7")], &[0, 1]).unwrap_err().to_string();
        assert!(error.contains("may run on 0-1 only, and not on core 7"), "{error}");
    }

    #[test]
    fn a_hot_log_that_does_not_fit_is_refused_with_one_that_does() {
        let mut big = config(&[]);
        big.hot_log_bytes = Bytes(8 << 30);
        let error = Plan::make(&big, &facts()).unwrap_err().to_string();
        assert!(error.contains("8 GiB do not fit into the 8 GiB"), "{error}");
        assert!(error.contains("hotLogBytes=4096M"), "{error}");
        let blind = HostFacts { memory_available: 0, ..facts() };
        assert!(Plan::make(&big, &blind).is_ok(), "a host that does not tell is trusted");
    }

    /// Goal: each core listed runs one shard, in the order written, with settings of its own.
    #[test]
    fn each_core_listed_runs_a_shard() {
        let four = HostFacts { cores: vec![0, 1, 2, 3], ..facts() };
        let plan = Plan::make(&config(&[("cores", "3,2")]), &four).unwrap();
        let shards: Vec<_> =
            plan.shards.iter().map(|shard| (shard.number, shard.core, &*shard.config.broker_name)).collect();
        assert_eq!(shards, [(0, Some(3), "box"), (1, Some(2), "box-1")]);
        assert_eq!(plan.cores(), [3, 2]);
        assert_eq!(
            plan.shards.iter().map(|shard| shard.thread_name("ab-disk")).collect::<Vec<_>>(),
            ["ab-disk", "ab-disk-1"]
        );
        let text = plan.to_string();
        for line in [
            "broker        box-1 of DefaultCluster at 10.77.1.2:10921, VIP port 10919",
            "core          2 of 0-3, ",
            "store         /home/me/store/shard-1",
            "memory        each shard: 256 MiB hot log",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("every core"), "{text}");
        let crowded = Plan::make(&config(&[("cores", "0,1")]), &facts()).unwrap().to_string();
        assert!(crowded.contains("every core runs a shard"), "{crowded}");
    }

    #[test]
    fn shards_that_cannot_be_are_refused_with_the_fix() {
        let refused =
            |settings: &[(&str, &str)]| Plan::make(&config(settings), &facts()).unwrap_err().to_string();
        let error = refused(&[("cores", "0,2")]);
        assert!(error.contains("may run on 0-1 only, and not on core 2"), "{error}");
        let error = refused(&[("cores", "0,1"), ("hotLogBytes", "4G")]);
        assert!(
            error.contains("4 GiB for each of 2 shards") && error.contains("hotLogBytes=2048M"),
            "{error}"
        );
    }

    #[test]
    fn the_plan_is_printed_aligned() {
        let text = Plan::make(&config(&[("namesrvAddr", "a:1;b:2")]), &facts()).unwrap().to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "  broker        box of DefaultCluster at 10.77.0.2:10911, VIP port 10909");
        assert_eq!(lines[1], "  name servers  a:1 b:2");
        assert!(
            lines.iter().all(|line| line.as_bytes()[15] == b' ' && line.as_bytes()[16] != b' '),
            "{text}"
        );
        assert!(text.contains("behind 10.77.0.1"), "{text}");
    }

    #[test]
    fn amounts_and_ranges() {
        let shown = [0, 1023, 1024, 1536, 512 << 20, 3 << 29].map(|bytes| Amount(bytes).to_string());
        assert_eq!(shown, ["0 B", "1023 B", "1 KiB", "1.5 KiB", "512 MiB", "1.5 GiB"]);
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(ranges(&[]), "");
    }
}
