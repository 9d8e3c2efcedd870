//! Requests whose work is too long for one turn: some of it is done in each.
//!
//! ```text
//! body --checked--> LongWork --some items a turn--> the tables
//!                      '--nothing left--> the answer
//! ```
//!
//! Most lists are short, and done at once. One may have thousands of groups, topics or queues, which nobody else shall wait for: then the
//! rest follows in the next turns, and the answer when all is done. One is under way at a time; the next one waits for it, unread, as does
//! whatever the same connection says next.
//! Implements B-15 (docs/PROMISES.md).

use std::fmt;

use protocol::body::Body;

use super::{Broker, Refusal, ReplyTo, Request};
use crate::limits::{JSON_SHORT_BYTES_MAX, LONG_WORK_PER_TURN_MAX};
use crate::net::ConnId;
use crate::outbox::Outbox;
use crate::time::TurnTime;

/// What is left of one request.
pub(super) trait LongWork: fmt::Debug + Send {
    /// Whether it is given up when its client goes. What has nothing to do with who asked for it is finished.
    fn ends_with_its_client(&self) -> bool {
        false
    }

    /// Does `LONG_WORK_PER_TURN_MAX` items of it at most. True: nothing is left, and `to` has been answered.
    fn go_on(&mut self, to: ReplyTo, broker: &mut Broker, now: &TurnTime, out: &mut Outbox) -> bool;
}

/// The one under way, and who asked for it.
#[derive(Debug, Default)]
pub struct LongWorks {
    under_way: Option<(ReplyTo, Box<dyn LongWork>)>,
}

impl LongWorks {
    /// Whether what this connection says has to wait for what it has said before.
    #[inline]
    pub(super) fn is_of(&self, conn: ConnId) -> bool {
        self.under_way.as_ref().is_some_and(|(to, _)| to.conn == conn)
    }

    /// The client is gone.
    pub(super) fn left(&mut self, conn: ConnId) {
        self.under_way.take_if(|(to, work)| to.conn == conn && work.ends_with_its_client());
    }
}

impl Broker {
    /// As `json`, for a body that may list very many items. While another such is under way it waits: unread if it is long.
    pub(super) fn json_list<T: Body + Send + 'static>(
        &mut self,
        req: &Request<'_>,
        items: impl Fn(&T) -> usize,
    ) -> Result<T, Refusal> {
        if req.body.len() > JSON_SHORT_BYTES_MAX {
            // Nor is it read for every turn that it waits.
            self.check_place_for_work()?;
        }
        let list: T = self.json(req)?;
        if items(&list) > LONG_WORK_PER_TURN_MAX {
            self.check_place_for_work()?;
        }
        Ok(list)
    }

    /// Whether a request may begin what may take more than a turn. If not, it waits.
    pub(super) fn check_place_for_work(&self) -> Result<(), Refusal> {
        if self.long_work.under_way.is_some() { Err(Refusal::no_room()) } else { Ok(()) }
    }

    /// Does what this turn may do of it; the next ones go on. Its place has been asked for, if it may need one.
    pub(super) fn begin_work(
        &mut self,
        mut work: impl LongWork + 'static,
        req: &Request<'_>,
        out: &mut Outbox,
    ) {
        let to = req.reply_to();
        if !work.go_on(to, self, req.now, out) {
            assert!(self.long_work.under_way.is_none());
            self.long_work.under_way = Some((to, Box::new(work)));
        }
    }

    /// Called every turn. Returns how much was done.
    pub(super) fn go_on_with_work(&mut self, now: &TurnTime, out: &mut Outbox) -> u32 {
        let Some((to, mut work)) = self.long_work.under_way.take() else { return 0 };
        if !work.go_on(to, self, now, out) {
            self.long_work.under_way = Some((to, work));
        }
        1
    }
}
