//! A consumer group as the broker keeps it.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A group as the broker uses it. The JSON form is `protocol::body`'s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupConfig {
    pub name: Arc<str>,
    pub consume_enable: bool,
    pub consume_from_min_enable: bool,
    pub consume_broadcast_enable: bool,
    pub consume_message_orderly: bool,
    pub retry_queue_nums: i32,
    pub retry_max_times: i32,
    /// The JSON text of groupRetryPolicy; kept for its readers, the broker does not look into it.
    pub retry_policy: Arc<str>,
    pub broker_id: i64,
    pub which_broker_when_consume_slowly: i64,
    pub notify_consumer_ids_changed_enable: bool,
    pub group_sys_flag: i32,
    pub consume_timeout_minute: i32,
    pub attributes: BTreeMap<String, String>,
}

impl GroupConfig {
    pub fn new(name: &str) -> GroupConfig {
        GroupConfig {
            name: name.into(),
            consume_enable: true,
            consume_from_min_enable: true,
            consume_broadcast_enable: true,
            consume_message_orderly: false,
            retry_queue_nums: 1,
            retry_max_times: 16,
            retry_policy: RETRY_POLICY_DEFAULT.into(),
            broker_id: 0,
            which_broker_when_consume_slowly: 1,
            notify_consumer_ids_changed_enable: true,
            group_sys_flag: 0,
            consume_timeout_minute: 15,
            attributes: BTreeMap::new(),
        }
    }

    /// Memory that it takes here and where the files are written, near enough.
    pub fn bytes(&self) -> usize {
        let attributes = self.attributes.iter().map(|(key, value)| key.len() + value.len() + ATTRIBUTE_BYTES);
        let texts = self.name.len() + self.retry_policy.len() + attributes.sum::<usize>();
        3 * texts + GROUP_BYTES
    }
}

/// What a group takes besides its texts, and an attribute besides its own.
const GROUP_BYTES: usize = 768;
const ATTRIBUTE_BYTES: usize = 64;

const RETRY_POLICY_DEFAULT: &str = r#"{"type":"CUSTOMIZED"}"#;
