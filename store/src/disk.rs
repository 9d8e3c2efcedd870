//! All files of the store together: what recovery repairs and the write-out then goes on with.

use protocol::record::{self, RecordError, RecordView, Stamp, Unit as LogUnit};

use crate::checkpoint::Checkpoint;
use crate::commitlog::LogFiles;
use crate::consumequeue::{Dispatched, QueueFiles};
use crate::dispatch::unit_of;
use crate::error::MediumError;
use crate::offsets::PhysicalOffset;

pub(crate) struct Disk {
    pub log: LogFiles,
    pub queues: QueueFiles,
    pub checkpoint: Checkpoint,
    pub delay_levels_ms: Vec<i64>,
    /// Store time of the newest record dispatched.
    pub store_timestamp: i64,
}

/// What `take_in` did with a run of log bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TakenIn {
    pub bytes: usize,
    pub records: u64,
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
    /// Writes whole units from the hot log, beginning at `at`, to the log files and collects their entries. At most about
    /// `bytes_max` of them; with `check_crc` a record whose body does not match ends it.
    pub fn take_in(
        &mut self,
        at: PhysicalOffset,
        bytes: &[u8],
        bytes_max: usize,
        check_crc: bool,
    ) -> Result<TakenIn, TakeInError> {
        let mut taken = TakenIn::default();
        // Bytes of the run begun and not yet written.
        let mut run_start = 0;
        while taken.bytes < bytes.len() && taken.bytes - run_start < bytes_max {
            let here = at.plus(taken.bytes as u64);
            let unit = record::unit(&bytes[taken.bytes..]).map_err(|source| (here, source));
            match unit {
                Ok(LogUnit::Record(view)) if check_crc && !view.crc_holds() => {
                    self.write_run(at, bytes, run_start, taken.bytes)?;
                    return stopped(taken, here, RecordError::Crc);
                }
                Ok(LogUnit::Record(view)) if view.physical_offset == here.0 => {
                    if self.dispatch(&view) == Dispatched::Gap {
                        self.write_run(at, bytes, run_start, taken.bytes)?;
                        return Err(TakeInError::Gap { at: here });
                    }
                    taken.bytes += view.bytes.len();
                    taken.records += 1;
                }
                Ok(LogUnit::Blank { bytes_left })
                    if u64::from(bytes_left) == self.log.left_in_file(here)
                        && bytes_left as usize <= bytes.len() - taken.bytes =>
                {
                    // Its head goes to the file, the rest of the file stays as it is.
                    self.write_run(at, bytes, run_start, taken.bytes + record::BLANK_BYTES)?;
                    taken.bytes += bytes_left as usize;
                    run_start = taken.bytes;
                    if taken.bytes >= bytes_max {
                        return Ok(taken);
                    }
                }
                Ok(LogUnit::Record(view)) => {
                    self.write_run(at, bytes, run_start, taken.bytes)?;
                    return stopped(taken, here, RecordError::Size { declared: view.bytes.len() });
                }
                Ok(LogUnit::Blank { bytes_left }) => {
                    self.write_run(at, bytes, run_start, taken.bytes)?;
                    return stopped(taken, here, RecordError::Size { declared: bytes_left as usize });
                }
                Err((here, source)) => {
                    self.write_run(at, bytes, run_start, taken.bytes)?;
                    return stopped(taken, here, source);
                }
            }
        }
        self.write_run(at, bytes, run_start, taken.bytes)?;
        Ok(taken)
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
        assert!(self.dispatch(&view) != Dispatched::Gap);
        Ok(Some(at.plus(size as u64)))
    }

    /// Collects the entry of a record that lies in the log.
    pub fn dispatch(&mut self, view: &RecordView<'_>) -> Dispatched {
        let unit = unit_of(view, &self.delay_levels_ms);
        let dispatched = self.queues.dispatch(view, unit);
        if dispatched != Dispatched::Gap {
            self.store_timestamp = self.store_timestamp.max(view.store_timestamp);
        }
        dispatched
    }

    fn write_run(
        &mut self,
        at: PhysicalOffset,
        bytes: &[u8],
        from: usize,
        to: usize,
    ) -> Result<(), MediumError> {
        if from == to {
            return Ok(());
        }
        self.log.write(at.plus(from as u64), &bytes[from..to])
    }
}

/// The units before the bad one are written; the next call begins at it and fails at once.
fn stopped(taken: TakenIn, at: PhysicalOffset, source: RecordError) -> Result<TakenIn, TakeInError> {
    if taken.bytes > 0 { Ok(taken) } else { Err(TakeInError::Record { at, source }) }
}
