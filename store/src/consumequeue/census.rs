//! Which queues a clean stop has left, and where they end, in one number: so that the next start sees when some of them are gone, or
//! shorter, whose messages lie far before the end of the log, where it does not look.
//!
//! ```text
//! <root>/queues    {"to": <end of the log>, "queues": <how many>, "sum": <of a checksum of each>}
//! ```
//!
//! A file of our own, which the official broker passes over. It says nothing once another broker has gone on with the log.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::QueueFiles;
use crate::config_files;
use crate::error::{MediumError, StoreError};
use crate::offsets::PhysicalOffset;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Census {
    to: i64,
    queues: u64,
    sum: u64,
}

impl QueueFiles {
    /// All queues as they are, the log ending at `to`.
    fn census(&self, to: PhysicalOffset) -> Census {
        let mut census = Census { to: to.0, queues: 0, sum: 0 };
        for queue in self.queues.iter().filter(|queue| queue.next > 0) {
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(queue.topic.as_bytes());
            hasher.update(&queue.queue_id.to_be_bytes());
            hasher.update(&queue.next.to_be_bytes());
            census.queues += 1;
            census.sum = census.sum.wrapping_add(u64::from(hasher.finalize()));
        }
        census
    }

    /// A clean stop: all entries are in the files.
    pub fn save_census(&self, root: &Path, to: PhysicalOffset) -> Result<(), MediumError> {
        let text = serde_json::to_vec(&self.census(to)).expect("numbers are plain data");
        config_files::replace(&*self.medium, &root.join(NAME), &text)
    }

    /// What the last clean stop has saved, if there is any.
    pub fn load_census(&mut self, root: &Path) -> Result<(), StoreError> {
        let parse = |bytes: &[u8]| serde_json::from_slice::<Census>(bytes).ok();
        self.census = config_files::load(&*self.medium, &root.join(NAME), parse)?;
        Ok(())
    }

    /// Where the log ended when the census was taken that the queues do not match.
    pub fn mismatch(&self) -> Option<PhysicalOffset> {
        let census = self.census?;
        let to = PhysicalOffset(census.to);
        let has_grown = self.highest_end() > to;
        (!has_grown && self.census(to) != census).then_some(to)
    }
}

const NAME: &str = "queues";
