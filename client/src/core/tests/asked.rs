//! What brokers ask of a client.

use super::consuming::{Shelf, config, start, world};
use crate::config::ProducerConfig;
use crate::core::Consumed;
use crate::core::testing::*;
use crate::message::MessageQueue;
use protocol::RemotingCommand;
use protocol::body::{
    Body, CMResult, ConsumeMessageDirectlyResult, ConsumerRunningInfo, GetConsumerStatusBody, ResetOffsetBody,
};
use protocol::code::{request, response};
use std::time::Duration;

fn consuming() -> World {
    let shelf = Shelf::shared(2, 2);
    let mut world = world(2, &shelf);
    start(&mut world, config(), "*");
    world.pass(Duration::from_millis(10));
    world
}

/// Asks the client over broker a's connection; gives its answer.
fn ask(world: &mut World, command: RemotingCommand) -> RemotingCommand {
    let opaque = 4711;
    world.tell(BROKER_A, &RemotingCommand { opaque, ..command });
    answer_to(world, opaque)
}

fn answer_to(world: &World, opaque: i32) -> RemotingCommand {
    let is_answer = |command: &RemotingCommand| command.is_response() && command.opaque == opaque;
    let mut answers = world.asked.iter().filter(|(_, _, command)| is_answer(command));
    answers.next_back().expect("the client answered").2.clone()
}

/// Goal: an unknown question has the documented answer, and a one-way one has none.
#[test]
fn unknown_questions_are_refused() {
    let mut world = consuming();
    let answer = ask(&mut world, RemotingCommand::request(4999));
    assert_eq!(answer.code, response::REQUEST_CODE_NOT_SUPPORTED);
    assert_eq!(answer.remark.as_deref(), Some(" request type 4999 not supported"));
    let before = world.asked.len();
    world.tell(BROKER_A, &RemotingCommand::request(4999).oneway());
    assert_eq!(world.asked.len(), before);
}

/// Goal: reset queues begin again where they are told, and what the listener still has of them counts no more.
#[test]
fn offsets_are_reset() {
    let mut world = consuming();
    let queue = MessageQueue::new("T", "broker-a", 0);
    let table = [(crate::message::to_body(&queue), 1)].into();
    let reset = RemotingCommand::request(request::RESET_CONSUMER_CLIENT_OFFSET)
        .field("topic", "T")
        .field("group", "CG")
        .field("timestamp", 0)
        .field("isForce", true)
        .body(ResetOffsetBody { offset_table: table }.encode())
        .oneway();
    let old = world.tasks.len();
    world.tell(BROKER_A, &reset);
    assert_eq!(world.core.groups["CG"].offsets.get(&queue), Some(1));
    let fresh: Vec<i64> =
        world.tasks.iter().skip(old).map(|(_, messages)| messages[0].queue_offset).collect();
    assert_eq!(fresh, [1]);
    for _ in 0..old {
        world.consume("CG", Consumed::Done);
    }
    assert_eq!(
        world.core.groups["CG"].offsets.get(&queue),
        Some(1),
        "old results say nothing of the new run"
    );
    world.consume("CG", Consumed::Done);
    assert_eq!(world.core.groups["CG"].offsets.get(&queue), Some(2));
}

/// Goal: status and running info tell what there is; a group that is not here is told as an error.
#[test]
fn status_is_told() {
    let mut world = consuming();
    world.consume("CG", Consumed::Done);
    let status = RemotingCommand::request(request::GET_CONSUMER_STATUS_FROM_CLIENT)
        .field("topic", "T")
        .field("group", "CG");
    let body = GetConsumerStatusBody::decode(&ask(&mut world, status).body).unwrap();
    assert_eq!(body.message_queue_table.len(), 1);
    let info = |group: &str| {
        RemotingCommand::request(request::GET_CONSUMER_RUNNING_INFO)
            .field("consumerGroup", group)
            .field("clientId", "10.0.0.9@test")
            .field("jstackEnable", false)
    };
    let body = ConsumerRunningInfo::decode(&ask(&mut world, info("CG")).body).unwrap();
    assert_eq!(body.mq_table.len(), 2);
    assert_eq!(body.properties["PROP_CONSUMEORDERLY"], "false");
    assert_eq!(body.subscription_set.len(), 2);
    let held: i32 = body.mq_table.values().map(|queue| queue.cached_msg_count).sum();
    assert_eq!(held, 3);
    assert_eq!(ask(&mut world, info("other")).code, response::SYSTEM_ERROR);
}

/// Goal: an administrator's message is consumed at once, and the answer waits for the listener.
#[test]
fn a_message_is_consumed_directly() {
    for (result, told) in [(Consumed::Done, CMResult::Success), (Consumed::Again, CMResult::Later)] {
        let mut world = consuming();
        while !world.tasks.is_empty() {
            world.consume("CG", Consumed::Done);
        }
        let command = RemotingCommand::request(request::CONSUME_MESSAGE_DIRECTLY)
            .field("consumerGroup", "CG")
            .field("clientId", "10.0.0.9@test")
            .field("brokerName", "broker-a")
            .body(record_bytes("T", 0, 77, b"again", b"", 0));
        world.tell(BROKER_A, &RemotingCommand { opaque: 99, ..command });
        let messages = world.consume("CG", result);
        assert_eq!(messages[0].body(), "again");
        let body = ConsumeMessageDirectlyResult::decode(&answer_to(&world, 99).body).unwrap();
        assert_eq!(body.consume_result, told);
        let back = world.count(request::CONSUMER_SEND_MSG_BACK);
        assert_eq!(back, 0, "its failure is the administrator's to know");
    }
}

/// Goal: a transaction check reaches its group's listener, and the verdict goes back over the same connection.
#[test]
fn a_transaction_check_is_answered() {
    let mut world = consuming();
    world.core.producer_start(ProducerConfig::new("PG"), world.now).unwrap();
    let half =
        record_bytes("T", 0, 5, b"half", b"PGROUP\x01PG\x02TRAN_MSG\x01true\x02UNIQ_KEY\x01ID1\x02", 0);
    let check = RemotingCommand::request(request::CHECK_TRANSACTION_STATE)
        .field("tranStateTableOffset", 5)
        .field("commitLogOffset", 1000)
        .field("msgId", "ID1")
        .field("transactionId", "ID1")
        .body(half)
        .oneway();
    world.tell(BROKER_A, &check);
    let asked = world.checks.pop().unwrap();
    assert_eq!((&*asked.group, asked.message.body().as_ref()), ("PG", &b"half"[..]));
    world.core.checked(&asked, crate::TransactionState::Commit, world.now);
    world.settle();
    let ends = world.asked_of(BROKER_A, request::END_TRANSACTION);
    let fields = [
        "producerGroup",
        "commitOrRollback",
        "tranStateTableOffset",
        "commitLogOffset",
        "fromTransactionCheck",
        "msgId",
    ];
    assert_eq!(fields.map(|name| ends[0].ext(name).unwrap()), ["PG", "8", "5", "1000", "true", "ID1"]);
    assert!(ends[0].is_oneway());
}
