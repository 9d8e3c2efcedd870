//! `afterburner-dataplane store inspect|verify|repair DIR`: a store directory looked at while no broker uses it.
//!
//! ```text
//! inspect   what lies there: files, ranges, queues, index, checkpoint, last stop          reads only
//! verify    .. and whether every record and its queue entry is whole; what is lost        reads only
//! repair    what a start would do (cut a torn end, replay the hot log, remake queues and index), then a clean stop
//! ```
//!
//! Ours or the official broker's directory. An edge file: it prints. The looking itself is `store::inspect`.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use serde_json::json;
use store::inspect::{self, Inspection, Verdict};
use store::{Medium, RealMedium, StoreConfig};

use crate::host;
use crate::plan::Amount;

/// Look at a store directory, ours or an official broker's.
#[derive(Debug, Parser)]
#[command(name = "store", bin_name = "afterburner store")]
pub struct StoreArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show what lies there: files, queues, index, checkpoint, how the last broker stopped
    Inspect(Place),
    /// Read every record and its queue entry, and tell what is damaged and what was lost
    Verify(Place),
    /// Do what a start would do to make it whole, then stop cleanly. No broker may run on it
    Repair {
        #[command(flatten)]
        place: Place,
        /// Make consume queues and index again from the log, whatever is there
        #[arg(long)]
        remake: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Place {
    /// The directory, storePathRootDir of its broker
    dir: PathBuf,
    /// The directory of the commitlog, when it lies elsewhere
    #[arg(long, value_name = "DIR")]
    commitlog: Option<PathBuf>,
    /// Print one JSON document instead
    #[arg(long)]
    json: bool,
}

/// 0: whole, or made so. 1: not.
pub fn run(args: &StoreArgs) -> Result<ExitCode, String> {
    let medium: Arc<dyn Medium> = Arc::new(RealMedium::new());
    let (place, remake) = match &args.what {
        What::Inspect(place) | What::Verify(place) => (place, None),
        What::Repair { place, remake } => (place, Some(*remake)),
    };
    // The store wants whole paths.
    let whole = |dir: &PathBuf| {
        let wrong = |error| format!("{}: {error}; give the storePathRootDir of a broker", dir.display());
        std::fs::canonicalize(dir).map_err(wrong)
    };
    let place = &Place {
        dir: whole(&place.dir)?,
        commitlog: place.commitlog.as_ref().map(whole).transpose()?,
        json: place.json,
    };
    let tell = |error: &dyn std::fmt::Display| format!("cannot look at it: {error}");
    let look =
        || inspect::inspect(&medium, &place.dir, place.commitlog.as_deref()).map_err(|error| tell(&error));
    let seen = look()?;
    if seen.commitlog.files == 0 {
        let dir = seen.commitlog.dir.display();
        return Err(format!(
            "there is no commitlog file in {dir}; give the storePathRootDir of a broker, and --commitlog DIR when its log lies elsewhere"
        ));
    }
    let repaired = match remake {
        Some(remake) => Some(repair(&medium, place, &seen, remake)?),
        None => None,
    };
    let seen = if repaired.is_some() { look()? } else { seen };
    let verdict = match args.what {
        What::Inspect(_) => None,
        What::Verify(_) | What::Repair { .. } => {
            let mut progress = Progress::new();
            let verdict = inspect::verify(&medium, &seen, &mut |done, all| progress.tell(done, all));
            Some(verdict.map_err(|error| tell(&error))?)
        }
    };
    if place.json {
        println!("{:#}", json!({ "inspection": seen, "verdict": verdict, "repaired": repaired }));
    } else {
        print!("{}", show(&seen));
        if let Some(repaired) = &repaired {
            println!("repaired    {repaired}");
        }
        if let Some(verdict) = &verdict {
            print!("{}", show_verdict(verdict));
        }
    }
    let good = verdict.is_none_or(|verdict| verdict.is_whole());
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Opens the store as a broker would, and closes it.
fn repair(
    medium: &Arc<dyn Medium>,
    place: &Place,
    seen: &Inspection,
    remake: bool,
) -> Result<String, String> {
    let tell = |error: &dyn std::fmt::Display| format!("cannot repair it: {error}");
    let queue_bytes = queue_file_bytes(place, seen);
    if remake {
        for name in ["consumequeue", "index"] {
            medium.remove_dir(&place.dir.join(name)).map_err(|error| tell(&error))?;
        }
    }
    let config = StoreConfig {
        commitlog: place.commitlog.clone(),
        commitlog_file_bytes: seen.commitlog.file_bytes,
        consumequeue_file_bytes: queue_bytes,
        utc_offset_ms: host::utc_offset_ms(),
        // Nothing is deleted here.
        retention: store::Retention { reserved_ms: i64::MAX, may_force: false, ..Default::default() },
        ..StoreConfig::new(&place.dir)
    };
    let (shard, cold, recovery) = store::open(config, Arc::clone(medium)).map_err(|error| tell(&error))?;
    drop(shard);
    cold.close(crate::cold::wall_ms()).map_err(|error| tell(&error))?;
    let mut told = format!(
        "log from {} to {}; {} and {} records looked at, {} records of the hot log replayed",
        recovery.min,
        recovery.max,
        Amount(recovery.scanned_bytes),
        recovery.scanned_records,
        recovery.replayed_records
    );
    if let Some((at, error)) = recovery.cut {
        let _ = write!(told, "; cut at {at}: {error}");
    }
    Ok(told)
}

/// What the queue files that are there have; the official size when there are none.
fn queue_file_bytes(place: &Place, seen: &Inspection) -> u64 {
    let first = seen
        .queues
        .first()
        .map(|queue| place.dir.join("consumequeue").join(&queue.topic).join(queue.queue_id.to_string()));
    let file = first.and_then(|dir| std::fs::read_dir(dir).ok()?.flatten().next()?.metadata().ok());
    file.map(|about| about.len()).filter(|bytes| *bytes > 0).unwrap_or(6_000_000)
}

fn show(seen: &Inspection) -> String {
    let mut out = String::new();
    let mut line = |name: &str, text: String| {
        let _ = writeln!(out, "{name:<12}{text}");
    };
    line("store", seen.root.display().to_string());
    line(
        "last stop",
        if seen.clean { "clean".into() } else { "not clean, or a broker is running (abort is there)".into() },
    );
    if seen.has_hot_log && !seen.clean {
        line(
            "hot log",
            "there may be one: its messages are not in the files yet, the next start replays them".into(),
        );
    }
    let log = &seen.commitlog;
    let size = Amount(log.file_bytes);
    line("commitlog", format!("{} files of {size}, from {} to at most {}", log.files, log.min, log.file_end));
    let entries: i64 = seen.queues.iter().map(|queue| queue.max - queue.min).sum();
    line("queues", format!("{} with {entries} entries", seen.queues.len()));
    for queue in &seen.queues {
        line(
            "",
            format!(
                "{} {}: {} to {}, {} files",
                queue.topic, queue.queue_id, queue.min, queue.max, queue.files
            ),
        );
    }
    line("index", format!("{} files", seen.index.len()));
    for file in &seen.index {
        let place = format!("messages {} to {}", file.begin_physical, file.end_physical);
        line("", format!("{}: {} entries in {} slots, {place}", file.name, file.entries, file.used_slots));
    }
    let marks = &seen.checkpoint;
    line(
        "checkpoint",
        format!(
            "log {}, queues {}, index {}",
            marks.physic_msg_timestamp, marks.logics_msg_timestamp, marks.index_msg_timestamp
        ),
    );
    let config: Vec<_> = seen.config.iter().map(|(name, bytes)| format!("{name} {bytes} B")).collect();
    line("config", config.join(", "));
    for remark in &seen.remarks {
        line("remark", remark.clone());
    }
    out
}

fn show_verdict(verdict: &Verdict) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "log         {} records, {}, ends at {}",
        verdict.records,
        Amount(verdict.bytes),
        verdict.end
    );
    for damage in &verdict.damage {
        let bytes = damage.to - damage.from;
        let _ = writeln!(out, "DAMAGED     {} to {} ({bytes} bytes): {}", damage.from, damage.to, damage.why);
        for lost in &damage.lost {
            let _ = writeln!(out, "  lost      {lost}");
        }
    }
    if let Some(why) = &verdict.torn_tail {
        let _ = writeln!(out, "TORN END    at {}: {why}; a start cuts it off", verdict.end);
    }
    let entries = [
        (verdict.entries_missing, "records without their queue entry"),
        (verdict.entries_wrong, "records with a wrong queue entry"),
        (verdict.entries_beyond, "queue entries behind the end of the log"),
    ];
    for (count, what) in entries.into_iter().filter(|(count, _)| *count > 0) {
        let _ = writeln!(out, "QUEUES      {count} {what}; `repair --remake` makes queues again");
    }
    if let Some(first) = &verdict.first_bad_entry {
        let _ = writeln!(out, "            the first: {first}");
    }
    let _ = writeln!(out, "{}", if verdict.is_whole() { "whole" } else { "NOT WHOLE" });
    out
}

/// On long work, a line a second for whoever watches.
struct Progress {
    told: Instant,
}

impl Progress {
    fn new() -> Progress {
        Progress { told: Instant::now() }
    }

    fn tell(&mut self, done: u64, all: u64) {
        if self.told.elapsed() >= PROGRESS_PERIOD && std::io::stderr().is_terminal() {
            self.told = Instant::now();
            eprintln!("{} of at most {}", Amount(done), Amount(all));
        }
    }
}

const PROGRESS_PERIOD: Duration = Duration::from_secs(1);
