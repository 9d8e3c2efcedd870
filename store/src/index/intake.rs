//! Keys on their way to become entries: of records as they are written out, and of what the index has missed, from the log's files.
//!
//! ```text
//! log:   .. made entries of | keys collected ...... | next: what follows is taken from records, or fetched ..
//! ```
//!
//! Every part of the log is taken once, in its order. Where no entries can be made the keys wait, up to a limit; beyond it nothing is
//! taken, and fetched later.

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
    waiting: VecDeque<Key>,
    topic: TopicHash,
}

impl Intake {
    pub fn new(shape: IndexShape, log: Files, next: PhysicalOffset) -> Self {
        Self { shape, log, next, waiting: VecDeque::new(), topic: TopicHash::default() }
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
                match self.take_records(len)? {
                    Stretch::Whole => break,
                    Stretch::Short { need } if need > len && level.since(self.next) >= need as u64 => {
                        len = need
                    }
                    Stretch::Short { .. } | Stretch::Bad => {
                        self.pass_over(level);
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

    /// Nothing can be read here: on to the next commitlog file.
    #[cold]
    fn pass_over(&mut self, level: PhysicalOffset) {
        let file_bytes = self.log.file_bytes();
        let end = PhysicalOffset((self.next.0 as u64 / file_bytes + 1).saturating_mul(file_bytes) as i64);
        let to = end.min(level);
        log::warn!("no record can be read at {}: the index lacks the keys up to {to}", self.next);
        self.next = to;
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
