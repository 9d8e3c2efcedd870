//! The consume queues on disk: `consumequeue/<topic>/<queueId>/<byte offset>`, entries of 20 bytes.
//!
//! ```text
//! logical offset n  <->  byte offset 20 n        unwritten space is zero; an entry of size 0 ends the queue
//! ```
//!
//! Entries are collected per queue and written once per step. Any of this can be rebuilt from the log: a damaged or lost
//! queue costs time at the next start, not messages. Rules: spec of the store §3, D-5 and D-6 (docs/PROMISES.md).

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use protocol::names;
use protocol::record::RecordView;

use crate::commitlog::{name_of_offset, offset_of_name};
use crate::dispatch::{BLANK_UNIT, ENTRY_BYTES, decode_entry, encode_entry};
use crate::error::{MediumError, StoreError};
use crate::medium::{Medium, MediumFile};
use crate::offsets::{PhysicalOffset, QueueOffset, Unit};
use crate::progress::Progress;
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
}

struct DiskQueue {
    topic: Box<str>,
    queue_id: i32,
    min: i64,
    /// Offset of the next entry, the collected ones included.
    next: i64,
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
            open: VecDeque::new(),
            unsynced: Vec::new(),
            syncing: Vec::new(),
            fill_gaps: false,
            is_disordered: false,
            filled: 0,
        }
    }

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
                if let (true, Ok(queue_id)) = (queue.is_dir, queue.name.parse()) {
                    let index = files.add(&topic.name, queue_id);
                    files.load_queue(index)?;
                }
            }
        }
        Ok(files)
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
    pub fn dispatch(&mut self, view: &RecordView<'_>, unit: Unit) -> Dispatched {
        let Some(index) = self.find_or_add(view.topic, view.queue_id) else { return Dispatched::Skipped };
        let queue = &mut self.queues[index];
        if !view.is_queued() || unit.end() <= queue.last_end {
            return Dispatched::Skipped;
        }
        if view.queue_offset < queue.next {
            let is_first = self.fill_gaps && queue.next == queue.min && queue.collected.is_empty();
            if !is_first {
                return Dispatched::Skipped;
            }
            // The first files of the queue are lost, and their messages are not.
            queue.next = view.queue_offset;
            queue.min = view.queue_offset;
            queue.begins_anew = true;
        }
        if view.queue_offset > queue.next {
            if !self.fill_gaps {
                return Dispatched::Gap;
            }
            if queue.next == queue.min && queue.collected.is_empty() {
                // A queue that begins in the middle: what was before has expired.
                queue.next = view.queue_offset;
                queue.min = view.queue_offset;
                queue.begins_anew = true;
            }
        }
        if queue.collected.is_empty() {
            self.touched.push(index);
        }
        while queue.next < view.queue_offset {
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
        while let Some(index) = self.touched.last().copied() {
            self.write_queue(index)?;
            self.touched.pop();
        }
        Ok(())
    }

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

    /// All entries are about to be made again, from the first message of the log on.
    pub fn begin_rebuild(&mut self) -> Result<(), MediumError> {
        self.fill_gaps = true;
        self.take_back(PhysicalOffset(0))?;
        // Blanks before the first entry stand for nothing that was lost.
        self.queues.iter_mut().for_each(|queue| queue.min = queue.next);
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
    /// else. `moved` hears of every queue that begins later now. Returns where to go on; `None`: that was all.
    pub fn trim_some(
        &mut self,
        from: usize,
        max: usize,
        log_min: PhysicalOffset,
        moved: &mut dyn FnMut(&str, i32, i64),
    ) -> Result<Option<usize>, MediumError> {
        let to = self.queues.len().min(from + max);
        for index in from..to {
            let queue = &self.queues[index];
            // Entries that wait to be written, for want of space perhaps, are those of the newest messages.
            let waiting = (queue.collected.len() / ENTRY_BYTES) as i64;
            let (first, written) = (queue.min, queue.next - waiting);
            let min = self.first_entry(index, first, written, log_min)?;
            if min == first {
                continue;
            }
            self.queues[index].min = min;
            moved(&self.queues[index].topic, self.queues[index].queue_id, min);
            while let [start, _, ..] = self.queues[index].starts[..] {
                if start + self.file_bytes > min as u64 * 20 {
                    break;
                }
                if self.queues[index].file.as_ref().is_some_and(|(open, _)| *open == start) {
                    self.close_file(index);
                }
                let queue = &mut self.queues[index];
                queue.unsynced_starts.retain(|unsynced| *unsynced != start);
                queue.starts.remove(0);
                let path = self.queue_dir(index).join(name_of_offset(start as i64));
                self.medium.remove(&path)?;
            }
        }
        Ok((to < self.queues.len()).then_some(to))
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
            && queue.topic.as_bytes() == topic
        {
            return Some(recent);
        }
        let known = self.by_name.get(topic).and_then(|ids| ids.iter().find(|(id, _)| *id == queue_id));
        let index = match known {
            Some((_, index)) => *index,
            None => {
                let topic = str::from_utf8(topic).ok().filter(|topic| names::has_legal_characters(topic))?;
                self.add(topic, queue_id)
            }
        };
        self.recent[slot] = index;
        Some(index)
    }

    fn add(&mut self, topic: &str, queue_id: i32) -> usize {
        let index = self.queues.len();
        self.queues.push(DiskQueue {
            topic: topic.into(),
            queue_id,
            min: 0,
            next: 0,
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

    /// The first offset of `from..to` whose message lies at `physical` or later.
    fn first_entry(
        &mut self,
        index: usize,
        from: i64,
        to: i64,
        physical: PhysicalOffset,
    ) -> Result<i64, MediumError> {
        let passes = |unit: &Unit| *unit != BLANK_UNIT && unit.physical >= physical;
        let (mut low, mut high) = (from, to);
        // Most often the first one passes already.
        if low < high && self.read_entry(index, low)?.is_some_and(|unit| passes(&unit)) {
            return Ok(low);
        }
        while low < high {
            let middle = low + (high - low) / 2;
            match self.read_entry(index, middle)? {
                Some(unit) if passes(&unit) => high = middle,
                _ => low = middle + 1,
            }
        }
        Ok(low)
    }

    fn read_entry(&mut self, index: usize, offset: i64) -> Result<Option<Unit>, MediumError> {
        let mut entry = [0; ENTRY_BYTES];
        let there = self.read_bytes(index, offset as u64 * 20, &mut entry)?;
        Ok(if there == ENTRY_BYTES { decode_entry(&entry) } else { None })
    }

    /// Reads within one file.
    fn read_bytes(&mut self, index: usize, at: u64, out: &mut [u8]) -> Result<usize, MediumError> {
        let start = at - at % self.file_bytes;
        if !self.queues[index].starts.contains(&start) {
            return Ok(0);
        }
        self.open_file(index, start)?;
        let (_, file) = self.queues[index].file.as_ref().expect("opened just now");
        let here = out.len().min((start + self.file_bytes - at) as usize);
        file.read_at(at - start, &mut out[..here])
    }

    fn write_queue(&mut self, index: usize) -> Result<(), MediumError> {
        let queue = &mut self.queues[index];
        let mut collected = std::mem::take(&mut queue.collected);
        let mut at = queue.next as u64 * 20 - collected.len() as u64;
        let written = self.write_entries(index, &mut at, &collected);
        if written.is_err() || collected.capacity() <= COLLECTED_BYTES_KEPT {
            // What could not be written is tried once more, all of it.
            if written.is_ok() {
                collected.clear();
            }
            self.queues[index].collected = collected;
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

    fn note_unsynced(&mut self, index: usize, start: u64) {
        let queue = &mut self.queues[index];
        if !queue.unsynced_starts.contains(&start) {
            queue.unsynced_starts.push(start);
        }
        if !queue.unsynced {
            queue.unsynced = true;
            self.unsynced.push(index);
        }
    }

    /// Makes the file that begins at byte `start` of the queue the open one; creates it if there is none.
    fn open_file(&mut self, index: usize, start: u64) -> Result<(), MediumError> {
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

    fn close_file(&mut self, index: usize) {
        if self.queues[index].file.take().is_some() {
            self.open.retain(|open| *open != index);
        }
    }

    fn sync_queue(&mut self, index: usize) -> Result<(), MediumError> {
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

    fn queue_dir(&self, index: usize) -> PathBuf {
        let queue = &self.queues[index];
        self.dir.join(&*queue.topic).join(queue.queue_id.to_string())
    }
}

/// Whether an entry stands for a message, not for space before the first one.
pub(crate) fn is_real(unit: &Unit) -> bool {
    unit.size != BLANK_UNIT.size
}

/// Open queue files, at most.
const OPEN_FILES_MAX: usize = 128;
const RECENT: usize = 64;
/// Files at the end of a queue in which its end is looked for.
const FILES_SCANNED: usize = 3;
const SCAN_FIRST_BYTES: usize = 2_000;
const SCAN_BLOCK_BYTES: usize = 64_000;
/// A queue's collecting buffer is kept if it is no larger than this.
const COLLECTED_BYTES_KEPT: usize = 1024;
const BLANKS_AT_ONCE: usize = 1_000;
