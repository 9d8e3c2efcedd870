//! Request-reply: an answer finds its way back to who asked.

use protocol::RemotingCommand;
use protocol::code::request;
use protocol::frame::{Codec, FRAME_BYTES_MAX};

use crate::client::{consumer, heartbeat, props, read, subscription};
use crate::world::World;
use dataplane::net::ConnId;

const TOPIC: &str = "DefaultCluster_REPLY_TOPIC";

fn reply(properties: &[(&str, &str)]) -> RemotingCommand {
    let mut command = crate::requests::send(TOPIC, 0, &props(properties), b"pong");
    command.code = request::SEND_REPLY_MESSAGE_V2;
    command
}

fn to_a() -> RemotingCommand {
    reply(&[
        ("MSG_TYPE", "reply"),
        ("REPLY_TO_CLIENT", "a"),
        ("CORRELATION_ID", "c1"),
        ("TTL", "8000"),
        ("UNIQ_KEY", "U"),
    ])
}

fn answer_of(world: &mut World, conn: ConnId, opaque: i32) -> Option<RemotingCommand> {
    let answer = world.next(conn)?;
    assert!(answer.is_response() && answer.opaque == opaque);
    Some(answer)
}

/// Goal: the reply is pushed to the requester as it came, stored, and acknowledged when the requester has it.
#[test]
fn a_reply_reaches_its_requester() {
    let mut world = World::new();
    let (a, b) = (world.connect(), world.connect());
    world.done(a, heartbeat("a", vec![], &["RPG"]));
    let opaque = world.post(b, to_a());
    let pushes = world.take(a, request::PUSH_REPLY_MESSAGE_TO_CLIENT);
    let [push] = &pushes[..] else { panic!("{pushes:?}") };
    assert_eq!((push.is_oneway(), &push.body[..]), (false, &b"pong"[..]));
    for (name, value) in [
        ("producerGroup", "PGx"),
        ("topic", TOPIC),
        ("defaultTopic", "TBW102"),
        ("defaultTopicQueueNums", "4"),
        ("queueId", "0"),
        ("sysFlag", "0"),
        ("bornTimestamp", "1700000000000"),
        ("flag", "7"),
        ("reconsumeTimes", "0"),
        ("unitMode", "false"),
        ("bornHost", "127.0.0.1:50206"),
        ("storeHost", "127.0.0.2:31011"),
        ("storeTimestamp", "1795178790000"),
    ] {
        assert_eq!(push.ext(name), Some(value), "{name}");
    }
    let mut bore: Vec<_> = push.ext("properties").unwrap().split_terminator('\u{2}').collect();
    bore.sort_unstable();
    let mut expected = vec![
        "PUSH_REPLY_TIME\u{1}1795178790000",
        "MSG_REGION\u{1}DefaultRegion",
        "UNIQ_KEY\u{1}U",
        "CORRELATION_ID\u{1}c1",
        "MSG_TYPE\u{1}reply",
        "TTL\u{1}8000",
        "REPLY_TO_CLIENT\u{1}a",
        "TRACE_ON\u{1}true",
    ];
    expected.sort_unstable();
    assert_eq!(bore, expected);
    assert_eq!(world.next(b), None, "not before the requester has it");
    let mut got_it = RemotingCommand::response(0, push.opaque);
    got_it.version = 409;
    world.post_as_is(a, got_it);
    let answer = answer_of(&mut world, b, opaque).unwrap();
    assert_eq!((answer.code, answer.ext("queueId"), answer.ext("queueOffset")), (0, Some("0"), Some("0")));
    assert_eq!((answer.ext("MSG_REGION"), answer.ext("TRACE_ON")), (Some("DefaultRegion"), Some("true")));
    assert_eq!(answer.ext("transactionId"), None);
    let stored = read(&mut world, b, TOPIC, 0, 0).remove(0);
    assert_eq!(
        answer.ext("msgId"),
        Some(format!("7F00000200007923{:016X}", stored.physical_offset).as_str())
    );
    assert_eq!((stored.property("CLUSTER"), stored.property("PUSH_REPLY_TIME")), (None, None));
    assert_eq!(stored.properties.len(), 7);
}

/// Goal: a reply that finds nobody, or nobody who answers, is refused with the reason, and is stored all the same.
#[test]
fn a_lost_reply_is_refused_and_kept() {
    let mut world = World::new();
    let (a, b) = (world.connect(), world.connect());
    let answer = world.call(b, to_a());
    let remark = "push reply message fail, channel of a not found.";
    assert_eq!(
        (answer.code, answer.remark.as_deref(), answer.ext("queueOffset")),
        (1, Some(remark), Some("0"))
    );
    let answer = world.call(b, reply(&[("MSG_TYPE", "reply")]));
    let remark = "reply message properties[REPLY_TO_CLIENT] is null";
    assert_eq!(
        (answer.code, answer.remark.as_deref(), answer.ext("queueOffset")),
        (1, Some(remark), Some("1"))
    );
    world.done(a, heartbeat("a", vec![], &["RPG"]));
    let opaque = world.post(b, to_a());
    world.pass(9_900);
    assert_eq!(world.next(b), None);
    world.pass(200);
    let answer = answer_of(&mut world, b, opaque).unwrap();
    assert_eq!((answer.code, answer.remark.as_deref()), (1, Some("push reply message to afail.")));
    let opaque = world.post(b, to_a());
    world.disconnect(a);
    let answer = answer_of(&mut world, b, opaque).unwrap();
    assert_eq!((answer.code, answer.remark.as_deref()), (1, Some("push reply message to afail.")));
    assert_eq!(read(&mut world, b, TOPIC, 0, 0).len(), 4);
}

/// Goal: with storeReplyMessageEnable=false nothing is stored, and the answer says so as the official one does.
#[test]
fn replies_need_not_be_stored() {
    let config = dataplane::config::Config {
        broker_name: "broker-a".into(),
        store_reply_message_enable: false,
        ..Default::default()
    };
    let mut world = World::with(config);
    let (a, b) = (world.connect(), world.connect());
    world.done(a, heartbeat("a", vec![], &["RPG"]));
    let opaque = world.post(b, to_a());
    let push = world.take(a, request::PUSH_REPLY_MESSAGE_TO_CLIENT).remove(0);
    world.post_as_is(a, RemotingCommand::response(0, push.opaque));
    let answer = answer_of(&mut world, b, opaque).unwrap();
    assert_eq!((answer.ext("msgId"), answer.ext("queueOffset")), (Some("0"), Some("0")));
    assert_eq!(read(&mut world, b, TOPIC, 0, 0), []);
}

/// Goal: an administrator's question reaches the consumer, and its answer comes back; an absent one is named.
#[test]
fn running_info_is_relayed() {
    let mut world = World::new();
    let (a, b) = (world.connect(), world.connect());
    let subscriptions = vec![subscription("T", 1)];
    world.done(a, heartbeat("a", vec![consumer("G", subscriptions)], &[]));
    let ask = |client: &str| {
        RemotingCommand::request(request::GET_CONSUMER_RUNNING_INFO)
            .field("consumerGroup", "G")
            .field("clientId", client)
            .field("jstackEnable", "false")
    };
    let answer = world.call(b, ask("z"));
    assert_eq!((answer.code, answer.remark.as_deref()), (1, Some("The Consumer <G> <z> not online")));
    let opaque = world.post(b, ask("a"));
    let relayed = world.take(a, request::GET_CONSUMER_RUNNING_INFO).remove(0);
    assert_eq!((relayed.ext("clientId"), relayed.ext("jstackEnable")), (Some("a"), Some("false")));
    world.post_as_is(a, RemotingCommand::response(0, relayed.opaque).body("{\"properties\":{}}"));
    let answer = answer_of(&mut world, b, opaque).unwrap();
    assert_eq!((answer.code, &answer.body[..]), (0, &b"{\"properties\":{}}"[..]));
    let opaque = world.post(b, ask("a"));
    world.pass(10_100);
    assert_eq!(answer_of(&mut world, b, opaque).unwrap().code, 207);
}

/// Goal: a reply that reached us in a frame with little else, and with the fields that we add fits none, is refused; the requester's
/// connection stays. Method: the longest frame there may be, and one that just goes on.
#[test]
fn a_reply_that_fits_no_frame_is_refused() {
    let mut world = World::new();
    let (a, b) = (world.connect(), world.connect());
    world.done(a, heartbeat("a", vec![], &["RPG"]));
    let longest = FRAME_BYTES_MAX - to_a().encode(Codec::Json).len() - 100;
    let longest = to_a().body(vec![b'x'; longest]);
    let answer = world.call(b, longest);
    assert_eq!((answer.code, answer.remark.as_deref()), (1, Some("push reply message to afail.")));
    assert!(world.take(a, request::PUSH_REPLY_MESSAGE_TO_CLIENT).is_empty());
    world.post(b, to_a().body(vec![b'x'; FRAME_BYTES_MAX - 65 * 1024]));
    let pushed = (0..2_000).find_map(|_| {
        world.pass(1);
        world.take(a, request::PUSH_REPLY_MESSAGE_TO_CLIENT).pop()
    });
    assert_eq!(pushed.unwrap().body.len(), FRAME_BYTES_MAX - 65 * 1024);
}

/// Goal: a reply whose properties fit no frame of ours is refused, and the requester's connection stays. Method: properties that take
/// six times as much in JSON, in which we push.
#[test]
fn a_reply_whose_properties_fit_no_frame_is_refused() {
    let mut world = World::new();
    let (a, b) = (world.connect(), world.connect());
    world.done(a, heartbeat("a", vec![], &["RPG"]));
    let long = "\u{3}".repeat(900_000);
    let mut command = reply(&[("REPLY_TO_CLIENT", "a"), ("LONG", &long)]).body(vec![b'x'; 12 << 20]);
    command.opaque = 9;
    world.post_in(Codec::Binary, b, &command);
    let answer = answer_of(&mut world, b, 9).unwrap();
    assert_eq!((answer.code, answer.remark.as_deref()), (1, Some("push reply message to afail.")));
    world.done(a, heartbeat("a", vec![], &["RPG"]));
    world.post(b, to_a());
    assert_eq!(world.take(a, request::PUSH_REPLY_MESSAGE_TO_CLIENT).len(), 1);
}

/// Goal: an answer to an administrator's question that fits no frame of ours ends nobody's connection.
#[test]
fn a_relayed_remark_that_fits_no_frame_is_refused() {
    let mut world = World::new();
    let (a, b) = (world.connect(), world.connect());
    let subscriptions = vec![subscription("T", 1)];
    world.done(a, heartbeat("a", vec![consumer("G", subscriptions)], &[]));
    let ask = RemotingCommand::request(request::GET_CONSUMER_RUNNING_INFO)
        .field("consumerGroup", "G")
        .field("clientId", "a")
        .field("jstackEnable", "false");
    let opaque = world.post(b, ask.clone());
    let relayed = world.take(a, request::GET_CONSUMER_RUNNING_INFO).remove(0);
    let answer = RemotingCommand::response(1, relayed.opaque).remark("\u{3}".repeat(900_000));
    let answer = answer.body(vec![b'x'; 12 << 20]);
    world.post_in(Codec::Binary, a, &answer);
    let answer = answer_of(&mut world, b, opaque).unwrap();
    let remark = "the answer is longer than a frame may be";
    assert_eq!((answer.code, answer.remark.as_deref()), (1, Some(remark)));
    world.post(b, ask);
    assert_eq!(world.take(a, request::GET_CONSUMER_RUNNING_INFO).len(), 1);
}

/// Goal: replies to a requester that takes nothing are refused at some point, rather than kept for it without end.
#[test]
fn a_requester_that_takes_nothing_is_not_kept_for() {
    let mut world = World::new();
    let (a, b) = (world.connect(), world.connect());
    world.done(a, heartbeat("a", vec![], &["RPG"]));
    for _ in 0..40 {
        world.post(b, to_a().body(vec![b'x'; 1 << 20]));
    }
    assert!(world.shard.outbox.queued(a) < 10 << 20);
    let refused: Vec<_> = std::iter::from_fn(|| world.next(b)).collect();
    assert!(refused.len() > 30);
    for answer in refused {
        assert_eq!((answer.code, answer.remark.as_deref()), (1, Some("push reply message to afail.")));
    }
    let mut taken = 0;
    for _ in 0..200 {
        world.turn();
        taken += world.take(a, request::PUSH_REPLY_MESSAGE_TO_CLIENT).len();
    }
    assert!((8..10).contains(&taken), "{taken}");
}
