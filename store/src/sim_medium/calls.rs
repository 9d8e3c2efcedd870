//! What the store asks of the machine, answered by a map of names and files.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::file::SimFile;
use super::handle::SimHandle;
use super::names::NameChange;
use super::{FaultKind, SimMedium, World, killed, random};
use crate::arena::HotMap;
use crate::error::MediumError;
use crate::medium::{Entry, HotKind, HotPlace, Medium, MediumFile};
use crate::retention::Space;

impl Medium for SimMedium {
    fn hot_places(&self, _bytes: usize, _held: &Path) -> Vec<HotPlace> {
        vec![HotPlace { dir: PathBuf::from("/dev/shm"), kind: HotKind::Tmpfs }]
    }

    fn hot_kind(&self, _dir: &Path) -> HotKind {
        HotKind::Tmpfs
    }

    fn map_hot(&self, path: &Path, bytes: usize, create: bool) -> Result<Option<HotMap>, MediumError> {
        let mut world = self.whole_call("map", path)?;
        if create || world.hot.contains_key(path) {
            world.check_fault(FaultKind::Map, "map", path)?;
        }
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
        world.check_fault(FaultKind::Create, "create", path)?;
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
        if !world.dirs.contains(dir) {
            world.check_fault(FaultKind::Names, "create", dir)?;
            if world.fault_at(dir) == Some(FaultKind::Full) {
                return Err(MediumError::at("create", dir)(io::ErrorKind::StorageFull.into()));
            }
        }
        world.dirs.extend(dir.ancestors().map(PathBuf::from));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), MediumError> {
        let mut world = self.whole_call("rename", from)?;
        world.check_fault(FaultKind::Names, "rename", from)?;
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
        world.check_fault(FaultKind::Names, "remove", path)?;
        if world.names.remove(path).is_some() {
            world.renamed.push(NameChange::Remove(path.to_path_buf()));
        }
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> Result<(), MediumError> {
        let mut world = self.whole_call("remove", dir)?;
        world.check_fault(FaultKind::Names, "remove", dir)?;
        let gone: Vec<_> = world.names.keys().filter(|path| path.starts_with(dir)).cloned().collect();
        world.names.retain(|path, _| !path.starts_with(dir));
        world.renamed.extend(gone.into_iter().map(NameChange::Remove));
        world.dirs.retain(|path| !path.starts_with(dir));
        world.hot.retain(|path, _| !path.starts_with(dir));
        Ok(())
    }

    fn shorten(&self, path: &Path, bytes: u64) -> Result<(), MediumError> {
        let mut world = self.whole_call("shorten", path)?;
        world.check_fault(FaultKind::Names, "shorten", path)?;
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
        for change in std::mem::take(renamed) {
            if !change.is_in(dir) {
                renamed.push(change);
                continue;
            }
            if let NameChange::Rename(from, to, _) = &change {
                // What came before in a directory that was not synced must neither bring the old name back nor take the new one away.
                renamed.retain(|earlier| match earlier {
                    NameChange::Set(path, _) => path != from && path != to,
                    NameChange::Remove(path) => path != to,
                    NameChange::Rename(..) => true,
                });
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

    fn give_way(&self) {
        self.let_others(0);
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

struct SimLock {
    medium: SimMedium,
    path: PathBuf,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.medium.world().locked.remove(&self.path);
    }
}

fn in_dir(names: &BTreeMap<PathBuf, u64>, dir: &Path) -> impl Iterator<Item = (PathBuf, u64)> {
    names.iter().filter(move |(path, _)| path.parent() == Some(dir)).map(|(path, id)| (path.clone(), *id))
}
