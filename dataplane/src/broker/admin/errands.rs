//! The second halves of requests that need the files: what the cold thread answers is put into its place here.

use protocol::code::response;

use super::super::errands::{Answer, Question, waiting};
use super::super::{Broker, Refusal, ReplyTo};
use super::consume_directly::ConsumeDirectly;
use super::consumequeue::Lines;
use super::dumps::Dump;
use super::messages::{ViewMessage, not_found};
use super::query::{self, KeyQuery};
use super::reset::Reset;
use super::stats::Untimed;
use crate::outbox::{Body, Outbox};

waiting! {
    /// Who of this room waits for an answer.
    AdminErrand:
    StoreTimes(Untimed),
    Reset(Reset),
    Message(ViewMessage),
    ConsumeDirectly(ConsumeDirectly),
    Keys(KeyQuery),
    ConsumeQueue(Lines),
    Dump(Dump),
}

impl AdminErrand {
    pub(in crate::broker) fn to(&self) -> ReplyTo {
        match self {
            AdminErrand::StoreTimes(untimed) => untimed.to,
            AdminErrand::Reset(reset) => reset.to,
            AdminErrand::Message(view) => view.to,
            AdminErrand::ConsumeDirectly(call) => call.to,
            AdminErrand::Keys(query) => query.to,
            AdminErrand::ConsumeQueue(lines) => lines.to,
            AdminErrand::Dump(dump) => dump.to,
        }
    }
}

impl Broker {
    /// Asks the cold thread for a desk of this room.
    pub(super) fn ask_for_admin(&mut self, question: Question, errand: impl Into<AdminErrand>) {
        self.errands.ask(question, Box::new(errand.into()));
    }

    /// The cold thread has answered a desk of this room.
    pub(in crate::broker) fn admin_answered(
        &mut self,
        errand: AdminErrand,
        answer: Answer,
        out: &mut Outbox,
    ) {
        match (errand, answer) {
            (errand, Answer::Failed(error)) => {
                out.refuse(errand.to(), &Refusal::new(response::SYSTEM_ERROR, error));
            }
            (AdminErrand::StoreTimes(untimed), Answer::StoreTimes(times)) => self.timed(untimed, &times),
            (AdminErrand::Reset(reset), Answer::Offsets(offsets)) => self.finish_reset(reset, &offsets, out),
            (AdminErrand::Message(view), Answer::Bytes(Some(bytes))) => {
                out.reply(view.to, response::SUCCESS, |w| w, Body::Owned(bytes));
            }
            (AdminErrand::Dump(dump), Answer::Bytes(Some(body))) => dump.finish(body, out),
            (AdminErrand::Message(view), Answer::Bytes(None)) => {
                out.refuse(view.to, &not_found(view.physical));
            }
            (AdminErrand::ConsumeDirectly(call), Answer::Bytes(Some(bytes))) => {
                self.call_to_consume(call, bytes, out);
            }
            (AdminErrand::ConsumeDirectly(call), Answer::Bytes(None)) => {
                out.refuse(call.to, &not_found(call.physical));
            }
            (AdminErrand::Keys(asked), Answer::Keys(found)) => query::finish(asked.to, found, out),
            (AdminErrand::ConsumeQueue(lines), Answer::Units(units)) => lines.finish(&units, out),
            (errand, answer) => unreachable!("{errand:?} was answered with {answer:?}"),
        }
    }
}
