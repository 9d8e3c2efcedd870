//! Routes, heartbeats and connections over time.

use crate::config::ProducerConfig;
use crate::core::testing::*;
use crate::core::{How, Order, Payload};
use crate::message::Message;
use protocol::body::{Body, HeartbeatData};
use protocol::code::request;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn sending_world() -> World {
    let mut world = World::new(&["T"], two_brokers());
    world.core.producer_start(ProducerConfig::new("PG"), world.now).unwrap();
    for token in 1..=8 {
        let payload = Payload::Single(Message::new("T", "x"));
        let order = Order { payload, how: How::Sync, to: None, timeout: None };
        world.core.send(token, "PG", order, world.now).unwrap();
    }
    world.settle();
    world
}

/// Goal: routes in use are asked for every 30 s, heartbeats go every 30 s.
#[test]
fn routes_and_heartbeats_keep_their_periods() {
    let mut world = sending_world();
    let start = world.now.mono;
    world.asked.clear();
    world.pass(5 * MINUTE);
    let times = |code: i32, addr: &str| -> Vec<u64> {
        let of = world.asked.iter().filter(|(_, to, command)| to == addr && command.code == code);
        of.map(|(at, _, _)| (*at - start).as_secs()).collect()
    };
    let every_30_s =
        |first: u64| (0..).map(|n| first + 30 * n).take_while(|at| *at <= 300).collect::<Vec<u64>>();
    assert_eq!(times(request::GET_ROUTEINFO_BY_TOPIC, NAME_SERVER), every_30_s(10));
    assert_eq!(times(request::HEART_BEAT, BROKER_A), every_30_s(1));
    assert_eq!(times(request::HEART_BEAT, BROKER_B), every_30_s(1));
}

/// Goal: the first word on a new connection to a broker says who we are, and so does the first on one made anew.
#[test]
fn a_broker_is_greeted_first() {
    let mut world = sending_world();
    let to_a = |world: &World| -> Vec<i32> {
        world.asked.iter().filter(|(_, to, _)| to == BROKER_A).map(|(_, _, command)| command.code).collect()
    };
    assert_eq!(to_a(&world)[0], request::HEART_BEAT);
    let body = &world.asked_of(BROKER_A, request::HEART_BEAT)[0].body;
    let said = HeartbeatData::decode(body).unwrap();
    assert_eq!(said.client_id, "10.0.0.9@test");
    assert_eq!(said.producer_data_set.iter().map(|one| one.group_name.as_str()).collect::<Vec<_>>(), ["PG"]);
    world.asked.clear();
    world.set_up(BROKER_A, false);
    world.set_up(BROKER_A, true);
    world.pass(MINUTE);
    assert_eq!(to_a(&world)[0], request::HEART_BEAT);
}

/// Goal: a producer heartbeats masters only.
#[test]
fn producers_tell_masters_only() {
    let route = route_data(&[("broker-a", &[(0, BROKER_A), (1, BROKER_B)], 6, 1, 1)]);
    let mut world = World::new(&["T"], route);
    world.core.producer_start(ProducerConfig::new("PG"), world.now).unwrap();
    let order =
        Order { payload: Payload::Single(Message::new("T", "x")), how: How::Sync, to: None, timeout: None };
    world.core.send(1, "PG", order, world.now).unwrap();
    world.pass(MINUTE);
    assert!(!world.asked_of(BROKER_A, request::HEART_BEAT).is_empty());
    assert!(world.asked_of(BROKER_B, request::HEART_BEAT).is_empty());
}

/// Goal: a broker that left the routes is heartbeated no more, and neither is its queue chosen.
#[test]
fn offline_brokers_are_forgotten() {
    let mut world = sending_world();
    world.peer(NAME_SERVER, name_server(&["T"], one_broker(4)));
    world.pass(MINUTE);
    world.asked.clear();
    world.pass(3 * MINUTE);
    assert!(world.asked_of(BROKER_B, request::HEART_BEAT).is_empty());
    assert_eq!(world.asked_of(BROKER_A, request::HEART_BEAT).len(), 6);
}

/// Goal: a name server that is away for a while costs nothing: the routes known stay in use.
#[test]
fn routes_outlive_the_name_server() {
    let mut world = sending_world();
    world.set_up(NAME_SERVER, false);
    world.pass(5 * MINUTE);
    let order =
        Order { payload: Payload::Single(Message::new("T", "x")), how: How::Sync, to: None, timeout: None };
    world.core.send(99, "PG", order, world.now).unwrap();
    world.settle();
    assert!(world.sent(99).is_ok());
}

/// Goal: a producer that stops says so to every broker it knows.
#[test]
fn a_stopping_producer_says_goodbye() {
    let mut world = sending_world();
    world.core.producer_stop("PG", world.now);
    world.settle();
    for broker in [BROKER_A, BROKER_B] {
        let goodbye = world.asked_of(broker, request::UNREGISTER_CLIENT);
        assert_eq!(goodbye[0].ext("producerGroup"), Some("PG"));
        assert_eq!(goodbye[0].ext("clientID"), Some("10.0.0.9@test"));
    }
}

/// Goal: a connection nobody uses is closed; heartbeats keep those to brokers.
#[test]
fn idle_connections_are_closed() {
    let mut world = World::new(&["T"], one_broker(1));
    world.core.start(world.now);
    let command = protocol::RemotingCommand::request(request::GET_BROKER_CLUSTER_INFO);
    world.core.call(1, &NAME_SERVER.into(), command, Duration::from_secs(3), world.now);
    world.settle();
    assert!(world.answer(1).is_ok());
    assert!(world.core.links.is_up_to(NAME_SERVER));
    world.pass(3 * MINUTE);
    assert!(!world.core.links.is_up_to(NAME_SERVER));
}

/// Goal: bytes that are no frame end their connection, and nothing else.
#[test]
fn garbage_ends_its_connection() {
    let mut world = sending_world();
    let link = world.core.links.all();
    let links_before = link.len();
    world.core.received(link[0], &[0xFF; 64], world.now);
    world.settle();
    assert_eq!(world.core.links.all().len(), links_before - 1);
}

/// Goal: frames cut anywhere come out the same. Method: an answer in two parts, cut at each byte.
#[test]
fn answers_may_come_in_parts() {
    let mut world = World::new(&["T"], one_broker(1));
    let call = |world: &mut World, token| {
        let command = protocol::RemotingCommand::request(request::GET_BROKER_CLUSTER_INFO);
        world.peer("x:1", Box::new(|_| None));
        world.core.call(token, &"x:1".into(), command, Duration::from_secs(3), world.now);
        world.settle();
        world.asked.last().unwrap().2.opaque
    };
    let opaque = call(&mut world, 1);
    let link = world.core.links.all()[0];
    let whole = ok().body("the body").encode(protocol::Codec::Binary);
    for cut in 0..whole.len() {
        let token = 100 + cut as u64;
        let opaque = call(&mut world, token);
        let mut answer = ok().body("the body");
        answer.opaque = opaque;
        let bytes = answer.encode(protocol::Codec::Binary);
        assert_eq!(world.core.received(link, &bytes[..cut], world.now), 0);
        assert!(!world.answers.contains_key(&token));
        assert_eq!(world.core.received(link, &bytes, world.now), bytes.len());
        world.settle();
        assert!(world.answer(token).is_ok());
    }
    assert!(opaque > 0);
}
