//! How many queues there are and where they end, in one number: so that the next start sees when some of them are gone, or shorter,
//! whose messages lie far before the place from which it looks at the log.
//!
//! ```text
//! <root>/queues      {"to": <end of the log>, "queues": <how many>, "sum": <of a checksum of each>}      at a clean stop
//! <root>/queues.run  four such, 512 bytes each: | crc u32 | nth i64 | to i64 | queues i64 | sum i64 | 0 ..    while it runs
//!                    the first two by turns, as the log is written out: a kill leaves them true
//!                    the last two by turns, as queues are synced: a power cut leaves them true, too
//! ```
//!
//! Each speaks of the entries of messages before `to`. Later ones need no census: recovery looks at the log from there on.
//! Files of our own, which the official broker passes over. `queues` says nothing once another broker has gone on with the log.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{DiskQueue, QueueFiles};
use crate::config_files;
use crate::error::{MediumError, StoreError};
use crate::medium::MediumFile;
use crate::offsets::PhysicalOffset;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Census {
    to: i64,
    queues: u64,
    sum: u64,
}

impl Census {
    fn add(&mut self, queue: &DiskQueue, next: i64) {
        if next > 0 {
            self.queues += 1;
            self.sum = self.sum.wrapping_add(part_of(queue, next));
        }
    }

    fn take(&mut self, queue: &DiskQueue, next: i64) {
        if next > 0 {
            self.queues -= 1;
            self.sum = self.sum.wrapping_sub(part_of(queue, next));
        }
    }

    fn encode(&self, nth: u64) -> [u8; SLOT_BYTES] {
        let mut slot = [0; SLOT_BYTES];
        let words = [nth, self.to as u64, self.queues, self.sum];
        for (place, word) in slot[CRC_BYTES..].as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *place = word.to_be_bytes();
        }
        let crc = crc32fast::hash(&slot[CRC_BYTES..]);
        slot[..CRC_BYTES].copy_from_slice(&crc.to_be_bytes());
        slot
    }

    /// With its number; `None`: none was written, or not all of it.
    fn decode(slot: &[u8; SLOT_BYTES]) -> Option<(u64, Self)> {
        let (crc, rest) = slot.split_first_chunk::<CRC_BYTES>()?;
        let [nth, to, queues, sum, ..] = rest.as_chunks::<8>().0 else { return None };
        let [nth, to, queues, sum] = [nth, to, queues, sum].map(|word| u64::from_be_bytes(*word));
        (u32::from_be_bytes(*crc) == crc32fast::hash(rest))
            .then_some((nth, Self { to: to as i64, queues, sum }))
    }
}

/// A queue's part of the sum.
fn part_of(queue: &DiskQueue, next: i64) -> u64 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(queue.topic.as_bytes());
    hasher.update(&queue.queue_id.to_be_bytes());
    hasher.update(&next.to_be_bytes());
    u64::from(hasher.finalize())
}

/// How sure a census is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// The entries are in their files.
    Written,
    /// .. and on the disk.
    Synced,
}

/// The file `queues.run`.
pub(crate) struct Running {
    file: Box<dyn MediumFile>,
    nth: u64,
    /// What was written last, of each level.
    last: [Option<Census>; 2],
}

impl QueueFiles {
    /// All queues as they are in the files, the log ending at `to`.
    pub fn census(&self, to: PhysicalOffset) -> Census {
        Census { to: to.0, ..self.counted }
    }

    /// A queue's entries have reached its file.
    pub(super) fn count(&mut self, index: usize) {
        let queue = &mut self.queues[index];
        let before = std::mem::replace(&mut queue.counted, queue.next);
        self.counted.take(queue, before);
        self.counted.add(queue, queue.next);
    }

    /// Counts all queues anew.
    pub fn count_all(&mut self) {
        self.counted = Census::default();
        for queue in &mut self.queues {
            queue.counted = queue.next;
            self.counted.add(queue, queue.next);
        }
    }

    /// A clean stop: all entries are in the files.
    pub fn save_census(&self, root: &Path, to: PhysicalOffset) -> Result<(), MediumError> {
        let text = serde_json::to_vec(&self.census(to)).expect("numbers are plain data");
        config_files::replace(&*self.medium, &root.join(NAME), &text)
    }

    /// What the last clean stop has saved, if there is any.
    pub fn load_census(&mut self, root: &Path) -> Result<(), StoreError> {
        let parse = |bytes: &[u8]| serde_json::from_slice::<Census>(bytes).ok();
        self.census = config_files::load(&*self.medium, &root.join(NAME), parse)?.value();
        Ok(())
    }

    /// Where the log ended when the census was taken that the queues do not match.
    pub fn mismatch(&mut self) -> Option<PhysicalOffset> {
        let census = self.census?;
        let to = PhysicalOffset(census.to);
        let has_grown = self.highest_end() > to;
        self.count_all();
        (!has_grown && self.census(to) != census).then_some(to)
    }

    /// What a run that did not stop cleanly has left. `powered`: the machine has gone on since.
    pub fn load_running_census(&mut self, root: &Path, powered: bool) -> Result<(), MediumError> {
        self.census = None;
        let Some(bytes) = self.medium.read(&root.join(RUNNING_NAME))? else { return Ok(()) };
        let slots = bytes.as_chunks::<SLOT_BYTES>().0;
        let slots = if powered { slots } else { slots.get(SLOTS_PER_LEVEL..).unwrap_or_default() };
        let newest = slots.iter().filter_map(Census::decode).max_by_key(|(nth, _)| *nth);
        self.census = newest.map(|(_, census)| census);
        Ok(())
    }

    /// After an unclean stop: how far the census speaks for the queues' entries, and whether these are what it says.
    pub fn compare_before(&mut self) -> Result<Option<(PhysicalOffset, bool)>, MediumError> {
        let Some(census) = self.census else { return Ok(None) };
        let to = PhysicalOffset(census.to);
        let mut found = Census { to: to.0, ..Census::default() };
        for index in 0..self.queues.len() {
            let queue = &self.queues[index];
            let (min, next) = (queue.min, queue.next);
            let next = if queue.last_end > to { self.first_entry(index, min, next, to)? } else { next };
            found.add(&self.queues[index], next);
        }
        Ok(Some((to, found == census)))
    }

    /// From here on entries are counted as they are written. What the last run has left counts no more.
    pub fn begin_census(&mut self, root: &Path, to: PhysicalOffset) {
        self.count_all();
        match self.medium.create(&root.join(RUNNING_NAME), (2 * SLOTS_PER_LEVEL * SLOT_BYTES) as u64) {
            Ok(file) => self.running = Some(Running { file, nth: 0, last: [None; 2] }),
            Err(error) => log::warn!("{error}: {SAYS_LESS}"),
        }
        self.note_census(self.census(to), Level::Written);
    }

    /// Says how far the queues' entries are known to be in their files. It is no loss when it cannot be said.
    pub fn note_census(&mut self, census: Census, level: Level) {
        if let Err(error) = self.write_census(census, level) {
            log::warn!("{error}: {SAYS_LESS}");
            self.running = None;
        }
    }

    fn write_census(&mut self, census: Census, level: Level) -> Result<(), MediumError> {
        let Some(running) = &mut self.running else { return Ok(()) };
        if running.last[level as usize] == Some(census) {
            return Ok(());
        }
        running.nth += 1;
        let slot = level as usize * SLOTS_PER_LEVEL + running.nth as usize % SLOTS_PER_LEVEL;
        running.file.write_at((slot * SLOT_BYTES) as u64, &census.encode(running.nth))?;
        if level == Level::Synced {
            running.file.sync()?;
        }
        running.last[level as usize] = Some(census);
        Ok(())
    }
}

const NAME: &str = "queues";
const RUNNING_NAME: &str = "queues.run";
/// A sector: written whole or not at all when the power is cut.
const SLOT_BYTES: usize = 512;
const SAYS_LESS: &str = "a start after a kill will see less of lost queue files";
const SLOTS_PER_LEVEL: usize = 2;
const CRC_BYTES: usize = 4;
