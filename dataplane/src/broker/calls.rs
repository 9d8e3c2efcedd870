//! Our own requests to clients that want an answer, until it comes.
//!
//! ```text
//! desk --Outbox::request--> opaque --keep--> Calls --answer, close or deadline--> the desk's second half
//! ```
//!
//! The opaque is ours and counts over all connections, and an answer counts only on the connection it was asked on.
//! Deadlines are in the order in which they were given, since all calls wait equally long. Pure: time is passed in.

use std::collections::{BTreeMap, VecDeque};

use crate::broker::ReplyTo;
use crate::limits::{CALL_MS_MAX, CALLS_MAX};
use crate::net::ConnId;

/// What a call is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// A reply pushed to its requester (code 326): who sent it, and what its answer says.
    PushReply(PushedReply),
    /// An administrator's question to a client (codes 307 and 309), answered with the client's answer.
    Relay { to: ReplyTo, client_id: String },
}

/// A reply on its way to the requester.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedReply {
    pub to: ReplyTo,
    pub queue_id: i32,
    pub client_id: String,
    /// Where it was stored, if it was: physical offset, queue offset.
    pub stored: Option<(i64, i64)>,
}

/// How a call ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    Closed,
    TimedOut,
}

/// The calls under way.
#[derive(Debug, Default)]
pub struct Calls {
    /// In order, so that those to one connection are found without a look at the others.
    under_way: BTreeMap<(ConnId, i32), Call>,
    deadlines: VecDeque<(u64, (ConnId, i32))>,
}

impl Calls {
    pub fn keep(&mut self, conn: ConnId, opaque: i32, call: Call, now_ms: u64) {
        self.under_way.insert((conn, opaque), call);
        self.deadlines.push_back((now_ms + CALL_MS_MAX, (conn, opaque)));
    }

    /// An answer came in. None when nobody asked on this connection, or not any more.
    pub fn answered(&mut self, conn: ConnId, opaque: i32) -> Option<Call> {
        self.under_way.remove(&(conn, opaque))
    }

    /// One call to a connection that is gone; the caller asks until there is none.
    pub fn a_call_to(&mut self, conn: ConnId) -> Option<Call> {
        let (&first, _) = self.under_way.range((conn, i32::MIN)..=(conn, i32::MAX)).next()?;
        self.under_way.remove(&first)
    }

    /// One call that has waited too long; the caller asks until there is none.
    pub fn timed_out(&mut self, now_ms: u64) -> Option<Call> {
        while let Some(&(deadline_ms, key)) = self.deadlines.front() {
            if deadline_ms > now_ms {
                return None;
            }
            self.deadlines.pop_front();
            if let Some(call) = self.under_way.remove(&key) {
                return Some(call);
            }
        }
        None
    }

    /// No more calls may be made now.
    pub fn is_full(&self) -> bool {
        self.deadlines.len() >= CALLS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ConnId = ConnId { slot: 1, generation: 1 };
    const B: ConnId = ConnId { slot: 2, generation: 1 };

    fn relay(client_id: &str) -> Call {
        let to = ReplyTo { conn: B, opaque: 7, codec: protocol::Codec::Json, oneway: false };
        Call::Relay { to, client_id: client_id.into() }
    }

    /// Goal: an answer finds its call once, and only on the connection that was asked.
    #[test]
    fn answers_find_their_call_once() {
        let mut calls = Calls::default();
        calls.keep(A, 1, relay("a"), 0);
        assert_eq!(calls.answered(B, 1), None);
        assert_eq!(calls.answered(A, 2), None);
        assert_eq!(calls.answered(A, 1), Some(relay("a")));
        assert_eq!(calls.answered(A, 1), None);
        assert_eq!(calls.timed_out(u64::MAX), None);
    }

    /// Goal: a call ends after ten seconds, or when its client leaves, whichever is first.
    #[test]
    fn calls_end_without_an_answer() {
        let mut calls = Calls::default();
        calls.keep(A, 1, relay("a"), 0);
        calls.keep(B, 2, relay("b"), 1);
        assert_eq!(calls.timed_out(9_999), None);
        assert_eq!(calls.timed_out(10_000), Some(relay("a")));
        assert_eq!(calls.timed_out(10_000), None);
        assert_eq!(calls.a_call_to(B), Some(relay("b")));
        assert_eq!(calls.a_call_to(B), None);
    }

    /// Goal: a client that leaves with many calls unanswered holds nobody up. Method: as many as would take minutes if each were
    /// looked for among all.
    #[test]
    fn many_calls_end_at_once() {
        let mut calls = Calls::default();
        (0..300_000).for_each(|opaque| calls.keep(A, opaque, relay("a"), 0));
        calls.keep(B, 300_000, relay("b"), 0);
        assert_eq!(std::iter::from_fn(|| calls.a_call_to(A)).count(), 300_000);
        assert_eq!(calls.a_call_to(B), Some(relay("b")));
    }
}
