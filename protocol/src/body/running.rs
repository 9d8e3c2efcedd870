//! What a consumer tells of itself: GET_CONSUMER_RUNNING_INFO (307) and CONSUME_MESSAGE_DIRECTLY (309).

use std::collections::BTreeMap;

use super::{MessageQueue, SubscriptionData};

bodies! {
    pub struct ConsumerRunningInfo {
        pub jstack: Option<String>,
        pub mq_pop_table: BTreeMap<MessageQueue, PopProcessQueueInfo>,
        pub mq_table: BTreeMap<MessageQueue, ProcessQueueInfo>,
        /// `PROP_NAMESERVER_ADDR`, `PROP_CONSUME_TYPE`, .. and every setting of the client as text.
        pub properties: BTreeMap<String, String>,
        pub status_table: BTreeMap<String, ConsumeStatus>,
        pub subscription_set: Vec<SubscriptionData>,
        pub user_consumer_info: BTreeMap<String, String>,
    }

    #[derive(Eq)]
    pub struct ProcessQueueInfo {
        pub cached_msg_count: i32,
        pub cached_msg_max_offset: i64,
        pub cached_msg_min_offset: i64,
        #[serde(rename = "cachedMsgSizeInMiB")]
        pub cached_msg_size_in_mib: i32,
        pub commit_offset: i64,
        /// Spelled so on the wire.
        pub droped: bool,
        pub last_consume_timestamp: i64,
        pub last_lock_timestamp: i64,
        pub last_pull_timestamp: i64,
        pub locked: bool,
        pub transaction_msg_count: i32,
        pub transaction_msg_max_offset: i64,
        pub transaction_msg_min_offset: i64,
        pub try_unlock_times: i64,
    }

    #[derive(Eq)]
    pub struct PopProcessQueueInfo {
        pub droped: bool,
        pub last_pop_timestamp: i64,
        pub wait_ack_count: i32,
    }

    pub struct ConsumeStatus {
        pub consume_failed_msgs: i64,
        #[serde(rename = "consumeFailedTPS")]
        pub consume_failed_tps: f64,
        #[serde(rename = "consumeOKTPS")]
        pub consume_ok_tps: f64,
        #[serde(rename = "consumeRT")]
        pub consume_rt: f64,
        #[serde(rename = "pullRT")]
        pub pull_rt: f64,
        #[serde(rename = "pullTPS")]
        pub pull_tps: f64,
    }

    #[derive(Eq)]
    pub struct ConsumeMessageDirectlyResult {
        pub auto_commit: bool,
        pub consume_result: CMResult,
        pub order: bool,
        pub remark: Option<String>,
        pub spent_time_mills: i64,
    }
}

named_enum! {
    pub enum CMResult {
        #[default]
        Success = "CR_SUCCESS",
        Later = "CR_LATER",
        Rollback = "CR_ROLLBACK",
        Commit = "CR_COMMIT",
        ThrowException = "CR_THROW_EXCEPTION",
        ReturnNull = "CR_RETURN_NULL",
    }
}
