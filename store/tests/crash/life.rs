//! One world: a few lives of one store, each with its own mischief and its own end, and what must hold after each.
//!
//! ```text
//! in a life     appends, also while the cold half waits within a call to its medium; a disk that is slow, full, or fails,
//!               or whose names cannot be changed
//! its end       a clean stop, a kill -9 or a power cut; between two calls to the medium or within one
//! the next one  may itself end while it recovers, or because the disk fails meanwhile or cannot change names
//! ```
//!
//! What must hold (D-1 to D-7, D-10, D-11): after a kill everything that was appended is there. After a power cut all below the highest
//! `synced_to` ever shown is there, and of the rest a beginning of the log: nothing before it is missing and nothing behind
//! it comes back. Queues have no hole and no double, in memory and on disk, and the index agrees with the log.

use store::sim_medium::{Fault, FaultKind};
use store::{FlushMode, IndexShape, PhysicalOffset, Recovery, StoreConfig};

use crate::world::{Random, World, small_config};

/// What happened in a world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub lives: u64,
    pub appended: u64,
    pub clean_stops: u64,
    pub kills: u64,
    pub power_cuts: u64,
    /// Of kills and cuts: within a call to the medium, and while recovering.
    pub within_calls: u64,
    pub in_recovery: u64,
    pub faults: u64,
    /// Starts refused because names could not be changed, or something else failed.
    pub refused: u64,
    pub failed_starts: u64,
    /// Messages that a power cut took, none of them below `synced_to`.
    pub cut_off: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.lives += other.lives;
        self.appended += other.appended;
        self.clean_stops += other.clean_stops;
        self.kills += other.kills;
        self.power_cuts += other.power_cuts;
        self.within_calls += other.within_calls;
        self.in_recovery += other.in_recovery;
        self.faults += other.faults;
        self.refused += other.refused;
        self.failed_starts += other.failed_starts;
        self.cut_off += other.cut_off;
    }
}

struct Lives {
    world: World,
    dice: Random,
    /// Of names that cannot be changed: a world without them is what it was before there were any.
    name_dice: Random,
    /// Of starts that fail, likewise.
    start_dice: Random,
    tally: Tally,
    /// The highest `synced_to` that anybody has seen.
    promised: PhysicalOffset,
    /// The power was cut since the last recovery.
    is_cut: bool,
    /// Nothing goes wrong any more.
    is_calm: bool,
    /// Prints what happens.
    is_told: bool,
}

pub fn run(seed: u64, is_told: bool) -> Tally {
    let mut dice = Random(seed ^ 0x00C4_A54E_5EED);
    let flush = if dice.below(2) == 0 { FlushMode::Sync } else { FlushMode::Async };
    let mut config = StoreConfig { flush, ..small_config() };
    config.flush_interval_ms = [50, 500, 3_000][dice.below(3) as usize];
    if dice.below(4) == 0 {
        config.retention.bytes_max = Some(8 * config.commitlog_file_bytes);
        config.retention.interval_ms = 200;
    }
    if dice.below(2) == 0 {
        // Whole pieces, past the page cache.
        config.index_shape = IndexShape { slots: 1_100, entries: 450 };
    }
    let mut world = World::new(seed, config);
    world.appends_meanwhile = dice.below(4);
    world.uniform = (dice.below(3) == 0).then(|| 50 + dice.below(600));
    let lives = 2 + dice.below(6);
    let (tally, promised) = (Tally::default(), PhysicalOffset(0));
    let name_dice = Random(seed ^ 0x0BAD_4A3E);
    let start_dice = Random(seed ^ 0x057A_27ED);
    let (is_cut, is_calm) = (false, false);
    let mut lives_of =
        Lives { world, dice, name_dice, start_dice, tally, promised, is_cut, is_calm, is_told };
    lives_of.tell(|world| format!("{:?} every {} ms", world.config.flush, world.config.flush_interval_ms));
    lives_of.start();
    for _ in 0..lives {
        lives_of.live();
        lives_of.end();
        lives_of.start();
        lives_of.world.check();
    }
    lives_of.is_calm = true;
    lives_of.close();
    assert!(lives_of.start().clean);
    lives_of.world.check();
    lives_of.tally.lives = lives;
    lives_of.tally
}

impl Lives {
    fn live(&mut self) {
        let begin = self.world.kept.iter().map(Vec::len).sum::<usize>();
        let actions = 1 + self.dice.below(250);
        let (fault_from, fault_to) = (self.dice.below(actions), self.dice.below(actions));
        let fault = self.fault();
        self.tell(|_| format!("a life of {actions} actions, fault at {fault_from} to {fault_to}: {fault:?}"));
        if self.dice.below(2) == 0 {
            let calls = self.dice.below(150);
            self.world.medium.kill_after(calls);
        }
        for action in 0..actions {
            if self.world.medium.is_killed() {
                break;
            }
            if action == fault_from && fault.is_some() {
                self.world.medium.set_fault(fault.clone());
                self.tally.faults += 1;
            }
            if action == fault_to.max(fault_from + 1) {
                self.world.medium.set_fault(None);
            }
            self.world.act();
            if self.dice.below(8) == 0
                && let Some((_, cold)) = &self.world.running
            {
                cold.trash().step();
            }
        }
        let end = self.world.kept.iter().map(Vec::len).sum::<usize>();
        self.tally.appended += (end - begin) as u64;
    }

    fn fault(&mut self) -> Option<Fault> {
        let what = match self.dice.below(12) {
            0 => FaultKind::Write,
            1 => FaultKind::Sync,
            2 => FaultKind::Full,
            3 | 4 => FaultKind::Slow { ms: 1 + self.dice.below(200) },
            _ => return self.fault_of_names(),
        };
        let path_part = ["", "commitlog", "consumequeue", "index", "checkpoint"][self.dice.below(5) as usize];
        Some(Fault { path_part, what })
    }

    fn fault_of_names(&mut self) -> Option<Fault> {
        let what = match self.name_dice.below(6) {
            0 => FaultKind::Names,
            1 => FaultKind::Create,
            _ => return None,
        };
        let path_part = NAMED[self.name_dice.below(NAMED.len() as u64) as usize];
        Some(Fault { path_part, what })
    }

    /// What fails while the store is opened, and from which call on.
    fn fault_of_start(&mut self) -> Option<(u64, Fault)> {
        let what = match self.start_dice.below(15) {
            0 | 1 => FaultKind::Write,
            2 | 3 => FaultKind::Sync,
            4 => FaultKind::Full,
            5 => FaultKind::Map,
            _ => return None,
        };
        let path_part = STARTED[self.start_dice.below(STARTED.len() as u64) as usize];
        let path_part = if what == FaultKind::Map { "" } else { path_part };
        Some((self.start_dice.below(60), Fault { path_part, what }))
    }

    fn end(&mut self) {
        if !self.world.medium.is_killed() && self.dice.below(4) == 0 {
            self.world.medium.set_fault(None);
            return self.close();
        }
        self.die();
    }

    /// A clean stop; one after a failed write is none, and no harm either.
    fn close(&mut self) {
        self.tell(|_| "a clean stop".into());
        self.tally.clean_stops += 1;
        if self.is_calm {
            self.world.medium.kill_after(u64::MAX / 2);
        }
        self.note_promise();
        let (store, cold) = self.world.running.take().expect("running");
        drop(store);
        match cold.close(self.world.now_ms) {
            Err(_) if self.world.medium.is_killed() => self.die(),
            closed => closed.expect("closing fails by a kill only"),
        }
        self.world.medium.restart();
    }

    fn note_promise(&mut self) {
        if let Some((store, _)) = &self.world.running {
            self.promised = self.promised.max(store.synced_to());
        }
    }

    fn die(&mut self) {
        self.note_promise();
        let within = self.world.medium.is_killed();
        self.tally.within_calls += u64::from(within);
        self.world.running = None;
        if self.dice.below(2) == 0 {
            self.tell(|_| format!("killed, within a call: {within}"));
            self.tally.kills += 1;
            self.world.medium.restart();
        } else {
            let promised = self.promised;
            self.tell(|_| format!("power cut, within a call: {within}; {promised} is promised"));
            self.tally.power_cuts += 1;
            self.is_cut = true;
            self.world.medium.power_cut();
        }
    }

    /// Opens the store, dying on the way now and then, and holds it to what was promised.
    fn start(&mut self) -> Recovery {
        loop {
            if !self.is_calm && self.dice.below(3) == 0 {
                let calls = self.dice.below(80);
                self.world.medium.kill_after(calls);
            }
            let fault = if self.is_calm { None } else { self.fault_of_names() };
            let later = if self.is_calm || fault.is_some() { None } else { self.fault_of_start() };
            self.world.medium.set_fault(fault.clone());
            if let Some((calls, fault)) = later.clone() {
                self.world.medium.set_fault_after(calls, fault);
            }
            let opened = self.world.open();
            self.world.medium.set_fault(None);
            if opened.is_none() && !self.world.medium.is_killed() {
                self.tell(|_| format!("refused: {fault:?} {later:?}"));
                self.tally.refused += u64::from(fault.is_some());
                self.tally.failed_starts += u64::from(later.is_some());
            }
            if let Some(recovery) = opened {
                self.world.medium.kill_after(u64::MAX / 2);
                self.tell(|world| {
                    let kept: Vec<_> = world.kept.iter().map(Vec::len).collect();
                    format!("recovered from {} messages: {recovery:?}", kept.iter().sum::<usize>())
                });
                self.judge(&recovery);
                return recovery;
            }
            self.tally.in_recovery += 1;
            self.die();
        }
    }

    fn tell(&self, what: impl FnOnce(&World) -> String) {
        if self.is_told {
            println!("  {}", what(&self.world));
        }
    }

    fn judge(&mut self, recovery: &Recovery) {
        let before: usize = self.world.kept.iter().map(Vec::len).sum();
        let kept = self.world.kept.iter().flatten();
        let end = kept.map(|kept| kept.physical.plus(kept.size.into())).max().unwrap_or_default();
        if !std::mem::take(&mut self.is_cut) {
            assert!(recovery.max >= end, "a kill took what lay behind {}", recovery.max);
            assert_eq!(recovery.lost_entries, 0);
            return;
        }
        assert!(recovery.max >= self.promised.min(end), "{} of {} was promised", recovery.max, self.promised);
        for kept in &mut self.world.kept {
            kept.retain(|kept| kept.physical.plus(kept.size.into()) <= recovery.max);
        }
        assert_eq!(recovery.lost_entries, 0);
        self.promised = self.promised.min(recovery.max);
        let after: usize = self.world.kept.iter().map(Vec::len).sum();
        self.tally.cut_off += (before - after) as u64;
    }
}

/// Parts of the paths that fail while a store is opened.
const STARTED: [&str; 9] =
    ["", "", "commitlog", "consumequeue", "index", "checkpoint", "hotlog", "queues", "abort"];
/// Parts of the paths whose names cannot be changed.
const NAMED: [&str; 9] =
    ["", "commitlog", ".spare", ".trash", "consumequeue", "index", "checkpoint", "hotlog", "abort"];
