//! Delivers delayed messages when their time has come.
//!
//! ```text
//! SCHEDULE_TOPIC_XXXX queue level-1:  .. | done | due 12:00:01 | due 12:00:04 | ..
//!                                              '- offset: delayOffset.json        each entry's tags code is its time
//! due -> the record once more, under REAL_TOPIC and REAL_QID, everything else as it was -> offset + 1
//! ```
//!
//! One cursor a level, moved by the shard's turn in bounded steps, so a burst of due messages does not stop the rest.
//! Within a level times grow with the offsets, so only the front is looked at, ten times a second. The cursor is kept
//! some time after the delivery: nothing is lost over a restart, and what was delivered shortly before a kill may come
//! again. Entries that have left the hot log are read ahead by the cold thread. Implements B-7 (docs/PROMISES.md).

use protocol::body::{Body as _, DelayOffsetSerializeWrapper};
use protocol::code::response;
use protocol::names::{SCHEDULE_TOPIC, TRANS_HALF_TOPIC};
use protocol::properties::{self, key};
use protocol::record::{RecordDraft, RecordView};
use store::{Appended, ColdPull, QueueIndex, QueueOffset, Store, UnitAt};

use crate::broker::delay;
use crate::broker::persist_ops::PersistOp;
use crate::broker::read_ahead::{Filled, ReadAhead};
use crate::broker::{Broker, Refusal, Request};
use crate::config::DelayLevels;
use crate::limits::DELIVERIES_PER_TURN_MAX;
use crate::outbox::{Body, Outbox};
use crate::time::TurnTime;

/// The cursors of all levels.
#[derive(Debug)]
pub struct Schedule {
    cursors: Vec<Cursor>,
    /// Which level is looked at first in the next turn, so that a busy one does not starve the others.
    turn: usize,
    kept_ms: i64,
}

/// One level's cursor.
#[derive(Debug)]
struct Cursor {
    queue: QueueIndex,
    offset: i64,
    kept: i64,
    /// When the front is looked at again.
    next_ms: i64,
    /// The front has left the hot log and is being read.
    reading: bool,
    ahead: ReadAhead,
}

/// A read-ahead on its way, for the level with this index.
#[derive(Debug, Clone, Copy)]
pub struct DelayRead {
    level: usize,
}

/// What became of the front of a level.
enum Front {
    Delivered,
    /// Nothing more to do before this time.
    Wait(i64),
    /// The log has no room, or takes nothing: no level can go on now.
    Blocked,
}

impl Schedule {
    /// Sets the cursors to what delayOffset.json held: level, next offset.
    pub fn start(store: &mut Store, delays: &DelayLevels, stored: &[(u8, i64)]) -> Schedule {
        let cursor = |level: i32| {
            let found = stored.iter().find(|(number, _)| i32::from(*number) == level);
            let offset = found.map_or(0, |(_, offset)| *offset);
            let (queue, ahead) = (store.queue(SCHEDULE_TOPIC, level - 1), ReadAhead::default());
            Cursor { queue, offset, kept: offset, next_ms: 0, reading: false, ahead }
        };
        Schedule { cursors: (1..=delay::count(delays)).map(cursor).collect(), turn: 0, kept_ms: 0 }
    }
}

impl Broker {
    /// Delivers what is due, up to a bound. Returns how many messages that were.
    pub(super) fn deliver_delayed(&mut self, now: &TurnTime) -> u32 {
        let levels = self.schedule.cursors.len();
        let mut delivered = 0;
        for step in 0..levels {
            let level = (self.schedule.turn + step) % levels;
            while delivered < DELIVERIES_PER_TURN_MAX {
                let cursor = self.cursor(level);
                // A wall clock that went back must not put a level to sleep.
                if cursor.reading || (cursor.next_ms - LOOK_MS..cursor.next_ms).contains(&now.wall_ms) {
                    break;
                }
                match self.deliver_front(level, now) {
                    Front::Delivered => {
                        self.cursor(level).offset += 1;
                        delivered += 1;
                    }
                    Front::Wait(until_ms) => {
                        self.cursor(level).next_ms = until_ms.min(now.wall_ms + LOOK_MS);
                        break;
                    }
                    Front::Blocked => return delivered,
                }
            }
        }
        if levels > 0 {
            self.schedule.turn = (self.schedule.turn + 1) % levels;
        }
        if now.wall_ms - self.schedule.kept_ms >= KEEP_MS {
            self.keep_delay_offsets(now.wall_ms);
        }
        delivered
    }

    /// Hands the cursors to the cold side; also called at the end.
    pub(super) fn keep_delay_offsets(&mut self, now_ms: i64) {
        self.schedule.kept_ms = now_ms;
        for (at, level) in self.schedule.cursors.iter_mut().enumerate() {
            if level.offset != level.kept {
                level.kept = level.offset;
                self.ops.push(PersistOp::DelayOffset { level: at as u8 + 1, offset: level.offset });
            }
        }
    }

    /// The cold thread has read ahead for a level.
    pub(super) fn delay_answered(&mut self, read: DelayRead, pulled: Option<ColdPull>, now: &TurnTime) {
        let level = self.cursor(read.level);
        level.reading = false;
        level.next_ms = 0;
        match level.ahead.fill(pulled, level.offset) {
            Filled::Records => {}
            Filled::Gone { next_offset } => level.offset = level.offset.max(next_offset),
            Filled::Nothing => level.next_ms = now.wall_ms + LOOK_MS,
        }
    }

    /// Code 45: what delayOffset.json will hold.
    pub(super) fn all_delay_offsets(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let cursors = self.schedule.cursors.iter().enumerate().filter(|(_, cursor)| cursor.offset > 0);
        let offset_table = cursors.map(|(at, cursor)| (at as i32 + 1, cursor.offset)).collect();
        let body = DelayOffsetSerializeWrapper { offset_table, ..DelayOffsetSerializeWrapper::default() };
        out.reply(req.reply_to(), response::SUCCESS, |w| w, Body::Owned(body.encode()));
        Ok(())
    }

    /// Where each level stands: its next offset and the end of its queue. For the broker's runtime information.
    pub fn delay_offsets(&self) -> impl Iterator<Item = (i32, i64, i64)> + '_ {
        self.schedule
            .cursors
            .iter()
            .enumerate()
            .map(|(at, level)| (at as i32 + 1, level.offset, self.store.offsets(level.queue).end.0))
    }

    /// Looks at the message at the cursor of a level.
    fn deliver_front(&mut self, at: usize, now: &TurnTime) -> Front {
        let level = self.cursor(at);
        let (queue, offset) = (level.queue, level.offset);
        let offsets = self.store.offsets(queue);
        if offset < offsets.start.0 || offset > offsets.end.0 {
            // Retention was faster than the delay, or the file is of another store.
            self.cursor(at).offset = offset.clamp(offsets.start.0, offsets.end.0);
            return self.deliver_front(at, now);
        }
        let delay_ms = delay::delay_ms(&self.config.message_delay_level, at as i32 + 1);
        let hot = match self.store.unit(queue, QueueOffset(offset)) {
            UnitAt::None => return Front::Wait(now.wall_ms + LOOK_MS),
            UnitAt::Hot(unit) if is_early(unit.tags_code, delay_ms, now) => {
                return Front::Wait(unit.tags_code);
            }
            UnitAt::Hot(unit) => self.copy_hot(unit.physical.0),
            UnitAt::NotHot => None,
        };
        let bytes = match hot {
            Some(bytes) => bytes,
            None => match self.cursor(at).ahead.front().map(|record| record.store_timestamp + delay_ms) {
                // It stays where it is until then.
                Some(due_ms) if is_early(due_ms, delay_ms, now) => return Front::Wait(due_ms),
                _ => match self.cursor(at).ahead.take(offset) {
                    Some(bytes) => bytes,
                    None => return self.read_ahead(at),
                },
            },
        };
        if !self.has_room_for_copy() {
            return Front::Blocked;
        }
        let stored = match RecordView::parse(&bytes) {
            Ok(record) => self.store_delayed(&record, now),
            Err(_) => Ok(()), // Unreadable: skipped, as the official broker does.
        };
        self.keep_buffer(bytes);
        match stored {
            Ok(()) => Front::Delivered,
            Err(refusal) if refusal.code == response::MESSAGE_ILLEGAL => Front::Delivered,
            Err(_) => Front::Blocked,
        }
    }

    /// Stores the message under its real name.
    fn store_delayed(&mut self, record: &RecordView<'_>, now: &TurnTime) -> Result<(), Refusal> {
        let Some(topic) = properties::get(record.properties, key::REAL_TOPIC) else { return Ok(()) };
        if topic == TRANS_HALF_TOPIC.as_bytes() {
            return Ok(());
        }
        let queue_id = properties::get_str(record.properties, key::REAL_QID).and_then(|id| id.parse().ok());
        let queue_id = queue_id.filter(|queue_id: &i32| *queue_id >= 0).unwrap_or(0);
        let draft = RecordDraft { topic, queue_id, ..record.to_draft() };
        self.put_as_is(&draft, now).map(|_| ())
    }

    /// Stores a message of ours under the name it bears, whether or not there is such a topic (any more).
    pub(super) fn put_as_is(&mut self, draft: &RecordDraft<'_>, now: &TurnTime) -> Result<Appended, Refusal> {
        let tags_code = properties::tags_code(draft.properties);
        let name = String::from_utf8_lossy(draft.topic);
        if let Some(topic) = self.topics.find(&name) {
            return self.append(topic, draft, tags_code, now);
        }
        let queue = self.store.queue(&name, draft.queue_id);
        self.store.append(queue, draft, tags_code, now.wall_ms).map_err(|error| self.append_refusal(error))
    }

    fn read_ahead(&mut self, at: usize) -> Front {
        let level = self.cursor(at);
        let (queue, offset) = (level.queue, level.offset);
        level.reading = true;
        level.ahead.clear();
        self.ask_queue(queue, offset, DelayRead { level: at });
        Front::Wait(0)
    }

    fn cursor(&mut self, at: usize) -> &mut Cursor {
        self.schedule.cursors.get_mut(at).expect("levels are made at start and stay")
    }
}

/// Whether a message must wait. A time that lies further ahead than its level can mean counts as now: the clock went
/// back.
fn is_early(due_ms: i64, delay_ms: i64, now: &TurnTime) -> bool {
    due_ms > now.wall_ms && due_ms <= now.wall_ms + delay_ms
}

/// How often the front of a level is looked at.
const LOOK_MS: i64 = 100;
/// How often cursors are handed to the cold side.
const KEEP_MS: i64 = 1_000;
