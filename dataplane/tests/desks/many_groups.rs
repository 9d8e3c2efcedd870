//! Clients in very many groups: what they say and what it sets off is spread over turns, so that nobody else waits for it.

use protocol::RemotingCommand;
use protocol::code::request;
use protocol::frame::Codec;

use dataplane::limits::{BEAT_ITEMS_PER_TURN_MAX, NOTICES_PER_TURN_MAX};
use dataplane::net::ConnId;

use crate::requests::{consumer, heartbeat, subscription};
use crate::world::World;

/// A heartbeat of groups that subscribe one topic each.
fn beat_of(client: &str, ids: std::ops::Range<usize>) -> RemotingCommand {
    let one = |id| consumer(&format!("G{id}"), vec![subscription("T", 1)]);
    heartbeat(client, ids.map(one).collect(), &["PG"])
}

fn groups(world: &World) -> usize {
    world.shard.broker.consumers.groups().count()
}

/// Hands a request over without waiting for its answer; returns its opaque and the most groups that a turn has brought meanwhile.
fn hand_over(world: &mut World, conn: ConnId, mut command: RemotingCommand, opaque: i32) -> usize {
    command.opaque = opaque;
    let bytes = command.encode(Codec::Json);
    let (mut rest, mut most) = (&bytes[..], 0);
    while !rest.is_empty() {
        let before = groups(world);
        rest = &rest[world.shard.net.feed(conn, rest)..];
        world.turn();
        most = most.max(groups(world) - before);
    }
    most
}

/// B-1. Goal: a heartbeat of very many groups holds nobody up, and what it says is done and answered as if it had a few. Method: count what each
/// turn takes; meanwhile another client sends a short one, a third a long one, and the first takes back what it said.
#[test]
fn a_heartbeat_of_many_groups_takes_many_turns() {
    let mut world = World::new();
    let (long, short, other) = (world.connect(), world.connect(), world.connect());
    // The first slice comes with the request, the second when the turn settles.
    let taken_max = 2 * BEAT_ITEMS_PER_TURN_MAX;
    let mut most = hand_over(&mut world, long, beat_of("long", 0..2_000), 1);
    assert!((1..2_000).contains(&groups(&world)), "{} groups at once", groups(&world));
    world.done(short, heartbeat("short", vec![consumer("S", vec![subscription("T", 1)])], &[]));
    assert!(groups(&world) < 2_000, "who has a few does not wait for who has many");
    hand_over(&mut world, other, beat_of("other", 2_000..2_500), 2);
    let goodbye = RemotingCommand::request(request::UNREGISTER_CLIENT)
        .field("clientID", "long")
        .field("consumerGroup", "G1999");
    hand_over(&mut world, long, goodbye, 3);
    for _ in 0..200 {
        let before = groups(&world);
        world.turn();
        most = most.max(groups(&world).saturating_sub(before));
    }
    assert!(most <= taken_max, "{most} groups in one turn");
    let mut answers = Vec::new();
    for _ in 0..50 {
        world.turn();
        for conn in [long, other] {
            let came = std::iter::from_fn(|| world.next(conn)).filter(|command| command.is_response());
            answers.extend(came.map(|answer| (answer.opaque, answer.code)));
        }
    }
    answers.sort_unstable();
    assert_eq!(answers, [(1, 0), (2, 0), (3, 0)]);
    let broker = &world.shard.broker;
    assert!(broker.consumers.group("G1999").is_none(), "taken back after it was said");
    assert!((0..1_999).all(|id| broker.consumers.group(&format!("G{id}")).is_some()));
    assert!((0..2_500).all(|id| broker.topics.find(&format!("%RETRY%G{id}")).is_some()));
    assert_eq!(broker.producers.channels("PG").map(|channels| channels.len()), Some(2));
    hand_over(&mut world, long, beat_of("long", 3_000..5_000), 4);
    world.disconnect(long);
    world.pass(100);
    assert_eq!(groups(&world), 501, "who has gone joins no more groups");
    world.done(short, beat_of("short", 5_000..6_000));
}

/// B-1. Goal: whoever is in a group that changes is told, however many there are, and telling them holds nobody up. Method: members in as many
/// groups as make thousands of notices of one change; count those of each turn, and to whom the last ones go.
#[test]
fn many_members_are_told_over_many_turns() {
    let mut world = World::new();
    let conns: Vec<ConnId> = (0..60).map(|_| world.connect()).collect();
    for (at, &conn) in conns.iter().enumerate() {
        world.done(conn, beat_of(&format!("c{at}"), 0..60));
    }
    world.pass(100);
    for &conn in &conns {
        world.take(conn, request::NOTIFY_CONSUMER_IDS_CHANGED);
    }
    let last = world.connect();
    let mut told = world.shard.outbox.counters.requests;
    hand_over(&mut world, last, beat_of("last", 0..60), 1);
    for _ in 0..100 {
        let now_told = world.shard.outbox.counters.requests;
        assert!(now_told - told <= u64::from(NOTICES_PER_TURN_MAX), "{} in one turn", now_told - told);
        told = now_told;
        world.turn();
    }
    for &conn in conns.iter().chain([&last]) {
        let notices = world.take(conn, request::NOTIFY_CONSUMER_IDS_CHANGED);
        let mut of_groups: Vec<_> = notices.iter().filter_map(|notice| notice.ext("consumerGroup")).collect();
        of_groups.sort_unstable();
        of_groups.dedup();
        assert_eq!(of_groups.len(), 60);
    }
}
