//! One row of the offset table (offsets.rs): what one group has of one topic, queue by queue.

use std::sync::Arc;

/// What a row is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RowName<'a> {
    pub topic: &'a str,
    pub group: &'a str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RowKey {
    pub topic: Arc<str>,
    pub group: Arc<str>,
}

impl hashbrown::Equivalent<RowKey> for RowName<'_> {
    fn equivalent(&self, key: &RowKey) -> bool {
        *self.topic == *key.topic && *self.group == *key.group
    }
}

/// How far a group has come in one queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cell {
    pub queue_id: i32,
    pub committed: i64,
    pub pulled: i64,
    /// Set by an administrator's reset; the next pull is answered with it.
    pub reset_to: i64,
    pub committed_dirty: bool,
    pub pulled_dirty: bool,
}

impl Cell {
    pub fn new(queue_id: i32) -> Cell {
        Cell {
            queue_id,
            committed: NONE,
            pulled: NONE,
            reset_to: NONE,
            committed_dirty: false,
            pulled_dirty: false,
        }
    }
}

/// What a group has of a topic.
#[derive(Debug)]
pub struct Row {
    pub(super) key: RowKey,
    pub(super) cells: Vec<Cell>,
    /// Its places in the lists of rows, where it is in them.
    pub(super) of_topic: usize,
    pub(super) of_group: usize,
    pub(super) dirty: Option<usize>,
}

impl Row {
    pub fn group(&self) -> &Arc<str> {
        &self.key.group
    }

    pub fn topic(&self) -> &Arc<str> {
        &self.key.topic
    }

    /// The committed offsets by queue.
    pub fn committed(&self) -> impl Iterator<Item = (i32, i64)> + '_ {
        let cells = self.cells.iter().filter(|cell| cell.committed >= 0);
        cells.map(|cell| (cell.queue_id, cell.committed))
    }

    /// Where the cell of a queue is, or would be.
    pub(super) fn find(&self, queue_id: i32) -> Result<usize, usize> {
        // Most tables hold every queue of a small topic, so the cell is usually where its number says.
        match self.cells.get(queue_id as usize) {
            Some(cell) if cell.queue_id == queue_id => Ok(queue_id as usize),
            _ => self.cells.binary_search_by_key(&queue_id, |cell| cell.queue_id),
        }
    }

    pub(super) fn cell(&self, queue_id: i32) -> Option<&Cell> {
        self.find(queue_id).ok().and_then(|at| self.cells.get(at))
    }
}

/// No offset.
pub(super) const NONE: i64 = -1;
