//! Bytes that nobody thought of: kept inputs, changed at random, into the whole stack and into the readers of frames.
//!
//! ```text
//!   cargo test --package afterburner-dataplane --test fuzz                        a short slice, the same every time
//!   FUZZ_SECONDS=60 cargo test --package afterburner-dataplane --test fuzz        a minute for each target, another seed
//!   FUZZ_SEED=7 FUZZ_SECONDS=60 ...                                               that seed again
//!   FUZZ_KEEP=1 ...                                                               new inputs are kept in corpus/
//! ```
//!
//! An input that makes the target do something new (its counters show it) is changed further. One that breaks a target is
//! written to the corpus, where every later run plays it first.

#![allow(clippy::unwrap_used)] // All of it is tests.

#[path = "../attack/cable.rs"]
#[allow(dead_code)]
mod cable;
mod episodes;
mod frames;
#[path = "../attack/script.rs"]
#[allow(dead_code)]
mod script;
mod stack;
#[path = "../attack/wire.rs"]
#[allow(dead_code)]
mod wire;

use dataplane::rng::Rng;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Takes any bytes; returns what they led to, so that inputs which lead elsewhere are known.
type Target = fn(&[u8]) -> u64;
/// Makes an input that no kept one led to.
type Fresh = fn(&mut Rng) -> Vec<u8>;

/// T-1. Goal: no frames, in any order, at any time, break the stack, change bytes that were readable or reach another
/// connection.
#[test]
fn whole_stack() {
    fuzz("stack", stack::run, Some(episodes::fresh), 3_000);
}

/// W-1. Goal: no bytes break the readers of frames, headers, bodies and records.
#[test]
fn frame_readers() {
    fuzz("frame", frames::run, None, 20_000);
}

fn fuzz(name: &str, target: Target, fresh: Option<Fresh>, runs: usize) {
    let setting = |name: &str| std::env::var(name).ok();
    let seconds: Option<u64> = setting("FUZZ_SECONDS").map(|seconds| seconds.parse().unwrap());
    let seed = match setting("FUZZ_SEED") {
        Some(seed) => seed.parse().unwrap(),
        None if seconds.is_some() => Rng::from_os().next_u64() >> 32,
        None => 1,
    };
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut corpus: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert!(!corpus.is_empty(), "no inputs in {}", folder.display());
    let mut seen: HashSet<u64> = HashSet::new();
    for (input, path) in corpus.iter().zip(&paths) {
        seen.insert(attempt(target, input, || format!("the kept input {}", path.display())));
    }

    let began = Instant::now();
    let mut rng = Rng::from_seed(seed);
    let mut done = 0;
    let is_over = |done| match seconds {
        Some(seconds) => began.elapsed() >= Duration::from_secs(seconds),
        None => done >= runs,
    };
    while !is_over(done) {
        done += 1;
        let input = match fresh {
            Some(fresh) if rng.chance(FRESH_SHARE) => fresh(&mut rng),
            _ => changed(&corpus, &mut rng),
        };
        let led_to = attempt(target, &input, || {
            let path = folder.join(format!("broken-{seed}-{done}"));
            std::fs::write(&path, &input).unwrap();
            format!("seed {seed}, run {done}, kept in {}", path.display())
        });
        if seen.insert(led_to) && corpus.len() < CORPUS_MAX {
            if setting("FUZZ_KEEP").is_some() {
                std::fs::write(folder.join(format!("{led_to:016x}")), &input).unwrap();
            }
            corpus.push(input);
        }
    }
    println!("{name}: seed {seed}, {done} runs, {} kept inputs led to {} ends", paths.len(), seen.len());
}

fn attempt(target: Target, input: &[u8], tell: impl FnOnce() -> String) -> u64 {
    match catch_unwind(AssertUnwindSafe(|| target(input))) {
        Ok(led_to) => led_to,
        Err(_) => panic!("broken by {}", tell()),
    }
}

/// One of the inputs with a few changes.
fn changed(corpus: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut input = corpus[rng.below(corpus.len() as u64) as usize].clone();
    for _ in 0..=rng.below(6) {
        let at = rng.below(input.len() as u64 + 1) as usize;
        let run = (1 + rng.below(40) as usize).min(input.len() - at);
        match rng.below(8) {
            0 if at < input.len() => input[at] ^= 1 << rng.below(8),
            1 if at < input.len() => input[at] = rng.next_u32() as u8,
            2 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xfe, 0xff][rng.below(6) as usize],
            3 => drop(input.drain(at..at + run)),
            4 => {
                let copy = input[at..at + run].to_vec();
                let to = rng.below(input.len() as u64 + 1) as usize;
                input.splice(to..to, copy);
            }
            5 => {
                let mut fresh = vec![0; 1 + rng.below(16) as usize];
                rng.fill(&mut fresh);
                input.splice(at..at, fresh);
            }
            6 => {
                let other = &corpus[rng.below(corpus.len() as u64) as usize];
                let from = rng.below(other.len() as u64 + 1) as usize;
                input.truncate(at);
                input.extend(&other[from..]);
            }
            _ if run >= 4 => {
                let word = input[at..at + 4].try_into().unwrap();
                let near = u32::from_le_bytes(word).wrapping_add(rng.below(9) as u32).wrapping_sub(4);
                input[at..at + 4].copy_from_slice(&near.to_le_bytes());
            }
            _ => (),
        }
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

/// Of the inputs, where they can be made anew.
const FRESH_SHARE: f64 = 0.5;
const CORPUS_MAX: usize = 2_000;
const INPUT_BYTES_MAX: usize = 8_192;
