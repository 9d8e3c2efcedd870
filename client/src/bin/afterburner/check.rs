//! `afterburner check`: what this host lacks to run at full speed; one line each, with the command that mends it.
//!
//! Exits 0 when Afterburner can run here at all, which it nearly always can: what is missing costs speed, not service.
//! With --strict it exits 1 when anything is lacking. What can be mended while the host runs, `afterburner tune` mends.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use client::{Admin, ClientConfig};
use serde_json::json;

use crate::Outcome;
use crate::cluster_access::{block_on, explain};
use crate::host::{self, HugePages, Lack, Tap};
use crate::tuning::facts::Facts;
use crate::tuning::finding::{self, Finding, Fix};
use crate::tuning::rules;
use crate::tuning::shards::{LISTEN_PORT, NO_START, Shards};
use crate::up::HOT_LOG_MIB;
use crate::up::memory;
use crate::up::shards::tap_name;

#[derive(clap::Args)]
pub struct Args {
    /// The cores the broker will run on, a shard on each, as its `cores` has them: 2,3. When not given: the last
    #[arg(long, value_delimiter = ',')]
    cores: Vec<usize>,
    /// The port of the first shard; each further one has the port 10 above
    #[arg(long, default_value_t = LISTEN_PORT)]
    listen_port: u16,
    /// The broker's address on the network card
    #[arg(long)]
    address: Option<Ipv4Addr>,
    /// The TAP that `up` would use; each further shard has one of its own
    #[arg(long, default_value = "ab0")]
    tap: String,
    /// The port on which the name server would listen
    #[arg(long, default_value_t = 9876)]
    namesrv_port: u16,
    /// The network card; when not given, that of the default route
    #[arg(long)]
    nic: Option<String>,
    /// Where messages would be stored. When not given: afterburner in the home folder
    #[arg(long, value_name = "FOLDER")]
    store: Option<PathBuf>,
    /// Exit with 1 when anything is lacking, even if Afterburner runs without it
    #[arg(long)]
    strict: bool,
    /// Print one JSON document instead of lines
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Outcome {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
    let store = args.store.unwrap_or_else(|| home.join("afterburner"));
    let facts = Facts::look(Path::new("/"), args.nic.as_deref(), &store);
    let shards =
        Shards { listen_port: args.listen_port, address: args.address, ..Shards::new(&args.cores, &facts) };
    let count = shards.count();
    let mut findings = vec![
        finding("network", network(&args.tap, count), "runs over kernel sockets instead of TAP: slower"),
        finding("huge pages", huge_pages(count), "the hot log lies on tmpfs: more TLB misses"),
        finding("shared memory", shared_memory(count), NO_SHARED_MEMORY),
        finding("name server port", port(args.namesrv_port), NO_NAME_SERVER),
    ];
    findings.extend(rules::judge(&facts, &shards));
    let whys = || findings.iter().filter_map(|finding| Some(finding.lack.as_ref()?.why));
    let is_blocked = whys().any(|why| [NO_NAME_SERVER, NO_START].contains(&why));
    if args.json {
        let lines: Vec<_> =
            findings.iter().map(|finding| crate::tuning::json(finding, &args.cores)).collect();
        println!("{}", json!({ "runs": !is_blocked, "findings": lines }));
    } else {
        findings.iter().for_each(|finding| crate::tuning::print(finding, &args.cores));
    }
    let is_lacking = findings.iter().any(|finding| finding.lack.is_some());
    Ok(if is_blocked || (args.strict && is_lacking) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn finding(what: &'static str, found: Result<String, Lack>, why: &'static str) -> Finding {
    match found {
        Ok(found) => Finding { what, found, lack: None },
        Err(lack) => {
            let mended = finding::Lack { why, fix: Fix::Command(lack.fix) };
            Finding { what, found: lack.why, lack: Some(mended) }
        }
    }
}

fn network(name: &str, shards: usize) -> Result<String, Lack> {
    let look = |number: usize| {
        let name = tap_name(name, number);
        match host::tap(&name) {
            Ok(Tap::Ready) => Ok(format!("TAP {name} stands and may be used")),
            Ok(Tap::MayCreate) => Ok(format!("TAP {name} can be made")),
            Err(lack) if shards > 1 && lack.fix.contains("net-up") => {
                Err(Lack { fix: format!("{} --shards {shards}", lack.fix), ..lack })
            }
            Err(lack) => Err(lack),
        }
    };
    Ok((0..shards).map(look).collect::<Result<Vec<_>, _>>()?.join("; "))
}

fn huge_pages(shards: usize) -> Result<String, Lack> {
    let needed = memory::pages((HOT_LOG_MIB << 20) * shards as u64);
    let fix = format!(
        "run `afterburner up` as root, or once as root: scripts/hugepages --pages {needed} --user $USER"
    );
    let Some(pages) = HugePages::look() else {
        return Err(Lack {
            why: "this kernel has no huge pages of 2 MiB".into(),
            fix: "use another kernel".into(),
        });
    };
    let mount = host::hugetlbfs();
    if let Some(mount) = mount.as_ref().filter(|_| pages.free >= needed) {
        return Ok(format!("{} of {} pages free, mounted at {}", pages.free, pages.total, mount.display()));
    }
    if host::has_capability(host::CAP_SYS_ADMIN) {
        return Ok(format!(
            "{} of {} pages free; `up` reserves and mounts what it needs",
            pages.free, pages.total
        ));
    }
    Err(Lack {
        why: match mount {
            Some(_) => format!("{} of {} pages free, and a broker wants {needed}", pages.free, pages.total),
            None => format!("{} of {} pages free and no mount of ours", pages.free, pages.total),
        },
        fix,
    })
}

fn shared_memory(shards: usize) -> Result<String, Lack> {
    let fix = "mount --types tmpfs tmpfs /dev/shm (as root)";
    let space = rustix::fs::statvfs("/dev/shm")
        .map_err(|error| Lack { why: format!("/dev/shm: {error}"), fix: fix.into() })?;
    let [free, all] = [space.f_bavail, space.f_blocks].map(|blocks| (blocks * space.f_frsize) >> 20);
    enough_shared(free, all, HOT_LOG_MIB * shards as u64)
}

/// All in MiB.
fn enough_shared(free: u64, all: u64, wanted: u64) -> Result<String, Lack> {
    let found = format!("/dev/shm has {free} MiB free");
    if free >= wanted {
        return Ok(found);
    }
    let size = all + wanted - free;
    Err(Lack {
        why: format!("{found}, and {wanted} are wanted"),
        fix: format!(
            "mount --options remount,size={size}M /dev/shm (as root), for a container --shm-size {size}m, or less of \
             --hot-log-mib"
        ),
    })
}

fn port(port: u16) -> Result<String, Lack> {
    match TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)) {
        Ok(_) => Ok(format!("{port} is free")),
        Err(_) if is_name_server(port) => {
            Ok(format!("a name server answers at {port} already; another one wants --namesrv-port"))
        }
        Err(error) => Err(Lack {
            why: format!("port {port}: {error}"),
            fix: format!(
                "end what listens there (ss --listening --tcp --processes), or: --namesrv-port {}",
                port + 1
            ),
        }),
    }
}

/// As when `check` is run beside `up`.
fn is_name_server(port: u16) -> bool {
    let asked = async {
        let admin = Admin::new(ClientConfig::new(&format!("127.0.0.1:{port}")));
        admin.start().await.map_err(explain)?;
        let known = admin.cluster().await;
        admin.shutdown().await;
        known.map(|_| ExitCode::SUCCESS).map_err(explain)
    };
    block_on(asked).is_ok()
}

const NO_NAME_SERVER: &str = "`up` cannot start its name server";
const NO_SHARED_MEMORY: &str =
    "without huge pages the hot log lies in ordinary files: the disk may hold sends up";

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: shared memory as a container has it by default is told to lack what a hot log takes, and how much would do.
    #[test]
    fn little_shared_memory_is_told() {
        let lack = enough_shared(60, 64, 256).err().unwrap();
        assert!(lack.why.contains("60 MiB free, and 256 are wanted"), "{}", lack.why);
        assert!(lack.fix.contains("--shm-size 260m"), "{}", lack.fix);
        assert!(enough_shared(256, 512, 256).is_ok());
    }
}
