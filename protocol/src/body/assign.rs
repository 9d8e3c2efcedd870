//! Server-side rebalance and POP: codes 400, 401, 402 and 200151.

use std::collections::BTreeMap;

use super::{MessageModel, MessageQueue};

bodies! {
    /// QUERY_ASSIGNMENT (400).
    #[derive(Eq)]
    pub struct QueryAssignmentRequestBody {
        pub client_id: String,
        pub consumer_group: String,
        pub message_model: MessageModel,
        pub strategy_name: String,
        pub topic: String,
    }

    #[derive(Eq)]
    pub struct QueryAssignmentResponseBody {
        pub message_queue_assignments: Vec<MessageQueueAssignment>,
    }

    #[derive(Eq)]
    pub struct MessageQueueAssignment {
        pub attachments: Option<BTreeMap<String, String>>,
        pub message_queue: MessageQueue,
        pub mode: MessageRequestMode,
    }

    /// SET_MESSAGE_REQUEST_MODE (401).
    #[derive(Eq)]
    pub struct SetMessageRequestModeRequestBody {
        pub consumer_group: String,
        pub mode: MessageRequestMode,
        pub pop_share_queue_num: i32,
        pub topic: String,
    }

    /// GET_ALL_MESSAGE_REQUEST_MODE (402) and `messageRequestMode.json`: topic, then group.
    #[derive(Eq)]
    pub struct MessageRequestModeSerializeWrapper {
        pub message_request_mode_map: BTreeMap<String, BTreeMap<String, SetMessageRequestModeRequestBody>>,
    }

    /// BATCH_ACK_MESSAGE (200151).
    #[derive(Eq)]
    pub struct BatchAckMessageRequestBody {
        pub acks: Vec<BatchAck>,
        pub broker_name: String,
    }

    #[derive(Eq)]
    pub struct BatchAck {
        /// Base64 of a bit per acknowledged offset.
        #[serde(rename = "b")]
        pub bit_set: String,
        #[serde(rename = "c")]
        pub consumer_group: String,
        #[serde(rename = "it")]
        pub invisible_time: i64,
        #[serde(rename = "pt")]
        pub pop_time: i64,
        #[serde(rename = "q")]
        pub queue_id: i32,
        #[serde(rename = "r")]
        pub retry: String,
        #[serde(rename = "rq")]
        pub revive_queue_id: i32,
        #[serde(rename = "so")]
        pub start_offset: i64,
        #[serde(rename = "t")]
        pub topic: String,
    }
}

named_enum! {
    pub enum MessageRequestMode {
        #[default]
        Pull = "PULL",
        Pop = "POP",
    }
}
