//! After an unclean stop: entries taken back and made again, and what nobody shall take for entries made zero.

use super::{QueueFiles, is_real};
use crate::commitlog::name_of_offset;
use crate::error::MediumError;
use crate::offsets::PhysicalOffset;

impl QueueFiles {
    /// All entries are about to be made again, from the first message of the log on.
    pub fn begin_rebuild(&mut self) -> Result<(), MediumError> {
        self.fill_gaps = true;
        self.take_back(PhysicalOffset(0))?;
        // Blanks before the first entry stand for nothing that was lost.
        self.queues.iter_mut().for_each(|queue| queue.min = queue.next);
        Ok(())
    }

    pub fn end_rebuild(&mut self) {
        self.fill_gaps = false;
    }

    /// Unclean start: entries of messages at `from` and later are taken back, to be made again from the log. Their bytes
    /// stay until they are overwritten or `clear_stale` is called.
    pub fn take_back(&mut self, from: PhysicalOffset) -> Result<(), MediumError> {
        for index in 0..self.queues.len() {
            if self.queues[index].last_end <= from {
                continue;
            }
            let queue = &self.queues[index];
            let (min, next) = (queue.min, queue.next);
            let next = self.first_entry(index, min, next, from)?;
            let last = match next > min {
                true => self.read_entry(index, next - 1)?.filter(is_real),
                false => None,
            };
            let queue = &mut self.queues[index];
            queue.is_stale = true;
            queue.next = next;
            queue.last_end = last.map_or(PhysicalOffset(0), |unit| unit.end());
        }
        Ok(())
    }

    /// The log has all messages there ever were. A queue that has none of them, and begins later than at 0, had only such as a power cut
    /// has taken, and the first of its files with them: it begins again.
    pub fn forget_lost(&mut self) -> Result<(), MediumError> {
        for index in 0..self.queues.len() {
            if self.queues[index].min == 0 || self.queues[index].next > self.queues[index].min {
                continue;
            }
            self.close_file(index);
            let dir = self.queue_dir(index);
            let queue = &mut self.queues[index];
            (queue.min, queue.next) = (0, 0);
            queue.unsynced_starts.clear();
            queue.name_unsynced = true;
            queue.starts.clear();
            for start in std::mem::take(&mut queue.found_starts) {
                self.medium.remove(&dir.join(name_of_offset(start as i64)))?;
            }
        }
        Ok(())
    }

    /// Makes zero what lies behind the last entry of every queue: what was taken back and not made again, and what a power cut
    /// has left behind a hole. Nobody shall take it for entries, not even when the queue has grown up to it.
    /// Without a power cut there is only the former, if anything.
    pub fn clear_stale(&mut self, powered: bool) -> Result<(), MediumError> {
        assert!(self.touched.is_empty());
        for index in 0..self.queues.len() {
            let queue = &mut self.queues[index];
            let end = queue.next as u64 * 20;
            let found = std::mem::take(&mut queue.found_starts);
            if powered && !std::mem::take(&mut queue.is_stale) {
                continue;
            }
            for start in found {
                if start + self.file_bytes <= end {
                    continue;
                }
                if !self.queues[index].starts.contains(&start) {
                    let path = self.queue_dir(index).join(name_of_offset(start as i64));
                    self.medium.remove(&path)?;
                    self.queues[index].name_unsynced = true;
                    continue;
                }
                self.open_file(index, start)?;
                let (_, file) = self.queues[index].file.as_ref().expect("opened just now");
                if file.clear_from(end.saturating_sub(start))? {
                    self.note_unsynced(index, start);
                }
            }
        }
        Ok(())
    }
}
