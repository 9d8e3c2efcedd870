//! Who waits for the cold thread, and where its answers go on: the second halves of requests that need the files.

use crate::broker::Broker;
use crate::broker::admin::AdminErrand;
use crate::broker::desk_errands::DeskErrand;
use crate::broker::errands::{Answer, Waits, waiting};
use crate::broker::long_bodies::BodyErrand;
use crate::broker::pull::PullErrand;
use crate::net::{ConnId, NetTx};
use crate::outbox::Outbox;
use crate::time::TurnTime;

waiting! {
    /// What was asked for: what is still needed lies in the desk's own type.
    Errand:
    Pull(PullErrand),
    Desk(DeskErrand),
    Admin(Box<AdminErrand>),
    Body(BodyErrand),
}

impl Waits for Errand {
    fn conn(&self) -> Option<ConnId> {
        match self {
            Errand::Pull(PullErrand::Again(pull, _)) => Some(pull.conn()),
            Errand::Admin(errand) => Some(errand.to().conn),
            // The rest of an answer waits in its line, and is counted there.
            Errand::Pull(PullErrand::Rest(_)) | Errand::Desk(_) | Errand::Body(_) => None,
        }
    }
}

impl Broker {
    /// The cold thread has an answer: back to who asked.
    pub(super) fn errand_done(
        &mut self,
        errand: Errand,
        answer: Answer,
        now: &TurnTime,
        net: &mut impl NetTx,
        out: &mut Outbox,
    ) {
        match errand {
            Errand::Pull(errand) => self.pull_answered(errand, answer, now, net, out),
            Errand::Desk(errand) => self.desk_answered(errand, answer, now, out),
            Errand::Admin(errand) => self.admin_answered(*errand, answer, out),
            Errand::Body(errand) => self.body_read(errand, answer, now),
        }
    }
}
