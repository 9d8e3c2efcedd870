//! Messages as tools look for them, and one given to a client.

use std::time::Duration;

use protocol::RemotingCommand;
use protocol::body::QueryConsumeQueueResponseBody;
use protocol::code::{request as codes, response};
use protocol::record::RecordView;

use super::{ask, decode, fill, refused};
use crate::requests::{send, set};
use crate::world::World;

/// Goal: code 321 with a group says what the group subscribes, or that it is not there, in the official words. Method: a group that
/// is on line, and one that nobody knows; a queue with a message and one without.
#[test]
fn entries_are_shown_with_the_subscription_of_a_group() {
    let mut world = World::new();
    let (conn, member) = (world.connect(), world.connect());
    world.topic("T", 2);
    fill(&mut world, conn, "T", 1);
    let beat = r#"{"clientID":"c1","producerDataSet":[],"consumerDataSet":[{"groupName":"G","consumeType":"CONSUME_PASSIVELY",
        "messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","subscriptionDataSet":[
        {"topic":"T","subString":"A","tagsSet":["A"],"codeSet":[65],"subVersion":7}]}]}"#;
    let beat = RemotingCommand::request(codes::HEART_BEAT).body(beat.as_bytes().to_vec());
    assert_eq!(world.call(member, beat).code, response::SUCCESS);
    let mut shown = |group: &str, queue_id: &str| -> QueryConsumeQueueResponseBody {
        let fields =
            [("topic", "T"), ("queueId", queue_id), ("index", "0"), ("count", "1"), ("consumerGroup", group)];
        decode(&world.call(conn, ask(codes::QUERY_CONSUME_QUEUE, &fields)))
    };
    for queue_id in ["0", "1"] {
        let known = shown("G", queue_id);
        let subscription = known.subscription_data.unwrap();
        assert_eq!((&*subscription.sub_string, subscription.sub_version), ("A", 7));
        assert_eq!(known.filter_data.as_deref(), Some("null"));
        let unknown = shown("nobody", queue_id);
        assert_eq!(unknown.subscription_data, None);
        assert_eq!(unknown.filter_data.as_deref(), Some("nobody@T is not online!"));
    }
}

/// D-10. Goal: messages are found by key, unique key and tag, newest first, with the official header; what is not there is 22 with the
/// official words. Method: a few messages, hot or written out; the header of an empty index is the probe's.
#[test]
fn messages_are_found_by_key() {
    let mut world = World::new();
    let conn = world.connect();
    world.topic("T", 2);
    let query = |key: &str| {
        ask(
            codes::QUERY_MESSAGE,
            &[
                ("topic", "T"),
                ("key", key),
                ("maxNum", "64"),
                ("beginTimestamp", "0"),
                ("endTimestamp", "9223372036854775807"),
            ],
        )
    };
    let not_found = "can not find message, maybe time range not correct";
    let empty = world.call(conn, query("nokey"));
    refused(&empty, response::QUERY_NOT_FOUND, not_found);
    assert_eq!(empty.ext("indexLastUpdateTimestamp"), Some("0"));
    assert_eq!(empty.ext("indexLastUpdatePhyoffset"), Some("0"));
    for (unique, keys, body) in [("U1", "k1 k2", "one"), ("U2", "k2", "two"), ("U3", "", "three")] {
        let mut list = format!("UNIQ_KEY\u{1}{unique}\u{2}TAGS\u{1}TagA\u{2}");
        if !keys.is_empty() {
            list.push_str(&format!("KEYS\u{1}{keys}\u{2}"));
        }
        assert_eq!(world.call(conn, send("T", 0, &list, body.as_bytes())).code, response::SUCCESS);
    }
    world.clock.advance(Duration::from_millis(20));
    world.pass(50);
    let bodies = |answer: &RemotingCommand| {
        assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
        let (mut rest, mut bodies) = (&answer.body[..], Vec::new());
        while !rest.is_empty() {
            let size = u32::from_be_bytes(*rest.first_chunk().unwrap()) as usize;
            let view = RecordView::parse(&rest[..size]).unwrap();
            bodies.push(String::from_utf8(view.body.to_vec()).unwrap());
            rest = &rest[size..];
        }
        bodies
    };
    assert_eq!(bodies(&world.call(conn, query("k1"))), ["one"]);
    let both = world.call(conn, query("k2"));
    assert_eq!(bodies(&both), ["two", "one"]);
    assert!(both.ext("indexLastUpdatePhyoffset").unwrap().parse::<i64>().unwrap() > 0);
    let one = world.call(conn, set(query("k2"), "maxNum", 1));
    assert_eq!(bodies(&one), ["two"]);
    let unique = query("U3").field("_UNIQUE_KEY_QUERY", "true").field("indexType", "U");
    assert_eq!(bodies(&world.call(conn, unique)), ["three"]);
    let tagged = world.call(conn, query("TagA").field("indexType", "T"));
    assert_eq!(bodies(&tagged), ["three", "two", "one"]);
    refused(&world.call(conn, query("TagA")), response::QUERY_NOT_FOUND, not_found);
    let early = world.call(conn, set(query("k1"), "endTimestamp", 1));
    refused(&early, response::QUERY_NOT_FOUND, not_found);
}

/// Goal: a message is given to one client and its result comes back. Method: once hot, once out of the files.
#[test]
fn a_client_consumes_a_message_for_an_administrator() {
    let mut world = World::new();
    let conn = world.connect();
    world.topic("T", 1);
    let sent = world.call(conn, send("T", 0, "", b"eat this"));
    let msg_id = sent.ext("msgId").unwrap().to_owned();
    let order = |client: &str| {
        ask(
            codes::CONSUME_MESSAGE_DIRECTLY,
            &[("consumerGroup", "CG"), ("clientId", client), ("msgId", &msg_id), ("topic", "T")],
        )
    };
    let remark = "The Consumer <CG> <nobody> not online";
    refused(&world.call(conn, order("nobody")), response::SYSTEM_ERROR, remark);
    let client = world.connect();
    let beat = r#"{"clientID":"me","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"CG","messageModel":"CLUSTERING","subscriptionDataSet":[],"unitMode":false}],"producerDataSet":[]}"#;
    let mut beat = RemotingCommand::request(codes::HEART_BEAT).body(beat.as_bytes().to_vec());
    beat.version = protocol::version::V5_5_0;
    world.post(client, beat, protocol::Codec::Json);
    world.pass(2);
    while world.next(client).is_some() {}
    for round in 0..2 {
        let opaque = world.post(conn, order("me"), protocol::Codec::Json);
        world.pass(5);
        let relayed = world.next(client).expect("the order reaches the client");
        assert_eq!(
            (relayed.code, relayed.ext("brokerName")),
            (codes::CONSUME_MESSAGE_DIRECTLY, Some("broker-a"))
        );
        assert_eq!(relayed.ext("msgId"), Some(msg_id.as_str()));
        assert_eq!(RecordView::parse(&relayed.body).unwrap().body, b"eat this");
        let result = RemotingCommand::response(response::SUCCESS, relayed.opaque).body(&b"{}"[..]);
        assert!(world.shard.net.feed(client, &result.encode(protocol::Codec::Json)) > 0);
        world.pass(2);
        let answer = world.next(conn).expect("the client's answer is relayed");
        assert_eq!((answer.opaque, answer.code, &answer.body[..]), (opaque, response::SUCCESS, &b"{}"[..]));
        if round == 0 {
            fill(&mut world, conn, "T", 100);
            assert!(world.shard.broker.store.hot_start().0 > 0);
        }
    }
}
