//! Lets one client consume one message at once: code 309, behind mqadmin's queryMsgById with `-g` and `-d`.
//!
//! ```text
//! mqadmin --309--> the message, from the hot log or the files --309 + message--> client --its result--> mqadmin
//! ```

use protocol::code::{request, response};
use protocol::headers::{ConsumeMessageDirectlyResultRequestHeader, CustomHeader};
use protocol::ids;
use store::PhysicalOffset;

use super::super::calls::Call;
use super::super::errands::Question;
use super::super::relay::unreachable_client;
use super::super::{Broker, Refusal, ReplyTo, Request};
use crate::broker::request::check_kept;
use crate::net::ConnId;
use crate::outbox::{Body, Outbox};

/// A call that waits for its message.
#[derive(Debug)]
pub struct ConsumeDirectly {
    pub to: ReplyTo,
    pub physical: i64,
    client: ConnId,
    client_id: String,
    /// As the administrator sent them; clients read what they need.
    fields: Vec<(String, String)>,
    asked_ms: u64,
}

impl Broker {
    /// Code 309.
    pub(super) fn consume_directly(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let header = ConsumeMessageDirectlyResultRequestHeader::read(&req.header.fields)?;
        let group = header.consumer_group.to_cow();
        let client_id = header.client_id.map(|id| id.to_cow()).unwrap_or_default();
        let refused = |remark| Err(Refusal::new(response::SYSTEM_ERROR, remark));
        let member = self.consumers.group(&group).and_then(|group| group.member_of_client(&client_id));
        let Some(member) = member else {
            return refused(format!("The Consumer <{group}> <{client_id}> not online"));
        };
        if self.calls.is_full() {
            return refused("too many calls to clients are under way".to_owned());
        }
        let msg_id = header.msg_id.map(|id| id.to_cow()).unwrap_or_default();
        let Some((_, physical)) = ids::parse_offset_id(&msg_id) else {
            return refused(format!("{msg_id} is no offset message id"));
        };
        check_kept(req.header.fields.iter().flat_map(|(name, value)| [name, value]))?;
        let mut fields: Vec<(String, String)> = req
            .header
            .fields
            .iter()
            .map(|(name, value)| (name.to_cow().into_owned(), value.to_cow().into_owned()))
            .filter(|(name, _)| name != "brokerName")
            .collect();
        fields.push(("brokerName".to_owned(), self.config.broker_name.clone()));
        let call = ConsumeDirectly {
            to: req.reply_to(),
            physical,
            client: member.conn,
            client_id: client_id.into_owned(),
            fields,
            asked_ms: req.now.mono_ms(),
        };
        let place = PhysicalOffset(physical);
        if place >= self.store.hot_start() {
            let Some(bytes) = self.store.record_at(place).map(|record| record.bytes.to_vec()) else {
                return Err(super::messages::not_found(physical));
            };
            self.call_to_consume(call, bytes, out);
        } else {
            self.ask_for_admin(Question::Record(place), call);
        }
        Ok(())
    }

    /// The message is here.
    pub(super) fn call_to_consume(&mut self, call: ConsumeDirectly, message: Vec<u8>, out: &mut Outbox) {
        let code = request::CONSUME_MESSAGE_DIRECTLY;
        if self.calls.is_full() {
            return out.refuse(call.to, &unreachable_client(&call.client_id));
        }
        let opaque = out.request(
            call.client,
            code,
            false,
            |w| call.fields.iter().fold(w, |w, (name, value)| w.field(name, value.as_str())),
            Body::Owned(message),
        );
        let Some(opaque) = opaque else {
            return out.refuse(call.to, &unreachable_client(&call.client_id));
        };
        let relay = Call::Relay { to: call.to, client_id: call.client_id };
        self.calls.keep(call.client, opaque, relay, call.asked_ms);
    }
}
