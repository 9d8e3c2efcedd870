//! Who a client is and what it wants: HEART_BEAT (34) and CHECK_CLIENT_CONFIG (46), and the lists of a group's clients (38).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

bodies! {
    #[derive(Eq)]
    pub struct HeartbeatData {
        #[serde(rename = "clientID")]
        pub client_id: String,
        pub consumer_data_set: Vec<ConsumerData>,
        /// From here on only 5.x says it.
        pub heartbeat_fingerprint: i32,
        pub producer_data_set: Vec<ProducerData>,
        pub without_sub: bool,
    }

    #[derive(Eq)]
    pub struct ConsumerData {
        pub consume_from_where: ConsumeFromWhere,
        pub consume_type: ConsumeType,
        pub group_name: String,
        pub message_model: MessageModel,
        pub subscription_data_set: Vec<SubscriptionData>,
        pub unit_mode: bool,
    }

    #[derive(Eq)]
    pub struct ProducerData {
        pub group_name: String,
    }

    #[derive(Eq)]
    pub struct CheckClientRequestBody {
        pub client_id: String,
        pub group: String,
        pub namespace: Option<String>,
        pub subscription_data: SubscriptionData,
    }

    /// The clients of a group (38).
    #[derive(Eq)]
    pub struct GetConsumerListByGroupResponseBody {
        pub consumer_id_list: Vec<String>,
    }
}

/// What one group reads of one topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionData {
    pub class_filter_mode: bool,
    /// The Java hashes of the tags; empty for "*".
    pub code_set: BTreeSet<i32>,
    /// "TAG", which a missing one means too, or "SQL92".
    pub expression_type: String,
    /// "*", or tags joined with "||", or an SQL expression.
    pub sub_string: String,
    pub sub_version: i64,
    pub tags_set: BTreeSet<String>,
    pub topic: String,
}

impl Default for SubscriptionData {
    fn default() -> SubscriptionData {
        SubscriptionData {
            class_filter_mode: false,
            code_set: BTreeSet::new(),
            expression_type: EXPRESSION_TAG.to_owned(),
            sub_string: String::new(),
            sub_version: 0,
            tags_set: BTreeSet::new(),
            topic: String::new(),
        }
    }
}

impl SubscriptionData {
    pub fn is_tag(&self) -> bool {
        self.expression_type.is_empty() || self.expression_type == EXPRESSION_TAG
    }
}

named_enum! {
    /// Where a group without offsets begins.
    pub enum ConsumeFromWhere {
        #[default]
        LastOffset = "CONSUME_FROM_LAST_OFFSET",
        /// This one and the next two are kept for old clients.
        LastOffsetAndFromMinWhenBootFirst = "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        MinOffset = "CONSUME_FROM_MIN_OFFSET",
        MaxOffset = "CONSUME_FROM_MAX_OFFSET",
        FirstOffset = "CONSUME_FROM_FIRST_OFFSET",
        Timestamp = "CONSUME_FROM_TIMESTAMP",
    }
}

named_enum! {
    /// Pull, push or pop.
    pub enum ConsumeType {
        Actively = "CONSUME_ACTIVELY",
        #[default]
        Passively = "CONSUME_PASSIVELY",
        Pop = "CONSUME_POP",
    }
}

named_enum! {
    pub enum MessageModel {
        Broadcasting = "BROADCASTING",
        #[default]
        Clustering = "CLUSTERING",
    }
}

pub const EXPRESSION_TAG: &str = "TAG";
pub const EXPRESSION_SQL92: &str = "SQL92";
