//! A message on its way out (`Message`), a message that came in (`MessageExt`), and the queue either lies in.

use crate::error::Invalid;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// A message to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub body: Bytes,
    /// Carried along untouched; means what the application wants.
    pub flag: i32,
    pub(crate) properties: BTreeMap<String, String>,
    pub(crate) transaction_id: Option<String>,
}

impl Message {
    pub fn new(topic: impl Into<String>, body: impl Into<Bytes>) -> Message {
        Message { topic: topic.into(), body: body.into(), ..Message::default() }
    }

    /// Bytes of the body and of the properties' text.
    pub(crate) fn bytes_len(&self) -> usize {
        let properties = self.properties.iter().map(|(name, value)| name.len() + value.len() + 2);
        self.body.len() + properties.sum::<usize>()
    }

    /// The one tag that subscriptions select by.
    #[must_use]
    pub fn with_tag(mut self, tag: impl Into<String>) -> Message {
        self.properties.insert(property::TAGS.to_owned(), tag.into());
        self
    }

    /// The keys this message can be looked up by.
    #[must_use]
    pub fn with_keys<K: AsRef<str>>(mut self, keys: impl IntoIterator<Item = K>) -> Message {
        let keys: Vec<K> = keys.into_iter().collect();
        let joined = keys.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(KEY_SEPARATOR);
        self.properties.insert(property::KEYS.to_owned(), joined);
        self
    }

    /// Delivers the message later: 1 = 1 s, 2 = 5 s, 3 = 10 s, .. 18 = 2 h.
    #[must_use]
    pub fn with_delay_level(mut self, level: u32) -> Message {
        self.properties.insert(property::DELAY.to_owned(), level.to_string());
        self
    }

    /// Delivers the message at a moment, in milliseconds since 1970 (brokers of 5.x).
    #[must_use]
    pub fn with_deliver_time(mut self, wall_ms: i64) -> Message {
        self.properties.insert(property::TIMER_DELIVER_MS.to_owned(), wall_ms.to_string());
        self
    }

    /// Whether the broker answers only when the message is as safe as it is configured to make it; so by default.
    #[must_use]
    pub fn with_wait_store_ok(mut self, wait: bool) -> Message {
        self.properties.insert(property::WAIT.to_owned(), wait.to_string());
        self
    }

    #[must_use]
    pub fn with_flag(mut self, flag: i32) -> Message {
        self.flag = flag;
        self
    }

    /// A property of the application; names that RocketMQ uses itself are refused.
    pub fn with_property(
        mut self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<Message, Invalid> {
        let (name, value) = (name.into(), value.into());
        if name.trim().is_empty() || value.trim().is_empty() {
            return Err(Invalid::PropertyBlank);
        }
        if property::RESERVED.contains(&name.as_str()) {
            return Err(Invalid::PropertyReserved { name });
        }
        if [&name, &value].iter().any(|text| text.contains(['\u{1}', '\u{2}'])) {
            return Err(Invalid::PropertySeparator { name });
        }
        self.properties.insert(name, value);
        Ok(self)
    }

    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str)
    }

    pub fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        self.properties.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn tag(&self) -> Option<&str> {
        self.property(property::TAGS)
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.property(property::KEYS).unwrap_or("").split(KEY_SEPARATOR).filter(|key| !key.is_empty())
    }

    /// The id a producer gave it; set when it is sent.
    pub fn unique_id(&self) -> Option<&str> {
        self.property(property::UNIQ_KEY)
    }

    pub fn delay_level(&self) -> i32 {
        self.property(property::DELAY).and_then(|level| level.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn wait_store_ok(&self) -> bool {
        self.property(property::WAIT) != Some("false")
    }
}

/// A message as a broker stored it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageExt {
    /// Body decompressed; topic the one it was first sent to, also after a retry.
    pub message: Message,
    pub queue: MessageQueue,
    pub queue_offset: i64,
    pub commit_log_offset: i64,
    pub prepared_transaction_offset: i64,
    pub sys_flag: i32,
    pub born_timestamp: i64,
    pub born_host: SocketAddr,
    pub store_timestamp: i64,
    pub store_host: SocketAddr,
    /// How often a consumer of this group has failed on it.
    pub reconsume_times: i32,
    pub body_crc: u32,
    /// Bytes it takes in the commitlog.
    pub store_bytes: usize,
    /// Where it lies: store host and commitlog offset in hex.
    pub offset_msg_id: String,
}

impl MessageExt {
    pub fn topic(&self) -> &str {
        &self.message.topic
    }

    pub fn body(&self) -> &Bytes {
        &self.message.body
    }

    /// The producer's id of it, else where it lies.
    pub fn msg_id(&self) -> &str {
        self.message.unique_id().unwrap_or(&self.offset_msg_id)
    }
}

impl std::ops::Deref for MessageExt {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

/// One queue of a topic on one broker. Orders as the official clients sort queues before they share them out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageQueue {
    pub topic: Arc<str>,
    pub broker_name: Arc<str>,
    pub queue_id: i32,
}

impl MessageQueue {
    pub fn new(topic: &str, broker_name: &str, queue_id: i32) -> MessageQueue {
        MessageQueue { topic: Arc::from(topic), broker_name: Arc::from(broker_name), queue_id }
    }
}

pub(crate) fn to_body(queue: &MessageQueue) -> protocol::body::MessageQueue {
    protocol::body::MessageQueue::new(&*queue.topic, &*queue.broker_name, queue.queue_id)
}

pub(crate) fn from_body(queue: &protocol::body::MessageQueue) -> MessageQueue {
    MessageQueue::new(&queue.topic, &queue.broker_name, queue.queue_id)
}

impl std::fmt::Display for MessageQueue {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}/{}", self.topic, self.broker_name, self.queue_id)
    }
}

/// Names of the properties that mean something to clients and brokers (MessageConst).
pub mod property {
    pub use protocol::properties::key::*;

    /// Names an application may not use for properties of its own.
    pub const RESERVED: [&str; 52] = [
        KEYS,
        TAGS,
        WAIT,
        DELAY,
        RETRY_TOPIC,
        REAL_TOPIC,
        REAL_QID,
        TRAN_MSG,
        PGROUP,
        MIN_OFFSET,
        MAX_OFFSET,
        "BUYER_ID",
        ORIGIN_MESSAGE_ID,
        "TRANSFER_FLAG",
        "CORRECTION_FLAG",
        "MQ2_FLAG",
        RECONSUME_TIME,
        "MSG_REGION",
        "TRACE_ON",
        UNIQ_KEY,
        "EXTEND_UNIQ_INFO",
        MAX_RECONSUME_TIMES,
        CONSUME_START_TIME,
        "TRAN_PREPARED_QUEUE_OFFSET",
        "TRANSACTION_CHECK_TIMES",
        "CHECK_IMMUNITY_TIME_IN_SECONDS",
        "POP_CK",
        "POP_CK_OFFSET",
        "1ST_POP_TIME",
        "__SHARDINGKEY",
        "PROPERTY_FORWARD_QUEUE_ID",
        "REDIRECT",
        "INNER_MULTI_DISPATCH",
        "INNER_MULTI_QUEUE_OFFSET",
        "TRACE_CONTEXT",
        INSTANCE_ID,
        CORRELATION_ID,
        REPLY_TO_CLIENT,
        TTL,
        "ARRIVE_TIME",
        "PUSH_REPLY_TIME",
        CLUSTER,
        MSG_TYPE,
        "INNER_NUM",
        "INNER_BASE",
        "DUP_INFO",
        "TIMER_OUT_MS",
        "TIMER_ENQUEUE_MS",
        "TIMER_DEQUEUE_MS",
        "TIMER_ROLL_TIMES",
        "TIMER_DEL_UNIQKEY",
        "TIMER_DELAY_LEVEL",
    ];
}

const KEY_SEPARATOR: &str = " ";
