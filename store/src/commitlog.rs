//! The commitlog on disk: files of one size, named by the offset of their first byte.
//!
//! Large runs go past the page cache, straight from the hot log's memory; the block that a run ends in is written padded with
//! zeros and once more, whole, by the next run. Small runs go through the page cache.
//!
//! A file is created sparse at its full size, and its blocks are taken at once under load, so its length says nothing about how far it was written. No record crosses
//! a file; callers write runs that end before its blank does. Formats: RocketMQ's, byte for byte.

use std::path::PathBuf;
use std::sync::Arc;

use crate::arena::PAGE_BYTES;
use crate::error::{MediumError, StoreError};
use crate::ground::Ground;
use crate::medium::{Medium, MediumFile};
use crate::offsets::PhysicalOffset;
use crate::trash::Trash;
use crate::writers::Place;

/// The files of the log, for the one who writes them.
pub(crate) struct LogFiles {
    medium: Arc<dyn Medium>,
    dir: PathBuf,
    file_bytes: u64,
    /// First bytes of all files, in order, without gaps.
    starts: Vec<i64>,
    current: Option<(i64, Box<dyn MediumFile>)>,
    /// The current file once more, for writes past the page cache.
    direct: Option<Arc<dyn MediumFile>>,
    direct_bytes_from: usize,
    /// Aligned memory, somewhere in here.
    bounce: Vec<u8>,
    /// Files with unsynced bytes, besides the current one.
    unsynced: Vec<Box<dyn MediumFile>>,
    current_unsynced: bool,
    names_unsynced: bool,
    /// A spare file has lost its name to the log.
    spare_unsynced: bool,
    /// Who works ahead of us, and up to where in the current file it has left the ground to us.
    ground: Option<Arc<Ground>>,
    ground_to: u64,
    /// The current file's blocks are taken, or could not be.
    took_blocks: bool,
}

impl LogFiles {
    /// Looks at the directory. Empty last files, which a kill in their creation leaves, are removed.
    pub fn load(
        medium: Arc<dyn Medium>,
        dir: PathBuf,
        file_bytes: u64,
        direct_bytes_from: usize,
    ) -> Result<Self, StoreError> {
        let mut entries = medium.list(&dir)?;
        entries.retain(|entry| !entry.is_dir && offset_of_name(&entry.name).is_some());
        while let Some(last) = entries.pop_if(|last| last.bytes == 0) {
            medium.remove(&dir.join(&last.name))?;
        }
        for entry in entries.iter_mut().filter(|entry| entry.bytes == 0) {
            // A power cut took its length. It says as much as one that was never written; what is behind it is cut off with it.
            drop(medium.create(&dir.join(&entry.name), file_bytes)?);
            entry.bytes = file_bytes;
        }
        let mut starts: Vec<i64> = Vec::new();
        for entry in &entries {
            let path = dir.join(&entry.name);
            if entry.bytes != file_bytes {
                return Err(StoreError::LogFileSize { path, found: entry.bytes, expected: file_bytes });
            }
            let start = offset_of_name(&entry.name).expect("names were looked at above");
            if start % file_bytes as i64 != 0 || start.checked_add(file_bytes as i64).is_none() {
                let what = "a commitlog file is named by its first byte, a multiple of mappedFileSizeCommitLog, and this one is not: \
                            give it its name back, or move it away";
                return Err(StoreError::Damaged { path, what });
            }
            if starts.last().is_some_and(|last| last + file_bytes as i64 != start) {
                let what = "the commitlog has a gap before this file: bring the missing ones back, or move away those on one side of it";
                return Err(StoreError::Damaged { path, what });
            }
            starts.push(start);
        }
        Ok(Self {
            medium,
            dir,
            file_bytes,
            starts,
            current: None,
            direct: None,
            direct_bytes_from,
            bounce: vec![0; BOUNCE_BYTES + PAGE_BYTES],
            unsynced: Vec::new(),
            current_unsynced: false,
            names_unsynced: true,
            spare_unsynced: false,
            ground: None,
            ground_to: u64::MAX,
            took_blocks: false,
        })
    }

    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// First bytes of the files.
    pub fn starts(&self) -> &[i64] {
        &self.starts
    }

    /// First byte kept.
    pub fn min(&self) -> PhysicalOffset {
        PhysicalOffset(self.starts.first().copied().unwrap_or(0))
    }

    /// End of the last file.
    pub fn file_end(&self) -> PhysicalOffset {
        PhysicalOffset(self.starts.last().map_or(0, |start| start + self.file_bytes as i64))
    }

    /// First byte of the file that `at` lies in.
    pub fn start_of(&self, at: PhysicalOffset) -> i64 {
        at.0 - at.0 % self.file_bytes as i64
    }

    /// Writes a run of bytes that stays within one file, creating that file if it is the next one.
    pub fn write(&mut self, at: PhysicalOffset, bytes: &[u8]) -> Result<(), MediumError> {
        let start = self.start_of(at);
        let from = (at.0 - start) as u64;
        assert!(from + bytes.len() as u64 <= self.file_bytes);
        self.open_for_writing(start)?;
        self.reach(from + bytes.len() as u64);
        let (_, file) = self.current.as_ref().expect("opened just now");
        file.write_at(from, bytes)?;
        self.current_unsynced = true;
        Ok(())
    }

    /// As [`LogFiles::write`], of a part of the hot log: `with_lead` begins `lead` bytes before `at`, with what was written there.
    pub fn write_part(
        &mut self,
        at: PhysicalOffset,
        lead: usize,
        with_lead: &[u8],
    ) -> Result<(), MediumError> {
        let start = self.start_of(at);
        let from = (at.0 - start) as u64 - lead as u64;
        let is_aligned = from.is_multiple_of(PAGE_BYTES as u64)
            && self.file_bytes.is_multiple_of(PAGE_BYTES as u64)
            && with_lead.as_ptr().align_offset(PAGE_BYTES) == 0;
        self.open_for_writing(start)?;
        self.reach((from + with_lead.len() as u64).next_multiple_of(PAGE_BYTES as u64));
        let Some(direct) =
            self.direct.as_ref().filter(|_| is_aligned && with_lead.len() >= self.direct_bytes_from)
        else {
            return self.write(at, &with_lead[lead..]);
        };
        assert!(from + with_lead.len() as u64 <= self.file_bytes);
        self.current_unsynced = true;
        // A short run is one write, padded; of a long one only the last block is copied.
        let whole = with_lead.len() - with_lead.len() % PAGE_BYTES;
        let (blocks, rest) = with_lead.split_at(if with_lead.len() <= BOUNCE_BYTES { 0 } else { whole });
        if !blocks.is_empty() {
            direct.write_at(from, blocks)?;
        }
        if !rest.is_empty() {
            let aligned = self.bounce.as_ptr().align_offset(PAGE_BYTES);
            let padded = &mut self.bounce[aligned..aligned + rest.len().next_multiple_of(PAGE_BYTES)];
            padded[..rest.len()].copy_from_slice(rest);
            padded[rest.len()..].fill(0);
            direct.write_at(from + blocks.len() as u64, padded)?;
        }
        Ok(())
    }

    /// The place of a run of whole blocks that somebody else writes; `None`: its file system or its size knows no such writes.
    pub fn begin(&mut self, from: PhysicalOffset, to: PhysicalOffset) -> Result<Option<Place>, MediumError> {
        let start = self.start_of(from);
        let (from, end) = ((from.0 - start) as u64, (to.0 - start) as u64);
        let is_whole = |bytes: u64| bytes.is_multiple_of(PAGE_BYTES as u64);
        assert!(end <= self.file_bytes);
        if !is_whole(self.file_bytes) || !is_whole(from) || !is_whole(end) {
            return Ok(None);
        }
        self.open_for_writing(start)?;
        let Some(file) = self.direct.clone() else { return Ok(None) };
        self.take_blocks(&*file, from);
        self.reach(end);
        self.current_unsynced = true;
        Ok(Some(Place { file, from }))
    }

    /// A run that `begin` was told of, in the current file, has been written.
    pub fn finish(&mut self) {
        self.current_unsynced = true;
    }

    /// Everything written survives a power cut when this returns.
    pub fn sync(&mut self) -> Result<(), MediumError> {
        for file in &self.unsynced {
            file.sync()?;
        }
        self.unsynced.clear();
        if self.current_unsynced {
            if let Some((_, file)) = &self.current {
                file.sync()?;
            }
            self.current_unsynced = false;
        }
        if self.names_unsynced && !self.starts.is_empty() {
            if let Some(ground) = self.ground.as_ref().filter(|_| self.spare_unsynced) {
                // First here, or a power cut might leave a file of the log under the name of the spare one, too.
                ground.sync_spare_dir()?;
                self.spare_unsynced = false;
            }
            self.medium.sync_dir(&self.dir)?;
            self.names_unsynced = false;
        }
        Ok(())
    }

    /// What lies at `from` and behind may be bytes that an earlier run did not sync: the next `sync` syncs them.
    pub fn doubt(&mut self, from: PhysicalOffset) -> Result<(), MediumError> {
        let Some(last) = self.starts.last().copied() else { return Ok(()) };
        let first = self.start_of(from);
        for start in self.starts.iter().filter(|start| (first..last).contains(start)) {
            let path = self.dir.join(name_of_offset(*start));
            self.unsynced.extend(self.medium.open(&path)?);
        }
        self.open_for_writing(last)?;
        self.current_unsynced = true;
        Ok(())
    }

    /// Writes once more what lies there, so that the next sync means it.
    pub fn write_again(&mut self, from: PhysicalOffset, to: PhysicalOffset) -> Result<(), MediumError> {
        let mut block = vec![0; AGAIN_BYTES];
        let mut at = from;
        while at < to {
            let len = (to.since(at).min(self.left_in_file(at)) as usize).min(AGAIN_BYTES);
            let there = self.read(at, &mut block[..len])?;
            if there == 0 {
                return Ok(());
            }
            self.write(at, &block[..there])?;
            at = at.plus(there as u64);
        }
        Ok(())
    }

    /// The log goes on at `end`, and somebody works ahead of it from now on.
    pub fn prepare(&mut self, ground: Arc<Ground>, end: PhysicalOffset) {
        if let Some((start, _)) = self.current.as_ref().filter(|(start, _)| *start == self.start_of(end)) {
            self.ground_to = ground.enter(&self.path_of(*start), (end.0 - start) as u64, false);
        }
        self.ground = Some(ground);
    }

    pub fn ground(&self) -> Option<Arc<Ground>> {
        self.ground.clone()
    }

    /// Fills `out` from `at` on, within one file; returns how much there was.
    pub fn read(&mut self, at: PhysicalOffset, out: &mut [u8]) -> Result<usize, MediumError> {
        let start = self.start_of(at);
        if !self.starts.contains(&start) {
            return Ok(0);
        }
        self.open_for_writing(start)?;
        let (_, file) = self.current.as_ref().expect("opened just now");
        file.read_at((at.0 - start) as u64, out)
    }

    /// Bytes from `at` to the end of its file.
    pub fn left_in_file(&self, at: PhysicalOffset) -> u64 {
        self.file_bytes - (at.0 as u64 % self.file_bytes)
    }

    /// The log ends at `end`: later files go, and what follows in its file is made zero.
    /// `far`: whatever a power cut has left there; else what a write that was cut off can have.
    pub fn cut(&mut self, end: PhysicalOffset, far: bool) -> Result<(), MediumError> {
        let last = self.start_of(end);
        while let Some(start) = self.starts.pop_if(|start| *start > last) {
            if self.current.as_ref().is_some_and(|(current, _)| *current == start) {
                self.current = None;
                self.direct = None;
            }
            self.medium.remove(&self.dir.join(name_of_offset(start)))?;
            self.names_unsynced = true;
        }
        if !self.starts.contains(&last) {
            return Ok(());
        }
        self.open_for_writing(last)?;
        let (_, file) = self.current.as_ref().expect("opened just now");
        if !far {
            let mut head = [0; CUT_BYTES];
            let there = self.left_in_file(end).min(CUT_BYTES as u64) as usize;
            let there = self.read(end, &mut head[..there])?;
            if head[..there].iter().any(|byte| *byte != 0) {
                self.write(end, &[0; CUT_BYTES][..there])?;
            }
            return Ok(());
        }
        // All of it: a record of one size with those that come now could lie just behind one of them when the power is cut.
        // And on the disk before they come, else they might be there and the zeros not.
        if file.clear_from((end.0 - last) as u64)? {
            file.sync()?;
        }
        Ok(())
    }

    /// Takes the oldest file away. The caller has told readers that it is gone.
    pub fn remove_first(&mut self, trash: &Trash) -> Result<(), MediumError> {
        assert!(self.starts.len() > 1);
        let start = self.starts[0];
        assert!(self.current.as_ref().is_none_or(|(current, _)| *current != start));
        trash.take(&self.dir.join(name_of_offset(start)), self.file_bytes)?;
        self.starts.remove(0);
        let synced = self.medium.sync_dir(&self.dir);
        self.names_unsynced |= synced.is_err();
        synced
    }

    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The current file is about to be written up to `to`.
    fn reach(&mut self, to: u64) {
        let Some(ground) = &self.ground else { return };
        if to > self.ground_to {
            self.ground_to = ground.reach(to);
        }
        ground.note(to);
    }

    /// Takes the blocks of the rest of the current file, once: writes onto blocks that are not there yet wait for each other.
    /// They stay zero, and stay sparse for whoever asks. No fault if it cannot be.
    fn take_blocks(&mut self, file: &dyn MediumFile, from: u64) {
        if std::mem::replace(&mut self.took_blocks, true) || self.ground.is_some() {
            return;
        }
        let taken = self.medium.space(&self.dir).and_then(|space| {
            let is_ample = space.available >= self.file_bytes.saturating_mul(SPACE_FILES_MIN);
            if is_ample { file.reserve(from, self.file_bytes - from) } else { Ok(()) }
        });
        if let Err(error) = taken {
            log::info!("the log is written on sparse ground: {error}");
        }
    }

    fn path_of(&self, start: i64) -> PathBuf {
        self.dir.join(name_of_offset(start))
    }

    fn open_for_writing(&mut self, start: i64) -> Result<(), MediumError> {
        if self.current.as_ref().is_some_and(|(current, _)| *current == start) {
            return Ok(());
        }
        if let Some((_, file)) = self.current.take()
            && self.current_unsynced
        {
            self.unsynced.push(file);
            self.current_unsynced = false;
        }
        let path = self.path_of(start);
        let is_new = !self.starts.contains(&start);
        let is_ground = match &self.ground {
            Some(ground) if is_new => ground.take_spare(&path)?,
            _ => false,
        };
        let file = match is_new && !is_ground {
            true => None,
            false => self.medium.open(&path)?,
        };
        let file = match file {
            Some(file) => file,
            None => {
                let file = self.medium.create(&path, self.file_bytes)?;
                self.names_unsynced = true;
                file
            }
        };
        if is_new {
            self.starts.push(start);
            self.names_unsynced = true;
            self.spare_unsynced |= is_ground;
        }
        if let Some(ground) = &self.ground {
            self.ground_to = ground.enter(&path, 0, is_ground);
        }
        self.current = Some((start, file));
        self.took_blocks = false;
        self.direct = self.medium.open_direct(&path)?.map(Arc::from);
        Ok(())
    }
}

/// `00000000001073741824`
pub(crate) fn name_of_offset(offset: i64) -> String {
    format!("{offset:020}")
}

pub(crate) fn offset_of_name(name: &str) -> Option<i64> {
    (name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit())).then(|| name.parse().ok())?
}

const BOUNCE_BYTES: usize = 64 << 10;
/// More than size and magic of a record.
const CUT_BYTES: usize = 16;
const AGAIN_BYTES: usize = 1 << 20;
/// A disk with less space than so many files is taken block by block.
const SPACE_FILES_MIN: u64 = 4;
