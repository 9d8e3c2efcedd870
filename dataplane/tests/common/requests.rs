//! Requests as clients make them.

#![allow(dead_code)] // Each test program uses its part.

use protocol::RemotingCommand;
use protocol::code::request;

/// A send of code 310, as the probe's; `set` changes any field of it.
pub fn send(topic: &str, queue_id: i32, properties: &str, body: &[u8]) -> RemotingCommand {
    RemotingCommand::request(request::SEND_MESSAGE_V2)
        .field("a", "PGx")
        .field("b", topic)
        .field("c", "TBW102")
        .field("d", 4)
        .field("e", queue_id)
        .field("f", 0)
        .field("g", 1_700_000_000_000_i64)
        .field("h", 7)
        .field("i", properties)
        .field("j", 0)
        .field("k", false)
        .field("m", false)
        .body(body.to_vec())
}

/// A pull that brings its own subscription and does not suspend; `set` changes any of it.
pub fn pull(topic: &str, queue_id: i32, offset: i64) -> RemotingCommand {
    RemotingCommand::request(request::PULL_MESSAGE)
        .field("consumerGroup", "CGx")
        .field("topic", topic)
        .field("queueId", queue_id)
        .field("queueOffset", offset)
        .field("maxMsgNums", 32)
        .field("sysFlag", 4)
        .field("commitOffset", 0)
        .field("suspendTimeoutMillis", 3000)
        .field("subscription", "*")
        .field("subVersion", 0)
        .field("expressionType", "TAG")
}

/// A topic made or changed, as by mqadmin.
pub fn create_topic(topic: &str, queues: i32) -> RemotingCommand {
    RemotingCommand::request(request::UPDATE_AND_CREATE_TOPIC)
        .field("topic", topic)
        .field("defaultTopic", "TBW102")
        .field("readQueueNums", queues)
        .field("writeQueueNums", queues)
        .field("perm", 6)
        .field("topicFilterType", "SINGLE_TAG")
        .field("topicSysFlag", 0)
        .field("order", false)
}

/// Replaces a field.
pub fn set(mut command: RemotingCommand, name: &str, value: impl ToString) -> RemotingCommand {
    command.ext_fields.retain(|(known, _)| known != name);
    command.field(name, value)
}
