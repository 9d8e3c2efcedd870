//! What one client may ask for at once: no more than its own place, and others notice nothing.

use protocol::RemotingCommand;
use protocol::body::{
    Body, CreateTopicListRequestBody, LockBatchRequestBody, LockBatchResponseBody, MessageQueue,
    SubscriptionGroupConfig, SubscriptionGroupList, TopicConfig,
};
use protocol::code::request;

use crate::requests::{consumer, heartbeat, subscription};
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
