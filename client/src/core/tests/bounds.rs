//! What a broker that is slow, stuck or hostile cannot make of a client: its memory is bounded, and the caller hears of it.

use super::consuming::{Shelf, config, serving};
use crate::config::{ClientConfig, ProducerConfig};
use crate::core::offsets::Offsets;
use crate::core::testing::*;
use crate::core::{Consumed, How, Order, Payload, Subscription, TransactionState};
use crate::error::ClientError;
use crate::message::{Message, MessageQueue};
use protocol::RemotingCommand;
use protocol::body::TopicRouteData;
use protocol::code::{request, response};
use std::time::Duration;

const KIB: usize = 1024;

fn world(route: TopicRouteData, write_bytes_max: usize, send_bytes_max: usize) -> World {
    let config = ClientConfig { write_bytes_max, send_bytes_max, ..ClientConfig::new(NAME_SERVER) };
    let mut world = World::with_config(&["T"], route, config);
    world.core.producer_start(ProducerConfig::new("PG"), world.now).unwrap();
    world.core.publish_queues(0, "PG", "T", world.now);
    world.settle();
    world.pass(Duration::from_secs(2)); // Routes and connections are there.
    world
}

/// A message of 1 KiB.
fn order(how: How) -> Order {
    Order { payload: Payload::Single(Message::new("T", vec![b'x'; KIB])), how, to: None, timeout: None }
}

fn send(world: &mut World, token: u64, how: How) -> Result<(), ClientError> {
    world.core.send(token, "PG", order(how), world.now)?;
    world.settle();
    Ok(())
}

/// Names and addresses of so many brokers.
fn crowd(prefix: &str, count: usize) -> Vec<(String, String)> {
    (0..count).map(|n| (format!("{prefix}{n:04}"), format!("{prefix}{n}:1"))).collect()
}

fn crowd_route(names: &[(String, String)]) -> TopicRouteData {
    let addrs: Vec<[(i64, &str); 1]> = names.iter().map(|(_, addr)| [(0, addr.as_str())]).collect();
    let rows: Vec<BrokerRow<'_>> =
        names.iter().zip(&addrs).map(|((name, _), addrs)| (name.as_str(), &addrs[..], 6, 1, 1)).collect();
    route_data(&rows)
}

/// A producer of topic T on these brokers, for long enough that they all had heartbeats, if they have any.
fn producing_to(names: &[(String, String)]) -> World {
    let mut world = World::with_config(&["T"], crowd_route(names), ClientConfig::new(NAME_SERVER));
    names.iter().for_each(|(_, addr)| world.peer(addr, broker()));
    world.core.producer_start(ProducerConfig::new("PG"), world.now).unwrap();
    world.core.publish_queues(0, "PG", "T", world.now);
    world.pass(Duration::from_secs(70));
    world
}

fn send_to(world: &mut World, token: u64, broker: &str) -> Result<(), ClientError> {
    let to = Some(MessageQueue::new("T", broker, 0));
    world.core.send(token, "PG", Order { to, ..order(How::Async) }, world.now).unwrap();
    world.settle();
    world.sent(token).map(drop)
}

/// Goal: a route of very many brokers makes a bounded number of connections: what has heartbeats only gives way to sends, sends
/// beyond all of them are refused with an error that says what to do, and the name server is heard on. Method: 3,000 brokers,
/// of which 520 are sent to.
#[test]
fn brokers_without_number_make_a_bounded_number_of_connections() {
    let names = crowd("b", 3000);
    let max = ClientConfig::new(NAME_SERVER).connections_max;
    let mut world = producing_to(&names);
    assert_eq!(world.link_count(), max - max / 8, "as many as heartbeats may have");
    let ends: Vec<Result<(), ClientError>> = (names.iter().rev().take(520))
        .zip(1..)
        .map(|((name, _), token)| send_to(&mut world, token, name))
        .collect();
    assert!(world.link_count() <= max, "{}", world.link_count());
    let sent = ends.iter().take_while(|end| end.is_ok()).count();
    assert!((max - 1..=max).contains(&sent), "{sent} had a connection");
    let error = ends[sent].as_ref().unwrap_err();
    assert!(matches!(error, ClientError::TooManyConnections { .. }), "{error}");
    assert!(error.to_string().contains("connections_max (512)"), "{error}");
    world.set_up(NAME_SERVER, false);
    world.set_up(NAME_SERVER, true);
    world.core.publish_queues(600, "PG", "other", world.now);
    world.settle();
    assert!(matches!(world.answer(600), Err(ClientError::NoRoute { .. })), "the name server is heard");
    assert!(world.has_link(NAME_SERVER));
}

/// Goal: a connection that nobody uses any more is there for others, though heartbeats go over it; one in use stays. Method:
/// sends to as many brokers as there may be, to one of them on and on, and later to others.
#[test]
fn connections_out_of_use_are_given_back() {
    let names = crowd("b", 3000);
    let mut world = producing_to(&names);
    for (token, (name, _)) in (1..).zip(&names[..511]) {
        send_to(&mut world, token, name).unwrap();
    }
    assert!(send_to(&mut world, 1000, "b1000").is_err(), "all are in use");
    for token in 2000..2013 {
        world.pass(Duration::from_secs(10));
        send_to(&mut world, token, "b0007").unwrap();
    }
    for (token, (name, _)) in (3000..).zip(&names[1000..1510]) {
        send_to(&mut world, token, name).unwrap();
    }
    assert!(world.has_link("b7:1") && !world.has_link("b6:1"));
    assert_eq!(world.link_count(), 512);
}

/// Goal: those without whose heartbeats a group would fall apart have them, however many others there are. Method: a
/// producer that knows 600 brokers; then a group on 300 others, whose names come later, and which join at once and again
/// after the client had been used to 600 more.
#[test]
fn brokers_of_consumed_topics_come_first() {
    let (produced, consumed) = (crowd("b", 600), crowd("c", 300));
    let mut world = producing_to(&produced);
    let (mut other, mut own) =
        (name_server(&["T"], crowd_route(&produced)), name_server(&["C"], crowd_route(&consumed)));
    world.peer(
        NAME_SERVER,
        Box::new(
            move |command| if command.ext("topic") == Some("C") { own(command) } else { other(command) },
        ),
    );
    consumed.iter().for_each(|(_, addr)| world.peer(addr, broker()));
    let subscriptions = vec![Subscription::tags("C", "*").unwrap()];
    world.core.push_start(config(), false, subscriptions, Offsets::default(), world.now).unwrap();
    world.pass(Duration::from_secs(65));
    let untold = consumed.iter().filter(|(_, addr)| world.asked_of(addr, request::HEART_BEAT).is_empty());
    assert_eq!(untold.count(), 0, "of {}", consumed.len());
    for (token, (name, _)) in (1..).zip(&produced[200..400]) {
        send_to(&mut world, token, name).unwrap();
    }
    world.pass(Duration::from_secs(65));
    assert!(consumed.iter().all(|(_, addr)| world.has_link(addr)), "none was given to a producer");
    assert!(world.link_count() <= 512);
}

/// Goal: one-way sends to a broker that does not read are refused once the bound is reached, with an error that says what to
/// do; and go on when the broker is back on another connection.
#[test]
fn oneway_sends_to_a_stuck_broker_are_bounded() {
    let mut world = world(one_broker(4), 64 * KIB, usize::MAX);
    world.stop_reading(BROKER_A);
    let mut sent = 0;
    let error = loop {
        send(&mut world, sent + 1, How::Oneway).unwrap();
        match world.sent(sent + 1) {
            Ok(_) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 1000, "somewhere it ends");
    };
    assert!((40..64).contains(&sent), "{sent} of 1 KiB in 64 KiB");
    let ClientError::TooFast { bytes, max, .. } = &error else { panic!("{error}") };
    assert!(bytes + KIB <= 64 * KIB + 512 && *max == 64 * KIB, "{error}");
    assert!(error.to_string().contains("wait for results"), "{error}");
    // A heartbeat has no answer: the connection is given up, and what waited with it.
    world.pass(Duration::from_secs(40));
    world.peer(BROKER_A, broker());
    send(&mut world, 5000, How::Oneway).unwrap();
    assert!(world.sent(5000).is_ok());
}

/// Goal: what waits for a connection that is not made yet counts as well. Method: sends before the first connection.
#[test]
fn sends_before_the_connection_are_bounded() {
    let config = ClientConfig { write_bytes_max: 8 * KIB, ..ClientConfig::new(NAME_SERVER) };
    let mut world = World::with_config(&["T"], one_broker(4), config);
    world.core.producer_start(ProducerConfig::new("PG"), world.now).unwrap();
    world.core.publish_queues(0, "PG", "T", world.now);
    world.settle();
    for token in 1..=20 {
        world.core.send(token, "PG", order(How::Async), world.now).unwrap(); // Nothing is carried out in between.
    }
    world.settle();
    let refused = (1..=20).filter(|token| world.sent(*token).is_err()).count();
    assert!((13..=15).contains(&refused), "{refused} of 20");
    assert_eq!(world.count(request::SEND_MESSAGE_V2), 20 - refused);
}

/// Goal: messages without a result are bounded over all, also when the broker reads them, and room comes back with results.
#[test]
fn sends_without_a_result_are_bounded() {
    let mut world = world(one_broker(4), usize::MAX, 32 * KIB);
    world.peer(BROKER_A, Box::new(|_| None));
    let error =
        (1..1000).find_map(|token| send(&mut world, token, How::Async).err()).expect("somewhere it ends");
    assert!(matches!(&error, ClientError::TooFast { max, .. } if *max == 32 * KIB), "{error}");
    assert!((28..32).contains(&world.count(request::SEND_MESSAGE_V2)));
    world.pass(Duration::from_secs(10)); // Their time is over.
    send(&mut world, 2000, How::Async).unwrap();
}

/// Goal: a message larger than a bound is sent when nothing else is under way: bounds set no size for messages.
#[test]
fn a_bound_is_no_size_for_messages() {
    let mut world = world(one_broker(4), 100, 100);
    for token in 1..=3 {
        send(&mut world, token, How::Sync).unwrap();
        assert!(world.sent(token).is_ok());
    }
}

/// Goal: a sync send that finds one broker stuck goes to the other; with both stuck it fails at once and tries for no longer.
#[test]
fn a_sync_send_goes_to_the_broker_that_takes_it() {
    let mut world = world(two_brokers(), 64 * KIB, usize::MAX);
    world.stop_reading(BROKER_A);
    let fill = |world: &mut World, broker: &str, from: u64| {
        for token in from..from + 70 {
            let to = Some(MessageQueue::new("T", broker, 0));
            world.core.send(token, "PG", Order { to, ..order(How::Oneway) }, world.now).unwrap();
            world.settle();
        }
    };
    fill(&mut world, "broker-a", 1);
    for token in 100..110 {
        send(&mut world, token, How::Sync).unwrap();
        assert_eq!(&*world.sent(token).unwrap().queue.broker_name, "broker-b");
    }
    world.stop_reading(BROKER_B);
    fill(&mut world, "broker-b", 200);
    send(&mut world, 300, How::Sync).unwrap();
    let error = world.sent(300).unwrap_err();
    assert!(
        matches!(&error, ClientError::SendFailed { last, .. } if matches!(**last, ClientError::TooFast { .. }))
    );
}

/// Goal: tries without end come to one. Method: a producer told to try four thousand million times, and a stuck broker.
#[test]
fn a_refused_send_is_not_tried_for_ever() {
    let config = ClientConfig { write_bytes_max: KIB, ..ClientConfig::new(NAME_SERVER) };
    let mut world = World::with_config(&["T"], one_broker(4), config);
    let producer = ProducerConfig { retry_times_sync: u32::MAX, ..ProducerConfig::new("PG") };
    world.core.producer_start(producer, world.now).unwrap();
    world.stop_reading(BROKER_A);
    send(&mut world, 1, How::Oneway).unwrap();
    send(&mut world, 2, How::Sync).unwrap();
    assert!(world.sent(2).is_err());
}

/// Goal: a broker that asks and asks and reads no answer is given up instead of answered into memory.
#[test]
fn a_broker_that_reads_no_answers_is_given_up() {
    let mut world = world(one_broker(4), 4 * KIB, usize::MAX);
    world.stop_reading(BROKER_A);
    let mut asked = 0;
    while world.has_link(BROKER_A) {
        world.tell(BROKER_A, &RemotingCommand::request(9999));
        asked += 1;
        assert!(asked < 1000, "somewhere it ends");
    }
    assert!(asked > 20, "{asked} answers of some 150 bytes fit into 8 KiB");
}

/// Goal: a broker that answers every pull at once, and to no end, is not asked as fast as it answers; once it serves, its
/// messages come. Method: a minute of each such answer, 1 ms after it was asked for.
#[test]
fn answers_to_no_end_are_no_hot_loop() {
    for code in [
        response::SUCCESS,
        response::PULL_NOT_FOUND,
        response::PULL_RETRY_IMMEDIATELY,
        response::PULL_OFFSET_MOVED,
        response::SYSTEM_ERROR,
    ] {
        let shelf = Shelf::shared(1, 0);
        shelf.borrow_mut().pull_code = Some(code);
        let mut world = World::new(&["T"], one_broker(1));
        world.peer(BROKER_A, serving(shelf.clone()));
        world.set_delay(BROKER_A, Duration::from_millis(1));
        let subscriptions = vec![Subscription::tags("T", "*").unwrap()];
        world.core.push_start(config(), false, subscriptions, Offsets::default(), world.now).unwrap();
        world.pass(Duration::from_secs(60));
        let pulls = shelf.borrow().pulls.len();
        assert!((5..100).contains(&pulls), "{pulls} pulls in a minute of {code}");
        let mut shelf = shelf.borrow_mut();
        shelf.pull_code = None;
        shelf.queues.insert(0, vec![("m".to_owned(), String::new())]);
        drop(shelf);
        world.pass(Duration::from_secs(31));
        assert_eq!(world.tasks.len(), 1, "{code}");
    }
}

/// Goal: a place before the first message is no place: it is not committed, and asked about again after a pause.
#[test]
fn a_place_before_the_first_is_not_believed() {
    for code in [response::PULL_NOT_FOUND, response::PULL_OFFSET_MOVED] {
        let shelf = Shelf::shared(1, 0);
        shelf.borrow_mut().committed.insert(0, 5);
        let mut served = serving(shelf.clone());
        let mut world = World::new(&["T"], one_broker(1));
        world.peer(
            BROKER_A,
            Box::new(move |command| match command.code {
                request::PULL_MESSAGE => Some(
                    RemotingCommand::response(code, 0)
                        .field("suggestWhichBrokerId", 0)
                        .field("nextBeginOffset", -5)
                        .field("minOffset", 0)
                        .field("maxOffset", 0),
                ),
                _ => served(command),
            }),
        );
        world.set_delay(BROKER_A, Duration::from_millis(1));
        let subscriptions = vec![Subscription::tags("T", "*").unwrap()];
        world.core.push_start(config(), false, subscriptions, Offsets::default(), world.now).unwrap();
        world.pass(Duration::from_secs(20));
        assert!((10..50).contains(&world.count(request::PULL_MESSAGE)));
        assert_eq!(shelf.borrow().committed.get(&0), Some(&5));
    }
}

fn consuming() -> World {
    let shelf = Shelf::shared(1, 0);
    let mut world = World::new(&["T"], one_broker(1));
    world.peer(BROKER_A, serving(shelf));
    let subscriptions = vec![Subscription::tags("T", "*").unwrap()];
    world.core.push_start(config(), false, subscriptions, Offsets::default(), world.now).unwrap();
    world.pass(Duration::from_secs(2));
    world
}

/// Goal: a broker that gives a listener message after message past its limits is refused, and heard again once it has room.
#[test]
fn messages_to_consume_at_once_are_bounded() {
    let mut world = consuming();
    let mut command =
        RemotingCommand::request(request::CONSUME_MESSAGE_DIRECTLY).field("consumerGroup", "CG");
    command.body = record_bytes("T", 0, 7, b"m", b"", 0).into();
    for _ in 0..200 {
        world.tell(BROKER_A, &command);
    }
    assert_eq!(world.tasks.len(), 64);
    let answers = |world: &World, code: i32| {
        let answers = world.asked.iter().filter(|(_, _, said)| said.is_response() && said.code == code);
        answers.count()
    };
    assert_eq!((answers(&world, response::SUCCESS), answers(&world, response::SYSTEM_ERROR)), (0, 136));
    for _ in 0..64 {
        world.consume("CG", Consumed::Done);
    }
    world.tell(BROKER_A, &command);
    assert_eq!((answers(&world, response::SUCCESS), world.tasks.len()), (64, 1));
}

/// Goal: a broker that asks about transactions faster than the listener answers does not fill memory with its questions.
#[test]
fn checks_of_transactions_are_bounded() {
    let mut world = world(one_broker(1), usize::MAX, usize::MAX);
    let mut command = RemotingCommand::request(request::CHECK_TRANSACTION_STATE)
        .oneway()
        .field("tranStateTableOffset", 1)
        .field("commitLogOffset", 2);
    command.body = record_bytes("T", 0, 7, b"m", b"PGROUP\x01PG\x02", 0).into();
    for _ in 0..2500 {
        world.tell(BROKER_A, &command);
    }
    assert_eq!(world.checks.len(), 2000);
    let check = world.checks[0].clone();
    world.core.checked(&check, TransactionState::Commit, world.now);
    world.tell(BROKER_A, &command);
    world.tell(BROKER_A, &command);
    assert_eq!(world.checks.len(), 2001);
    assert_eq!(world.count(request::END_TRANSACTION), 1);
}

/// Goal: "the members changed" without end does not have us ask without end, and the last change is not missed.
#[test]
fn rebalances_are_paced() {
    let mut world = consuming();
    let before = world.count(request::GET_CONSUMER_LIST_BY_GROUP);
    let tell =
        RemotingCommand::request(request::NOTIFY_CONSUMER_IDS_CHANGED).field("consumerGroup", "CG").oneway();
    for _ in 0..1000 {
        world.tell(BROKER_A, &tell);
        world.pass(Duration::from_micros(100));
    }
    world.tell(BROKER_A, &tell);
    let told_at = world.now.mono;
    world.pass(Duration::from_millis(10));
    let asked = world.count(request::GET_CONSUMER_LIST_BY_GROUP) - before;
    assert!((10..=25).contains(&asked), "{asked} questions in 100 ms");
    let last = world.asked.iter().rev().find(|(_, _, said)| said.code == request::GET_CONSUMER_LIST_BY_GROUP);
    assert!(last.is_some_and(|(at, ..)| *at >= told_at));
}
