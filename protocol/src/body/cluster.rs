//! Which brokers there are: GET_BROKER_CLUSTER_INFO (106) and GET_BROKER_MEMBER_GROUP (901).

use std::collections::{BTreeMap, BTreeSet};

use super::BrokerData;

bodies! {
    #[derive(Eq)]
    pub struct ClusterInfo {
        pub broker_addr_table: BTreeMap<String, BrokerData>,
        pub cluster_addr_table: BTreeMap<String, BTreeSet<String>>,
    }

    #[derive(Eq)]
    pub struct BrokerMemberGroup {
        pub broker_addrs: BTreeMap<i64, String>,
        pub broker_name: String,
        pub cluster: String,
    }

    #[derive(Eq)]
    pub struct GetBrokerMemberGroupResponseBody {
        pub broker_member_group: Option<BrokerMemberGroup>,
    }
}
