//! What a client says of itself, and messages as it reads them.

use protocol::RemotingCommand;
use protocol::body::{
    Body, ConsumeFromWhere, ConsumeType, ConsumerData, HeartbeatData, MessageModel, ProducerData,
    SubscriptionData,
};
use protocol::code::request;
use protocol::properties;
use protocol::record::RecordView;

use dataplane::net::ConnId;

use crate::requests::{pull, set};
use crate::world::World;

/// A stored message as a consumer gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub queue_id: i32,
    pub queue_offset: i64,
    pub physical_offset: i64,
    pub sys_flag: i32,
    pub flag: i32,
    pub born_timestamp: i64,
    pub store_timestamp: i64,
    pub reconsume_times: i32,
    pub prepared_transaction_offset: i64,
    pub body: Vec<u8>,
    pub properties: Vec<(String, String)>,
}

impl Message {
    pub fn of(record: &RecordView<'_>) -> Message {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut properties: Vec<_> =
            properties::iter(record.properties).map(|(name, value)| (text(name), text(value))).collect();
        properties.sort();
        Message {
            topic: text(record.topic),
            queue_id: record.queue_id,
            queue_offset: record.queue_offset,
            physical_offset: record.physical_offset,
            sys_flag: record.sys_flag,
            flag: record.flag,
            born_timestamp: record.born_timestamp,
            store_timestamp: record.store_timestamp,
            reconsume_times: record.reconsume_times,
            prepared_transaction_offset: record.prepared_transaction_offset,
            body: record.body.to_vec(),
            properties,
        }
    }

    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All messages of a body.
    pub fn all(mut bytes: &[u8]) -> Vec<Message> {
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            let record = RecordView::parse(bytes).unwrap();
            assert!(record.crc_holds());
            bytes = &bytes[record.bytes.len()..];
            messages.push(Message::of(&record));
        }
        messages
    }
}

/// "A=1 B=2" as a property string.
pub fn props(list: &[(&str, &str)]) -> String {
    list.iter().map(|(name, value)| format!("{name}\u{1}{value}\u{2}")).collect()
}

/// What lies in a queue from an offset on, read as a consumer does.
pub fn read(world: &mut World, conn: ConnId, topic: &str, queue_id: i32, offset: i64) -> Vec<Message> {
    let mut messages = Vec::new();
    let (mut next, mut waits) = (offset, 0);
    loop {
        let answer = world.call(conn, set(pull(topic, queue_id, next), "consumerGroup", "READER"));
        match answer.code {
            0 => messages.extend(Message::all(&answer.body)),
            19 => return messages,
            20 | 21 if answer.ext("nextBeginOffset") != Some(&next.to_string()) => {}
            // What is missing is being made again.
            20 if waits < 100 => waits += 1,
            _ => panic!("{answer:?}"),
        }
        next = answer.ext("nextBeginOffset").unwrap().parse().unwrap();
    }
}

pub fn subscription(topic: &str, sub_version: i64) -> SubscriptionData {
    SubscriptionData {
        topic: topic.into(),
        sub_string: "*".into(),
        sub_version,
        ..SubscriptionData::default()
    }
}

/// One consumer group of a client.
pub fn consumer(group: &str, subscriptions: Vec<SubscriptionData>) -> ConsumerData {
    ConsumerData {
        consume_from_where: ConsumeFromWhere::LastOffset,
        consume_type: ConsumeType::Passively,
        group_name: group.into(),
        message_model: MessageModel::Clustering,
        subscription_data_set: subscriptions,
        unit_mode: false,
    }
}

pub fn heartbeat(client_id: &str, consumers: Vec<ConsumerData>, producers: &[&str]) -> RemotingCommand {
    let producer = |group: &&str| ProducerData { group_name: group.to_string() };
    beat(&HeartbeatData {
        client_id: client_id.into(),
        consumer_data_set: consumers,
        producer_data_set: producers.iter().map(producer).collect(),
        ..HeartbeatData::default()
    })
}

pub fn beat(data: &HeartbeatData) -> RemotingCommand {
    let mut command = RemotingCommand::request(request::HEART_BEAT).body(data.encode());
    command.version = 409;
    command
}
