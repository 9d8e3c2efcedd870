//! JSON bodies that take long to read are read beside the shard: others go on meanwhile, and the connection's own requests keep their order.

use protocol::RemotingCommand;
use protocol::body::{
    Body, CheckClientRequestBody, LockBatchRequestBody, LockBatchResponseBody, MessageQueue,
    UnlockBatchRequestBody,
};
use protocol::code::request;
use protocol::frame::Codec;

use crate::requests::subscription;
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
    let unlock = UnlockBatchRequestBody {
        client_id: "long".into(),
        consumer_group: "G".into(),
        mq_set: queues(7..8),
        ..Default::default()
    };
    let unlock = RemotingCommand::request(request::UNLOCK_BATCH_MQ).body(unlock.encode());
    let commands = [lock("long", 0..10_000), unlock, lock("long", 20_000..25_000)];
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
    assert_eq!(answers.iter().map(|answer| answer.opaque).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((locked(&answers[0]), answers[1].code, locked(&answers[2])), (9_999, 0, 5_000));
    let answer = world.call(short, lock("short", 6..9));
    assert_eq!(locked(&answer), 1, "the one that was given back");
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
