//! The shard's half of the store: append, look up, read what is hot. Never blocks, never waits for a disk.
//!
//! ```text
//! append --> [hot log segments] --ColdStore::step--> commitlog/, consumequeue/
//!    '-----> [hot units]             (cold thread)        '--> ColdReader: what is no longer hot
//! ```
//!
//! Appending allocates nothing and makes no system call. Implements D-1, D-4 and D-5 (docs/PROMISES.md).

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use protocol::batch;
use protocol::properties;
use protocol::record::{self, BLANK_BYTES, RecordDraft, RecordView, Stamp};

use crate::arena::HotWriter;
use crate::config::{FlushMode, StoreConfig};
use crate::crc_copy;
use crate::error::AppendError;
use crate::holes::Mended;
use crate::latency::DiskTimes;
use crate::marks::{Marks, Removed};
use crate::offsets::{LogRange, PhysicalOffset, QueueIndex, QueueOffset, Unit};
use crate::units::{HotUnits, Units};

/// Where a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub physical: PhysicalOffset,
    /// Bytes of the record.
    pub size: u32,
    /// Its number in the queue; 0 for a message that gets none (prepared or rolled back).
    pub queue_offset: QueueOffset,
}

impl Appended {
    /// What `synced_to` must reach for this message to survive a power cut.
    pub fn end(&self) -> PhysicalOffset {
        self.physical.plus(u64::from(self.size))
    }
}

/// What lies at a queue offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitAt {
    Hot(Unit),
    /// On disk only: ask the cold side.
    NotHot,
    /// Below `min` or at `max` and above.
    None,
}

/// The shard's half of an open store. Dropping it is how the shard says that it has stopped appending.
pub struct Store {
    hot: HotWriter,
    marks: Arc<Marks>,
    names: HashMap<Box<str>, Vec<(i32, QueueIndex)>>,
    queues: Vec<QueueName>,
    hot_units: Vec<HotUnits>,
    units: Units,
    flush: FlushMode,
    commitlog_file_bytes: u64,
    /// End of the commitlog file that the log's end is in: above it, always. Kept, since a division costs as much as half a record.
    file_end: PhysicalOffset,
    record_bytes_max: usize,
    /// What the records of a batch share. Stays warm.
    template: Vec<u8>,
}

struct QueueName {
    topic: Box<str>,
    queue_id: i32,
    min: i64,
}

/// One queue as recovery found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueFound {
    pub topic: String,
    pub queue_id: i32,
    pub min: QueueOffset,
    /// The offset the next message gets.
    pub max: QueueOffset,
}

impl Store {
    pub(crate) fn new(hot: HotWriter, marks: Arc<Marks>, found: &[QueueFound], config: &StoreConfig) -> Self {
        let file_bytes = config.commitlog_file_bytes;
        let file_end = PhysicalOffset(((hot.end().0 as u64 / file_bytes + 1) * file_bytes) as i64);
        let mut store = Self {
            hot,
            marks,
            names: HashMap::new(),
            queues: Vec::new(),
            hot_units: Vec::new(),
            units: Units::new(config.unit_bytes()),
            flush: config.flush,
            commitlog_file_bytes: file_bytes,
            file_end,
            record_bytes_max: config.record_bytes_limit(),
            template: Vec::new(),
        };
        for queue in found {
            let index = store.queue(&queue.topic, queue.queue_id);
            store.queues[index.as_usize()].min = queue.min.0;
            store.hot_units[index.as_usize()] = HotUnits::new(queue.max.0);
        }
        store
    }

    /// The queue's number in this store. A new name is interned, which allocates; afterwards only a look-up, which a desk
    /// saves by keeping the number.
    pub fn queue(&mut self, topic: &str, queue_id: i32) -> QueueIndex {
        if let Some(index) = self.find_queue(topic, queue_id) {
            return index;
        }
        let index = QueueIndex(u32::try_from(self.queues.len()).expect("fewer than 2^32 queues"));
        self.queues.push(QueueName { topic: topic.into(), queue_id, min: 0 });
        self.hot_units.push(HotUnits::new(0));
        self.names.entry(topic.into()).or_default().push((queue_id, index));
        index
    }

    /// As [`Store::queue`], but interns nothing: `None` for a queue that never had a message here.
    pub fn find_queue(&self, topic: &str, queue_id: i32) -> Option<QueueIndex> {
        let queues = self.names.get(topic)?;
        queues.iter().find(|(id, _)| *id == queue_id).map(|(_, index)| *index)
    }

    /// Topic and queue id of an interned queue.
    pub fn queue_name(&self, queue: QueueIndex) -> (&str, i32) {
        let name = &self.queues[queue.as_usize()];
        (&name.topic, name.queue_id)
    }

    /// Every interned queue.
    pub fn queues(&self) -> impl Iterator<Item = QueueIndex> + use<> {
        (0..self.queues.len() as u32).map(QueueIndex)
    }

    /// Whether one append of up to `bytes` (a record or a whole batch as encoded; a request's length plus 1 KiB is a safe
    /// guess for a single message) finds room. `false`: stop reading from sockets until the cold side has caught up. A
    /// read-only log has room: it answers its error at once.
    #[inline]
    pub fn has_room(&self, bytes: usize) -> bool {
        let chunks = Units::chunks_for(bytes / record::RECORD_BYTES_MIN);
        let room_here = bytes + BLANK_BYTES <= self.hot.left() && bytes + BLANK_BYTES <= self.file_left();
        let has_units = || {
            // The disk's mark lies in another core's cache: looked at when there is nothing free already.
            self.units.has_free(chunks, PhysicalOffset(0)) || self.units.has_free(chunks, self.kept_to())
        };
        (room_here && has_units()) || self.has_room_slow(bytes, chunks)
    }

    /// Appends one message. Fills in its queue offset, its place and `now_ms` as its store time; when this returns, it
    /// survives kill -9. `tags_code` goes into the consume queue entry: `properties::tags_code`, or for the schedule topic
    /// `now_ms` plus the delay ([`crate::entry_tags_code`] is the rule that recovery follows).
    #[inline]
    pub fn append(
        &mut self,
        queue: QueueIndex,
        draft: &RecordDraft<'_>,
        tags_code: i64,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        let size = draft.encoded_len();
        self.reserve(size, 1, draft.fits())?;
        let appended = self.encode(queue, draft, size, now_ms);
        self.hot.publish(size);
        if draft.is_queued() {
            let unit = Unit { physical: appended.physical, tags_code, size: appended.size };
            self.units.push(queue.0, unit, &mut self.hot_units);
        }
        Ok(appended)
    }

    /// Appends the messages of a batch body (320) with consecutive queue offsets: all of them or none, also across a kill.
    /// `common` holds what they share; flag, body and properties come from inside. The place of each goes to `places`
    /// (cleared first); the first one is returned.
    pub fn append_batch(
        &mut self,
        queue: QueueIndex,
        common: &RecordDraft<'_>,
        messages: batch::Messages<'_>,
        now_ms: i64,
        places: &mut Vec<PhysicalOffset>,
    ) -> Result<BatchAppended, BatchAppendError> {
        places.clear();
        self.check_name(queue, common);
        let shared = common.encoded_len();
        if !common.fits() || !common.is_queued() {
            return Err(AppendError::TooBig { size: shared }.into());
        }
        let (mut total, mut count) = (0_usize, 0_usize);
        for message in messages.clone() {
            let message = message.map_err(BatchAppendError::Batch)?;
            total += shared + message.body.len() + message.properties.len();
            count += 1;
        }
        let first_offset = self.offsets(queue).end;
        self.reserve(total, count, true)?;
        let first = self.hot.end();
        let template = common.template(&mut self.template, now_ms);
        let (mut rest, mut physical) = (self.hot.tail(total), first);
        for message in messages {
            let message = message.expect("all of them were looked at above");
            let (record, behind) = rest.split_at_mut(template.encoded_len(&message));
            let size = record.len() as u32;
            let queue_offset = self.hot_units[queue.as_usize()].next;
            template.encode_with(record, &message, queue_offset, physical.0, crc_copy::copy);
            places.push(physical);
            // Nobody looks before all of it is published.
            let unit = Unit { physical, tags_code: properties::tags_code(message.properties), size };
            self.units.push(queue.0, unit, &mut self.hot_units);
            rest = behind;
            physical = unit.end();
        }
        self.hot.publish(total);
        Ok(BatchAppended { physical: first, bytes: total, count, first_offset })
    }

    /// First offset kept, and the one the next message gets.
    #[inline]
    pub fn offsets(&self, queue: QueueIndex) -> Range<QueueOffset> {
        let index = queue.as_usize();
        QueueOffset(self.queues[index].min)..QueueOffset(self.hot_units[index].next)
    }

    /// The entries from `offset` on that are hot and lie together (at most 64). Empty: not hot, or at the end. A pull
    /// walks from run to run.
    #[inline]
    pub fn units(&self, queue: QueueIndex, offset: QueueOffset) -> &[Unit] {
        self.units.run(queue.0, &self.hot_units[queue.as_usize()], offset.0)
    }

    /// What lies at one offset.
    #[inline]
    pub fn unit(&self, queue: QueueIndex, offset: QueueOffset) -> UnitAt {
        if let Some(unit) = self.units(queue, offset).first() {
            return UnitAt::Hot(*unit);
        }
        if self.offsets(queue).contains(&offset) { UnitAt::NotHot } else { UnitAt::None }
    }

    /// The first offset whose entry is hot; equal to `offsets().end` when none is.
    pub fn first_hot(&self, queue: QueueIndex) -> QueueOffset {
        QueueOffset(self.hot_units[queue.as_usize()].first)
    }

    /// The bytes of a record, or of a run of records within one hot segment. `None`: no longer hot, ask the cold side.
    #[inline]
    pub fn bytes(&self, physical: PhysicalOffset, len: u32) -> Option<&[u8]> {
        self.hot.bytes(physical, len as usize)
    }

    /// As [`Store::bytes`].
    pub fn range(&self, range: LogRange) -> Option<&[u8]> {
        self.bytes(range.physical, range.len)
    }

    /// The record at `physical` if it is hot. `physical` may come from a client: anything but a record's start is `None`.
    pub fn record_at(&self, physical: PhysicalOffset) -> Option<RecordView<'_>> {
        let head = self.hot.bytes(physical, BLANK_BYTES)?;
        let size = u32::from_be_bytes(*head.first_chunk()?);
        let view = RecordView::parse(self.bytes(physical, size)?).ok()?;
        (view.physical_offset == physical.0).then_some(view)
    }

    /// The end of the log: everything below survives kill -9.
    #[inline]
    pub fn published(&self) -> PhysicalOffset {
        self.hot.end()
    }

    /// Everything below survives a power cut.
    #[inline]
    pub fn synced_to(&self) -> PhysicalOffset {
        self.marks.synced_to()
    }

    /// Everything below is in the files, synced or not.
    pub fn written_to(&self) -> PhysicalOffset {
        self.marks.written_to()
    }

    /// First byte of the log that is kept.
    pub fn min_physical(&self) -> PhysicalOffset {
        self.marks.min_physical()
    }

    /// First byte that `bytes` can still give.
    pub fn hot_start(&self) -> PhysicalOffset {
        self.hot.start()
    }

    /// Whether a failed write has ended all appending.
    pub fn is_read_only(&self) -> bool {
        self.marks.read_only()
    }

    /// What the disk takes for writes, syncs and reads of the log.
    pub fn disk_times(&self) -> &DiskTimes {
        &self.marks.times
    }

    /// Whether the disk is too full to append.
    pub fn is_disk_full(&self) -> bool {
        self.marks.disk_full()
    }

    /// Old files go in the next rounds of cleaning whatever the hour.
    pub fn ask_to_clean(&self) {
        self.marks.ask_to_clean();
    }

    /// The files of this queue go if none of its messages is left; it goes on at its offset all the same.
    pub fn ask_to_remove_emptied(&self, queue: QueueIndex) {
        let (topic, queue_id) = self.queue_name(queue);
        self.marks.emptied.push((topic.into(), queue_id));
    }

    /// How many of those wait to be looked at.
    pub fn asked_to_remove(&self) -> usize {
        self.marks.emptied.len()
    }

    /// What retention has deleted.
    pub fn removed(&self) -> Removed {
        self.marks.removed()
    }

    /// What became of entries that were missing amid queues.
    pub fn mended(&self) -> Mended {
        self.marks.holes.mended()
    }

    /// Takes over where queues begin now that old messages were deleted. Cheap when there is no news.
    pub fn take_news(&mut self) {
        while let Some(news) = self.marks.new_mins.pop() {
            if let Some(index) = self.find_queue(&news.topic, news.queue_id) {
                let min = &mut self.queues[index.as_usize()].min;
                *min = (*min).max(news.min);
            }
        }
    }

    /// What is below needs no hot entry: it is in the files, and has reached its level. So an entry that is not hot is one
    /// that consumers may see.
    fn kept_to(&self) -> PhysicalOffset {
        match self.flush {
            FlushMode::Async => self.marks.written_to(),
            FlushMode::Sync => self.marks.synced_to(),
        }
    }

    /// Makes sure that `total` bytes in a row and `count` entries fit, going on in the next file or segment if need be.
    #[inline]
    fn reserve(&mut self, total: usize, count: usize, fits: bool) -> Result<(), AppendError> {
        if let Some(refusal) = self.marks.refusal() {
            return Err(refusal);
        }
        if total > self.record_bytes_max || !fits {
            return Err(AppendError::TooBig { size: total });
        }
        let chunks = Units::chunks_for(count);
        if !self.units.has_free(chunks, PhysicalOffset(0)) {
            self.make_units_free(chunks)?;
        }
        if total > self.hot.left() || total + BLANK_BYTES > self.file_left() {
            self.go_on(total)?;
        }
        Ok(())
    }

    #[cold]
    fn make_units_free(&mut self, chunks: usize) -> Result<(), AppendError> {
        let persisted = self.kept_to();
        // A few more than needed, so that this is not done for every message.
        if self.units.make_free(chunks + UNIT_CHUNKS_AHEAD, persisted, &mut self.hot_units)
            || self.units.has_free(chunks, PhysicalOffset(0))
        {
            return Ok(());
        }
        Err(AppendError::NoRoom)
    }

    /// Ends the commitlog file with a blank, or the hot segment, or both. Writes nothing unless all of it fits.
    #[cold]
    fn go_on(&mut self, total: usize) -> Result<(), AppendError> {
        if self.segments_needed(total) > self.hot.free_segments() {
            return Err(AppendError::NoRoom);
        }
        let file_left = self.file_left();
        if total + BLANK_BYTES > file_left {
            if file_left > self.hot.left() {
                assert!(self.hot.roll());
            }
            // D-4: a record never crosses a commitlog file. The blank covers the rest of it here as on disk, so that a
            // place in the log is a place in a segment.
            let blank = record::blank(file_left as u32);
            self.hot.tail(BLANK_BYTES).copy_from_slice(&blank);
            self.hot.publish(file_left);
            self.file_end = self.file_end.plus(self.commitlog_file_bytes);
        }
        if total > self.hot.left() {
            assert!(self.hot.roll());
        }
        Ok(())
    }

    #[cold]
    fn has_room_slow(&self, bytes: usize, chunks: usize) -> bool {
        if self.marks.refusal().is_some() || bytes > self.record_bytes_max {
            return true; // Will be refused, not delayed.
        }
        // One segment more than needed: what the desks append besides (op messages, delayed ones) finds room too.
        self.units.has_free(chunks, self.kept_to()) && self.segments_needed(bytes) < self.hot.free_segments()
    }

    /// How many segments `go_on` takes for a record of `total` bytes.
    fn segments_needed(&self, total: usize) -> usize {
        let (mut left, mut segments) = (self.hot.left(), 0);
        let file_left = self.file_left();
        let blank = if total + BLANK_BYTES > file_left { file_left } else { 0 };
        for part in [blank, total] {
            if part > left {
                left = self.hot.segment_bytes();
                segments += 1;
            }
            left -= part;
        }
        segments
    }

    /// Bytes to the end of the commitlog file that the log's end is in.
    #[inline]
    fn file_left(&self) -> usize {
        self.file_end.since(self.hot.end()) as usize
    }

    /// Writes a record behind the log's end; nobody sees it yet.
    #[inline]
    fn encode(&mut self, queue: QueueIndex, draft: &RecordDraft<'_>, size: usize, now_ms: i64) -> Appended {
        self.check_name(queue, draft);
        let next = self.hot_units[queue.as_usize()].next;
        let queue_offset = if draft.is_queued() { next } else { 0 };
        let physical = self.hot.end();
        let stamp = Stamp { queue_offset, physical_offset: physical.0, store_timestamp: now_ms };
        draft.encode_with(self.hot.tail(size), &stamp, crc_copy::copy);
        Appended { physical, size: size as u32, queue_offset: QueueOffset(queue_offset) }
    }

    #[inline]
    fn check_name(&self, queue: QueueIndex, draft: &RecordDraft<'_>) {
        let name = &self.queues[queue.as_usize()];
        assert!(name.queue_id == draft.queue_id);
        assert!(name.topic.as_bytes() == draft.topic);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.marks.set_writer_gone();
    }
}

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchAppended {
    pub physical: PhysicalOffset,
    pub bytes: usize,
    pub count: usize,
    /// Queue offset of the first message.
    pub first_offset: QueueOffset,
}

impl BatchAppended {
    /// What `synced_to` must reach for all of it to survive a power cut.
    pub fn end(&self) -> PhysicalOffset {
        self.physical.plus(self.bytes as u64)
    }
}

/// Why a batch was not appended: nothing of it is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchAppendError {
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Batch(batch::BatchError),
}

const UNIT_CHUNKS_AHEAD: usize = 8;
