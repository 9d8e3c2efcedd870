//! Pulls: what is found, what waits, what wakes it, and what happens when the log has moved on.

use dataplane::broker::group_config::GroupConfig;
use dataplane::broker::topic_config::TopicConfig;
use dataplane::config::{Config, Permission};
use dataplane::limits::{HOLDS_PER_TURN_MAX, PULL_UNITS_MIN, REQUESTS_PER_TURN_MAX};
use dataplane::net::ConnId;
use dataplane::time::Clock;
use protocol::RemotingCommand;
use protocol::code::request;
use protocol::frame::Codec;
use protocol::record::RecordView;

use crate::requests::{pull, send, set};
use crate::world::{Settings, World};

/// The bodies of an answer's records.
fn bodies(answer: &RemotingCommand) -> Vec<String> {
    let mut rest = &answer.body[..];
    let mut bodies = Vec::new();
    while !rest.is_empty() {
        let record = RecordView::parse(rest).unwrap();
        assert!(record.crc_holds());
        bodies.push(String::from_utf8_lossy(record.body).into_owned());
        rest = &rest[record.bytes.len()..];
    }
    bodies
}

fn fill(world: &mut World, conn: ConnId, queue_id: i32, bodies: &[&str], tag: &str) {
    let list = if tag.is_empty() { String::new() } else { format!("TAGS\u{1}{tag}\u{2}") };
    for body in bodies {
        assert_eq!(world.call(conn, send("T", queue_id, &list, body.as_bytes())).code, 0);
    }
}

fn status(answer: &RemotingCommand) -> (i32, &str, &str) {
    (answer.code, answer.remark.as_deref().unwrap(), answer.ext("nextBeginOffset").unwrap())
}

/// Goal: records come in queue order, whole, whatever lies between them in the log. Method: two queues interleaved.
#[test]
fn records_come_in_queue_order() {
    let mut world = World::new();
    world.topic("T", 2);
    let conn = world.connect();
    for round in 0..10 {
        fill(&mut world, conn, 0, &[&format!("a{round}")], "");
        fill(&mut world, conn, 1, &[&format!("b{round}")], "");
    }
    for codec in [Codec::Json, Codec::Binary] {
        let answer = world.call_as(conn, pull("T", 1, 3), codec);
        assert_eq!(status(&answer), (0, "FOUND", "10"));
        assert_eq!(bodies(&answer), ["b3", "b4", "b5", "b6", "b7", "b8", "b9"]);
        assert_eq!((answer.ext("minOffset"), answer.ext("maxOffset")), (Some("0"), Some("10")));
    }
}

/// Goal: each limit ends an answer where the official broker ends it; the first record passes whatever its size.
#[test]
fn an_answer_ends_at_its_limits() {
    let mut world = World::new();
    world.topic("T", 4);
    let conn = world.connect();
    let big = "x".repeat(100_000);
    fill(&mut world, conn, 0, &[&big, &big, &big, &big], "");
    for _ in 0..40 {
        fill(&mut world, conn, 1, &["m"], "");
    }
    let next =
        |world: &mut World, command| world.call(conn, command).ext("nextBeginOffset").unwrap().to_string();
    assert_eq!(next(&mut world, pull("T", 0, 0)), "2"); // 256 KiB.
    assert_eq!(next(&mut world, pull("T", 0, 0).field("maxMsgBytes", 1000)), "1");
    assert_eq!(next(&mut world, pull("T", 1, 0)), "32");
    assert_eq!(next(&mut world, set(pull("T", 1, 0), "maxMsgNums", 1000)), "32");
    assert_eq!(next(&mut world, set(pull("T", 1, 0), "maxMsgNums", 5)), "5");
    assert_eq!(next(&mut world, set(pull("T", 1, 0), "maxMsgNums", 0)), "1");
    assert_eq!(next(&mut world, set(pull("T", 1, 0), "maxMsgNums", -3)), "1");
}

/// Goal: tags select by hash; a scan that finds nothing says how far it looked, and looks no further than its limit.
#[test]
fn tags_select() {
    let mut world = World::new();
    world.topic("T", 2);
    let conn = world.connect();
    fill(&mut world, conn, 0, &["1", "2"], "TagA");
    fill(&mut world, conn, 0, &["3"], "TagB");
    fill(&mut world, conn, 0, &["4"], "");
    fill(&mut world, conn, 0, &["5"], "TagA");
    let by = |tags: &str| set(pull("T", 0, 0), "subscription", tags);
    assert_eq!(bodies(&world.call(conn, by("TagA"))), ["1", "2", "5"]);
    assert_eq!(bodies(&world.call(conn, by("TagB || TagC"))), ["3"]);
    assert_eq!(status(&world.call(conn, by("TagC"))), (20, "NO_MATCHED_MESSAGE", "5"));
    let refused = world.call(conn, by("||"));
    assert_eq!(
        (refused.code, refused.remark.as_deref()),
        (23, Some("parse the consumer's subscription failed"))
    );
    for _ in 0..PULL_UNITS_MIN + 100 {
        world.post(conn, send("T", 1, "TAGS\u{1}TagB\u{2}", b"m").oneway(), Codec::Json);
        world.turn();
    }
    let scan = set(pull("T", 1, 0), "subscription", "TagA");
    assert_eq!(
        status(&world.call(conn, scan)),
        (20, "NO_MATCHED_MESSAGE", PULL_UNITS_MIN.to_string().as_str())
    );
}

/// Goal: offsets outside the queue are told where to go on.
#[test]
fn offsets_outside_are_moved() {
    let mut world = World::new();
    world.topic("T", 2);
    let conn = world.connect();
    fill(&mut world, conn, 0, &["1", "2", "3"], "");
    for (queue_id, offset, expected) in [
        (0, 3, (19, "OFFSET_OVERFLOW_ONE", "3")),
        (0, 4, (21, "OFFSET_OVERFLOW_BADLY", "3")),
        (0, i64::MAX, (21, "OFFSET_OVERFLOW_BADLY", "3")),
        (0, -1, (21, "OFFSET_TOO_SMALL", "0")),
        (0, i64::MIN, (21, "OFFSET_TOO_SMALL", "0")),
        (1, 0, (19, "NO_MESSAGE_IN_QUEUE", "0")),
        (1, 9, (21, "NO_MESSAGE_IN_QUEUE", "0")),
    ] {
        assert_eq!(status(&world.call(conn, pull("T", queue_id, offset))), expected);
    }
}

/// Goal: rights are looked at in the official order, each with its forbiddenType. Method: take them all away, give them
/// back one by one.
#[test]
fn rights_are_checked_in_order() {
    let mut world = World::new();
    let conn = world.connect();
    let now_ms = world.clock.read().wall_ms;
    let broker = &mut world.shard.broker;
    broker.topics.put(TopicConfig::new("T", 1, 2), now_ms, &mut broker.ops);
    let group = GroupConfig { consume_enable: false, ..GroupConfig::new("CGx") };
    broker.groups.put(group, now_ms, &mut broker.ops);
    broker.config.broker_permission = Permission(2);
    broker.config.lite_pull_message_enable = false;
    let mut lite = pull("T", 0, 0);
    lite.code = request::LITE_PULL_MESSAGE;
    let refused = |world: &mut World, kind: &str, remark: &str| {
        let answer = world.call(conn, lite.clone());
        assert_eq!(
            (answer.code, answer.remark.as_deref(), answer.ext("forbiddenType")),
            (16, Some(remark), Some(kind))
        );
    };
    refused(&mut world, "1", "the broker[127.0.0.2] pulling message is forbidden");
    world.shard.broker.config.broker_permission = Permission(6);
    refused(&mut world, "1", "the broker[127.0.0.2] for lite pull consumer is forbidden");
    world.shard.broker.config.lite_pull_message_enable = true;
    refused(&mut world, "2", "subscription group no permission, CGx");
    let broker = &mut world.shard.broker;
    broker.groups.put(GroupConfig::new("CGx"), now_ms, &mut broker.ops);
    refused(&mut world, "3", "the topic[T] pulling message is forbidden");
    let broker = &mut world.shard.broker;
    broker.topics.put(TopicConfig::new("T", 1, 6), now_ms, &mut broker.ops);
    assert_eq!(world.call(conn, lite.clone()).code, 19);
    let bad_group = set(pull("T", 0, 0), "consumerGroup", "a b");
    let answer = world.call(conn, bad_group);
    assert_eq!(answer.code, 26);
    assert!(answer.remark.unwrap().starts_with("subscription group [a b] does not exist, \nSee "));
}

/// Goal: the VIP port serves everything but pulls.
#[test]
fn the_vip_port_serves_no_pulls() {
    let mut world = World::new();
    world.topic("T", 1);
    let conn = world.connect_to(10_909);
    fill(&mut world, conn, 0, &["1"], "");
    let answer = world.call(conn, pull("T", 0, 0));
    assert_eq!((answer.code, answer.remark.as_deref()), (3, Some(" request type 11 not supported")));
}

/// A pull that waits up to 15 s.
fn waiting(queue_id: i32, offset: i64) -> RemotingCommand {
    set(set(pull("T", queue_id, offset), "sysFlag", 6), "suspendTimeoutMillis", 15_000)
}

/// Goal: a held pull is answered by the append itself, in the same turn, with all that has come.
#[test]
fn a_held_pull_is_woken_by_the_append() {
    let mut world = World::new();
    world.topic("T", 2);
    let (producer, consumer) = (world.connect(), world.connect());
    let opaque = world.post(consumer, waiting(0, 0), Codec::Binary);
    world.pass(1_000);
    assert_eq!(world.next(consumer), None);
    fill(&mut world, producer, 1, &["other queue"], "");
    assert_eq!(world.next(consumer), None);
    for body in ["one", "two"] {
        world.post(producer, send("T", 0, "", body.as_bytes()), Codec::Json);
    }
    world.turn();
    let woken = world.next(consumer).expect("in the turn of the append");
    assert_eq!((woken.opaque, status(&woken)), (opaque, (0, "FOUND", "2")));
    assert_eq!(bodies(&woken), ["one", "two"]);
    assert!(world.shard.broker.holds.is_empty());
}

/// Goal: messages that do not match leave a held pull alone; one that does wakes it, with what the filter lets through.
#[test]
fn a_held_pull_waits_for_its_tag() {
    let mut world = World::new();
    world.topic("T", 1);
    let (producer, consumer) = (world.connect(), world.connect());
    world.post(consumer, set(waiting(0, 0), "subscription", "TagA"), Codec::Json);
    world.turn();
    fill(&mut world, producer, 0, &["1", "2"], "TagB");
    world.pass(100);
    assert_eq!(world.next(consumer), None);
    fill(&mut world, producer, 0, &["3"], "TagA");
    world.turn();
    let woken = world.next(consumer).unwrap();
    assert_eq!((status(&woken), bodies(&woken)), ((0, "FOUND", "3"), vec!["3".to_string()]));
}

/// Goal: without a message a hold ends at its deadline, not before and hardly after; an immediate deadline too.
#[test]
fn a_hold_ends_at_its_deadline() {
    let mut world = World::new();
    world.topic("T", 1);
    let conn = world.connect();
    for suspend_ms in [15_000, 100, 0, -5] {
        world.post(conn, set(waiting(0, 0), "suspendTimeoutMillis", suspend_ms), Codec::Json);
        let mut waited = 0;
        let answer = loop {
            world.pass(1);
            waited += 1;
            if let Some(answer) = world.next(conn) {
                break answer;
            }
        };
        assert_eq!(status(&answer), (19, "NO_MESSAGE_IN_QUEUE", "0"));
        assert!((suspend_ms..suspend_ms.max(0) + 140).contains(&waited), "{waited} ms for {suspend_ms}");
    }
}

/// Goal: a pull that runs again goes through all checks and never waits again.
#[test]
fn a_woken_pull_is_checked_again() {
    let mut world = World::new();
    world.topic("T", 1);
    let (producer, consumer) = (world.connect(), world.connect());
    world.post(consumer, waiting(0, 0), Codec::Json);
    world.turn();
    let (broker, now_ms) = (&mut world.shard.broker, world.clock.read().wall_ms);
    broker.topics.put(TopicConfig::new("T", 1, 2), now_ms, &mut broker.ops);
    fill(&mut world, producer, 0, &["1"], "");
    world.turn();
    assert_eq!(world.next(consumer).unwrap().code, 16);
}

/// Goal: the holds of a closed connection vanish; others on the same queue stay. Method: three holds, one peer leaves.
#[test]
fn holds_of_closed_connections_vanish() {
    let mut world = World::new();
    world.topic("T", 1);
    let (producer, leaves, stays) = (world.connect(), world.connect(), world.connect());
    for conn in [leaves, stays, leaves] {
        world.post(conn, waiting(0, 0), Codec::Json);
        world.turn();
    }
    assert_eq!(world.shard.broker.holds.len(), 3);
    world.shard.net.reset(leaves);
    world.turn();
    assert_eq!(world.shard.broker.holds.len(), 1);
    fill(&mut world, producer, 0, &["1"], "");
    world.turn();
    assert_eq!(world.next(stays).unwrap().code, 0);
    world.pass(20_000);
}

/// Goal: longPollingEnable=false holds for shortPollingTimeMills, whatever the client asks for.
#[test]
fn short_polling_holds_for_a_second() {
    let config = Config { long_polling_enable: false, ..Settings::default().config };
    let mut world = World::with(Settings { config, ..Settings::default() });
    world.topic("T", 1);
    let conn = world.connect();
    world.post(conn, waiting(0, 0), Codec::Json);
    world.pass(990);
    assert_eq!(world.next(conn), None);
    world.pass(100);
    assert_eq!(world.next(conn).unwrap().code, 19);
}

/// Goal: commitOffset is stored when its flag is set, on the first try only, whatever the outcome; a reset that waits is
/// told once.
#[test]
fn pulls_commit_and_learn_of_resets() {
    let mut world = World::new();
    world.topic("T", 1);
    let conn = world.connect();
    fill(&mut world, conn, 0, &["1", "2", "3"], "");
    let committing = |offset: i64, commit: i64, flags: i32| {
        set(set(pull("T", 0, offset), "sysFlag", flags), "commitOffset", commit)
    };
    let committed = |world: &World| world.shard.broker.offsets.committed("CGx", "T", 0);
    world.call(conn, committing(1, 1, 4));
    assert_eq!(committed(&world), None);
    world.call(conn, committing(1, 1, 5));
    assert_eq!(committed(&world), Some(1));
    world.call(conn, committing(500, 2, 5));
    assert_eq!(committed(&world), Some(2));
    world.shard.broker.offsets.reset("CGx", "T", 0, 1).unwrap();
    let told = world.call(conn, committing(3, 3, 7));
    assert_eq!(status(&told), (21, "OFFSET_RESET", "1"));
    assert_eq!(committed(&world), Some(1));
    assert_eq!(status(&world.call(conn, pull("T", 0, 1))).0, 0);
}

/// A store whose hot log holds little.
fn small() -> Settings {
    let mut settings = Settings::default();
    settings.store.hot_bytes = 8 << 20;
    settings
}

/// Goal: what has left the hot log is read by the cold thread, the first time with the limits for the disk, then, read ahead, with
/// those for memory, until the hot log takes over. Method: write four times what the hot log holds, then read all of it.
#[test]
fn old_messages_come_from_the_files() {
    let mut world = World::with(small());
    world.topic("T", 1);
    let conn = world.connect();
    let count = 8_000;
    for number in 0..count {
        let body = format!("{number:04000}");
        let tag = if number % 2 == 0 { "TAGS\u{1}TagA\u{2}" } else { "TAGS\u{1}TagB\u{2}" };
        world.post(conn, send("T", 0, tag, body.as_bytes()).oneway(), Codec::Binary);
        world.turn();
    }
    world.pass(2_000);
    for tags in ["*", "TagA"] {
        let (mut offset, mut seen, mut answers) = (0, Vec::new(), 0);
        while offset < count {
            let answer = world.call(conn, set(pull("T", 0, offset), "subscription", tags));
            assert!([0, 20].contains(&answer.code), "{answer:?}");
            let records = bodies(&answer);
            if tags == "*" && answers < 3 {
                assert_eq!(records.len(), [8, 32, 32][answers as usize]);
            }
            seen.extend(records.iter().map(|body| body.parse::<i64>().unwrap()));
            offset = answer.ext("nextBeginOffset").unwrap().parse().unwrap();
            answers += 1;
        }
        let step = if tags == "*" { 1 } else { 2 };
        assert_eq!(seen, (0..count).step_by(step).collect::<Vec<_>>());
        assert!(answers > count / 64, "{answers}");
    }
    assert!(world.shard.broker.counters.cold_pulls > 100);
}

/// Goal: consumers that are behind together do not fill a turn that others wait for. Method: four ask at once for more than a turn's bytes
/// each; one is answered in each turn.
#[test]
fn large_old_answers_take_a_turn_each() {
    let mut world = World::with(small());
    world.topic("T", 4);
    let conns: Vec<_> = (0..4).map(|_| world.connect()).collect();
    for number in 0..4_000 {
        let body = format!("{number:04000}");
        world.post(conns[0], send("T", number % 4, "", body.as_bytes()).oneway(), Codec::Binary);
        world.turn();
    }
    world.pass(2_000);
    for (queue_id, conn) in (0..).zip(&conns) {
        world.post(*conn, pull("T", queue_id, 0), Codec::Binary);
    }
    let mut turns_with_answers = 0;
    for _ in 0..100 {
        let before = world.shard.outbox.counters.replies;
        world.turn();
        let answered = world.shard.outbox.counters.replies - before;
        assert!(answered <= 1, "{answered} in one turn");
        turns_with_answers += answered;
    }
    assert_eq!(turns_with_answers, 4);
}

/// Goal: what lies in memory that all readers share reaches a reader whole, in however many pieces he takes it. Method: two queues mixed,
/// so that no two records of a queue lie side by side; a send ring that takes a part of a record at a time, and one that takes all.
#[test]
fn shared_memory_leaves_in_pieces() {
    for tx_ring_bytes in [3_000, 1 << 20] {
        let mut world = World::with(Settings { tx_ring_bytes, ..small() });
        world.topic("T", 2);
        let conn = world.connect();
        let count = 3_000;
        for number in 0..count {
            let body = format!("{number:04000}");
            for queue_id in 0..2 {
                world.post(conn, send("T", queue_id, "", body.as_bytes()).oneway(), Codec::Binary);
                world.turn();
            }
        }
        world.pass(2_000);
        let (mut offset, mut seen) = ([0, 0], [Vec::new(), Vec::new()]);
        while offset.iter().any(|offset| *offset < count) {
            // Both at once: the second answer waits behind the first.
            for queue_id in 0..2 {
                world.post(conn, pull("T", queue_id, offset[queue_id as usize]), Codec::Binary);
            }
            for _ in 0..2 {
                let answer = loop {
                    match world.next(conn) {
                        Some(answer) => break answer,
                        None => world.pass(1),
                    }
                };
                let records = bodies(&answer);
                let next = answer.ext("nextBeginOffset").unwrap().parse::<i64>().unwrap();
                let queue = (0..2).find(|queue| offset[*queue] + records.len() as i64 == next).unwrap();
                seen[queue].extend(records.iter().map(|body| body.parse::<i64>().unwrap()));
                offset[queue] = next;
            }
        }
        assert_eq!(seen[0], (0..count).collect::<Vec<_>>());
        assert_eq!(seen[1], seen[0]);
    }
}

/// Goal: an answer whose records leave the hot log while its reader dawdles is completed from the files.
/// Method: a small send ring that nobody empties, and a log that moves on.
#[test]
fn a_slow_reader_gets_the_rest_from_the_files() {
    let mut world = World::with(Settings { tx_ring_bytes: 4096, ..small() });
    world.topic("T", 2);
    let (slow, writer) = (world.connect(), world.connect());
    let records: Vec<String> = (0..20).map(|number| format!("{number:08000}")).collect();
    fill(&mut world, writer, 0, &records.iter().map(String::as_str).collect::<Vec<_>>(), "");
    world.post(slow, pull("T", 0, 0), Codec::Json);
    world.turn();
    let body = vec![1; 50_000];
    for _ in 0..1_000 {
        world.post(writer, send("T", 1, "", &body).oneway(), Codec::Binary);
        world.pass(1);
    }
    let answer = loop {
        if let Some(answer) = world.next(slow) {
            break answer;
        }
        world.pass(1);
    };
    assert_eq!((answer.code, bodies(&answer)), (0, records));
    assert!(world.shard.outbox.counters.fetched_ranges > 0);
    assert_eq!(world.call(slow, pull("T", 0, 20)).code, 19);
}

/// Goal: holds that are due when their connection ends leave nothing behind that the next ones stumble over. Method: more are woken
/// than a turn runs; their connection ends; in one turn as many wait again, are woken, and one more waits.
#[test]
fn holds_that_are_due_when_their_connection_ends() {
    const HOLDS: usize = 400;
    const _: () =
        assert!(HOLDS > HOLDS_PER_TURN_MAX as usize + 2 && HOLDS + 2 < REQUESTS_PER_TURN_MAX as usize);
    let mut world = World::new();
    world.topic("T", 1);
    let ending = world.connect();
    let staying: Vec<ConnId> = (0..7).map(|_| world.connect()).collect();
    (0..HOLDS).for_each(|_| _ = world.post(ending, waiting(0, 0), Codec::Binary));
    (0..10).for_each(|_| _ = world.turn());
    assert_eq!(world.shard.broker.holds.len(), HOLDS);
    world.post(staying[0], send("T", 0, "", b"m"), Codec::Binary);
    world.turn();
    assert_eq!(world.shard.broker.holds.len(), HOLDS - HOLDS_PER_TURN_MAX as usize);
    world.shard.net.reset(ending);
    for nth in 0..HOLDS {
        world.post(staying[nth / 64], waiting(0, 1), Codec::Binary);
    }
    world.post(staying[6], send("T", 0, "", b"m"), Codec::Binary);
    world.post(staying[6], waiting(0, 2), Codec::Binary);
    (0..10).for_each(|_| _ = world.turn());
    assert_eq!(world.shard.broker.holds.len(), 1);
    let answers: usize = staying.iter().map(|conn| std::iter::from_fn(|| world.next(*conn)).count()).sum();
    assert_eq!(answers, 2 + HOLDS);
}
