//! Where a topic's queues are: GET_ROUTEINFO_BY_TOPIC (105).

use std::collections::BTreeMap;

use super::TopicQueueMappingInfo;
use crate::fastjson;

bodies! {
    #[derive(Eq)]
    pub struct TopicRouteData {
        pub broker_datas: Vec<BrokerData>,
        pub filter_server_table: BTreeMap<String, Vec<String>>,
        /// `broker-a:4;broker-b:4`. When there, producers take their queues from it.
        pub order_topic_conf: Option<String>,
        pub queue_datas: Vec<QueueData>,
        /// Static topics.
        pub topic_queue_mapping_by_broker: Option<BTreeMap<String, TopicQueueMappingInfo>>,
    }

    /// The addresses of one broker name: id 0 is the master.
    #[derive(Eq)]
    pub struct BrokerData {
        pub broker_addrs: BTreeMap<i64, String>,
        pub broker_name: String,
        pub cluster: String,
        /// Only 5.x says it.
        pub enable_acting_master: bool,
        pub zone_name: Option<String>,
    }

    #[derive(Eq)]
    pub struct QueueData {
        pub broker_name: String,
        /// The `PERM_` bits below.
        pub perm: i32,
        pub read_queue_nums: i32,
        pub topic_sys_flag: i32,
        pub write_queue_nums: i32,
    }
}

impl TopicRouteData {
    /// The answer to a client of 4.9.4 or later, or to one that asks for standard JSON: quoted keys, sorted, ASCII.
    /// Others get `Body::encode`.
    pub fn encode_standard(&self) -> Vec<u8> {
        fastjson::to_vec_standard(self)
    }
}

pub const PERM_INHERIT: i32 = 1;
pub const PERM_WRITE: i32 = 1 << 1;
pub const PERM_READ: i32 = 1 << 2;
pub const PERM_PRIORITY: i32 = 1 << 3;

pub const TOPIC_FLAG_UNIT: i32 = 1;
pub const TOPIC_FLAG_UNIT_SUB: i32 = 1 << 1;

pub const MASTER_ID: i64 = 0;
