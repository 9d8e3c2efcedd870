//! What readers of the index see: the full files by their headers, and the one that is being filled, slots and all.
//!
//! ```text
//! full: | name, header | name, header | ..      current: | name | header | slots | tail: entries not in the file |
//!                                                        '- settled: what queries and files may know of it
//! ```
//!
//! One short lock lies over it, which who writes the index takes as well. No file is read here, and none written.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::format::{self, IndexEntry, IndexHeader};
use super::intake::Key;
use super::tail::{self, Tail};
use crate::arena;
use crate::config::IndexShape;
use crate::config::StoreConfig;
use crate::error::MediumError;
use crate::medium::MediumFile;

/// The state, for its writer and its readers.
#[derive(Default)]
pub(crate) struct Shared(Mutex<State>);

impl Shared {
    pub fn new(state: State) -> Self {
        Self(Mutex::new(state))
    }

    /// What is in here is whole whenever the lock is free.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All files; the one that is being filled is apart.
#[derive(Default)]
pub(crate) struct State {
    pub full: Vec<(String, IndexHeader)>,
    pub current: Option<Current>,
}

impl State {
    /// The newest file and its count.
    pub fn last(&self) -> Option<(String, i32)> {
        let current = self.current.as_ref().map(|current| (current.name.clone(), current.settled.count));
        current.or_else(|| self.full.last().map(|(name, header)| (name.clone(), header.count)))
    }

    /// The name of the next file, and the header that it begins with.
    pub fn next_file(&self, local_ms: i64) -> (String, IndexHeader) {
        let mut name = format::name_of_time(local_ms);
        let mut header = IndexHeader { count: 1, ..IndexHeader::default() };
        if let Some((last, of_last)) = self.full.last() {
            header.begin_timestamp = of_last.end_timestamp;
            header.end_timestamp = of_last.end_timestamp;
            header.begin_physical = of_last.end_physical;
            header.end_physical = of_last.end_physical;
            if name <= *last {
                name = format::name_after(last).unwrap_or(name);
            }
        }
        (name, header)
    }

    /// Takes out the oldest full file if its messages lie before `log_min`, but not the newest of all files.
    pub fn take_expired(&mut self, log_min: i64) -> Option<(String, IndexHeader)> {
        let others = usize::from(self.current.is_none());
        let is_expired = self.full.first().is_some_and(|(_, header)| header.end_physical < log_min);
        (is_expired && self.full.len() > others).then(|| self.full.remove(0))
    }

    /// It could not be removed.
    pub fn put_back(&mut self, expired: (String, IndexHeader)) {
        self.full.insert(0, expired);
    }
}

/// The file that is being filled.
pub(crate) struct Current {
    pub name: String,
    shape: IndexShape,
    /// Of all entries.
    pub header: IndexHeader,
    /// Of those whose messages have reached their level: no other is in the file, or told to anybody.
    pub settled: IndexHeader,
    pub slots: Vec<u32>,
    pub tail: Tail,
}

impl Current {
    /// `file`: what is there already.
    pub fn new(
        name: String,
        header: IndexHeader,
        slots: Vec<u32>,
        config: &StoreConfig,
        file: Option<&dyn MediumFile>,
    ) -> Result<Self, MediumError> {
        let shape = config.index_shape;
        let at = shape.entry_at(header.next_number());
        let mut lead = vec![0; tail::lead_of(at)];
        if let Some(file) = file {
            file.read_at(at - lead.len() as u64, &mut lead)?;
        }
        let tail = Tail::new(at, &lead, config.index_piece_bytes);
        Ok(Self { name, shape, header, settled: header, slots, tail })
    }

    /// How many more entries there may be before some are written.
    pub fn room(&self) -> usize {
        self.header.entries_left(self.shape).min(self.tail.room())
    }

    pub fn is_full(&self) -> bool {
        self.header.is_full(self.shape)
    }

    /// Where the settled entries end in the file.
    pub fn settled_to(&self) -> u64 {
        self.shape.entry_at(self.settled.next_number())
    }

    /// Asks for what `insert` will look at: the slots are a table larger than most caches, and keys lie all over it.
    #[inline]
    pub fn prefetch(&self, key: &Key) {
        arena::prefetch(&self.slots[key.slot as usize]);
    }

    #[inline]
    pub fn insert(&mut self, key: &Key) {
        let header = &mut self.header;
        let slot = &mut self.slots[key.slot as usize];
        let since = match header.begin_timestamp {
            ..=0 => 0,
            begin => (key.store_timestamp - begin) / 1000,
        };
        let entry = IndexEntry {
            hash: key.hash,
            physical: key.physical.0,
            seconds: since.clamp(0, i64::from(i32::MAX)) as i32,
            previous: *slot as i32,
        };
        self.tail.push(&entry);
        header.used_slots += i32::from(*slot == 0);
        *slot = header.next_number();
        if header.count == 1 {
            header.begin_timestamp = key.store_timestamp;
            header.begin_physical = key.physical.0;
        }
        header.count += 1;
        header.end_timestamp = key.store_timestamp;
        header.end_physical = key.physical.0;
    }
}
