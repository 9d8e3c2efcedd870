//! What leaves for the connections: answers and our own requests, encoded at once, sent as the rings free.
//!
//! ```text
//! desk --reply--> Line of its connection: | head | head | log range | head ..     (bytes encoded, records not moved)
//!                         drain ---------> send ring: bytes from the line, records straight from the hot log
//! ```
//!
//! A desk writes while its request still lies in the receive ring, so an answer is encoded into the line's chunk and
//! goes to the send ring with its neighbours of the same visit in one copy. Record bytes of a pull answer are never
//! copied here: a line keeps their place in the log and `drain` moves them when there is room. A range that has left
//! the hot log meanwhile is fetched through the cold thread. A line takes whatever it is given (what was executed must
//! be answered); that it does not grow without bound is the reader's business, which asks `is_full` before every request, and untaken.rs's,
//! for all of them together.
//! Answers to connections that are gone vanish here.

mod drain;
mod untaken;

use std::collections::VecDeque;

use protocol::NoRoom;
use protocol::code::response;
use protocol::frame::{Codec, FRAME_BYTES_MAX};
use protocol::header::HeaderWriter;
use protocol::headers::HeartbeatRequestHeader as NoFields;
use store::{LogRange, SharedBytes};

use crate::answer::{Refusal, ReplyTo};
use crate::counters::count_fields;
use crate::limits::{
    LITTLE_BODY_BYTES_MAX, OUTBOX_BYTES_MAX, OUTBOX_CHUNK_BYTES, OUTBOX_CHUNK_BYTES_KEPT_MAX,
    OUTBOX_CHUNKS_KEPT_MAX, REQUESTS_UNTAKEN_BYTES_MAX,
};
use crate::net::{ConnId, NetTx};

/// The body of an answer or request.
#[derive(Debug)]
pub enum Body<'a> {
    None,
    /// Copied into the line.
    Bytes(&'a [u8]),
    /// Kept as it is: what the cold thread brought.
    Owned(Vec<u8>),
    /// What the cold thread found in memory that others use too: copied unless the send ring takes it at once.
    Shared(SharedBytes),
    /// Stored records as they lie in the log, one after the other.
    Log(&'a [LogRange]),
}

/// The lines of all connections of a shard.
#[derive(Default)]
pub struct Outbox {
    lines: Vec<Line>,
    /// Lines that got something since they were last drained, or whose ring has room again.
    dirty: Vec<ConnId>,
    /// Those of them that have much, in turn.
    bulky: VecDeque<ConnId>,
    /// Answers with little since the last drain, and how many drains to come are short ones on account of earlier ones.
    little_answers: usize,
    short_drains: u32,
    /// .. and how many turns of any kind: what is in the send rings already leaves in others.
    hurried_turns: u32,
    /// Of the last drain.
    little_answers_last: usize,
    /// Connections whose reader waited for a full line that has room again.
    resumed: Vec<ConnId>,
    /// Ranges that left the hot log before they were sent.
    missing: Vec<(ConnId, LogRange)>,
    spare_chunks: Vec<Vec<u8>>,
    /// What all lines hold.
    held: usize,
    /// Our own requests count apart from the client's : its flag tells an answer from a request.
    last_opaque: i32,
    pub counters: OutboxCounters,
}

/// Plain counts; copied out with the shard's.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutboxCounters {
    pub replies: u64,
    pub requests: u64,
    /// Answers whose connection was gone.
    pub lost_peers: u64,
    /// Ranges that had to be fetched from the cold side between the answer and its sending.
    pub fetched_ranges: u64,
    /// Connections ended since they did not take what they had asked for, and memory for it was used up.
    pub untaken_ends: u64,
}

count_fields!(OutboxCounters: replies, requests, lost_peers, fetched_ranges, untaken_ends);

/// What is on its way to one connection.
#[derive(Default)]
struct Line {
    generation: u32,
    open: bool,
    /// Encoded bytes lie in `chunk[head..tail]`; the chunk is initialised to its end.
    chunk: Vec<u8>,
    head: usize,
    tail: usize,
    items: VecDeque<Item>,
    /// Bytes of all items.
    queued: usize,
    /// Bytes of those that are neither in the chunk nor in the log, sent ones too until the last is.
    owned: usize,
    /// What the sum over all lines has of this one.
    counted: usize,
    sent_bytes: u64,
    dirty: bool,
    /// The front item is on its way from the cold thread.
    fetching: bool,
    reader_waits: bool,
    close_when_drained: bool,
}

/// One stretch of a line.
enum Item {
    /// The next so many bytes of the chunk.
    Chunk(usize),
    Owned(Vec<u8>, usize),
    /// The runs from this one on, the first of them from this byte on.
    Shared(SharedBytes, usize, usize),
    Log(LogRange),
}

impl Outbox {
    pub fn new() -> Outbox {
        Outbox::default()
    }

    /// A connection begins: its line is empty.
    pub fn opened(&mut self, conn: ConnId) {
        let slot = conn.slot as usize;
        if slot >= self.lines.len() {
            self.lines.resize_with(slot + 1, Line::default);
        }
        let line = &mut self.lines[slot];
        assert!(!line.open);
        line.generation = conn.generation;
        line.open = true;
    }

    /// A connection is gone: what was not sent is dropped.
    pub fn closed(&mut self, conn: ConnId) {
        let Some(line) = line_of(&mut self.lines, conn) else { return };
        let chunk = std::mem::take(&mut line.chunk);
        let items = std::mem::take(&mut line.items);
        self.held -= line.counted;
        *line = Line { items, ..Line::default() };
        line.items.clear();
        keep_chunk(&mut self.spare_chunks, chunk);
    }

    /// Answers a request. `write` adds fields and remark: `|w| w.field("offset", 3)`; it may be called twice.
    pub fn reply(
        &mut self,
        to: ReplyTo,
        code: i32,
        write: impl for<'b> Fn(HeaderWriter<'b>) -> HeaderWriter<'b>,
        body: Body<'_>,
    ) {
        if to.oneway {
            return;
        }
        self.counters.replies += 1;
        let fits = body.fits_frame()
            && self.put(to.conn, body, |buffer, body_len| {
                write(HeaderWriter::response(buffer, to.codec, code, to.opaque)).finish(body_len)
            });
        if !fits {
            self.too_big(to);
        }
    }

    /// As `reply` without a body, for who writes prefix and header himself; `write` may be called again with more room.
    #[inline]
    pub fn reply_as(&mut self, to: ReplyTo, write: impl Fn(&mut [u8]) -> Result<usize, NoRoom>) {
        if !to.oneway {
            self.counters.replies += 1;
            self.put(to.conn, Body::None, |buffer, _| write(buffer));
        }
    }

    /// Answers SUCCESS and nothing else.
    pub fn done(&mut self, to: ReplyTo) {
        self.reply(to, response::SUCCESS, |w| w, Body::None);
    }

    #[cold]
    pub fn refuse(&mut self, to: ReplyTo, refusal: &Refusal) {
        match refusal.empty_fields {
            true => self.refuse_with(to, refusal, |w| w.with(&NoFields {})),
            false => self.refuse_with(to, refusal, |w| w),
        }
    }

    /// A refusal that carries fields, as those of SEND do.
    #[cold]
    pub fn refuse_with(
        &mut self,
        to: ReplyTo,
        refusal: &Refusal,
        write: impl for<'b> Fn(HeaderWriter<'b>) -> HeaderWriter<'b>,
    ) {
        self.reply(to, refusal.code, |w| write(w).remark(&*refusal.remark), Body::None);
    }

    /// Sends a request of ours to a client, in JSON as the official broker does. Returns its opaque, by which the
    /// client's answer is known. None: it was not sent, since no frame can hold it, or since the client leaves too much of ours
    /// untaken. What others have us ask a client costs that client nothing, and us no more memory than this.
    pub fn request(
        &mut self,
        conn: ConnId,
        code: i32,
        oneway: bool,
        write: impl for<'b> Fn(HeaderWriter<'b>) -> HeaderWriter<'b>,
        body: Body<'_>,
    ) -> Option<i32> {
        self.last_opaque = self.last_opaque.wrapping_add(1) & i32::MAX;
        let opaque = self.last_opaque;
        let line = self.lines.get(conn.slot as usize).filter(|line| line.is(conn));
        let is_taken = line.is_none_or(|line| line.copied() < REQUESTS_UNTAKEN_BYTES_MAX);
        let sent = is_taken
            && body.fits_frame()
            && self.put(conn, body, |buffer, body_len| {
                write(HeaderWriter::request(buffer, Codec::Json, code, opaque, oneway)).finish(body_len)
            });
        self.counters.requests += u64::from(sent);
        sent.then_some(opaque)
    }

    /// Ends a connection once everything before this is sent.
    pub fn close(&mut self, conn: ConnId) {
        if let Some(line) = line_of(&mut self.lines, conn) {
            line.close_when_drained = true;
            mark(line, conn, &mut self.dirty);
        }
    }

    /// Whether a connection is there to be answered.
    pub fn is_open(&self, conn: ConnId) -> bool {
        self.lines.get(conn.slot as usize).is_some_and(|line| line.is(conn))
    }

    /// Whether this connection's next request must wait; then `take_resumed` names it once there is room.
    pub fn is_full(&mut self, conn: ConnId) -> bool {
        let Some(line) = line_of(&mut self.lines, conn) else { return false };
        line.reader_waits = line.queued >= OUTBOX_BYTES_MAX;
        line.reader_waits
    }

    /// Bytes that this connection's send ring has taken since it was opened.
    pub fn sent_bytes(&self, conn: ConnId) -> u64 {
        self.lines.get(conn.slot as usize).filter(|line| line.is(conn)).map_or(0, |line| line.sent_bytes)
    }

    /// Bytes not yet given to the send ring.
    pub fn queued(&self, conn: ConnId) -> usize {
        self.lines.get(conn.slot as usize).filter(|line| line.is(conn)).map_or(0, |line| line.queued)
    }

    pub fn take_resumed(&mut self) -> Option<ConnId> {
        self.resumed.pop()
    }

    /// A range that must be asked of the cold thread; its line waits for `fetched`.
    pub fn take_missing(&mut self) -> Option<(ConnId, LogRange)> {
        self.missing.pop()
    }

    /// The cold thread brought a range, or says it is gone: then the answer cannot be completed and the connection
    /// ends, since its head is on the wire already.
    pub fn fetched(&mut self, conn: ConnId, bytes: Option<Vec<u8>>, net: &mut impl NetTx) {
        let Some(line) = line_of(&mut self.lines, conn) else { return };
        assert!(line.fetching);
        line.fetching = false;
        match (line.items.pop_front(), bytes) {
            (Some(Item::Log(range)), Some(bytes)) if bytes.len() == range.len as usize => {
                line.owned += bytes.len();
                line.items.push_front(Item::Owned(bytes, 0));
                mark(line, conn, &mut self.dirty);
            }
            _ => {
                line.forget();
                net.abort(conn);
            }
        }
        line.count(&mut self.held);
    }

    /// The send ring of this connection has room again.
    pub fn writable(&mut self, conn: ConnId) {
        if let Some(line) = line_of(&mut self.lines, conn)
            && (!line.items.is_empty() || line.close_when_drained)
        {
            mark(line, conn, &mut self.dirty);
        }
    }

    /// Encodes one frame at the end of its connection's line. `encode` writes prefix and header, or says how much room they need;
    /// then it is called once more. False: no frame can hold it, and nothing was done.
    #[inline]
    fn put(
        &mut self,
        conn: ConnId,
        body: Body<'_>,
        encode: impl Fn(&mut [u8], usize) -> Result<usize, NoRoom>,
    ) -> bool {
        let Some(line) = line_of(&mut self.lines, conn) else {
            self.counters.lost_peers += 1;
            return true;
        };
        if line.chunk.is_empty() {
            line.chunk = self.spare_chunks.pop().unwrap_or_else(|| vec![0; OUTBOX_CHUNK_BYTES]);
        }
        let body_len = body.len();
        let mut head = encode(&mut line.chunk[line.tail..], body_len);
        if let Err(NoRoom { bytes_len }) = head
            && bytes_len <= FRAME_BYTES_MAX
        {
            line.make_room(bytes_len);
            head = encode(&mut line.chunk[line.tail..], body_len);
        }
        let Some(head_len) = head.ok().filter(|head_len| head_len + body_len <= FRAME_BYTES_MAX) else {
            // A header made of what some request brought. The next drain gives the room back.
            mark(line, conn, &mut self.dirty);
            line.count(&mut self.held);
            return false;
        };
        line.push_chunk(head_len);
        self.little_answers += usize::from(body_len <= LITTLE_BODY_BYTES_MAX);
        match body {
            Body::None => {}
            Body::Bytes(bytes) => line.push_bytes(bytes),
            Body::Owned(bytes) if bytes.is_empty() => {}
            Body::Owned(bytes) => {
                line.queued += bytes.len();
                line.owned += bytes.len();
                line.items.push_back(Item::Owned(bytes, 0));
            }
            Body::Shared(bytes) if bytes.is_empty() => {}
            Body::Shared(bytes) => {
                line.queued += bytes.len();
                line.owned += bytes.len();
                line.items.push_back(Item::Shared(bytes, 0, 0));
            }
            Body::Log(ranges) => {
                line.queued += body_len;
                line.items.extend(ranges.iter().map(|range| Item::Log(*range)));
            }
        }
        mark(line, conn, &mut self.dirty);
        line.count(&mut self.held);
        true
    }

    /// An answer that no frame can hold.
    #[cold]
    fn too_big(&mut self, to: ReplyTo) {
        let remark = "the answer is longer than a frame may be";
        self.refuse(to, &Refusal::new(response::SYSTEM_ERROR, remark));
    }
}

impl Body<'_> {
    pub fn len(&self) -> usize {
        match self {
            Body::None => 0,
            Body::Bytes(bytes) => bytes.len(),
            Body::Owned(bytes) => bytes.len(),
            Body::Shared(bytes) => bytes.len(),
            Body::Log(ranges) => ranges.iter().map(|range| range.len as usize).sum(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a frame can hold it, with a header of usual length before it.
    pub fn fits_frame(&self) -> bool {
        self.len() <= BODY_BYTES_MAX
    }
}

impl Line {
    fn is(&self, conn: ConnId) -> bool {
        self.open && self.generation == conn.generation
    }

    /// `len` more bytes of the chunk are written.
    #[inline]
    fn push_chunk(&mut self, len: usize) {
        self.tail += len;
        self.queued += len;
        match self.items.back_mut() {
            Some(Item::Chunk(last)) => *last += len,
            _ => self.items.push_back(Item::Chunk(len)),
        }
    }

    fn push_bytes(&mut self, bytes: &[u8]) {
        if self.chunk.len() - self.tail < bytes.len() {
            self.make_room(bytes.len());
        }
        self.chunk[self.tail..self.tail + bytes.len()].copy_from_slice(bytes);
        self.push_chunk(bytes.len());
    }

    /// Bytes that were copied here and wait.
    fn copied(&self) -> usize {
        self.tail - self.head
    }

    /// Nothing of it will be sent any more.
    fn forget(&mut self) {
        self.items.clear();
        (self.head, self.tail, self.queued, self.owned) = (0, 0, 0, 0);
    }

    /// What has to wait for its peer does not keep others' memory.
    fn own_all(&mut self) {
        for item in &mut self.items {
            if let Item::Shared(bytes, run, at) = item {
                let sent = (0..*run).map(|run| bytes.run(run).len()).sum::<usize>() + *at;
                *item = Item::Owned(bytes.to_vec(), sent);
            }
        }
    }

    /// Moves what waits to the front of the chunk, and makes the chunk so much longer that `len` bytes more fit.
    #[cold]
    fn make_room(&mut self, len: usize) {
        if self.head > self.chunk.len() / 2 {
            self.chunk.copy_within(self.head..self.tail, 0);
            self.tail -= self.head;
            self.head = 0;
        }
        if self.chunk.len() - self.tail < len {
            self.chunk.resize((self.tail + len).next_power_of_two(), 0);
        }
    }
}

impl Item {
    /// What was sent of it last was not its end: turns to what follows.
    fn goes_on(&mut self) -> bool {
        let Item::Shared(bytes, run, at) = self else { return false };
        (*run, *at) = (*run + 1, 0);
        *run < bytes.runs()
    }

    /// Bytes that are neither in the chunk nor in the log.
    fn owned(&self) -> usize {
        match self {
            Item::Owned(bytes, _) => bytes.len(),
            Item::Shared(bytes, ..) => bytes.len(),
            Item::Chunk(_) | Item::Log(_) => 0,
        }
    }

    /// Its first `sent` bytes are gone.
    fn shorten(&mut self, sent: usize) {
        match self {
            Item::Chunk(len) => *len -= sent,
            Item::Owned(_, at) | Item::Shared(_, _, at) => *at += sent,
            Item::Log(range) => {
                range.physical = range.physical.plus(sent as u64);
                range.len -= sent as u32;
            }
        }
    }
}

fn line_of(lines: &mut [Line], conn: ConnId) -> Option<&mut Line> {
    lines.get_mut(conn.slot as usize).filter(|line| line.is(conn))
}

fn mark(line: &mut Line, conn: ConnId, dirty: &mut Vec<ConnId>) {
    if !line.dirty {
        line.dirty = true;
        dirty.push(conn);
    }
}

fn keep_chunk(spare: &mut Vec<Vec<u8>>, chunk: Vec<u8>) {
    if (1..=OUTBOX_CHUNK_BYTES_KEPT_MAX).contains(&chunk.len()) && spare.len() < OUTBOX_CHUNKS_KEPT_MAX {
        spare.push(chunk);
    }
}

/// What a body may hold, so that a header of usual length fits before it.
const BODY_BYTES_MAX: usize = FRAME_BYTES_MAX - 64 * 1024;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Goal: a long answer is encoded twice at most, one that no frame holds once, and then says so. Method: count, with headers from a
    /// few bytes to more than a frame, in either codec, while something waits before them.
    #[test]
    fn long_headers_are_encoded_twice_at_most() {
        let mut outbox = Outbox::new();
        let conn = ConnId { slot: 0, generation: 1 };
        outbox.opened(conn);
        for codec in [Codec::Json, Codec::Binary] {
            let to = ReplyTo { conn, opaque: 1, codec, oneway: false };
            for (len, times_max) in [(10, 1), (20 << 10, 2), (5 << 20, 2), (15 << 20, 2), (17 << 20, 1)] {
                let (times, text, before) = (Cell::new(0), "x".repeat(len), outbox.queued(conn));
                let count = || times.set(times.get() + 1);
                outbox.reply(
                    to,
                    1,
                    |w| {
                        count();
                        w.remark(&text)
                    },
                    Body::None,
                );
                assert!(times.get() <= times_max, "{codec:?} {len}: {} times", times.get());
                let grown = outbox.queued(conn) - before;
                assert!(if len > FRAME_BYTES_MAX { grown < 300 } else { grown > len }, "{codec:?} {len}");
            }
        }
    }
}
