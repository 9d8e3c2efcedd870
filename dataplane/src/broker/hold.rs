//! Long polls: pulls that found nothing wait here until a message or their deadline comes.
//!
//! ```text
//! pull (19, may suspend) --park--> slot --+-- list of its queue       <-- an append names the queue: arrived()
//!                                         +-- list of its connection  <-- closed()
//!                                         '-- a wheel slot, 64 ms     <-- expire()
//! woken or due --> due list --take_due--> the pull desk runs it again, through all checks; it never waits again
//! ```
//!
//! Slots and the buffers in them are reused: parking and waking allocate nothing once the table has seen its largest
//! size; only long subscriptions give their memory back, of which all that wait have so much at most. Nothing here answers a client;
//! the pull desk does.

use std::collections::VecDeque;

use store::QueueIndex;

use crate::broker::filter::TagFilter;
use crate::broker::held_pull::{HeldPull, Pull};
use crate::limits::{HOLD_BYTES_KEPT_MAX, HOLDS_BYTES_MAX, HOLDS_MAX, HOLDS_PER_CONN_MAX};
use crate::net::ConnId;

/// All held pulls of a shard.
#[derive(Debug)]
pub struct Holds {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// First hold of each queue, by queue index.
    queues: Vec<u32>,
    /// First hold of each connection, by its slot, and how many there are in that list.
    conns: Vec<u32>,
    conn_holds: Vec<u32>,
    /// Memory of the long ones.
    bytes: usize,
    /// First hold of each wheel slot.
    wheel: Box<[u32; WHEEL_SLOTS]>,
    /// The last wheel tick that was looked at.
    tick: u64,
    due: VecDeque<u32>,
}

/// A hold that is due, out of the table while its pull runs again. Goes back by `recycle`.
#[derive(Debug)]
pub struct DueHold {
    slot: u32,
    pub pull: Box<HeldPull>,
}

#[derive(Debug)]
struct Slot {
    state: State,
    pull: Option<Box<HeldPull>>,
    filter: TagFilter,
    queue: usize,
    conn: ConnId,
    /// What it counts in `Holds::bytes`; 0 unless it is long.
    bytes: usize,
    queue_offset: i64,
    deadline_ms: u64,
    links: [Link; LISTS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Waiting,
    Due,
    /// Its pull is running.
    Out,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
}

impl Default for Holds {
    fn default() -> Holds {
        Holds {
            slots: Vec::new(),
            free: Vec::new(),
            queues: Vec::new(),
            conns: Vec::new(),
            conn_holds: Vec::new(),
            bytes: 0,
            wheel: Box::new([NONE; WHEEL_SLOTS]),
            tick: 0,
            due: VecDeque::new(),
        }
    }
}

impl Holds {
    /// Keeps a pull until a message beyond its offset that passes `filter`, or until `deadline_ms` (monotonic).
    /// False when the table is full, or what its connection may have of it.
    pub fn park(&mut self, queue: QueueIndex, pull: &Pull<'_>, filter: &TagFilter, deadline_ms: u64) -> bool {
        let of_conn = *entry(&mut self.conn_holds, pull.to.conn.slot as usize, 0) as usize;
        let is_long = pull.texts_len() + filter.bytes() > HOLD_BYTES_KEPT_MAX;
        if of_conn >= HOLDS_PER_CONN_MAX || (is_long && self.bytes >= HOLDS_BYTES_MAX) {
            return false;
        }
        let Some(id) = self.free.pop().or_else(|| self.add_slot()) else { return false };
        let slot = &mut self.slots[id as usize];
        assert!(slot.state == State::Free);
        slot.state = State::Waiting;
        let held = slot.pull.get_or_insert_default();
        held.copy_from(pull);
        slot.filter.copy_from(filter);
        slot.bytes = if is_long { held.bytes_kept() + slot.filter.bytes_kept() } else { 0 };
        self.bytes += slot.bytes;
        slot.queue = queue.as_usize();
        slot.conn = pull.to.conn;
        slot.queue_offset = pull.numbers.queue_offset;
        // A deadline that has passed is looked at with the wheel's next tick.
        slot.deadline_ms = deadline_ms.max(self.tick * WHEEL_SLOT_MS);
        for list in [QUEUE, CONN, WHEEL] {
            self.link(list, id);
        }
        true
    }

    /// Whether an append to this queue has anybody to wake.
    #[inline]
    pub fn waits_on(&self, queue: QueueIndex) -> bool {
        self.queues.get(queue.as_usize()).is_some_and(|first| *first != NONE)
    }

    /// A message came: the queue ends at `next_offset` now, and its last entry has this tags code.
    pub fn arrived(&mut self, queue: QueueIndex, next_offset: i64, code: i64) {
        let mut id = self.queues.get(queue.as_usize()).copied().unwrap_or(NONE);
        while id != NONE {
            let slot = &self.slots[id as usize];
            let next = slot.links[QUEUE].next;
            if next_offset > slot.queue_offset && slot.filter.matches(code) {
                self.make_due(id);
            }
            id = next;
        }
    }

    /// Makes due what has waited long enough; up to 64 ms late, never early.
    pub fn expire(&mut self, now_ms: u64) {
        let now_tick = now_ms / WHEEL_SLOT_MS;
        let first = self.tick.max(now_tick.saturating_sub(WHEEL_SLOTS as u64));
        for tick in first..now_tick {
            let mut id = self.wheel[tick as usize % WHEEL_SLOTS];
            while id != NONE {
                let slot = &self.slots[id as usize];
                let next = slot.links[WHEEL].next;
                if slot.deadline_ms <= now_ms {
                    self.make_due(id);
                }
                id = next;
            }
        }
        self.tick = self.tick.max(now_tick);
    }

    /// A connection is gone: its holds vanish without a word.
    pub fn closed(&mut self, conn: ConnId) {
        let mut id = self.conns.get(conn.slot as usize).copied().unwrap_or(NONE);
        while id != NONE {
            let slot = &self.slots[id as usize];
            let next = slot.links[CONN].next;
            if slot.conn == conn {
                if slot.state == State::Waiting {
                    self.unlink(QUEUE, id);
                    self.unlink(WHEEL, id);
                }
                self.unlink(CONN, id);
                self.give_back(id);
            }
            id = next;
        }
    }

    /// The next pull that has to run again.
    pub fn take_due(&mut self) -> Option<DueHold> {
        while let Some(id) = self.due.pop_front() {
            let slot = &mut self.slots[id as usize];
            // A hold whose connection closed after it became due left its number behind.
            if slot.state == State::Due {
                slot.state = State::Out;
                let pull = slot.pull.take().expect("a slot that is due holds its pull");
                self.unlink(CONN, id);
                return Some(DueHold { slot: id, pull });
            }
        }
        None
    }

    /// Takes back the buffers of a hold that has been answered.
    pub fn recycle(&mut self, hold: DueHold) {
        let slot = &mut self.slots[hold.slot as usize];
        assert!(slot.state == State::Out);
        slot.pull = Some(hold.pull);
        self.give_back(hold.slot);
    }

    /// The slot is free; what is long in it is given back.
    fn give_back(&mut self, id: u32) {
        let slot = &mut self.slots[id as usize];
        slot.state = State::Free;
        self.bytes -= slot.bytes;
        if slot.bytes > 0 {
            slot.pull = None;
            slot.filter = TagFilter::default();
        }
        self.free.push(id);
    }

    /// How many pulls wait.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn make_due(&mut self, id: u32) {
        assert!(self.slots[id as usize].state == State::Waiting);
        self.unlink(QUEUE, id);
        self.unlink(WHEEL, id);
        self.slots[id as usize].state = State::Due;
        self.due.push_back(id);
    }

    #[cold]
    fn add_slot(&mut self) -> Option<u32> {
        if self.slots.len() >= HOLDS_MAX {
            return None;
        }
        self.slots.push(Slot {
            state: State::Free,
            pull: None,
            filter: TagFilter::default(),
            queue: 0,
            conn: ConnId { slot: 0, generation: 0 },
            bytes: 0,
            queue_offset: 0,
            deadline_ms: 0,
            links: [Link { previous: NONE, next: NONE }; LISTS],
        });
        // Numbers of holds whose connection has closed may lie in between, any number of them.
        self.due.reserve(self.slots.len().saturating_sub(self.due.len()));
        Some(self.slots.len() as u32 - 1)
    }

    /// The first hold of the list that this slot belongs to.
    fn head(&mut self, list: usize, id: u32) -> &mut u32 {
        let slot = &self.slots[id as usize];
        match list {
            QUEUE => entry(&mut self.queues, slot.queue, NONE),
            CONN => entry(&mut self.conns, slot.conn.slot as usize, NONE),
            _ => &mut self.wheel[(slot.deadline_ms / WHEEL_SLOT_MS) as usize % WHEEL_SLOTS],
        }
    }

    fn link(&mut self, list: usize, id: u32) {
        if list == CONN {
            *entry(&mut self.conn_holds, self.slots[id as usize].conn.slot as usize, 0) += 1;
        }
        let next = std::mem::replace(self.head(list, id), id);
        self.slots[id as usize].links[list] = Link { previous: NONE, next };
        if next != NONE {
            self.slots[next as usize].links[list].previous = id;
        }
    }

    fn unlink(&mut self, list: usize, id: u32) {
        if list == CONN {
            *entry(&mut self.conn_holds, self.slots[id as usize].conn.slot as usize, 0) -= 1;
        }
        let Link { previous, next } = self.slots[id as usize].links[list];
        match previous {
            NONE => *self.head(list, id) = next,
            _ => self.slots[previous as usize].links[list].next = next,
        }
        if next != NONE {
            self.slots[next as usize].links[list].previous = previous;
        }
    }
}

fn entry(list: &mut Vec<u32>, at: usize, empty: u32) -> &mut u32 {
    if at >= list.len() {
        list.resize(at + 1, empty);
    }
    &mut list[at]
}

/// No slot.
const NONE: u32 = u32::MAX;
/// The lists a waiting slot is in.
const QUEUE: usize = 0;
const CONN: usize = 1;
const WHEEL: usize = 2;
const LISTS: usize = 3;
/// Width of a wheel slot, and how late a deadline may be.
const WHEEL_SLOT_MS: u64 = 64;
/// 65 s in one round; a longer hold is looked at once a round.
const WHEEL_SLOTS: usize = 1024;

const _: () = assert!(HOLDS_MAX < NONE as usize);
