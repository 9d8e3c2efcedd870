//! JSON bodies that take long to read are read beside the shard: others go on meanwhile, and the connection's own requests keep their order.

use protocol::RemotingCommand;
use protocol::body::{
    Body, CheckClientRequestBody, CreateTopicListRequestBody, LockBatchRequestBody, LockBatchResponseBody,
    MessageQueue, SubscriptionGroupConfig, SubscriptionGroupList, TopicConfig, UnlockBatchRequestBody,
};
use protocol::code::{request, response};
use protocol::frame::Codec;

use crate::client::subscription;
use crate::world::World;
use dataplane::net::ConnId;

/// A question of very many tags.
fn check_tags(tags: usize) -> RemotingCommand {
    let mut subscription_data = subscription("T", 1);
    subscription_data.tags_set = (0..tags).map(|at| format!("tag-{at}")).collect();
    let body = CheckClientRequestBody { client_id: "c".into(), subscription_data, ..Default::default() };
    RemotingCommand::request(request::CHECK_CLIENT_CONFIG).body(body.encode())
}

fn queues(ids: std::ops::Range<i32>) -> Vec<MessageQueue> {
    ids.map(|id| MessageQueue::new("T", "broker-a", id)).collect()
}

fn lock(client: &str, ids: std::ops::Range<i32>) -> RemotingCommand {
    let (client_id, consumer_group, mq_set) = (client.into(), "G".into(), queues(ids));
    let body = LockBatchRequestBody { client_id, consumer_group, mq_set, ..Default::default() };
    RemotingCommand::request(request::LOCK_BATCH_MQ).body(body.encode())
}

fn unlock(client: &str, ids: std::ops::Range<i32>) -> RemotingCommand {
    let (client_id, consumer_group, mq_set) = (client.into(), "G".into(), queues(ids));
    let body = UnlockBatchRequestBody { client_id, consumer_group, mq_set, ..Default::default() };
    RemotingCommand::request(request::UNLOCK_BATCH_MQ).body(body.encode())
}

fn topics(names: impl Iterator<Item = String>) -> RemotingCommand {
    let topic = |topic_name| TopicConfig { topic_name, ..TopicConfig::default() };
    let body = CreateTopicListRequestBody { topic_config_list: names.map(topic).collect() };
    RemotingCommand::request(request::UPDATE_AND_CREATE_TOPIC_LIST).body(body.encode())
}

fn groups(names: impl Iterator<Item = String>) -> RemotingCommand {
    let group = |group_name| SubscriptionGroupConfig { group_name, ..SubscriptionGroupConfig::default() };
    let body = SubscriptionGroupList { group_config_list: names.map(group).collect() };
    RemotingCommand::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST).body(body.encode())
}

fn locked(answer: &RemotingCommand) -> usize {
    LockBatchResponseBody::decode(&answer.body).unwrap().lock_ok_mq_set.len()
}

/// Hands bytes over while the cold side does nothing. Returns how often the shard has allocated.
fn feed_alone(world: &mut World, conn: ConnId, bytes: &[u8]) -> u64 {
    let (mut rest, mut allocated) = (bytes, 0);
    while !rest.is_empty() {
        rest = &rest[world.shard.net.feed(conn, rest)..];
        let before = dataplane::alloc::on_this_thread();
        world.turn_alone();
        allocated += dataplane::alloc::on_this_thread() - before;
    }
    allocated
}

/// B-15. Goal: a body of very many values takes the shard no time to speak of. Method: count what it allocates, which reading such a body does for
/// each value, until the answer comes; once warm, and again.
#[test]
fn a_long_body_is_read_beside_the_shard() {
    let mut world = World::new();
    let conn = world.connect();
    for opaque in 0..3 {
        let mut command = check_tags(16_000);
        command.opaque = opaque;
        let mut allocated = feed_alone(&mut world, conn, &command.encode(Codec::Json));
        let mut turns = 0;
        let answer = loop {
            if let Some(answer) = world.next(conn) {
                break answer;
            }
            world.cold_turn();
            let before = dataplane::alloc::on_this_thread();
            world.turn_alone();
            allocated += dataplane::alloc::on_this_thread() - before;
            turns += 1;
            assert!(turns < 100);
        };
        assert_eq!((answer.opaque, answer.code), (opaque, 0), "{answer:?}");
        assert!(allocated < 200, "{allocated} allocations");
    }
}

/// B-15. Goal: what a connection says is done in its order, and others do not wait. Method: a client takes thousands of locks and gives one of them
/// back in the same breath, another one asks for a lock meanwhile, and for that one afterwards.
#[test]
fn requests_behind_a_long_body_wait_for_it() {
    let mut world = World::new();
    let (long, short) = (world.connect(), world.connect());
    let commands = [lock("long", 0..10_000), unlock("long", 7..8), lock("long", 20_000..25_000)];
    let numbered = commands.into_iter().zip(1..).map(|(mut command, opaque)| {
        command.opaque = opaque;
        command.encode(Codec::Json)
    });
    let bytes: Vec<u8> = numbered.flatten().collect();
    let ring = bytes.len().min(100_000);
    feed_alone(&mut world, long, &bytes[..ring]);
    feed_alone(&mut world, short, &lock("short", 0..1).encode(Codec::Json));
    assert_eq!(locked(&world.next(short).unwrap()), 1, "it comes first");
    let (mut rest, mut answers) = (&bytes[ring..], Vec::new());
    for _ in 0..200 {
        rest = &rest[world.shard.net.feed(long, rest)..];
        world.turn();
        answers.extend(std::iter::from_fn(|| world.next(long)));
    }
    // The answers to the long ones are written beside the shard.
    answers.sort_by_key(|answer| answer.opaque);
    assert_eq!(answers.iter().map(|answer| answer.opaque).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((locked(&answers[0]), answers[1].code, locked(&answers[2])), (9_999, 0, 5_000));
    let answer = world.call(short, lock("short", 6..9));
    assert_eq!(locked(&answer), 1, "the one that was given back");
}

/// Hands a request over; returns its answer, the most that a turn of the shard has allocated from when its body had been read, and how many
/// turns there were from then on.
fn follow(world: &mut World, conn: ConnId, command: RemotingCommand) -> (RemotingCommand, u64, usize) {
    let opaque = world.next_opaque();
    feed_alone(world, conn, &RemotingCommand { opaque, ..command }.encode(Codec::Json));
    let mut most = 0;
    for turns in 0..2_000 {
        if let Some(answer) = world.next(conn) {
            assert_eq!(answer.opaque, opaque);
            return (answer, most, turns);
        }
        world.cold_turn();
        let before = dataplane::alloc::on_this_thread();
        world.turn_alone();
        most = most.max(dataplane::alloc::on_this_thread() - before);
    }
    panic!("no answer came");
}

/// B-15. Goal: what a long list sets off is spread over turns, and so is what is said of it. Method: locks, unlocks, topics and groups by the
/// thousand; the most that a turn allocates, of which each item takes several, and how many turns there are.
#[test]
fn what_a_long_list_says_is_done_over_turns() {
    let mut world = World::new();
    let conn = world.connect();
    let mut seen = Vec::new();
    let mut ask = |world: &mut World, command: RemotingCommand| {
        let code = command.code;
        let (answer, most, turns) = follow(world, conn, command);
        assert_eq!(answer.code, 0, "{answer:?}");
        seen.push((code, most, turns));
        answer
    };
    assert_eq!(locked(&ask(&mut world, lock("c", 0..16_000))), 16_000);
    ask(&mut world, unlock("c", 0..15_999));
    assert_eq!(locked(&ask(&mut world, lock("d", 0..16_000))), 15_999, "one is the other's");
    ask(&mut world, topics((0..3_000).map(|at| format!("T{at}"))));
    assert!((0..3_000).all(|at| world.shard.broker.topics.find(&format!("T{at}")).is_some()));
    ask(&mut world, groups((0..2_000).map(|at| format!("G{at}"))));
    assert!((0..2_000).all(|at| world.shard.broker.groups.get(&format!("G{at}")).is_some()));
    assert!(seen.iter().all(|&(_, most, turns)| most < 3_000 && turns > 10), "{seen:?}");
}

/// B-15. Goal: a list is made as a whole or not at all, is made when who sent it has gone, and what its connection says next comes after it.
/// Method: a bad name at the end of thousands; one that is cut off; one with a question about the last of it right behind.
#[test]
fn a_long_list_is_made_as_a_whole() {
    let mut world = World::new();
    let conn = world.connect();
    let names = |prefix: &'static str| (0..2_000).map(move |at| format!("{prefix}{at}"));
    let (answer, ..) = follow(&mut world, conn, topics(names("A").chain(["no topic".into()])));
    assert_eq!(answer.code, response::INVALID_PARAMETER, "{answer:?}");
    let (answer, ..) = follow(&mut world, conn, groups(names("A").chain(["no group".into()])));
    assert_eq!(answer.code, response::INVALID_PARAMETER, "{answer:?}");
    let broker = &world.shard.broker;
    assert!(names("A").all(|name| broker.topics.find(&name).is_none() && broker.groups.get(&name).is_none()));
    let goes = world.connect();
    world.post(goes, topics(names("B")));
    while world.shard.broker.topics.find("B0").is_none() {
        world.turn();
    }
    assert!(world.shard.broker.topics.find("B1999").is_none(), "all in one turn");
    world.disconnect(goes);
    let before = topics(names("C")).encode(Codec::Json);
    let mut behind = RemotingCommand::request(request::GET_TOPIC_CONFIG).field("topic", "C1999");
    behind.opaque = 9;
    feed_alone(&mut world, conn, &[before, behind.encode(Codec::Json)].concat());
    for _ in 0..200 {
        world.turn();
    }
    assert!(names("B").all(|name| world.shard.broker.topics.find(&name).is_some()));
    let answers: Vec<_> = std::iter::from_fn(|| world.next(conn)).collect();
    assert_eq!(
        answers.iter().map(|answer| (answer.opaque, answer.code)).collect::<Vec<_>>(),
        [(0, 0), (9, 0)]
    );
}

/// B-15. Goal: more long bodies than are read at a time are all read, each for who said it, and who leaves meanwhile leaves nothing to who takes
/// its place. Method: many at once, with numbers of their own; half of them go and others come with others.
#[test]
fn many_long_bodies_are_each_their_own() {
    let mut world = World::new();
    let ask = |at: usize| lock(&format!("c{at}"), 1_000 * at as i32..1_000 * at as i32 + 500 + at as i32);
    let mut conns: Vec<(ConnId, usize)> = (0..12).map(|at| (world.connect(), at)).collect();
    for &(conn, at) in &conns {
        feed_alone(&mut world, conn, &ask(at).encode(Codec::Json));
    }
    for (conn, at) in conns.iter_mut().take(6) {
        world.shard.net.reset(*conn);
        world.turn_alone();
        *conn = world.shard.net.connect("127.0.0.1:50208", "127.0.0.2:10911");
        *at += 12;
        feed_alone(&mut world, *conn, &ask(*at).encode(Codec::Json));
    }
    let mut answered = 0;
    for _ in 0..200 {
        world.turn();
        for &(conn, at) in &conns {
            let Some(answer) = world.next(conn) else { continue };
            assert_eq!(locked(&answer), 500 + at, "{at}");
            answered += 1;
        }
    }
    assert_eq!(answered, conns.len());
}
