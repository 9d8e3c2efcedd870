//! Entries into a queue's files and out of them again; of all queues a bounded number of files is open.

use std::path::PathBuf;

use super::{QueueFiles, hole};
use crate::commitlog::name_of_offset;
use crate::dispatch::{BLANK_UNIT, ENTRY_BYTES, decode_entry, encode_entry};
use crate::error::MediumError;
use crate::offsets::{PhysicalOffset, Unit};

impl QueueFiles {
    /// The first offset of `from..to` whose message lies at `physical` or later.
    pub(super) fn first_entry(
        &mut self,
        index: usize,
        from: i64,
        to: i64,
        physical: PhysicalOffset,
    ) -> Result<i64, MediumError> {
        hole::first_at(from, to, self.file_entries(), physical, |at, out| self.read_bytes(index, at, out))
    }

    pub(super) fn read_entry(&mut self, index: usize, offset: i64) -> Result<Option<Unit>, MediumError> {
        let mut entry = [0; ENTRY_BYTES];
        let there = self.read_bytes(index, offset as u64 * 20, &mut entry)?;
        Ok(if there == ENTRY_BYTES { decode_entry(&entry) } else { None })
    }

    pub(super) fn file_entries(&self) -> i64 {
        (self.file_bytes / ENTRY_BYTES as u64) as i64
    }

    /// Reads within one file.
    pub(super) fn read_bytes(&mut self, index: usize, at: u64, out: &mut [u8]) -> Result<usize, MediumError> {
        let start = at - at % self.file_bytes;
        if !self.queues[index].starts.contains(&start) {
            return Ok(0);
        }
        self.open_file(index, start)?;
        let (_, file) = self.queues[index].file.as_ref().expect("opened just now");
        let here = out.len().min((start + self.file_bytes - at) as usize);
        file.read_at(at - start, &mut out[..here])
    }

    pub(super) fn write_queue(&mut self, index: usize) -> Result<(), MediumError> {
        let queue = &mut self.queues[index];
        let mut collected = std::mem::take(&mut queue.collected);
        let mut at = queue.next as u64 * 20 - collected.len() as u64;
        let written = self.write_entries(index, &mut at, &collected);
        // What could not be written is tried once more, all of it.
        if written.is_ok() {
            collected.clear();
            self.count(index);
        }
        if written.is_err() || collected.capacity() <= COLLECTED_BYTES_KEPT {
            self.queues[index].collected = collected;
        } else if self.spare.len() < SPARE_MAX && collected.capacity() <= SPARE_BYTES_MAX {
            self.spare.push(collected);
        }
        written
    }

    fn write_entries(&mut self, index: usize, at: &mut u64, entries: &[u8]) -> Result<(), MediumError> {
        let mut rest = entries;
        while !rest.is_empty() {
            let start = *at - *at % self.file_bytes;
            let (now, later) = rest.split_at(rest.len().min((start + self.file_bytes - *at) as usize));
            let is_new = !self.queues[index].starts.contains(&start);
            self.open_file(index, start)?;
            let begins_anew = std::mem::take(&mut self.queues[index].begins_anew);
            if begins_anew || is_new && self.queues[index].starts.len() == 1 {
                self.fill_before(index, *at - start)?;
            }
            self.write_open(index, *at - start, now)?;
            *at += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    /// The first file of a queue that does not begin with it: blank entries before the first real one.
    fn fill_before(&mut self, index: usize, bytes: u64) -> Result<(), MediumError> {
        let blanks = encode_entry(&BLANK_UNIT).repeat(BLANKS_AT_ONCE);
        let mut at = 0;
        while at < bytes {
            let len = (bytes - at).min(blanks.len() as u64) as usize;
            self.write_open(index, at, &blanks[..len])?;
            at += len as u64;
        }
        Ok(())
    }

    fn write_open(&mut self, index: usize, at: u64, bytes: &[u8]) -> Result<(), MediumError> {
        let (start, file) = self.queues[index].file.as_ref().expect("the caller opened it");
        let start = *start;
        file.write_at(at, bytes)?;
        self.note_unsynced(index, start);
        Ok(())
    }

    /// Makes the file that begins at byte `start` of the queue the open one; creates it if there is none.
    pub(super) fn open_file(&mut self, index: usize, start: u64) -> Result<(), MediumError> {
        if self.queues[index].file.as_ref().is_some_and(|(open, _)| *open == start) {
            return Ok(());
        }
        self.close_file(index);
        while self.open.len() >= OPEN_FILES_MAX {
            let oldest = self.open.front().copied().expect("there are OPEN_FILES_MAX of them");
            self.close_file(oldest);
        }
        let path = self.queue_dir(index).join(name_of_offset(start as i64));
        let queue = &mut self.queues[index];
        let file = match queue.starts.contains(&start) {
            true => self.medium.open(&path)?,
            false => None,
        };
        let file = match file {
            Some(file) => file,
            None => {
                let file = self.medium.create(&path, self.file_bytes)?;
                if let Err(place) = queue.starts.binary_search(&start) {
                    queue.starts.insert(place, start);
                }
                queue.name_unsynced = true;
                file
            }
        };
        queue.file = Some((start, file));
        self.open.push_back(index);
        Ok(())
    }

    pub(super) fn close_file(&mut self, index: usize) {
        if self.queues[index].file.take().is_some() {
            self.open.retain(|open| *open != index);
        }
    }

    pub(super) fn queue_dir(&self, index: usize) -> PathBuf {
        let queue = &self.queues[index];
        self.dir.join(&*queue.topic).join(queue.queue_id.to_string())
    }
}

/// Open queue files, at most.
const OPEN_FILES_MAX: usize = 128;
/// A queue's collecting buffer is kept if it is no larger than this.
const COLLECTED_BYTES_KEPT: usize = 1024;
/// Larger ones go from queue to queue, so many and of such a size.
const SPARE_MAX: usize = 64;
const SPARE_BYTES_MAX: usize = 128 << 10;
const BLANKS_AT_ONCE: usize = 1_000;
