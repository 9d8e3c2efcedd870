//! Looks keys up: the places of the messages that may bear a key, newest first.
//!
//! The walk goes from a slot's newest entry to ever older ones, in the newest file first, and ends at the limits of the question.
//! It shares one short lock with the writer; entries are read from the files without it.

use std::path::PathBuf;
use std::sync::Arc;

use super::dir_of;
use super::format::{ENTRY_BYTES, IndexEntry, IndexHeader};
use super::hash::KeyKind;
use super::hash::TopicHash;
use super::state::Shared;
use super::tail::TailView;
use crate::config::IndexShape;
use crate::config::StoreConfig;
use crate::error::MediumError;
use crate::medium::{Medium, MediumFile};
use crate::offsets::PhysicalOffset;

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub struct KeyQuery<'a> {
    pub topic: &'a str,
    pub key: &'a str,
    pub kind: KeyKind,
    /// Most messages.
    pub max: usize,
    /// First and last store time, in ms.
    pub begin: i64,
    pub end: i64,
}

/// How new the index is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexEnd {
    pub timestamp: i64,
    pub physical: i64,
}

pub(crate) struct IndexReader {
    medium: Arc<dyn Medium>,
    dir: PathBuf,
    shape: IndexShape,
    shared: Arc<Shared>,
}

/// One file as it was when the question came.
struct Seen {
    name: String,
    header: IndexHeader,
    /// Of the file that is being filled: the newest entry of the slot, and what is not in the file yet.
    current: Option<(u32, TailView)>,
}

impl IndexReader {
    pub fn new(medium: Arc<dyn Medium>, shared: Arc<Shared>, config: &StoreConfig) -> Self {
        Self { medium, dir: dir_of(&config.root), shape: config.index_shape, shared }
    }

    pub fn end(&self) -> IndexEnd {
        let state = self.shared.lock();
        let last = state
            .current
            .as_ref()
            .map(|current| current.settled)
            .or(state.full.last().map(|(_, header)| *header));
        last.map_or(IndexEnd::default(), |last| IndexEnd {
            timestamp: last.end_timestamp,
            physical: last.end_physical,
        })
    }

    /// Hands out places until `take` has enough and says `false`, or there are no more.
    pub fn find(
        &self,
        query: &KeyQuery<'_>,
        take: &mut dyn FnMut(PhysicalOffset) -> bool,
    ) -> Result<(), MediumError> {
        let hash = TopicHash::of(query.topic.as_bytes()).with(query.key.as_bytes(), query.kind);
        let mut steps = STEPS_MAX;
        for seen in self.seen(hash) {
            if seen.header.count > 1
                && seen.header.overlaps(query.begin, query.end)
                && !self.walk(&seen, hash, query, &mut steps, take)?
            {
                break;
            }
            if seen.header.begin_timestamp < query.begin {
                break;
            }
        }
        Ok(())
    }

    /// All files, newest first.
    fn seen(&self, hash: i32) -> Vec<Seen> {
        let state = self.shared.lock();
        let current = state.current.iter().map(|current| Seen {
            name: current.name.clone(),
            header: current.settled,
            current: Some((current.slots[self.shape.slot_of(hash) as usize], current.tail.view())),
        });
        let full = state.full.iter().rev();
        let full = full.map(|(name, header)| Seen { name: name.clone(), header: *header, current: None });
        current.chain(full).collect()
    }

    /// `false`: enough.
    fn walk(
        &self,
        seen: &Seen,
        hash: i32,
        query: &KeyQuery<'_>,
        steps: &mut u32,
        take: &mut dyn FnMut(PhysicalOffset) -> bool,
    ) -> Result<bool, MediumError> {
        let Some(file) = self.medium.open(&self.dir.join(&seen.name))? else { return Ok(true) };
        let mut entries = Entries { shape: self.shape, file, seen, block: Vec::new(), block_from: 0 };
        let mut number = match &seen.current {
            Some((newest, _)) => entries.settled(*newest)?,
            None => entries.slot(self.shape.slot_of(hash))?,
        };
        while number > 0 && number < seen.header.next_number() {
            let Some(left) = steps.checked_sub(1) else {
                log::warn!("a query by key was ended after {STEPS_MAX} entries");
                return Ok(false);
            };
            *steps = left;
            let Some(entry) = entries.entry(number)? else { break };
            let time = seen.header.time_of(&entry);
            if time < query.begin {
                break;
            }
            if entry.hash == hash && time <= query.end && !take(PhysicalOffset(entry.physical)) {
                return Ok(false);
            }
            // A chain only goes back; a damaged one must not go in circles.
            match u32::try_from(entry.previous) {
                Ok(previous) if previous < number => number = previous,
                _ => break,
            }
        }
        Ok(true)
    }
}

/// Reads entries of one file, a block at a time.
struct Entries<'a> {
    shape: IndexShape,
    file: Box<dyn MediumFile>,
    seen: &'a Seen,
    block: Vec<u8>,
    block_from: u32,
}

impl Entries<'_> {
    fn slot(&mut self, slot: u32) -> Result<u32, MediumError> {
        let mut bytes = [0; 4];
        self.file.read_at(self.shape.slot_at(slot), &mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn entry(&mut self, number: u32) -> Result<Option<IndexEntry>, MediumError> {
        let at = self.shape.entry_at(number);
        let tail =
            self.seen.current.as_ref().map(|(_, tail)| tail).filter(|tail| tail.start() < at + ENTRY_BYTES);
        let in_file = match tail {
            Some(tail) if tail.start() <= at => Some([0; ENTRY_BYTES as usize]),
            _ => self.in_file(number)?,
        };
        let Some(mut entry) = in_file else { return Ok(None) };
        if let Some(tail) = tail {
            tail.lay_over(at, &mut entry);
        }
        Ok(Some(IndexEntry::decode(&entry)))
    }

    /// The newest entry of a chain that has reached its level: those above are on their way.
    fn settled(&mut self, mut number: u32) -> Result<u32, MediumError> {
        while number >= self.seen.header.next_number() {
            let previous = self.entry(number)?.and_then(|entry| u32::try_from(entry.previous).ok());
            number = previous.filter(|previous| *previous < number).unwrap_or(0);
        }
        Ok(number)
    }

    fn in_file(&mut self, number: u32) -> Result<Option<[u8; ENTRY_BYTES as usize]>, MediumError> {
        let from = number - number % BLOCK_ENTRIES;
        if self.block.is_empty() || self.block_from != from {
            self.block.resize(BLOCK_ENTRIES as usize * ENTRY_BYTES as usize, 0);
            let there = self.file.read_at(self.shape.entry_at(from), &mut self.block)?;
            self.block.truncate(there);
            self.block_from = from;
        }
        Ok(self.block.as_chunks().0.get((number - from) as usize).copied())
    }
}

const BLOCK_ENTRIES: u32 = 200;
/// Entries looked at for one question.
const STEPS_MAX: u32 = 1 << 20;
