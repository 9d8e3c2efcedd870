//! From the lines to the send rings: those with little first and whole, those with much in turn.
//!
//! ```text
//!   dirty ─▶ little: all of it ─▶ ring
//!        └─▶ bulky ─▶ as many bytes as a turn may move ─▶ ring ─▶ bulky again, if the ring would take more
//! ```
//!
//! A turn serves, copies and sends, and whoever speaks meanwhile waits for all of it. While nobody asks for little, much
//! is moved at a time, so that frames are full; else less, so that the next turn comes soon, but more the more such answers
//! there are: a turn that takes long anyway would else leave those with much too little.

use store::LogRange;

use super::{Item, Outbox, keep_chunk, line_of};
use crate::limits::{
    ANSWERS_HELD_BYTES_MAX, DRAIN_BYTES_MAX, DRAIN_BYTES_SHORT, LITTLE_LINE_BYTES_MAX, OUTBOX_BYTES_LOW,
    SHORT_DRAINS,
};
use crate::net::{ConnId, NetTx};

impl Outbox {
    /// Moves what the send rings take, as far as a turn's bytes go. Returns the number of lines looked at: with more to
    /// move it is never 0.
    pub fn drain<'l>(&mut self, net: &mut impl NetTx, log: impl Fn(LogRange) -> Option<&'l [u8]>) -> u32 {
        if self.held > ANSWERS_HELD_BYTES_MAX {
            self.end_largest(net);
        }
        let mut lines = 0;
        while let Some(conn) = self.dirty.pop() {
            let Some(line) = line_of(&mut self.lines, conn) else { continue };
            if line.queued > LITTLE_LINE_BYTES_MAX {
                self.bulky.push_back(conn);
                continue;
            }
            lines += 1;
            self.drain_line(conn, usize::MAX, net, &log);
        }
        let mut left = self.bytes_of_this_turn();
        while left > 0
            && let Some(conn) = self.bulky.pop_front()
        {
            lines += 1;
            left -= self.drain_line(conn, left, net, &log);
        }
        lines
    }

    /// While somebody asks for little, and would wait for what is moved of the rest: how many such answers this turn has.
    pub fn hurry(&self) -> Option<usize> {
        (self.hurried_turns > 0).then_some(self.little_answers_last)
    }

    /// How much the lines with much may move now.
    fn bytes_of_this_turn(&mut self) -> usize {
        let little_answers = std::mem::take(&mut self.little_answers);
        self.little_answers_last = little_answers;
        self.hurried_turns = self.hurried_turns.saturating_sub(1);
        if little_answers > 0 {
            self.short_drains = SHORT_DRAINS;
            self.hurried_turns = SHORT_DRAINS;
        }
        if self.bulky.is_empty() || self.short_drains == 0 {
            return DRAIN_BYTES_MAX;
        }
        self.short_drains -= 1;
        (DRAIN_BYTES_SHORT * little_answers.max(1)).min(DRAIN_BYTES_MAX)
    }

    /// Moves at most `bytes_max` bytes of one line, which gets its turn again if the ring may take more. Gives how many.
    fn drain_line<'l>(
        &mut self,
        conn: ConnId,
        bytes_max: usize,
        net: &mut impl NetTx,
        log: &impl Fn(LogRange) -> Option<&'l [u8]>,
    ) -> usize {
        let Some(line) = line_of(&mut self.lines, conn) else { return 0 };
        line.dirty = false;
        if line.fetching {
            line.own_all();
            return 0;
        }
        let mut left = bytes_max;
        while left > 0
            && let Some(item) = line.items.front_mut()
        {
            let bytes = match item {
                Item::Chunk(len) => &line.chunk[line.head..line.head + *len],
                Item::Owned(bytes, at) => &bytes[*at..],
                Item::Shared(bytes, run, at) => &bytes.run(*run)[*at..],
                Item::Log(range) => match log(*range) {
                    Some(bytes) => bytes,
                    None => {
                        self.missing.push((conn, *range));
                        self.counters.fetched_ranges += 1;
                        line.fetching = true;
                        break;
                    }
                },
            };
            let (whole, wanted) = (bytes.len(), bytes.len().min(left));
            let sent = net.send(conn, &bytes[..wanted]);
            left -= sent;
            line.queued -= sent;
            line.sent_bytes += sent as u64;
            if let Item::Chunk(_) = item {
                line.head += sent;
            }
            if sent < whole {
                item.shorten(sent);
                if sent < wanted {
                    break;
                }
            } else if !item.goes_on() {
                line.owned -= item.owned();
                line.items.pop_front();
            }
        }
        line.count(&mut self.held);
        if line.reader_waits && line.queued <= OUTBOX_BYTES_LOW {
            line.reader_waits = false;
            self.resumed.push(conn);
        }
        let moved = bytes_max - left;
        if left == 0 && line.queued > 0 {
            line.dirty = true;
            self.bulky.push_back(conn);
            return moved;
        }
        if !line.items.is_empty() {
            line.own_all();
            return moved;
        }
        assert!(line.queued == 0);
        assert!(line.head == line.tail);
        line.head = 0;
        line.tail = 0;
        if line.close_when_drained {
            net.close(conn);
        }
        let chunk = std::mem::take(&mut line.chunk);
        line.count(&mut self.held);
        keep_chunk(&mut self.spare_chunks, chunk);
        moved
    }
}
