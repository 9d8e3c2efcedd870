//! Connections as runs of frames: what has come is lent to the broker frame by frame, in place.
//!
//! ```text
//! receive ring  | frame | frame | fra.      lent as they lie
//!               |.me | frame | frame ..     split by the ring's end: joined in one scratch buffer, at once
//!               | frame of 300 KiB ......   longer than a small ring: joined as it comes, in a buffer of the pool
//! ```
//!
//! A connection is visited when it is readable, for a bounded number of frames; what is left over waits in its ring
//! and the connection queues up again behind the others. It is not read while its outbox is full, nor past a request
//! that the broker cannot take for want of room: TCP then slows the sender down. Bytes that are no frame end their
//! connection and touch no other. Deliberately absent: any idea of what a frame means.
//! Implements rules W-1 to W-5 (docs/PROMISES.md).

use std::collections::VecDeque;
use std::net::SocketAddr;

use protocol::frame::{Found, Frame, find};

use crate::counters::count_fields;
use crate::join::{JoinPool, Joining};
use crate::limits::{
    IDLE_SWEEP_STEP, JOIN_BYTES_MIN, JOIN_STALL_MS_MAX, RECEIVE_RING_BYTES_MIN, REQUESTS_PER_VISIT_MAX,
};
use crate::net::{ConnId, Net};
use crate::outbox::Outbox;
use crate::touched;

/// The reading side of all connections of a shard.
#[derive(Default)]
pub struct Sessions {
    table: Vec<Session>,
    /// Connections that may have a whole frame, each once.
    ready: VecDeque<ConnId>,
    /// Connections whose next frame waits for room in the log, the cold lane or the join pool.
    stalled: VecDeque<ConnId>,
    pool: JoinPool,
    /// For frames split by the ring's end.
    scratch: Vec<u8>,
    swept: usize,
    pub counters: SessionCounters,
}

/// Who a frame came from.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    pub conn: ConnId,
    pub peer: SocketAddr,
    pub local: SocketAddr,
}

/// What the broker made of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Taken.
    Done,
    /// Not taken; offer it again.
    Wait,
    /// The connection cannot be trusted any more.
    Close,
}

/// A connection that has been silent for too long, and how it should end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silent {
    Close(ConnId),
    Abort(ConnId),
}

/// Plain counts; copied out with the shard's.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionCounters {
    pub opened: u64,
    pub closed: u64,
    pub frames: u64,
    /// Frames that had to be copied together, and their bytes.
    pub joined_frames: u64,
    pub joined_bytes: u64,
    /// Connections ended for bytes that are no frame.
    pub garbage: u64,
    /// Connections ended after long silence.
    pub silent: u64,
    /// Visits that ended at a frame which had to wait.
    pub stalls: u64,
}

count_fields!(SessionCounters: opened, closed, frames, joined_frames, joined_bytes, garbage, silent, stalls);

#[derive(Default)]
struct Session {
    ends: Option<Ends>,
    /// Is in `ready` or `stalled`.
    queued: bool,
    /// The peer has sent its FIN: when no whole frame is left, the connection ends.
    finished: bool,
    /// Asked to close; nothing is read any more.
    closing: bool,
    joining: Option<Joining>,
    opened_ms: u64,
    active_ms: u64,
    sent_bytes: u64,
}

/// Unread bytes of a connection, in one run or two.
#[derive(Clone, Copy)]
struct Runs<'a> {
    first: &'a [u8],
    second: &'a [u8],
}

/// Why a visit ended.
enum End {
    /// No whole frame is left.
    Empty,
    /// There may be more, but others wait.
    Budget,
    /// The outbox is full; it says when to come back.
    OutboxFull,
    /// The next frame must wait for room.
    Stalled,
    Close,
}

impl Sessions {
    pub fn opened(&mut self, ends: Ends, now_ms: u64) {
        let slot = ends.conn.slot as usize;
        if slot >= self.table.len() {
            self.table.resize_with(slot + 1, Session::default);
            // A connection is on one list at most: later, under load, they need not grow. One that has ended stays on its
            // list until its turn comes, so there may be more than there are slots.
            self.ready.reserve((slot + 1).saturating_sub(self.ready.len()));
            self.stalled.reserve((slot + 1).saturating_sub(self.stalled.len()));
        }
        if self.scratch.capacity() == 0 {
            self.scratch = touched::items(RECEIVE_RING_BYTES_MIN, 0);
        }
        let session = &mut self.table[slot];
        assert!(session.ends.is_none());
        *session = Session { ends: Some(ends), opened_ms: now_ms, active_ms: now_ms, ..Session::default() };
        self.counters.opened += 1;
    }

    pub fn closed(&mut self, conn: ConnId) {
        let Some(session) = session_of(&mut self.table, conn) else { return };
        if let Some(joining) = session.joining.take() {
            self.pool.give_back(joining);
        }
        *session = Session::default();
        self.counters.closed += 1;
    }

    /// Bytes have come, or room for their answers.
    pub fn readable(&mut self, conn: ConnId, now_ms: u64) {
        if let Some(session) = session_of(&mut self.table, conn) {
            session.active_ms = now_ms;
            enqueue(session, conn, &mut self.ready);
        }
    }

    /// The peer will send no more.
    pub fn finished(&mut self, conn: ConnId) {
        if let Some(session) = session_of(&mut self.table, conn) {
            session.finished = true;
            enqueue(session, conn, &mut self.ready);
        }
    }

    /// The outbox of this connection has room again.
    pub fn resumed(&mut self, conn: ConnId) {
        if let Some(session) = session_of(&mut self.table, conn) {
            enqueue(session, conn, &mut self.ready);
        }
    }

    /// Begins a round: the connections that had to wait try again, behind the others. Returns how many visits there
    /// are.
    pub fn start_round(&mut self) -> usize {
        self.ready.append(&mut self.stalled);
        self.ready.len()
    }

    /// Whether somebody's request waits for room that a cold thread makes.
    pub fn has_stalled(&self) -> bool {
        !self.stalled.is_empty()
    }

    pub fn next_ready(&mut self) -> Option<ConnId> {
        self.ready.pop_front()
    }

    /// Serves up to `budget` frames of one connection. Returns how many it served.
    pub fn visit<N: Net>(
        &mut self,
        conn: ConnId,
        now_ms: u64,
        budget: u32,
        net: &mut N,
        outbox: &mut Outbox,
        serve: &mut impl FnMut(Frame<'_>, &Ends, &mut Outbox) -> Verdict,
    ) -> u32 {
        let Some(session) = session_of(&mut self.table, conn) else { return 0 };
        session.queued = false;
        if session.closing {
            return 0;
        }
        let Some(ends) = session.ends else { return 0 };
        let mut visit = Visit {
            session,
            ends,
            pool: &mut self.pool,
            scratch: &mut self.scratch,
            counters: &mut self.counters,
            now_ms,
            used: 0,
            served: 0,
            budget: budget.min(REQUESTS_PER_VISIT_MAX),
        };
        let (first, second) = net.readable(conn);
        let end = visit.run(Runs { first, second }, outbox, serve);
        let (used, served) = (visit.used, visit.served);
        net.consume(conn, used);
        self.counters.frames += u64::from(served);
        let session = &mut self.table[conn.slot as usize];
        match end {
            End::Empty if session.finished => {
                session.closing = true;
                outbox.close(conn);
            }
            End::Empty | End::OutboxFull => {}
            End::Budget => enqueue(session, conn, &mut self.ready),
            End::Stalled => {
                self.counters.stalls += 1;
                enqueue(session, conn, &mut self.stalled);
            }
            End::Close => {
                self.counters.garbage += 1;
                session.closing = true;
                outbox.close(conn);
            }
        }
        served
    }

    /// Looks at a few connections a call and names one that has been silent for too long, or sits on a joined frame
    /// without sending the rest of it. The caller ends it.
    pub fn sweep(&mut self, now_ms: u64, idle_ms_max: u64, outbox: &Outbox) -> Option<Silent> {
        for _ in 0..IDLE_SWEEP_STEP.min(self.table.len()) {
            self.swept = (self.swept + 1) % self.table.len();
            let session = &mut self.table[self.swept];
            let Some(ends) = session.ends else { continue };
            let sent_bytes = outbox.sent_bytes(ends.conn);
            if sent_bytes != session.sent_bytes {
                session.sent_bytes = sent_bytes;
                session.active_ms = now_ms;
            }
            let sits = session.joining.as_ref().is_some_and(|j| now_ms > j.grown_ms() + JOIN_STALL_MS_MAX);
            if !sits && now_ms <= session.active_ms + idle_ms_max {
                continue;
            }
            // One that was asked to close and is still there after as long again is ended without asking.
            let was_closing = std::mem::replace(&mut session.closing, true);
            session.active_ms = now_ms;
            if let Some(joining) = session.joining.take() {
                self.pool.give_back(joining);
            }
            self.counters.silent += 1;
            return Some(if was_closing || sits {
                Silent::Abort(ends.conn)
            } else {
                Silent::Close(ends.conn)
            });
        }
        None
    }

    /// How many slots there are; some are empty.
    pub fn slots_len(&self) -> usize {
        self.table.len()
    }

    /// The connection in a slot, and when it was opened.
    pub fn at(&self, slot: usize) -> Option<(ConnId, u64)> {
        let session = self.table.get(slot)?;
        session.ends.map(|ends| (ends.conn, session.opened_ms))
    }

    pub fn ends(&self) -> impl Iterator<Item = &Ends> + '_ {
        self.table.iter().filter_map(|session| session.ends.as_ref())
    }
}

/// One visit of one connection.
struct Visit<'s> {
    session: &'s mut Session,
    ends: Ends,
    pool: &'s mut JoinPool,
    scratch: &'s mut Vec<u8>,
    counters: &'s mut SessionCounters,
    now_ms: u64,
    /// Bytes of the ring that are done with.
    used: usize,
    served: u32,
    budget: u32,
}

impl Visit<'_> {
    fn run(
        &mut self,
        mut runs: Runs<'_>,
        outbox: &mut Outbox,
        serve: &mut impl FnMut(Frame<'_>, &Ends, &mut Outbox) -> Verdict,
    ) -> End {
        loop {
            if self.served == self.budget {
                return End::Budget;
            }
            if outbox.is_full(self.ends.conn) {
                return End::OutboxFull;
            }
            let step = if self.session.joining.is_some() {
                self.step_joining(&mut runs, outbox, serve)
            } else {
                match find(runs.first) {
                    Ok(Found::Whole { frame, bytes_len }) => {
                        let verdict = serve(frame, &self.ends, outbox);
                        self.took(verdict, bytes_len, &mut runs)
                    }
                    Ok(Found::Need { bytes_len }) => self.step_need(bytes_len, &mut runs, outbox, serve),
                    Err(_) => Some(End::Close),
                }
            };
            if let Some(end) = step {
                return end;
            }
        }
    }

    /// A frame was offered; if it was taken the visit goes on behind it.
    #[inline]
    fn took(&mut self, verdict: Verdict, bytes_len: usize, runs: &mut Runs<'_>) -> Option<End> {
        match verdict {
            Verdict::Done => {
                runs.advance(bytes_len);
                self.used += bytes_len;
                self.served += 1;
                None
            }
            Verdict::Wait => Some(End::Stalled),
            Verdict::Close => Some(End::Close),
        }
    }

    /// The first run does not hold a whole frame: it goes on behind the ring's end, or it has not all come.
    #[cold]
    fn step_need(
        &mut self,
        bytes_len: usize,
        runs: &mut Runs<'_>,
        outbox: &mut Outbox,
        serve: &mut impl FnMut(Frame<'_>, &Ends, &mut Outbox) -> Verdict,
    ) -> Option<End> {
        let mut wanted = bytes_len;
        while wanted <= runs.len() {
            runs.copy_to(wanted, self.scratch);
            match find(self.scratch) {
                Ok(Found::Whole { frame, bytes_len }) => {
                    let verdict = serve(frame, &self.ends, outbox);
                    if verdict == Verdict::Done {
                        self.counters.joined_frames += 1;
                        self.counters.joined_bytes += bytes_len as u64;
                    }
                    return self.took(verdict, bytes_len, runs);
                }
                Ok(Found::Need { bytes_len }) => wanted = bytes_len,
                Err(_) => return Some(End::Close),
            }
        }
        if wanted <= JOIN_BYTES_MIN {
            return Some(End::Empty);
        }
        self.session.joining = Some(Joining::new(wanted, self.now_ms));
        None
    }

    /// Moves what has come into the joined buffer, and serves the frame once it is whole.
    #[cold]
    fn step_joining(
        &mut self,
        runs: &mut Runs<'_>,
        outbox: &mut Outbox,
        serve: &mut impl FnMut(Frame<'_>, &Ends, &mut Outbox) -> Verdict,
    ) -> Option<End> {
        let joining = self.session.joining.as_mut().expect("asked by the caller");
        for _ in 0..2 {
            let moved = joining.take(runs.first, self.now_ms, self.pool);
            runs.advance(moved);
            self.used += moved;
        }
        if !joining.is_whole() {
            return Some(if runs.is_empty() { End::Empty } else { End::Stalled });
        }
        let end = match find(joining.bytes()) {
            Ok(Found::Whole { frame, .. }) => match serve(frame, &self.ends, outbox) {
                Verdict::Done => None,
                Verdict::Wait => return Some(End::Stalled),
                Verdict::Close => Some(End::Close),
            },
            Ok(Found::Need { .. }) | Err(_) => Some(End::Close),
        };
        self.counters.joined_frames += 1;
        self.counters.joined_bytes += joining.bytes().len() as u64;
        self.served += 1;
        let joining = self.session.joining.take().expect("it is still there");
        self.pool.give_back(joining);
        end
    }
}

impl Runs<'_> {
    fn len(&self) -> usize {
        self.first.len() + self.second.len()
    }

    fn is_empty(&self) -> bool {
        self.first.is_empty() && self.second.is_empty()
    }

    /// Drops the first `len` bytes. The first run is empty only when there is no second.
    #[inline]
    fn advance(&mut self, len: usize) {
        match self.first.split_at_checked(len) {
            Some((_, rest)) if !rest.is_empty() => self.first = rest,
            _ => {
                let (_, rest) = self.second.split_at(len - self.first.len());
                *self = Runs { first: rest, second: &[] };
            }
        }
    }

    fn copy_to(&self, len: usize, out: &mut Vec<u8>) {
        out.clear();
        let (first, second) = (self.first.len().min(len), len.saturating_sub(self.first.len()));
        out.extend_from_slice(&self.first[..first]);
        out.extend_from_slice(&self.second[..second]);
    }
}

fn session_of(table: &mut [Session], conn: ConnId) -> Option<&mut Session> {
    table.get_mut(conn.slot as usize).filter(|session| session.ends.is_some_and(|ends| ends.conn == conn))
}

fn enqueue(session: &mut Session, conn: ConnId, list: &mut VecDeque<ConnId>) {
    if !session.queued && !session.closing {
        session.queued = true;
        list.push_back(conn);
    }
}
