//! Where the queues begin, as old messages are deleted.

use super::QueueFiles;
use crate::commitlog::name_of_offset;
use crate::dispatch::ENTRY_BYTES;
use crate::error::MediumError;
use crate::offsets::PhysicalOffset;

impl QueueFiles {
    /// Whether the first entry of every queue may still be read: `min` follows the log's own first byte.
    pub fn settle_min(&mut self, log_min: PhysicalOffset) -> Result<(), MediumError> {
        if log_min == PhysicalOffset(0) {
            return Ok(()); // Nothing was ever deleted.
        }
        for index in 0..self.queues.len() {
            let queue = &self.queues[index];
            let (first, next) = (queue.min, queue.next);
            let min = self.first_entry(index, first, next, log_min)?;
            self.queues[index].min = min;
        }
        Ok(())
    }

    /// Old messages were deleted: moves on `min` of at most `max` queues from number `from` on, and removes files that hold nothing
    /// else. `moved` hears of every queue that begins later now. Returns where to go on (`None`: that was all), and what went wrong
    /// with one of them, which keeps the others waiting no longer.
    pub fn trim_some(
        &mut self,
        from: usize,
        max: usize,
        log_min: PhysicalOffset,
        moved: &mut dyn FnMut(&str, i32, i64),
    ) -> (Option<usize>, Result<(), MediumError>) {
        let to = self.queues.len().min(from + max);
        let mut trimmed = Ok(());
        for index in from..to {
            trimmed = trimmed.and(self.trim(index, log_min, moved));
        }
        ((to < self.queues.len()).then_some(to), trimmed)
    }

    fn trim(
        &mut self,
        index: usize,
        log_min: PhysicalOffset,
        moved: &mut dyn FnMut(&str, i32, i64),
    ) -> Result<(), MediumError> {
        let queue = &self.queues[index];
        // Entries that wait to be written, for want of space perhaps, are those of the newest messages.
        let waiting = (queue.collected.len() / ENTRY_BYTES) as i64;
        let (first, written) = (queue.min, queue.next - waiting);
        let min = self.first_entry(index, first, written, log_min)?;
        if min != first {
            self.queues[index].min = min;
            moved(&self.queues[index].topic, self.queues[index].queue_id, min);
        }
        while let [start, _, ..] = self.queues[index].starts[..] {
            if start + self.file_bytes > min as u64 * 20 {
                break;
            }
            if self.queues[index].file.as_ref().is_some_and(|(open, _)| *open == start) {
                self.close_file(index);
            }
            self.medium.remove(&self.queue_dir(index).join(name_of_offset(start as i64)))?;
            let queue = &mut self.queues[index];
            queue.unsynced_starts.retain(|unsynced| *unsynced != start);
            queue.starts.remove(0);
        }
        Ok(())
    }
}
