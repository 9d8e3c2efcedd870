//! The headers of POP consumption: codes 200050 to 200056.

use crate::header::Text;

custom_headers! {
    pub struct PopMessageRequestHeader<'a> {
        pub consumer_group: Text<'a> = "consumerGroup",
        pub topic: Text<'a> = "topic",
        pub queue_id: i32 = "queueId",
        pub max_msg_nums: i32 = "maxMsgNums",
        pub invisible_time: i64 = "invisibleTime",
        pub poll_time: i64 = "pollTime",
        pub born_time: i64 = "bornTime",
        pub init_mode: i32 = "initMode",
        pub exp_type: Option<Text<'a>> = "expType",
        pub exp: Option<Text<'a>> = "exp",
        pub order: bool = "order" or false,
        pub attempt_id: Option<Text<'a>> = "attemptId",
    }

    pub struct PopMessageResponseHeader<'a> {
        pub pop_time: i64 = "popTime",
        pub invisible_time: i64 = "invisibleTime",
        pub revive_qid: i32 = "reviveQid",
        pub rest_num: i64 = "restNum",
        pub start_offset_info: Option<Text<'a>> = "startOffsetInfo",
        pub msg_offset_info: Option<Text<'a>> = "msgOffsetInfo",
        pub order_count_info: Option<Text<'a>> = "orderCountInfo",
    }

    pub struct AckMessageRequestHeader<'a> {
        pub consumer_group: Text<'a> = "consumerGroup",
        pub topic: Text<'a> = "topic",
        pub queue_id: i32 = "queueId",
        pub extra_info: Text<'a> = "extraInfo",
        pub offset: i64 = "offset",
    }

    pub struct ChangeInvisibleTimeRequestHeader<'a> {
        pub consumer_group: Text<'a> = "consumerGroup",
        pub topic: Text<'a> = "topic",
        pub queue_id: i32 = "queueId",
        pub extra_info: Text<'a> = "extraInfo",
        pub offset: i64 = "offset",
        pub invisible_time: i64 = "invisibleTime",
    }

    pub struct ChangeInvisibleTimeResponseHeader {
        pub pop_time: i64 = "popTime",
        pub invisible_time: i64 = "invisibleTime",
        pub revive_qid: i32 = "reviveQid",
    }

    pub struct PeekMessageRequestHeader<'a> {
        pub topic: Text<'a> = "topic",
        pub queue_id: i32 = "queueId",
        pub max_msg_nums: i32 = "maxMsgNums",
        pub consumer_group: Text<'a> = "consumerGroup",
    }

    pub struct NotificationRequestHeader<'a> {
        pub consumer_group: Text<'a> = "consumerGroup",
        pub topic: Text<'a> = "topic",
        pub queue_id: i32 = "queueId",
        pub poll_time: i64 = "pollTime",
        pub born_time: i64 = "bornTime",
        pub order: bool = "order" or false,
        pub attempt_id: Option<Text<'a>> = "attemptId",
    }

    pub struct NotificationResponseHeader {
        pub has_msg: bool = "hasMsg" or false,
        pub polling_full: bool = "pollingFull" or false,
    }

    pub struct PollingInfoRequestHeader<'a> {
        pub consumer_group: Text<'a> = "consumerGroup",
        pub topic: Text<'a> = "topic",
        pub queue_id: i32 = "queueId",
    }

    pub struct PollingInfoResponseHeader {
        pub polling_num: i32 = "pollingNum",
    }
}
