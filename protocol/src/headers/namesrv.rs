//! The headers of the name server: codes 100 to 105, 205, 216, 217, 219, 224, 322, 327, 901, 904 and 905.

use crate::header::Text;

custom_headers! {
    pub struct GetRouteInfoRequestHeader<'a> {
        pub topic: Text<'a> = "topic",
        pub accept_standard_json_only: Option<bool> = "acceptStandardJsonOnly",
    }

    /// `bodyCrc32` is the CRC-32 of the body as sent, bit 31 cleared; 0 means unchecked.
    pub struct RegisterBrokerRequestHeader<'a> {
        pub broker_name: Text<'a> = "brokerName",
        pub broker_addr: Text<'a> = "brokerAddr",
        pub cluster_name: Text<'a> = "clusterName",
        pub ha_server_addr: Text<'a> = "haServerAddr",
        pub broker_id: i64 = "brokerId",
        pub heartbeat_timeout_millis: Option<i64> = "heartbeatTimeoutMillis",
        pub enable_acting_master: Option<bool> = "enableActingMaster",
        pub compressed: Option<bool> = "compressed",
        pub body_crc32: i32 = "bodyCrc32" or 0,
    }

    pub struct RegisterBrokerResponseHeader<'a> {
        pub ha_server_addr: Option<Text<'a>> = "haServerAddr",
        pub master_addr: Option<Text<'a>> = "masterAddr",
    }

    pub struct UnRegisterBrokerRequestHeader<'a> {
        pub broker_name: Text<'a> = "brokerName",
        pub broker_addr: Text<'a> = "brokerAddr",
        pub cluster_name: Text<'a> = "clusterName",
        pub broker_id: i64 = "brokerId",
    }

    pub struct QueryDataVersionRequestHeader<'a> {
        pub broker_name: Text<'a> = "brokerName",
        pub broker_addr: Text<'a> = "brokerAddr",
        pub cluster_name: Text<'a> = "clusterName",
        pub broker_id: i64 = "brokerId",
    }

    pub struct QueryDataVersionResponseHeader {
        pub changed: bool = "changed",
    }

    pub struct PutKVConfigRequestHeader<'a> {
        pub namespace: Text<'a> = "namespace",
        pub key: Text<'a> = "key",
        pub value: Text<'a> = "value",
    }

    pub struct GetKVConfigRequestHeader<'a> {
        pub namespace: Text<'a> = "namespace",
        pub key: Text<'a> = "key",
    }

    pub struct GetKVConfigResponseHeader<'a> {
        pub value: Option<Text<'a>> = "value",
    }

    pub struct DeleteKVConfigRequestHeader<'a> {
        pub namespace: Text<'a> = "namespace",
        pub key: Text<'a> = "key",
    }

    pub struct GetKVListByNamespaceRequestHeader<'a> {
        pub namespace: Text<'a> = "namespace",
    }

    pub struct WipeWritePermOfBrokerRequestHeader<'a> {
        pub broker_name: Text<'a> = "brokerName",
    }

    pub struct WipeWritePermOfBrokerResponseHeader {
        pub wipe_topic_count: i32 = "wipeTopicCount",
    }

    pub struct AddWritePermOfBrokerRequestHeader<'a> {
        pub broker_name: Text<'a> = "brokerName",
    }

    pub struct AddWritePermOfBrokerResponseHeader {
        pub add_topic_count: i32 = "addTopicCount",
    }

    pub struct DeleteTopicFromNamesrvRequestHeader<'a> {
        pub topic: Text<'a> = "topic",
        pub cluster_name: Option<Text<'a>> = "clusterName",
    }

    pub struct RegisterTopicRequestHeader<'a> {
        pub topic: Text<'a> = "topic",
    }

    pub struct RegisterOrderTopicRequestHeader<'a> {
        pub topic: Text<'a> = "topic",
        pub order_topic_string: Text<'a> = "orderTopicString",
    }

    pub struct GetTopicsByClusterRequestHeader<'a> {
        pub cluster: Text<'a> = "cluster",
    }

    pub struct GetBrokerMemberGroupRequestHeader<'a> {
        pub cluster_name: Text<'a> = "clusterName",
        pub broker_name: Text<'a> = "brokerName",
    }

    pub struct BrokerHeartbeatRequestHeader<'a> {
        pub cluster_name: Text<'a> = "clusterName",
        pub broker_addr: Text<'a> = "brokerAddr",
        pub broker_name: Text<'a> = "brokerName",
        pub broker_id: Option<i64> = "brokerId",
        pub epoch: Option<i32> = "epoch",
        pub max_offset: Option<i64> = "maxOffset",
        pub confirm_offset: Option<i64> = "confirmOffset",
        pub heartbeat_timeout_mills: Option<i64> = "heartbeatTimeoutMills",
        pub election_priority: Option<i32> = "electionPriority",
    }

    pub struct NotifyMinBrokerIdChangeRequestHeader<'a> {
        pub min_broker_id: Option<i64> = "minBrokerId",
        pub broker_name: Option<Text<'a>> = "brokerName",
        pub min_broker_addr: Option<Text<'a>> = "minBrokerAddr",
        pub offline_broker_addr: Option<Text<'a>> = "offlineBrokerAddr",
        pub ha_broker_addr: Option<Text<'a>> = "haBrokerAddr",
    }
}
