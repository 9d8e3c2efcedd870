//! From a message to the request that carries it.
//!
//! A `Parcel` is made once per send; each attempt addresses it to a queue. Bodies of 4096 bytes and more are compressed
//! (zlib, level 5) if that makes them smaller; those of a batch never are.

use super::time::Time;
use crate::config::ProducerConfig;
use crate::error::Invalid;
use crate::message::{Message, MessageQueue, property};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use protocol::batch::{self, BatchMessage};
use protocol::code::request;
use protocol::headers::{SendMessageRequestHeader, SendMessageRequestHeaderV2};
use protocol::properties::{ENTRY_SEPARATOR, NAME_SEPARATOR, PROPERTIES_BYTES_MAX};
use protocol::record::sys_flag;
use protocol::{RemotingCommand, Text, names};
use std::io::Write;
use std::sync::Arc;

/// A message, or a batch of them, ready to be sent any number of times.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub topic: Arc<str>,
    pub msg_id: String,
    code: i32,
    body: Bytes,
    sys_flag: i32,
    flag: i32,
    properties: String,
    reconsume_times: i32,
    max_reconsume_times: Option<i32>,
}

impl Parcel {
    /// One message. `half` makes it the first half of a transaction of `group`.
    pub fn single(
        mut message: Message,
        config: &ProducerConfig,
        half: bool,
        ids: &mut dyn FnMut() -> String,
    ) -> Result<Parcel, Invalid> {
        let msg_id = stamp(&mut message, ids);
        let mut flags = 0;
        if half {
            // A transaction's outcome decides when it is delivered, not a delay.
            message.properties.remove(property::DELAY);
            message.properties.insert(property::TRAN_MSG.to_owned(), "true".to_owned());
            message.properties.insert(property::PGROUP.to_owned(), config.group.clone());
            flags |= sys_flag::TRANSACTION_PREPARED;
        }
        let mut body = message.body.clone();
        if body.len() >= config.compress_body_over {
            let packed = compress(&body, config.compress_level);
            if packed.len() < body.len() {
                body = Bytes::from(packed);
                flags |= sys_flag::COMPRESSED | sys_flag::COMPRESSION_ZLIB;
            }
        }
        let is_retry = names::is_retry_topic(&message.topic);
        let number = |name: &str| message.property(name).and_then(|value| value.parse().ok());
        let is_reply = message.property(property::MSG_TYPE) == Some("reply");
        Ok(Parcel {
            topic: Arc::from(message.topic.as_str()),
            msg_id,
            code: if is_reply { request::SEND_REPLY_MESSAGE_V2 } else { request::SEND_MESSAGE_V2 },
            body,
            sys_flag: flags,
            flag: message.flag,
            reconsume_times: number(property::RECONSUME_TIME).filter(|_| is_retry).unwrap_or(0),
            max_reconsume_times: number(property::MAX_RECONSUME_TIMES).filter(|_| is_retry),
            properties: property_text(&message)?,
        })
    }

    /// Messages of one topic, checked by `validate::batch`, stored together.
    pub fn batch(
        messages: Vec<Message>,
        config: &ProducerConfig,
        ids: &mut dyn FnMut() -> String,
    ) -> Result<Parcel, Invalid> {
        let first = messages.first().ok_or(Invalid::BatchEmpty)?;
        let mut whole =
            Message::new(first.topic.clone(), Bytes::new()).with_wait_store_ok(first.wait_store_ok());
        let topic: Arc<str> = Arc::from(first.topic.as_str());
        let (mut body, mut msg_ids) = (Vec::new(), Vec::new());
        for mut message in messages {
            msg_ids.push(stamp(&mut message, ids));
            let properties = property_text(&message)?;
            let (flag, properties) = (message.flag, properties.as_bytes());
            batch::push(&mut body, &BatchMessage { flag, body: &message.body, properties });
        }
        if body.len() > config.max_message_bytes {
            return Err(Invalid::BodyBig { max: config.max_message_bytes });
        }
        stamp(&mut whole, ids);
        Ok(Parcel {
            topic,
            msg_id: msg_ids.join(","),
            code: request::SEND_BATCH_MESSAGE,
            body: Bytes::from(body),
            sys_flag: 0,
            flag: 0,
            properties: property_text(&whole)?,
            reconsume_times: 0,
            max_reconsume_times: None,
        })
    }

    pub fn bytes_len(&self) -> usize {
        self.body.len() + self.properties.len()
    }

    /// The request that asks the queue's broker to store it.
    pub fn request(&self, config: &ProducerConfig, queue: &MessageQueue, now: Time) -> RemotingCommand {
        let header = SendMessageRequestHeader {
            producer_group: Text::new(config.group.as_bytes()),
            topic: Text::new(self.topic.as_bytes()),
            default_topic: Text::new(config.create_topic_key.as_bytes()),
            default_topic_queue_nums: config.default_topic_queues,
            queue_id: queue.queue_id,
            sys_flag: self.sys_flag,
            born_timestamp: now.wall_ms,
            flag: self.flag,
            properties: Some(Text::new(self.properties.as_bytes())),
            reconsume_times: Some(self.reconsume_times),
            unit_mode: false,
            max_reconsume_times: self.max_reconsume_times,
            batch: self.code == request::SEND_BATCH_MESSAGE,
            broker_name: Some(Text::new(queue.broker_name.as_bytes())),
        };
        RemotingCommand::request(self.code).with(&SendMessageRequestHeaderV2(header)).body(self.body.clone())
    }
}

/// Gives the message an id unless it has one, as a message sent again does.
fn stamp(message: &mut Message, ids: &mut dyn FnMut() -> String) -> String {
    let id = message.properties.entry(property::UNIQ_KEY.to_owned()).or_insert_with(ids);
    id.clone()
}

fn property_text(message: &Message) -> Result<String, Invalid> {
    let mut text = String::new();
    // Official producers always say it.
    let has_wait = message.properties.contains_key(property::WAIT);
    let wait = (!has_wait).then_some((property::WAIT, "true"));
    for (name, value) in message.properties().chain(wait).filter(|(_, value)| !value.is_empty()) {
        text.push_str(name);
        text.push(char::from(NAME_SEPARATOR));
        text.push_str(value);
        text.push(char::from(ENTRY_SEPARATOR));
    }
    if text.len() > PROPERTIES_BYTES_MAX {
        return Err(Invalid::PropertiesBig { bytes: text.len() });
    }
    Ok(text)
}

fn compress(body: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(body.len() / 2), Compression::new(level.min(9)));
    let written = encoder.write_all(body);
    written.and_then(|()| encoder.finish()).expect("writing to a vector does not fail")
}
