//! A stretch of the log in memory while it is walked.

use protocol::record::{self, RecordError, Unit as LogUnit};

use crate::commitlog::LogFiles;
use crate::error::MediumError;
use crate::offsets::PhysicalOffset;

/// What was read last, and the place that is looked at.
pub(super) struct Window {
    pub at: PhysicalOffset,
    start: PhysicalOffset,
    bytes: Vec<u8>,
    there: usize,
}

impl Window {
    pub(super) fn new(at: PhysicalOffset) -> Self {
        Self { at, start: at, bytes: vec![0; WINDOW_BYTES], there: 0 }
    }

    /// The unit at `at`, read from the file when the window does not hold all of it.
    pub(super) fn unit(
        &mut self,
        log: &mut LogFiles,
    ) -> Result<Result<LogUnit<'_>, RecordError>, MediumError> {
        let in_file = log.left_in_file(self.at) as usize;
        let from = self.at.0 - self.start.0;
        let mut held = usize::try_from(from).ok().and_then(|from| self.there.checked_sub(from)).unwrap_or(0);
        loop {
            let from = (self.at.0 - self.start.0).max(0) as usize;
            let need = match record::unit(self.bytes.get(from..from + held).unwrap_or_default()) {
                Err(RecordError::Short { need }) if need > held && need <= in_file && held < in_file => need,
                _ => break,
            };
            // A record never crosses a file, so neither does the window.
            let wanted = need.max(WINDOW_BYTES).min(in_file);
            self.bytes.resize(wanted.max(self.bytes.len()), 0);
            self.start = self.at;
            self.there = log.read(self.at, &mut self.bytes[..wanted])?;
            if self.there <= held {
                break; // Nothing more to be had.
            }
            held = self.there;
        }
        let from = (self.at.0 - self.start.0).max(0) as usize;
        Ok(record::unit(self.bytes.get(from..from + held).unwrap_or_default()))
    }
}

const WINDOW_BYTES: usize = 4 << 20;
