//! Offsets that go with their topic (215) or their group (207), some rows a turn: very many groups may have read a topic.

use super::super::long_work::LongWork;
use super::super::offsets::Whose;
use super::super::{Broker, Refusal, ReplyTo, Request};
use crate::limits::LONG_WORK_PER_TURN_MAX;
use crate::outbox::Outbox;
use crate::time::TurnTime;

#[derive(Debug)]
struct Removal {
    whose: Whose,
    /// As many as there were: what others add meanwhile does not keep it going.
    left: usize,
}

impl Broker {
    /// Asked before anything is removed.
    pub(super) fn check_removal(&self, whose: &Whose) -> Result<(), Refusal> {
        match self.offsets.rows_of(whose) <= LONG_WORK_PER_TURN_MAX {
            true => Ok(()),
            false => self.check_place_for_work(),
        }
    }

    /// Answers when all is gone.
    pub(super) fn remove_offsets(&mut self, whose: Whose, req: &Request<'_>, out: &mut Outbox) {
        let left = self.offsets.rows_of(&whose);
        self.begin_work(Removal { whose, left }, req, out);
    }
}

impl LongWork for Removal {
    fn go_on(&mut self, to: ReplyTo, broker: &mut Broker, _now: &TurnTime, out: &mut Outbox) -> bool {
        let now = self.left.min(LONG_WORK_PER_TURN_MAX);
        self.left -= now;
        if (0..now).all(|_| broker.offsets.remove_one(&self.whose, &mut broker.ops)) && self.left > 0 {
            return false;
        }
        out.done(to);
        true
    }
}
