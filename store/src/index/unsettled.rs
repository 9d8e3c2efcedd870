//! Entries whose messages have not reached their level: written out, or under SYNC_FLUSH synced.
//!
//! ```text
//! entries:  .. settled | mark | mark | mark | keys that wait ..        a mark: what was made of one look at the log
//! ```

use std::collections::VecDeque;

use super::format::IndexHeader;
use super::state::Current;
use crate::offsets::PhysicalOffset;

pub(crate) struct Unsettled {
    marks: VecDeque<Mark>,
    /// Where the next one begins.
    marked_to: PhysicalOffset,
}

/// Entries that were made together.
struct Mark {
    /// The keys of all messages below were entries before.
    from: PhysicalOffset,
    /// With them.
    header: IndexHeader,
}

impl Unsettled {
    pub fn new(marked_to: PhysicalOffset) -> Self {
        Self { marks: VecDeque::new(), marked_to }
    }

    /// Takes note of the entries that were made since the last mark, up to `to`.
    pub fn mark(&mut self, current: Option<&Current>, to: PhysicalOffset) {
        if let Some(current) = current {
            let last = self.marks.back().map_or(current.settled.count, |mark| mark.header.count);
            if current.header.count > last {
                self.marks.push_back(Mark { from: self.marked_to, header: current.header });
            }
        }
        self.marked_to = to;
    }

    /// Leaves those whose messages lie below `level`. Returns the header with the last of them.
    pub fn settle(&mut self, level: PhysicalOffset) -> Option<IndexHeader> {
        let is_below = |mark: &&Mark| mark.header.end_physical < level.0;
        let below = self.marks.iter().take_while(is_below).count();
        self.marks.drain(..below).next_back().map(|mark| mark.header)
    }

    /// Where they begin, if there are any.
    pub fn from(&self) -> Option<PhysicalOffset> {
        self.marks.front().map(|mark| mark.from)
    }
}
