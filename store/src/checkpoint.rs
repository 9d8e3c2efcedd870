//! `checkpoint`: up to which store time log and queues are known to be on the disk. 4096 bytes, RocketMQ's layout.
//!
//! ```text
//! | physicMsgTimestamp i64 | logicsMsgTimestamp i64 | indexMsgTimestamp i64 | masterFlushedOffset i64 | confirmPhyOffset i64 | 0 ..
//! ```
//!
//! Recovery after a power cut begins at the last file whose first message is not younger than `min_timestamp`.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::MediumError;
use crate::medium::{Medium, MediumFile};

pub(crate) struct Checkpoint {
    medium: Arc<dyn Medium>,
    path: PathBuf,
    file: Option<Box<dyn MediumFile>>,
    pub physic_timestamp: i64,
    pub logics_timestamp: i64,
    pub index_timestamp: i64,
    master_flushed_offset: i64,
    confirm_physical_offset: i64,
    saved: [u8; FIELD_BYTES],
}

impl Checkpoint {
    pub fn load(medium: Arc<dyn Medium>, path: PathBuf) -> Result<Self, MediumError> {
        let mut fields = [0_u8; FIELD_BYTES];
        let file = medium.open(&path)?;
        if let Some(file) = &file {
            let there = file.read_at(0, &mut fields)?;
            fields[there..].fill(0);
        }
        let (words, _) = fields.as_chunks::<8>();
        let word = |index: usize| words.get(index).map_or(0, |word| i64::from_be_bytes(*word));
        Ok(Self {
            medium,
            path,
            file,
            physic_timestamp: word(0),
            logics_timestamp: word(1),
            index_timestamp: word(2),
            master_flushed_offset: word(3),
            confirm_physical_offset: word(4),
            saved: fields,
        })
    }

    /// What was stored before this time needs no second look.
    pub fn min_timestamp(&self) -> i64 {
        self.physic_timestamp.min(self.logics_timestamp).saturating_sub(CLOCK_SLACK_MS).max(0)
    }

    /// Writes and syncs the file, if anything has changed.
    pub fn save(&mut self) -> Result<(), MediumError> {
        let words = [
            self.physic_timestamp,
            self.logics_timestamp,
            self.index_timestamp,
            self.master_flushed_offset,
            self.confirm_physical_offset,
        ];
        let mut fields = [0; FIELD_BYTES];
        for (place, word) in fields.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *place = word.to_be_bytes();
        }
        if self.file.is_some() && fields == self.saved {
            return Ok(());
        }
        let (file, is_new) = match self.file.take() {
            Some(file) => (file, false),
            None => (self.medium.create(&self.path, FILE_BYTES)?, true),
        };
        let file = self.file.insert(file);
        file.write_at(0, &fields)?;
        file.sync()?;
        if is_new && let Some(dir) = self.path.parent() {
            self.medium.sync_dir(dir)?;
        }
        self.saved = fields;
        Ok(())
    }
}

const FILE_BYTES: u64 = 4096;
const FIELD_BYTES: usize = 40;
/// How far clocks and threads may have been apart.
const CLOCK_SLACK_MS: i64 = 3_000;
