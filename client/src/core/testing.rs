//! What the core's tests share: records and routes made by hand.

use crate::message::{Message, MessageExt, MessageQueue};
use protocol::body::{BrokerData, QueueData, TopicRouteData};
use protocol::record::{RecordDraft, Stamp};
use std::net::SocketAddr;

pub(crate) fn message_at(topic: &str, queue_id: i32, offset: i64) -> MessageExt {
    let host = SocketAddr::from(([10, 0, 0, 1], 10911));
    MessageExt {
        message: Message::new(topic, format!("message {offset}")),
        queue: MessageQueue::new(topic, "broker-a", queue_id),
        queue_offset: offset,
        commit_log_offset: offset * 200,
        prepared_transaction_offset: 0,
        sys_flag: 0,
        born_timestamp: 0,
        born_host: host,
        store_timestamp: 0,
        store_host: host,
        reconsume_times: 0,
        body_crc: 0,
        store_bytes: 200,
        offset_msg_id: protocol::ids::offset_id(host, offset * 200).to_string(),
    }
}

pub(crate) fn record_bytes(
    topic: &str,
    queue_id: i32,
    queue_offset: i64,
    body: &[u8],
    properties: &[u8],
    sys_flag: i32,
) -> Vec<u8> {
    let host = SocketAddr::from(([10, 0, 0, 1], 10911));
    let draft = RecordDraft {
        topic: topic.as_bytes(),
        queue_id,
        flag: 0,
        sys_flag,
        born_timestamp: 1,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties,
    };
    let mut out = vec![0; draft.encoded_len()];
    draft.encode_into(
        &mut out,
        &Stamp { queue_offset, physical_offset: queue_offset * 200, store_timestamp: 2 },
    );
    out
}

/// Broker, its (id, address)s, perm, write queues, read queues.
pub(crate) type BrokerRow<'a> = (&'a str, &'a [(i64, &'a str)], i32, i32, i32);

pub(crate) fn route_data(brokers: &[BrokerRow<'_>]) -> TopicRouteData {
    let mut data = TopicRouteData::default();
    for (name, addrs, perm, write, read) in brokers {
        data.broker_datas.push(BrokerData {
            broker_name: (*name).to_owned(),
            cluster: "C".to_owned(),
            broker_addrs: addrs.iter().map(|(id, addr)| (*id, (*addr).to_owned())).collect(),
            ..BrokerData::default()
        });
        data.queue_datas.push(QueueData {
            broker_name: (*name).to_owned(),
            perm: *perm,
            write_queue_nums: *write,
            read_queue_nums: *read,
            ..QueueData::default()
        });
    }
    data
}
