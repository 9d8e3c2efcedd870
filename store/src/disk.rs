//! All files of the store together: what recovery repairs and the write-out then goes on with.

use protocol::record::{self, RecordError, RecordView, Stamp};

use crate::arena::{self, Pending};
use crate::brief::{self, Brief, Labels, Unit as LogUnit};
use crate::checkpoint::Checkpoint;
use crate::commitlog::LogFiles;
use crate::consumequeue::{Dispatched, QueueFiles};
use crate::dispatch::unit_of;
use crate::error::MediumError;
use crate::index::IndexFiles;
use crate::offsets::PhysicalOffset;
use crate::retention::is_in_future;

pub(crate) struct Disk {
    pub log: LogFiles,
    pub queues: QueueFiles,
    pub checkpoint: Checkpoint,
    /// None while recovering, and with messageIndexEnable=false.
    pub index: Option<IndexFiles>,
    pub delay_levels_ms: Vec<i64>,
    /// Store time of the newest record dispatched that does not lie in the future.
    pub store_timestamp: i64,
    /// What the future comes after; unknown while recovering.
    pub now_ms: i64,
    /// All records before it were dispatched.
    pub looked_to: PhysicalOffset,
}

/// What `take_in` did with a run of log bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TakenIn {
    pub bytes: usize,
    pub records: u64,
}

/// What ended a look at a run of log bytes before the run's end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The blank that ends a commitlog file, of so many bytes.
    Blank(u32),
    Gap,
    Bad(RecordError),
}

/// What `look` found good.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Looked {
    pub taken: TakenIn,
    /// The last border of units at or before the last border of blocks, in bytes from the run's start.
    pub whole_blocks: usize,
}

/// Why a run of the hot log could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeInError {
    #[error(transparent)]
    Medium(#[from] MediumError),
    #[error("the hot log holds no record at {at}: {source}")]
    Record { at: PhysicalOffset, source: RecordError },
    #[error("the record at {at} leaves a hole in its queue")]
    Gap { at: PhysicalOffset },
}

impl Disk {
    /// Writes whole units from the hot log to the log files and collects their entries: about `bytes_max` at most, and not
    /// across the end of a file. With `check_crc` a record whose body does not match ends it.
    pub fn take_in(
        &mut self,
        pending: &Pending<'_>,
        bytes_max: usize,
        check_crc: bool,
    ) -> Result<TakenIn, TakeInError> {
        let (Looked { mut taken, .. }, stop) = self.look(pending, bytes_max, check_crc, &|| ());
        let at = pending.at.plus(taken.bytes as u64);
        match stop {
            Some(Stop::Blank(bytes_left)) => {
                // Its head goes to the file, the rest of the file stays as it is.
                self.write_part(pending, taken.bytes + record::BLANK_BYTES)?;
                if let Some(index) = &mut self.index {
                    index.pass_blank(at, u64::from(bytes_left));
                }
                taken.bytes += bytes_left as usize;
                return Ok(taken);
            }
            Some(Stop::Bad(source)) if taken.bytes == 0 => return Err(TakeInError::Record { at, source }),
            // What is good is written; the next call begins at the bad one.
            Some(Stop::Bad(_)) | None => self.write_part(pending, taken.bytes)?,
            Some(Stop::Gap) => {
                self.write_part(pending, taken.bytes)?;
                return Err(TakeInError::Gap { at });
            }
        }
        Ok(taken)
    }

    /// Collects the entries of whole records, of about `bytes_max` at most, and writes nothing. To look twice is no harm.
    /// `pause` is called every now and then.
    pub fn look(
        &mut self,
        pending: &Pending<'_>,
        bytes_max: usize,
        check_crc: bool,
        pause: &dyn Fn(),
    ) -> (Looked, Option<Stop>) {
        let bytes = pending.bytes();
        let (mut taken, mut whole_blocks) = (TakenIn::default(), 0);
        let block_of = |end: usize| pending.at.plus(end as u64).0 / arena::PAGE_BYTES as i64;
        let (mut stop, mut brief) = (None, Brief::default());
        while taken.bytes < bytes.len() && taken.bytes < bytes_max {
            let at = pending.at.plus(taken.bytes as u64);
            let here = &bytes[taken.bytes..];
            if check_crc || !brief.take_usual(here) {
                match brief::unit(here, check_crc) {
                    Ok(LogUnit::Record(record)) => brief = record,
                    Ok(LogUnit::Blank { bytes_left }) => {
                        let fits = u64::from(bytes_left) == self.log.left_in_file(at)
                            && bytes_left as usize <= here.len();
                        let wrong = RecordError::Size { declared: bytes_left as usize };
                        stop = Some(if fits { Stop::Blank(bytes_left) } else { Stop::Bad(wrong) });
                        break;
                    }
                    Err(error) => {
                        stop = Some(Stop::Bad(error));
                        break;
                    }
                }
            }
            let len = brief.size as usize;
            if brief.physical_offset != at.0 {
                stop = Some(Stop::Bad(RecordError::Size { declared: len }));
                break;
            }
            arena::prefetch_seam(bytes, taken.bytes + PREFETCH_RECORDS * len);
            let labels = Labels::of(brief.properties);
            if self.dispatch(&brief, &labels) == Dispatched::Gap {
                stop = Some(Stop::Gap);
                break;
            }
            if let Some(index) = &mut self.index {
                index.collect(&brief, &labels);
            }
            let end = taken.bytes + len;
            if block_of(end) != block_of(taken.bytes) {
                whole_blocks =
                    if arena::lead_of(pending.at.plus(end as u64)) == 0 { end } else { taken.bytes };
            }
            taken.bytes = end;
            taken.records += 1;
            if taken.records.is_multiple_of(RECORDS_AT_A_TIME) {
                pause();
            }
        }
        if let Some(index) = &mut self.index {
            index.mark();
        }
        self.looked_to = self.looked_to.max(pending.at.plus(taken.bytes as u64));
        (Looked { taken, whole_blocks }, stop)
    }

    /// Stores a record that lost its place once more, at the end of the log and of its queue. Returns the new end; `None`: it
    /// fits no commitlog file.
    pub fn append_again(
        &mut self,
        view: &RecordView<'_>,
        end: PhysicalOffset,
    ) -> Result<Option<PhysicalOffset>, MediumError> {
        let draft = view.to_draft();
        let size = draft.encoded_len();
        let mut at = end;
        let left = self.log.left_in_file(at);
        if (size + record::BLANK_BYTES) as u64 > left {
            self.log.write(at, &record::blank(left as u32))?;
            at = at.plus(left);
        }
        if (size + record::BLANK_BYTES) as u64 > self.log.left_in_file(at) {
            return Ok(None);
        }
        let queue_offset = if draft.is_queued() { self.queues.next_of(view.topic, view.queue_id) } else { 0 };
        let store_timestamp = view.store_timestamp.max(self.store_timestamp);
        let mut again = vec![0; size];
        draft.encode_into(&mut again, &Stamp { queue_offset, physical_offset: at.0, store_timestamp });
        self.log.write(at, &again)?;
        let view = RecordView::parse(&again).expect("encoded just now");
        let dispatched = self.dispatch(&Brief::of(&view), &Labels::of(view.properties));
        assert!(dispatched != Dispatched::Gap);
        Ok(Some(at.plus(size as u64)))
    }

    /// Collects the entry of a record that lies in the log.
    #[inline]
    pub fn dispatch(&mut self, brief: &Brief<'_>, labels: &Labels<'_>) -> Dispatched {
        let unit = unit_of(brief, labels, &self.delay_levels_ms);
        let dispatched = self.queues.dispatch(brief, unit);
        if dispatched != Dispatched::Gap {
            // A checkpoint that lay beyond unsynced records would have recovery begin behind them.
            if !is_in_future(brief.store_timestamp, self.now_ms) {
                self.store_timestamp = brief.store_timestamp;
            }
        }
        dispatched
    }

    fn write_part(&mut self, pending: &Pending<'_>, to: usize) -> Result<(), MediumError> {
        if to == 0 {
            return Ok(());
        }
        let (lead, with_lead) = pending.part(0, to);
        self.log.write_part(pending.at, lead, with_lead)
    }
}

/// Messages that come together are much of a size, so the one this far ahead is about there.
const PREFETCH_RECORDS: usize = 6;
/// Some 50 us of looking.
const RECORDS_AT_A_TIME: u64 = 512;
