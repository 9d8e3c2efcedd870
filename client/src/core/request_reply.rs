//! Request and reply: a message that expects one back (DefaultMQProducerImpl.request).
//!
//! ```text
//!   request ──send (310)──► broker ──► consumer ──reply (325)──► broker ──326──► here: correlation id → token
//! ```

use super::action::{Answer, Token};
use super::instance::Instance;
use super::order::{How, Order, Payload, SendFor};
use super::time::Time;
use super::waiter::{Request, Timer};
use crate::error::{CREATE_REPLY_MESSAGE, ClientError};
use crate::message::{Message, MessageExt, property};
use bytes::Bytes;
use protocol::RemotingCommand;
use protocol::headers::ReplyMessageRequestHeader;
use std::time::Duration;

impl Instance {
    /// Sends a message and answers `token` with the reply to it.
    pub fn send_request(
        &mut self,
        token: Token,
        group: &str,
        mut message: Message,
        ttl: Duration,
        now: Time,
    ) -> Result<(), ClientError> {
        let correlation = format!("{:016x}{:016x}", self.rng.next_u64(), self.rng.next_u64());
        let client_id = self.settings.client_id.clone();
        for (name, value) in [
            (property::CORRELATION_ID, correlation.clone()),
            (property::REPLY_TO_CLIENT, client_id),
            (property::TTL, ttl.as_millis().to_string()),
        ] {
            message.properties.insert(name.to_owned(), value);
        }
        let topic = message.topic.clone();
        let order =
            Order { payload: Payload::Single(message), how: How::Async, to: None, timeout: Some(ttl) };
        // Open before it is sent: a broker of a quick consumer may call back before it answers the send.
        self.requests.open.insert(correlation.clone(), Request { token, topic, ttl });
        let whose = SendFor::Request { token, correlation: correlation.clone() };
        if let Err(error) = self.send_for(whose, group, order, now) {
            self.requests.forget(&correlation);
            return Err(error);
        }
        self.timers.set(now.mono + ttl, Timer::RequestExpired { correlation });
        Ok(())
    }

    pub(super) fn request_expired(&mut self, correlation: &str) {
        if let Some(Request { token, topic, ttl }) = self.requests.open.remove(correlation) {
            self.answer(token, Err(ClientError::NoReply { topic, after: ttl }));
        }
    }

    /// PUSH_REPLY_MESSAGE_TO_CLIENT came in; whether it reads as a reply at all.
    pub(super) fn reply_pushed(&mut self, command: &RemotingCommand, body: Bytes) -> Result<(), String> {
        let header: ReplyMessageRequestHeader<'_> = command.header().map_err(|error| error.to_string())?;
        let mut message = Message::new(header.topic.to_cow(), body).with_flag(header.flag);
        let properties = header.properties.map(|text| text.to_bytes().into_owned()).unwrap_or_default();
        message.properties = super::incoming::properties(&properties);
        let correlation = message.property(property::CORRELATION_ID).unwrap_or("").to_owned();
        match self.requests.open.remove(&correlation) {
            Some(request) => self.answer(request.token, Ok(Answer::Message(Box::new(message)))),
            None => log::warn!("a reply came too late, or to a request of another life: {correlation}"),
        }
        Ok(())
    }
}

/// The message that answers `request` with `body`; send it like any other.
pub fn reply_to(request: &MessageExt, body: impl Into<Bytes>) -> Result<Message, ClientError> {
    let Some(cluster) = request.property(property::CLUSTER) else {
        return Err(ClientError::Refused {
            code: CREATE_REPLY_MESSAGE,
            remark: Some(format!(
                "create reply message fail, requestMessage error, property[{}] is null.",
                property::CLUSTER
            )),
        });
    };
    let mut reply = Message::new(format!("{cluster}_REPLY_TOPIC"), body);
    reply.properties.insert(property::MSG_TYPE.to_owned(), "reply".to_owned());
    for name in [property::CORRELATION_ID, property::REPLY_TO_CLIENT, property::TTL] {
        if let Some(value) = request.property(name) {
            reply.properties.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(reply)
}
