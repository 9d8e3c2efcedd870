//! Who is in a group, and who is told when that changes.

use protocol::RemotingCommand;
use protocol::body::{Body, GetConsumerListByGroupResponseBody, HeartbeatData, MessageModel};
use protocol::code::request;

use crate::client::{beat, consumer, heartbeat, subscription};
use crate::world::World;
use dataplane::broker::group_config::GroupConfig;
use dataplane::net::ConnId;

fn told(world: &mut World, conn: ConnId) -> usize {
    let notices = world.take(conn, request::NOTIFY_CONSUMER_IDS_CHANGED);
    assert!(notices.iter().all(|notice| notice.is_oneway() && notice.ext("consumerGroup") == Some("G")));
    notices.len()
}

fn join(world: &mut World, conn: ConnId, client: &str, topics: &[(&str, i64)]) -> RemotingCommand {
    let listed = topics.iter().map(|(topic, version)| subscription(topic, *version)).collect();
    world.done(conn, heartbeat(client, vec![consumer("G", listed)], &[]))
}

fn members(world: &mut World, conn: ConnId) -> Vec<String> {
    let command = RemotingCommand::request(request::GET_CONSUMER_LIST_BY_GROUP).field("consumerGroup", "G");
    let answer = world.done(conn, command);
    let mut ids = GetConsumerListByGroupResponseBody::decode(&answer.body).unwrap().consumer_id_list;
    ids.sort();
    ids
}

/// Goal: every member, the new one included, is told exactly when a member or a topic comes or goes.
/// Method: two consumers join, repeat themselves, rebalance, change topics, and leave in each way there is.
#[test]
fn members_are_told_when_the_group_changes_and_only_then() {
    let mut world = World::new();
    let (a, b) = (world.connect(), world.connect());
    let answer = join(&mut world, a, "a", &[("T", 1)]);
    assert_eq!(answer.ext("IS_SUPPORT_HEART_BEAT_V2"), Some("true"));
    assert_eq!(answer.ext("IS_SUB_CHANGE"), Some("true"));
    assert_eq!(told(&mut world, a), 1);
    join(&mut world, a, "a", &[("T", 1)]);
    assert_eq!(told(&mut world, a), 0, "nothing new");
    join(&mut world, b, "b", &[("T", 1)]);
    assert_eq!((told(&mut world, a), told(&mut world, b)), (1, 1));
    assert_eq!(members(&mut world, a), ["a", "b"]);
    join(&mut world, a, "a", &[("T", 2)]);
    assert_eq!((told(&mut world, a), told(&mut world, b)), (0, 0), "a newer version is no change");
    join(&mut world, a, "a", &[("T", 2), ("U", 1)]);
    assert_eq!((told(&mut world, a), told(&mut world, b)), (1, 1), "a topic added");
    join(&mut world, b, "b", &[("T", 1)]);
    assert_eq!((told(&mut world, a), told(&mut world, b)), (1, 1), "a topic removed");
    join(&mut world, a, "a", &[("T", 2), ("U", 1)]);
    assert_eq!((told(&mut world, a), told(&mut world, b)), (1, 1), "and added again by what was said before");
    let goodbye = RemotingCommand::request(request::UNREGISTER_CLIENT)
        .field("clientID", "b")
        .field("consumerGroup", "G");
    assert_eq!(world.done(b, goodbye).ext_fields, []);
    assert_eq!((told(&mut world, a), told(&mut world, b)), (1, 0));
    join(&mut world, b, "b", &[("T", 2), ("U", 1)]);
    assert_eq!((told(&mut world, a), told(&mut world, b)), (1, 1));
    world.disconnect(b);
    assert_eq!(told(&mut world, a), 1);
    assert_eq!(members(&mut world, a), ["a"]);
    world.disconnect(a);
    let c = world.connect();
    let command = RemotingCommand::request(request::GET_CONSUMER_LIST_BY_GROUP).field("consumerGroup", "G");
    let answer = world.call(c, command);
    assert_eq!((answer.code, answer.remark.as_deref()), (1, Some("no consumer for this group, G")));
}

/// Goal: the group's switch silences joins but not departures, and broadcasting members are never told.
#[test]
fn the_switch_and_broadcasting_silence_notices() {
    let mut world = World::new();
    let broker = &mut world.shard.broker;
    let config = GroupConfig { notify_consumer_ids_changed_enable: false, ..GroupConfig::new("G") };
    broker.groups.put(config, 0, &mut broker.ops);
    let (a, b) = (world.connect(), world.connect());
    join(&mut world, a, "a", &[("T", 1)]);
    join(&mut world, b, "b", &[("T", 1)]);
    assert_eq!((told(&mut world, a), told(&mut world, b)), (0, 0));
    world.disconnect(b);
    assert_eq!(told(&mut world, a), 1);

    let mut world = World::new();
    let (a, b) = (world.connect(), world.connect());
    for (conn, client) in [(a, "a"), (b, "b")] {
        let mut group = consumer("G", vec![subscription("T", 1)]);
        group.message_model = MessageModel::Broadcasting;
        world.done(conn, heartbeat(client, vec![group], &[]));
    }
    world.disconnect(b);
    assert_eq!(told(&mut world, a), 0);
}

/// Goal: a consumer gets its retry topic with its first heartbeat, and the tables keep both.
#[test]
fn a_heartbeat_makes_group_and_retry_topic() {
    let mut world = World::new();
    let a = world.connect();
    join(&mut world, a, "a", &[("T", 1)]);
    let topic = world.shard.broker.topics.config("%RETRY%G").unwrap().clone();
    assert_eq!((topic.read_queue_nums, topic.perm, topic.order), (1, 6, false));
    assert!(world.kept.topics.topic_config_table.contains_key("%RETRY%G"));
    assert!(world.kept.groups.subscription_group_table.contains_key("G"));
}

/// Goal: who is silent for 120 s is dropped and disconnected, and the others are told; a repeated heartbeat counts.
#[test]
fn silent_clients_are_dropped() {
    let mut world = World::new();
    let (a, b) = (world.connect(), world.connect());
    join(&mut world, a, "a", &[("T", 1)]);
    join(&mut world, b, "b", &[("T", 1)]);
    told(&mut world, a);
    for _ in 0..5 {
        world.pass(29_000);
        join(&mut world, a, "a", &[("T", 1)]);
        // Traffic, but no heartbeat: the connection lives, the member does not.
        if world.shard.net.is_open(b) {
            let _ = world.call(b, RemotingCommand::request(99_999));
        }
    }
    assert_eq!(members(&mut world, a), ["a"]);
    assert_eq!(told(&mut world, a), 1);
    assert!(!world.shard.net.is_open(b));
}

/// Goal: heartbeat V2: a client whose fingerprint is known leaves its subscriptions out; a broker that does not know it
/// says so.
#[test]
fn heartbeats_without_subscriptions_are_understood() {
    let mut world = World::new();
    let a = world.connect();
    let whole = HeartbeatData {
        client_id: "a".into(),
        consumer_data_set: vec![consumer("G", vec![subscription("T", 1)])],
        heartbeat_fingerprint: 77,
        ..HeartbeatData::default()
    };
    let mut short = whole.clone();
    short.without_sub = true;
    short.consumer_data_set[0].subscription_data_set.clear();
    assert_eq!(world.done(a, beat(&short)).ext("IS_SUB_CHANGE"), Some("true"), "a new member");
    assert_eq!(world.done(a, beat(&whole)).ext("IS_SUB_CHANGE"), Some("true"), "a topic added");
    for _ in 0..2 {
        assert_eq!(world.done(a, beat(&short)).ext("IS_SUB_CHANGE"), Some("false"));
        assert_eq!(world.done(a, beat(&short)).ext("IS_SUB_CHANGE"), Some("false"), "the short way");
    }
    assert!(world.shard.broker.consumers.group("G").unwrap().subscription("T").is_some());
}

/// Goal: without auto-creation an unknown group gets no members, and its client no error.
#[test]
fn unknown_groups_are_passed_over_silently() {
    let config = dataplane::config::Config {
        broker_name: "broker-a".into(),
        auto_create_subscription_group: false,
        ..Default::default()
    };
    let mut world = World::with(config);
    let a = world.connect();
    join(&mut world, a, "a", &[("T", 1)]);
    assert_eq!(told(&mut world, a), 0);
    assert!(world.shard.broker.consumers.group("G").is_none());
}

/// Goal: locks go to one client, expire after 60 s, and are freed by their owner.
#[test]
fn queues_are_locked_by_one_client() {
    let mut world = World::new();
    let conn = world.connect();
    let lock = |code: i32, client: &str| {
        let body = format!(
            r#"{{"clientId":"{client}","consumerGroup":"G","mqSet":[{{"brokerName":"broker-a","queueId":1,"topic":"T"}}]}}"#
        );
        RemotingCommand::request(code).body(body)
    };
    let got = br#"{"lockOKMQSet":[{"brokerName":"broker-a","queueId":1,"topic":"T"}]}"#;
    let none = br#"{"lockOKMQSet":[]}"#;
    let ask =
        |world: &mut World, client| world.done(conn, lock(request::LOCK_BATCH_MQ, client)).body.to_vec();
    assert_eq!(ask(&mut world, "a"), got);
    assert_eq!(ask(&mut world, "b"), none);
    world.done(conn, lock(request::UNLOCK_BATCH_MQ, "b"));
    assert_eq!(ask(&mut world, "b"), none);
    world.done(conn, lock(request::UNLOCK_BATCH_MQ, "a"));
    assert_eq!(ask(&mut world, "b"), got);
    world.pass(60_050);
    assert_eq!(ask(&mut world, "a"), got);
}

/// Goal: a broker without name servers deals its own queues over the members that are here.
#[test]
fn queues_are_dealt_at_the_broker() {
    let mut world = World::new();
    world.topic("T", 3);
    let (a, b) = (world.connect(), world.connect());
    join(&mut world, a, "a", &[("T", 1)]);
    join(&mut world, b, "b", &[("T", 1)]);
    let ask = |client: &str| {
        let body = format!(
            r#"{{"topic":"T","consumerGroup":"G","clientId":"{client}","strategyName":"AVG","messageModel":"CLUSTERING"}}"#
        );
        RemotingCommand::request(request::QUERY_ASSIGNMENT).body(body)
    };
    let mine = world.done(a, ask("a")).body;
    let queue = |id| {
        format!(r#"{{"messageQueue":{{"brokerName":"broker-a","queueId":{id},"topic":"T"}},"mode":"PULL"}}"#)
    };
    assert_eq!(mine, format!(r#"{{"messageQueueAssignments":[{},{}]}}"#, queue(0), queue(1)).as_bytes());
    let theirs = world.done(b, ask("b")).body;
    assert_eq!(theirs, format!(r#"{{"messageQueueAssignments":[{}]}}"#, queue(2)).as_bytes());
    assert_eq!(world.done(b, ask("c")).body, r#"{"messageQueueAssignments":[]}"#.as_bytes());
}
