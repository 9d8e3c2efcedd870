//! What desks read of a queue that has left the hot log.

use protocol::record::RecordView;
use store::ColdPull;

/// Records read ahead from below the hot log, handed out one by one.
#[derive(Debug, Default)]
pub struct ReadAhead {
    bytes: Vec<u8>,
    at: usize,
}

impl ReadAhead {
    /// Takes over what a read from `offset` on brought; None when the files could not be read.
    pub fn fill(&mut self, pulled: Option<ColdPull>, offset: i64) -> Filled {
        self.clear();
        let Some(pulled) = pulled.filter(|pulled| pulled.next.0 > offset) else { return Filled::Nothing };
        self.bytes = pulled.bytes;
        match self.front().map(|record| record.queue_offset) {
            Some(front) if front <= offset => Filled::Records,
            Some(front) => Filled::Gone { next_offset: front },
            None => Filled::Gone { next_offset: pulled.next.0.max(offset + 1) },
        }
    }

    /// The record at the front, whatever its queue offset.
    pub fn front(&self) -> Option<RecordView<'_>> {
        RecordView::parse(self.bytes.get(self.at..)?).ok()
    }

    /// Takes the front record out, as bytes.
    pub fn take(&mut self, queue_offset: i64) -> Option<Vec<u8>> {
        while let Some(record) = self.front() {
            let (size, found) = (record.bytes.len(), record.queue_offset);
            let bytes = (found == queue_offset).then(|| record.bytes.to_vec());
            if found > queue_offset {
                break;
            }
            self.at += size;
            if bytes.is_some() {
                return bytes;
            }
        }
        self.clear();
        None
    }

    pub fn clear(&mut self) {
        *self = ReadAhead::default();
    }
}

/// What a cold read of a queue brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    Records,
    /// Nothing is there; the queue goes on at this offset.
    Gone {
        next_offset: i64,
    },
    /// The files cannot be read, or do not have it yet: to be tried again.
    Nothing,
}
