//! The headers of clients and their groups: codes 35, 38, 40, 41, 42, 203, 204, 207, 208, 300, 307, 309, 317, 328, 343, 345, 352 and 353.

use crate::header::Text;

custom_headers! {
    pub struct UnregisterClientRequestHeader<'a> {
        pub client_id: Text<'a> = "clientID",
        pub producer_group: Option<Text<'a>> = "producerGroup",
        pub consumer_group: Option<Text<'a>> = "consumerGroup",
    }

    pub struct UnregisterClientResponseHeader {}

    pub struct GetConsumerListByGroupRequestHeader<'a> {
        pub consumer_group: Text<'a> = "consumerGroup",
    }

    pub struct GetConsumerListByGroupResponseHeader {}

    pub struct NotifyConsumerIdsChangedRequestHeader<'a> {
        pub consumer_group: Text<'a> = "consumerGroup",
    }

    pub struct HeartbeatRequestHeader {}

    pub struct LockBatchMqRequestHeader {}

    pub struct UnlockBatchMqRequestHeader {}

    pub struct GetConsumerConnectionListRequestHeader<'a> {
        pub consumer_group: Text<'a> = "consumerGroup",
    }

    pub struct GetProducerConnectionListRequestHeader<'a> {
        pub producer_group: Text<'a> = "producerGroup",
    }

    pub struct GetAllProducerInfoRequestHeader {}

    /// Code 307, from the administrator and on to the client.
    pub struct GetConsumerRunningInfoRequestHeader<'a> {
        pub consumer_group: Text<'a> = "consumerGroup",
        pub client_id: Text<'a> = "clientId",
        pub jstack_enable: Option<bool> = "jstackEnable",
    }

    /// Code 309, from the administrator and on to the client.
    pub struct ConsumeMessageDirectlyResultRequestHeader<'a> {
        pub consumer_group: Text<'a> = "consumerGroup",
        pub client_id: Option<Text<'a>> = "clientId",
        pub msg_id: Option<Text<'a>> = "msgId",
        pub broker_name: Option<Text<'a>> = "brokerName",
        pub topic: Option<Text<'a>> = "topic",
        pub topic_sys_flag: Option<i32> = "topicSysFlag",
        pub group_sys_flag: Option<i32> = "groupSysFlag",
    }

    pub struct GetConsumeStatsRequestHeader<'a> {
        pub consumer_group: Text<'a> = "consumerGroup",
        pub topic: Option<Text<'a>> = "topic",
        pub topic_list: Option<Text<'a>> = "topicList",
    }

    pub struct GetConsumeStatsInBrokerHeader {
        pub is_order: bool = "isOrder",
    }

    pub struct QueryTopicConsumeByWhoRequestHeader<'a> {
        pub topic: Text<'a> = "topic",
    }

    pub struct QueryTopicsByConsumerRequestHeader<'a> {
        pub group: Text<'a> = "group",
    }

    pub struct QuerySubscriptionByConsumerRequestHeader<'a> {
        pub group: Text<'a> = "group",
        pub topic: Option<Text<'a>> = "topic",
    }

    /// 4.9 calls the second field removeOffset, which is passed over.
    pub struct DeleteSubscriptionGroupRequestHeader<'a> {
        pub group_name: Text<'a> = "groupName",
        pub clean_offset: bool = "cleanOffset" or false,
    }

    pub struct GetSubscriptionGroupConfigRequestHeader<'a> {
        pub group: Text<'a> = "group",
    }

    pub struct GetAllSubscriptionGroupRequestHeader<'a> {
        pub group_seq: i32 = "groupSeq",
        pub data_version: Option<Text<'a>> = "dataVersion",
        pub max_group_num: Option<i32> = "maxGroupNum",
    }

    pub struct GetAllSubscriptionGroupResponseHeader {
        pub total_group_num: i32 = "totalGroupNum",
    }

    pub struct UpdateGroupForbiddenRequestHeader<'a> {
        pub group: Text<'a> = "group",
        pub topic: Text<'a> = "topic",
        pub readable: Option<bool> = "readable",
    }
}
