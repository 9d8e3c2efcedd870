//! The second halves of requests that need the files: what the cold thread answers is put into its place here.

use protocol::body::{ConsumeStats, ConsumeStatsList, TopicStatsTable};
use protocol::code::response;

use super::super::errands::Answer;
use super::super::{Broker, Refusal, ReplyTo};
use super::consume_directly::ConsumeDirectly;
use super::consumequeue::Lines;
use super::reset::Reset;
use super::stats::Untimed;
use crate::outbox::{Body, Outbox};

/// Who of this room waits for an answer.
#[derive(Debug)]
pub enum AdminErrand {
    TopicStats(Untimed<TopicStatsTable>),
    ConsumeStats(Untimed<ConsumeStats>),
    BrokerConsumeStats(Untimed<ConsumeStatsList>),
    Reset(Reset),
    /// Code 33: the message at this physical offset.
    Message {
        to: ReplyTo,
        physical: i64,
    },
    ConsumeDirectly(ConsumeDirectly),
    /// Code 12.
    Keys {
        to: ReplyTo,
    },
    /// Code 321.
    ConsumeQueue(Lines),
}

impl AdminErrand {
    fn to(&self) -> ReplyTo {
        match self {
            AdminErrand::TopicStats(untimed) => untimed.to,
            AdminErrand::ConsumeStats(untimed) => untimed.to,
            AdminErrand::BrokerConsumeStats(untimed) => untimed.to,
            AdminErrand::Reset(reset) => reset.to,
            AdminErrand::Message { to, .. } | AdminErrand::Keys { to } => *to,
            AdminErrand::ConsumeDirectly(call) => call.to,
            AdminErrand::ConsumeQueue(lines) => lines.to,
        }
    }
}

impl Broker {
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
            (AdminErrand::TopicStats(untimed), Answer::StoreTimes(times)) => untimed.finish(times, out),
            (AdminErrand::ConsumeStats(untimed), Answer::StoreTimes(times)) => untimed.finish(times, out),
            (AdminErrand::BrokerConsumeStats(untimed), Answer::StoreTimes(times)) => {
                untimed.finish(times, out)
            }
            (AdminErrand::Reset(reset), Answer::Offsets(offsets)) => self.finish_reset(reset, &offsets, out),
            (AdminErrand::Message { to, .. }, Answer::Bytes(Some(bytes))) => {
                out.reply(to, response::SUCCESS, |w| w, Body::Owned(bytes));
            }
            (AdminErrand::Message { to, physical }, Answer::Bytes(None)) => {
                out.refuse(to, &super::messages::not_found(physical));
            }
            (AdminErrand::ConsumeDirectly(call), Answer::Bytes(Some(bytes))) => {
                self.call_to_consume(call, bytes, out);
            }
            (AdminErrand::ConsumeDirectly(call), Answer::Bytes(None)) => {
                out.refuse(call.to, &super::messages::not_found(call.physical));
            }
            (AdminErrand::Keys { to }, Answer::Keys(found)) => super::query::finish(to, found, out),
            (AdminErrand::ConsumeQueue(lines), Answer::Units(units)) => lines.finish(&units, out),
            (errand, answer) => unreachable!("{errand:?} was answered with {answer:?}"),
        }
    }
}
