//! Keys on their way to become entries: of records as they are written out, and of what the index has missed, from the log's files.
//!
//! ```text
//! log:   .. made entries of | keys collected ...... | next: what follows is taken from records, or fetched ..
//! ```
//!
//! Every part of the log is taken once, in its order. Where no entries can be made the keys wait, up to a limit; beyond it nothing is
//! taken, and fetched later. A record that cannot be read costs its own keys: the next one is looked for.

use std::collections::VecDeque;

use super::hash::TopicHash;
use super::keys;
use crate::brief::{Brief, Labels};
use crate::config::IndexShape;
use crate::error::MediumError;
use crate::files::Files;
use crate::offsets::PhysicalOffset;
use crate::walk::{self, Stop};

/// One key of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub hash: i32,
    /// Of the hash.
    pub slot: u32,
    pub physical: PhysicalOffset,
    pub store_timestamp: i64,
}

pub(crate) struct Intake {
    shape: IndexShape,
    log: Files,
    /// The keys of all messages below were taken.
    next: PhysicalOffset,
    /// Nothing can be read from here on; the next record is looked for.
    lost_from: Option<PhysicalOffset>,
    waiting: VecDeque<Key>,
    topic: TopicHash,
}

impl Intake {
    pub fn new(shape: IndexShape, log: Files, next: PhysicalOffset) -> Self {
        let (waiting, topic) = (VecDeque::new(), TopicHash::default());
        Self { shape, log, next, lost_from: None, waiting, topic }
    }

    /// Takes the keys of a record, if it is the next one. Returns whether there are enough now for entries to be made of them.
    #[inline]
    pub fn collect(&mut self, record: &Brief<'_>, labels: &Labels<'_>) -> bool {
        let physical = PhysicalOffset(record.physical_offset);
        if physical != self.next || self.waiting.len() >= WAITING_MAX {
            return false;
        }
        let store_timestamp = record.store_timestamp;
        let Self { shape, waiting, topic, .. } = self;
        keys::for_each(record, labels, topic, |hash| {
            waiting.push_back(Key { hash, slot: shape.slot_of(hash), physical, store_timestamp })
        });
        self.next = physical.plus(u64::from(record.size));
        (AT_ONCE..2 * AT_ONCE).contains(&self.waiting.len())
    }

    /// As [`Intake::collect`], for the blank that ends a commitlog file.
    pub fn pass_blank(&mut self, at: PhysicalOffset, bytes: u64) {
        if at == self.next {
            self.next = at.plus(bytes);
        }
    }

    /// The first keys, as many as are mostly taken at once.
    pub fn first(&self) -> impl Iterator<Item = &Key> {
        self.waiting.iter().take(2 * AT_ONCE)
    }

    /// The first keys, of which entries are made now.
    pub fn take(&mut self, most: usize) -> impl Iterator<Item = Key> {
        let count = self.waiting.len().min(most);
        self.waiting.drain(..count)
    }

    /// Whether keys of messages below `level` wait.
    pub fn is_due(&self, level: PhysicalOffset) -> bool {
        self.waiting.front().is_some_and(|key| key.physical < level)
    }

    /// Of all messages below the keys were taken out again.
    pub fn taken_to(&self) -> PhysicalOffset {
        self.waiting.front().map_or(self.next, |key| key.physical)
    }

    /// Reads on in the log's files, a bounded stretch. Returns whether there is more below `level`.
    pub fn fetch(&mut self, level: PhysicalOffset) -> Result<bool, MediumError> {
        if self.next < level && self.waiting.is_empty() {
            let mut len = level.since(self.next).min(FETCH_BYTES as u64) as usize;
            loop {
                let left = level.since(self.next).min(self.left_in_file());
                match self.take_records(len)? {
                    Stretch::Whole => break,
                    Stretch::Short { need } if need > len && need as u64 <= left => len = need,
                    Stretch::Short { .. } | Stretch::Bad => {
                        self.pass_over(level)?;
                        break;
                    }
                }
            }
        }
        Ok(self.next < level)
    }

    /// Takes the keys of the records in the next bytes.
    fn take_records(&mut self, len: usize) -> Result<Stretch, MediumError> {
        let mut bytes = vec![0; len];
        let from = self.next;
        let there = self.log.read(from.0 as u64, &mut bytes)?;
        let (next, stop) = walk::records(&bytes[..there], from, self.log.file_bytes(), |record| {
            self.next = PhysicalOffset(record.physical_offset); // Behind a blank, maybe.
            self.collect(record, &Labels::of(record.properties));
            assert!(self.next.0 > record.physical_offset);
        });
        self.next = next;
        Ok(match stop {
            Some(Stop::Short { need }) if next == from => Stretch::Short { need },
            None if next == from => Stretch::Bad,
            Some(Stop::Short { .. }) | None => Stretch::Whole,
            Some(Stop::Bad) => Stretch::Bad,
        })
    }

    /// Nothing can be read here: on to what looks like the next record, if it lies in this stretch of the file; else to the stretch's end,
    /// where one may begin that goes on behind it.
    #[cold]
    fn pass_over(&mut self, level: PhysicalOffset) -> Result<(), MediumError> {
        let bad = self.next;
        let lost_from = *self.lost_from.get_or_insert(bad);
        let left = level.since(bad).min(self.left_in_file()) as usize;
        let mut bytes = vec![0; left.min(FETCH_BYTES)];
        let there = self.log.read(bad.0 as u64, &mut bytes)?;
        let bytes = &bytes[..there];
        let found = (1..there).find(|at| walk::begins_record(&bytes[*at..], bad.plus(*at as u64)));
        if found.is_none() && there == FETCH_BYTES && there < left {
            self.next = bad.plus((there - walk::BEGINNING_BYTES + 1) as u64);
            return Ok(());
        }
        self.next = bad.plus(found.unwrap_or(left) as u64);
        self.lost_from = None;
        log::warn!("no record can be read from {lost_from} to {}: the index lacks their keys", self.next);
        Ok(())
    }

    fn left_in_file(&self) -> u64 {
        self.log.file_bytes() - self.next.0 as u64 % self.log.file_bytes()
    }
}

/// What a stretch of the log was found to be.
enum Stretch {
    /// Records, of which the last may be taken with what follows.
    Whole,
    /// Less than the first record.
    Short { need: usize },
    /// Missing, or no record at some place.
    Bad,
}

/// Keys that wait, at most: what comes beyond is fetched from the log later.
const WAITING_MAX: usize = 1 << 20;
/// Few enough to stay in the processor's cache.
const AT_ONCE: usize = 64;
/// What one step reads of the log to catch up.
const FETCH_BYTES: usize = 1 << 20;
