//! The simulated half of the medium: files and hot memory in one process, with kills, power cuts and faults on demand.
//!
//! ```text
//! kill -9:    hot memory and every finished write stay; the write that was under way is cut short
//! power cut:  hot memory is gone; of what was not synced, each write is there, lost or torn, as the seed says
//! fault:      writes or syncs of some files fail from now on
//! ```
//!
//! Only calls that change something are counted; `kill_at` names the one at which everything stops. From then on every
//! call fails until `restart`.

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
    /// Names as of the last `sync_dir` of their directory.
    durable_names: BTreeMap<PathBuf, u64>,
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
    /// The sync fails; what was written may or may not be on the disk.
    Sync,
}

struct SimFile {
    content: Vec<u8>,
    /// As of the last sync; `None`: never.
    synced: Option<Vec<u8>>,
    /// Writes since.
    unsynced: Vec<(usize, Vec<u8>)>,
}

impl SimMedium {
    pub fn new(seed: u64) -> Self {
        let world = World {
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
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
        let World { files, names, durable_names, seed, .. } = &mut *world;
        // The names of a directory changed together, or not at all.
        let dirs: BTreeSet<PathBuf> = names
            .keys()
            .chain(durable_names.keys())
            .filter_map(|path| path.parent())
            .map(PathBuf::from)
            .collect();
        for dir in dirs {
            let (kept, other) =
                if random(seed, 2) == 0 { (&*durable_names, &*names) } else { (&*names, &*durable_names) };
            let kept: Vec<_> = in_dir(kept, &dir).collect();
            let gone: Vec<_> = in_dir(other, &dir).map(|(path, _)| path).collect();
            for path in gone {
                names.remove(&path);
                durable_names.remove(&path);
            }
            for (path, file) in kept {
                names.insert(path.clone(), file);
                durable_names.insert(path, file);
            }
        }
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
        if let Some(synced) = &mut file.synced {
            synced[at] ^= 1;
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
            world.files.insert(id, SimFile { content, synced: None, unsynced: Vec::new() });
            world.names.insert(path, id);
        }
    }

    /// Hides the hot memory: what a start on another machine sees. Gives back what `bring_hot_back` wants.
    pub fn take_hot_away(&self) -> BTreeMap<PathBuf, HotMap> {
        std::mem::take(&mut self.world().hot)
    }

    pub fn bring_hot_back(&self, hot: BTreeMap<PathBuf, HotMap>) {
        self.world().hot = hot;
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
        world.files.insert(id, SimFile { content, synced: None, unsynced: Vec::new() });
        world.names.insert(path.to_path_buf(), id);
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
        let Some(id) = world.names.remove(from) else {
            return Err(MediumError::at("rename", from)(io::ErrorKind::NotFound.into()));
        };
        world.names.insert(to.to_path_buf(), id);
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), MediumError> {
        self.whole_call("remove", path)?.names.remove(path);
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> Result<(), MediumError> {
        let mut world = self.whole_call("remove", dir)?;
        world.names.retain(|path, _| !path.starts_with(dir));
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
        world.check_fault(FaultKind::Sync, "sync", dir)?;
        let now: Vec<_> = in_dir(&world.names, dir).collect();
        world.durable_names.retain(|path, _| path.parent() != Some(dir));
        world.durable_names.extend(now);
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
        world.check_fault(FaultKind::Sync, "sync", &self.path)?;
        let file = world.files.get_mut(&self.id).expect("an open file");
        file.synced = Some(file.content.clone());
        file.unsynced.clear();
        Ok(())
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
    fn check_fault(&self, what: FaultKind, op: &'static str, path: &Path) -> Result<(), MediumError> {
        let fault = self.fault.as_ref().filter(|fault| path.to_string_lossy().contains(fault.path_part));
        match fault.map(|fault| fault.what) {
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

    /// Each unsynced write is kept, lost, or kept in some of its sectors.
    fn lose_power(&mut self, seed: &mut u64) {
        let size = self.content.len();
        let mut content = match self.synced.take() {
            Some(synced) => synced,
            None if random(seed, 3) == 0 => Vec::new(),
            None => vec![0; size],
        };
        for (at, bytes) in std::mem::take(&mut self.unsynced) {
            let fate = random(seed, 3);
            for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                let kept = fate == 0 || (fate == 1 && random(seed, 2) == 0);
                let from = at + index * SECTOR_BYTES;
                if kept && from + sector.len() <= content.len() {
                    content[from..from + sector.len()].copy_from_slice(sector);
                }
            }
        }
        self.content.clone_from(&content);
        self.synced = Some(content);
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
