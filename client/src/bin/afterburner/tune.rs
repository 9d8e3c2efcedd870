//! `afterburner tune`: changes what can be changed about a running host for speed, and undoes it.
//!
//! Only what `check` says can be changed while everything runs; the rest stays a command for whoever runs the host. Old values
//! are in the state file before anything is written. A reboot undoes everything as well.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use crate::Outcome;
use crate::tuning::facts::Facts;
use crate::tuning::finding::{Change, Finding, Fix};
use crate::tuning::knobs::{Knobs, RealKnobs, State, gone};
use crate::tuning::rules::judge;
use crate::tuning::shards::Shards;

#[derive(clap::Args)]
pub struct Args {
    /// Say what would be written, and write nothing
    #[arg(long, conflicts_with = "undo")]
    dry_run: bool,
    /// Write back what was there before
    #[arg(long)]
    undo: bool,
    /// Change only these, by the names `check` prints; may be given many times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Leave these alone; may be given many times
    #[arg(long, value_name = "NAME")]
    skip: Vec<String>,
    /// The cores the broker runs on, as its `cores` has them: 2,3. When not given: the last
    #[arg(long, value_delimiter = ',')]
    cores: Vec<usize>,
    /// The network card; when not given, that of the default route
    #[arg(long)]
    nic: Option<String>,
    /// Where old values are kept
    #[arg(long, value_name = "FILE", default_value = "/run/afterburner-tune.json")]
    state: PathBuf,
    /// Print one JSON document instead of lines
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Outcome {
    let mut state = State::load(&args.state)?;
    let told = if args.undo {
        let told = state.undo(&mut RealKnobs);
        state.keep(&args.state)?;
        told
    } else {
        let facts = Facts::look(Path::new("/"), args.nic.as_deref(), &std::env::temp_dir());
        let findings = judge(&facts, &Shards::new(&args.cores, &facts));
        let changes = wanted(&findings, &args.only, &args.skip)?;
        match args.dry_run {
            true => changes.iter().map(|change| Ok(change.to_string())).collect(),
            false => apply(&changes, &mut state, &args.state, &mut RealKnobs)?,
        }
    };
    let has_failed = told.iter().any(Result::is_err);
    if args.json {
        let lines: Vec<_> = told
            .iter()
            .map(|line| json!({ "ok": line.is_ok(), "what": line.as_ref().unwrap_or_else(|error| error) }))
            .collect();
        println!("{}", json!({ "dryRun": args.dry_run, "undo": args.undo, "changes": lines }));
    } else {
        let verb = if args.dry_run { "would" } else { "did" };
        for line in &told {
            match line {
                Ok(line) => println!("{verb:<6} {line}"),
                Err(line) => println!("failed {line}"),
            }
        }
        if told.is_empty() {
            println!(
                "nothing to {}",
                if args.undo { "undo" } else { "change; `afterburner check` says what else there is" }
            );
        }
    }
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What may be written, of what is lacking.
fn wanted(findings: &[Finding], only: &[String], skip: &[String]) -> Result<Vec<Change>, String> {
    let names = |name: &String| findings.iter().any(|finding| finding.what == name);
    if let Some(unknown) = only.iter().chain(skip).find(|name| !names(name)) {
        return Err(format!(
            "`afterburner check` has no line {unknown:?} here: write a name from its second column"
        ));
    }
    let is_meant = |what: &str| {
        (only.is_empty() || only.iter().any(|name| name == what)) && !skip.iter().any(|name| name == what)
    };
    let meant = findings.iter().filter(|finding| is_meant(finding.what));
    let changes = meant.filter_map(|finding| match finding.lack.as_ref().map(|lack| &lack.fix) {
        Some(Fix::Write(changes)) => Some(changes.clone()),
        _ => None,
    });
    Ok(changes.flatten().collect())
}

/// Notes every old value on disk before the first new one is written.
fn apply(
    changes: &[Change],
    state: &mut State,
    path: &Path,
    knobs: &mut impl Knobs,
) -> Result<Vec<Result<String, String>>, String> {
    let mut told = Vec::new();
    let mut noted = Vec::new();
    let before = state.clone();
    for change in changes {
        match state.note(change, knobs) {
            Ok(()) => noted.push(change),
            Err(error) => told.push(
                gone(&change.knob, &error).map_or_else(|| Err(format!("{}: {error}", change.knob)), Ok),
            ),
        }
    }
    state.keep(path)?;
    for change in noted {
        match knobs.write(&change.knob, &change.value) {
            Ok(()) => told.push(Ok(change.to_string())),
            Err(error) => {
                told.push(gone(&change.knob, &error).map_or_else(|| Err(format!("{change}: {error}")), Ok));
                if !before.changed.iter().any(|old| old.knob == change.knob) {
                    state.forget(change);
                }
            }
        }
    }
    state.keep(path)?;
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuning::finding::{Knob, Lack};
    use crate::tuning::threads::Thread;

    fn finding(what: &'static str, fix: Option<Fix>) -> Finding {
        Finding { what, found: "x".into(), lack: fix.map(|fix| Lack { why: "y", fix }) }
    }

    fn write(path: &str) -> Option<Fix> {
        Some(Fix::Write(vec![Change::file(path, "1")]))
    }

    #[test]
    fn only_what_is_meant_is_changed() {
        let findings = [
            finding("swap", write("swappiness")),
            finding("governor", write("governor")),
            finding("mtu", Some(Fix::Command("ip link".into()))),
            finding("kernel", None),
        ];
        let knobs = |only: &[&str], skip: &[&str]| {
            let own = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
            let changes = wanted(&findings, &own(only), &own(skip))?;
            Ok::<_, String>(changes.into_iter().map(|change| change.knob.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(knobs(&[], &[]).unwrap(), ["swappiness", "governor"]);
        assert_eq!(knobs(&["swap", "mtu"], &[]).unwrap(), ["swappiness"]);
        assert_eq!(knobs(&[], &["swap"]).unwrap(), ["governor"]);
        assert!(knobs(&["swop"], &[]).unwrap_err().contains("swop"));
    }

    /// Goal: a thread that ended after it was looked at is told, and is no failure. Method: the number of this process, by
    /// another name.
    #[test]
    fn a_thread_that_is_gone_is_told() {
        let path = std::env::temp_dir().join(format!("afterburner-tune-gone-{}.json", std::process::id()));
        let thread = Thread { pid: std::process::id(), name: "kdamond.7".into(), started: 1 };
        let change = Change { knob: Knob::Cores { thread }, value: "0".into() };
        let mut state = State::default();
        let told = apply(&[change], &mut state, &path, &mut RealKnobs).unwrap();
        assert!(told[0].as_ref().unwrap().contains("kdamond.7") && told.len() == 1, "{told:?}");
        assert!(state == State::default() && !path.exists());
    }
}
