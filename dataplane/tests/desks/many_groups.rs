//! Clients in very many groups: what they say and what it sets off is spread over turns, so that nobody else waits for it.

use protocol::RemotingCommand;
use protocol::code::request;
use protocol::frame::Codec;

use dataplane::limits::{
    LEAVES_PER_TURN_MAX, LEAVING_MAX, LONG_WORK_PER_TURN_MAX, NOTICES_PER_TURN_MAX, SCANNED_PER_TURN_MAX,
};
use dataplane::net::ConnId;

use crate::client::{consumer, heartbeat, subscription};
use crate::requests::send;
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
        most = most.max(groups(world).saturating_sub(before));
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
    let taken_max = 2 * LONG_WORK_PER_TURN_MAX;
    let mut most = hand_over(&mut world, long, beat_of("long", 0..2_000), 1);
    for _ in 0..2 {
        let before = groups(&world);
        world.turn();
        most = most.max(groups(&world) - before);
    }
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

/// How many groups of either kind somebody is in.
fn all_groups(world: &World) -> usize {
    groups(world) + world.shard.broker.producers.groups().count()
}

/// B-1. Goal: a client that goes out of very many groups holds nobody up, and all who stay are told. Method: one in thousands of consumer and
/// producer groups vanishes, by its connection and by its silence; count what each turn takes out, while somebody else sends.
#[test]
fn a_client_leaves_many_groups_over_many_turns() {
    let mut world = World::new();
    world.topic("T", 1);
    let (stays, sends) = (world.connect(), world.connect());
    world.done(stays, beat_of("stays", 0..50));
    let names: Vec<String> = (0..2_000).map(|at| format!("P{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for is_silent in [false, true] {
        let goes = world.connect();
        world.done(goes, beat_of("goes", 0..2_000));
        world.done(goes, heartbeat("goes", vec![], &names));
        assert_eq!(all_groups(&world), 4_001);
        world.take(stays, request::NOTIFY_CONSUMER_IDS_CHANGED);
        if is_silent {
            for _ in 0..12 {
                world.pass(10_000);
                world.done(stays, beat_of("stays", 0..50));
                world.done(sends, send("T", 0, "", b"x"));
                world.take(stays, request::NOTIFY_CONSUMER_IDS_CHANGED);
            }
        } else {
            world.shard.net.reset(goes);
        }
        let mut turns = 0;
        while all_groups(&world) > 51 {
            let before = all_groups(&world);
            if is_silent && before == 4_001 {
                world.pass(5);
            } else {
                world.turn();
            }
            let left = before - all_groups(&world);
            assert!(left <= LEAVES_PER_TURN_MAX, "{left} groups in one turn");
            turns += 1;
            assert!(turns < 5_000, "{before} groups are left");
        }
        assert_eq!(all_groups(&world), 51);
        for _ in 0..10 {
            world.turn();
        }
        let told = world.take(stays, request::NOTIFY_CONSUMER_IDS_CHANGED);
        let mut of_groups: Vec<_> = told.iter().filter_map(|notice| notice.ext("consumerGroup")).collect();
        of_groups.sort_unstable();
        of_groups.dedup();
        assert_eq!(of_groups.len(), 50);
    }
}

/// B-2. Goal: silent clients are looked for without holding anybody up, however many there are, and all are found, and nobody else. Method:
/// more than a turn may look at, some of them in consumer groups, some in producer groups only, fall silent while others do not; count whom each
/// turn drops.
#[test]
fn silent_clients_are_looked_for_over_turns() {
    let mut world = World::new();
    let conns: Vec<ConnId> = (0..600).map(|_| world.connect()).collect();
    let beat = |at: usize| {
        let consumers = if at.is_multiple_of(2) { vec![consumer("G", vec![])] } else { vec![] };
        heartbeat(&format!("c{at}"), consumers, &["P", "Q"])
    };
    for (at, &conn) in conns.iter().enumerate() {
        world.done(conn, beat(at));
    }
    for _ in 0..3 {
        world.pass(39_000);
        for at in (0..conns.len()).step_by(3) {
            world.done(conns[at], beat(at));
        }
    }
    let open = |world: &World| conns.iter().filter(|&&conn| world.shard.net.is_open(conn)).count();
    let mut left = open(&world);
    assert_eq!(left, 600);
    for _ in 0..20_000 {
        world.pass(1);
        let now_left = open(&world);
        assert!(left - now_left <= SCANNED_PER_TURN_MAX, "{} in one turn", left - now_left);
        left = now_left;
    }
    assert_eq!(left, 200);
    assert!((0..conns.len()).all(|at| world.shard.net.is_open(conns[at]) == at.is_multiple_of(3)));
    assert_eq!(world.shard.broker.consumers.group("G").unwrap().members().len(), 100);
    assert_eq!(world.shard.broker.producers.channels("Q").map(|channels| channels.len()), Some(200));
}

/// B-1. Goal: who comes back at once is in all its groups, whatever of its old connection has not left yet. Method: a client in very many groups
/// loses its connection and says the same on the next one, which may take the old one's place, in the turns in which that leaves; twice.
#[test]
fn who_comes_back_is_not_thrown_out_by_who_left() {
    let mut world = World::new();
    let names: Vec<String> = (0..2_000).map(|at| format!("P{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut conn = world.connect();
    world.done(conn, beat_of("c", 0..2_000));
    world.done(conn, heartbeat("c", vec![], &names));
    for _ in 0..2 {
        let old = conn;
        world.shard.net.reset(old);
        conn = world.shard.net.connect("127.0.0.1:50207", "127.0.0.2:10911");
        hand_over(&mut world, conn, beat_of("c", 0..2_000), 1);
        let of =
            |world: &World, conn| world.shard.broker.consumers.groups_of(conn).map_or(0, |all| all.len());
        for _ in 0..2 {
            world.turn();
        }
        let (left, joined) = (of(&world, old), of(&world, conn));
        assert!(left > 0 && joined > 0, "{left} to leave, {joined} joined");
        world.done(conn, heartbeat("c", vec![], &names));
        for _ in 0..100 {
            world.turn();
        }
        assert_eq!((of(&world, old), of(&world, conn)), (0, 2_000));
        let broker = &world.shard.broker;
        for id in 0..2_000 {
            let group = broker.consumers.group(&format!("G{id}")).unwrap();
            assert_eq!(group.members().iter().map(|member| member.conn).collect::<Vec<_>>(), [conn]);
            let channels = broker.producers.channels(&format!("P{id}")).unwrap();
            assert_eq!(channels.iter().map(|channel| channel.conn).collect::<Vec<_>>(), [conn]);
        }
        assert_eq!(broker.producers.channel_of_client("c"), Some(conn));
    }
}

/// B-1. Goal: nobody joins faster than others leave, so that those who have gone do not gather. Method: as many clients as may be leaving go at
/// once; one that comes then joins when the first of them have left.
#[test]
fn joining_waits_for_those_who_leave() {
    let mut world = World::new();
    let conns: Vec<ConnId> = (0..LEAVING_MAX).map(|_| world.connect()).collect();
    for (at, &conn) in conns.iter().enumerate() {
        world.done(conn, beat_of(&format!("c{at}"), 3 * at..3 * at + 3));
    }
    let late = world.connect();
    conns.iter().for_each(|&conn| world.shard.net.reset(conn));
    let mut joined_after = 0;
    let mut beat = beat_of("late", 0..1);
    beat.opaque = 1;
    let bytes = beat.encode(Codec::Json);
    assert_eq!(world.shard.net.feed(late, &bytes), bytes.len());
    while world.shard.broker.consumers.groups_of(late).is_none() {
        world.turn();
        joined_after += 1;
        assert!(joined_after < 100);
    }
    assert!(
        joined_after > 1 && groups(&world) > 10_000,
        "after {joined_after} turns, {} groups",
        groups(&world)
    );
    for _ in 0..200 {
        world.turn();
    }
    assert_eq!(groups(&world), 1);
}
