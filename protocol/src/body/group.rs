//! Subscription groups and their tables: codes 200, 201, 225, 345, 352 and 353, and `subscriptionGroup.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DataVersion, SubscriptionData};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupConfig {
    pub attributes: BTreeMap<String, String>,
    pub broker_id: i64,
    pub consume_broadcast_enable: bool,
    pub consume_enable: bool,
    pub consume_from_min_enable: bool,
    pub consume_message_orderly: bool,
    pub consume_timeout_minute: i32,
    pub group_name: String,
    pub group_retry_policy: GroupRetryPolicy,
    pub group_sys_flag: i32,
    pub notify_consumer_ids_changed_enable: bool,
    pub retry_max_times: i32,
    pub retry_queue_nums: i32,
    /// Kept as it came: 5.x may bind a group to subscriptions.
    pub subscription_data_set: Option<serde_json::Value>,
    pub which_broker_when_consume_slowly: i64,
}

impl Default for SubscriptionGroupConfig {
    fn default() -> SubscriptionGroupConfig {
        SubscriptionGroupConfig {
            attributes: BTreeMap::new(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: false,
            consume_timeout_minute: 15,
            group_name: String::new(),
            group_retry_policy: GroupRetryPolicy::default(),
            group_sys_flag: 0,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            subscription_data_set: None,
            which_broker_when_consume_slowly: 1,
        }
    }
}

impl SubscriptionGroupConfig {
    pub fn new(group_name: impl Into<String>) -> SubscriptionGroupConfig {
        SubscriptionGroupConfig { group_name: group_name.into(), ..SubscriptionGroupConfig::default() }
    }
}

bodies! {
    /// How long a message waits before it is tried again. The two policies are kept as they came.
    #[derive(Eq)]
    pub struct GroupRetryPolicy {
        pub customized_retry_policy: Option<serde_json::Value>,
        pub exponential_retry_policy: Option<serde_json::Value>,
        #[serde(rename = "type")]
        pub kind: GroupRetryPolicyType,
    }

    /// `subscriptionGroup.json`, and the answer to GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201).
    #[derive(Eq)]
    pub struct SubscriptionGroupWrapper {
        pub data_version: DataVersion,
        /// Group, then topic.
        pub forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
        pub subscription_group_table: BTreeMap<String, SubscriptionGroupConfig>,
    }

    /// UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST (225).
    #[derive(Eq)]
    pub struct SubscriptionGroupList {
        pub group_config_list: Vec<SubscriptionGroupConfig>,
    }

    /// The answer to QUERY_SUBSCRIPTION_BY_CONSUMER (345).
    #[derive(Eq)]
    pub struct QuerySubscriptionResponseBody {
        pub group: String,
        pub subscription_data: Option<SubscriptionData>,
        pub topic: String,
    }

    /// The answer to UPDATE_AND_GET_GROUP_FORBIDDEN (353).
    #[derive(Eq)]
    pub struct GroupForbidden {
        pub group: String,
        pub readable: Option<bool>,
        pub topic: String,
    }
}

named_enum! {
    pub enum GroupRetryPolicyType {
        Exponential = "EXPONENTIAL",
        #[default]
        Customized = "CUSTOMIZED",
    }
}
