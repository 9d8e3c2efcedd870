//! Who is connected: GET_CONSUMER_CONNECTION_LIST (203), GET_PRODUCER_CONNECTION_LIST (204), GET_ALL_PRODUCER_INFO (328).

use std::collections::BTreeMap;

use super::{ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData};
use crate::version::Language;

bodies! {
    #[derive(Eq)]
    pub struct ConsumerConnection {
        pub connection_set: Vec<Connection>,
        pub consume_from_where: ConsumeFromWhere,
        pub consume_type: ConsumeType,
        pub message_model: MessageModel,
        pub subscription_table: BTreeMap<String, SubscriptionData>,
    }

    #[derive(Eq)]
    pub struct ProducerConnection {
        pub connection_set: Vec<Connection>,
    }

    #[derive(Eq)]
    pub struct Connection {
        /// `ip:port`.
        pub client_addr: String,
        pub client_id: String,
        pub language: Language,
        pub version: i32,
    }

    #[derive(Eq)]
    pub struct ProducerTableInfo {
        pub data: BTreeMap<String, Vec<ProducerInfo>>,
    }

    #[derive(Eq)]
    pub struct ProducerInfo {
        pub client_id: String,
        pub language: Language,
        pub last_update_timestamp: i64,
        /// `/ip:port`.
        #[serde(rename = "remoteIP")]
        pub remote_ip: String,
        pub version: i32,
    }
}
