//! The simulator: whole worlds with faults, in one thread, from one seed.
//!
//! ```text
//!   cargo test -p afterburner-dataplane --test sim -- [--seed N | [--from N] --seeds COUNT [--progress]] [--scenario NAME]
//! ```
//!
//! Without flags a few seeds of every scenario run, and those that have found a fault before. A failing world prints
//! its replay command; the same seed on the same commit fails in the same way.

#![allow(clippy::unwrap_used)] // All of it is tests.

mod appliance;
mod broker;
mod calls;
mod client;
#[path = "../common/mod.rs"]
mod common;
mod echo;
mod link;
#[path = "../common/opened.rs"]
mod opened;
#[path = "../common/requests.rs"]
mod requests;
mod tails;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode};

/// One kind of world; returns a line on what happened in it.
struct Scenario {
    name: &'static str,
    run: fn(u64) -> String,
    /// How many seeds a plain `cargo test` tries.
    seeds: u64,
    /// Seeds that have found a fault.
    found: &'static [u64],
}

const SCENARIOS: &[Scenario] = &[
    Scenario { name: "echo", run: echo::run, seeds: 24, found: &[20, 68, 218] },
    Scenario { name: "still", run: echo::run_still, seeds: 12, found: &[] },
    Scenario { name: "tails", run: tails::run, seeds: 3, found: &[] },
    Scenario { name: "broker", run: broker::run, seeds: 16, found: &[987] },
];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (mut seed, mut seeds, mut scenario) = (number_from("SEED"), number_from("SEEDS"), String::new());
    let (mut from, mut is_long) = (1, false);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seed" => seed = args.next().and_then(|value| value.parse().ok()),
            "--seeds" => seeds = args.next().and_then(|value| value.parse().ok()),
            "--scenario" => scenario = args.next().unwrap_or_default(),
            "--from" => from = args.next().and_then(|value| value.parse().ok()).unwrap_or(from),
            // A line now and then instead of one for each.
            "--progress" => is_long = true,
            // cargo hands every test program the same flags and filters; those are not for us.
            _ => (),
        }
    }
    let mut failed = 0;
    if seed.is_none() {
        let first = &SCENARIOS[0];
        assert_eq!((first.run)(1), (first.run)(1), "a world is not a function of its seed");
    }
    for chosen in SCENARIOS.iter().filter(|chosen| scenario.is_empty() || chosen.name == scenario) {
        let tried: Vec<u64> = match seed {
            Some(seed) => vec![seed],
            None => {
                let count = seeds.unwrap_or(chosen.seeds);
                chosen.found.iter().copied().chain(from..from + count).collect()
            }
        };
        for seed in tried {
            match catch_unwind(AssertUnwindSafe(|| (chosen.run)(seed))) {
                Ok(_) if is_long && !seed.is_multiple_of(PROGRESS_SEEDS) => (),
                Ok(line) => println!("{} seed {seed}: {line}", chosen.name),
                Err(_) => {
                    failed += 1;
                    println!(
                        "FAILED at commit {}; replay: cargo test -p afterburner-dataplane --test sim -- --scenario {} --seed {seed}",
                        commit(),
                        chosen.name
                    );
                }
            }
        }
    }
    if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

const PROGRESS_SEEDS: u64 = 100;

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn commit() -> String {
    let head = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    head.map(|head| String::from_utf8_lossy(&head.stdout).trim().to_owned()).unwrap_or_default()
}
