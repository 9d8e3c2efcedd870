//! Offsets: what groups have read (43, `consumerOffset.json`), what delay levels have (45, `delayOffset.json`), and how
//! they are reset and asked for (220 to 223, 308).

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserializer;

use super::{DataVersion, MessageQueue};

bodies! {
    /// `consumerOffset.json`. 4.9 has the offset table only.
    #[derive(Eq)]
    pub struct ConsumerOffsetSerializeWrapper {
        pub data_version: Option<DataVersion>,
        pub group_topic_map: Option<BTreeMap<String, BTreeSet<String>>>,
        /// `topic@group`, then queue id.
        pub offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
        /// The same, of the last pulls rather than the last commits.
        pub pull_offset_table: Option<BTreeMap<String, BTreeMap<i32, i64>>>,
    }

    /// `delayOffset.json`.
    #[derive(Eq)]
    pub struct DelayOffsetSerializeWrapper {
        pub data_version: Option<DataVersion>,
        /// Level, then the next offset in its queue.
        pub offset_table: BTreeMap<i32, i64>,
    }

    /// The answer to 222, and what 220 carries to Java clients.
    #[derive(Eq)]
    pub struct ResetOffsetBody {
        #[serde(deserialize_with = "either_table")]
        pub offset_table: BTreeMap<MessageQueue, i64>,
    }

    /// What 220 carries to C++ clients.
    #[derive(Eq)]
    pub struct ResetOffsetBodyForC {
        pub offset_table: Vec<MessageQueueForC>,
    }

    #[derive(Eq)]
    pub struct MessageQueueForC {
        pub broker_name: String,
        pub offset: i64,
        pub queue_id: i32,
        pub topic: String,
    }

    /// The answers to 221 (the second table) and 223 (the first).
    #[derive(Eq)]
    pub struct GetConsumerStatusBody {
        /// Client id, then queue.
        pub consumer_table: BTreeMap<String, BTreeMap<MessageQueue, i64>>,
        pub message_queue_table: BTreeMap<MessageQueue, i64>,
    }

    /// The answer to QUERY_CORRECTION_OFFSET (308).
    #[derive(Eq)]
    pub struct QueryCorrectionOffsetBody {
        pub correction_offsets: BTreeMap<i32, i64>,
    }
}

/// The table as a map, or as the list that C++ gets.
fn either_table<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<MessageQueue, i64>, D::Error> {
    struct Either;

    impl<'de> serde::de::Visitor<'de> for Either {
        type Value = BTreeMap<MessageQueue, i64>;

        fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            out.write_str("a map or a list of queues")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut table = BTreeMap::new();
            while let Some((queue, offset)) = map.next_entry()? {
                table.insert(queue, offset);
            }
            Ok(table)
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut table = BTreeMap::new();
            while let Some(queue) = list.next_element::<MessageQueueForC>()? {
                table.insert(MessageQueue::new(queue.topic, queue.broker_name, queue.queue_id), queue.offset);
            }
            Ok(table)
        }

        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Ok(BTreeMap::new())
        }
    }

    deserializer.deserialize_any(Either)
}
