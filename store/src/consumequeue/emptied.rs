//! Queues whose messages have all expired lose their last file too, when an administrator asks for it (codes 306 and 316).
//!
//! ```text
//! <root>/emptied    {"<topic>": {"<queueId>": <offset of the next message>}}
//! ```
//!
//! What stays is a number: a queue that began at 0 again would be passed over by every group that has read further, and a queue rebuilt
//! from the log could not tell its messages from those of its former life. The number is kept in a file of our own, and is on the
//! disk before a file goes; the official broker does not look at it, and counts from 0 as it does after its own clean-up.

use std::collections::BTreeMap;
use std::path::Path;

use protocol::names;

use super::QueueFiles;
use crate::commitlog::name_of_offset;
use crate::config_files;
use crate::error::{MediumError, StoreError};
use crate::offsets::PhysicalOffset;

/// By topic and queue id.
type Numbers = BTreeMap<String, BTreeMap<i32, i64>>;

impl QueueFiles {
    /// Takes up the numbers of queues that have no files, or none that reach as far. Others have gone on since.
    pub fn load_emptied(&mut self, root: &Path) -> Result<(), StoreError> {
        let found = config_files::load(&*self.medium, &root.join(NAME), |bytes| {
            serde_json::from_slice::<Numbers>(bytes).ok()
        })?;
        for (topic, queues) in found.value().unwrap_or_default() {
            if !names::has_legal_characters(&topic) {
                continue;
            }
            for (queue_id, next) in queues {
                if !(0..=OFFSET_MAX).contains(&next) {
                    log::error!("{NAME}: queue {queue_id} of {topic} cannot go on at {next}");
                    continue;
                }
                let Some(index) = self.find_or_add(topic.as_bytes(), queue_id) else { continue };
                if self.queues[index].next >= next {
                    continue;
                }
                // Files that end before are older ones that a power cut has brought back.
                self.queues[index].starts = std::mem::take(&mut self.queues[index].found_starts);
                self.remove_files(index)?;
                let queue = &mut self.queues[index];
                (queue.min, queue.next, queue.last_end) = (next, next, PhysicalOffset(0));
            }
        }
        Ok(())
    }

    /// Removes the files of those of the queues that hold no message at `log_min` or later; `moved` hears where they go on. Returns how
    /// many there were.
    pub fn remove_emptied(
        &mut self,
        root: &Path,
        asked: &[(Box<str>, i32)],
        log_min: PhysicalOffset,
        moved: &mut dyn FnMut(&str, i32, i64),
    ) -> Result<usize, MediumError> {
        let known = asked.iter().filter_map(|(topic, queue_id)| self.find(topic.as_bytes(), *queue_id));
        let emptied: Vec<usize> = known.filter(|index| self.queues[*index].is_emptied(log_min)).collect();
        if emptied.is_empty() {
            return Ok(0);
        }
        self.save_numbers(root, &emptied)?;
        for &index in &emptied {
            let queue = &mut self.queues[index];
            queue.min = queue.next;
            moved(&queue.topic, queue.queue_id, queue.next);
            self.remove_files(index)?;
        }
        Ok(emptied.len())
    }

    /// Those of queues without files, and those of `emptied`, which are about to lose theirs.
    fn save_numbers(&self, root: &Path, emptied: &[usize]) -> Result<(), MediumError> {
        let mut numbers = Numbers::new();
        for (index, queue) in self.queues.iter().enumerate() {
            let has_files = !queue.starts.is_empty() || !queue.collected.is_empty();
            if queue.next > 0 && (!has_files || emptied.contains(&index)) {
                numbers.entry(queue.topic.to_string()).or_default().insert(queue.queue_id, queue.next);
            }
        }
        let text = serde_json::to_vec(&numbers).expect("numbers are plain data");
        config_files::replace(&*self.medium, &root.join(NAME), &text)
    }

    fn remove_files(&mut self, index: usize) -> Result<(), MediumError> {
        self.close_file(index);
        let dir = self.queue_dir(index);
        // One that cannot be removed stays, until somebody asks again.
        while let Some(start) = self.queues[index].starts.first().copied() {
            self.medium.remove(&dir.join(name_of_offset(start as i64)))?;
            self.queues[index].starts.remove(0);
        }
        let queue = &mut self.queues[index];
        queue.unsynced_starts.clear();
        queue.name_unsynced = false;
        queue.begins_anew = true;
        self.medium.remove_dir(&dir)?;
        if let Some(topic_dir) = dir.parent()
            && self.medium.list(topic_dir)?.is_empty()
        {
            self.medium.remove_dir(topic_dir)?;
        }
        Ok(())
    }
}

impl super::DiskQueue {
    /// One file, whose messages have all left the log. More files go by themselves with the messages; that they do so one by one and
    /// this one last is what makes any moment a good one for a kill.
    fn is_emptied(&self, log_min: PhysicalOffset) -> bool {
        self.starts.len() == 1 && self.collected.is_empty() && self.last_end <= log_min
    }
}

const NAME: &str = "emptied";
/// Far above all that a queue can reach, and its bytes have numbers still.
const OFFSET_MAX: i64 = i64::MAX / 100;
