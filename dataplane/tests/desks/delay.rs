//! Delayed messages: delivered once, at their time, over stops and kills.

use crate::client::{Message, props, read};
use crate::requests::send;
use crate::world::{Stop, World};
use dataplane::net::ConnId;

fn delayed(level: i32, body: &[u8]) -> protocol::RemotingCommand {
    send("T", 0, &props(&[("DELAY", &level.to_string()), ("TAGS", "TagDelay"), ("WAIT", "true")]), body)
}

fn bodies(world: &mut World, conn: ConnId) -> Vec<String> {
    read(world, conn, "T", 0, 0).into_iter().map(|m| String::from_utf8(m.body).unwrap()).collect()
}

/// Goal: each message comes at its level's time, not before, whatever the order in which they were sent.
#[test]
fn messages_come_at_their_time() {
    let mut world = World::new();
    world.topic("T", 1);
    let conn = world.connect();
    for (level, body) in [(3, "10 s"), (1, "1 s"), (2, "5 s"), (1, "1 s too"), (99, "2 h"), (-5, "now")] {
        world.done(conn, delayed(level, body.as_bytes()));
    }
    assert_eq!(bodies(&mut world, conn), ["now"]);
    world.pass(900);
    assert_eq!(bodies(&mut world, conn), ["now"]);
    world.pass(200);
    assert_eq!(bodies(&mut world, conn), ["now", "1 s", "1 s too"]);
    world.pass(4_000);
    assert_eq!(bodies(&mut world, conn), ["now", "1 s", "1 s too", "5 s"]);
    world.pass(5_000);
    assert_eq!(bodies(&mut world, conn).last().unwrap(), "10 s");
    for _ in 0..100 {
        world.pass(71_000);
    }
    let conn = world.connect();
    assert_eq!(bodies(&mut world, conn).len(), 5);
    world.pass(100_200);
    assert_eq!(bodies(&mut world, conn).last().unwrap(), "2 h");
    let last = read(&mut world, conn, "T", 0, 5).remove(0);
    assert_eq!(last.property("DELAY"), Some("18"), "a level above the last is the last");
}

/// Goal: the delivered message is the stored one under its real name: same properties, birth and body; its entry bears the
/// tag again, so that tag filters find it.
#[test]
fn a_delivered_message_is_as_it_was_sent() {
    let mut world = World::new();
    world.topic("T", 1);
    let conn = world.connect();
    world.done(conn, delayed(1, b"late"));
    world.pass(1_100);
    let message: Message = read(&mut world, conn, "T", 0, 0).remove(0);
    assert_eq!((message.flag, message.sys_flag, message.reconsume_times), (7, 0, 0));
    assert_eq!(message.born_timestamp, 1_700_000_000_000);
    for (name, value) in
        [("DELAY", "1"), ("REAL_TOPIC", "T"), ("REAL_QID", "0"), ("TAGS", "TagDelay"), ("WAIT", "true")]
    {
        assert_eq!(message.property(name), Some(value), "{name}");
    }
    let broker = &world.shard.broker;
    let queue = broker.store.find_queue("T", 0).unwrap();
    let store::UnitAt::Hot(unit) = broker.store.unit(queue, store::QueueOffset(0)) else { panic!() };
    assert_eq!(unit.tags_code, protocol::hash::tags_code("TagDelay"));
}

/// Goal: nothing is lost and nothing comes early over a stop or a kill, and a clean stop repeats nothing.
#[test]
fn delays_go_on_after_a_restart() {
    for stop in [Stop::Clean, Stop::Kill] {
        let mut world = World::new();
        world.topic("T", 1);
        let mut conn = world.connect();
        for number in 0..20 {
            world.done(conn, delayed(1, format!("a{number}").as_bytes()));
            world.done(conn, delayed(2, format!("b{number}").as_bytes()));
            world.pass(100);
        }
        world = world.restart(stop);
        conn = world.connect();
        assert!(bodies(&mut world, conn).iter().all(|body| body.starts_with('a')));
        world.pass(6_000);
        let mut found = bodies(&mut world, conn);
        if stop == Stop::Clean {
            assert_eq!(found.len(), 40, "nothing twice");
        }
        found.sort();
        found.dedup();
        assert_eq!(found.len(), 40);
        world = world.restart(stop);
        conn = world.connect();
        world.pass(6_000);
        if stop == Stop::Clean {
            assert_eq!(bodies(&mut world, conn).len(), 40);
        }
    }
}

/// Goal: messages that became cold while they waited are delivered from the files, in order.
#[test]
fn cold_messages_are_delivered_too() {
    let mut world = World::new();
    world.topic("T", 1);
    world.topic("OTHER", 1);
    let conn = world.connect();
    for number in 0..100 {
        world.done(conn, delayed(2, format!("m{number:03}").as_bytes()));
    }
    for _ in 0..40 {
        world.done(conn, send("OTHER", 0, "", &vec![b'x'; 1 << 20]));
        world.pass(20);
    }
    assert!(world.shard.broker.store.hot_start().0 > 1 << 20, "the test made them cold");
    world.pass(5_000);
    let expected: Vec<_> = (0..100).map(|number| format!("m{number:03}")).collect();
    assert_eq!(bodies(&mut world, conn), expected);
}

/// Goal: a burst larger than a turn's bound comes whole, and a topic that was deleted meanwhile stops nothing.
#[test]
fn a_burst_and_a_deleted_topic() {
    let mut world = World::new();
    world.topic("T", 1);
    world.topic("GONE", 1);
    let conn = world.connect();
    world.done(conn, send("GONE", 0, &props(&[("DELAY", "1")]), b"x"));
    for number in 0..500 {
        world.done(conn, delayed(1, number.to_string().as_bytes()));
    }
    let broker = &mut world.shard.broker;
    broker.topics.remove("GONE", 0, &mut broker.ops);
    world.pass(1_500);
    assert_eq!(bodies(&mut world, conn).len(), 500);
}
