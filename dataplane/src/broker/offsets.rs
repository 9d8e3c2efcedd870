//! How far each consumer group has come: the offset table.
//!
//! ```text
//! (topic, group) -> row -> cells, sorted by queue id: committed | pulled | pending reset
//! ```
//!
//! Every pull of a push consumer commits, so a commit to a known row is two compares and a store: no allocation, no
//! string made. What changed is remembered per row and leaves as `PersistOp`s a few at a time, when there is room.
//! Rows survive the deletion of their group or topic, as they do in the official broker, until an administrator
//! removes them. This file does not judge: the desk decides whether a group or topic exists.

use std::sync::Arc;

use hashbrown::HashMap;

use super::persist_ops::{PersistOp, PersistOps};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct RowName<'a> {
    topic: &'a str,
    group: &'a str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct RowKey {
    topic: Arc<str>,
    group: Arc<str>,
}

impl hashbrown::Equivalent<RowKey> for RowName<'_> {
    fn equivalent(&self, key: &RowKey) -> bool {
        *self.topic == *key.topic && *self.group == *key.group
    }
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    queue_id: i32,
    committed: i64,
    pulled: i64,
    /// Set by an administrator's reset; the next pull is answered with it.
    reset_to: i64,
    committed_dirty: bool,
    pulled_dirty: bool,
}

impl Cell {
    fn new(queue_id: i32) -> Cell {
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

#[derive(Debug)]
struct Row {
    key: RowKey,
    cells: Vec<Cell>,
    dirty: bool,
}

impl Row {
    fn find(&self, queue_id: i32) -> Result<usize, usize> {
        // Most tables hold every queue of a small topic, so the cell is usually where its number says.
        match self.cells.get(queue_id as usize) {
            Some(cell) if cell.queue_id == queue_id => Ok(queue_id as usize),
            _ => self.cells.binary_search_by_key(&queue_id, |cell| cell.queue_id),
        }
    }

    fn committed(&self) -> impl Iterator<Item = (i32, i64)> + '_ {
        let cells = self.cells.iter().filter(|cell| cell.committed >= 0);
        cells.map(|cell| (cell.queue_id, cell.committed))
    }

    fn cell(&self, queue_id: i32) -> Option<&Cell> {
        self.find(queue_id).ok().and_then(|at| self.cells.get(at))
    }
}

/// The table of one broker.
#[derive(Debug, Default)]
pub struct ConsumerOffsets {
    by_name: HashMap<RowKey, usize>,
    /// A removed row stays as an empty slot so that the indexes in `by_name` and `dirty` hold.
    rows: Vec<Option<Row>>,
    dirty: Vec<usize>,
}

/// One entry as the configuration file has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredOffset<'a> {
    pub topic: &'a str,
    pub group: &'a str,
    pub queue_id: i32,
    pub offset: i64,
}

impl ConsumerOffsets {
    /// Takes over what consumerOffset.json held; nothing becomes dirty.
    pub fn load(&mut self, stored: StoredOffset<'_>) {
        if let Some((_, cell)) = self.cell_mut(stored.group, stored.topic, stored.queue_id) {
            cell.committed = stored.offset;
        }
    }

    /// Takes over one entry of consumerOffset.json's `pullOffsetTable`.
    pub fn load_pulled(&mut self, stored: StoredOffset<'_>) {
        if let Some((_, cell)) = self.cell_mut(stored.group, stored.topic, stored.queue_id) {
            cell.pulled = stored.offset;
        }
    }

    /// Stores what a consumer says it has finished; a smaller offset than before is accepted.
    /// False when a reset waits to be pulled: such a commit speaks of the time before the reset and is dropped.
    pub fn commit(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64) -> bool {
        let Some((row, cell)) = self.cell_mut(group, topic, queue_id) else { return true };
        if cell.reset_to != NONE {
            return false;
        }
        if cell.committed != offset {
            cell.committed = offset;
            cell.committed_dirty = true;
            self.mark(row);
        }
        true
    }

    /// Notes where the group's last answer ended, committed or not; only statistics read it.
    pub fn pulled(&mut self, group: &str, topic: &str, queue_id: i32, next_offset: i64) {
        let Some((row, cell)) = self.cell_mut(group, topic, queue_id) else { return };
        if cell.pulled != next_offset {
            cell.pulled = next_offset;
            cell.pulled_dirty = true;
            self.mark(row);
        }
    }

    /// The committed offset, or the target of a reset that has not been pulled yet.
    pub fn committed(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        let cell = self.row(group, topic)?.cell(queue_id)?;
        let offset = if cell.reset_to != NONE { cell.reset_to } else { cell.committed };
        (offset >= 0).then_some(offset)
    }

    /// Where the group's last pull of this queue ended.
    pub fn pulled_to(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        let cell = self.row(group, topic)?.cell(queue_id)?;
        (cell.pulled >= 0).then_some(cell.pulled)
    }

    /// An administrator moves the group: commits are ignored until the next pull has been told.
    pub fn reset(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        let Some((row, cell)) = self.cell_mut(group, topic, queue_id) else { return };
        cell.reset_to = offset;
        cell.committed = offset;
        cell.committed_dirty = true;
        self.mark(row);
    }

    /// The reset this pull must be answered with, once.
    pub fn take_reset(&mut self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        let index = *self.by_name.get(&RowName { topic, group })?;
        let row = self.rows.get_mut(index)?.as_mut()?;
        let at = row.find(queue_id).ok()?;
        let cell = row.cells.get_mut(at)?;
        (cell.reset_to != NONE).then(|| std::mem::replace(&mut cell.reset_to, NONE))
    }

    /// Every committed offset of a group on a topic, by queue.
    pub fn of(&self, group: &str, topic: &str) -> impl Iterator<Item = (i32, i64)> + '_ {
        self.row(group, topic).into_iter().flat_map(Row::committed)
    }

    /// Every row: group, topic, and the committed offsets by queue.
    pub fn rows(
        &self,
    ) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, impl Iterator<Item = (i32, i64)>)> + '_ {
        self.rows.iter().flatten().map(|row| (&row.key.group, &row.key.topic, row.committed()))
    }

    /// The topics a group has committed offsets for.
    pub fn topics_of_group<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a Arc<str>> + 'a {
        let committed = |row: &Row| row.cells.iter().any(|cell| cell.committed >= 0);
        self.rows
            .iter()
            .flatten()
            .filter(move |row| *row.key.group == *group && committed(row))
            .map(|row| &row.key.topic)
    }

    /// Every group and topic with a committed offset: who asks for all of them asks once.
    pub fn committed_rows(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> + '_ {
        let committed = |row: &&Row| row.cells.iter().any(|cell| cell.committed >= 0);
        self.rows.iter().flatten().filter(committed).map(|row| (&row.key.group, &row.key.topic))
    }

    /// The groups that have committed offsets for a topic.
    pub fn groups_of_topic<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = &'a Arc<str>> + 'a {
        let committed = |row: &Row| row.cells.iter().any(|cell| cell.committed >= 0);
        self.rows
            .iter()
            .flatten()
            .filter(move |row| *row.key.topic == *topic && committed(row))
            .map(|row| &row.key.group)
    }

    /// Drops all offsets of a group (its deletion with cleanOffset).
    pub fn remove_group(&mut self, group: &str, ops: &mut PersistOps) {
        self.remove_where(|key| *key.group == *group, ops);
    }

    /// Drops all offsets on a topic (its deletion).
    pub fn remove_topic(&mut self, topic: &str, ops: &mut PersistOps) {
        self.remove_where(|key| *key.topic == *topic, ops);
    }

    /// Moves changes to `ops`, newest values only, as long as there is room. Returns how many left.
    pub fn drain_dirty(&mut self, ops: &mut PersistOps) -> u32 {
        let mut drained = 0;
        while let Some(&index) = self.dirty.last() {
            let Some(row) = self.rows.get_mut(index).and_then(Option::as_mut) else {
                self.dirty.pop();
                continue;
            };
            for cell in &mut row.cells {
                if !(cell.committed_dirty || cell.pulled_dirty) {
                    continue;
                }
                if !ops.has_room() {
                    return drained;
                }
                let (group, topic) = (&row.key.group, &row.key.topic);
                if std::mem::take(&mut cell.committed_dirty) {
                    let (group, topic) = (group.clone(), topic.clone());
                    let (queue_id, offset) = (cell.queue_id, cell.committed);
                    ops.push(PersistOp::OffsetCommitted { group, topic, queue_id, offset });
                }
                if std::mem::take(&mut cell.pulled_dirty) {
                    let (group, topic) = (group.clone(), topic.clone());
                    let (queue_id, offset) = (cell.queue_id, cell.pulled);
                    ops.push(PersistOp::OffsetPulled { group, topic, queue_id, offset });
                }
                drained += 1;
            }
            row.dirty = false;
            self.dirty.pop();
        }
        drained
    }

    fn row(&self, group: &str, topic: &str) -> Option<&Row> {
        let index = *self.by_name.get(&RowName { topic, group })?;
        self.rows.get(index)?.as_ref()
    }

    /// The cell, made if it is missing; None when the row may not grow any more.
    fn cell_mut(&mut self, group: &str, topic: &str, queue_id: i32) -> Option<(usize, &mut Cell)> {
        let index = match self.by_name.get(&RowName { topic, group }) {
            Some(&index) => index,
            None => self.add_row(group, topic),
        };
        let row = self.rows.get_mut(index)?.as_mut().expect("a row in `by_name` is there");
        let at = match row.find(queue_id) {
            Ok(at) => at,
            Err(_) if row.cells.len() >= QUEUES_PER_ROW_MAX => return None,
            Err(at) => {
                row.cells.insert(at, Cell::new(queue_id));
                at
            }
        };
        row.cells.get_mut(at).map(|cell| (index, cell))
    }

    #[cold]
    fn add_row(&mut self, group: &str, topic: &str) -> usize {
        let key = RowKey { topic: topic.into(), group: group.into() };
        let index = self.rows.len();
        self.by_name.insert(key.clone(), index);
        self.rows.push(Some(Row { key, cells: Vec::new(), dirty: false }));
        index
    }

    fn mark(&mut self, index: usize) {
        let row = self.rows.get_mut(index).and_then(Option::as_mut).expect("the row was just found");
        if !row.dirty {
            row.dirty = true;
            self.dirty.push(index);
        }
    }

    fn remove_where(&mut self, matches: impl Fn(&RowKey) -> bool, ops: &mut PersistOps) {
        for slot in &mut self.rows {
            if slot.as_ref().is_some_and(|row| matches(&row.key)) {
                let row = slot.take().expect("looked at above");
                self.by_name.remove(&row.key);
                ops.push(PersistOp::OffsetsRemoved { group: row.key.group, topic: row.key.topic });
            }
        }
    }
}

/// No offset.
const NONE: i64 = -1;
/// A row takes no more queues than this; commits for others are dropped. No topic has more queues.
const QUEUES_PER_ROW_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(offsets: &mut ConsumerOffsets) -> Vec<PersistOp> {
        let mut ops = PersistOps::new();
        offsets.drain_dirty(&mut ops);
        std::iter::from_fn(|| ops.pop()).collect()
    }

    fn committed(group: &str, topic: &str, queue_id: i32, offset: i64) -> PersistOp {
        PersistOp::OffsetCommitted { group: group.into(), topic: topic.into(), queue_id, offset }
    }

    /// Goal: what is committed is found again, smaller offsets included, and other queues stay unknown.
    #[test]
    fn commits_are_kept_by_group_topic_and_queue() {
        let mut offsets = ConsumerOffsets::default();
        assert_eq!(offsets.committed("G", "T", 1), None);
        assert!(offsets.commit("G", "T", 1, 20));
        assert!(offsets.commit("G", "T", 1, 7));
        assert!(offsets.commit("G", "T", 500, 8));
        assert!(offsets.commit("H", "T", 1, 9));
        assert_eq!(offsets.committed("G", "T", 1), Some(7));
        assert_eq!(offsets.committed("G", "T", 500), Some(8));
        assert_eq!(offsets.committed("H", "T", 1), Some(9));
        assert_eq!(offsets.committed("G", "T", 0), None);
        assert_eq!(offsets.committed("G", "U", 1), None);
        assert_eq!(offsets.of("G", "T").collect::<Vec<_>>(), [(1, 7), (500, 8)]);
        assert_eq!(offsets.groups_of_topic("T").count(), 2);
        assert_eq!(offsets.topics_of_group("G").count(), 1);
    }

    /// Goal: only changes leave, only the newest value of each, and only once.
    #[test]
    fn a_change_leaves_once_with_its_newest_value() {
        let mut offsets = ConsumerOffsets::default();
        offsets.load(StoredOffset { topic: "T", group: "G", queue_id: 0, offset: 5 });
        assert_eq!(drained(&mut offsets), []);
        offsets.commit("G", "T", 0, 5);
        assert_eq!(drained(&mut offsets), []);
        offsets.commit("G", "T", 0, 6);
        offsets.commit("G", "T", 0, 7);
        assert_eq!(drained(&mut offsets), [committed("G", "T", 0, 7)]);
        assert_eq!(drained(&mut offsets), []);
        offsets.pulled("G", "T", 0, 9);
        let pulled = PersistOp::OffsetPulled { group: "G".into(), topic: "T".into(), queue_id: 0, offset: 9 };
        assert_eq!(drained(&mut offsets), [pulled]);
        assert_eq!(offsets.committed("G", "T", 0), Some(7));
    }

    /// Goal: a full lane delays changes, it does not lose them.
    #[test]
    fn changes_wait_while_there_is_no_room() {
        let mut offsets = ConsumerOffsets::default();
        let queues = super::super::persist_ops::PERSIST_OPS_ROOM as i32 + 100;
        for queue_id in 0..queues {
            offsets.commit("G", "T", queue_id, 1);
        }
        let first = drained(&mut offsets);
        assert_eq!(first.len(), queues as usize - 100);
        assert_eq!(drained(&mut offsets).len(), 100);
        assert_eq!(drained(&mut offsets).len(), 0);
    }

    /// Goal: while a reset waits, it is what queries see and commits are ignored; a pull takes it once.
    #[test]
    fn a_reset_hides_commits_until_it_is_pulled() {
        let mut offsets = ConsumerOffsets::default();
        offsets.commit("G", "T", 0, 50);
        offsets.reset("G", "T", 0, 10);
        assert_eq!(offsets.committed("G", "T", 0), Some(10));
        assert!(!offsets.commit("G", "T", 0, 51));
        assert_eq!(offsets.take_reset("G", "T", 0), Some(10));
        assert_eq!(offsets.take_reset("G", "T", 0), None);
        assert_eq!(offsets.committed("G", "T", 0), Some(10));
        assert!(offsets.commit("G", "T", 0, 11));
        assert_eq!(offsets.committed("G", "T", 0), Some(11));
    }

    /// Goal: removed rows are gone, tell the files so, and may come back.
    #[test]
    fn removed_offsets_are_gone_and_may_come_back() {
        let mut offsets = ConsumerOffsets::default();
        offsets.commit("G", "T", 0, 1);
        offsets.commit("G", "U", 0, 1);
        let mut ops = PersistOps::new();
        offsets.remove_topic("T", &mut ops);
        assert_eq!(ops.pop(), Some(PersistOp::OffsetsRemoved { group: "G".into(), topic: "T".into() }));
        assert_eq!(offsets.committed("G", "T", 0), None);
        offsets.commit("G", "T", 0, 2);
        assert_eq!(drained(&mut offsets).len(), 2);
        offsets.remove_group("G", &mut ops);
        assert_eq!(offsets.rows().count(), 0);
    }

    /// Goal: strange queue numbers neither panic nor grow the table without bound.
    #[test]
    fn strange_queue_numbers_are_kept_apart() {
        let mut offsets = ConsumerOffsets::default();
        for queue_id in [-1, i32::MIN, i32::MAX, 3, 0] {
            offsets.commit("G", "T", queue_id, i64::from(queue_id).abs());
        }
        for queue_id in [-1, i32::MIN, i32::MAX, 3, 0] {
            assert_eq!(offsets.committed("G", "T", queue_id), Some(i64::from(queue_id).abs()));
        }
    }
}
