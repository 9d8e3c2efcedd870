//! Request-reply (codes 324 and 325): an answer to a message finds its way back to who asked.
//!
//! ```text
//! replier --325--> checks as for a send --> stored in <cluster>_REPLY_TOPIC (storeReplyMessageEnable)
//!                                      '--> REPLY_TO_CLIENT among the producers --326--> requester --0--> answer
//! ```
//!
//! The replier hears 0 when the requester has the reply, and otherwise 1 with the reason, upon which it tries another
//! broker: the requester talks to one we may not be. Implements B-10 (docs/PROMISES.md).

use protocol::code::{request, response};
use protocol::header::Text;
use protocol::headers::{ReplyMessageRequestHeader, SendMessageRequestHeader};
use protocol::ids;
use protocol::properties::{self, key};
use protocol::record::RecordDraft;

use crate::answer::cut_remark;
use crate::broker::calls::{Call, PushedReply};
use crate::broker::send::Target;
use crate::broker::{Broker, Refusal, Request};
use crate::net::ConnId;
use crate::outbox::{Body, Outbox};

impl Broker {
    /// Codes 324 and 325.
    pub(super) fn send_reply(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let header = req.send.header()?;
        if self.config.store_reply_message_enable && !self.has_room_for_copy() {
            return Err(Refusal::no_room());
        }
        let target = match self.check_send(req, header) {
            Ok(target) => target,
            Err(refusal) => {
                out.refuse_with(req.reply_to(), &refusal, |w| w.encoded(&self.region));
                return Ok(());
            }
        };
        let mut list = std::mem::take(&mut self.scratch.properties);
        self.reply_properties(header, &mut list);
        let stored = self.store_reply(req, header, target, &list);
        let client_id = properties::get_str(&list, key::REPLY_TO_CLIENT).map(str::to_owned);
        let pushed = PushedReply {
            to: req.reply_to(),
            queue_id: target.queue_id,
            client_id: client_id.clone().unwrap_or_default(),
            stored,
        };
        let conn = client_id.as_deref().and_then(|id| self.producers.channel_of_client(id));
        let failure = match (client_id, conn) {
            (None, _) => Some("reply message properties[REPLY_TO_CLIENT] is null".to_owned()),
            (Some(id), None) => Some(format!("push reply message fail, channel of {id} not found.")),
            (Some(id), Some(_)) if self.calls.is_full() => Some(format!("push reply message to {id}fail.")),
            (Some(id), Some(conn)) => match self.push_reply(conn, req, header, target, &mut list, out) {
                Some(opaque) => {
                    self.calls.keep(conn, opaque, Call::PushReply(pushed.clone()), req.now.mono_ms());
                    None
                }
                None => Some(format!("push reply message to {id}fail.")),
            },
        };
        self.scratch.properties = list;
        if let Some(remark) = failure {
            self.answer_reply(&pushed, Some(remark), out);
        }
        Ok(())
    }

    /// The requester has answered our push.
    pub(super) fn reply_pushed(&mut self, pushed: &PushedReply, code: i32, out: &mut Outbox) {
        if code == response::SUCCESS {
            return self.answer_reply(pushed, None, out);
        }
        self.reply_lost(pushed, out);
    }

    /// The requester is gone, too slow, or does not want the reply.
    pub(super) fn reply_lost(&mut self, pushed: &PushedReply, out: &mut Outbox) {
        let remark = format!("push reply message to {}fail.", pushed.client_id);
        self.answer_reply(pushed, Some(remark), out);
    }

    /// The client's properties and our two stamps; a reply bears no CLUSTER.
    fn reply_properties(&mut self, header: &SendMessageRequestHeader<'_>, list: &mut Vec<u8>) {
        let sent = header.properties.map(|text| text.to_bytes()).unwrap_or_default();
        list.clear();
        properties::extend_without(list, &sent, &[key::MSG_REGION, key::TRACE_ON, key::PUSH_REPLY_TIME]);
        properties::push(list, key::MSG_REGION, self.config.region_id.as_bytes());
        let trace_on: &[u8] = if self.config.trace_on { b"true" } else { b"false" };
        properties::push(list, key::TRACE_ON, trace_on);
    }

    /// Stores the reply if it should be; failing to is not the replier's business.
    fn store_reply(
        &mut self,
        req: &Request<'_>,
        header: &SendMessageRequestHeader<'_>,
        target: Target,
        list: &[u8],
    ) -> Option<(i64, i64)> {
        if !self.config.store_reply_message_enable {
            return None;
        }
        let topic = self.topics.get(target.topic).expect("checked").name.clone();
        let draft = RecordDraft {
            topic: topic.as_bytes(),
            queue_id: target.queue_id,
            flag: header.flag,
            sys_flag: header.sys_flag,
            born_timestamp: header.born_timestamp,
            born_host: req.peer,
            store_host: self.address,
            reconsume_times: header.reconsume_times.unwrap_or(0),
            prepared_transaction_offset: 0,
            body: req.body,
            properties: list,
        };
        let appended = self.append(target.topic, &draft, properties::tags_code(list), req.now).ok()?;
        Some((appended.physical.0, appended.queue_offset.0))
    }

    /// Code 326 to the requester. Returns the opaque of the call, if it could be made.
    fn push_reply(
        &mut self,
        conn: ConnId,
        req: &Request<'_>,
        header: &SendMessageRequestHeader<'_>,
        target: Target,
        list: &mut Vec<u8>,
        out: &mut Outbox,
    ) -> Option<i32> {
        properties::push(list, key::PUSH_REPLY_TIME, req.now.wall_ms.to_string().as_bytes());
        let (born_host, store_host) = (req.peer.to_string(), self.address.to_string());
        let push = ReplyMessageRequestHeader {
            producer_group: header.producer_group,
            topic: header.topic,
            default_topic: header.default_topic,
            default_topic_queue_nums: header.default_topic_queue_nums,
            queue_id: target.queue_id,
            sys_flag: header.sys_flag,
            born_timestamp: header.born_timestamp,
            flag: header.flag,
            properties: Some(Text::new(list)),
            reconsume_times: Some(header.reconsume_times.unwrap_or(0)),
            unit_mode: Some(header.unit_mode),
            born_host: Text::new(born_host.as_bytes()),
            store_host: Text::new(store_host.as_bytes()),
            store_timestamp: req.now.wall_ms,
        };
        out.request(
            conn,
            request::PUSH_REPLY_MESSAGE_TO_CLIENT,
            false,
            |w| w.with(&push),
            Body::Bytes(req.body),
        )
    }

    /// Tells the replier what became of its reply; where it was stored is said in either case.
    fn answer_reply(&self, pushed: &PushedReply, failure: Option<String>, out: &mut Outbox) {
        let failure = failure.map(|remark| cut_remark(remark.into()));
        let id = pushed.stored.map(|(physical, _)| ids::offset_id(self.address, physical));
        let queue_offset = pushed.stored.map_or(0, |(_, queue_offset)| queue_offset);
        let code = if failure.is_some() { response::SYSTEM_ERROR } else { response::SUCCESS };
        let says_place = failure.is_none() || id.is_some();
        out.reply(
            pushed.to,
            code,
            |w| {
                let mut w = w.encoded(&self.region);
                if says_place {
                    let msg_id = id.as_ref().map_or("0", |id| id.as_str());
                    w = w
                        .field("msgId", msg_id)
                        .field("queueId", pushed.queue_id)
                        .field("queueOffset", queue_offset);
                }
                match &failure {
                    Some(remark) => w.remark(&**remark),
                    None => w,
                }
            },
            Body::None,
        );
    }
}
