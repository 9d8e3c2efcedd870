//! The desk of the clients themselves: who is here, who left, and who must be told.
//!
//! ```text
//! 34 HEART_BEAT ------> consumers, producers; %RETRY%group made; changed? 40 to every member, the sender included
//! 35 UNREGISTER_CLIENT -> out of its group; 40 to those who stay (others leave by leaving.rs)
//! 38 GET_CONSUMER_LIST_BY_GROUP -> client ids of the members
//! 46 CHECK_CLIENT_CONFIG -> whether its filter is one we know
//! ```
//!
//! A heartbeat that is known by its bytes (beats.rs) only refreshes the times. A new one is taken by new_beat.rs, one of many groups over
//! many turns.
//! Implements B-1, B-2 and B-11 (docs/PROMISES.md).

use std::sync::Arc;

use protocol::body::{Body as _, CheckClientRequestBody, GetConsumerListByGroupResponseBody};
use protocol::code::response;
use protocol::headers::{
    CustomHeader, GetConsumerListByGroupRequestHeader, UnregisterClientRequestHeader,
    UnregisterClientResponseHeader,
};

use super::beats::answer_heartbeat;
use super::client::Client;
use super::errands::Make;
use super::filter::check_subscription;
use super::{Broker, Refusal, Request};
use crate::outbox::{Body, Outbox};

/// The answer to code 38.
#[derive(Debug)]
struct MemberIds(Vec<Arc<Client>>);

impl Make for MemberIds {
    fn body(self: Box<Self>) -> Vec<u8> {
        let consumer_id_list = self.0.iter().map(|client| client.id.to_string()).collect();
        GetConsumerListByGroupResponseBody { consumer_id_list }.encode()
    }
}

impl Broker {
    /// Code 34.
    pub(super) fn heartbeat(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let Some(beat) = self.beats.known(req, self.table_marks()) else {
            return self.new_heartbeat(req, out);
        };
        let fingerprinted = beat.fingerprinted;
        self.consumers.touch(req.conn, req.now.wall_ms);
        self.producers.touch(req.conn, req.now.wall_ms);
        answer_heartbeat(req.reply_to(), !fingerprinted, out);
        Ok(())
    }

    /// Code 35.
    pub(super) fn unregister_client(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let header = UnregisterClientRequestHeader::read(&req.header.fields)?;
        self.beats.forget(req.conn);
        if let Some(group) = header.producer_group {
            self.producers.unregister(&group.to_cow(), req.conn);
        }
        if let Some(group) = header.consumer_group {
            let group = group.to_cow();
            if self.consumers.unregister(&group, req.conn) {
                self.notify_members(&group);
            }
        }
        let write = UnregisterClientResponseHeader {};
        out.reply(req.reply_to(), response::SUCCESS, |w| w.with(&write), Body::None);
        Ok(())
    }

    /// Code 38.
    pub(super) fn consumer_list(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let header = GetConsumerListByGroupRequestHeader::read(&req.header.fields)?;
        let name = header.consumer_group.to_cow();
        let Some(group) = self.consumers.group(&name) else {
            let remark = format!("no consumer for this group, {name}");
            return Err(Refusal::with_empty_fields(response::SYSTEM_ERROR, remark));
        };
        let members: Vec<_> = group.members().iter().map(|member| member.client.clone()).collect();
        self.put_list_together(req.reply_to(), true, members.len(), MemberIds(members), out);
        Ok(())
    }

    /// Code 46: whether this broker can filter as the client wants, asked before the client starts.
    pub(super) fn check_client_config(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        if !req.body.is_empty() {
            let asked: CheckClientRequestBody = self.json(req)?;
            check_subscription(&asked.subscription_data)?;
            if !asked.subscription_data.is_tag() {
                let kind = &asked.subscription_data.expression_type;
                let remark = format!("The broker does not support consumer to filter message by {kind}");
                return Err(Refusal::new(response::SYSTEM_ERROR, remark));
            }
        }
        out.done(req.reply_to());
        Ok(())
    }
}
