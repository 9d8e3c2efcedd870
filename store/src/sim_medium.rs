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

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::arena::HotMap;
use crate::error::MediumError;
use crate::medium::{Entry, HotKind, HotPlace, Medium, MediumFile};
use crate::retention::Space;

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
    space: Space,
    clock_ms: u64,
    boots: u64,
    seed: u64,
    meanwhile: Option<Meanwhile>,
}

/// Hears how many milliseconds a call takes.
pub type Meanwhile = Box<dyn FnMut(u64) + Send>;

/// A change of names that `sync_dir` has not made durable.
#[derive(Clone)]
enum NameChange {
    Set(PathBuf, u64),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, u64),
}

impl NameChange {
    /// The directory with whose changes it keeps its place.
    fn dir(&self) -> Option<&Path> {
        let (NameChange::Set(path, _) | NameChange::Remove(path) | NameChange::Rename(_, path, _)) = self;
        path.parent()
    }

    fn is_in(&self, dir: &Path) -> bool {
        let from_there = matches!(self, NameChange::Rename(from, _, _) if from.parent() == Some(dir));
        from_there || self.dir() == Some(dir)
    }

    fn apply(self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            NameChange::Set(path, id) => _ = names.insert(path, id),
            NameChange::Remove(path) => _ = names.remove(&path),
            NameChange::Rename(from, to, id) => {
                names.remove(&from);
                names.insert(to, id);
            }
        }
    }
}

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
    /// Every call takes so long.
    Slow { ms: u64 },
}

struct SimFile {
    content: Vec<u8>,
    /// What the disk has for certain; `None`: nothing yet, not even the length.
    durable: Option<Vec<u8>>,
    /// Writes since the last sync.
    unsynced: Vec<(usize, Vec<u8>)>,
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
        world.locked.clear();
        assert!(world.hot.values().all(HotMap::is_alone));
    }

    /// As [`SimMedium::restart`], after the machine lost its power.
    pub fn power_cut(&self) {
        self.restart();
        let mut world = self.world();
        world.hot.clear();
        world.boots += 1;
        let World { files, names, durable_names, renamed, seed, .. } = &mut *world;
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
        let named: BTreeSet<u64> = names.values().copied().collect();
        files.retain(|id, _| named.contains(id));
        for file in files.values_mut() {
            file.lose_power(seed);
        }
    }

    pub fn set_fault(&self, fault: Option<Fault>) {
        self.world().fault = fault;
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

    /// From now on called within every call that changes something, before it does; it must not use this medium.
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
        let ms = world.pass_time(path);
        if let Some(mut meanwhile) = world.meanwhile.take() {
            drop(world);
            meanwhile(ms);
            world = self.world();
            world.meanwhile.get_or_insert(meanwhile);
        }
        if world.kill_at == Some(world.calls) {
            world.killed = true;
        }
        world.calls += 1;
        let whole = !world.killed;
        Ok((world, whole))
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

impl Medium for SimMedium {
    fn hot_places(&self, _bytes: usize, _held: &Path) -> Vec<HotPlace> {
        vec![HotPlace { dir: PathBuf::from("/hot"), kind: HotKind::Tmpfs }]
    }

    fn hot_kind(&self, _dir: &Path) -> HotKind {
        HotKind::Tmpfs
    }

    fn map_hot(&self, path: &Path, bytes: usize, create: bool) -> Result<Option<HotMap>, MediumError> {
        let mut world = self.whole_call("map", path)?;
        if let Some(map) = world.hot.get(path).filter(|map| map.bytes() == bytes) {
            assert!(map.is_alone());
            return Ok(Some(map.again()));
        }
        if !create {
            return Ok(None);
        }
        let map = HotMap::of_memory(bytes).map_err(MediumError::at("map", path))?;
        world.hot.insert(path.to_path_buf(), map.again());
        Ok(Some(map))
    }

    fn open(&self, path: &Path) -> Result<Option<Box<dyn MediumFile>>, MediumError> {
        let world = self.look("open", path)?;
        let id = world.names.get(path).copied();
        Ok(id.map(|id| self.handle(id, path)))
    }

    fn open_direct(&self, path: &Path) -> Result<Option<Box<dyn MediumFile>>, MediumError> {
        let world = self.look("open", path)?;
        let id = world.names.get(path).copied();
        let direct = |id| SimHandle { medium: self.clone(), id, path: path.to_path_buf(), is_direct: true };
        Ok(id.map(|id| Box::new(direct(id)) as Box<dyn MediumFile>))
    }

    fn create(&self, path: &Path, bytes: u64) -> Result<Box<dyn MediumFile>, MediumError> {
        let (mut world, whole) = self.call("create", path)?;
        world.check_fault(FaultKind::Write, "create", path)?;
        let id = world.next_file;
        world.next_file += 1;
        // A kill between creating a file and sizing it leaves it empty.
        let content = vec![0; if whole { bytes as usize } else { 0 }];
        world.files.insert(id, SimFile { content, durable: None, unsynced: Vec::new() });
        world.set_name(path.to_path_buf(), id);
        let dirs: Vec<_> = path.ancestors().skip(1).map(PathBuf::from).collect();
        world.dirs.extend(dirs);
        drop(world);
        if whole { Ok(self.handle(id, path)) } else { Err(killed("create", path)) }
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, MediumError> {
        drop(self.look("read", path)?);
        Ok(self.content(path))
    }

    fn list(&self, dir: &Path) -> Result<Vec<Entry>, MediumError> {
        let world = self.look("list", dir)?;
        let files = in_dir(&world.names, dir).map(|(path, id)| (path, false, world.files[&id].content.len()));
        let dirs = world.dirs.iter().filter(|path| path.parent() == Some(dir));
        let all = files.chain(dirs.map(|path| (path.clone(), true, 0)));
        let mut entries: Vec<_> = all
            .map(|(path, is_dir, bytes)| {
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
                Entry { name: name.unwrap_or_default(), is_dir, bytes: bytes as u64 }
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn canonical(&self, dir: &Path) -> Result<PathBuf, MediumError> {
        Ok(dir.to_path_buf())
    }

    fn create_dir(&self, dir: &Path) -> Result<(), MediumError> {
        let mut world = self.whole_call("create", dir)?;
        world.dirs.extend(dir.ancestors().map(PathBuf::from));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), MediumError> {
        let mut world = self.whole_call("rename", from)?;
        if !to.parent().is_none_or(|dir| world.dirs.contains(dir)) {
            return Err(MediumError::at("rename", from)(io::ErrorKind::NotFound.into()));
        }
        let Some(id) = world.names.remove(from) else {
            return Err(MediumError::at("rename", from)(io::ErrorKind::NotFound.into()));
        };
        world.names.insert(to.to_path_buf(), id);
        world.renamed.push(NameChange::Rename(from.to_path_buf(), to.to_path_buf(), id));
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), MediumError> {
        let mut world = self.whole_call("remove", path)?;
        if world.names.remove(path).is_some() {
            world.renamed.push(NameChange::Remove(path.to_path_buf()));
        }
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> Result<(), MediumError> {
        let mut world = self.whole_call("remove", dir)?;
        let gone: Vec<_> = world.names.keys().filter(|path| path.starts_with(dir)).cloned().collect();
        world.names.retain(|path, _| !path.starts_with(dir));
        world.renamed.extend(gone.into_iter().map(NameChange::Remove));
        world.dirs.retain(|path| !path.starts_with(dir));
        world.hot.retain(|path, _| !path.starts_with(dir));
        Ok(())
    }

    fn shorten(&self, path: &Path, bytes: u64) -> Result<(), MediumError> {
        let mut world = self.whole_call("shorten", path)?;
        if let Some(id) = world.names.get(path).copied() {
            world.files.get_mut(&id).expect("names point at files").content.truncate(bytes as usize);
        }
        Ok(())
    }

    fn space(&self, dir: &Path) -> Result<Space, MediumError> {
        Ok(self.look("look at", dir)?.space)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), MediumError> {
        let mut world = self.whole_call("sync", dir)?;
        if !world.dirs.contains(dir) {
            return Err(MediumError::at("sync", dir)(io::ErrorKind::NotFound.into()));
        }
        world.check_fault(FaultKind::Sync, "sync", dir)?;
        let World { renamed, durable_names, .. } = &mut *world;
        let (now, later) = std::mem::take(renamed).into_iter().partition(|change| change.is_in(dir));
        *renamed = later;
        let now: Vec<NameChange> = now;
        for change in now {
            if let NameChange::Rename(from, _, _) = &change {
                // Its creation, in a directory that was not synced, must not bring the old name back.
                renamed.retain(|earlier| !matches!(earlier, NameChange::Set(path, _) if path == from));
            }
            change.apply(durable_names);
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> Result<Option<Box<dyn Send>>, MediumError> {
        let mut world = self.whole_call("lock", path)?;
        if !world.locked.insert(path.to_path_buf()) {
            return Ok(None);
        }
        Ok(Some(Box::new(SimLock { medium: self.clone(), path: path.to_path_buf() })))
    }

    fn fresh_id(&self) -> u128 {
        let mut world = self.world();
        let seed = &mut world.seed;
        (u128::from(random(seed, u64::MAX)) << 64) | u128::from(random(seed, u64::MAX))
    }

    fn boot_id(&self) -> String {
        self.world().boots.to_string()
    }

    fn pid(&self) -> u32 {
        1
    }

    fn elapsed_ns(&self) -> u64 {
        self.world().clock_ms * 1_000_000
    }
}

impl SimMedium {
    fn handle(&self, id: u64, path: &Path) -> Box<dyn MediumFile> {
        Box::new(SimHandle { medium: self.clone(), id, path: path.to_path_buf(), is_direct: false })
    }
}

struct SimHandle {
    medium: SimMedium,
    id: u64,
    path: PathBuf,
    is_direct: bool,
}

impl MediumFile for SimHandle {
    fn read_at(&self, at: u64, out: &mut [u8]) -> Result<usize, MediumError> {
        let world = self.medium.look("read", &self.path)?;
        let content = &world.files[&self.id].content;
        let there = content.get(at as usize..).unwrap_or_default();
        let len = there.len().min(out.len());
        out[..len].copy_from_slice(&there[..len]);
        Ok(len)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> Result<(), MediumError> {
        if self.is_direct {
            assert!(at.is_multiple_of(BLOCK_BYTES as u64));
            assert!(bytes.len().is_multiple_of(BLOCK_BYTES));
            assert!(bytes.as_ptr().align_offset(BLOCK_BYTES) == 0);
        }
        let (mut world, whole) = self.medium.call("write", &self.path)?;
        world.check_fault(FaultKind::Write, "write", &self.path)?;
        let len = if whole { bytes.len() } else { random(&mut world.seed, bytes.len() as u64 + 1) as usize };
        let file = world.files.get_mut(&self.id).expect("an open file");
        file.write(at as usize, &bytes[..len]);
        if whole { Ok(()) } else { Err(killed("write", &self.path)) }
    }

    fn sync(&self) -> Result<(), MediumError> {
        let mut world = self.medium.whole_call("sync", &self.path)?;
        let failed = world.check_fault(FaultKind::Sync, "sync", &self.path);
        let World { files, seed, .. } = &mut *world;
        let file = files.get_mut(&self.id).expect("an open file");
        match failed {
            Ok(()) => file.sync(),
            Err(_) => file.harden_some(seed),
        }
        failed
    }

    fn clear_from(&self, at: u64) -> Result<bool, MediumError> {
        let left = |world: &World| {
            let content = &world.files[&self.id].content;
            let first = at + content.iter().skip(at as usize).position(|byte| *byte != 0)? as u64;
            Some((first, content.iter().rposition(|byte| *byte != 0)? + 1 - first as usize))
        };
        let Some((first, len)) = left(&*self.medium.look("clear", &self.path)?) else { return Ok(false) };
        let (mut world, whole) = self.medium.call("clear", &self.path)?;
        world.check_fault(FaultKind::Write, "clear", &self.path)?;
        let len = if whole { len } else { random(&mut world.seed, len as u64 + 1) as usize };
        let file = world.files.get_mut(&self.id).expect("an open file");
        file.write(first as usize, &vec![0; len]);
        if whole { Ok(true) } else { Err(killed("clear", &self.path)) }
    }

    fn len(&self) -> Result<u64, MediumError> {
        Ok(self.medium.look("look at", &self.path)?.files[&self.id].content.len() as u64)
    }
}

struct SimLock {
    medium: SimMedium,
    path: PathBuf,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.medium.world().locked.remove(&self.path);
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

impl SimFile {
    fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if end > self.content.len() {
            self.content.resize(end, 0);
        }
        self.content[at..end].copy_from_slice(bytes);
        self.unsynced.push((at, bytes.to_vec()));
    }

    fn sync(&mut self) {
        let size = self.content.len();
        let durable = self.durable.get_or_insert_default();
        durable.resize(size, 0);
        for (at, bytes) in self.unsynced.drain(..) {
            let end = (at + bytes.len()).min(size);
            durable[at.min(end)..end].copy_from_slice(&bytes[..end.saturating_sub(at)]);
        }
    }

    /// Each unsynced write reaches the disk, is lost, or reaches it in some of its sectors.
    fn harden_some(&mut self, seed: &mut u64) {
        let size = self.content.len();
        let durable = self.durable.get_or_insert_with(|| match random(seed, 3) {
            0 => Vec::new(),
            _ => vec![0; size],
        });
        for (at, bytes) in self.unsynced.drain(..) {
            let fate = random(seed, 3);
            let (mut from, mut rest) = (at, &bytes[..]);
            while !rest.is_empty() {
                let (sector, later) = rest.split_at(rest.len().min(SECTOR_BYTES - from % SECTOR_BYTES));
                let kept = fate == 0 || (fate == 1 && random(seed, 2) == 0);
                if kept && from + sector.len() <= durable.len() {
                    durable[from..from + sector.len()].copy_from_slice(sector);
                }
                from += sector.len();
                rest = later;
            }
        }
    }

    fn lose_power(&mut self, seed: &mut u64) {
        self.harden_some(seed);
        self.content.clone_from(self.durable.get_or_insert_default());
    }
}

fn in_dir(names: &BTreeMap<PathBuf, u64>, dir: &Path) -> impl Iterator<Item = (PathBuf, u64)> {
    names.iter().filter(move |(path, _)| path.parent() == Some(dir)).map(|(path, id)| (path.clone(), *id))
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

const SECTOR_BYTES: usize = 512;
const BLOCK_BYTES: usize = 4096;
