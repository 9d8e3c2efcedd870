//! An open file.

use std::path::PathBuf;

use super::{FaultKind, SimMedium, World, killed, random};
use crate::error::MediumError;
use crate::medium::MediumFile;

pub(super) struct SimHandle {
    pub medium: SimMedium,
    pub id: u64,
    pub path: PathBuf,
    pub is_direct: bool,
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

const BLOCK_BYTES: usize = 4096;
