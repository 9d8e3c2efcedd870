//! `afterburner check`: what this host lacks to run at full speed; one line each, with the command that mends it.
//!
//! Exits 0 when Afterburner can run here at all, which it nearly always can: what is missing costs speed, not service.

use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;

use crate::Outcome;
use crate::host::{self, HugePages, Lack, Tap};

#[derive(clap::Args)]
pub struct Args {
    /// The TAP that `up` would use
    #[arg(long, default_value = "ab0")]
    tap: String,
    /// The port on which the name server would listen
    #[arg(long, default_value_t = 9876)]
    namesrv_port: u16,
}

/// One finding: what was looked at, what was found, and what it costs when it is lacking.
struct Finding {
    what: &'static str,
    found: Result<String, Lack>,
    cost: &'static str,
}

pub fn run(args: Args) -> Outcome {
    let findings = [
        Finding {
            what: "network",
            found: network(&args.tap),
            cost: "runs over kernel sockets instead of TAP: slower",
        },
        Finding {
            what: "huge pages",
            found: huge_pages(),
            cost: "the hot log lies on tmpfs: more TLB misses",
        },
        Finding {
            what: "shared memory",
            found: shared_memory(),
            cost: "the hot log would not survive kill -9",
        },
        Finding { what: "cores", found: cores(), cost: "a polling shard shares its core with its clients" },
        Finding { what: "open files", found: open_files(), cost: "fewer than 10,000 connections" },
        Finding {
            what: "name server port",
            found: port(args.namesrv_port),
            cost: "`up` cannot start its name server",
        },
    ];
    let mut blocked = false;
    for finding in &findings {
        match &finding.found {
            Ok(text) => println!("ok    {:<17} {text}", finding.what),
            Err(lack) => {
                println!("lacks {:<17} {}; {}", finding.what, lack.why, finding.cost);
                println!("      {:<17} -> {}", "", lack.fix);
            }
        }
        blocked |= finding.what == "name server port" && finding.found.is_err();
    }
    Ok(if blocked { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn network(name: &str) -> Result<String, Lack> {
    Ok(match host::tap(name)? {
        Tap::Ready => format!("TAP {name} stands and may be used"),
        Tap::MayCreate => format!("TAP {name} can be made"),
    })
}

fn huge_pages() -> Result<String, Lack> {
    let fix = "run `afterburner up` as root, or once as root: scripts/hugepages --pages 160 --user $USER";
    let Some(pages) = HugePages::look() else {
        return Err(Lack {
            why: "this kernel has no huge pages of 2 MiB".into(),
            fix: "use another kernel".into(),
        });
    };
    if let Some(mount) = host::hugetlbfs().filter(|_| pages.free > 0) {
        return Ok(format!("{} of {} pages free, mounted at {}", pages.free, pages.total, mount.display()));
    }
    if host::has_capability(host::CAP_SYS_ADMIN) {
        return Ok(format!(
            "{} of {} pages free; `up` reserves and mounts what it needs",
            pages.free, pages.total
        ));
    }
    Err(Lack {
        why: format!("{} of {} pages free and no mount of ours", pages.free, pages.total),
        fix: fix.into(),
    })
}

fn shared_memory() -> Result<String, Lack> {
    let fix = "mount --types tmpfs tmpfs /dev/shm (as root)";
    let free = rustix::fs::statvfs("/dev/shm")
        .map_err(|error| Lack { why: format!("/dev/shm: {error}"), fix: fix.into() })?;
    Ok(format!("/dev/shm has {} MiB free", (free.f_bavail * free.f_frsize) >> 20))
}

fn cores() -> Result<String, Lack> {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    if count < 2 {
        return Err(Lack { why: "one core".into(), fix: "give this host at least two cores".into() });
    }
    Ok(format!("{count} usable"))
}

fn open_files() -> Result<String, Lack> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    match limit.maximum {
        Some(maximum) if maximum < 10_240 => Err(Lack {
            why: format!("at most {maximum}"),
            fix: "raise the hard limit: ulimit -Hn 65536 (as root)".into(),
        }),
        Some(maximum) => Ok(format!("up to {maximum}")),
        None => Ok("unlimited".into()),
    }
}

fn port(port: u16) -> Result<String, Lack> {
    match TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)) {
        Ok(_) => Ok(format!("{port} is free")),
        Err(error) => Err(Lack {
            why: format!("port {port}: {error}"),
            fix: format!(
                "end what listens there (ss --listening --tcp --processes), or: --namesrv-port {}",
                port + 1
            ),
        }),
    }
}
