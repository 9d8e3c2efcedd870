//! Answers to our calls, and the calls made for administrators (code 307): asked of one client, answered with its answer.
//!
//! ```text
//! mqadmin --307--> member of the group by its client id --307--> client --ConsumerRunningInfo--> mqadmin
//! ```

use protocol::code::{request, response};
use protocol::headers::{CustomHeader, GetConsumerRunningInfoRequestHeader};
use protocol::version;

use crate::broker::calls::{Call, Unanswered};
use crate::broker::{Broker, Refusal, ReplyTo, Request};
use crate::net::ConnId;
use crate::outbox::{Body, Outbox};
use crate::time::TurnTime;

impl Broker {
    /// Code 307.
    pub(super) fn consumer_running_info(
        &mut self,
        req: &Request<'_>,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        let header = GetConsumerRunningInfoRequestHeader::read(&req.header.fields)?;
        let (group, client_id) = (header.consumer_group.to_cow(), header.client_id.to_cow());
        let refused = |remark| Err(Refusal::new(response::SYSTEM_ERROR, remark));
        let member = self.consumers.group(&group).and_then(|group| group.member_of_client(&client_id));
        let Some(member) = member else {
            return refused(format!("The Consumer <{group}> <{client_id}> not online"));
        };
        if member.client.version < VERSION_MIN {
            let has = version::name(member.client.version);
            return refused(format!(
                "The Consumer <{client_id}> Version <{has}> too low to finish, please upgrade it to V3_1_8_SNAPSHOT"
            ));
        }
        if self.calls.is_full() {
            return refused("too many calls to clients are under way".to_owned());
        }
        let conn = member.conn;
        let code = request::GET_CONSUMER_RUNNING_INFO;
        let Some(opaque) = out.request(conn, code, false, |w| w.with(&header), Body::None) else {
            return Err(unreachable_client(&client_id));
        };
        let call = Call::Relay { to: req.reply_to(), client_id: client_id.into_owned() };
        self.calls.keep(conn, opaque, call, req.now.mono_ms());
        Ok(())
    }

    /// A client has answered a call of ours.
    pub(super) fn call_answered(&mut self, req: &Request<'_>, out: &mut Outbox) {
        match self.calls.answered(req.conn, req.header.opaque) {
            Some(Call::PushReply(pushed)) => self.reply_pushed(&pushed, req.header.code, out),
            Some(Call::Relay { to, .. }) => relay_answer(to, req, out),
            None => {}
        }
    }

    /// Calls to a connection that is gone.
    pub(super) fn lose_calls_to(&mut self, conn: ConnId, out: &mut Outbox) {
        while let Some(call) = self.calls.a_call_to(conn) {
            self.call_lost(call, Unanswered::Closed, out);
        }
    }

    /// Calls nobody answered in time.
    pub(super) fn lose_late_calls(&mut self, now: &TurnTime, out: &mut Outbox) {
        while let Some(call) = self.calls.timed_out(now.mono_ms()) {
            self.call_lost(call, Unanswered::TimedOut, out);
        }
    }

    fn call_lost(&mut self, call: Call, why: Unanswered, out: &mut Outbox) {
        match (call, why) {
            (Call::PushReply(pushed), _) => self.reply_lost(&pushed, out),
            (Call::Relay { to, client_id }, Unanswered::TimedOut) => {
                let remark = format!("consumer <{client_id}> did not answer in time");
                out.refuse(to, &Refusal::new(response::CONSUME_MSG_TIMEOUT, remark));
            }
            (Call::Relay { to, client_id }, Unanswered::Closed) => {
                let remark = format!("consumer <{client_id}> has closed its connection");
                out.refuse(to, &Refusal::new(response::SYSTEM_ERROR, remark));
            }
        }
    }
}

/// The call was not made: too long, or the client takes nothing.
#[cold]
pub fn unreachable_client(client_id: &str) -> Refusal {
    Refusal::new(response::SYSTEM_ERROR, format!("consumer <{client_id}> cannot be asked"))
}

/// Code, remark and body as the client gave them.
fn relay_answer(to: ReplyTo, answer: &Request<'_>, out: &mut Outbox) {
    let remark = answer.header.remark.map(|remark| remark.to_cow());
    match remark {
        Some(remark) => out.reply(to, answer.header.code, |w| w.remark(&*remark), Body::Bytes(answer.body)),
        None => out.reply(to, answer.header.code, |w| w, Body::Bytes(answer.body)),
    }
}

/// V3_1_8_SNAPSHOT
const VERSION_MIN: i32 = 62;
