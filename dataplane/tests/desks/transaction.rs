//! Transactions: half messages, their end, and the questions about those without one.

use protocol::RemotingCommand;
use protocol::code::request;
use protocol::record::{RecordDraft, Stamp};

use crate::client::{Message, heartbeat, props, read};
use crate::requests::send;
use crate::world::{Stop, World};
use dataplane::config::Config;
use dataplane::net::ConnId;

const HALF: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
const OP: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
const COMMIT: i32 = 8;
const ROLLBACK: i32 = 12;

/// What the producer learns from its send: commitLogOffset and tranStateTableOffset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Half {
    physical: i64,
    offset: i64,
}

fn half(world: &mut World, conn: ConnId, body: &[u8], more: &[(&str, &str)]) -> Half {
    let now_ms = dataplane::time::Clock::read(&mut world.clock).wall_ms;
    let mut list = vec![("TRAN_MSG", "true"), ("PGROUP", "PG"), ("TAGS", "TagTx"), ("WAIT", "true")];
    list.extend_from_slice(more);
    let mut command = send("T", 1, &props(&list), body);
    for (name, value) in &mut command.ext_fields {
        match name.as_str() {
            "f" => *value = "4".into(),
            "g" => *value = now_ms.to_string(),
            _ => {}
        }
    }
    let answer = world.done(conn, command);
    let physical = i64::from_str_radix(&answer.ext("msgId").unwrap()[16..], 16).unwrap();
    Half { physical, offset: answer.ext("queueOffset").unwrap().parse().unwrap() }
}

fn end(half: Half, how: i32, from_check: bool) -> RemotingCommand {
    RemotingCommand::request(request::END_TRANSACTION)
        .field("producerGroup", "PG")
        .field("tranStateTableOffset", half.offset)
        .field("commitLogOffset", half.physical)
        .field("commitOrRollback", how)
        .field("fromTransactionCheck", from_check)
        .field("msgId", "x")
}

fn delivered(world: &mut World, conn: ConnId) -> Vec<Message> {
    read(world, conn, "T", 1, 0)
}

fn bodies(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| String::from_utf8(message.body.clone()).unwrap()).collect()
}

/// What lies in a system topic's only queue; read from the log, as no consumer may.
fn lying(world: &mut World, topic: &str) -> Vec<Message> {
    let broker = &world.shard.broker;
    let Some(queue) = broker.store.find_queue(topic, 0) else { return Vec::new() };
    let range = broker.store.offsets(queue);
    let message = |offset: i64| match broker.store.unit(queue, store::QueueOffset(offset)) {
        store::UnitAt::Hot(unit) => Message::of(&broker.store.record_at(unit.physical).unwrap()),
        other => panic!("{other:?}"),
    };
    (range.start.0..range.end.0).map(message).collect()
}

/// The questions that came to a producer, as the half messages they name.
fn asked(world: &mut World, conn: ConnId) -> Vec<(Half, Message)> {
    let questions = world.take(conn, request::CHECK_TRANSACTION_STATE);
    let half = |question: &RemotingCommand| {
        assert!(question.is_oneway());
        let number = |name| question.ext(name).unwrap().parse().unwrap();
        let half = Half { physical: number("commitLogOffset"), offset: number("tranStateTableOffset") };
        let message = Message::all(&question.body).remove(0);
        assert_eq!((message.queue_offset, message.physical_offset), (half.offset, half.physical));
        assert_eq!(question.ext("topic"), Some(HALF));
        assert_eq!(question.ext("bname"), Some("broker-a"));
        assert_eq!(question.ext("msgId"), message.property("UNIQ_KEY"));
        assert_eq!(question.ext("transactionId"), message.property("UNIQ_KEY"));
        let id = format!("7F00000200007923{:016X}", half.physical);
        assert_eq!(question.ext("offsetMsgId"), Some(id.as_str()));
        (half, message)
    };
    questions.iter().map(half).collect()
}

fn world() -> (World, ConnId) {
    world_with(Config { broker_name: "broker-a".into(), ..Config::default() })
}

fn world_with(config: Config) -> (World, ConnId) {
    let mut world = World::with(config);
    world.topic("T", 2);
    let conn = world.connect();
    world.done(conn, heartbeat("p", vec![], &["PG"]));
    (world, conn)
}

/// Keeps the producer's connection and registration alive over a long wait.
fn wait(world: &mut World, conn: ConnId, ms: u64) {
    for _ in 0..ms / 10_000 {
        world.pass(10_000);
        world.done(conn, heartbeat("p", vec![], &["PG"]));
    }
    world.pass(ms % 10_000);
}

/// Goal: a committed message appears with everything it bore, a rolled back one never, an undecided one not yet.
#[test]
fn only_committed_messages_appear() {
    let (mut world, conn) = world();
    let first = half(&mut world, conn, b"first", &[("KEYS", "k")]);
    let second = half(&mut world, conn, b"second", &[]);
    let third = half(&mut world, conn, b"third", &[]);
    assert_eq!((first.offset, second.offset, third.offset), (0, 1, 2));
    assert_eq!(delivered(&mut world, conn), []);
    world.done(conn, end(second, ROLLBACK, false));
    world.done(conn, end(first, COMMIT, false));
    world.post(conn, end(third, 0, false));
    world.pass(100);
    assert_eq!(world.next(conn), None, "no answer to an unknown state");
    let messages = delivered(&mut world, conn);
    let [message] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!((message.body.as_slice(), message.sys_flag & 0xC, message.flag), (&b"first"[..], 8, 7));
    assert_eq!((message.prepared_transaction_offset, message.queue_id), (first.physical, 1));
    for (name, value) in
        [("TRAN_MSG", Some("true")), ("PGROUP", Some("PG")), ("KEYS", Some("k")), ("REAL_TOPIC", None)]
    {
        assert_eq!(message.property(name), value, "{name}");
    }
    assert_eq!(message.property("__transactionId__"), message.property("UNIQ_KEY"));
    let halves = lying(&mut world, HALF);
    assert_eq!(bodies(&halves), ["first", "second", "third"]);
    assert_eq!((halves[0].sys_flag, halves[0].property("REAL_QID")), (0, Some("1")));
    let ops = lying(&mut world, OP);
    assert_eq!(bodies(&ops), ["1,", "0,"]);
    assert_eq!(ops[0].properties, [("TAGS".into(), "d".into()), ("WAIT".into(), "true".into())]);
}

/// Goal: an end that does not fit its half message is refused with the official remark, and changes nothing.
#[test]
fn ends_that_do_not_fit_are_refused() {
    let (mut world, conn) = world();
    let first = half(&mut world, conn, b"x", &[]);
    world.done(conn, send("T", 1, &props(&[("PGROUP", "PG")]), b"ordinary"));
    let ordinary = delivered(&mut world, conn).remove(0);
    let group = |mut command: RemotingCommand| {
        command.ext_fields.iter_mut().find(|(name, _)| name == "producerGroup").unwrap().1 = "Z".into();
        command
    };
    let not_found = "Find prepared transaction message failed";
    for (command, remark) in [
        (group(end(first, COMMIT, false)), "The producer group wrong"),
        (end(Half { offset: 9, ..first }, COMMIT, false), "The transaction state table offset wrong"),
        (end(Half { physical: first.physical + 1, ..first }, COMMIT, false), not_found),
        (end(Half { physical: 99_999_999, ..first }, ROLLBACK, false), not_found),
        (end(Half { physical: ordinary.physical_offset, offset: 0 }, COMMIT, false), not_found),
    ] {
        let answer = world.call(conn, command);
        assert_eq!((answer.code, answer.remark.as_deref()), (1, Some(remark)));
    }
    assert_eq!(lying(&mut world, OP), []);
    assert_eq!(delivered(&mut world, conn).len(), 1);
}

/// Goal: a producer is asked after 6 s and in rounds of 30 s, with the message as it would be delivered and the offsets of
/// the copy that was put back; its answer ends the transaction.
#[test]
fn undecided_messages_are_asked_about() {
    let (mut world, conn) = world();
    wait(&mut world, conn, 27_000);
    let first = half(&mut world, conn, b"x", &[("UNIQ_KEY", "U1")]);
    wait(&mut world, conn, 5_000);
    assert_eq!(asked(&mut world, conn), [], "the round came too early for it");
    wait(&mut world, conn, 27_000);
    assert_eq!(asked(&mut world, conn), []);
    wait(&mut world, conn, 2_000);
    let questions = asked(&mut world, conn);
    let [(copy, message)] = &questions[..] else { panic!("{questions:?}") };
    assert_eq!((copy.offset, message.topic.as_str(), message.queue_id), (1, "T", 1));
    assert_eq!(message.property("TRANSACTION_CHECK_TIMES"), Some("1"));
    assert_eq!((message.property("WAIT"), message.property("REAL_TOPIC")), (Some("false"), Some("T")));
    assert_eq!((message.property("TRAN_MSG"), message.property("UNIQ_KEY")), (Some("true"), Some("U1")));
    wait(&mut world, conn, 30_000);
    let again = asked(&mut world, conn);
    assert_eq!((again.len(), again[0].1.property("TRANSACTION_CHECK_TIMES")), (1, Some("2")));
    world.done(conn, end(again[0].0, COMMIT, true));
    wait(&mut world, conn, 100_000);
    assert_eq!(asked(&mut world, conn), []);
    let messages = delivered(&mut world, conn);
    assert_eq!(
        (bodies(&messages), messages[0].property("TRANSACTION_CHECK_TIMES")),
        (vec!["x".into()], Some("2"))
    );
    assert_eq!(messages[0].property("WAIT"), Some("true"), "as it was sent");
    let kept = &world.kept.offsets.offset_table;
    assert_eq!(kept[&format!("{HALF}@CID_RMQ_SYS_TRANS")][&0], 3);
    assert_eq!(kept[&format!("{OP}@CID_RMQ_SYS_TRANS")][&0], 1);
    let _ = first;
}

/// Goal: a producer that ends the first copy after it was asked about the second delivers once.
#[test]
fn a_late_end_counts_for_the_copy_that_was_put_back() {
    let (mut world, conn) = world();
    let first = half(&mut world, conn, b"x", &[]);
    wait(&mut world, conn, 31_000);
    assert_eq!(asked(&mut world, conn).len(), 1);
    world.done(conn, end(first, COMMIT, false));
    wait(&mut world, conn, 90_000);
    assert_eq!(asked(&mut world, conn), []);
    assert_eq!(delivered(&mut world, conn).len(), 1);
}

/// Goal: what nobody decides is given up after transactionCheckMax questions, and lies where an operator finds it.
#[test]
fn undecided_messages_are_given_up() {
    let config = Config { broker_name: "broker-a".into(), transaction_check_max: 2, ..Config::default() };
    let (mut world, conn) = world_with(config);
    half(&mut world, conn, b"x", &[]);
    wait(&mut world, conn, 130_000);
    assert_eq!(asked(&mut world, conn).len(), 2);
    let given_up = lying(&mut world, "TRANS_CHECK_MAX_TIME_TOPIC");
    assert_eq!(bodies(&given_up), ["x"]);
    assert_eq!(given_up[0].property("TRANSACTION_CHECK_TIMES"), Some("2"));
    assert_eq!((given_up[0].property("REAL_TOPIC"), given_up[0].sys_flag), (Some("T"), 0));
    wait(&mut world, conn, 90_000);
    assert_eq!(asked(&mut world, conn), []);
    assert_eq!(lying(&mut world, HALF).len(), 3);
}

/// Goal: a message with a longer immunity is not asked about before, does not hold up the others, may be ended late by a
/// check only, and its end is known by the first copy's offsets.
#[test]
fn immune_messages_wait_longer() {
    let (mut world, conn) = world();
    let immune = half(&mut world, conn, b"immune", &[("CHECK_IMMUNITY_TIME_IN_SECONDS", "100")]);
    let other = half(&mut world, conn, b"other", &[("CHECK_IMMUNITY_TIME_IN_SECONDS", "100")]);
    let plain = half(&mut world, conn, b"plain", &[]);
    wait(&mut world, conn, 31_000);
    let questions = asked(&mut world, conn);
    assert_eq!(bodies(&questions.iter().map(|(_, message)| message.clone()).collect::<Vec<_>>()), ["plain"]);
    world.done(conn, end(questions[0].0, ROLLBACK, true));
    wait(&mut world, conn, 40_000);
    assert_eq!(asked(&mut world, conn), []);
    assert!(lying(&mut world, HALF).iter().any(|m| m.property("TRAN_PREPARED_QUEUE_OFFSET") == Some("0")));
    world.done(conn, end(immune, COMMIT, false));
    assert_eq!(bodies(&delivered(&mut world, conn)), ["immune"]);
    wait(&mut world, conn, 60_000);
    let questions = asked(&mut world, conn);
    assert_eq!(bodies(&questions.iter().map(|(_, message)| message.clone()).collect::<Vec<_>>()), ["other"]);
    let late = world.call(conn, end(other, COMMIT, false));
    assert_eq!((late.code, late.remark), (604, None), "too late for an end of its own");
    world.done(conn, end(questions[0].0, COMMIT, true));
    wait(&mut world, conn, 60_000);
    assert_eq!(asked(&mut world, conn), []);
    assert_eq!(bodies(&delivered(&mut world, conn)), ["immune", "other"]);
    let _ = plain;
}

/// Goal: over a stop or a kill nothing decided is asked about, nothing undecided is forgotten.
#[test]
fn transactions_go_on_after_a_restart() {
    for stop in [Stop::Clean, Stop::Kill] {
        let (mut world, conn) = world();
        let halves: Vec<_> =
            (0..10).map(|n| half(&mut world, conn, format!("m{n}").as_bytes(), &[])).collect();
        for n in [1, 3, 5, 7, 9] {
            world.done(conn, end(halves[n], if n == 5 { ROLLBACK } else { COMMIT }, false));
        }
        let mut world = world.restart(stop);
        let conn = world.connect();
        world.done(conn, heartbeat("p", vec![], &["PG"]));
        world.done(conn, end(halves[0], COMMIT, false));
        wait(&mut world, conn, 31_000);
        let questions = asked(&mut world, conn);
        let named: Vec<_> = questions.iter().map(|(_, message)| message.clone()).collect();
        assert_eq!(bodies(&named), ["m2", "m4", "m6", "m8"]);
        for (copy, _) in questions {
            world.done(conn, end(copy, COMMIT, true));
        }
        wait(&mut world, conn, 60_000);
        assert_eq!(asked(&mut world, conn), []);
        let mut found = bodies(&delivered(&mut world, conn));
        found.sort();
        assert_eq!(found, ["m0", "m1", "m2", "m3", "m4", "m6", "m7", "m8", "m9"]);
        let mut world = world.restart(stop);
        let conn = world.connect();
        world.done(conn, heartbeat("p", vec![], &["PG"]));
        wait(&mut world, conn, 90_000);
        assert_eq!(asked(&mut world, conn), []);
        assert_eq!(delivered(&mut world, conn).len(), 9);
    }
}

/// Goal: half messages and ops that became cold are read back from the files, at a start and in a round.
#[test]
fn old_transactions_are_read_from_the_files() {
    let (mut world, conn) = world();
    world.topic("OTHER", 1);
    let halves: Vec<_> = (0..100).map(|n| half(&mut world, conn, format!("m{n}").as_bytes(), &[])).collect();
    for half in &halves[1..50] {
        world.done(conn, end(*half, ROLLBACK, false));
    }
    for _ in 0..40 {
        world.done(conn, send("OTHER", 0, "", &vec![b'x'; 1 << 20]));
        world.pass(20);
    }
    assert!(world.shard.broker.store.hot_start().0 > halves[99].physical, "the test made them cold");
    let mut world = world.restart(Stop::Kill);
    let conn = world.connect();
    world.done(conn, heartbeat("p", vec![], &["PG"]));
    world.done(conn, end(halves[99], COMMIT, false));
    assert_eq!(bodies(&delivered(&mut world, conn)), ["m99"]);
    wait(&mut world, conn, 31_000);
    let questions = asked(&mut world, conn);
    let mut expected = vec!["m0".to_owned()];
    expected.extend((50..99).map(|n| format!("m{n}")));
    assert_eq!(bodies(&questions.iter().map(|(_, message)| message.clone()).collect::<Vec<_>>()), expected);
}

/// Goal: without a producer of the group nothing is lost: the question waits for one.
#[test]
fn questions_wait_for_a_producer() {
    let mut world = World::new();
    world.topic("T", 2);
    let conn = world.connect();
    half(&mut world, conn, b"x", &[]);
    world.pass(61_000);
    let late = world.connect();
    world.done(late, heartbeat("p", vec![], &["PG"]));
    world.pass(30_000);
    let questions = asked(&mut world, late);
    assert_eq!(questions[0].1.property("TRANSACTION_CHECK_TIMES"), Some("3"));
}

/// Goal: a delayed transactional message is delayed when it is committed, not before.
#[test]
fn a_committed_delay_is_kept() {
    let (mut world, conn) = world();
    let first = half(&mut world, conn, b"late", &[("DELAY", "1")]);
    world.done(conn, end(first, COMMIT, false));
    assert_eq!(delivered(&mut world, conn), []);
    world.pass(1_200);
    let message = delivered(&mut world, conn).remove(0);
    assert_eq!((message.body.as_slice(), message.sys_flag & 0xC), (&b"late"[..], 8));
}

/// Goal: what looks like a half message, but lies in another message's body, is none, whatever number it says it has. Method:
/// bodies that are records, and know where they will lie.
#[test]
fn a_forged_half_message_is_none() {
    let (mut world, conn) = world();
    let first = half(&mut world, conn, b"first", &[]);
    for offset in [i64::MAX, 1 << 40, 1, 0] {
        let list = props(&[("PGROUP", "PG"), ("REAL_TOPIC", "T"), ("REAL_QID", "1")]);
        let address = "127.0.0.2:10911".parse().unwrap();
        let draft = RecordDraft {
            topic: HALF.as_bytes(),
            queue_id: 0,
            flag: 0,
            sys_flag: 4,
            born_timestamp: 0,
            born_host: address,
            store_host: address,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: b"forged",
            properties: list.as_bytes(),
        };
        let encode = |physical| {
            let mut body = vec![0; draft.encoded_len()];
            let stamp = Stamp { queue_offset: offset, physical_offset: physical, store_timestamp: 0 };
            draft.encode_into(&mut body, &stamp);
            body
        };
        let outer = |world: &mut World, body: &[u8]| {
            let answer = world.done(conn, send("T", 0, "", body));
            i64::from_str_radix(&answer.ext("msgId").unwrap()[16..], 16).unwrap()
        };
        let probe = outer(&mut world, &encode(0));
        let record = world.shard.broker.store.record_at(store::PhysicalOffset(probe)).unwrap();
        let (outer_size, inside) = (i64::from(record.size()), body_at(record.bytes, &encode(0)));
        let physical = probe + outer_size + inside;
        assert_eq!(outer(&mut world, &encode(physical)), probe + outer_size);
        for how in [COMMIT, ROLLBACK] {
            let answer = world.call(conn, end(Half { physical, offset }, how, false));
            assert_eq!((answer.code, answer.remark.as_deref()), (1, Some("The commit log offset wrong")));
        }
    }
    assert!(delivered(&mut world, conn).is_empty());
    world.done(conn, end(first, COMMIT, false));
    assert_eq!(bodies(&delivered(&mut world, conn)), ["first"]);
}

fn body_at(record: &[u8], body: &[u8]) -> i64 {
    record.windows(body.len()).position(|part| part == body).unwrap() as i64
}

/// Goal: who may delete system topics and does so ends nothing: they are made again when they are needed.
#[test]
fn system_topics_are_made_again() {
    let config = Config {
        broker_name: "broker-a".into(),
        validate_system_topic_when_update_topic: false,
        ..Config::default()
    };
    let (mut world, conn) = world_with(config);
    for name in ["SCHEDULE_TOPIC_XXXX", HALF, OP, "TRANS_CHECK_MAX_TIME_TOPIC"] {
        let delete = RemotingCommand::request(request::DELETE_TOPIC_IN_BROKER).field("topic", name);
        world.done(conn, delete);
    }
    let one = half(&mut world, conn, b"one", &[]);
    world.done(conn, end(one, COMMIT, false));
    world.done(conn, send("T", 1, &props(&[("DELAY", "1")]), b"two"));
    world.pass(1_200);
    assert_eq!(bodies(&delivered(&mut world, conn)), ["one", "two"]);
    half(&mut world, conn, b"undecided", &[]);
    wait(&mut world, conn, 300_000);
    assert!(!asked(&mut world, conn).is_empty());
}

/// Goal: a half message whose properties leave no room for our count holds up none of the others, and its producer is asked once; one
/// that has room for the count alone is asked about as others are. Method: the longest properties that are taken, and shorter ones.
#[test]
fn half_messages_with_long_properties_hold_up_nobody() {
    let (mut world, conn) = world();
    let now_ms = dataplane::time::Clock::read(&mut world.clock).wall_ms;
    let long = |len: usize, body: &[u8]| {
        let pad = "p".repeat(len);
        let mut command =
            send("T", 1, &props(&[("TRAN_MSG", "true"), ("PGROUP", "PG"), ("PAD", &pad)]), body);
        for (_, at) in command.ext_fields.iter_mut().filter(|(name, _)| name == "g") {
            *at = now_ms.to_string();
        }
        command
    };
    let len = (32_400..32_767).rev().find(|len| world.call(conn, long(*len, b"long")).code == 0).unwrap();
    for shorter in (10..50).step_by(5) {
        world.done(conn, long(len - shorter, b"near"));
    }
    half(&mut world, conn, b"plain", &[]);
    wait(&mut world, conn, 31_000);
    let mut questions = Vec::new();
    for _ in 0..100 {
        questions.extend(asked(&mut world, conn)); // All of them are more than a send ring holds.
        world.pass(10);
    }
    let of: Vec<_> = questions.iter().map(|(_, message)| message.clone()).collect();
    let mut all = vec!["near"; 10];
    (all[0], all[9]) = ("long", "plain");
    assert_eq!(bodies(&of), all);
    let given_up = bodies(&lying(&mut world, "TRANS_CHECK_MAX_TIME_TOPIC"));
    assert_eq!(given_up, ["long", "near", "near", "near", "near"]);
    for (half, _) in questions {
        world.done(conn, end(half, COMMIT, true));
    }
    assert_eq!(bodies(&delivered(&mut world, conn)), all);
    wait(&mut world, conn, 60_000);
    assert_eq!(asked(&mut world, conn), []);
}

/// Goal: nobody's half message counts as a copy of another's because it says so.
#[test]
fn a_half_message_that_calls_itself_a_copy_is_none() {
    let (mut world, conn) = world();
    let first = half(&mut world, conn, b"first", &[]);
    half(&mut world, conn, b"other", &[("TRAN_PREPARED_QUEUE_OFFSET", "0")]);
    let copy = lying(&mut world, HALF).remove(1);
    assert_eq!(copy.property("TRAN_PREPARED_QUEUE_OFFSET"), None);
    world.done(conn, end(first, COMMIT, false));
    wait(&mut world, conn, 31_000);
    let of: Vec<_> = asked(&mut world, conn).into_iter().map(|(_, message)| message).collect();
    assert_eq!(bodies(&of), ["other"]);
}
