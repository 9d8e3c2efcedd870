//! The headers between brokers and controllers: codes 902, 903, 906, 908 and 1001 to 1013.

use crate::header::Text;

custom_headers! {
    pub struct AddBrokerRequestHeader<'a> {
        pub config_path: Option<Text<'a>> = "configPath",
    }

    pub struct RemoveBrokerRequestHeader<'a> {
        pub broker_name: Text<'a> = "brokerName",
        pub broker_cluster_name: Text<'a> = "brokerClusterName",
        pub broker_id: i64 = "brokerId",
    }

    pub struct ExchangeHAInfoRequestHeader<'a> {
        pub master_ha_address: Option<Text<'a>> = "masterHaAddress",
        pub master_flush_offset: Option<i64> = "masterFlushOffset",
        pub master_address: Option<Text<'a>> = "masterAddress",
    }

    pub struct ExchangeHAInfoResponseHeader<'a> {
        pub master_ha_address: Option<Text<'a>> = "masterHaAddress",
        pub master_flush_offset: Option<i64> = "masterFlushOffset",
        pub master_address: Option<Text<'a>> = "masterAddress",
    }

    pub struct ResetMasterFlushOffsetHeader {
        pub master_flush_offset: i64 = "masterFlushOffset",
    }

    pub struct NotifyBrokerRoleChangedRequestHeader<'a> {
        pub master_address: Option<Text<'a>> = "masterAddress",
        pub master_epoch: Option<i32> = "masterEpoch",
        pub sync_state_set_epoch: Option<i32> = "syncStateSetEpoch",
        pub master_broker_id: Option<i64> = "masterBrokerId",
    }

    pub struct AlterSyncStateSetRequestHeader<'a> {
        pub broker_name: Option<Text<'a>> = "brokerName",
        pub master_broker_id: Option<i64> = "masterBrokerId",
        pub master_epoch: Option<i32> = "masterEpoch",
        pub invoke_time: Option<i64> = "invokeTime",
    }

    pub struct AlterSyncStateSetResponseHeader {
        pub new_sync_state_set_epoch: Option<i32> = "newSyncStateSetEpoch",
    }

    pub struct ElectMasterRequestHeader<'a> {
        pub cluster_name: Text<'a> = "clusterName" or Text::new(b""),
        pub broker_name: Text<'a> = "brokerName" or Text::new(b""),
        pub broker_id: i64 = "brokerId" or -1,
        pub designate_elect: bool = "designateElect" or false,
        pub invoke_time: Option<i64> = "invokeTime",
    }

    pub struct ElectMasterResponseHeader<'a> {
        pub master_broker_id: Option<i64> = "masterBrokerId",
        pub master_address: Option<Text<'a>> = "masterAddress",
        pub master_epoch: Option<i32> = "masterEpoch",
        pub sync_state_set_epoch: Option<i32> = "syncStateSetEpoch",
    }

    pub struct GetMetaDataResponseHeader<'a> {
        pub group: Option<Text<'a>> = "group",
        pub controller_leader_id: Option<Text<'a>> = "controllerLeaderId",
        pub controller_leader_address: Option<Text<'a>> = "controllerLeaderAddress",
        pub is_leader: Option<bool> = "isLeader",
        pub peers: Option<Text<'a>> = "peers",
    }

    pub struct GetReplicaInfoRequestHeader<'a> {
        pub broker_name: Option<Text<'a>> = "brokerName",
    }

    pub struct GetReplicaInfoResponseHeader<'a> {
        pub master_broker_id: Option<i64> = "masterBrokerId",
        pub master_address: Option<Text<'a>> = "masterAddress",
        pub master_epoch: Option<i32> = "masterEpoch",
    }

    pub struct CleanControllerBrokerDataRequestHeader<'a> {
        pub cluster_name: Option<Text<'a>> = "clusterName",
        pub broker_name: Text<'a> = "brokerName",
        pub broker_controller_ids_to_clean: Option<Text<'a>> = "brokerControllerIdsToClean",
        pub is_clean_living_broker: bool = "isCleanLivingBroker" or false,
        pub invoke_time: Option<i64> = "invokeTime",
    }

    pub struct ApplyBrokerIdRequestHeader<'a> {
        pub cluster_name: Option<Text<'a>> = "clusterName",
        pub broker_name: Option<Text<'a>> = "brokerName",
        pub applied_broker_id: Option<i64> = "appliedBrokerId",
        pub register_check_code: Option<Text<'a>> = "registerCheckCode",
    }

    pub struct ApplyBrokerIdResponseHeader<'a> {
        pub cluster_name: Option<Text<'a>> = "clusterName",
        pub broker_name: Option<Text<'a>> = "brokerName",
    }

    pub struct GetNextBrokerIdRequestHeader<'a> {
        pub cluster_name: Option<Text<'a>> = "clusterName",
        pub broker_name: Option<Text<'a>> = "brokerName",
    }

    pub struct GetNextBrokerIdResponseHeader<'a> {
        pub cluster_name: Option<Text<'a>> = "clusterName",
        pub broker_name: Option<Text<'a>> = "brokerName",
        pub next_broker_id: Option<i64> = "nextBrokerId",
    }

    pub struct RegisterBrokerToControllerRequestHeader<'a> {
        pub cluster_name: Option<Text<'a>> = "clusterName",
        pub broker_name: Option<Text<'a>> = "brokerName",
        pub broker_id: Option<i64> = "brokerId",
        pub broker_address: Option<Text<'a>> = "brokerAddress",
        pub invoke_time: Option<i64> = "invokeTime",
    }

    pub struct RegisterBrokerToControllerResponseHeader<'a> {
        pub cluster_name: Option<Text<'a>> = "clusterName",
        pub broker_name: Option<Text<'a>> = "brokerName",
        pub master_broker_id: Option<i64> = "masterBrokerId",
        pub master_address: Option<Text<'a>> = "masterAddress",
        pub master_epoch: Option<i32> = "masterEpoch",
        pub sync_state_set_epoch: Option<i32> = "syncStateSetEpoch",
    }
}
