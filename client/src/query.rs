//! Finding messages: by key, unique id or tag through the brokers' indexes, by where they lie, by queue offset and by time.
//!
//! ```text
//! by key    12 to every master of the topic      what only hashes alike is left out here too: official brokers send it
//! by id     33 to the broker that the id names
//! by place  11 as the group TOOLS_CONSUMER, whose offsets nobody keeps; 29 says where a time begins
//! ```

use crate::admin::{Admin, Master};
use crate::core::route::QUEUES_MAX;
use crate::core::{read_pull, records};
use crate::error::ClientError;
use crate::message::{MessageExt, MessageQueue};
use protocol::body::MASTER_ID;
use protocol::code::{request, response};
use protocol::headers::{PULL_SUBSCRIPTION, PullMessageRequestHeader};
use protocol::{RemotingCommand, Text};
use protocol::{ids, names};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ops::Range;

/// What a message is looked for by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexedBy {
    /// One of the keys its sender gave it.
    Key,
    /// The id its sender's client gave it.
    UniqueId,
    /// Its tag; brokers of 5.5 with an index of tags, and ours.
    Tag,
}

impl Admin {
    /// The messages of a topic with that key, stored in `times` (ms since 1970), newest first; at most `max` of each broker. Brokers
    /// answer with the newest, and with fewer than asked for when they are set to (`maxMsgsNumBatch`).
    pub async fn find_messages(
        &self,
        topic: &str,
        by: IndexedBy,
        key: &str,
        times: Range<i64>,
        max: u32,
    ) -> Result<Vec<MessageExt>, ClientError> {
        let mut found = Vec::new();
        for master in self.masters_of(topic).await? {
            let mut command = RemotingCommand::request(request::QUERY_MESSAGE)
                .field("topic", topic)
                .field("key", key)
                .field("maxNum", max)
                .field("beginTimestamp", times.start)
                .field("endTimestamp", times.end)
                .field("_UNIQUE_KEY_QUERY", by == IndexedBy::UniqueId);
            if by == IndexedBy::Tag {
                command = command.field("indexType", "T");
            }
            match self.ask(&master.addr, command).await {
                Ok(answer) => found.extend(records(&answer.body, &master.broker_name)),
                Err(ClientError::Refused { code: response::QUERY_NOT_FOUND, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        found.retain(|message| is_meant(message, by, key));
        found.sort_by_key(|message| Reverse((message.store_timestamp, message.commit_log_offset)));
        Ok(found)
    }

    /// The message at the place that an offset message id names. `None` for what is no such id, or when nothing lies there.
    pub async fn view_message(
        &self,
        topic: Option<&str>,
        offset_msg_id: &str,
    ) -> Result<Option<MessageExt>, ClientError> {
        let Some((host, offset)) = ids::parse_offset_id(offset_msg_id) else { return Ok(None) };
        let addr = host.to_string();
        let mut command = RemotingCommand::request(request::VIEW_MESSAGE_BY_ID).field("offset", offset);
        if let Some(topic) = topic {
            command = command.field("topic", topic);
        }
        let answer = match self.ask(&addr, command).await {
            Ok(answer) => answer,
            Err(ClientError::Refused { code: response::SYSTEM_ERROR, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let masters = self.masters(None).await?;
        let broker = masters.iter().find(|master| master.addr == addr).map_or(&addr, |it| &it.broker_name);
        Ok(records(&answer.body, broker).into_iter().next())
    }

    /// Up to `max` messages of a queue from an offset on, or from the first one that is left.
    pub async fn messages_from(
        &self,
        queue: &MessageQueue,
        offset: i64,
        max: u32,
    ) -> Result<Vec<MessageExt>, ClientError> {
        let addr = self.addr_of(queue).await?;
        self.pull_from(&addr, queue, offset, max, i64::MAX).await
    }

    /// The first `max` messages of a topic that were stored in `times` (ms since 1970), oldest first.
    pub async fn messages_between(
        &self,
        topic: &str,
        times: Range<i64>,
        max: u32,
    ) -> Result<Vec<MessageExt>, ClientError> {
        let mut found = Vec::new();
        for (queue, addr) in self.queues_of(topic).await? {
            let command = RemotingCommand::request(request::SEARCH_OFFSET_BY_TIMESTAMP)
                .field("topic", topic)
                .field("queueId", queue.queue_id)
                .field("timestamp", times.start);
            let answer = self.ask(&addr, command).await?;
            let offset = answer.ext("offset").and_then(|text| text.parse().ok()).unwrap_or(0);
            found.extend(self.pull_from(&addr, &queue, offset, max, times.end).await?);
        }
        // A time without a message is answered with a neighbour.
        found.retain(|message| times.contains(&message.store_timestamp));
        found.sort_by_key(|message| (message.store_timestamp, message.commit_log_offset));
        found.truncate(max as usize);
        Ok(found)
    }

    /// Every readable queue of a topic, with its master.
    pub async fn queues_of(&self, topic: &str) -> Result<Vec<(MessageQueue, String)>, ClientError> {
        let route = self.route(topic).await?;
        let mut queues = Vec::new();
        for datas in &route.queue_datas {
            let broker = route.broker_datas.iter().find(|broker| broker.broker_name == datas.broker_name);
            let Some(addr) = broker.and_then(|broker| broker.broker_addrs.get(&MASTER_ID)) else { continue };
            let queue = |queue_id| (MessageQueue::new(topic, &datas.broker_name, queue_id), addr.clone());
            queues.extend((0..datas.read_queue_nums).map(queue).take(QUEUES_MAX - queues.len()));
        }
        Ok(queues)
    }

    async fn masters_of(&self, topic: &str) -> Result<BTreeSet<Master>, ClientError> {
        let master = |(queue, addr): (MessageQueue, String)| Master {
            broker_name: queue.broker_name.to_string(),
            addr,
        };
        Ok(self.queues_of(topic).await?.into_iter().map(master).collect())
    }

    async fn addr_of(&self, queue: &MessageQueue) -> Result<String, ClientError> {
        let queues = self.queues_of(&queue.topic).await?;
        let found = queues.into_iter().find(|(known, _)| known == queue);
        found.map(|(_, addr)| addr).ok_or_else(|| ClientError::NoBroker { broker: queue.to_string() })
    }

    /// Pulls until there are `max`, one is younger than `until`, or the queue ends.
    async fn pull_from(
        &self,
        addr: &str,
        queue: &MessageQueue,
        mut offset: i64,
        max: u32,
        until: i64,
    ) -> Result<Vec<MessageExt>, ClientError> {
        let mut messages: Vec<MessageExt> = Vec::new();
        while messages.len() < max as usize {
            let header = PullMessageRequestHeader {
                consumer_group: Text::new(names::TOOLS_CONSUMER_GROUP.as_bytes()),
                topic: Text::new(queue.topic.as_bytes()),
                queue_id: queue.queue_id,
                queue_offset: offset,
                max_msg_nums: (max as usize - messages.len()).min(PULL_MESSAGES) as i32,
                sys_flag: PULL_SUBSCRIPTION,
                subscription: Some(Text::new(b"*")),
                expression_type: Some(Text::new(b"TAG")),
                ..PullMessageRequestHeader::default()
            };
            let command = RemotingCommand::request(request::PULL_MESSAGE)
                .with(&header)
                .field("bname", &queue.broker_name);
            let answer = self.ask_any(addr, command).await?;
            let places = read_pull(&answer)?;
            let pulled = match answer.code {
                response::SUCCESS => records(&answer.body, &queue.broker_name),
                _ => Vec::new(),
            };
            let is_past = pulled.iter().any(|message| message.store_timestamp >= until);
            messages.extend(pulled);
            // Beyond either end of the queue, or nothing but what was passed over.
            let goes_on = places.next_begin_offset > offset && places.next_begin_offset < places.max_offset;
            if is_past || !goes_on {
                break;
            }
            offset = places.next_begin_offset;
        }
        Ok(messages)
    }
}

/// Whether a message is what was looked for, and not one whose key only hashes alike.
fn is_meant(message: &MessageExt, by: IndexedBy, key: &str) -> bool {
    match by {
        IndexedBy::Key => message.keys().any(|own| own == key),
        IndexedBy::UniqueId => message.unique_id() == Some(key),
        IndexedBy::Tag => message.tag() == Some(key),
    }
}

const PULL_MESSAGES: usize = 32;
