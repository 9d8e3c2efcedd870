//! Figures for administrators: codes 202, 208, 303, 315, 317, 321 and 907.

use std::collections::BTreeMap;

use super::{MessageQueue, SubscriptionData};

bodies! {
    /// GET_TOPIC_STATS_INFO (202).
    pub struct TopicStatsTable {
        pub offset_table: BTreeMap<MessageQueue, TopicOffset>,
        pub topic_put_tps: f64,
    }

    #[derive(Copy, Eq)]
    pub struct TopicOffset {
        pub last_update_timestamp: i64,
        pub max_offset: i64,
        pub min_offset: i64,
    }

    /// GET_CONSUME_STATS (208).
    pub struct ConsumeStats {
        pub consume_tps: f64,
        pub offset_table: BTreeMap<MessageQueue, OffsetWrapper>,
    }

    #[derive(Copy, Eq)]
    pub struct OffsetWrapper {
        pub broker_offset: i64,
        pub consumer_offset: i64,
        /// The store time of the message before `consumerOffset`; 0 if there is none.
        pub last_timestamp: i64,
        /// Only 5.x says it.
        pub pull_offset: i64,
    }

    /// GET_BROKER_CONSUME_STATS (317): of each group a list, one entry per topic.
    pub struct ConsumeStatsList {
        pub broker_addr: Option<String>,
        pub consume_stats_list: Vec<BTreeMap<String, Vec<ConsumeStats>>>,
        pub total_diff: i64,
        pub total_inflight_diff: i64,
    }

    /// QUERY_CONSUME_TIME_SPAN (303).
    #[derive(Eq)]
    pub struct QueryConsumeTimeSpanBody {
        pub consume_time_span_set: Vec<QueueTimeSpan>,
    }

    /// Times as numbers, and as texts in the broker's time zone.
    #[derive(Eq)]
    pub struct QueueTimeSpan {
        pub consume_time_stamp: i64,
        pub consume_time_stamp_str: Option<String>,
        pub delay_time: i64,
        pub max_time_stamp: i64,
        pub max_time_stamp_str: Option<String>,
        pub message_queue: MessageQueue,
        pub min_time_stamp: i64,
        pub min_time_stamp_str: Option<String>,
    }

    /// VIEW_BROKER_STATS_DATA (315).
    #[derive(Copy)]
    pub struct BrokerStatsData {
        pub stats_day: BrokerStatsItem,
        pub stats_hour: BrokerStatsItem,
        pub stats_minute: BrokerStatsItem,
    }

    #[derive(Copy)]
    pub struct BrokerStatsItem {
        pub avgpt: f64,
        pub sum: i64,
        pub tps: f64,
    }

    /// QUERY_CONSUME_QUEUE (321).
    #[derive(Eq)]
    pub struct QueryConsumeQueueResponseBody {
        pub filter_data: Option<String>,
        pub max_queue_index: i64,
        pub min_queue_index: i64,
        pub queue_data: Vec<ConsumeQueueData>,
        pub subscription_data: Option<SubscriptionData>,
    }

    #[derive(Eq)]
    pub struct ConsumeQueueData {
        pub bit_map: Option<String>,
        pub eval: bool,
        pub extend_data_json: Option<String>,
        pub msg: Option<String>,
        pub physic_offset: i64,
        pub physic_size: i32,
        pub tags_code: i64,
    }

    /// GET_BROKER_HA_STATUS (907).
    #[derive(Eq)]
    pub struct HARuntimeInfo {
        pub ha_client_runtime_info: HAClientRuntimeInfo,
        pub ha_connection_info: Vec<HAConnectionRuntimeInfo>,
        pub in_sync_slave_nums: i32,
        pub master: bool,
        pub master_commit_log_max_offset: i64,
    }

    #[derive(Eq)]
    pub struct HAClientRuntimeInfo {
        pub is_activated: Option<bool>,
        pub last_read_timestamp: i64,
        pub last_write_timestamp: i64,
        pub master_addr: Option<String>,
        pub master_flush_offset: i64,
        pub max_offset: i64,
        pub transferred_byte_in_second: i64,
    }

    #[derive(Eq)]
    pub struct HAConnectionRuntimeInfo {
        pub addr: String,
        pub diff: i64,
        pub in_sync: bool,
        pub slave_ack_offset: i64,
        pub transfer_from_where: i64,
        pub transferred_byte_in_second: i64,
    }
}
