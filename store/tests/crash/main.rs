//! Worlds that crash: a store on the simulated medium, killed and cut off at random instants over several lives.
//!
//! ```text
//!   cargo test -p afterburner-store --test crash -- [--seed N | --from N --seeds COUNT] [--jobs N]
//! ```
//!
//! Without flags a slice runs, and every seed that has found a fault before. `scripts/crash` runs all. The first failing seed ends the
//! run; it fails in the same way again on the same commit.
#![allow(clippy::unwrap_used)] // All of it is tests.

mod life;
#[path = "../world/mod.rs"]
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use life::Tally;

fn main() -> ExitCode {
    let options = Options::of(std::env::args().skip(1));
    if let Some(seed) = options.seed {
        log::set_logger(&Told).expect("the first logger");
        log::set_max_level(log::LevelFilter::Info);
        println!("crash seed {seed}: {:?}", life::run(seed, true));
        return ExitCode::SUCCESS;
    }
    assert_eq!(life::run(1, false), life::run(1, false), "a world is not a function of its seed");
    let began = Instant::now();
    let run = Run { next: AtomicU64::new(0), failed: AtomicBool::new(false), done: Mutex::default() };
    let mut seeds: Vec<u64> = FOUND.to_vec();
    seeds.extend(options.from..options.from + options.seeds);
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| run.work(&seeds, &options, began));
        }
    });
    let done = run.done.into_inner().unwrap();
    println!("crash: {} worlds in {:.1} s: {:?}", done.0, began.elapsed().as_secs_f64(), done.1);
    if run.failed.into_inner() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What the store says, among what happens to it.
struct Told;

impl log::Log for Told {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }

    fn log(&self, record: &log::Record) {
        println!("    {}: {}", record.level(), record.args());
    }

    fn flush(&self) {}
}

struct Run {
    next: AtomicU64,
    failed: AtomicBool,
    done: Mutex<(u64, Tally)>,
}

impl Run {
    fn work(&self, seeds: &[u64], options: &Options, began: Instant) {
        while !self.failed.load(Ordering::Relaxed) || options.keep_going {
            let Some(seed) = seeds.get(self.next.fetch_add(1, Ordering::Relaxed) as usize).copied() else {
                return;
            };
            let Ok(tally) = catch_unwind(AssertUnwindSafe(|| life::run(seed, false))) else {
                self.failed.store(true, Ordering::Relaxed);
                println!("FAILED: seed {seed}; once more: scripts/crash --seed {seed}");
                continue;
            };
            let mut done = self.done.lock().unwrap();
            done.0 += 1;
            done.1.add(&tally);
            if done.0.is_multiple_of(PROGRESS_SEEDS) {
                println!("crash: {} of {} worlds, {} s", done.0, seeds.len(), began.elapsed().as_secs());
            }
        }
    }
}

struct Options {
    seed: Option<u64>,
    from: u64,
    seeds: u64,
    jobs: usize,
    keep_going: bool,
}

impl Options {
    fn of(mut args: impl Iterator<Item = String>) -> Self {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let mut options = Self { seed: None, from: 0, seeds: SLICE_SEEDS, jobs, keep_going: false };
        while let Some(arg) = args.next() {
            let mut number = || args.next().and_then(|text| text.parse().ok()).expect("a number");
            match arg.as_str() {
                "--seed" => options.seed = Some(number()),
                "--from" => options.from = number(),
                "--seeds" => options.seeds = number(),
                "--jobs" => options.jobs = number() as usize,
                "--keep-going" => options.keep_going = true,
                // cargo hands every test program the same flags and filters; those are not for us.
                _ => (),
            }
        }
        options
    }
}

/// Seeds that have found a fault.
const FOUND: &[u64] = &[
    3, 20, 53, 88, 100, 136, 150, 165, 179, 248, 318, 347, 357, 512, 911, 1496, 1910, 2258, 2798, 3213, 3309,
    4161, 4220, 6766, 8352, 18863, 20084, 20520, 8800914,
];
const SLICE_SEEDS: u64 = 60;
const PROGRESS_SEEDS: u64 = 500;
