//! Orderly consuming: locks, one call a queue, pauses, giving up.

use super::consuming::{Shared, Shelf, config, world};
use crate::config::PushConsumerConfig;
use crate::core::offsets::Offsets;
use crate::core::testing::*;
use crate::core::{Consumed, Subscription};
use crate::message::MessageQueue;
use protocol::body::{Body, UnlockBatchRequestBody};
use protocol::code::request;
use std::collections::BTreeSet;
use std::time::Duration;

fn start(world: &mut World, config: PushConsumerConfig) {
    let subscriptions = vec![Subscription::tags("T", "*").unwrap()];
    world.core.push_start(config, true, subscriptions, Offsets::default(), world.now).unwrap();
    world.pass(Duration::from_millis(10));
}

fn locked(queues: i32, each: usize) -> Shared {
    let shelf = Shelf::shared(queues, each);
    shelf.borrow_mut().locks = (0..queues).collect();
    shelf
}

fn unlocked(world: &World) -> BTreeSet<i32> {
    let asked = world.asked_of(BROKER_A, request::UNLOCK_BATCH_MQ);
    let bodies = asked.iter().map(|command| UnlockBatchRequestBody::decode(&command.body).unwrap());
    bodies.flat_map(|body| body.mq_set.into_iter().map(|queue| queue.queue_id)).collect()
}

/// Goal: only queues whose lock is granted are taken, and the others within a second of it being granted.
#[test]
fn only_locked_queues_are_taken() {
    let shelf = Shelf::shared(2, 0);
    shelf.borrow_mut().locks.insert(1);
    let mut world = world(2, &shelf);
    start(&mut world, config());
    let held =
        |world: &World| world.core.groups["CG"].queues.keys().map(|queue| queue.queue_id).collect::<Vec<_>>();
    assert_eq!(held(&world), [1]);
    shelf.borrow_mut().locks.insert(0);
    world.pass(Duration::from_millis(1100));
    assert_eq!(held(&world), [0, 1]);
}

/// Goal: one call a queue, in order, the queues side by side.
#[test]
fn each_queue_is_called_in_order() {
    let shelf = locked(2, 5);
    let mut world = world(2, &shelf);
    start(&mut world, config());
    let mut seen = [Vec::new(), Vec::new()];
    while !world.tasks.is_empty() {
        let queues: Vec<i32> = world.tasks.iter().map(|(_, messages)| messages[0].queue.queue_id).collect();
        assert_eq!(queues.len(), queues.iter().collect::<BTreeSet<_>>().len(), "one call a queue");
        for message in world.consume("CG", Consumed::Done) {
            seen[message.queue.queue_id as usize].push(message.queue_offset);
        }
    }
    assert_eq!(seen, [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]);
}

/// Goal: a listener that asks for a moment gets the same message again, before all others, a second later.
#[test]
fn a_failed_message_is_tried_again_in_place() {
    let shelf = locked(1, 2);
    let mut world = world(1, &shelf);
    start(&mut world, config());
    world.consume("CG", Consumed::Again);
    world.pass(Duration::from_millis(990));
    assert!(world.tasks.is_empty());
    world.pass(Duration::from_millis(20));
    let again = world.consume("CG", Consumed::Done);
    assert_eq!((again[0].queue_offset, again[0].reconsume_times), (0, 1));
    assert_eq!(world.consume("CG", Consumed::Done)[0].queue_offset, 1);
}

/// Goal: a message that failed too often leaves by the retry topic, and the queue goes on.
#[test]
fn a_hopeless_message_leaves_the_queue() {
    let shelf = locked(1, 2);
    let mut world = world(1, &shelf);
    world.peer(NAME_SERVER, name_server(&["T", "%RETRY%CG"], one_broker(1)));
    start(&mut world, PushConsumerConfig { max_reconsume_times: 1, ..config() });
    // The retry topic is served from the same shelf; its messages are not looked at.
    let mut offsets = Vec::new();
    for _ in 0..40 {
        while let Some((_, messages)) = world.tasks.front() {
            let is_ours = &*messages[0].queue.topic == "T";
            let (offset, times) = (messages[0].queue_offset, messages[0].reconsume_times);
            let is_hopeless = is_ours && offset == 0;
            world.consume("CG", if is_hopeless { Consumed::Again } else { Consumed::Done });
            if is_ours {
                offsets.push((offset, times));
            }
        }
        world.pass(Duration::from_millis(100));
    }
    assert_eq!(offsets, [(0, 0), (0, 1), (1, 0)]);
    let asked = world.asked_of(BROKER_A, request::SEND_MESSAGE_V2);
    let fields = ["b", "j", "l"].map(|name| asked[0].ext(name).unwrap());
    assert_eq!(fields, ["%RETRY%CG", "2", "1"]);
}

/// Goal: locks are renewed every 20 s; without a broker's word for 30 s nothing is consumed; the word brings it back.
#[test]
fn a_lock_is_trusted_for_thirty_seconds() {
    let shelf = locked(1, 1);
    let mut world = world(1, &shelf);
    start(&mut world, config());
    world.consume("CG", Consumed::Done);
    world.pass(Duration::from_secs(60));
    assert!(world.asked_of(BROKER_A, request::LOCK_BATCH_MQ).len() >= 4);
    shelf.borrow_mut().locks.clear();
    world.pass(Duration::from_secs(21));
    let queue = MessageQueue::new("T", "broker-a", 0);
    let run = world.core.groups["CG"].queues[&queue].id;
    let late = std::sync::Arc::new(message_at("T", 0, 1));
    let state = world.core.groups.get_mut("CG").unwrap();
    state.queues.get_mut(&queue).unwrap().cache.put([late]);
    world.core.wake_listener(&"CG".into(), run, world.now);
    world.settle();
    assert!(world.tasks.is_empty(), "somebody else may have the lock");
    shelf.borrow_mut().locks.insert(0);
    world.pass(Duration::from_secs(21));
    assert_eq!(world.tasks.len(), 1);
}

/// Goal: a queue given up is unlocked at once when it is quiet, and after the listener's call when it is not.
#[test]
fn a_queue_is_unlocked_when_nobody_is_at_it() {
    let shelf = locked(2, 0);
    shelf.borrow_mut().queues.insert(0, vec![("m".to_owned(), String::new())]);
    let mut world = world(2, &shelf);
    start(&mut world, config());
    assert_eq!(world.tasks.len(), 1);
    for queue in 0..2 {
        world.core.give_up("CG", &MessageQueue::new("T", "broker-a", queue), world.now);
    }
    world.settle();
    assert_eq!(unlocked(&world), BTreeSet::from([1]));
    world.consume("CG", Consumed::Done);
    assert_eq!(unlocked(&world), BTreeSet::from([0, 1]));
}

/// Goal: a queue taken again while the old call runs is not consumed beside it, and not unlocked by its end.
#[test]
fn a_queue_taken_again_waits_for_the_old_call() {
    let shelf = locked(1, 2);
    let mut world = world(1, &shelf);
    start(&mut world, config());
    assert_eq!(world.tasks.len(), 1);
    world.core.give_up("CG", &MessageQueue::new("T", "broker-a", 0), world.now);
    world.core.rebalance_soon(&"CG".into(), Duration::ZERO, world.now);
    world.pass(Duration::from_millis(50));
    assert_eq!(world.core.groups["CG"].queues.len(), 1, "it is ours again");
    assert_eq!(world.tasks.len(), 1, "and the old call is the only one");
    world.consume("CG", Consumed::Done);
    assert!(unlocked(&world).is_empty());
    assert_eq!(world.tasks.len(), 1, "now the new one may");
}

/// Goal: a shutdown unlocks what is held.
#[test]
fn a_shutdown_unlocks() {
    let shelf = locked(2, 1);
    let mut world = world(2, &shelf);
    start(&mut world, config());
    world.core.push_stop("CG", world.now);
    world.settle();
    assert_eq!(unlocked(&world), BTreeSet::from([0, 1]));
}
