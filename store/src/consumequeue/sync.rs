//! Which entries may not be on the disk yet, and the rounds that sync them, some queues at a time.

use super::QueueFiles;
use crate::commitlog::name_of_offset;
use crate::error::MediumError;
use crate::offsets::PhysicalOffset;

impl QueueFiles {
    /// Begins a round of syncs over all queues with unsynced entries. `false`: the last round is not done.
    pub fn begin_sync(&mut self) -> bool {
        if !self.syncing.is_empty() {
            return false;
        }
        std::mem::swap(&mut self.syncing, &mut self.unsynced);
        for index in &self.syncing {
            self.queues[*index].unsynced = false;
        }
        true
    }

    /// Syncs at most `max` queues of the round; `true` when the round is done.
    pub fn sync_some(&mut self, max: usize) -> Result<bool, MediumError> {
        for _ in 0..max {
            let Some(index) = self.syncing.last().copied() else { return Ok(true) };
            self.sync_queue(index)?;
            self.syncing.pop();
        }
        Ok(self.syncing.is_empty())
    }

    /// Entries of messages at `from` and later may be bytes that an earlier run did not sync: the next round syncs them.
    pub fn doubt(&mut self, from: PhysicalOffset) -> Result<(), MediumError> {
        for index in 0..self.queues.len() {
            let queue = &self.queues[index];
            if queue.last_end <= from {
                continue;
            }
            let (min, next) = (queue.min, queue.next);
            // One file is synced whole, wherever its first such entry is.
            let first = match self.queues[index].starts.len() {
                0 | 1 => 0,
                _ => self.first_entry(index, min, next, from)? as u64 * 20,
            };
            let queue = &mut self.queues[index];
            let doubted = queue.starts.iter().filter(|start| *start + self.file_bytes > first);
            queue.unsynced_starts = doubted.copied().collect();
            queue.name_unsynced = true;
            if !queue.unsynced {
                queue.unsynced = true;
                self.unsynced.push(index);
            }
        }
        Ok(())
    }

    pub(super) fn note_unsynced(&mut self, index: usize, start: u64) {
        let queue = &mut self.queues[index];
        if !queue.unsynced_starts.contains(&start) {
            queue.unsynced_starts.push(start);
        }
        if !queue.unsynced {
            queue.unsynced = true;
            self.unsynced.push(index);
        }
    }

    pub(super) fn sync_queue(&mut self, index: usize) -> Result<(), MediumError> {
        while let Some(start) = self.queues[index].unsynced_starts.pop() {
            match &self.queues[index].file {
                Some((open, file)) if *open == start => file.sync()?,
                _ => {
                    // Closed meanwhile: its bytes are still to be synced.
                    let path = self.queue_dir(index).join(name_of_offset(start as i64));
                    if let Some(file) = self.medium.open(&path)? {
                        file.sync()?;
                    }
                }
            }
        }
        self.sync_names(index)
    }

    pub(super) fn sync_names(&mut self, index: usize) -> Result<(), MediumError> {
        if self.queues[index].name_unsynced {
            let dir = self.queue_dir(index);
            self.medium.sync_dir(&dir)?;
            for above in dir.ancestors().skip(1).take(2) {
                self.medium.sync_dir(above)?;
            }
            self.queues[index].name_unsynced = false;
        }
        Ok(())
    }
}
