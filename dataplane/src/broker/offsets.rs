//! How far each consumer group has come: the offset table.
//!
//! ```text
//! (topic, group) -> row -> cells, sorted by queue id: committed | pulled | pending reset
//! ```
//!
//! Every pull of a push consumer commits, so a commit to a known row is two compares and a store: no allocation, no
//! string made. What changed is remembered per row and leaves as `PersistOp`s a few at a time, when there is room.
//! Rows survive the deletion of their group or topic, as they do in the official broker, until an administrator
//! removes them. This file does not judge: the desk decides whether a group or topic exists. But it is bounded, since a client may name any
//! topic with any group and any queue: what would need more room is refused.

use std::sync::Arc;

use hashbrown::HashMap;

use super::offset_row::{Cell, NONE, Row, RowKey, RowName};
use super::persist_ops::{PersistOp, PersistOps};
use super::room::NoRoom;
use crate::limits::{OFFSET_ROWS_MAX, OFFSETS_MAX, OFFSETS_PER_ROW_MAX};

/// The table of one broker.
#[derive(Debug, Default)]
pub struct ConsumerOffsets {
    by_name: HashMap<RowKey, usize>,
    /// A removed row leaves an empty slot, so that the indexes in `by_name` and `dirty` hold; the next new row takes it.
    rows: Vec<Option<Row>>,
    free: Vec<usize>,
    /// Rows of each topic and of each group: nobody who asks for one looks at all.
    by_topic: HashMap<Arc<str>, Vec<usize>>,
    by_group: HashMap<Arc<str>, Vec<usize>>,
    dirty: Vec<usize>,
    /// Cells of all rows.
    cells: usize,
}

/// Why a commit was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTaken {
    /// A reset waits to be pulled: such a commit speaks of the time before it.
    ResetWaits,
    NoRoom(NoRoom),
}

/// Whether what is missing may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grow {
    /// While there is room.
    Bounded,
    /// What the files held, and what is the broker's own.
    Always,
}

/// Rows that go together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Those on a topic (its deletion).
    Topic(String),
    /// Those of a group (its deletion with cleanOffset).
    Group(String),
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
        if let Ok((_, cell)) = self.cell_mut(stored.group, stored.topic, stored.queue_id, Grow::Always) {
            cell.committed = stored.offset;
        }
    }

    /// Stores what a consumer says it has finished; a smaller offset than before is accepted.
    pub fn commit(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64) -> Result<(), NotTaken> {
        let (row, cell) = self.cell_mut(group, topic, queue_id, Grow::Bounded).map_err(NotTaken::NoRoom)?;
        if cell.reset_to != NONE {
            return Err(NotTaken::ResetWaits);
        }
        if cell.committed != offset {
            cell.committed = offset;
            cell.committed_dirty = true;
            self.mark(row);
        }
        Ok(())
    }

    /// How far the broker's own reader has come. The next start goes on from there, so it is kept even where others have filled the table.
    pub fn commit_own(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        let Ok((row, cell)) = self.cell_mut(group, topic, queue_id, Grow::Always) else { return };
        cell.committed = offset;
        cell.committed_dirty = true;
        self.mark(row);
    }

    /// Notes where the group's last answer ended, committed or not; only statistics read it, and miss what has no room.
    pub fn pulled(&mut self, group: &str, topic: &str, queue_id: i32, next_offset: i64) {
        let Ok((row, cell)) = self.cell_mut(group, topic, queue_id, Grow::Bounded) else { return };
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
    pub fn reset(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64) -> Result<(), NoRoom> {
        let (row, cell) = self.cell_mut(group, topic, queue_id, Grow::Bounded)?;
        cell.reset_to = offset;
        cell.committed = offset;
        cell.committed_dirty = true;
        self.mark(row);
        Ok(())
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

    /// Places of rows, empty ones included: who goes through all of them goes on where he stopped.
    pub fn places(&self) -> usize {
        self.rows.len()
    }

    /// The row at a place.
    pub fn row_at(&self, place: usize) -> Option<&Row> {
        self.rows.get(place)?.as_ref()
    }

    /// The topics a group has committed offsets for.
    pub fn topics_of_group(&self, group: &str) -> impl Iterator<Item = &Arc<str>> + '_ {
        self.listed(self.by_group.get(group)).map(|row| &row.key.topic)
    }

    /// The groups that have committed offsets for a topic.
    pub fn groups_of_topic(&self, topic: &str) -> impl Iterator<Item = &Arc<str>> + '_ {
        self.listed(self.by_topic.get(topic)).map(|row| &row.key.group)
    }

    fn listed<'a>(&'a self, list: Option<&'a Vec<usize>>) -> impl Iterator<Item = &'a Row> + 'a {
        let rows = list.into_iter().flatten().filter_map(|&index| self.rows.get(index)?.as_ref());
        rows.filter(|row| row.committed().next().is_some())
    }

    /// Rows there are of these.
    pub fn rows_of(&self, whose: &Whose) -> usize {
        self.list_of(whose).map_or(0, Vec::len)
    }

    /// Drops the offsets of one row of these; false when there is none.
    pub fn remove_one(&mut self, whose: &Whose, ops: &mut PersistOps) -> bool {
        let Some(&index) = self.list_of(whose).and_then(|list| list.last()) else { return false };
        let row = self.rows.get_mut(index).and_then(Option::take).expect("a listed row is there");
        self.by_name.remove(&row.key);
        self.cells -= row.cells.len();
        self.free.push(index);
        if let Some(moved) = unlist(&mut self.by_topic, &row.key.topic, row.of_topic) {
            self.row_mut(moved).of_topic = row.of_topic;
        }
        if let Some(moved) = unlist(&mut self.by_group, &row.key.group, row.of_group) {
            self.row_mut(moved).of_group = row.of_group;
        }
        if let Some(at) = row.dirty {
            self.dirty.swap_remove(at);
            if let Some(&moved) = self.dirty.get(at) {
                self.row_mut(moved).dirty = Some(at);
            }
        }
        ops.push(PersistOp::OffsetsRemoved { group: row.key.group, topic: row.key.topic });
        true
    }

    fn list_of(&self, whose: &Whose) -> Option<&Vec<usize>> {
        match whose {
            Whose::Topic(topic) => self.by_topic.get(&**topic),
            Whose::Group(group) => self.by_group.get(&**group),
        }
    }

    fn row_mut(&mut self, index: usize) -> &mut Row {
        self.rows.get_mut(index).and_then(Option::as_mut).expect("a listed row is there")
    }

    /// Moves changes to `ops`, newest values only, as long as there is room. Returns how many left.
    pub fn drain_dirty(&mut self, ops: &mut PersistOps) -> u32 {
        let mut drained = 0;
        while let Some(&index) = self.dirty.last() {
            let row = self.rows.get_mut(index).and_then(Option::as_mut).expect("removed rows are not dirty");
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
            row.dirty = None;
            self.dirty.pop();
        }
        drained
    }

    fn row(&self, group: &str, topic: &str) -> Option<&Row> {
        let index = *self.by_name.get(&RowName { topic, group })?;
        self.rows.get(index)?.as_ref()
    }

    /// The cell, made if it is missing and may be.
    fn cell_mut(
        &mut self,
        group: &str,
        topic: &str,
        queue_id: i32,
        grow: Grow,
    ) -> Result<(usize, &mut Cell), NoRoom> {
        let index = match self.by_name.get(&RowName { topic, group }) {
            Some(&index) => index,
            None => self.add_row(group, topic, grow)?,
        };
        let row = self.rows.get_mut(index).and_then(Option::as_mut).expect("a row in `by_name` is there");
        let at = match row.find(queue_id) {
            Ok(at) => at,
            Err(_) if row.cells.len() >= OFFSETS_PER_ROW_MAX => return Err(FULL),
            Err(_) if grow == Grow::Bounded && self.cells >= OFFSETS_MAX => return Err(FULL),
            Err(at) => {
                row.cells.insert(at, Cell::new(queue_id));
                self.cells += 1;
                at
            }
        };
        Ok((index, row.cells.get_mut(at).expect("found or made")))
    }

    #[cold]
    fn add_row(&mut self, group: &str, topic: &str, grow: Grow) -> Result<usize, NoRoom> {
        let is_full = self.by_name.len() >= OFFSET_ROWS_MAX || self.cells >= OFFSETS_MAX;
        if grow == Grow::Bounded && is_full {
            return Err(FULL);
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.rows.push(None);
            self.rows.len() - 1
        });
        let (topic, of_topic) = list(&mut self.by_topic, topic, index);
        let (group, of_group) = list(&mut self.by_group, group, index);
        let key = RowKey { topic, group };
        self.by_name.insert(key.clone(), index);
        let row = Row { key, cells: Vec::new(), of_topic, of_group, dirty: None };
        *self.rows.get_mut(index).expect("a free slot is one of a row") = Some(row);
        Ok(index)
    }

    fn mark(&mut self, index: usize) {
        let row = self.rows.get_mut(index).and_then(Option::as_mut).expect("the row was just found");
        if row.dirty.is_none() {
            row.dirty = Some(self.dirty.len());
            self.dirty.push(index);
        }
    }
}

/// Puts a row into a list by name. Returns the name, of which there is one, and the place in the list.
fn list(lists: &mut HashMap<Arc<str>, Vec<usize>>, name: &str, row: usize) -> (Arc<str>, usize) {
    if !lists.contains_key(name) {
        lists.insert(name.into(), Vec::new());
    }
    let (name, list) = lists.get_key_value_mut(name).expect("inserted when it was missing");
    list.push(row);
    (name.clone(), list.len() - 1)
}

/// Takes one out of its list. Returns the row that has its place now.
fn unlist(lists: &mut HashMap<Arc<str>, Vec<usize>>, name: &str, at: usize) -> Option<usize> {
    let list = lists.get_mut(name)?;
    list.swap_remove(at);
    let moved = list.get(at).copied();
    if list.is_empty() {
        lists.remove(name);
    }
    moved
}

const FULL: NoRoom = NoRoom(
    "no room for more consumer offsets: those that groups have on the topics of this broker are as many as it keeps; delete groups that nobody \
     needs, with their offsets",
);

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(offsets: &mut ConsumerOffsets) -> Vec<PersistOp> {
        let mut ops = PersistOps::new();
        offsets.drain_dirty(&mut ops);
        std::iter::from_fn(|| ops.pop()).collect()
    }

    fn remove(offsets: &mut ConsumerOffsets, whose: &Whose, ops: &mut PersistOps) {
        while offsets.remove_one(whose, ops) {}
    }

    fn committed(group: &str, topic: &str, queue_id: i32, offset: i64) -> PersistOp {
        PersistOp::OffsetCommitted { group: group.into(), topic: topic.into(), queue_id, offset }
    }

    /// Goal: what is committed is found again, smaller offsets included, and other queues stay unknown.
    #[test]
    fn commits_are_kept_by_group_topic_and_queue() {
        let mut offsets = ConsumerOffsets::default();
        assert_eq!(offsets.committed("G", "T", 1), None);
        assert_eq!(offsets.commit("G", "T", 1, 20), Ok(()));
        assert_eq!(offsets.commit("G", "T", 1, 7), Ok(()));
        assert_eq!(offsets.commit("G", "T", 500, 8), Ok(()));
        assert_eq!(offsets.commit("H", "T", 1, 9), Ok(()));
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
        offsets.commit("G", "T", 0, 5).unwrap();
        assert_eq!(drained(&mut offsets), []);
        offsets.commit("G", "T", 0, 6).unwrap();
        offsets.commit("G", "T", 0, 7).unwrap();
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
        let queues = crate::limits::PERSIST_OPS_ROOM as i32 + 100;
        for queue_id in 0..queues {
            offsets.commit("G", "T", queue_id, 1).unwrap();
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
        offsets.commit("G", "T", 0, 50).unwrap();
        offsets.reset("G", "T", 0, 10).unwrap();
        assert_eq!(offsets.committed("G", "T", 0), Some(10));
        assert_eq!(offsets.commit("G", "T", 0, 51), Err(NotTaken::ResetWaits));
        assert_eq!(offsets.take_reset("G", "T", 0), Some(10));
        assert_eq!(offsets.take_reset("G", "T", 0), None);
        assert_eq!(offsets.committed("G", "T", 0), Some(10));
        assert_eq!(offsets.commit("G", "T", 0, 11), Ok(()));
        assert_eq!(offsets.committed("G", "T", 0), Some(11));
    }

    /// Goal: removed rows are gone, tell the files so, and may come back.
    #[test]
    fn removed_offsets_are_gone_and_may_come_back() {
        let mut offsets = ConsumerOffsets::default();
        offsets.commit("G", "T", 0, 1).unwrap();
        offsets.commit("G", "U", 0, 1).unwrap();
        let mut ops = PersistOps::new();
        remove(&mut offsets, &Whose::Topic("T".into()), &mut ops);
        assert_eq!(ops.pop(), Some(PersistOp::OffsetsRemoved { group: "G".into(), topic: "T".into() }));
        assert_eq!(offsets.committed("G", "T", 0), None);
        offsets.commit("G", "T", 0, 2).unwrap();
        assert_eq!(drained(&mut offsets).len(), 2);
        remove(&mut offsets, &Whose::Group("G".into()), &mut ops);
        assert!((0..offsets.places()).all(|place| offsets.row_at(place).is_none()));
    }

    /// Goal: rows that come and go leave nothing behind, neither a slot nor a change that would be told of another row.
    #[test]
    fn removed_rows_leave_their_slots() {
        let mut offsets = ConsumerOffsets::default();
        let mut ops = PersistOps::new();
        for at in 0..1_000 {
            offsets.commit("G", &format!("T{at}"), 7, at).unwrap();
            remove(&mut offsets, &Whose::Group("G".into()), &mut ops);
        }
        offsets.commit("H", "T", 0, 1).unwrap();
        assert_eq!((offsets.rows.len(), offsets.dirty.len(), offsets.cells), (1, 1, 1));
        assert_eq!(drained(&mut offsets), [committed("H", "T", 0, 1)]);
    }

    /// Goal: each row is in the lists of its topic and its group, and changes leave once, whatever goes before. Method: rows of many groups on
    /// many topics, of which some go in many orders; the lists against a look at all.
    #[test]
    fn rows_are_listed_by_topic_and_group() {
        let mut offsets = ConsumerOffsets::default();
        let mut ops = PersistOps::new();
        let mut left: Vec<(i64, i64)> = Vec::new();
        let check = |offsets: &ConsumerOffsets, left: &[(i64, i64)]| {
            for name in 0..7 {
                let topics: Vec<_> =
                    left.iter().filter(|row| row.0 == name).map(|row| row.1.to_string()).collect();
                let groups: Vec<_> =
                    left.iter().filter(|row| row.1 == name).map(|row| row.0.to_string()).collect();
                let name = name.to_string();
                let mut of_group: Vec<_> =
                    offsets.topics_of_group(&name).map(|topic| topic.to_string()).collect();
                let mut of_topic: Vec<_> =
                    offsets.groups_of_topic(&name).map(|group| group.to_string()).collect();
                of_group.sort();
                of_topic.sort();
                assert_eq!((of_group, of_topic), (topics, groups));
            }
        };
        for round in 0..200_i64 {
            for at in 0..7 {
                let row = ((round + at) % 7, (round * 3 + at * at) % 7);
                offsets.commit(&row.0.to_string(), &row.1.to_string(), 0, round).unwrap();
                left.push(row);
            }
            left.sort();
            left.dedup();
            check(&offsets, &left);
            let name = round * 5 % 7;
            let whose = match round % 2 {
                0 => Whose::Topic(name.to_string()),
                _ => Whose::Group(name.to_string()),
            };
            remove(&mut offsets, &whose, &mut ops);
            left.retain(|row| if round % 2 == 0 { row.1 != name } else { row.0 != name });
            check(&offsets, &left);
            assert_eq!(offsets.dirty.len(), left.len());
            if round % 10 == 0 {
                assert_eq!(drained(&mut offsets).len(), left.len());
                left.iter().for_each(|row| {
                    offsets.commit(&row.0.to_string(), &row.1.to_string(), 0, -round - 1).unwrap();
                    offsets.commit(&row.0.to_string(), &row.1.to_string(), 0, round).unwrap();
                });
            }
        }
    }

    /// Goal: the table is bounded, by rows, by offsets and by those of a row; what is there is changed as ever, and what leaves makes room.
    /// Method: each number until it is refused.
    #[test]
    fn rows_and_offsets_are_bounded() {
        let fill = |offsets: &mut ConsumerOffsets, topic: &dyn Fn(usize) -> String, queues: i32| {
            let all = (0..).flat_map(|row| (0..queues).map(move |queue_id| (row, queue_id)));
            let mut name = String::new();
            for (count, (row, queue_id)) in all.enumerate() {
                if queue_id == 0 {
                    name = topic(row);
                }
                if offsets.commit("G", &name, queue_id, 1) == Err(NotTaken::NoRoom(FULL)) || count > 5_000_000
                {
                    return count;
                }
            }
            0
        };
        let name = |row: usize| format!("T{row}");
        let mut rows = ConsumerOffsets::default();
        assert_eq!(fill(&mut rows, &name, 1), 524_288);
        let mut wide = ConsumerOffsets::default();
        assert_eq!(fill(&mut wide, &name, 65_536), 4_194_304);
        assert_eq!(wide.reset("G", "T63", 65_536, 9), Err(FULL));
        assert_eq!(fill(&mut ConsumerOffsets::default(), &name, i32::MAX), 65_536);
        for full in [&mut rows, &mut wide] {
            assert_eq!(full.commit("new", "T0", 0, 2), Err(NotTaken::NoRoom(FULL)));
            assert_eq!(full.reset("new", "T0", 0, 2), Err(FULL));
            full.pulled("new", "T0", 0, 2);
            assert_eq!((full.committed("new", "T0", 0), full.pulled_to("new", "T0", 0)), (None, None));
            assert_eq!((full.commit("G", "T1", 0, 2), full.committed("G", "T1", 0)), (Ok(()), Some(2)));
            full.commit_own("own", "T", 0, 3);
            full.load(StoredOffset { topic: "T", group: "loaded", queue_id: 0, offset: 4 });
            assert_eq!((full.committed("own", "T", 0), full.committed("loaded", "T", 0)), (Some(3), Some(4)));
            for topic in ["T1", "T2", "T3"] {
                remove(full, &Whose::Topic(topic.into()), &mut PersistOps::new());
            }
            assert_eq!(full.commit("new", "T0", 0, 2), Ok(()));
        }
    }

    /// Goal: strange queue numbers neither panic nor grow the table without bound.
    #[test]
    fn strange_queue_numbers_are_kept_apart() {
        let mut offsets = ConsumerOffsets::default();
        for queue_id in [-1, i32::MIN, i32::MAX, 3, 0] {
            offsets.commit("G", "T", queue_id, i64::from(queue_id).abs()).unwrap();
        }
        for queue_id in [-1, i32::MIN, i32::MAX, 3, 0] {
            assert_eq!(offsets.committed("G", "T", queue_id), Some(i64::from(queue_id).abs()));
        }
    }
}
