//! Names of topics and groups that mean something, and the rules for names, with the official remarks.

use std::fmt;

pub const RETRY_PREFIX: &str = "%RETRY%";
pub const DLQ_PREFIX: &str = "%DLQ%";
pub const LMQ_PREFIX: &str = "%LMQ%";
/// Delayed messages: queue = level − 1.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
pub const TRANS_HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
pub const TRANS_OP_HALF_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
/// Half messages given up.
pub const TRANS_CHECK_MAX_TIME_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// Template of auto-created topics.
pub const TBW102: &str = "TBW102";
pub const SELF_TEST_TOPIC: &str = "SELF_TEST_TOPIC";
pub const BENCHMARK_TOPIC: &str = "BenchmarkTest";
pub const OFFSET_MOVED_EVENT: &str = "OFFSET_MOVED_EVENT";
pub const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";
pub const CHECKPOINT_TOPIC: &str = "CHECKPOINT_TOPIC";
pub const TIMER_TOPIC: &str = "rmq_sys_wheel_timer";
pub const SYSTEM_TOPIC_PREFIX: &str = "rmq_sys_";
pub const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";
pub const REPLY_TOPIC_POSTFIX: &str = "REPLY_TOPIC";

/// Topics a client may not send to (16).
pub const SEND_FORBIDDEN: &[&str] = &[
    SCHEDULE_TOPIC,
    TRANS_HALF_TOPIC,
    TRANS_OP_HALF_TOPIC,
    TRANS_CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_EVENT,
];

/// System topics; with the cluster's and the broker's own and [`SYSTEM_TOPIC_PREFIX`] those that admin may not touch (29).
pub const SYSTEM_TOPICS: &[&str] = &[
    TBW102,
    SCHEDULE_TOPIC,
    BENCHMARK_TOPIC,
    TRANS_HALF_TOPIC,
    TRACE_TOPIC,
    TRANS_OP_HALF_TOPIC,
    TRANS_CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_EVENT,
    CHECKPOINT_TOPIC,
];

pub const DEFAULT_PRODUCER_GROUP: &str = "DEFAULT_PRODUCER";
pub const DEFAULT_CONSUMER_GROUP: &str = "DEFAULT_CONSUMER";
pub const CLIENT_INNER_PRODUCER_GROUP: &str = "CLIENT_INNER_PRODUCER";
pub const SCHEDULE_CONSUMER_GROUP: &str = "SCHEDULE_CONSUMER";
pub const SELF_TEST_PRODUCER_GROUP: &str = "SELF_TEST_P_GROUP";
pub const TOOLS_CONSUMER_GROUP: &str = "TOOLS_CONSUMER";
pub const TRANS_CONSUMER_GROUP: &str = "CID_RMQ_SYS_TRANS";
pub const MONITOR_CONSUMER_GROUP: &str = "__MONITOR_CONSUMER";

/// Consumer groups that a broker makes at its start.
pub const SYSTEM_GROUPS: &[&str] = &[
    TOOLS_CONSUMER_GROUP,
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    TRANS_CONSUMER_GROUP,
];

/// Longest name of an ordinary topic: characters for the validator, bytes for the store.
pub const TOPIC_LEN_MAX: usize = 127;
/// Longest name of a retry or dead letter topic.
pub const RETRY_TOPIC_LEN_MAX: usize = 255;
/// Longest group name a broker takes.
pub const GROUP_LEN_MAX_BROKER: usize = 120;
/// Longest group name a client takes.
pub const GROUP_LEN_MAX_CLIENT: usize = 255;

pub fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

pub fn dlq_topic(group: &str) -> String {
    format!("{DLQ_PREFIX}{group}")
}

pub fn is_retry_topic(topic: &str) -> bool {
    topic.starts_with(RETRY_PREFIX)
}

pub fn is_dlq_topic(topic: &str) -> bool {
    topic.starts_with(DLQ_PREFIX)
}

/// Whether the name belongs to the system whatever cluster and broker are called.
pub fn is_system_topic(topic: &str) -> bool {
    SYSTEM_TOPICS.contains(&topic) || topic.starts_with(SYSTEM_TOPIC_PREFIX)
}

/// Whether a send to this topic is refused with 16.
pub fn is_send_forbidden(topic: &str) -> bool {
    SEND_FORBIDDEN.contains(&topic)
}

/// Whether the group is one of the system's own.
pub fn is_system_group(group: &str) -> bool {
    group.starts_with(SYSTEM_GROUP_PREFIX)
}

/// Whether every character may stand in a topic or group name: `^[%|a-zA-Z0-9_-]+$`.
pub fn has_legal_characters(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'_' | b'-'))
}

/// Why a topic name is refused. Its text is the official remark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicNameError<'a> {
    Blank,
    Characters { topic: &'a str },
    Length { topic: &'a str, max: usize },
}

impl fmt::Display for TopicNameError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("The specified topic is blank."),
            Self::Characters { topic } => write!(
                f,
                "The specified topic: {topic}, contains illegal characters, allowing only {LEGAL_PATTERN}"
            ),
            Self::Length { topic, max } => {
                write!(f, "The specified topic: {topic}, is longer than topic max length: {max}")
            }
        }
    }
}

impl std::error::Error for TopicNameError<'_> {}

/// The broker's check of a topic name (5.x).
pub fn check_topic(topic: &str) -> Result<(), TopicNameError<'_>> {
    if topic.trim().is_empty() {
        return Err(TopicNameError::Blank);
    }
    if !has_legal_characters(topic) {
        return Err(TopicNameError::Characters { topic });
    }
    let max = if is_retry_topic(topic) || is_dlq_topic(topic) { RETRY_TOPIC_LEN_MAX } else { TOPIC_LEN_MAX };
    if topic.len() > max {
        return Err(TopicNameError::Length { topic, max });
    }
    Ok(())
}

/// The characters that names may hold, as the official remarks tell it.
pub const LEGAL_PATTERN: &str = "^[%|a-zA-Z0-9_-]+$";
