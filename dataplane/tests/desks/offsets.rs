//! What groups have committed, and where queues begin, end, or were at a time.

use protocol::RemotingCommand;
use protocol::code::request;

use crate::requests::send;
use crate::world::{Stop, World};
use dataplane::net::ConnId;

fn query(group: &str, topic: &str, queue_id: i32) -> RemotingCommand {
    RemotingCommand::request(request::QUERY_CONSUMER_OFFSET)
        .field("consumerGroup", group)
        .field("topic", topic)
        .field("queueId", queue_id)
}

fn update(group: &str, topic: &str, queue_id: i32, offset: i64) -> RemotingCommand {
    RemotingCommand::request(request::UPDATE_CONSUMER_OFFSET)
        .field("consumerGroup", group)
        .field("topic", topic)
        .field("queueId", queue_id)
        .field("commitOffset", offset)
}

fn on_queue(code: i32, topic: &str, queue_id: i32) -> RemotingCommand {
    RemotingCommand::request(code).field("topic", topic).field("queueId", queue_id)
}

fn number(world: &mut World, conn: ConnId, command: RemotingCommand, name: &str) -> i64 {
    world.done(conn, command).ext(name).unwrap().parse().unwrap()
}

fn search(world: &mut World, conn: ConnId, timestamp: i64, boundary: Option<&str>) -> i64 {
    let mut command = on_queue(request::SEARCH_OFFSET_BY_TIMESTAMP, "T", 0).field("timestamp", timestamp);
    if let Some(boundary) = boundary {
        command = command.field("boundaryType", boundary);
    }
    number(world, conn, command, "offset")
}

/// Goal: a new group starts at 0 on a queue whose first message is still in memory, and is told so otherwise; what it
/// commits survives a clean stop, and a kill from a second later on.
#[test]
fn committed_offsets_survive() {
    let mut world = World::new();
    world.topic("T", 2);
    let conn = world.connect();
    let broker = &mut world.shard.broker;
    broker.groups.find_or_create("G", true, 0, &mut broker.ops).unwrap();
    let answer = world.call(conn, query("G", "T", 0));
    assert_eq!(answer.code, 22, "an empty queue");
    assert_eq!(
        answer.remark.as_deref(),
        Some("Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first")
    );
    world.done(conn, send("T", 0, "", b"x"));
    assert_eq!(number(&mut world, conn, query("G", "T", 0), "offset"), 0);
    let answer = world.call(conn, query("G", "T", 0).field("setZeroIfNotFound", "false"));
    assert_eq!(answer.remark.as_deref(), Some("Not found, do not set to zero, maybe this group boot first"));
    world.done(conn, update("G", "T", 0, 1));
    world.done(conn, update("G", "T", 1, 9));
    world.done(conn, update("G", "T", 1, 3));
    let mut world = world.restart(Stop::Clean);
    let conn = world.connect();
    assert_eq!(number(&mut world, conn, query("G", "T", 0), "offset"), 1);
    assert_eq!(number(&mut world, conn, query("G", "T", 1), "offset"), 3);
    world.done(conn, update("G", "T", 1, 4));
    world.pass(1_100);
    let mut world = world.restart(Stop::Kill);
    let conn = world.connect();
    assert_eq!(number(&mut world, conn, query("G", "T", 1), "offset"), 4);
}

/// Goal: commits for what does not exist are refused with the official remarks.
#[test]
fn commits_for_unknown_names_are_refused() {
    let mut world = World::new();
    world.topic("T", 1);
    let conn = world.connect();
    let broker = &mut world.shard.broker;
    broker.groups.find_or_create("G", true, 0, &mut broker.ops).unwrap();
    for (group, topic, code, remark) in
        [("X", "T", 26, "Group X not exist!"), ("G", "X", 17, "Topic X not exist!")]
    {
        let answer = world.call(conn, update(group, topic, 0, 1));
        assert_eq!((answer.code, answer.remark.as_deref()), (code, Some(remark)));
    }
    let answer = world.call(conn, RemotingCommand::request(request::UPDATE_CONSUMER_OFFSET));
    assert_eq!(answer.code, 1);
}

/// Goal: bounds and store times are right whether the messages are hot, half cold, or all cold but the last.
/// Method: one message a second, each a MiB so that the hot log forgets, and every question after each message.
#[test]
fn times_are_found_hot_and_cold() {
    let mut world = World::new();
    world.topic("T", 1);
    let conn = world.connect();
    assert_eq!(number(&mut world, conn, on_queue(request::GET_MAX_OFFSET, "T", 0), "offset"), 0);
    assert_eq!(number(&mut world, conn, on_queue(request::GET_MIN_OFFSET, "nowhere", 5), "offset"), 0);
    assert_eq!(
        number(&mut world, conn, on_queue(request::GET_EARLIEST_MSG_STORETIME, "T", 0), "timestamp"),
        -1
    );
    assert_eq!(search(&mut world, conn, 0, None), 0);
    let body = vec![b'x'; 1 << 20];
    let mut times = Vec::new();
    for count in 1..=40_i64 {
        world.pass(1_000);
        world.done(conn, send("T", 0, "", &body));
        times.push(dataplane::time::Clock::read(&mut world.clock).wall_ms);
        if count % 8 != 0 {
            continue;
        }
        assert_eq!(number(&mut world, conn, on_queue(request::GET_MAX_OFFSET, "T", 0), "offset"), count);
        assert_eq!(number(&mut world, conn, on_queue(request::GET_MIN_OFFSET, "T", 0), "offset"), 0);
        let earliest = on_queue(request::GET_EARLIEST_MSG_STORETIME, "T", 0);
        assert_eq!(number(&mut world, conn, earliest, "timestamp"), times[0]);
        for (offset, time) in times.iter().enumerate() {
            let offset = offset as i64;
            assert_eq!(search(&mut world, conn, *time, None), offset, "of {count}");
            assert_eq!(search(&mut world, conn, time + 1, None), offset + 1, "of {count}");
            assert_eq!(search(&mut world, conn, *time, Some("UPPER")), offset, "of {count}");
            assert_eq!(search(&mut world, conn, time + 1, Some("upper")), offset, "of {count}");
            assert_eq!(search(&mut world, conn, time - 1, Some("lower")), offset, "of {count}");
        }
        assert_eq!(search(&mut world, conn, 0, None), 0);
        assert_eq!(search(&mut world, conn, 0, Some("upper")), 0);
        assert_eq!(search(&mut world, conn, i64::MAX, None), count);
        assert_eq!(search(&mut world, conn, i64::MAX, Some("upper")), count - 1);
    }
    let store = &world.shard.broker.store;
    assert!(store.hot_start().0 > 8 << 20, "the test made messages cold");
    let answer = world.call(conn, query("NEW", "T", 0));
    assert_eq!(answer.code, 22, "message 0 is not in memory any more");
}

/// B-5. Goal: messages of a clock that was set forward, and back again later, mislead no search by time, whether they are hot, half cold, or all
/// cold; one that ends at them ends at the first. Method: as above, with such a run of messages; no answer may come from the official rule,
/// which believes them.
#[test]
fn times_from_the_future_mislead_no_search() {
    const RUN: std::ops::Range<i64> = 10..22;
    let mut world = World::new();
    world.topic("T", 1);
    let conn = world.connect();
    let body = vec![b'x'; 1 << 20];
    let mut times = Vec::new();
    for count in 1..=60_i64 {
        world.pass(1_000);
        let jump_ms = if RUN.contains(&(count - 1)) { 3_600_000 } else { 0 };
        world.clock.set_wall(jump_ms);
        world.done(conn, send("T", 0, "", &body));
        world.clock.set_wall(-jump_ms);
        world.pass(100);
        let time = dataplane::time::Clock::read(&mut world.clock).wall_ms - 100;
        if jump_ms == 0 {
            times.push((count - 1, time));
        }
        if count % 6 != 0 {
            continue;
        }
        for (_, time) in &times {
            for time in [time - 1, *time, time + 1] {
                let before = times.iter().rev().find(|(_, stored)| *stored < time);
                let lower = before.map_or(0, |(offset, _)| offset + 1);
                assert_eq!(search(&mut world, conn, time, None), lower, "of {count}");
                let until = times.iter().rev().find(|(_, stored)| *stored <= time);
                let upper = until.map_or(0, |(offset, _)| *offset);
                assert_eq!(search(&mut world, conn, time, Some("UPPER")), upper, "of {count}");
            }
        }
        assert_eq!(search(&mut world, conn, i64::MAX, None), count);
    }
    let store = &world.shard.broker.store;
    assert!(store.hot_start().0 > RUN.end << 20, "the run is cold at the end: {}", store.hot_start());
}
