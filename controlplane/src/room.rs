//! The memory that connections hold, all together: bounded, as a request or an answer alone may take 16 MiB. There is one
//! room for what has come of requests that are not whole, and one for answers that are not read.
//!
//! ```text
//!   holds(channel, bytes) ──► sum too large? ──► close those that stood still for longest, until it is not
//!   is_busy(channel)      ──► its request is whole and being answered: its bytes still count, and nobody closes it for them
//!   lets_go(channel)      ──► nothing
//! ```
//!
//! Who sends a large request, or reads a large answer, moves all the time, so whoever stops amid one goes first; what is small
//! is not counted (server/share.rs) and never in anybody's way.

use std::collections::{BTreeMap, HashMap};

use crate::namesrv::liveness::{Channel, Millis};

/// The table of those that hold something. It closes nobody itself.
#[derive(Debug)]
pub struct Room {
    bytes_max: usize,
    bytes: usize,
    held: HashMap<Channel, Held>,
    /// Those that wait for their peers, in the order in which they last moved.
    waiting: BTreeMap<u64, Channel>,
    moved_last: u64,
    closed: u64,
    told_at: Option<Millis>,
}

#[derive(Debug)]
struct Held {
    bytes: usize,
    /// When it last moved, unless it waits for us.
    moved: Option<u64>,
}

impl Room {
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            held: HashMap::new(),
            waiting: BTreeMap::new(),
            moved_last: 0,
            closed: 0,
            told_at: None,
        }
    }

    /// A connection moved and holds so many bytes now. Names those that are to be closed for it, which hold
    /// nothing from here on: the longest still first, at last itself.
    pub fn holds(&mut self, channel: Channel, bytes: usize) -> Vec<Channel> {
        self.lets_go(channel);
        self.moved_last += 1;
        self.bytes += bytes;
        self.held.insert(channel, Held { bytes, moved: Some(self.moved_last) });
        self.waiting.insert(self.moved_last, channel);
        let mut closed = Vec::new();
        while self.bytes > self.bytes_max
            && let Some((_, &still)) = self.waiting.first_key_value()
        {
            self.lets_go(still);
            closed.push(still);
        }
        self.closed += closed.len() as u64;
        closed
    }

    pub fn is_busy(&mut self, channel: Channel) {
        if let Some(moved) = self.held.get_mut(&channel).and_then(|held| held.moved.take()) {
            self.waiting.remove(&moved);
        }
    }

    pub fn lets_go(&mut self, channel: Channel) {
        if let Some(held) = self.held.remove(&channel) {
            self.bytes -= held.bytes;
            if let Some(moved) = held.moved {
                self.waiting.remove(&moved);
            }
        }
    }

    /// How many were closed since this was last told, once a minute at most.
    pub fn take_news(&mut self, now: Millis) -> Option<u64> {
        let is_due = self.told_at.is_none_or(|told| now.saturating_sub(told) >= TELL_PAUSE_MS);
        if self.closed == 0 || !is_due {
            return None;
        }
        self.told_at = Some(now);
        Some(std::mem::take(&mut self.closed))
    }
}

const TELL_PAUSE_MS: Millis = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(numbers: &[u64]) -> Vec<Channel> {
        numbers.iter().copied().map(Channel).collect()
    }

    /// N-22. Goal: who stood still for longest goes first, and no more go than must. Method: three that fill it, the first of
    /// which moves again; then one that needs the room of two.
    #[test]
    fn the_longest_still_go_first() {
        let mut room = Room::new(30);
        for number in [1, 2, 3, 1] {
            assert_eq!(room.holds(Channel(number), 10), []);
        }
        assert_eq!(room.holds(Channel(4), 15), channels(&[2, 3]));
        assert_eq!(room.holds(Channel(5), 5), [], "1, 4 and 5 have just room");
        room.lets_go(Channel(2));
        assert_eq!(room.holds(Channel(5), 6), channels(&[1]), "who was closed gives nothing back again");
    }

    /// Goal: what is being answered counts and is not closed for it; when nobody else can be, it is the one that asks for more.
    #[test]
    fn whole_requests_are_left_alone() {
        let mut room = Room::new(30);
        for number in [1, 2] {
            assert_eq!(room.holds(Channel(number), 15), []);
            room.is_busy(Channel(number));
        }
        assert_eq!(room.holds(Channel(3), 1), channels(&[3]));
        room.lets_go(Channel(1));
        assert_eq!(room.holds(Channel(3), 15), []);
        assert_eq!(room.holds(Channel(3), 16), channels(&[3]));
        assert_eq!(room.holds(Channel(2), 16), [], "it has room, and is the next to go");
        assert_eq!(room.holds(Channel(4), 15), channels(&[2]));
    }

    /// Goal: it is told at once, then once a minute with all that came meanwhile, and never when there is nothing to tell.
    #[test]
    fn closing_is_told_once_a_minute() {
        let mut room = Room::new(1);
        assert_eq!(room.take_news(0), None);
        room.holds(Channel(1), 2);
        assert_eq!(room.take_news(5), Some(1));
        room.holds(Channel(2), 2);
        room.holds(Channel(3), 2);
        assert_eq!(room.take_news(60_004), None);
        assert_eq!(room.take_news(60_005), Some(2));
        assert_eq!(room.take_news(200_000), None);
    }
}
