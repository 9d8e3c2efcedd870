//! The headers of offsets and queues: codes 14, 15, 29 to 32, 303, 308, 314 and 321.

use crate::header::Text;

custom_headers! {
    pub struct QueryConsumerOffsetRequestHeader<'a> {
        pub consumer_group: Text<'a> = "consumerGroup",
        pub topic: Text<'a> = "topic",
        pub queue_id: i32 = "queueId",
        pub set_zero_if_not_found: Option<bool> = "setZeroIfNotFound",
    }

    pub struct QueryConsumerOffsetResponseHeader {
        pub offset: i64 = "offset",
    }

    pub struct UpdateConsumerOffsetRequestHeader<'a> {
        pub consumer_group: Text<'a> = "consumerGroup",
        pub topic: Text<'a> = "topic",
        pub queue_id: i32 = "queueId",
        pub commit_offset: i64 = "commitOffset",
    }

    pub struct UpdateConsumerOffsetResponseHeader {}

    pub struct SearchOffsetRequestHeader<'a> {
        pub topic: Text<'a> = "topic",
        pub queue_id: i32 = "queueId",
        pub timestamp: i64 = "timestamp",
        pub boundary_type: Option<Text<'a>> = "boundaryType",
    }

    pub struct SearchOffsetResponseHeader {
        pub offset: i64 = "offset",
    }

    /// Only 5.x says `committed`.
    pub struct GetMaxOffsetRequestHeader<'a> {
        pub topic: Text<'a> = "topic",
        pub queue_id: i32 = "queueId",
        pub committed: bool = "committed" or true,
    }

    pub struct GetMaxOffsetResponseHeader {
        pub offset: i64 = "offset",
    }

    pub struct GetMinOffsetRequestHeader<'a> {
        pub topic: Text<'a> = "topic",
        pub queue_id: i32 = "queueId",
    }

    pub struct GetMinOffsetResponseHeader {
        pub offset: i64 = "offset",
    }

    pub struct GetEarliestMsgStoretimeRequestHeader<'a> {
        pub topic: Text<'a> = "topic",
        pub queue_id: i32 = "queueId",
    }

    pub struct GetEarliestMsgStoretimeResponseHeader {
        pub timestamp: i64 = "timestamp",
    }

    /// Codes 222, and 220 on its way to the client.
    pub struct ResetOffsetRequestHeader<'a> {
        pub group: Text<'a> = "group",
        pub topic: Text<'a> = "topic",
        pub queue_id: i32 = "queueId" or -1,
        pub offset: Option<i64> = "offset",
        pub timestamp: i64 = "timestamp",
        pub is_force: bool = "isForce",
    }

    pub struct GetConsumerStatusRequestHeader<'a> {
        pub topic: Text<'a> = "topic",
        pub group: Text<'a> = "group",
        pub client_addr: Option<Text<'a>> = "clientAddr",
    }

    pub struct CloneGroupOffsetRequestHeader<'a> {
        pub src_group: Text<'a> = "srcGroup",
        pub dest_group: Text<'a> = "destGroup",
        pub topic: Option<Text<'a>> = "topic",
        pub offline: Option<bool> = "offline",
    }

    pub struct QueryCorrectionOffsetHeader<'a> {
        pub filter_groups: Option<Text<'a>> = "filterGroups",
        pub compare_group: Text<'a> = "compareGroup",
        pub topic: Text<'a> = "topic",
    }

    pub struct QueryConsumeQueueRequestHeader<'a> {
        pub topic: Option<Text<'a>> = "topic",
        pub queue_id: Option<i32> = "queueId",
        pub index: Option<i64> = "index",
        pub count: Option<i32> = "count",
        pub consumer_group: Option<Text<'a>> = "consumerGroup",
    }

    pub struct QueryConsumeTimeSpanRequestHeader<'a> {
        pub topic: Text<'a> = "topic",
        pub group: Text<'a> = "group",
    }

    pub struct InitConsumerOffsetRequestHeader<'a> {
        pub topic: Option<Text<'a>> = "topic",
        pub init_mode: Option<i32> = "initMode",
    }
}
