//! Messages that come again, and those that are given up.

use protocol::RemotingCommand;
use protocol::code::request;

use crate::client::{Message, props, read};
use crate::requests::send;
use crate::world::{Stop, World};
use dataplane::net::ConnId;

fn send_back(message: &Message, level: i32, max: i32) -> RemotingCommand {
    let mut command = RemotingCommand::request(request::CONSUMER_SEND_MSG_BACK)
        .field("offset", message.physical_offset)
        .field("group", "G")
        .field("delayLevel", level)
        .field("originMsgId", "m")
        .field("originTopic", "T")
        .field("unitMode", "false")
        .field("maxReconsumeTimes", max);
    command.version = 409;
    command
}

fn one(world: &mut World, conn: ConnId, topic: &str) -> Vec<Message> {
    read(world, conn, topic, 0, 0)
}

/// Goal: a message goes through its retries to the dead letters, each at its time, with everything it bore.
/// Method: send one back until it is given up after two retries, over a kill in the middle.
#[test]
fn a_message_is_retried_and_then_given_up() {
    let mut world = World::new();
    world.topic("T", 1);
    let mut conn = world.connect();
    world.done(conn, send("T", 0, &props(&[("TAGS", "TagB"), ("KEYS", "k3"), ("WAIT", "true")]), b"body"));
    let original = one(&mut world, conn, "T").remove(0);
    world.done(conn, send_back(&original, 0, 2));
    let retry = "%RETRY%G";
    assert_eq!(one(&mut world, conn, retry), []);
    world.pass(9_900);
    assert_eq!(one(&mut world, conn, retry), [], "10 s are not over");
    world.pass(300);
    let first = one(&mut world, conn, retry).remove(0);
    assert_eq!(
        (first.body.as_slice(), first.flag, first.born_timestamp),
        (&b"body"[..], 7, 1_700_000_000_000)
    );
    assert_eq!((first.reconsume_times, first.queue_id), (1, 0));
    let origin = format!("7F00000200007923{:016X}", original.physical_offset);
    for (name, value) in [
        ("RETRY_TOPIC", "T"),
        ("ORIGIN_MESSAGE_ID", origin.as_str()),
        ("DELAY", "3"),
        ("WAIT", "false"),
        ("REAL_TOPIC", retry),
        ("REAL_QID", "0"),
        ("TAGS", "TagB"),
        ("KEYS", "k3"),
        ("UNIQ_KEY", original.property("UNIQ_KEY").unwrap()),
        ("CLUSTER", "DefaultCluster"),
    ] {
        assert_eq!(first.property(name), Some(value), "{name}");
    }
    assert_eq!(first.properties.len(), original.properties.len() + 5);
    world.done(conn, send_back(&first, 1, 2));
    world.pass(200);
    world = world.restart(Stop::Kill);
    conn = world.connect();
    world.pass(1_000);
    let second = read(&mut world, conn, retry, 0, 1).remove(0);
    assert_eq!((second.reconsume_times, second.property("DELAY")), (2, Some("1")));
    assert_eq!(second.property("ORIGIN_MESSAGE_ID"), Some(origin.as_str()), "the first one's");
    assert_eq!(second.property("RETRY_TOPIC"), Some("T"));
    world.done(conn, send_back(&second, 0, 2));
    let dead = one(&mut world, conn, "%DLQ%G").remove(0);
    assert_eq!((dead.reconsume_times, dead.property("DELAY"), dead.queue_id), (3, Some("0"), 0));
    assert_eq!(dead.body, b"body");
    world.pass(60_000);
    assert_eq!(one(&mut world, conn, retry).len(), 2, "nothing more");
    let topic = &world.kept.topics.topic_config_table["%DLQ%G"];
    assert_eq!((topic.read_queue_nums, topic.perm), (1, 6));
}

/// Goal: a level below 0 gives up at once; the group's own limit counts for clients that name none.
#[test]
fn a_consumer_may_give_up_at_once() {
    let mut world = World::new();
    world.topic("T", 1);
    let conn = world.connect();
    world.done(conn, send("T", 0, "", b"x"));
    let original = one(&mut world, conn, "T").remove(0);
    world.done(conn, send_back(&original, -1, 16));
    assert_eq!(one(&mut world, conn, "%DLQ%G").len(), 1);
    let mut config = (**world.shard.broker.groups.get("G").unwrap()).clone();
    config.retry_max_times = 0;
    let broker = &mut world.shard.broker;
    broker.groups.put(config, 0, &mut broker.ops);
    let mut command = send_back(&original, 0, 0);
    command.ext_fields.retain(|(name, _)| name != "maxReconsumeTimes");
    world.done(conn, command);
    assert_eq!(one(&mut world, conn, "%DLQ%G").len(), 2);
}

/// Goal: what cannot be retried is refused with the official answers.
#[test]
fn bad_send_backs_are_refused() {
    let mut world = World::new();
    world.topic("T", 1);
    let conn = world.connect();
    world.done(conn, send("T", 0, "", b"x"));
    world.done(conn, send("T", 0, "", b"y"));
    let message = one(&mut world, conn, "T").remove(1);
    for offset in [message.physical_offset + 1, -1, 55_555_555, i64::MAX] {
        let wrong = Message { physical_offset: offset, ..message.clone() };
        let answer = world.call(conn, send_back(&wrong, 0, 16));
        let remark = format!("look message by offset failed, {offset}");
        assert_eq!((answer.code, answer.remark), (1, Some(remark)));
    }
    let mut bad_group = send_back(&message, 0, 16);
    for (name, value) in &mut bad_group.ext_fields {
        if name == "group" {
            *value = "no such group".into();
        }
    }
    assert_eq!(world.call(conn, bad_group).code, 26);
    let broker = &mut world.shard.broker;
    let mut topic = (**broker.topics.config("%RETRY%G").unwrap()).clone();
    topic.perm = 4;
    broker.topics.put(topic, 0, &mut broker.ops);
    let answer = world.call(conn, send_back(&message, 0, 16));
    assert_eq!(
        (answer.code, answer.remark.as_deref()),
        (16, Some("the topic[%RETRY%G] sending message is forbidden"))
    );
    let mut config = (**world.shard.broker.groups.get("G").unwrap()).clone();
    config.retry_queue_nums = 0;
    let broker = &mut world.shard.broker;
    broker.groups.put(config, 0, &mut broker.ops);
    world.done(conn, send_back(&message, 0, 16));
    assert_eq!(one(&mut world, conn, "%RETRY%G"), []);
}

/// Goal: an original that has left the hot log is found by the cold thread.
#[test]
fn an_old_message_is_retried_from_the_files() {
    let mut world = World::new();
    world.topic("T", 1);
    let conn = world.connect();
    world.done(conn, send("T", 0, "", b"old"));
    let original = one(&mut world, conn, "T").remove(0);
    for _ in 0..40 {
        world.done(conn, send("T", 0, "", &vec![b'x'; 1 << 20]));
        world.pass(20);
    }
    assert!(world.shard.broker.store.hot_start().0 > original.physical_offset);
    world.done(conn, send_back(&original, 1, 16));
    world.pass(1_200);
    assert_eq!(one(&mut world, conn, "%RETRY%G")[0].body, b"old");
    let wrong = Message { physical_offset: original.physical_offset + 1, ..original };
    assert_eq!(world.call(conn, send_back(&wrong, 0, 16)).code, 1);
}
