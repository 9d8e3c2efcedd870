//! The simulated half of the medium: files and hot memory in one process, with kills, power cuts and faults on demand.
//!
//! ```text
//! kill -9:    hot memory and every finished write stay; the write that was under way is cut short
//! power cut:  hot memory is gone; of what was not synced, each write is there, lost or torn by sectors, and of each
//!             directory's changes the first so many, as the seed says
//! fault:      writes or syncs of some files fail or are slow from now on; what a failed sync has not written is lost for good
//! bit rot:    `flip`
//! ```
//!
//! Only calls that change something are counted; `kill_at` names the one at which everything stops. From then on every
//! call fails until `restart`. `set_meanwhile` is called within each of them: what other threads do while one waits for the disk.

mod calls;
mod file;
mod handle;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::arena::HotMap;
use crate::error::MediumError;
use crate::retention::Space;
use file::SimFile;
use names::NameChange;

/// A machine's disk and memory. Clones are the same machine.
#[derive(Clone)]
pub struct SimMedium {
    world: Arc<Mutex<World>>,
}

struct World {
    files: BTreeMap<u64, SimFile>,
    names: BTreeMap<PathBuf, u64>,
    /// Names as of the last `sync_dir` of their directory, and what has changed since, in order.
    durable_names: BTreeMap<PathBuf, u64>,
    renamed: Vec<NameChange>,
    dirs: BTreeSet<PathBuf>,
    hot: BTreeMap<PathBuf, HotMap>,
    locked: BTreeSet<PathBuf>,
    next_file: u64,
    calls: u64,
    kill_at: Option<u64>,
    killed: bool,
    fault: Option<Fault>,
    /// What fails from the call of this number on.
    fault_to_come: Option<(u64, Fault)>,
    space: Space,
    clock_ms: u64,
    boots: u64,
    seed: u64,
    meanwhile: Option<Meanwhile>,
}

/// Hears how many milliseconds a call takes.
pub type Meanwhile = Box<dyn FnMut(u64) + Send>;

/// What fails from now on.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Part of the paths it hits.
    pub path_part: &'static str,
    pub what: FaultKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The device fails: nothing of a write arrives, no file is created.
    Write,
    /// No space left, with the same outcome.
    Full,
    /// The sync fails; of what was written some is on the disk, and the rest never will be, though reads still show it.
    Sync,
    /// Names cannot be changed: no file is removed, shortened or renamed, and no directory created or removed.
    Names,
    /// No file is created; those that are there can be written.
    Create,
    /// Hot memory cannot be mapped, neither what is there, as under another user, nor any new.
    Map,
    /// Every call takes so long.
    Slow { ms: u64 },
}

impl SimMedium {
    pub fn new(seed: u64) -> Self {
        let world = World {
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            renamed: Vec::new(),
            dirs: BTreeSet::new(),
            hot: BTreeMap::new(),
            locked: BTreeSet::new(),
            next_file: 1,
            calls: 0,
            kill_at: None,
            killed: false,
            fault: None,
            fault_to_come: None,
            space: Space { used: 0, available: u64::MAX },
            clock_ms: 0,
            boots: 1,
            seed: seed.wrapping_mul(2).wrapping_add(1),
            meanwhile: None,
        };
        Self { world: Arc::new(Mutex::new(world)) }
    }

    /// Calls so far that changed something.
    pub fn calls(&self) -> u64 {
        self.world().calls
    }

    /// Everything stops at the call after so many more.
    pub fn kill_after(&self, calls: u64) {
        let mut world = self.world();
        world.kill_at = Some(world.calls + calls);
    }

    pub fn is_killed(&self) -> bool {
        self.world().killed
    }

    /// The process died, whether at `kill_after` or now, and comes back. Whoever used this medium must be gone.
    pub fn restart(&self) {
        let mut world = self.world();
        world.killed = false;
        world.kill_at = None;
        world.fault = None;
        world.fault_to_come = None;
        world.locked.clear();
        assert!(world.hot.values().all(HotMap::is_alone));
    }

    /// As [`SimMedium::restart`], after the machine lost its power.
    pub fn power_cut(&self) {
        self.restart();
        let mut world = self.world();
        world.hot.clear();
        world.boots += 1;
        let World { files, names, durable_names, renamed, dirs, seed, .. } = &mut *world;
        // Of each directory's changes the first so many were made.
        let mut left = BTreeMap::new();
        for change in renamed.iter() {
            *left.entry(change.dir().map(PathBuf::from)).or_insert(0_u64) += 1;
        }
        left.values_mut().for_each(|count| *count = random(seed, *count + 1));
        for change in std::mem::take(renamed) {
            let left = left.entry(change.dir().map(PathBuf::from)).or_default();
            if *left > 0 {
                *left -= 1;
                change.apply(durable_names);
            }
        }
        names.clone_from(durable_names);
        // A directory whose removal did not last is back with what is in it.
        dirs.extend(names.keys().flat_map(|path| path.ancestors().skip(1)).map(PathBuf::from));
        let named: BTreeSet<u64> = names.values().copied().collect();
        files.retain(|id, _| named.contains(id));
        for file in files.values_mut() {
            file.lose_power(seed);
        }
    }

    pub fn set_fault(&self, fault: Option<Fault>) {
        let mut world = self.world();
        world.fault = fault;
        world.fault_to_come = None;
    }

    /// As [`SimMedium::set_fault`], after so many more calls.
    pub fn set_fault_after(&self, calls: u64, fault: Fault) {
        let mut world = self.world();
        world.fault_to_come = Some((world.calls + calls, fault));
    }

    /// What the partition shows from now on. Files do not count by themselves.
    pub fn set_space(&self, space: Space) {
        self.world().space = space;
    }

    /// Flips a bit of a file, synced or not.
    pub fn flip(&self, path: &Path, at: usize) {
        let mut world = self.world();
        let id = world.names[path];
        let file = world.files.get_mut(&id).expect("names point at files");
        file.content[at] ^= 1;
        if let Some(durable) = &mut file.durable {
            durable[at] ^= 1;
        }
    }

    /// The content of a file.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let world = self.world();
        world.names.get(path).map(|id| world.files[id].content.clone())
    }

    /// Every path there is.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.world().names.keys().cloned().collect()
    }

    /// Copies a directory, as `cp -r` does.
    pub fn copy_dir(&self, from: &Path, to: &Path) {
        let mut world = self.world();
        let moved = |path: &PathBuf| path.strip_prefix(from).ok().map(|rest| to.join(rest));
        let names: Vec<_> = world.names.iter().filter_map(|(path, id)| Some((moved(path)?, *id))).collect();
        let dirs: Vec<_> = world.dirs.iter().filter_map(moved).collect();
        world.dirs.extend(dirs);
        for (path, id) in names {
            let content = world.files[&id].content.clone();
            let id = world.next_file;
            world.next_file += 1;
            let unsynced = vec![(0, content.clone())];
            world.files.insert(id, SimFile { content, durable: None, unsynced });
            world.set_name(path, id);
        }
    }

    /// Hides the hot memory: what a start on another machine sees. Gives back what `bring_hot_back` wants.
    pub fn take_hot_away(&self) -> BTreeMap<PathBuf, HotMap> {
        std::mem::take(&mut self.world().hot)
    }

    pub fn bring_hot_back(&self, hot: BTreeMap<PathBuf, HotMap>) {
        self.world().hot = hot;
    }

    /// From now on called within every call that changes something, before it does, and where a thread gives way; it must not use
    /// this medium.
    pub fn set_meanwhile(&self, meanwhile: Option<Meanwhile>) {
        self.world().meanwhile = meanwhile;
    }

    pub fn advance_ms(&self, ms: u64) {
        self.world().clock_ms += ms;
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Counts a call that changes something. `Ok(false)`: it is the one that is cut short.
    fn call(&self, op: &'static str, path: &Path) -> Result<(MutexGuard<'_, World>, bool), MediumError> {
        let mut world = self.world();
        if world.killed {
            return Err(killed(op, path));
        }
        let now = world.calls;
        if let Some((_, fault)) = world.fault_to_come.take_if(|(from, _)| *from <= now) {
            world.fault = Some(fault);
        }
        let ms = world.pass_time(path);
        drop(world);
        self.let_others(ms);
        let mut world = self.world();
        if world.kill_at == Some(world.calls) {
            world.killed = true;
        }
        world.calls += 1;
        let whole = !world.killed;
        Ok((world, whole))
    }

    /// What other threads do in so many milliseconds.
    fn let_others(&self, ms: u64) {
        let meanwhile = self.world().meanwhile.take();
        if let Some(mut meanwhile) = meanwhile {
            meanwhile(ms);
            self.world().meanwhile.get_or_insert(meanwhile);
        }
    }

    /// As [`SimMedium::call`], for calls that either happen or do not.
    fn whole_call(&self, op: &'static str, path: &Path) -> Result<MutexGuard<'_, World>, MediumError> {
        let (world, whole) = self.call(op, path)?;
        if whole { Ok(world) } else { Err(killed(op, path)) }
    }

    fn look(&self, op: &'static str, path: &Path) -> Result<MutexGuard<'_, World>, MediumError> {
        let world = self.world();
        if world.killed { Err(killed(op, path)) } else { Ok(world) }
    }
}

impl World {
    fn set_name(&mut self, path: PathBuf, id: u64) {
        self.names.insert(path.clone(), id);
        self.renamed.push(NameChange::Set(path, id));
    }

    /// How long a call to `path` takes.
    fn pass_time(&mut self, path: &Path) -> u64 {
        let ms = match self.fault_at(path) {
            Some(FaultKind::Slow { ms }) => ms,
            _ => 0,
        };
        self.clock_ms += ms;
        ms
    }

    fn fault_at(&self, path: &Path) -> Option<FaultKind> {
        let fault = self.fault.as_ref().filter(|fault| path.to_string_lossy().contains(fault.path_part));
        fault.map(|fault| fault.what)
    }

    fn check_fault(&self, what: FaultKind, op: &'static str, path: &Path) -> Result<(), MediumError> {
        match self.fault_at(path) {
            Some(FaultKind::Full) if what == FaultKind::Write => {
                Err(MediumError::at(op, path)(io::ErrorKind::StorageFull.into()))
            }
            Some(failing) if failing == what => Err(MediumError::at(op, path)(io::Error::other("broken"))),
            _ => Ok(()),
        }
    }
}

fn killed(op: &'static str, path: &Path) -> MediumError {
    MediumError::at(op, path)(io::Error::other("killed"))
}

/// A number below `below`.
fn random(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let mixed = (*seed ^ (*seed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed >> 11) % below.max(1)
}
