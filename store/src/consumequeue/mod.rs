//! The consume queues on disk: `consumequeue/<topic>/<queueId>/<byte offset>`, entries of 20 bytes.
//!
//! ```text
//! logical offset n  <->  byte offset 20 n        unwritten space is zero; an entry of size 0 ends the queue
//! ```
//!
//! Entries are collected per queue and written once per step. Any of this can be rebuilt from the log: a damaged or lost
//! queue costs time at the next start, not messages. Here: the table of queues, and a record's way into its queue. What
//! is in the files at a start is for load.rs and repair.rs. Rules: D-5 and D-6 (docs/PROMISES.md).

pub(crate) mod census;
mod emptied;
mod entries;
pub(crate) mod hole;
pub(crate) mod load;
pub(crate) mod mend;
mod repair;
mod sync;
mod trim;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use protocol::names;

use crate::brief::{Brief, is_same};
use crate::dispatch::{BLANK_UNIT, encode_entry};
use crate::error::MediumError;
use crate::medium::{Medium, MediumFile};
use crate::offsets::{PhysicalOffset, QueueOffset, Unit};
use crate::store::QueueFound;

/// All queues, for the one who writes them.
pub(crate) struct QueueFiles {
    medium: Arc<dyn Medium>,
    dir: PathBuf,
    file_bytes: u64,
    by_name: HashMap<Box<[u8]>, Vec<(i32, usize)>>,
    queues: Vec<DiskQueue>,
    /// The queues found last, by the low bits of their ids.
    recent: [usize; RECENT],
    /// Queues with collected entries.
    touched: Vec<usize>,
    /// Buffers of queues that were written, for the next ones.
    spare: Vec<Vec<u8>>,
    /// Queues with an open file, the longest open first.
    open: VecDeque<usize>,
    /// Queues with unsynced entries, and those of the running round.
    unsynced: Vec<usize>,
    syncing: Vec<usize>,
    /// While all queues are made again from the first message on: what is missing then is gone.
    fill_gaps: bool,
    /// An entry lies behind one of a later message: a write that a power cut has torn.
    pub is_disordered: bool,
    /// Offsets filled because their message is gone.
    pub filled: u64,
    /// What the last run said of all queues.
    census: Option<census::Census>,
    /// What is in the files now, and where that is said.
    counted: census::Census,
    running: Option<census::Running>,
    /// Messages whose queue offsets cannot be.
    doubted: u64,
}

struct DiskQueue {
    topic: Box<str>,
    queue_id: i32,
    min: i64,
    /// Offset of the next entry, the collected ones included.
    next: i64,
    /// `next` as it was counted last (census.rs).
    counted: i64,
    /// End of the last entry's message: what ends there or before has its entry.
    last_end: PhysicalOffset,
    collected: Vec<u8>,
    file: Option<(u64, Box<dyn MediumFile>)>,
    /// Byte offsets of the files that exist, in order.
    starts: Vec<u64>,
    /// On the list of the next round of syncs.
    unsynced: bool,
    /// Files with unsynced bytes.
    unsynced_starts: Vec<u64>,
    name_unsynced: bool,
    /// While recovering: byte offsets of the files that were found, those behind a gap included.
    found_starts: Vec<u64>,
    /// .. and entries were taken back.
    is_stale: bool,
    /// .. and its first entry lies amid a file: nothing before it may look like the end of the queue.
    begins_anew: bool,
}

/// What became of a record's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dispatched {
    Added,
    /// It has one already, or gets none.
    Skipped,
    /// Entries before it are missing.
    Gap,
}

impl QueueFiles {
    pub fn new(medium: Arc<dyn Medium>, dir: PathBuf, file_bytes: u64) -> Self {
        Self {
            medium,
            dir,
            file_bytes,
            by_name: HashMap::new(),
            queues: Vec::new(),
            recent: [0; RECENT],
            touched: Vec::new(),
            spare: Vec::new(),
            open: VecDeque::new(),
            unsynced: Vec::new(),
            syncing: Vec::new(),
            fill_gaps: false,
            is_disordered: false,
            filled: 0,
            census: None,
            counted: census::Census::default(),
            running: None,
            doubted: 0,
        }
    }

    /// Ends of the last messages that have entries; the highest of all.
    pub fn highest_end(&self) -> PhysicalOffset {
        self.queues.iter().map(|queue| queue.last_end).max().unwrap_or_default()
    }

    /// The entry of the message that lies furthest in the log.
    pub fn highest_entry(&mut self) -> Result<Option<Unit>, MediumError> {
        let furthest = (0..self.queues.len()).max_by_key(|index| self.queues[*index].last_end);
        match furthest.map(|index| (index, &self.queues[index])) {
            Some((index, queue)) if queue.last_end > PhysicalOffset(0) => {
                self.read_entry(index, queue.next - 1)
            }
            _ => Ok(None),
        }
    }

    /// The offset that the next message of a queue gets.
    pub fn next_of(&mut self, topic: &[u8], queue_id: i32) -> i64 {
        self.find_or_add(topic, queue_id).map_or(0, |index| self.queues[index].next)
    }

    /// Collects the entry of a record.
    pub fn dispatch(&mut self, record: &Brief<'_>, unit: Unit) -> Dispatched {
        let Some(index) = self.find_or_add(record.topic, record.queue_id) else { return Dispatched::Skipped };
        let queue = &mut self.queues[index];
        if !record.is_queued() || unit.end() <= queue.last_end {
            return Dispatched::Skipped;
        }
        // All messages before it in its queue take at least a byte each.
        let can_be = (0..=unit.physical.0).contains(&record.queue_offset);
        if self.fill_gaps && record.queue_offset != queue.next && !can_be {
            self.doubted += 1;
            if self.doubted <= DOUBTED_TOLD_MAX {
                log::error!(
                    "the message at {} cannot be number {} of queue {} of {}: it gets no entry",
                    unit.physical,
                    record.queue_offset,
                    queue.queue_id,
                    queue.topic
                );
            }
            return Dispatched::Skipped;
        }
        if record.queue_offset < queue.next {
            let is_first = self.fill_gaps && queue.next == queue.min && queue.collected.is_empty();
            if !is_first {
                return Dispatched::Skipped;
            }
            // The first files of the queue are lost, and their messages are not.
            queue.next = record.queue_offset;
            queue.min = record.queue_offset;
            queue.begins_anew = true;
        }
        if record.queue_offset > queue.next {
            if !self.fill_gaps {
                return Dispatched::Gap;
            }
            if queue.next == queue.min && queue.collected.is_empty() {
                // A queue that begins in the middle: what was before has expired.
                queue.next = record.queue_offset;
                queue.min = record.queue_offset;
                queue.begins_anew = true;
            }
        }
        if queue.collected.is_empty() {
            self.touched.push(index);
            if queue.collected.capacity() == 0 {
                queue.collected = self.spare.pop().unwrap_or_default();
            }
        }
        while queue.next < record.queue_offset {
            // Offsets stay what they are; readers pass over the place.
            queue.collected.extend_from_slice(&encode_entry(&Unit { size: BLANK_UNIT.size, ..unit }));
            queue.next += 1;
            self.filled += 1;
        }
        queue.collected.extend_from_slice(&encode_entry(&unit));
        queue.next += 1;
        queue.last_end = unit.end();
        Dispatched::Added
    }

    /// Writes what was collected.
    pub fn write_out(&mut self) -> Result<(), MediumError> {
        while self.write_one_out()? {}
        Ok(())
    }

    /// The same for one queue; `false`: there was none.
    pub fn write_one_out(&mut self) -> Result<bool, MediumError> {
        let Some(index) = self.touched.last().copied() else { return Ok(false) };
        self.write_queue(index)?;
        self.touched.pop();
        Ok(true)
    }

    /// No commitlog: whatever the queues say is about messages that are gone.
    pub fn remove_all(&mut self) -> Result<(), MediumError> {
        self.medium.remove_dir(&self.dir)?;
        *self = Self::new(Arc::clone(&self.medium), self.dir.clone(), self.file_bytes);
        Ok(())
    }

    pub fn found(&self) -> Vec<QueueFound> {
        let found = |queue: &DiskQueue| QueueFound {
            topic: queue.topic.to_string(),
            queue_id: queue.queue_id,
            min: QueueOffset(queue.min),
            max: QueueOffset(queue.next),
        };
        self.queues.iter().map(found).collect()
    }

    /// `None`: a topic that cannot be a directory, which no record of ours has.
    fn find_or_add(&mut self, topic: &[u8], queue_id: i32) -> Option<usize> {
        let slot = queue_id as usize % RECENT;
        let recent = self.recent[slot];
        if let Some(queue) = self.queues.get(recent)
            && queue.queue_id == queue_id
            && is_same(queue.topic.as_bytes(), topic)
        {
            return Some(recent);
        }
        let index = match self.find(topic, queue_id) {
            Some(index) => index,
            None => {
                let topic = str::from_utf8(topic).ok().filter(|topic| names::has_legal_characters(topic))?;
                self.add(topic, queue_id)
            }
        };
        self.recent[slot] = index;
        Some(index)
    }

    fn find(&self, topic: &[u8], queue_id: i32) -> Option<usize> {
        let ids = self.by_name.get(topic)?;
        ids.iter().find(|(id, _)| *id == queue_id).map(|(_, index)| *index)
    }

    fn add(&mut self, topic: &str, queue_id: i32) -> usize {
        let index = self.queues.len();
        self.queues.push(DiskQueue {
            topic: topic.into(),
            queue_id,
            min: 0,
            next: 0,
            counted: 0,
            last_end: PhysicalOffset(0),
            collected: Vec::new(),
            file: None,
            starts: Vec::new(),
            unsynced: false,
            unsynced_starts: Vec::new(),
            name_unsynced: false,
            found_starts: Vec::new(),
            is_stale: false,
            begins_anew: false,
        });
        self.by_name.entry(topic.as_bytes().into()).or_default().push((queue_id, index));
        index
    }
}

/// Whether an entry stands for a message, not for space before the first one.
pub(crate) fn is_real(unit: &Unit) -> bool {
    unit.size != BLANK_UNIT.size
}

const RECENT: usize = 64;
const DOUBTED_TOLD_MAX: u64 = 20;
