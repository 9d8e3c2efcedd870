//! Bodies that are JSON: short ones are read at once, long ones beside the shard.
//!
//! ```text
//! request --body is short--> the desk goes on
//!         '--is long--> a copy to the cold thread, which reads it    the frame stays where it is, unread, and all behind it
//! offered again --not read yet--> stays
//!               '--read--> the desk goes on with what it says
//! ```
//!
//! A body has a bounded length and a bounded number of values, since what comes of them takes many times the memory. Within these bounds
//! one may take 6 ms to read, which nobody else shall wait for: a heartbeat of thousands of subscriptions, a list of thousands of topics.

use std::any::Any;

use protocol::body::Body;

use super::errands::{Answer, Question};
use super::{Broker, Refusal, Request};
use crate::limits::{
    JSON_BYTES_MAX, JSON_SHORT_BYTES_MAX, JSON_VALUES_MAX, LONG_BODIES_MAX, LONG_BODY_MS_MAX,
};
use crate::net::ConnId;
use crate::time::TurnTime;

/// Those under way, one of a connection at most: the requests behind it are not offered.
#[derive(Debug, Default)]
pub struct LongBodies {
    all: Vec<LongBody>,
    last: u64,
}

#[derive(Debug)]
struct LongBody {
    number: u64,
    conn: ConnId,
    read: Option<ReadBody>,
}

/// The body, to be known again by, what it says, and since when that is known.
#[derive(Debug)]
struct ReadBody {
    body: Vec<u8>,
    what: Box<dyn Any + Send>,
    at_ms: u64,
}

/// Which of them is being read.
#[derive(Debug)]
pub struct BodyErrand {
    number: u64,
}

impl LongBodies {
    /// The connection is gone.
    pub fn closed(&mut self, conn: ConnId) {
        self.all.retain(|long| long.conn != conn);
    }

    /// What this body says, once it has been read.
    fn take(&mut self, conn: ConnId, body: &[u8]) -> Taken {
        let Some(at) = self.all.iter().position(|long| long.conn == conn) else { return Taken::Nothing };
        if self.all[at].read.is_none() {
            return Taken::NotYet;
        }
        match self.all.swap_remove(at).read {
            Some(read) if read.body == body => Taken::Read(read.what),
            _ => Taken::Nothing,
        }
    }

    /// A place for one more, if there is one now.
    fn add(&mut self, conn: ConnId, now_ms: u64) -> Option<BodyErrand> {
        if self.all.len() >= LONG_BODIES_MAX {
            // Who has not come back for it does not read what we send: it asks again when it does.
            let is_old = |read: &ReadBody| read.at_ms + LONG_BODY_MS_MAX < now_ms;
            let old = self.all.iter().position(|long| long.read.as_ref().is_some_and(is_old))?;
            self.all.swap_remove(old);
        }
        self.last += 1;
        self.all.push(LongBody { number: self.last, conn, read: None });
        Some(BodyErrand { number: self.last })
    }
}

enum Taken {
    Read(Box<dyn Any + Send>),
    NotYet,
    Nothing,
}

impl Broker {
    /// The body of a request, where it is JSON. Until a long one has been read, the request waits: a desk asks before it does anything.
    pub(super) fn json<T: Body + Send + 'static>(&mut self, req: &Request<'_>) -> Result<T, Refusal> {
        if req.body.len() > JSON_BYTES_MAX {
            return Err(Refusal::body_too_long(req.body.len(), JSON_BYTES_MAX));
        }
        if req.body.len() <= JSON_SHORT_BYTES_MAX {
            return read(req.body);
        }
        match self.long_bodies.take(req.conn, req.body) {
            Taken::Read(what) => {
                if let Ok(known) = what.downcast::<Result<T, Refusal>>() {
                    return *known;
                }
            }
            Taken::NotYet => return Err(Refusal::no_room()),
            Taken::Nothing => {}
        }
        if let Some(errand) = self.long_bodies.add(req.conn, req.now.mono_ms()) {
            let body = req.body.to_vec();
            self.errands.ask(Question::Read { body, read: |body| Box::new(read::<T>(body)) }, errand);
        }
        Err(Refusal::no_room())
    }

    pub(super) fn body_read(&mut self, errand: BodyErrand, answer: Answer, now: &TurnTime) {
        let Some(long) = self.long_bodies.all.iter_mut().find(|long| long.number == errand.number) else {
            return; // Its connection has closed.
        };
        match answer {
            Answer::Read(body, what) => long.read = Some(ReadBody { body, what, at_ms: now.mono_ms() }),
            answer => unreachable!("{errand:?} was answered with {answer:?}"),
        }
    }
}

fn read<T: Body>(body: &[u8]) -> Result<T, Refusal> {
    T::decode_within(body, JSON_VALUES_MAX).map_err(Refusal::of_body)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: so many bodies are kept at most, and who does not come back for his holds up others for a moment only. Method: a full table, read
    /// all but one; one more at once and later; then the one that made room, one that is closed, and one with another body.
    #[test]
    fn what_nobody_comes_for_makes_room() {
        let mut bodies = LongBodies::default();
        let conn = |slot| ConnId { slot, generation: 1 };
        for slot in 0..LONG_BODIES_MAX as u32 {
            assert!(bodies.add(conn(slot), 0).is_some());
        }
        for long in &mut bodies.all[1..] {
            long.read = Some(ReadBody { body: b"{}".to_vec(), what: Box::new(long.number), at_ms: 5 });
        }
        assert!(matches!(bodies.take(conn(0), b"{}"), Taken::NotYet));
        assert!(bodies.add(conn(100), 5 + LONG_BODY_MS_MAX).is_none());
        assert!(bodies.add(conn(100), 6 + LONG_BODY_MS_MAX).is_some());
        assert_eq!(bodies.all.len(), LONG_BODIES_MAX);
        assert!(matches!(bodies.take(conn(1), b"{}"), Taken::Nothing), "it asks again");
        bodies.closed(conn(2));
        assert!(matches!(bodies.take(conn(2), b"{}"), Taken::Nothing));
        assert!(matches!(bodies.take(conn(3), b"[]"), Taken::Nothing), "another body");
        assert!(matches!(bodies.take(conn(3), b"{}"), Taken::Nothing));
        let Taken::Read(what) = bodies.take(conn(4), b"{}") else { panic!("it has been read") };
        assert_eq!(what.downcast_ref::<u64>(), Some(&5));
        assert!(matches!(bodies.take(conn(0), b"{}"), Taken::NotYet));
    }
}
