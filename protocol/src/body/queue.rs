//! A queue as clients name it.

use serde::{Deserialize, Serialize};

/// Also the key of several maps, where it is written as an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageQueue {
    pub broker_name: String,
    pub queue_id: i32,
    pub topic: String,
}

impl MessageQueue {
    pub fn new(topic: impl Into<String>, broker_name: impl Into<String>, queue_id: i32) -> MessageQueue {
        MessageQueue { broker_name: broker_name.into(), queue_id, topic: topic.into() }
    }
}
