//! Tables that are full: what is new is refused to who asked for it, with a reason, and all that is there goes on.

use protocol::RemotingCommand;
use protocol::body::{
    Body, CreateTopicListRequestBody, DataVersion, GroupRetryPolicy, SubscriptionGroupConfig,
    SubscriptionGroupList, TopicConfig,
};
use protocol::code::request;
use protocol::frame::Codec;

use crate::client::{consumer, heartbeat, read, subscription};
use crate::requests::{create_topic, pull, send, set};
use crate::world::World;
use dataplane::limits::FRAME_BYTES_MAX;
use dataplane::net::ConnId;

/// The answer is 1 and begins so.
fn refused(world: &mut World, conn: ConnId, command: RemotingCommand, remark: &str) {
    let answer = world.call(conn, command);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.remark.as_ref().is_some_and(|said| said.starts_with(remark)), "{answer:?}");
}

fn of_topic(code: i32, name: &str) -> RemotingCommand {
    RemotingCommand::request(code).field("topic", name)
}

/// B-14. Goal: however many topics clients make, name servers can be told of them all: a registration that is no frame would cost the broker its
/// place there, and every client its routes. Method: lists of topics with the longest names until one is refused, as a whole; then all other
/// ways a topic comes about, each with one that is there; one is deleted, and one made in its place.
#[test]
fn topics_fit_a_registration() {
    let mut world = World::new();
    world.topic("T", 1);
    let conn = world.connect();
    world.done(conn, heartbeat("c", vec![consumer("G", vec![subscription("T", 1)])], &[]));
    let name = |at: usize| format!("{at:0>127}");
    let topics = |world: &World| world.shard.broker.topics.len();
    let list = |ids: std::ops::Range<usize>| {
        let topic_config_list = ids.map(|at| TopicConfig::new(name(at), 8, 6)).collect();
        let body = CreateTopicListRequestBody { topic_config_list }.encode();
        RemotingCommand::request(request::UPDATE_AND_CREATE_TOPIC_LIST).body(body)
    };
    let (mut made, mut step) = (0, 4_000);
    while step > 0 && made < 60_000 {
        let before = topics(&world);
        let answer = world.call(conn, list(made..made + step));
        assert_eq!(topics(&world) - before, if answer.code == 0 { step } else { 0 });
        match answer.code {
            0 => made += step,
            _ => step /= 4,
        }
    }
    assert!((38_000..42_000).contains(&made), "{made} topics");
    let full = "no room for more topics: ";
    refused(&mut world, conn, create_topic(&name(made), 8), full);
    refused(&mut world, conn, send(&name(made), 0, "", b"x"), full);
    // What the client is in already it stays in, and what of the rest has room it gets.
    world.pass(1_000);
    let seen = |world: &World| world.shard.broker.consumers.group("G").unwrap().members()[0].seen_ms;
    let before = seen(&world);
    let groups = vec![consumer(&"g".repeat(120), vec![]), consumer("G", vec![subscription("T", 1)])];
    refused(&mut world, conn, heartbeat("c", groups, &["PG"]), full);
    assert!(world.shard.broker.consumers.group(&"g".repeat(120)).is_none());
    assert!(seen(&world) > before && world.shard.broker.producers.channels("PG").is_some());
    world.done(conn, heartbeat("c", vec![consumer("G", vec![subscription("T", 2)])], &["PG"]));
    world.done(conn, create_topic(&name(0), 65_535));
    world.done(conn, send(&name(0), 65_534, "", b"x"));
    while world.kept.topics.topic_config_table.len() < topics(&world) {
        world.turn();
    }
    let body = world.kept.registration(6, DataVersion::new(i64::MAX)).len();
    assert!((15 << 20..FRAME_BYTES_MAX - 4_096).contains(&body), "a registration of {body} bytes");
    world.done(conn, of_topic(request::DELETE_TOPIC_IN_BROKER, &name(1)));
    world.done(conn, create_topic(&name(made), 8));
}

/// B-14. Goal: subscription groups take so much memory at most, by whatever way they come about, and those that are there go on. Method: groups with
/// megabytes of a retry policy until one is refused, with one that would fit; then each way with a new one, and with one that is there.
#[test]
fn subscription_groups_are_bounded() {
    let mut world = World::new();
    world.topic("T", 1);
    let conn = world.connect();
    world.done(conn, heartbeat("c", vec![consumer("G", vec![subscription("T", 1)])], &[]));
    let group = |name: &str, bytes: usize| {
        let customized_retry_policy = (bytes > 0).then(|| "x".repeat(bytes).into());
        let group_retry_policy = GroupRetryPolicy { customized_retry_policy, ..GroupRetryPolicy::default() };
        SubscriptionGroupConfig { group_retry_policy, ..SubscriptionGroupConfig::new(name) }
    };
    let list = |group_config_list: Vec<SubscriptionGroupConfig>| {
        let body = SubscriptionGroupList { group_config_list }.encode();
        RemotingCommand::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST).body(body)
    };
    let (mut made, mut bytes) = (0, 4_000_000);
    while bytes > 0 && made < 200 {
        let config = group(&format!("H{made}"), bytes);
        match world.call(conn, list(vec![group("tiny", 0), config])).code {
            0 => made += 1,
            _ => bytes /= 4,
        }
    }
    assert!((22..60).contains(&made), "{made} groups");
    world.done(conn, RemotingCommand::request(request::DELETE_SUBSCRIPTIONGROUP).field("groupName", "tiny"));
    world.done(conn, list(vec![group("tiny", 0)]));
    let full = "no room for more subscription groups: ";
    let changed = SubscriptionGroupConfig { retry_max_times: 3, ..group("G", 0) };
    refused(&mut world, conn, list(vec![changed, group("new", 1_000)]), full);
    assert!(
        world.shard.broker.groups.get("G").is_some_and(|known| known.retry_max_times == 16),
        "all or none"
    );
    refused(&mut world, conn, set(pull("T", 0, 0), "consumerGroup", "new"), full);
    refused(&mut world, conn, heartbeat("c", vec![consumer("new", vec![])], &[]), full);
    let send_back = |group: &str| {
        let command = RemotingCommand::request(request::CONSUMER_SEND_MSG_BACK);
        command.field("group", group).field("offset", 0).field("delayLevel", 0)
    };
    refused(&mut world, conn, send_back("new"), full);
    refused(&mut world, conn, send("%RETRY%new", 0, "", b"x"), full);
    world.done(conn, send("T", 0, "", b"x"));
    assert_eq!(world.call(conn, set(pull("T", 0, 0), "consumerGroup", "G")).code, 0);
    world.done(conn, send_back("G"));
    world.done(conn, heartbeat("c", vec![consumer("G", vec![subscription("T", 2)])], &[]));
    world.done(conn, RemotingCommand::request(request::DELETE_SUBSCRIPTIONGROUP).field("groupName", "H0"));
    assert_eq!(read(&mut world, conn, "T", 0, 0).len(), 1, "a new group");
}

/// B-14. Goal: what groups have committed is kept, and one that cannot be kept is not told that it is. Method: as many rows as there may be; then
/// each way to commit, with a new group and with one that is there, and in place of one that is removed.
#[test]
fn committed_offsets_are_bounded() {
    let mut world = World::new();
    world.topic("T", 4);
    let conn = world.connect();
    let groups = vec![consumer("G", vec![subscription("T", 1)]), consumer("new", vec![subscription("T", 1)])];
    world.done(conn, heartbeat("c", groups, &[]));
    let update = |group: &str| {
        let command = of_topic(request::UPDATE_CONSUMER_OFFSET, "T").field("queueId", 0);
        command.field("consumerGroup", group).field("commitOffset", 1)
    };
    world.done(conn, update("G"));
    let offsets = &mut world.shard.broker.offsets;
    let rows = (0..600_000).take_while(|at| offsets.commit(&format!("H{at}"), "T", 0, 1).is_ok()).count();
    assert_eq!(rows, 524_287);
    let full = "no room for more consumer offsets: ";
    refused(&mut world, conn, update("new"), full);
    world.done(conn, update("G").field("queueId", 3));
    let pull = |group: &str, sys_flag: i32| {
        set(set(set(pull("T", 1, 0), "consumerGroup", group), "sysFlag", sys_flag), "commitOffset", 5)
    };
    const COMMIT: i32 = 1;
    refused(&mut world, conn, pull("new", COMMIT), full);
    assert_eq!(world.call(conn, pull("new", 0)).code, 19, "who commits nothing may read");
    assert_eq!(world.call(conn, pull("G", COMMIT)).code, 19);
    assert_eq!(world.shard.broker.offsets.committed("G", "T", 1), Some(5));
    let reset = |group: &str| {
        let command = of_topic(request::INVOKE_BROKER_TO_RESET_OFFSET, "T").field("group", group);
        command.field("timestamp", -1).field("isForce", true)
    };
    refused(&mut world, conn, reset("new"), full);
    world.done(conn, reset("G"));
    let clone = |target: &str| {
        let command = of_topic(request::CLONE_GROUP_OFFSET, "T").field("srcGroup", "G");
        command.field("destGroup", target).field("offline", false)
    };
    refused(&mut world, conn, clone("new"), full);
    world.done(conn, clone("H7"));
    let delete = RemotingCommand::request(request::DELETE_SUBSCRIPTIONGROUP).field("groupName", "H0");
    world.done(conn, delete.field("cleanOffset", true));
    world.done(conn, update("new"));
}

/// B-14. Goal: members of groups are bounded, and what else a heartbeat says is taken. Method: a consumer and a producer group with as many
/// connections as there may be; then a client that would join them and others, one that is in, and one that joins in place of who left.
#[test]
fn members_of_groups_are_bounded() {
    let mut world = World::new();
    world.topic("T", 1);
    let conn = world.connect();
    world.done(conn, heartbeat("c", vec![consumer("G", vec![subscription("T", 1)])], &["PG"]));
    let broker = &mut world.shard.broker;
    let (kind, client) = {
        let group = broker.consumers.group("G").unwrap();
        (group.kind, group.members()[0].client.clone())
    };
    for slot in 1_000..1_000 + 65_535 {
        let other = ConnId { slot, generation: 1 };
        broker.consumers.register("G", kind, None, other, &client, i64::MAX);
        broker.producers.register("PG", other, &client, i64::MAX);
    }
    let late = world.connect();
    let groups = || vec![consumer("G", vec![subscription("T", 1)]), consumer("H", vec![])];
    refused(&mut world, late, heartbeat("d", groups(), &["QG"]), "no room for more consumers: ");
    refused(&mut world, late, heartbeat("d", vec![], &["PG", "RG"]), "no room for more producers: ");
    let broker = &world.shard.broker;
    assert_eq!(broker.consumers.groups_of(late).map(|groups| groups.len()), Some(1));
    assert_eq!(broker.producers.groups_of(late).map(|groups| groups.len()), Some(2));
    world.done(conn, heartbeat("c", groups(), &["PG", "QG"]));
    world.disconnect(conn);
    world.done(late, heartbeat("d", groups(), &["PG", "QG"]));
    assert_eq!(world.shard.broker.consumers.group("G").unwrap().members().len(), 65_536);
}

/// B-14. Goal: who changes one thing again and again, faster than the files follow, waits; nothing that was changed is forgotten. Method: lists
/// that change thousands of topics to and fro, while nobody takes changes from the shard; then somebody does.
#[test]
fn changes_wait_for_the_files() {
    let mut world = World::new();
    let conn = world.connect();
    let list = |queues: i32| {
        let topic_config_list = (0..4_000).map(|at| TopicConfig::new(format!("T{at}"), queues, 6)).collect();
        let body = CreateTopicListRequestBody { topic_config_list }.encode();
        RemotingCommand::request(request::UPDATE_AND_CREATE_TOPIC_LIST).body(body)
    };
    let mut answered = 0;
    let mut answers = |world: &mut World| {
        answered += std::iter::from_fn(|| world.next(conn)).filter(|answer| answer.code == 0).count();
        answered
    };
    let bytes: Vec<u8> = (0..60).flat_map(|round| list(4 + round % 2).encode(Codec::Json)).collect();
    let mut rest = &bytes[..];
    for _ in 0..5_000 {
        rest = &rest[world.shard.net.feed(conn, rest)..];
        world.turn_alone();
        world.read_turn();
    }
    assert!((20..50).contains(&answers(&mut world)), "the files take nothing beyond their lane");
    let waiting = world.shard.broker.ops.len();
    assert!((60_000..80_000).contains(&waiting), "{waiting} changes wait");
    for _ in 0..5_000 {
        rest = &rest[world.shard.net.feed(conn, rest)..];
        world.turn();
    }
    assert_eq!(answers(&mut world), 60);
    assert_eq!(world.kept.topics.topic_config_table["T3999"].read_queue_nums, 5);
    assert!(world.shard.broker.ops.is_empty());
}
