//! Between the broker's tables and the JSON of `protocol::body`: files, registrations and admin answers share it.

use protocol::body;

use super::group_config::GroupConfig;
use super::topic_config::TopicConfig;
use super::version::DataVersion;

impl From<DataVersion> for body::DataVersion {
    fn from(version: DataVersion) -> body::DataVersion {
        let DataVersion { state_version, timestamp, counter } = version;
        body::DataVersion { counter, state_version, timestamp }
    }
}

impl From<body::DataVersion> for DataVersion {
    fn from(version: body::DataVersion) -> DataVersion {
        let body::DataVersion { counter, state_version, timestamp } = version;
        DataVersion { state_version, timestamp, counter }
    }
}

impl From<&TopicConfig> for body::TopicConfig {
    fn from(config: &TopicConfig) -> body::TopicConfig {
        body::TopicConfig {
            attributes: config.attributes.clone(),
            order: config.order,
            perm: config.perm,
            read_queue_nums: config.read_queue_nums,
            topic_filter_type: match config.multi_tag {
                true => body::TopicFilterType::MultiTag,
                false => body::TopicFilterType::SingleTag,
            },
            topic_name: config.name.to_string(),
            topic_sys_flag: config.topic_sys_flag,
            write_queue_nums: config.write_queue_nums,
        }
    }
}

impl From<&body::TopicConfig> for TopicConfig {
    fn from(config: &body::TopicConfig) -> TopicConfig {
        TopicConfig {
            name: config.topic_name.as_str().into(),
            read_queue_nums: config.read_queue_nums,
            write_queue_nums: config.write_queue_nums,
            perm: config.perm,
            multi_tag: config.topic_filter_type == body::TopicFilterType::MultiTag,
            topic_sys_flag: config.topic_sys_flag,
            order: config.order,
            attributes: config.attributes.clone(),
        }
    }
}

impl From<&GroupConfig> for body::SubscriptionGroupConfig {
    fn from(config: &GroupConfig) -> body::SubscriptionGroupConfig {
        body::SubscriptionGroupConfig {
            attributes: config.attributes.clone(),
            broker_id: config.broker_id,
            consume_broadcast_enable: config.consume_broadcast_enable,
            consume_enable: config.consume_enable,
            consume_from_min_enable: config.consume_from_min_enable,
            consume_message_orderly: config.consume_message_orderly,
            consume_timeout_minute: config.consume_timeout_minute,
            group_name: config.name.to_string(),
            // The text came out of the same type, or is the default.
            group_retry_policy: protocol::fastjson::from_slice(config.retry_policy.as_bytes())
                .unwrap_or_default(),
            group_sys_flag: config.group_sys_flag,
            notify_consumer_ids_changed_enable: config.notify_consumer_ids_changed_enable,
            retry_max_times: config.retry_max_times,
            retry_queue_nums: config.retry_queue_nums,
            subscription_data_set: None,
            which_broker_when_consume_slowly: config.which_broker_when_consume_slowly,
        }
    }
}

impl From<&body::SubscriptionGroupConfig> for GroupConfig {
    fn from(config: &body::SubscriptionGroupConfig) -> GroupConfig {
        GroupConfig {
            name: config.group_name.as_str().into(),
            consume_enable: config.consume_enable,
            consume_from_min_enable: config.consume_from_min_enable,
            consume_broadcast_enable: config.consume_broadcast_enable,
            consume_message_orderly: config.consume_message_orderly,
            retry_queue_nums: config.retry_queue_nums,
            retry_max_times: config.retry_max_times,
            retry_policy: protocol::fastjson::to_string(&config.group_retry_policy).into(),
            broker_id: config.broker_id,
            which_broker_when_consume_slowly: config.which_broker_when_consume_slowly,
            notify_consumer_ids_changed_enable: config.notify_consumer_ids_changed_enable,
            group_sys_flag: config.group_sys_flag,
            consume_timeout_minute: config.consume_timeout_minute,
            attributes: config.attributes.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: nothing is lost on the way to a file and back. Method: every field unlike its default.
    #[test]
    fn topics_and_groups_survive_the_way_through_json() {
        let topic = TopicConfig {
            multi_tag: true,
            topic_sys_flag: 3,
            order: true,
            attributes: [("a".to_owned(), "b".to_owned())].into(),
            write_queue_nums: 9,
            ..TopicConfig::new("T", 4, 2)
        };
        assert_eq!(TopicConfig::from(&body::TopicConfig::from(&topic)), topic);
        let group = GroupConfig {
            consume_enable: false,
            consume_from_min_enable: false,
            consume_broadcast_enable: false,
            consume_message_orderly: true,
            retry_queue_nums: 3,
            retry_max_times: -1,
            retry_policy: r#"{"type":"EXPONENTIAL"}"#.into(),
            broker_id: 1,
            which_broker_when_consume_slowly: 2,
            notify_consumer_ids_changed_enable: false,
            group_sys_flag: 1,
            consume_timeout_minute: 3,
            attributes: [("c".to_owned(), "d".to_owned())].into(),
            ..GroupConfig::new("G")
        };
        assert_eq!(GroupConfig::from(&body::SubscriptionGroupConfig::from(&group)), group);
        let default = GroupConfig::new("G");
        assert_eq!(GroupConfig::from(&body::SubscriptionGroupConfig::from(&default)), default);
    }
}
