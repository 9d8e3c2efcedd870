//! What one client may ask for at once: no more than its own place, and others notice nothing.

use protocol::RemotingCommand;
use protocol::body::{
    Body, CheckClientRequestBody, CreateTopicListRequestBody, LockBatchRequestBody, LockBatchResponseBody,
    MessageQueue, QueryAssignmentRequestBody, SubscriptionGroupConfig, SubscriptionGroupList, TopicConfig,
};
use protocol::code::request;

use dataplane::broker::ReplyTo;
use dataplane::broker::filter::TagFilter;
use dataplane::broker::held_pull::{HeldPull, Pull};
use dataplane::broker::hold::Holds;
use dataplane::net::ConnId;
use protocol::frame::Codec;

use crate::client::{consumer, heartbeat, subscription};
use crate::requests::{pull, send, set};
use crate::world::World;

/// Goal: a body of many small elements, which would take a hundred times its bytes, and one that is long are refused to who sent them,
/// with a reason, and what was asked is not done in part. Method: each code whose body is JSON, with the elements in each of its lists.
#[test]
fn bodies_of_too_many_values_are_refused() {
    let mut world = World::new();
    let conn = world.connect();
    let many = |before: &str, after: &str| format!("{before}{}{after}", "{},".repeat(70_000)).into_bytes();
    let bodies = [
        (request::HEART_BEAT, many(r#"{"clientID":"c","consumerDataSet":["#, "]}")),
        (request::HEART_BEAT, many(r#"{"clientID":"c","producerDataSet":["#, "]}")),
        (
            request::HEART_BEAT,
            many(r#"{"clientID":"c","consumerDataSet":[{"groupName":"G","subscriptionDataSet":["#, "]}]}"),
        ),
        (request::LOCK_BATCH_MQ, many(r#"{"clientId":"c","consumerGroup":"G","mqSet":["#, "]}")),
        (request::UNLOCK_BATCH_MQ, many(r#"{"clientId":"c","consumerGroup":"G","mqSet":["#, "]}")),
        (request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST, many(r#"{"groupConfigList":["#, "]}")),
        (request::UPDATE_AND_CREATE_TOPIC_LIST, many(r#"{"topicConfigList":["#, "]}")),
        (
            request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
            many(r#"{"groupName":"H","groupRetryPolicy":{"customizedRetryPolicy":["#, "]}}"),
        ),
        (request::QUERY_ASSIGNMENT, many(r#"{"nobodyKnows":["#, "]}")),
        (request::CHECK_CLIENT_CONFIG, many(r#"{"subscriptionData":"{\"tagsSet\":["#, r#"]}"}"#)),
    ];
    for (code, body) in bodies {
        let answer = world.call(conn, RemotingCommand::request(code).body(body));
        let remark = answer.remark.as_deref();
        assert_eq!((answer.code, remark), (1, Some("more than 65536 values in one body")), "{code}");
        let answer = world.call(conn, RemotingCommand::request(code).body(vec![b' '; 5 << 20]));
        let remark = "the body of this request has 5242880 bytes, more than the 4194304 it may have";
        assert_eq!((answer.code, answer.remark.as_deref()), (1, Some(remark)), "{code}");
    }
    let settings = RemotingCommand::request(request::UPDATE_BROKER_CONFIG).body("a\n".repeat(1 << 20));
    let remark = "the body of this request has 2097152 bytes, more than the 262144 it may have";
    assert_eq!(world.call(conn, settings).remark.as_deref(), Some(remark));
    let broker = &world.shard.broker;
    assert!(broker.groups.get("G").is_none() && broker.groups.get("H").is_none());
    let wrong = format!(r#"{{"consumerDataSet":[{{"consumeType":"{}"}}]}}"#, "x".repeat(1 << 20));
    let answer = world.call(conn, RemotingCommand::request(request::HEART_BEAT).body(wrong));
    assert!(answer.code == 1 && answer.remark.is_some_and(|remark| remark.len() < 200));
    world.done(conn, heartbeat("c", vec![consumer("G", vec![subscription("T", 1)])], &["PG"]));
}

/// Goal: what big installations do is well within the bounds. Method: thousands of subscriptions, topics and groups at once.
#[test]
fn thousands_of_subscriptions_topics_and_groups_pass() {
    let mut world = World::new();
    let conn = world.connect();
    let subscribed = (0..6_000).map(|at| subscription(&format!("Topic-{at}"), 1_700_000_000_000)).collect();
    world.done(conn, heartbeat("c", vec![consumer("G", subscribed)], &[]));
    let topic_config_list = (0..6_000).map(|at| TopicConfig::new(format!("Topic-{at}"), 8, 6)).collect();
    let body = CreateTopicListRequestBody { topic_config_list }.encode();
    world.done(conn, RemotingCommand::request(request::UPDATE_AND_CREATE_TOPIC_LIST).body(body));
    let group_config_list =
        (0..4_000).map(|at| SubscriptionGroupConfig::new(format!("Group-{at}"))).collect();
    let body = SubscriptionGroupList { group_config_list }.encode();
    world.done(conn, RemotingCommand::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST).body(body));
    assert!(world.shard.broker.topics.find("Topic-5999").is_some());
    assert!(world.shard.broker.groups.get("Group-3999").is_some());
}

/// Goal: a client cannot be in groups without end, nor be kept by names without end; what it has, it keeps. Method: as many groups as there
/// may be in two heartbeats, one more, and the same again; then ids and names of some hundred bytes too many.
#[test]
fn a_connection_is_in_so_many_groups_at_most() {
    let mut world = World::new();
    let conn = world.connect();
    let groups = |ids: std::ops::Range<usize>| ids.map(|id| consumer(&format!("G{id}"), vec![])).collect();
    world.done(conn, heartbeat("c", groups(0..3_000), &[]));
    world.done(conn, heartbeat("c", groups(2_000..4_096), &[]));
    let refused = world.call(conn, heartbeat("c", groups(4_095..4_097), &[]));
    let remark = "one connection would be in 4097 consumer groups, more than the 4096 it may be in";
    assert_eq!((refused.code, refused.remark.as_deref()), (1, Some(remark)));
    assert!(world.shard.broker.consumers.group("G4096").is_none());
    assert!(world.shard.broker.topics.find("%RETRY%G4096").is_none());
    world.done(conn, heartbeat("c", groups(0..4_096), &[]));
    let other = world.connect();
    world.done(other, heartbeat("d", groups(4_096..4_097), &[]));
    let refused = world.call(other, heartbeat(&"d".repeat(1_025), vec![], &["P"]));
    let remark = "the client id has 1025 bytes, more than the 1024 it may have";
    assert_eq!((refused.code, refused.remark.as_deref()), (1, Some(remark)));
    let refused = world.call(other, heartbeat("d", vec![], &["P", &"p".repeat(256)]));
    let remark = "a producer group's name has 256 bytes, more than the 255 it may have";
    assert_eq!((refused.code, refused.remark.as_deref()), (1, Some(remark)));
    assert!(world.shard.broker.producers.channels("P").is_none());
}

/// Goal: order locks are bounded, and who asks for more is told so, while others go on. Method: a group takes all it may have, of queues that
/// nobody has; then one more, some of its own again, another group's; and again when the locks have expired.
#[test]
fn order_locks_are_bounded() {
    let mut world = World::new();
    let conn = world.connect();
    let ask = |group: &str, topic: &str, ids: std::ops::Range<i32>| {
        let mq_set = ids.map(|id| MessageQueue::new(topic, "broker-a", id)).collect();
        let client_id = "c".into();
        let body =
            LockBatchRequestBody { client_id, consumer_group: group.into(), mq_set, ..Default::default() };
        RemotingCommand::request(request::LOCK_BATCH_MQ).body(body.encode())
    };
    let got = |answer: RemotingCommand| {
        assert_eq!(answer.code, 0, "{answer:?}");
        LockBatchResponseBody::decode(&answer.body).unwrap().lock_ok_mq_set.len()
    };
    assert_eq!(got(world.call(conn, ask("G", "T", 0..10_000))), 10_000);
    assert_eq!(got(world.call(conn, ask("G", "U", 0..10_000))), 6_384);
    assert_eq!(got(world.call(conn, ask("G", "T", 9_999..10_001))), 1, "its own again");
    let refused = world.call(conn, ask("G", "V", 0..1));
    let remark = "no room for more order locks: a group has 16384 at most, all together 131072";
    assert_eq!((refused.code, refused.remark.as_deref()), (1, Some(remark)));
    assert_eq!(got(world.call(conn, ask("H", "V", 0..1))), 1, "another group");
    let refused = world.call(conn, ask("H", &"t".repeat(256), 0..1));
    let remark = "a group, topic or broker to lock for has a name of more than 255 bytes";
    assert_eq!((refused.code, refused.remark.as_deref()), (1, Some(remark)));
    world.pass(60_100);
    assert_eq!(got(world.call(conn, ask("G", "V", 0..16_000))), 16_000);
}

fn long_pull(queue_id: i32, subscription: &str, expression_type: &str, sys_flag: i32) -> RemotingCommand {
    let pull = set(set(pull("T", queue_id, 0), "consumerGroup", "G"), "suspendTimeoutMillis", 15_000);
    let pull = set(set(pull, "subscription", subscription), "expressionType", expression_type);
    set(pull, "sysFlag", sys_flag)
}

/// Suspend, and the subscription comes with the pull.
const SUSPEND_SUBSCRIBED: i32 = 2 | 4;

/// Goal: no expression is kept that is longer than any that is meant; the code is the one of expressions that cannot be parsed. Method: pulls
/// and registrations just within and one byte beyond, in either text, used or not.
#[test]
fn long_expressions_are_refused() {
    let mut world = World::new();
    world.topic("T", 4);
    let conn = world.connect();
    world.done(conn, heartbeat("c", vec![consumer("G", vec![subscription("T", 1)])], &[]));
    let fits = "t".repeat((64 << 10) - 3);
    let long = fits.clone() + "t";
    let remark = "the consumer's subscription has 65537 bytes, more than the 65536 it may have";
    let refused =
        |answer: RemotingCommand| assert_eq!((answer.code, answer.remark.as_deref()), (23, Some(remark)));
    refused(world.call(conn, long_pull(0, &long, "TAG", SUSPEND_SUBSCRIBED)));
    refused(world.call(conn, long_pull(0, &long, "TAG", 2)));
    refused(world.call(conn, long_pull(0, "TAG", &long, 2)));
    assert!(world.shard.broker.holds.is_empty());
    world.post(conn, long_pull(0, &fits, "TAG", SUSPEND_SUBSCRIBED));
    assert_eq!(world.shard.broker.holds.len(), 1);
    let with = |expression: &str, tags: i32| {
        let mut subscribed = subscription("T", 2);
        subscribed.sub_string = expression.into();
        subscribed.code_set = (0..tags).collect();
        subscribed
    };
    refused(world.call(conn, heartbeat("c", vec![consumer("H", vec![with(&long, 1)])], &[])));
    let many = world.call(conn, heartbeat("c", vec![consumer("H", vec![with("a", 16_385)])], &[]));
    let remark = "the consumer's subscription has 16385 tags, more than the 16384 it may have";
    assert_eq!((many.code, many.remark.as_deref()), (23, Some(remark)));
    assert!(world.shard.broker.consumers.group("H").is_none());
    world.done(conn, heartbeat("c", vec![consumer("H", vec![with(&fits, 16_384)])], &[]));
    let asked = CheckClientRequestBody { subscription_data: with(&long, 1), ..Default::default() };
    refused(world.call(conn, RemotingCommand::request(request::CHECK_CLIENT_CONFIG).body(asked.encode())));
}

/// Goal: pulls that wait are bounded by connection and by what they keep, and what has left gives its memory back. Method: one peer
/// with more than it may have, and another; then long ones until no more is held, twice.
#[test]
fn held_pulls_are_bounded() {
    let mut world = World::new();
    let broker = &mut world.shard.broker;
    let (queue, holds) = (broker.store.queue("T", 0), &mut broker.holds);
    let filter = TagFilter::default();
    let park = |holds: &mut Holds, slot: u32, subscription: &str| {
        let conn = ConnId { slot, generation: 1 };
        let to = ReplyTo { conn, opaque: 0, codec: Codec::Json, oneway: false };
        let held = HeldPull::default();
        let pull = Pull { to, subscription: Some(subscription), ..held.as_pull() };
        holds.park(queue, &pull, &filter, 15_000)
    };
    let park_all =
        |holds: &mut Holds, slot: u32, text: &str| (0..9_000).filter(|_| park(holds, slot, text)).count();
    assert_eq!(park_all(holds, 0, "a"), 8_192);
    assert!(park(holds, 1, "a"));
    let long = "t".repeat(64 << 10);
    for _ in 0..2 {
        assert_eq!(park_all(holds, 2, &long), 1_024);
        assert!(!park(holds, 3, &long), "there is no memory for more");
        assert!(park(holds, 4, "a"));
        holds.closed(ConnId { slot: 2, generation: 1 });
    }
    holds.closed(ConnId { slot: 0, generation: 1 });
    assert_eq!(holds.len(), 3);
    assert_eq!(park_all(holds, 0, "a"), 8_192);
}

/// Goal: names that no group can have are not kept: neither among the offsets (314) nor while a route is asked for (400). Method: long
/// ones, which the official broker takes.
#[test]
fn names_that_nobody_has_are_not_kept() {
    let mut world = World::new();
    world.topic("T", 1);
    let conn = world.connect();
    let broker = &mut world.shard.broker;
    broker.offsets.commit("G", "T", 0, 7).unwrap();
    let clone = |target: &str| {
        let clone = RemotingCommand::request(request::CLONE_GROUP_OFFSET).field("srcGroup", "G");
        clone.field("destGroup", target).field("topic", "T").field("offline", false)
    };
    for wrong in ["g".repeat(121), "a b".to_owned(), String::new()] {
        assert_eq!(world.call(conn, clone(&wrong)).code, 29, "{wrong}");
        assert_eq!(world.shard.broker.offsets.committed(&wrong, "T", 0), None);
    }
    world.done(conn, clone("H"));
    assert_eq!(world.shard.broker.offsets.committed("H", "T", 0), Some(7));
    let asked = QueryAssignmentRequestBody { topic: "t".repeat(256), ..Default::default() };
    let refused = world.call(conn, RemotingCommand::request(request::QUERY_ASSIGNMENT).body(asked.encode()));
    let remark = "a topic, group or strategy to deal by has a name of more than 255 bytes";
    assert_eq!((refused.code, refused.remark.as_deref()), (1, Some(remark)));
}

/// Goal: what waits for the files keeps no megabytes of what a client says: up to 4,096 requests may wait. Method: the codes that keep texts,
/// with a long one.
#[test]
fn errands_keep_no_long_texts() {
    let mut world = World::new();
    world.topic("T", 1);
    let conn = world.connect();
    world.done(conn, heartbeat("c", vec![consumer("G", vec![subscription("T", 1)])], &["P"]));
    let long = "k".repeat(64 << 10);
    let end = RemotingCommand::request(request::END_TRANSACTION)
        .field("producerGroup", &*long)
        .field("tranStateTableOffset", 0)
        .field("commitLogOffset", 0)
        .field("commitOrRollback", 8)
        .field("fromTransactionCheck", false)
        .field("msgId", "m")
        .field("transactionId", "t");
    let query = RemotingCommand::request(request::QUERY_MESSAGE)
        .field("topic", "T")
        .field("key", &*long)
        .field("maxNum", 1)
        .field("beginTimestamp", 0)
        .field("endTimestamp", i64::MAX);
    let consume = RemotingCommand::request(request::CONSUME_MESSAGE_DIRECTLY)
        .field("consumerGroup", "G")
        .field("clientId", "c")
        .field("msgId", "7F00000100002A9F0000000000000000")
        .field("more", &*long);
    for command in [end, query, consume] {
        let refused = world.call(conn, command);
        let remark = "the fields of this request have more bytes than the 65536 they may have";
        assert_eq!((refused.code, refused.remark.as_deref()), (1, Some(remark)));
    }
}

/// Goal: who says a megabyte where a name belongs does not get it back. Method: every request code, with long texts in each field that holds
/// a name, alone and together, in fields and bodies; then a topic of a megabyte.
#[test]
fn remarks_do_not_repeat_long_names() {
    let mut world = World::new();
    world.topic("T", 4);
    let conn = world.connect();
    world.done(conn, heartbeat("c", vec![consumer("G", vec![subscription("T", 1)])], &["P"]));
    let long = "n".repeat(6 << 10);
    let numbers = [
        "d",
        "e",
        "f",
        "g",
        "h",
        "j",
        "defaultTopicQueueNums",
        "queueId",
        "sysFlag",
        "bornTimestamp",
        "flag",
        "reconsumeTimes",
        "queueOffset",
        "maxMsgNums",
        "commitOffset",
        "suspendTimeoutMillis",
        "subVersion",
        "offset",
        "timestamp",
        "delayLevel",
        "maxNum",
        "beginTimestamp",
        "endTimestamp",
        "readQueueNums",
        "writeQueueNums",
        "perm",
        "tranStateTableOffset",
        "commitLogOffset",
        "commitOrRollback",
        "index",
        "count",
        "consumerType",
    ];
    let names = [
        "b",
        "c",
        "a",
        "topic",
        "defaultTopic",
        "producerGroup",
        "consumerGroup",
        "group",
        "groupName",
        "srcGroup",
        "destGroup",
        "clientId",
        "clientID",
        "msgId",
        "offsetMsgId",
        "originMsgId",
        "originTopic",
        "transactionId",
        "key",
        "statsName",
        "statsKey",
        "subscription",
        "expressionType",
        "topicFilterType",
        "attributes",
        "i",
        "properties",
        "topicList",
    ];
    let known = |name: &str| match name {
        "b" | "topic" | "originTopic" => "T",
        "a" | "producerGroup" => "P",
        "clientId" | "clientID" => "c",
        "expressionType" => "TAG",
        "i" | "properties" | "attributes" | "topicFilterType" => "",
        _ => "G",
    };
    let with = |code: i32, is_long: &dyn Fn(&str) -> bool| {
        let mut command = RemotingCommand::request(code);
        for name in numbers {
            command = command.field(name, 0);
        }
        for name in names {
            let reply_to = name == "i" || name == "properties";
            let value = match (is_long(name), reply_to) {
                (true, true) => format!("REPLY_TO_CLIENT\u{1}{long}\u{2}"),
                (true, false) => long.clone(),
                (false, _) => known(name).to_owned(),
            };
            command = command.field(name, value);
        }
        command
    };
    let mut refused = 0;
    let mut check = |command: RemotingCommand| {
        world.post_in(Codec::Binary, conn, &command);
        for _ in 0..3 {
            world.turn();
        }
        while let Some(answer) = world.next(conn) {
            let len = answer.remark.as_ref().map_or(0, String::len);
            assert!(len <= 4_096, "code {}: a remark of {len} bytes", command.code);
            refused += usize::from(answer.is_response() && len > 3_000);
        }
    };
    for &(code, _) in request::ALL {
        check(with(code, &|_| true));
        check(with(code, &|field| field.len() == 1));
        check(with(code, &|field| field.ends_with("roup")));
        check(with(code, &|field| field.ends_with("opic")));
        check(with(code, &|field| field == "i" || field == "properties"));
        check(with(code, &|field| !matches!(field, "b" | "topic" | "a" | "producerGroup")));
        for body in [
            format!(r#"{{"{long}":0}}"#),
            format!(r#"{{"groupName":"{long}","topic":"{long}"}}"#),
            long.clone(),
        ] {
            check(with(code, &|_| false).body(body.clone()));
        }
    }
    check(send(&"t".repeat(1_000_000), 0, "", b"x"));
    check(send("%RETRY%G", 0, &format!("k\u{1}{}\u{2}", "v".repeat(1_000_000)), b"x"));
    assert!(refused > 20, "{refused} refusals with long names");
}

/// B-15. Goal: a header that takes long to read is not read: who sent it is told why, and its connection ends, while others go on; all that a desk
/// can take passes. Method: the longest expression, every character escaped as Java may, and one byte more than a header may have, in either form.
#[test]
fn headers_have_a_length() {
    let mut world = World::new();
    world.topic("T", 1);
    let other = world.connect();
    world.done(other, heartbeat("c", vec![consumer("G", vec![subscription("T", 1)])], &[]));
    for codec in [Codec::Json, Codec::Binary] {
        let conn = world.connect();
        let longest = "\u{1}".repeat((64 << 10) - 3);
        world.post_in(codec, conn, &long_pull(0, &longest, "TAG", 4));
        assert!(world.next(conn).is_some_and(|answer| answer.code == 19), "an expression of 64 KiB");
        let head = |len: usize| {
            let command = RemotingCommand::request(request::GET_BROKER_CONFIG);
            command.field("x", "y".repeat(len))
        };
        let header_len = |command: &RemotingCommand| command.encode(codec).len() - 8;
        let spare = (1 << 20) - header_len(&head(0));
        assert_eq!(header_len(&head(spare)), 1 << 20);
        world.done(conn, RemotingCommand::request(request::GET_BROKER_CONFIG));
        world.post_in(codec, conn, &head(spare));
        world.turn();
        assert!(world.next(conn).is_some_and(|answer| answer.code == 0));
        world.post_in(codec, conn, &head(spare + 1));
        for _ in 0..5 {
            world.turn();
        }
        let answer = world.next(conn).unwrap();
        let remark = "the header of this request has 1048577 bytes, more than the 1048576 it may have; the connection is closed";
        assert_eq!((answer.code, answer.opaque, answer.remark.as_deref()), (1, -1, Some(remark)));
        assert!(!world.shard.net.is_open(conn));
    }
    world.done(other, RemotingCommand::request(request::GET_BROKER_CONFIG));
}
