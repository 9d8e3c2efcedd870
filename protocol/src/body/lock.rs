//! Orderly consumers take their queues: LOCK_BATCH_MQ (41) and UNLOCK_BATCH_MQ (42).

use super::MessageQueue;

bodies! {
    #[derive(Eq)]
    pub struct LockBatchRequestBody {
        pub client_id: String,
        pub consumer_group: String,
        pub mq_set: Vec<MessageQueue>,
        /// Only 5.x says it.
        pub only_this_broker: bool,
    }

    #[derive(Eq)]
    pub struct LockBatchResponseBody {
        #[serde(rename = "lockOKMQSet")]
        pub lock_ok_mq_set: Vec<MessageQueue>,
    }

    #[derive(Eq)]
    pub struct UnlockBatchRequestBody {
        pub client_id: String,
        pub consumer_group: String,
        pub mq_set: Vec<MessageQueue>,
        pub only_this_broker: bool,
    }
}
