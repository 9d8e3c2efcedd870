//! Sends: routes, choices, retries, timeouts, what goes on the wire.

use crate::config::ProducerConfig;
use crate::core::testing::*;
use crate::core::{Answer, How, Order, Payload};
use crate::error::{ClientError, Invalid};
use crate::message::{Message, MessageQueue};
use crate::result::{SendResult, SendStatus};
use protocol::batch;
use protocol::body::TopicRouteData;
use protocol::code::{request, response};
use std::collections::BTreeSet;
use std::time::Duration;

fn world(route: TopicRouteData) -> World {
    world_with(route, |_| ())
}

fn world_with(route: TopicRouteData, change: impl FnOnce(&mut ProducerConfig)) -> World {
    let mut world = World::new(&["T"], route);
    let mut config = ProducerConfig::new("PG");
    change(&mut config);
    world.core.producer_start(config, world.now).unwrap();
    world.settle();
    world
}

fn order(how: How) -> Order {
    Order { payload: Payload::Single(Message::new("T", "hello")), how, to: None, timeout: None }
}

fn begin(world: &mut World, token: u64, order: Order) {
    world.core.send(token, "PG", order, world.now).unwrap();
    world.settle();
}

fn send(world: &mut World, order: Order) -> Result<SendResult, ClientError> {
    begin(world, 1, order);
    world.pass(Duration::from_secs(10));
    world.sent(1)
}

/// Answers sends with one code, and everything else with yes.
fn answering(code: i32) -> Script {
    Box::new(move |command| {
        Some(match command.code {
            request::SEND_MESSAGE_V2 => refusal(code, "as told"),
            _ => ok(),
        })
    })
}

/// Takes everything and says nothing.
fn silent() -> Script {
    Box::new(|_| None)
}

/// Goal: the first send asks for the route, once however many wait for it, and ends with what the broker said.
#[test]
fn the_first_send_looks_up_the_route() {
    let mut world = world(one_broker(4));
    for token in 1..=3 {
        world.core.send(token, "PG", order(How::Sync), world.now).unwrap();
    }
    world.settle();
    assert_eq!(world.count(request::GET_ROUTEINFO_BY_TOPIC), 1);
    let result = world.sent(1).unwrap();
    assert_eq!(result.status, SendStatus::Ok);
    assert_eq!(result.msg_id.len(), 32);
    assert_eq!(&*result.queue.broker_name, "broker-a");
    assert_eq!(result.queue_offset, 0);
    let (two, three) = (world.sent(2).unwrap(), world.sent(3).unwrap());
    let queues = BTreeSet::from([result.queue.queue_id, two.queue.queue_id, three.queue.queue_id]);
    assert_eq!(queues.len(), 3, "queues take turns");
}

/// Goal: a request on the wire is what official brokers expect.
#[test]
fn a_send_is_a_v2_request() {
    let mut world = world(one_broker(1));
    let message = Message::new("T", "hello").with_tag("TagA").with_keys(["k1", "k2"]).with_flag(5);
    let message = message.with_property("mine", "x").unwrap();
    send(&mut world, Order { payload: Payload::Single(message), ..order(How::Sync) }).unwrap();
    let asked = world.asked_of(BROKER_A, request::SEND_MESSAGE_V2);
    let command = asked[0];
    let fields =
        ["a", "b", "c", "d", "e", "f", "h", "j", "k", "m", "n"].map(|name| command.ext(name).unwrap());
    assert_eq!(fields, ["PG", "T", "TBW102", "4", "0", "0", "5", "0", "false", "false", "broker-a"]);
    let properties = command.ext("i").unwrap();
    for part in [
        "TAGS\u{1}TagA\u{2}",
        "KEYS\u{1}k1 k2\u{2}",
        "mine\u{1}x\u{2}",
        "WAIT\u{1}true\u{2}",
        "UNIQ_KEY\u{1}",
    ] {
        assert!(properties.contains(part), "{properties:?} lacks {part:?}");
    }
    assert_eq!(command.body, "hello");
}

/// Goal: a topic nobody created goes where the template topic is, to at most four queues.
#[test]
fn an_unknown_topic_borrows_the_templates_route() {
    let mut world = World::new(&["TBW102"], one_broker(8));
    world.core.producer_start(ProducerConfig::new("PG"), world.now).unwrap();
    let mut queues = BTreeSet::new();
    for token in 1..=20 {
        begin(&mut world, token, order(How::Sync));
        queues.insert(world.sent(token).unwrap().queue.queue_id);
    }
    assert_eq!(queues, BTreeSet::from([0, 1, 2, 3]));
    let asked: Vec<&str> = world
        .asked_of(NAME_SERVER, request::GET_ROUTEINFO_BY_TOPIC)
        .iter()
        .map(|command| command.ext("topic").unwrap())
        .collect();
    assert_eq!(asked, ["T", "TBW102"]);
}

/// Goal: without a template there is no route, and without a name server there is nobody to ask; both by their codes.
#[test]
fn no_route_and_no_name_server_are_told() {
    let mut world = World::new(&[], one_broker(1));
    world.core.producer_start(ProducerConfig::new("PG"), world.now).unwrap();
    let error = send(&mut world, order(How::Sync)).unwrap_err();
    assert_eq!((error.to_string().as_str(), error.code()), ("No route info of this topic: T", Some(10005)));
    world.set_up(NAME_SERVER, false);
    let error = send(&mut world, order(How::Sync)).unwrap_err();
    let text = "No route info of this topic: T (connect to ns:9876 failed: refused)";
    assert_eq!((error.to_string().as_str(), error.code()), (text, Some(10005)));

    let mut world = World::new(&[], one_broker(1));
    world.core.name_servers.clear();
    world.core.producer_start(ProducerConfig::new("PG"), world.now).unwrap();
    let error = send(&mut world, order(How::Sync)).unwrap_err();
    assert_eq!(error.to_string(), "No name server address, please set it.");
    assert_eq!(error.code(), Some(10004));
}

/// Goal: a name server that is down is passed over, whichever was to be asked first.
#[test]
fn name_servers_stand_in_for_each_other() {
    let mut world = world(one_broker(1));
    world.core.name_servers = vec!["gone:9876".into(), NAME_SERVER.into()];
    for turn in 0..2 {
        world.core.name_server_turn = turn;
        world.core.routes.clear();
        assert!(send(&mut world, order(How::Sync)).is_ok());
    }
}

/// Goal: a broker that cannot be reached costs one attempt, and the next goes to another broker.
#[test]
fn a_sync_send_goes_around_a_dead_broker() {
    let mut world = world(two_brokers());
    world.set_up(BROKER_A, false);
    for _ in 0..8 {
        assert_eq!(&*send(&mut world, order(How::Sync)).unwrap().queue.broker_name, "broker-b");
    }
    world.set_up(BROKER_B, false);
    let error = send(&mut world, order(How::Sync)).unwrap_err();
    let ClientError::SendFailed { times, brokers, last, .. } = &error else { panic!("{error}") };
    assert_eq!(*times, 3);
    assert!(brokers[0] != brokers[1] && brokers[1] != brokers[2], "{brokers:?}");
    assert!(matches!(**last, ClientError::Connect { .. }));
    assert_eq!(error.code(), Some(10001));
    assert!(
        error.to_string().starts_with("Send [3] times, still failed, cost [0]ms, Topic: T, BrokersSent: [")
    );
}

/// Goal: the documented codes are tried again elsewhere, the others are the caller's.
#[test]
fn some_refusals_are_tried_again() {
    for code in [1, 2, 14, 16, 17, 204, 205] {
        let mut world = world(two_brokers());
        world.peer(BROKER_A, answering(code));
        world.peer(BROKER_B, answering(code));
        let error = send(&mut world, order(How::Sync)).unwrap_err();
        assert_eq!((world.count(request::SEND_MESSAGE_V2), error.code()), (3, Some(code)));
    }
    for code in [13, 26, 29] {
        let mut world = world(two_brokers());
        world.peer(BROKER_A, answering(code));
        world.peer(BROKER_B, answering(code));
        let error = send(&mut world, order(How::Sync)).unwrap_err();
        assert_eq!((world.count(request::SEND_MESSAGE_V2), error.code()), (1, Some(code)));
    }
}

/// Goal: a silent broker uses up the send's whole time; the late answer then harms nothing.
#[test]
fn a_send_ends_with_its_time() {
    let mut world = world(one_broker(1));
    world.set_delay(BROKER_A, Duration::from_millis(3500));
    begin(&mut world, 1, order(How::Sync));
    world.pass(Duration::from_millis(2999));
    assert!(world.answers.is_empty());
    world.pass(Duration::from_millis(1));
    let error = world.sent(1).unwrap_err();
    assert!(
        matches!(&error, ClientError::SendFailed { last, .. } if matches!(**last, ClientError::Timeout { .. }))
    );
    assert_eq!(error.code(), Some(10002));
    world.pass(Duration::from_secs(5));
    assert!(world.answers.is_empty());
}

/// Goal: a link that has been silent for a whole call is given up, so the next send has a fresh one.
#[test]
fn a_dead_link_is_replaced() {
    let mut world = world(one_broker(1));
    send(&mut world, order(How::Sync)).unwrap();
    world.peer(BROKER_A, silent());
    begin(&mut world, 1, order(How::Sync));
    world.pass(Duration::from_secs(3));
    world.sent(1).unwrap_err();
    world.peer(BROKER_A, broker());
    assert!(send(&mut world, order(How::Sync)).is_ok());
}

/// Goal: an async send is tried again when its connection fails, but not when its broker refuses.
#[test]
fn an_async_send_retries_only_the_way() {
    let mut world = world(two_brokers());
    world.set_up(BROKER_A, false);
    for _ in 0..8 {
        assert!(send(&mut world, order(How::Async)).is_ok());
    }
    world.peer(BROKER_B, answering(response::SYSTEM_ERROR));
    let before = world.count(request::SEND_MESSAGE_V2);
    let mut codes = BTreeSet::new();
    for _ in 0..4 {
        codes.insert(send(&mut world, order(How::Async)).unwrap_err().code());
    }
    assert_eq!(codes, BTreeSet::from([Some(1)]));
    assert_eq!(world.count(request::SEND_MESSAGE_V2) - before, 4);
}

/// Goal: a chosen queue is tried once, and must be of the message's topic.
#[test]
fn a_chosen_queue_is_tried_once() {
    let mut world = world(two_brokers());
    world.set_up(BROKER_A, false);
    let to = |topic| Order { to: Some(MessageQueue::new(topic, "broker-a", 2)), ..order(How::Sync) };
    assert!(matches!(send(&mut world, to("T")), Err(ClientError::Connect { .. })));
    world.set_up(BROKER_A, true);
    assert_eq!(send(&mut world, to("T")).unwrap().queue.queue_id, 2);
    let refused = world.core.send(9, "PG", to("U"), world.now);
    assert_eq!(refused, Err(Invalid::OtherTopic.into()));
    let gone = Order { to: Some(MessageQueue::new("T", "broker-x", 0)), ..order(How::Sync) };
    let error = send(&mut world, gone).unwrap_err();
    assert_eq!(error.code(), Some(10003));
}

/// Goal: a one-way send ends when it is written, with no answer, and fails when it cannot be.
#[test]
fn a_oneway_send_ends_when_written() {
    let mut world = world(one_broker(1));
    world.peer(BROKER_A, silent());
    begin(&mut world, 1, order(How::Oneway));
    assert_eq!(world.sent(1).unwrap().status, SendStatus::Oneway);
    assert!(world.asked_of(BROKER_A, request::SEND_MESSAGE_V2)[0].is_oneway());
    world.set_up(BROKER_A, false);
    assert!(matches!(send(&mut world, order(How::Oneway)), Err(ClientError::Connect { .. })));
}

/// Goal: a batch is one request with each message in it, under one common header.
#[test]
fn a_batch_is_one_request() {
    let mut world = world(one_broker(1));
    let messages = (0..3).map(|number| Message::new("T", format!("m{number}")).with_tag("t")).collect();
    let result = send(&mut world, Order { payload: Payload::Batch(messages), ..order(How::Sync) }).unwrap();
    assert_eq!(result.msg_id.split(',').count(), 3);
    let asked = world.asked_of(BROKER_A, request::SEND_BATCH_MESSAGE);
    assert_eq!((asked.len(), asked[0].ext("m")), (1, Some("true")));
    let inner: Vec<_> = batch::iter(&asked[0].body).map(Result::unwrap).collect();
    assert_eq!(inner.iter().map(|one| one.body).collect::<Vec<_>>(), [b"m0", b"m1", b"m2"]);
    assert!(inner.iter().all(|one| protocol::properties::get(one.properties, "UNIQ_KEY").is_some()));
    let big = vec![Message::new("T", vec![0; 3 << 20]), Message::new("T", vec![0; 2 << 20])];
    let order = Order { payload: Payload::Batch(big), ..order(How::Sync) };
    let refused = world.core.send(9, "PG", order, world.now).unwrap_err();
    assert_eq!(refused, Invalid::BodyBig { max: 4 << 20 }.into());
}

/// Goal: bodies from 4096 bytes on are compressed, smaller ones and incompressible ones are not.
#[test]
fn big_bodies_are_compressed() {
    let noise: Vec<u8> = {
        let mut rng = crate::core::rng::Rng::new(3);
        (0..8192).map(|_| rng.next_u64() as u8).collect()
    };
    for (body, is_packed) in [(vec![b'a'; 4095], false), (vec![b'a'; 4096], true), (noise, false)] {
        let mut world = world(one_broker(1));
        let payload = Payload::Single(Message::new("T", body.clone()));
        send(&mut world, Order { payload, ..order(How::Sync) }).unwrap();
        let command = world.asked_of(BROKER_A, request::SEND_MESSAGE_V2)[0];
        let flags: i32 = command.ext("f").unwrap().parse().unwrap();
        assert_eq!(flags, if is_packed { 0x301 } else { 0 });
        if is_packed {
            assert!(command.body.len() < 100);
            assert_eq!(crate::core::incoming::inflate(&command.body, flags, 1 << 20).unwrap(), body);
        } else {
            assert_eq!(command.body, body);
        }
    }
}

/// Goal: "stored, but" is a result; another broker is tried only when the producer asks for that.
#[test]
fn not_quite_stored_is_a_result() {
    let half_stored = |code: i32| -> Script {
        Box::new(move |command| Some(if command.code == 310 { stored(command, code, 7) } else { ok() }))
    };
    for (code, status) in [
        (response::FLUSH_DISK_TIMEOUT, SendStatus::FlushDiskTimeout),
        (response::SLAVE_NOT_AVAILABLE, SendStatus::SlaveNotAvailable),
        (response::FLUSH_SLAVE_TIMEOUT, SendStatus::FlushSlaveTimeout),
    ] {
        for retry in [false, true] {
            let mut world = world_with(two_brokers(), |config| config.retry_when_not_store_ok = retry);
            world.peer(BROKER_A, half_stored(code));
            world.peer(BROKER_B, half_stored(code));
            assert_eq!(send(&mut world, order(How::Sync)).unwrap().status, status);
            assert_eq!(world.count(request::SEND_MESSAGE_V2), if retry { 3 } else { 1 });
            // The broker that stores well answers in the end.
            world.peer(BROKER_B, broker());
            let statuses: BTreeSet<bool> = (0..8)
                .map(|_| send(&mut world, order(How::Sync)).unwrap().status == SendStatus::Ok)
                .collect();
            assert_eq!(statuses.contains(&false), !retry);
        }
    }
}

/// Goal: a server that goes away gets no new request over that connection, and the send still succeeds.
#[test]
fn go_away_moves_to_a_new_connection() {
    let mut world = world(one_broker(1));
    let mut sends = 0;
    world.peer(
        BROKER_A,
        Box::new(move |command| {
            Some(match command.code {
                request::SEND_MESSAGE_V2 => {
                    sends += 1;
                    if sends == 1 { refusal(response::GO_AWAY, "closing") } else { stored(command, 0, 0) }
                }
                _ => ok(),
            })
        }),
    );
    assert!(send(&mut world, order(How::Sync)).is_ok());
    assert_eq!(world.count(request::SEND_MESSAGE_V2), 2);
}

/// Goal: a connection that breaks fails what is under way on it at once, and sync sends go on elsewhere.
#[test]
fn a_broken_connection_is_not_waited_for() {
    let mut world = world(two_brokers());
    world.peer(BROKER_A, silent());
    world.peer(BROKER_B, silent());
    for token in 1..=2 {
        begin(&mut world, token, order(How::Sync));
        begin(
            &mut world,
            token + 10,
            Order { to: Some(MessageQueue::new("T", "broker-a", 0)), ..order(How::Sync) },
        );
    }
    world.pass(Duration::from_millis(10));
    world.peer(BROKER_B, broker());
    world.set_up(BROKER_A, false);
    for token in [11, 12] {
        assert!(matches!(world.sent(token), Err(ClientError::Closed { .. })));
    }
    world.pass(Duration::from_secs(4));
    // Each had its first try with a silent broker; the one that was with the broken one went on to the other.
    let ends: BTreeSet<bool> = [1, 2].map(|token| world.sent(token).is_ok()).into();
    assert!(ends.contains(&true));
}

/// Goal: a shutdown ends every send under way, opens no new connection, and leaves nothing behind.
#[test]
fn a_shutdown_ends_what_is_under_way() {
    let mut world = world(two_brokers());
    world.peer(BROKER_A, silent());
    world.peer(BROKER_B, silent());
    for (token, how) in (1..).zip([How::Sync, How::Async, How::Sync, How::Async]) {
        begin(&mut world, token, order(how));
    }
    world.core.close(world.now);
    world.settle();
    for token in 1..=4 {
        world.sent(token).unwrap_err();
    }
    assert!(world.core.links.all().is_empty() && world.core.calls.is_empty() && world.core.sends.is_empty());
}

/// Goal: a group is in an instance once, and free again when its producer stops.
#[test]
fn a_group_is_taken_once() {
    let mut world = world(one_broker(1));
    let again = world.core.producer_start(ProducerConfig::new("PG"), world.now).unwrap_err();
    let text = "The producer group[PG] has been created before, specify another name please.";
    assert_eq!(again.to_string(), text);
    world.core.producer_stop("PG", world.now);
    assert_eq!(world.core.producer_start(ProducerConfig::new("PG"), world.now), Ok(()));
    let stopped = world.core.send(5, "other", order(How::Sync), world.now);
    assert!(matches!(stopped, Err(ClientError::NotRunning { .. })));
}

/// Goal: sends go to the broker's second port when told so.
#[test]
fn the_vip_channel_is_two_ports_down() {
    let mut world = world(one_broker(1));
    world.core.settings.config.vip_channel = true;
    world.peer("a:10909", broker());
    send(&mut world, order(How::Sync)).unwrap();
    assert_eq!(world.asked_of("a:10909", request::SEND_MESSAGE_V2).len(), 1);
}

/// Goal: a half message says that it is one, and its outcome goes to the broker that has it.
#[test]
fn a_transaction_is_ended_at_its_broker() {
    let mut world = world(one_broker(1));
    let message = Message::new("T", "half").with_delay_level(3);
    let sent = send(&mut world, Order { payload: Payload::Half(message), ..order(How::Sync) }).unwrap();
    let half = world.asked_of(BROKER_A, request::SEND_MESSAGE_V2)[0];
    assert_eq!(half.ext("f"), Some("4"));
    let properties = half.ext("i").unwrap();
    assert!(properties.contains("TRAN_MSG\u{1}true") && properties.contains("PGROUP\u{1}PG"));
    assert!(!properties.contains("DELAY"));
    for (state, number) in [
        (crate::TransactionState::Commit, "8"),
        (crate::TransactionState::Rollback, "12"),
        (crate::TransactionState::Unknown, "0"),
    ] {
        world.core.end_transaction("PG", &sent, state, None, world.now);
        world.settle();
        let asked = world.asked_of(BROKER_A, request::END_TRANSACTION);
        let end = asked.last().unwrap();
        assert!(end.is_oneway());
        let fields = ["producerGroup", "commitOrRollback", "tranStateTableOffset", "commitLogOffset"];
        assert_eq!(fields.map(|name| end.ext(name).unwrap()), ["PG", number, "0", "0"]);
    }
}

/// Goal: a request ends with its reply, or with its time.
#[test]
fn a_request_waits_for_its_reply() {
    let mut world = world(two_brokers());
    let second = Duration::from_secs(1);
    world.core.send_request(1, "PG", Message::new("T", "?"), second, world.now).unwrap();
    world.settle();
    let asked = world.asked.iter().find(|(_, _, command)| command.code == request::SEND_MESSAGE_V2);
    let properties = asked.unwrap().2.ext("i").unwrap().to_owned();
    assert!(
        properties.contains("REPLY_TO_CLIENT\u{1}10.0.0.9@test\u{2}")
            && properties.contains("TTL\u{1}1000\u{2}")
    );
    let correlation = protocol::properties::get_str(properties.as_bytes(), "CORRELATION_ID").unwrap();
    let push = pushed_reply(correlation, 0, "!");
    world.tell(BROKER_A, &push);
    let Answer::Message(reply) = world.answer(1).unwrap() else { panic!("a reply") };
    assert_eq!(reply.body, "!");
    assert!(
        world.asked.iter().any(|(_, _, said)| said.is_response() && said.code == 0),
        "the broker is told"
    );
    world.pass(2 * second);

    world.core.send_request(2, "PG", Message::new("T", "?"), second, world.now).unwrap();
    world.pass(Duration::from_millis(999));
    assert!(world.answers.is_empty());
    world.pass(Duration::from_millis(1));
    assert_eq!(world.answer(2).unwrap_err().code(), Some(10006));
}
