//! The headers of a broker's topics and figures: codes 17, 18, 21, 25, 26, 202, 215, 315, 323 and 351.

use crate::header::Text;

custom_headers! {
    pub struct CreateTopicRequestHeader<'a> {
        pub topic: Text<'a> = "topic",
        pub default_topic: Text<'a> = "defaultTopic",
        pub read_queue_nums: i32 = "readQueueNums",
        pub write_queue_nums: i32 = "writeQueueNums",
        pub perm: i32 = "perm",
        pub topic_filter_type: Text<'a> = "topicFilterType",
        pub topic_sys_flag: Option<i32> = "topicSysFlag",
        pub order: bool = "order" or false,
        pub attributes: Option<Text<'a>> = "attributes",
        pub force: bool = "force" or false,
    }

    pub struct CreateTopicListRequestHeader {}

    pub struct DeleteTopicRequestHeader<'a> {
        pub topic: Text<'a> = "topic",
    }

    pub struct GetTopicConfigRequestHeader<'a> {
        pub topic: Text<'a> = "topic",
    }

    pub struct GetAllTopicConfigRequestHeader<'a> {
        pub topic_seq: i32 = "topicSeq",
        pub data_version: Option<Text<'a>> = "dataVersion",
        pub max_topic_num: Option<i32> = "maxTopicNum",
    }

    pub struct GetAllTopicConfigResponseHeader {
        pub total_topic_num: i32 = "totalTopicNum",
    }

    pub struct GetTopicStatsInfoRequestHeader<'a> {
        pub topic: Text<'a> = "topic",
    }

    pub struct GetBrokerConfigResponseHeader<'a> {
        pub version: Text<'a> = "version",
    }

    pub struct ViewBrokerStatsDataRequestHeader<'a> {
        pub stats_name: Text<'a> = "statsName",
        pub stats_key: Text<'a> = "statsKey",
    }

    pub struct ResumeCheckHalfMessageRequestHeader<'a> {
        pub topic: Option<Text<'a>> = "topic",
        pub msg_id: Option<Text<'a>> = "msgId",
    }

    pub struct StatisticsMessagesRequestHeader<'a> {
        pub consumer_group: Text<'a> = "consumerGroup",
        pub topic: Text<'a> = "topic",
        pub queue_id: i32 = "queueId",
        pub from_time: Option<i64> = "fromTime",
        pub to_time: Option<i64> = "toTime",
    }

    pub struct CheckRocksdbCqWriteProgressRequestHeader<'a> {
        pub topic: Text<'a> = "topic",
        pub check_store_time: Option<i64> = "checkStoreTime",
    }

    pub struct ExportRocksDBConfigToJsonRequestHeader<'a> {
        pub type_name: Option<Text<'a>> = "typeName",
        pub config_type: Text<'a> = "configType",
    }
}
