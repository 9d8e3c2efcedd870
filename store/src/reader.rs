//! Reads what is no longer hot: pulls of consumers that are behind, single messages, searches by time.
//!
//! A reader shares nothing with the writer but marks and files, so there may be several, each on its own thread. Every call
//! is bounded by the limits it is given. What is not yet written out is not looked for here: the shard has it hot.
//! A record that does not say of itself what its queue entry says is passed over and counted, not handed out. Before entries that are missing
//! a pull ends, until the disk thread has made them again or given them up (holes.rs).

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use protocol::record::{RECORD_BYTES_MIN, RecordView, sys_flag};

use crate::by_time::{Boundary, ByTime};
use crate::config::StoreConfig;
use crate::consumequeue::{hole, is_real};
use crate::dispatch::{ENTRY_BYTES, decode_entry};
use crate::error::{MediumError, StoreError};
use crate::files::Files;
use crate::holes::Hole;
use crate::index::query::{IndexEnd, IndexReader, KeyQuery};
use crate::index::{Shared, keys};
use crate::marks::Marks;
use crate::medium::Medium;
use crate::offsets::{LogRange, PhysicalOffset, QueueOffset, Unit};
use crate::pull::{ColdPull, PullLimits};
use crate::read_ahead::{Block, ReadAhead};
use crate::shared::SharedBytes;
use crate::wanted::{Batch, Room, Taken, Wanted};

/// What a query by key found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeysFound {
    /// Records one after the other: the body of the answer.
    pub bytes: Vec<u8>,
    pub messages: u32,
    pub end: IndexEnd,
}

/// Reads a store's files. Made by `ColdStore::new_reader`.
pub struct ColdReader {
    marks: Arc<Marks>,
    log: Files,
    queues: Files,
    /// Times that queue files were taken away as of when `queues` was last looked at.
    emptied_times: u64,
    queue_dir: PathBuf,
    scratch: Vec<u8>,
    /// None: nothing is read ahead.
    ahead: Option<Arc<ReadAhead>>,
    streams: Streams,
    /// None: messageIndexEnable=false.
    index: Option<IndexReader>,
}

impl ColdReader {
    pub(crate) fn new(
        medium: Arc<dyn Medium>,
        marks: Arc<Marks>,
        index: Option<Arc<Shared>>,
        ahead: Option<Arc<ReadAhead>>,
        config: &StoreConfig,
    ) -> Self {
        let index = index.map(|shared| IndexReader::new(Arc::clone(&medium), shared, config));
        let mut log = Files::new(Arc::clone(&medium), config.commitlog_file_bytes);
        log.dir = config.commitlog_dir();
        Self {
            marks,
            log,
            queues: Files::new(medium, config.consumequeue_file_bytes),
            emptied_times: 0,
            queue_dir: config.consumequeue_dir(),
            scratch: Vec::new(),
            ahead,
            streams: Streams::default(),
            index,
        }
    }

    /// The messages of a queue from `offset` on, below `end`, that `wants` their tag code; up to the limits. It stops early
    /// at what is not written out yet: then `next` is hot.
    pub fn read_pull(
        &mut self,
        topic: &str,
        queue_id: i32,
        offsets: Range<QueueOffset>,
        limits: &PullLimits,
        wants: &mut dyn FnMut(i64) -> bool,
    ) -> Result<ColdPull, StoreError> {
        self.turn_to(topic, queue_id);
        let goes_on = self.ahead.is_some() && self.streams.goes_on(topic, queue_id, offsets.start.0);
        let mut pull = ColdPull { next: offsets.start, ..ColdPull::default() };
        let wanted = self.choose((topic, queue_id), offsets, &Room::of(limits, goes_on), wants, &mut pull)?;
        match self.ahead.clone().filter(|_| goes_on && wanted.is_dense()) {
            Some(ahead) => {
                self.take_ahead(&ahead, &wanted, &mut pull)?;
                if !limits.shares || ahead.is_crowded() {
                    pull.bytes = std::mem::take(&mut pull.shared).to_vec();
                }
            }
            None => self.fetch_all(&wanted, &mut pull)?,
        }
        self.streams.note(topic, queue_id, pull.next.0);
        Ok(pull)
    }

    /// Goes through the queue's entries, over its holes too, until there is no room for one more.
    fn choose(
        &mut self,
        (topic, queue_id): (&str, i32),
        offsets: Range<QueueOffset>,
        room: &Room,
        wants: &mut dyn FnMut(i64) -> bool,
        pull: &mut ColdPull,
    ) -> Result<Wanted, StoreError> {
        let written_to = self.marks.written_to();
        let entries_end = offsets.end.0.min(offsets.start.0.saturating_add(i64::from(room.entries)));
        let mut entries = [0; ENTRIES_AT_ONCE * ENTRY_BYTES];
        let mut wanted = Wanted::default();
        while pull.next.0 < entries_end {
            let count = usize::try_from(entries_end - pull.next.0).unwrap_or(0).min(ENTRIES_AT_ONCE);
            let block = &mut entries[..count * ENTRY_BYTES];
            let there = self.queues.read(pull.next.0 as u64 * 20, block)?;
            let (found, _) = block[..there].as_chunks::<ENTRY_BYTES>();
            let taken = match found.is_empty() {
                true => Taken::ToHole,
                false => wanted.take(found, room, written_to, wants, pull),
            };
            match taken {
                Taken::All => {}
                Taken::Enough => break,
                Taken::ToHole => {
                    let Some(behind) = self.behind_hole(pull.next, offsets.end, written_to)? else { break };
                    let offsets = pull.next.0..behind.0;
                    if !offsets.is_empty() && self.is_awaited(Hole { topic: topic.into(), queue_id, offsets })
                    {
                        pull.is_waiting = true;
                        break;
                    }
                    pull.passed_over += (behind.0 - pull.next.0) as u32;
                    pull.next = behind;
                }
            }
        }
        Ok(wanted)
    }

    /// The first entry behind zeros that are a hole: one behind them is written out, so they should have been long before. None:
    /// they are not, or not for certain.
    fn behind_hole(
        &mut self,
        from: QueueOffset,
        end: QueueOffset,
        written_to: PhysicalOffset,
    ) -> Result<Option<QueueOffset>, StoreError> {
        let queues = &mut self.queues;
        let file_entries = (queues.file_bytes() / ENTRY_BYTES as u64) as i64;
        let behind = hole::first_written(from.0, end.0, file_entries, |at, out| queues.read(at, out))?;
        let behind = behind.filter(|(_, unit)| is_real(unit) && unit.end() <= written_to);
        Ok(behind.map(|(at, _)| QueueOffset(at)))
    }

    /// Whether the disk thread may make the entries again. It does nothing any more when something has failed.
    fn is_awaited(&self, hole: Hole) -> bool {
        !self.marks.read_only() && self.marks.holes.meet(hole)
    }

    /// Fills `out` with the log's bytes from `at` on; returns how much there was.
    pub(crate) fn read_log(&mut self, at: PhysicalOffset, out: &mut [u8]) -> Result<usize, MediumError> {
        self.log.read(at.0 as u64, out)
    }

    /// The record that begins at `physical`. `None`: nothing begins there, or it is not written out yet.
    pub fn read_record(&mut self, physical: PhysicalOffset) -> Result<Option<Vec<u8>>, StoreError> {
        let written_to = self.marks.written_to();
        if physical < self.marks.min_physical() || written_to.since(physical) < RECORD_BYTES_MIN as u64 {
            return Ok(None);
        }
        let mut bytes = vec![0; FIRST_READ_BYTES];
        let there = self.log.read(physical.0 as u64, &mut bytes)?;
        bytes.truncate(there);
        let Some(size) = bytes.first_chunk().map(|size| u32::from_be_bytes(*size) as usize) else {
            return Ok(None);
        };
        // `physical` may come from a client, and lie amid a body: memory is taken only for what can be a record, within one file.
        let left_in_file = self.log.file_bytes() - physical.0 as u64 % self.log.file_bytes();
        let place = bytes.get(PHYSICAL_AT..).and_then(|rest| rest.first_chunk());
        if size as u64 > written_to.since(physical).min(left_in_file)
            || place.map(|place| i64::from_be_bytes(*place)) != Some(physical.0)
        {
            return Ok(None);
        }
        if size > there {
            bytes.resize(size, 0);
            let more = self.log.read(physical.0 as u64 + there as u64, &mut bytes[there..])?;
            bytes.truncate(there + more);
        }
        bytes.truncate(size);
        match RecordView::parse(&bytes) {
            Ok(view) if view.physical_offset == physical.0 => Ok(Some(bytes)),
            _ => Ok(None),
        }
    }

    /// The messages that bear a key, newest first, up to the query's `max` and `bytes_max` (passed only by a first message that is
    /// larger); and how new the index is.
    pub fn find_by_key(&mut self, query: &KeyQuery<'_>, bytes_max: usize) -> Result<KeysFound, StoreError> {
        let mut found = KeysFound::default();
        let Some(index) = self.index.take() else { return Ok(found) };
        let mut failure = None;
        let (topic, key) = (query.topic.as_bytes(), query.key.as_bytes());
        let mut last = None;
        let walked = index.find(query, &mut |place| {
            // A message that was indexed twice is one message.
            if found.messages as usize >= query.max || last.replace(place) == Some(place) {
                return (found.messages as usize) < query.max;
            }
            match self.read_record(place) {
                Ok(Some(bytes)) => {
                    let bears = RecordView::parse(&bytes)
                        .is_ok_and(|view| keys::bears(&view, topic, key, query.kind));
                    if bears && found.messages > 0 && found.bytes.len() + bytes.len() > bytes_max {
                        return false;
                    }
                    if bears {
                        found.bytes.extend_from_slice(&bytes);
                        found.messages += 1;
                    }
                }
                Ok(None) => {} // Expired.
                Err(error) => failure = Some(error),
            }
            (found.messages as usize) < query.max && failure.is_none()
        });
        found.end = index.end();
        self.index = Some(index);
        walked?;
        failure.map_or(Ok(found), Err)
    }

    /// The bytes of a range whose place was hot when it was named. `None`: it is not kept any more.
    pub fn read_range(&mut self, range: LogRange) -> Result<Option<Vec<u8>>, StoreError> {
        let end = range.physical.plus(u64::from(range.len));
        if range.physical < self.marks.min_physical() || end > self.marks.written_to() {
            return Ok(None);
        }
        let mut bytes = vec![0; range.len as usize];
        let there = self.log.read(range.physical.0 as u64, &mut bytes)?;
        Ok((there == bytes.len()).then_some(bytes))
    }

    /// By store time, among the messages that are written out. `offsets` are the queue's; nothing before the time gives
    /// their start, nothing after it their end.
    pub fn search_by_time(
        &mut self,
        topic: &str,
        queue_id: i32,
        offsets: Range<QueueOffset>,
        timestamp: i64,
        boundary: Boundary,
    ) -> Result<QueueOffset, StoreError> {
        let by_time = ByTime { timestamp, boundary, now_ms: self.marks.now_ms() };
        let found = by_time.search(offsets.start.0..offsets.end.0, |offset| {
            self.time_from(topic, queue_id, QueueOffset(offset)..offsets.end)
        })?;
        Ok(QueueOffset(found))
    }

    /// The store time of the first message, or where a hole begins of the first behind it; and its offset.
    fn time_from(
        &mut self,
        topic: &str,
        queue_id: i32,
        offsets: Range<QueueOffset>,
    ) -> Result<Option<(i64, i64)>, StoreError> {
        let first = offsets.start.0;
        if let Some(time) = self.time_of(topic, queue_id, first)? {
            return Ok(Some((first, time)));
        }
        let written_to = self.marks.written_to();
        match self.behind_hole(offsets.start, offsets.end, written_to)? {
            Some(behind) if behind.0 > first => {
                Ok(self.time_of(topic, queue_id, behind.0)?.map(|time| (behind.0, time)))
            }
            _ => Ok(None),
        }
    }

    fn time_of(&mut self, topic: &str, queue_id: i32, offset: i64) -> Result<Option<i64>, StoreError> {
        match self.entry(topic, queue_id, QueueOffset(offset))? {
            Some(unit) => self.store_time(unit.physical),
            None => Ok(None),
        }
    }

    /// Makes `queues` those of one queue.
    fn turn_to(&mut self, topic: &str, queue_id: i32) {
        let emptied_times = self.marks.emptied_times();
        if emptied_times != self.emptied_times {
            // A file that we have open may be gone, and another one have its name.
            self.queues.close();
            self.emptied_times = emptied_times;
        }
        self.queues.dir = self.queue_dir.join(topic).join(queue_id.to_string());
    }

    /// The entry at a queue offset; `None` when none is written there.
    pub fn entry(
        &mut self,
        topic: &str,
        queue_id: i32,
        offset: QueueOffset,
    ) -> Result<Option<Unit>, StoreError> {
        self.turn_to(topic, queue_id);
        if !(0..=i64::MAX / ENTRY_BYTES as i64).contains(&offset.0) {
            return Ok(None);
        }
        let mut entry = [0; ENTRY_BYTES];
        let there = self.queues.read(offset.0 as u64 * 20, &mut entry)?;
        let unit = if there == ENTRY_BYTES { decode_entry(&entry) } else { None };
        Ok(unit.filter(|unit| is_real(unit) && unit.end() <= self.marks.written_to()))
    }

    /// The store time of the record at `physical`, without reading its body. `None`: nothing begins there, or it is not written out yet.
    pub fn store_time(&mut self, physical: PhysicalOffset) -> Result<Option<i64>, StoreError> {
        if physical.0 < 0 || physical >= self.marks.written_to() {
            return Ok(None);
        }
        let mut head = [0; STORE_TIME_AT_V6 + 8];
        let there = self.log.read(physical.0 as u64, &mut head)?;
        let word = |at: usize| head[..there].get(at..).and_then(|bytes| bytes.first_chunk::<8>());
        if word(PHYSICAL_AT).map(|place| i64::from_be_bytes(*place)) != Some(physical.0) {
            return Ok(None);
        }
        let flags = head[..there].get(SYS_FLAG_AT..).and_then(|bytes| bytes.first_chunk::<4>());
        let is_v6 = flags.is_some_and(|flags| i32::from_be_bytes(*flags) & sys_flag::BORN_HOST_V6 != 0);
        let time = word(if is_v6 { STORE_TIME_AT_V6 } else { STORE_TIME_AT_V4 });
        Ok(time.map(|time| i64::from_be_bytes(*time)))
    }

    /// Finds records in blocks in memory, and has the blocks behind them fetched.
    fn take_ahead(
        &mut self,
        ahead: &ReadAhead,
        wanted: &Wanted,
        pull: &mut ColdPull,
    ) -> Result<(), StoreError> {
        let mut blocks: Vec<Arc<Block>> = Vec::new();
        let mut touched = 0;
        for (unit, _) in &wanted.units {
            let (mut at, end) = (unit.physical.0 as u64, unit.end().0 as u64);
            while at < end {
                let mut there = blocks.last().map_or(0, |block| touch(block, at, end, &mut touched));
                if there == 0 {
                    let Some(block) = ahead.block(at, end)? else { break };
                    there = touch(&block, at, end, &mut touched);
                    blocks.push(block);
                }
                if there == 0 {
                    break; // Deleted meanwhile.
                }
                at += there as u64;
            }
        }
        std::hint::black_box(touched);
        let mut block = 0;
        for (unit, offset) in &wanted.units {
            match find(&blocks[block.min(blocks.len())..], unit, *offset) {
                Some(nth) => {
                    block += nth;
                    add(&mut pull.shared, &blocks[block..], unit);
                    pull.messages += 1;
                }
                None => pull.passed_over += 1,
            }
        }
        if let Some((last, _)) = wanted.units.last() {
            ahead.want(last.end().0 as u64 - 1, self.streams.blocks_each(ahead.blocks_max()));
        }
        Ok(())
    }

    /// Reads the records wanted, those that lie close together with one read.
    fn fetch_all(&mut self, wanted: &Wanted, pull: &mut ColdPull) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        for (unit, offset) in &wanted.units {
            if !batch.takes(unit) {
                self.fetch(&mut batch, pull)?;
            }
            batch.units.push((*unit, *offset));
        }
        self.fetch(&mut batch, pull)
    }

    /// Reads a batch with one read and appends its records to the pull.
    fn fetch(&mut self, batch: &mut Batch, pull: &mut ColdPull) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (batch.units.first(), batch.units.last()) else { return Ok(()) };
        let start = first.0.physical;
        let span = last.0.end().since(start) as usize;
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(span, 0);
        let there = self.log.read(start.0 as u64, &mut scratch)?;
        for (unit, offset) in batch.units.drain(..) {
            let at = unit.physical.since(start) as usize;
            match scratch[..there].get(at..at + unit.size as usize) {
                Some(record) if is_of(record, &unit, offset) => {
                    pull.bytes.extend_from_slice(record);
                    pull.messages += 1;
                }
                _ => pull.passed_over += 1,
            }
        }
        if scratch.capacity() <= SCRATCH_BYTES_KEPT {
            self.scratch = scratch;
        }
        Ok(())
    }
}

/// How much of `at..end` a block has. Its first and last bytes are looked at, all records' one after the other: they come from memory
/// together then, instead of each when its record is parsed.
fn touch(block: &Block, at: u64, end: u64, touched: &mut u8) -> usize {
    let there = block.bytes(at, (end - at) as usize);
    *touched ^= there.first().unwrap_or(&0) ^ there.last().unwrap_or(&0);
    there.len()
}

/// Which of the blocks the record begins in, if it is the one that the queue's entry says.
fn find(blocks: &[Arc<Block>], unit: &Unit, offset: QueueOffset) -> Option<usize> {
    let (at, len) = (unit.physical.0 as u64, unit.size as usize);
    let (nth, first) =
        blocks.iter().map(|block| block.bytes(at, len)).enumerate().find(|(_, bytes)| !bytes.is_empty())?;
    if first.len() == len {
        return is_of(first, unit, offset).then_some(nth);
    }
    let mut whole = first.to_vec();
    for block in &blocks[nth + 1..] {
        whole.extend_from_slice(block.bytes(at + whole.len() as u64, len - whole.len()));
    }
    is_of(&whole, unit, offset).then_some(nth)
}

/// Adds a record that begins in the first of the blocks.
fn add(shared: &mut SharedBytes, blocks: &[Arc<Block>], unit: &Unit) {
    let (mut at, end) = (unit.physical.0 as u64, unit.end().0 as u64);
    for block in blocks {
        let there = block.bytes(at, (end - at) as usize).len();
        if there > 0 {
            shared.push(block, at, there);
            at += there as u64;
        }
        if at == end {
            return;
        }
    }
}

/// Whether a record is the one that the queue's entry says.
fn is_of(record: &[u8], unit: &Unit, offset: QueueOffset) -> bool {
    RecordView::parse(record).is_ok_and(|view| {
        view.physical_offset == unit.physical.0 && view.queue_offset == offset.0 && view.size() == unit.size
    })
}

/// Queues that are read on and on.
#[derive(Default)]
struct Streams {
    /// Where the last pull of a queue ended.
    ends: HashMap<u64, i64>,
    /// The queues of the last pulls.
    recent: Vec<u64>,
    active: usize,
}

impl Streams {
    fn goes_on(&self, topic: &str, queue_id: i32, offset: i64) -> bool {
        self.ends.get(&key(topic, queue_id)) == Some(&offset)
    }

    fn note(&mut self, topic: &str, queue_id: i32, end: i64) {
        if self.ends.len() >= STREAMS_MAX {
            self.ends.clear(); // Each of them begins again with a pull that reads no more than it was asked for.
        }
        let key = key(topic, queue_id);
        self.ends.insert(key, end);
        self.recent.push(key);
        if self.recent.len() == RECENT_PULLS {
            self.recent.sort_unstable();
            self.active = self.recent.chunk_by(|a, b| a == b).count();
            self.recent.clear();
        }
    }

    /// How many blocks each of them may have ahead when there are so many in all: the same for everybody.
    fn blocks_each(&self, blocks_max: usize) -> usize {
        (blocks_max / 2 / self.active.max(1)).clamp(1, BLOCKS_AHEAD_MAX)
    }
}

fn key(topic: &str, queue_id: i32) -> u64 {
    let mut hasher = DefaultHasher::new();
    (topic, queue_id).hash(&mut hasher);
    hasher.finish()
}

const PHYSICAL_AT: usize = 28;
const SYS_FLAG_AT: usize = 36;
const STORE_TIME_AT_V4: usize = 56;
const STORE_TIME_AT_V6: usize = 68;

const ENTRIES_AT_ONCE: usize = 256;
/// Enough for most messages.
const FIRST_READ_BYTES: usize = 4096;
const RECENT_PULLS: usize = 64;
const STREAMS_MAX: usize = 65_536;
/// Enough for the disk's full speed.
const BLOCKS_AHEAD_MAX: usize = 4;
const SCRATCH_BYTES_KEPT: usize = 1 << 20;
