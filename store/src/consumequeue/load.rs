//! Finds the queues of a directory and where their entries end.

use std::path::PathBuf;
use std::sync::Arc;

use protocol::names;

use super::{QueueFiles, is_real};
use crate::commitlog::offset_of_name;
use crate::dispatch::{ENTRY_BYTES, decode_entry};
use crate::error::StoreError;
use crate::medium::Medium;
use crate::offsets::PhysicalOffset;
use crate::progress::Progress;

impl QueueFiles {
    /// Finds every queue and where its entries end.
    pub fn load(
        medium: Arc<dyn Medium>,
        dir: PathBuf,
        file_bytes: u64,
        progress: &mut Progress,
    ) -> Result<Self, StoreError> {
        let mut files = Self::new(medium, dir, file_bytes);
        let topics = files.medium.list(&files.dir)?;
        let count = topics.len() as u64;
        for (nth, topic) in (0..).zip(topics) {
            progress.at("consume queues", nth, count, "topics");
            if !topic.is_dir || !names::has_legal_characters(&topic.name) {
                continue;
            }
            for queue in files.medium.list(&files.dir.join(&topic.name))? {
                if let (true, Some(queue_id)) = (queue.is_dir, id_of_name(&queue.name)) {
                    let index = files.add(&topic.name, queue_id);
                    files.load_queue(index)?;
                }
            }
        }
        Ok(files)
    }

    fn load_queue(&mut self, index: usize) -> Result<(), StoreError> {
        let dir = self.queue_dir(index);
        let mut starts = Vec::new();
        for entry in self.medium.list(&dir)? {
            let Some(start) = offset_of_name(&entry.name) else { continue };
            if entry.bytes == 0 {
                self.medium.remove(&dir.join(&entry.name))?; // A kill in its creation left it.
                continue;
            }
            if entry.bytes != self.file_bytes {
                let what = "not mappedFileSizeConsumeQueue bytes long: set that key, or remove consumequeue/ to have it rebuilt";
                return Err(StoreError::Damaged { path: dir.join(&entry.name), what });
            }
            if !(start as u64).is_multiple_of(self.file_bytes) {
                let what = "not named by its first byte, a multiple of mappedFileSizeConsumeQueue: give it its name back, or remove \
                            consumequeue/ to have it rebuilt";
                return Err(StoreError::Damaged { path: dir.join(&entry.name), what });
            }
            starts.push(start as u64);
        }
        self.queues[index].found_starts.clone_from(&starts);
        // Files behind a gap say nothing: the log knows what was in them.
        let whole = starts.windows(2).take_while(|pair| pair[0] + self.file_bytes == pair[1]).count() + 1;
        let Some(first) = starts.first().copied() else { return Ok(()) };
        starts.truncate(whole);
        let mut scan_from = starts[starts.len().saturating_sub(FILES_SCANNED)];
        let end = starts[starts.len() - 1] + self.file_bytes;
        self.queues[index].starts = starts;
        self.queues[index].min = (first / 20) as i64;
        // The last files may be empty: a power cut has brought them back, or kept their names only.
        while scan_from > first && self.read_entry(index, (scan_from / 20) as i64)?.is_none() {
            scan_from -= self.file_bytes;
        }
        let mut at = scan_from;
        let mut last = None;
        // Most of many queues are short: a little first.
        let mut block = vec![0; SCAN_FIRST_BYTES];
        'scan: while at < end {
            let there = self.read_bytes(index, at, &mut block)?;
            let (entries, _) = block[..there].as_chunks::<ENTRY_BYTES>();
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                let Some(unit) = decode_entry(entry) else { break 'scan };
                let before = last.filter(is_real);
                let is_late = before.is_some_and(|before| unit.physical < before.end());
                self.is_disordered |= is_late && is_real(&unit);
                last = Some(unit);
                at += ENTRY_BYTES as u64;
            }
            block.resize(SCAN_BLOCK_BYTES, 0);
        }
        let queue = &mut self.queues[index];
        queue.next = (at / 20) as i64;
        queue.last_end = last.filter(is_real).map_or(PhysicalOffset(0), |unit| unit.end());
        self.close_file(index);
        Ok(())
    }
}

/// The queue that a directory belongs to, which has one name only: two queues with the files of one would undo each other.
pub(crate) fn id_of_name(name: &str) -> Option<i32> {
    name.parse().ok().filter(|id: &i32| id.to_string() == name)
}

/// Files at the end of a queue in which its end is looked for.
const FILES_SCANNED: usize = 3;
const SCAN_FIRST_BYTES: usize = 2_000;
const SCAN_BLOCK_BYTES: usize = 64_000;
