//! Unpacking beside the core: what goes on meanwhile, in which order its results come, and how much may wait for it.

use super::consuming::{Shelf, config, start, world};
use crate::config::ProducerConfig;
use crate::core::testing::*;
use crate::core::{Answer, Consumed, How, Order, Payload};
use crate::message::Message;
use protocol::RemotingCommand;
use protocol::code::{request, response};
use std::collections::BTreeMap;
use std::time::Duration;

/// A consumer of two queues with 40 compressed messages each, in a shell that takes its time to unpack.
fn consuming() -> World {
    let shelf = Shelf::shared(2, 40);
    shelf.borrow_mut().is_packed = true;
    let mut world = world(2, &shelf);
    world.is_slow_to_unpack = true;
    start(&mut world, config(), "*");
    world.pass(Duration::from_millis(10));
    world
}

/// Goal: while an answer is unpacked, which may take long, sends and heartbeats go on; one is unpacked at a time, and each
/// queue's messages come in their order. Method: a shell that unpacks when it is told to.
#[test]
fn sends_and_heartbeats_go_on_while_a_pull_is_unpacked() {
    let mut world = consuming();
    assert_eq!((world.packed.len(), world.tasks.len()), (1, 0), "of two queues, one at a time");
    let beats = world.count(request::HEART_BEAT);
    world.core.producer_start(ProducerConfig::new("PG"), world.now).unwrap();
    let payload = Payload::Single(Message::new("T", "meanwhile"));
    let order = Order { payload, how: How::Sync, to: None, timeout: None };
    world.core.send(1, "PG", order, world.now).unwrap();
    world.settle();
    assert!(matches!(world.answer(1), Ok(Answer::Sent(_))));
    world.pass(Duration::from_secs(60));
    assert!(world.count(request::HEART_BEAT) > beats);
    assert_eq!((world.packed.len(), world.count(request::PULL_MESSAGE)), (1, 2), "no queue is pulled on");
    let mut offsets: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    while !world.packed.is_empty() {
        world.unpack();
        while !world.tasks.is_empty() {
            for message in world.consume("CG", Consumed::Done) {
                assert_eq!(message.body(), format!("m{}", message.queue_offset).as_bytes());
                offsets.entry(message.queue.queue_id).or_default().push(message.queue_offset);
            }
        }
    }
    let all: Vec<i64> = (0..40).collect();
    assert_eq!(offsets, BTreeMap::from([(0, all.clone()), (1, all)]));
}

/// Goal: an answer that cannot be unpacked, as by a decoder that panics, is asked for again, and holds up no other queue.
#[test]
fn what_cannot_be_unpacked_is_pulled_again() {
    let mut world = consuming();
    world.packed.clear();
    world.core.unpacked(None, world.now);
    world.settle();
    assert_eq!((world.packed.len(), world.count(request::PULL_MESSAGE)), (1, 2), "the other queue's turn");
    world.is_slow_to_unpack = false;
    world.unpack();
    world.pass(Duration::from_secs(4));
    let mut count = 0;
    while !world.tasks.is_empty() {
        count += world.consume("CG", Consumed::Done).len();
    }
    assert_eq!(count, 80);
}

/// Goal: what waits to be unpacked takes 64 MiB at most, and who is refused for it is told. Method: six messages of 15 MiB to
/// consume at once.
#[test]
fn what_waits_to_be_unpacked_is_bounded() {
    let mut world = consuming();
    let command = RemotingCommand::request(request::CONSUME_MESSAGE_DIRECTLY).field("consumerGroup", "CG");
    let remarks = |world: &World| -> Vec<String> {
        let answers = world.asked.iter().filter(|(_, _, command)| command.is_response());
        answers
            .map(|(_, _, answer)| {
                assert_eq!(answer.code, response::SYSTEM_ERROR);
                answer.remark.clone().unwrap()
            })
            .collect()
    };
    for opaque in 1..=5 {
        let command = command.clone().body(vec![0; 15 << 20]);
        world.tell(BROKER_A, &RemotingCommand { opaque, ..command });
    }
    assert_eq!(
        remarks(&world),
        ["too much waits to be unpacked"],
        "the second queue's pull is the first that waits"
    );
    world.unpack();
    let again = command.body(vec![0; 15 << 20]);
    while !world.packed.is_empty() {
        world.unpack();
    }
    world.tell(BROKER_A, &again);
    world.unpack();
    let (refused, unread) = (remarks(&world), "the message to consume does not read");
    assert_eq!(refused.iter().filter(|remark| *remark == unread).count(), 5, "{refused:?}");
}
