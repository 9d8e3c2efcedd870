//! Power cuts under a real file system: a process appends to a store on ext4, on a loop device; at a random instant the file system is
//! shut down, unmounted and mounted again, which replays its journal; then the store is held to what it had promised.
//!
//! ```text
//! us      mount | start a process, note what it tells | .. cut .. | kill it, unmount, mount | it recovers, says where its log ends | ..
//! it      appends, tells each with its place, and every new `synced_to`; now and then it is cut while it recovers
//! ```
//!
//! What must hold (D-2, D-3, D-5): all below the highest `synced_to` that was ever told is there, and of the rest a beginning of the log.
//! Every queue has all of its messages up to there, with their bytes, without a hole, and nothing else; and the index finds them. The hot
//! log, which a real power cut takes, is taken away with each. The device itself has no cache here that could be lost.
#![allow(clippy::unwrap_used)] // Tests: the helpers too.

mod cut;
mod life;
mod writer;

use std::path::Path;

use cut::Disk;
use store::FlushMode;

/// D-2, D-3. Goal: nothing at the level `disk` is lost by a power cut under ext4, and nothing comes back behind what was lost. Method:
/// worlds of eight cuts each at random instants, with either flush mode and with the journal's last transaction or without it;
/// `POWER_ROUNDS` worlds, the first of them `POWER_SEED`.
#[test]
fn what_was_synced_survives_a_power_cut() {
    if let Some(dir) = std::env::var_os(writer::DIR_VAR) {
        return writer::run(Path::new(&dir));
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (first, rounds) = (number("POWER_SEED").unwrap_or(1), number("POWER_ROUNDS").unwrap_or(2));
    let mut tally = life::Tally::default();
    for seed in first..first + rounds {
        let dir = std::env::temp_dir().join(format!("ab-power-{}-{seed}", std::process::id()));
        let disk = match Disk::make(&dir, DISK_MIB) {
            Ok(disk) => disk,
            Err(why) => return println!("power: skipped: {why}"),
        };
        let flush = if seed % 2 == 0 { FlushMode::Async } else { FlushMode::Sync };
        println!("power: world {seed}, {flush:?}; once more: scripts/crash --only disk --seed {seed}");
        life::World::new(seed, flush, disk, &dir).run(&mut tally);
    }
    println!("power: {rounds} worlds: {tally:?}");
}

const DISK_MIB: u64 = 256;
