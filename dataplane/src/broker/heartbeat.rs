//! The desk of the clients themselves: who is here, who left, and who must be told.
//!
//! ```text
//! 34 HEART_BEAT ------> consumers, producers; %RETRY%group made; changed? 40 to every member, the sender included
//! 35 UNREGISTER_CLIENT -> out of its group; 40 to those who stay (others leave by leaving.rs)
//! 38 GET_CONSUMER_LIST_BY_GROUP -> client ids of the members
//! 46 CHECK_CLIENT_CONFIG -> whether its filter is one we know
//! ```
//!
//! Nearly every heartbeat says what the last one said. Its bytes are kept per connection, and while no table it
//! depends on has moved, the same bytes again only refresh the times: no parsing, no allocation. A new one is taken by
//! new_beat.rs, one of many groups over many turns.
//! Implements B-1, B-2 and B-11 (docs/PROMISES.md).

use hashbrown::HashMap;
use protocol::body::{Body as _, CheckClientRequestBody, GetConsumerListByGroupResponseBody};
use protocol::code::response;
use protocol::headers::{
    CustomHeader, GetConsumerListByGroupRequestHeader, GetConsumerListByGroupResponseHeader,
    UnregisterClientRequestHeader, UnregisterClientResponseHeader,
};

use super::filter::check_subscription;
use super::{Broker, Refusal, ReplyTo, Request};
use crate::limits::BEATS_BYTES_MAX;
use crate::net::ConnId;
use crate::outbox::{Body, Outbox};

/// The last heartbeat of each connection, for the short way.
#[derive(Debug, Default)]
pub struct Beats {
    by_conn: HashMap<ConnId, Beat>,
    /// What their bodies take.
    bytes: usize,
}

#[derive(Debug)]
pub(super) struct Beat {
    pub body: Box<[u8]>,
    pub tables: TableMarks,
    /// A fingerprint was sent (heartbeat V2): the answer says whether the client must send everything again.
    pub fingerprinted: bool,
}

/// What a heartbeat's outcome depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TableMarks {
    topics: i64,
    groups: i64,
    consumers: u64,
}

impl Broker {
    /// Code 34.
    pub(super) fn heartbeat(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let tables = self.table_marks();
        let known = self.beats.by_conn.get(&req.conn);
        let Some(beat) = known.filter(|beat| beat.tables == tables && *beat.body == *req.body) else {
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
        let consumer_id_list = group.members().iter().map(|member| member.client.id.to_string()).collect();
        let body = GetConsumerListByGroupResponseBody { consumer_id_list }.encode();
        let write = GetConsumerListByGroupResponseHeader {};
        out.reply(req.reply_to(), response::SUCCESS, |w| w.with(&write), Body::Owned(body));
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

    pub(super) fn table_marks(&self) -> TableMarks {
        TableMarks {
            topics: self.topics.version().counter,
            groups: self.groups.version().counter,
            consumers: self.consumers.revision(),
        }
    }
}

impl Beats {
    /// Keeps the last heartbeat of a connection, if there is room for it.
    pub(super) fn keep(&mut self, conn: ConnId, beat: Beat) {
        self.forget(conn);
        if self.bytes + beat.body.len() <= BEATS_BYTES_MAX {
            self.bytes += beat.body.len();
            self.by_conn.insert(conn, beat);
        }
    }

    /// The client says something else, or is gone.
    pub(super) fn forget(&mut self, conn: ConnId) {
        if let Some(beat) = self.by_conn.remove(&conn) {
            self.bytes -= beat.body.len();
        }
    }
}

/// `sub_change`: the client must tell everything again (heartbeat V2).
pub(super) fn answer_heartbeat(to: ReplyTo, sub_change: bool, out: &mut Outbox) {
    out.reply(
        to,
        response::SUCCESS,
        |w| w.field("IS_SUPPORT_HEART_BEAT_V2", true).field("IS_SUB_CHANGE", sub_change),
        Body::None,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: heartbeats that are kept take so much memory at most, and what is forgotten makes room. Method: long ones of one connection after
    /// the other.
    #[test]
    fn kept_heartbeats_are_bounded() {
        let mut beats = Beats::default();
        let conn = |slot| ConnId { slot, generation: 1 };
        let keep = |beats: &mut Beats, slot| {
            let tables = TableMarks { topics: 0, groups: 0, consumers: 0 };
            let body = vec![b'x'; 32 << 10].into();
            beats.keep(conn(slot), Beat { body, tables, fingerprinted: false });
        };
        (0..3_000).for_each(|slot| keep(&mut beats, slot));
        assert_eq!((beats.by_conn.len(), beats.bytes), (2_048, 64 << 20));
        keep(&mut beats, 7);
        assert!(beats.by_conn.contains_key(&conn(7)));
        (0..3_000).for_each(|slot| beats.forget(conn(slot)));
        assert_eq!((beats.by_conn.len(), beats.bytes), (0, 0));
    }
}
