//! Sends: what is stored, where, with what properties, and what the answer says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dataplane::broker::announce::Announced;
use dataplane::broker::group_config::GroupConfig;
use dataplane::broker::locks::{Grant, QueueName};
use dataplane::config::{Config, FlushDiskType};
use dataplane::net::ConnId;
use dataplane::time::Clock;
use protocol::RemotingCommand;
use protocol::batch::{self, BatchMessage};
use protocol::code::request;
use protocol::frame::Codec;
use protocol::ids::parse_offset_id;
use protocol::properties;
use protocol::record::RecordView;
use store::sim_medium::{Fault, FaultKind, SimMedium};
use store::{PhysicalOffset, QueueOffset, UnitAt};

use crate::requests::{pull, send, set};
use crate::world::{Settings, World};

/// A stored message as the tests look at it.
#[derive(Debug)]
struct Stored {
    topic: String,
    queue_id: i32,
    queue_offset: i64,
    sys_flag: i32,
    reconsume_times: i32,
    properties: Vec<(String, String)>,
    body: Vec<u8>,
    tags_code: i64,
}

impl Stored {
    fn get(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The record that an answer's msgId names.
fn stored(world: &mut World, answer: &RemotingCommand) -> Stored {
    let (host, physical) = parse_offset_id(answer.ext("msgId").unwrap()).unwrap();
    assert_eq!(host, "127.0.0.2:10911".parse().unwrap());
    record(world, physical)
}

fn record(world: &mut World, physical: i64) -> Stored {
    let store = &mut world.shard.broker.store;
    let view = store.record_at(PhysicalOffset(physical)).unwrap();
    let bytes = view.bytes.to_vec();
    let view = RecordView::parse(&bytes).unwrap();
    assert!(view.crc_holds());
    let topic = String::from_utf8(view.topic.to_vec()).unwrap();
    let queue = store.queue(&topic, view.queue_id);
    let UnitAt::Hot(unit) = store.unit(queue, QueueOffset(view.queue_offset)) else { panic!("no unit") };
    assert_eq!(unit.physical.0, physical);
    Stored {
        queue_id: view.queue_id,
        queue_offset: view.queue_offset,
        sys_flag: view.sys_flag,
        reconsume_times: view.reconsume_times,
        properties: properties::iter(view.properties)
            .map(|(name, value)| {
                (String::from_utf8(name.to_vec()).unwrap(), String::from_utf8(value.to_vec()).unwrap())
            })
            .collect(),
        body: view.body.to_vec(),
        tags_code: unit.tags_code,
        topic,
    }
}

fn ok(world: &mut World, conn: ConnId, command: RemotingCommand) -> RemotingCommand {
    let answer = world.call(conn, command);
    assert_eq!((answer.code, &answer.remark), (0, &None), "{answer:?}");
    answer
}

/// Goal: a message is stored once, body untouched, with the client's properties and the broker's; both codecs and both
/// header forms mean the same. Method: the same message four ways.
#[test]
fn a_message_is_stored_with_the_brokers_properties() {
    let mut world = World::new();
    world.topic("T", 4);
    let conn = world.connect();
    let v2 = set(send("T", 2, "TAGS\u{1}TagA\u{2}KEYS\u{1}k1 k2\u{2}UNIQ_KEY\u{1}ABC", b"hello"), "h", 9);
    let v1 = {
        let names = ["producerGroup", "topic", "defaultTopic", "defaultTopicQueueNums", "queueId", "sysFlag"];
        let names =
            [&names[..], &["bornTimestamp", "flag", "properties", "reconsumeTimes", "unitMode", "batch"]]
                .concat();
        let values = v2.ext_fields.iter().map(|(_, value)| value.clone());
        let mut v1 = RemotingCommand::request(request::SEND_MESSAGE).body(v2.body.clone());
        v1.ext_fields = names.iter().map(|name| name.to_string()).zip(v2_order(&v2, values)).collect();
        v1
    };
    for (at, (command, codec)) in
        [(v2.clone(), Codec::Json), (v2, Codec::Binary), (v1.clone(), Codec::Json), (v1, Codec::Binary)]
            .into_iter()
            .enumerate()
    {
        let answer = world.call_as(conn, command, codec);
        assert_eq!(answer.code, 0, "{answer:?}");
        assert_eq!(answer.ext("queueId"), Some("2"));
        assert_eq!(answer.ext("queueOffset"), Some(at.to_string().as_str()));
        assert_eq!(answer.ext("transactionId"), Some("ABC"));
        assert_eq!(answer.ext("MSG_REGION"), Some("DefaultRegion"));
        assert_eq!(answer.ext("TRACE_ON"), Some("true"));
        let stored = stored(&mut world, &answer);
        assert_eq!((stored.topic.as_str(), stored.queue_id, stored.body.as_slice()), ("T", 2, &b"hello"[..]));
        assert_eq!(stored.tags_code, 2_598_919);
        let expected = [
            ("TAGS", "TagA"),
            ("KEYS", "k1 k2"),
            ("UNIQ_KEY", "ABC"),
            ("MSG_REGION", "DefaultRegion"),
            ("TRACE_ON", "true"),
            ("CLUSTER", "DefaultCluster"),
        ];
        assert_eq!(stored.properties, expected.map(|(name, value)| (name.to_string(), value.to_string())));
    }
}

/// Values in the order of the letters; the helper that made them may have moved one to the end.
fn v2_order(command: &RemotingCommand, values: impl Iterator<Item = String>) -> Vec<String> {
    let mut pairs: Vec<_> = command.ext_fields.iter().map(|(name, _)| name.clone()).zip(values).collect();
    pairs.sort();
    pairs.into_iter().filter(|(name, _)| name != "l" && name != "n").map(|(_, value)| value).collect()
}

/// Goal: names the broker sets are not stored twice, POP_CK is not stored, and a missing UNIQ_KEY is made.
#[test]
fn a_forwarded_message_gets_fresh_marks() {
    let mut world = World::new();
    world.topic("T", 1);
    let conn = world.connect();
    let list =
        "MSG_REGION\u{1}Old\u{2}a\u{1}1\u{2}CLUSTER\u{1}Other\u{2}POP_CK\u{1}x\u{2}TRACE_ON\u{1}false\u{2}";
    let answer = ok(&mut world, conn, send("T", 0, list, b"x"));
    let stored = stored(&mut world, &answer);
    assert_eq!(stored.get("a"), Some("1"));
    assert_eq!(stored.get("MSG_REGION"), Some("DefaultRegion"));
    assert_eq!(stored.get("CLUSTER"), Some("DefaultCluster"));
    assert_eq!(stored.get("POP_CK"), None);
    assert_eq!(stored.properties.len(), 5);
    let uniq_key = stored.get("UNIQ_KEY").unwrap();
    assert_eq!(uniq_key.len(), 32);
    assert_eq!(answer.ext("transactionId"), Some(uniq_key));
}

/// Goal: a delay level sends a message through the schedule topic, and its time comes with the queue entry.
/// Method: levels inside the table, above it, and 0.
#[test]
fn delayed_messages_go_to_the_schedule_topic() {
    let mut world = World::new();
    world.topic("T", 4);
    let conn = world.connect();
    let now_ms = world.clock.read().wall_ms;
    for (level, stored_level, delay_ms) in [(3, "3", 10_000), (99, "18", 7_200_000)] {
        let list = format!("DELAY\u{1}{level}\u{2}TAGS\u{1}TagA\u{2}");
        let answer = ok(&mut world, conn, send("T", 2, &list, b"later"));
        assert_eq!(answer.ext("queueId"), Some("2"));
        let stored = stored(&mut world, &answer);
        assert_eq!(stored.topic, "SCHEDULE_TOPIC_XXXX");
        assert_eq!(stored.queue_id.to_string(), (stored_level.parse::<i32>().unwrap() - 1).to_string());
        assert_eq!(stored.get("DELAY"), Some(stored_level));
        assert_eq!((stored.get("REAL_TOPIC"), stored.get("REAL_QID")), (Some("T"), Some("2")));
        assert_eq!(stored.tags_code, now_ms + delay_ms);
    }
    let answer = ok(&mut world, conn, send("T", 2, "DELAY\u{1}0\u{2}", b"now"));
    assert_eq!(stored(&mut world, &answer).topic, "T");
    let answer = world.call(conn, send("T", 2, "DELAY\u{1}soon\u{2}", b"?"));
    assert_eq!(answer.code, 1);
    // One second later the first is not there yet, eleven seconds later it is.
    world.pass(1_000);
    assert_eq!(world.call(conn, pull("T", 2, 1)).code, 19);
    world.pass(10_000);
    let found = world.call(conn, pull("T", 2, 1));
    assert_eq!(found.code, 0);
    assert_eq!(RecordView::parse(&found.body).unwrap().body, b"later");
}

/// Goal: a half message is hidden in the half topic with its destination, its answer names the half record but the real
/// queue; transactions can be refused as a whole.
#[test]
fn half_messages_are_hidden() {
    let mut world = World::new();
    world.topic("T", 4);
    let conn = world.connect();
    let list = "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}PGx\u{2}UNIQ_KEY\u{1}AAAA\u{2}";
    let half = set(send("T", 3, list, b"half"), "f", 4);
    let answer = ok(&mut world, conn, half.clone());
    assert_eq!((answer.ext("queueId"), answer.ext("queueOffset")), (Some("3"), Some("0")));
    let stored = stored(&mut world, &answer);
    assert_eq!((stored.topic.as_str(), stored.queue_id), ("RMQ_SYS_TRANS_HALF_TOPIC", 0));
    assert_eq!(stored.sys_flag & 0xC, 0);
    assert_eq!((stored.get("REAL_TOPIC"), stored.get("REAL_QID")), (Some("T"), Some("3")));
    assert_eq!(stored.get("__transactionId__"), Some("AAAA"));
    assert_eq!(world.call(conn, pull("T", 3, 0)).code, 19);

    world.shard.broker.config.reject_transaction_message = true;
    let refused = world.call(conn, half);
    assert_eq!(refused.code, 16);
    assert_eq!(refused.remark.unwrap(), "the broker[127.0.0.2] sending transaction message is forbidden");
    assert_eq!(refused.ext_fields.len(), 2);
}

/// Goal: the end of all retries is the dead letter queue: more than the maximum, or a group that consumes in order.
#[test]
fn exhausted_retries_become_dead_letters() {
    let mut world = World::new();
    let conn = world.connect();
    let retry = |reconsumed: i32| {
        let command = send("%RETRY%G", 0, "DELAY\u{1}3\u{2}RETRY_TOPIC\u{1}T\u{2}", b"again");
        set(set(command, "j", reconsumed), "l", 2)
    };
    let answer = ok(&mut world, conn, retry(2));
    assert_eq!(stored(&mut world, &answer).topic, "SCHEDULE_TOPIC_XXXX");
    let answer = ok(&mut world, conn, retry(3));
    let dead = stored(&mut world, &answer);
    assert_eq!((dead.topic.as_str(), dead.queue_id, dead.reconsume_times), ("%DLQ%G", 0, 3));
    assert_eq!(dead.get("DELAY"), Some("-1"));
    // The request's maximum counts from 3.4.9 on, the group's before.
    let old = RemotingCommand { version: 100, ..retry(3) };
    let answer = ok(&mut world, conn, old);
    assert_eq!(stored(&mut world, &answer).topic, "SCHEDULE_TOPIC_XXXX");
    // A group that holds order locks has no more tries.
    let now_ms = world.clock.read().wall_ms;
    let queue = QueueName { topic: "T", broker_name: "broker-a", queue_id: 0 };
    assert_eq!(world.shard.broker.locks.lock("G", &"client".into(), queue, now_ms), Grant::Yes);
    let answer = ok(&mut world, conn, retry(1));
    assert_eq!(stored(&mut world, &answer).topic, "%DLQ%G");
}

/// Goal: a retry topic needs its group. Method: no auto-creation.
#[test]
fn a_retry_topic_without_group_is_refused() {
    let config = Config { auto_create_subscription_group: false, ..Settings::default().config };
    let mut world = World::with(Settings { config, ..Settings::default() });
    let conn = world.connect();
    let refused = world.call(conn, send("%RETRY%G", 0, "", b"x"));
    assert_eq!(refused.code, 26);
    assert!(refused.remark.unwrap().starts_with("subscription group not exist, G \nSee https://"));
    let (broker, now_ms) = (&mut world.shard.broker, world.clock.read().wall_ms);
    broker.groups.put(GroupConfig::new("G"), now_ms, &mut broker.ops);
    ok(&mut world, conn, send("%RETRY%G", 0, "", b"x"));
}

fn batch_of(messages: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (text, list) in messages {
        let message = BatchMessage { flag: 3, body: text.as_bytes(), properties: list.as_bytes() };
        batch::push(&mut body, &message);
    }
    body
}

fn batch_to(topic: &str, properties: &str, body: &[u8]) -> RemotingCommand {
    let mut command = set(send(topic, 1, properties, body), "m", true);
    command.code = request::SEND_BATCH_MESSAGE;
    command
}

/// Goal: a batch gets consecutive offsets and one id per message; its messages keep the properties they came with.
#[test]
fn a_batch_is_stored_as_its_messages() {
    let mut world = World::new();
    world.topic("T", 4);
    let conn = world.connect();
    ok(&mut world, conn, send("T", 1, "", b"first"));
    let body = batch_of(&[("one", "TAGS\u{1}TagA\u{2}"), ("two", ""), ("three", "TAGS\u{1}TagA")]);
    let answer = ok(&mut world, conn, batch_to("T", "WAIT\u{1}true\u{2}", &body));
    assert_eq!((answer.ext("queueId"), answer.ext("queueOffset")), (Some("1"), Some("1")));
    assert_eq!(answer.ext("transactionId"), None);
    let ids: Vec<_> =
        answer.ext("msgId").unwrap().split(',').map(|id| parse_offset_id(id).unwrap().1).collect();
    assert_eq!(ids.len(), 3);
    for (at, (physical, text)) in ids.into_iter().zip(["one", "two", "three"]).enumerate() {
        let stored = record(&mut world, physical);
        assert_eq!((stored.queue_offset, stored.body.as_slice()), (at as i64 + 1, text.as_bytes()));
        assert_eq!(stored.tags_code, if text == "two" { 0 } else { 2_598_919 });
        assert_eq!(stored.get("CLUSTER"), None);
    }
    let with_key = ok(&mut world, conn, batch_to("T", "UNIQ_KEY\u{1}U\u{2}", &body));
    assert_eq!(with_key.ext("transactionId"), Some("U"));
    assert_eq!(with_key.ext("queueOffset"), Some("4"));
}

/// Goal: what a batch may not be is refused with the official code, and nothing of it is stored.
#[test]
fn bad_batches_are_refused_whole() {
    let mut world = World::new();
    world.topic("T", 4);
    let conn = world.connect();
    let good = batch_of(&[("one", ""), ("two", "")]);
    let max = world.shard.broker.config.max_message_size as usize;
    let long_topic = "t".repeat(127) + "t";
    world.topic(&long_topic, 4);
    for (command, code, remark) in [
        (batch_to("%RETRY%G", "", &good), 13, "batch request does not support retry group %RETRY%G"),
        (batch_to("T", "DELAY\u{1}3\u{2}", &good), 13, "the message is illegal"),
        (set(batch_to("T", "", &good), "f", 4), 13, "the message is illegal"),
        (batch_to("T", "", &good[..good.len() - 1]), 1, "batch unit at byte 25 is not whole"),
        (batch_to("T", "", &vec![0; max + 1]), 1, "message batch of 4194305B is longer than 4194304B"),
        (batch_to(&long_topic, "", &good), 13, "message topic length too long 128"),
    ] {
        let refused = world.call(conn, command);
        assert_eq!(refused.code, code, "{refused:?}");
        assert!(refused.remark.as_deref().unwrap().starts_with(remark), "{refused:?}");
        assert_eq!(refused.ext("MSG_REGION"), Some("DefaultRegion"));
    }
    assert_eq!(world.call(conn, pull("T", 1, 0)).remark.as_deref(), Some("NO_MESSAGE_IN_QUEUE"));
}

/// Goal: limits on body and properties answer 13; the largest message passes.
#[test]
fn sizes_are_limited() {
    let mut world = World::new();
    world.topic("T", 4);
    let conn = world.connect();
    let max = world.shard.broker.config.max_message_size as usize;
    ok(&mut world, conn, send("T", 0, "", &vec![7; max]));
    let refused = world.call(conn, send("T", 0, "", &vec![7; max + 1]));
    assert_eq!(refused.code, 13);
    assert_eq!(
        refused.remark.as_deref(),
        Some(
            "the message is illegal, maybe msg body or properties length not matched. msg body length limit 4194304B, \
             msg properties length limit 32KB."
        )
    );
    let long = format!("a\u{1}{}\u{2}", "v".repeat(32_766 - 40));
    assert_eq!(world.call(conn, send("T", 0, &long, b"x")).code, 13);
    let fits = format!("a\u{1}{}\u{2}", "v".repeat(32_000));
    ok(&mut world, conn, send("T", 0, &fits, b"x"));
}

/// Goal: a one-way send is stored and never answered, not even when it is refused.
#[test]
fn oneway_sends_are_silent() {
    let mut world = World::new();
    world.topic("T", 1);
    let conn = world.connect();
    world.post(conn, send("T", 0, "", b"quiet").oneway(), Codec::Json);
    world.post(conn, send("T", 99, "", b"wrong").oneway(), Codec::Json);
    world.post(conn, pull("T", 99, 0).oneway(), Codec::Json);
    world.pass(20);
    assert_eq!(world.next(conn), None);
    assert_eq!(world.call(conn, pull("T", 0, 0)).code, 0);
}

/// Goal: permissions and the broker's own hours. Method: one setting at a time.
#[test]
fn settings_can_refuse_sends() {
    let mut world = World::new();
    world.topic("T", 1);
    let conn = world.connect();
    world.shard.broker.config.broker_permission = dataplane::config::Permission(4);
    // Only order topics are refused; others are held back by the registered permission.
    ok(&mut world, conn, send("T", 0, "", b"x"));
    let (broker, now_ms) = (&mut world.shard.broker, world.clock.read().wall_ms);
    let ordered = dataplane::broker::topic_config::TopicConfig {
        order: true,
        ..dataplane::broker::topic_config::TopicConfig::new("O", 1, 6)
    };
    broker.topics.put(ordered, now_ms, &mut broker.ops);
    let refused = world.call(conn, send("O", 0, "", b"x"));
    assert_eq!(refused.code, 16);
    assert_eq!(refused.remark.as_deref(), Some("the broker[127.0.0.2] sending message is forbidden"));
    world.shard.broker.config.start_accept_send_request_time_stamp = now_ms + 60_000;
    let refused = world.call(conn, send("T", 0, "", b"x"));
    assert_eq!(refused.code, 1);
    // The start of the world's clock and a minute more, in UTC.
    let until = jiff::Timestamp::from_millisecond(now_ms + 60_000).unwrap();
    let until = until.strftime("%Y-%m-%d %H:%M:%S,%3f");
    assert_eq!(refused.remark, Some(format!("broker unable to service, until {until}")));
}

/// Goal: the topic that a unit's producer makes says so, and a retry topic that it is a unit's, too.
#[test]
fn topics_of_units_are_marked() {
    let mut world = World::new();
    let conn = world.connect();
    for (topic, flag) in [("Plain", 0), ("Unit", 1), ("%RETRY%Unit", 2)] {
        ok(&mut world, conn, set(send(topic, 0, "", b"x"), "k", flag > 0));
        let made = world.shard.broker.topics.config(topic).unwrap();
        assert_eq!(made.topic_sys_flag, flag, "{topic}");
    }
}

/// Goal: a queue number below zero means any queue. Method: many sends, all queues hit, none else.
#[test]
fn a_negative_queue_is_any_queue() {
    let mut world = World::new();
    world.topic("T", 4);
    let conn = world.connect();
    let mut hits = [0; 4];
    for _ in 0..200 {
        let answer = ok(&mut world, conn, send("T", -1, "", b"x"));
        hits[answer.ext("queueId").unwrap().parse::<usize>().unwrap()] += 1;
    }
    assert!(hits.iter().all(|count| *count > 20), "{hits:?}");
}

fn sync_flush() -> World {
    let config = Config { flush_disk_type: FlushDiskType::SyncFlush, ..Settings::default().config };
    World::with(Settings { config, ..Settings::default() })
}

/// D-2. Goal: under SYNC_FLUSH nothing is answered and nothing can be consumed before the disk has it; WAIT=false is
/// answered at once. Method: hold the disk still.
#[test]
fn sync_flush_answers_when_the_disk_has_it() {
    let mut world = sync_flush();
    world.topic("T", 1);
    let conn = world.connect();
    let consumer = world.connect();
    world.cold_runs = false;
    let held = set(set(pull("T", 0, 0), "sysFlag", 6), "suspendTimeoutMillis", 15_000);
    world.post(consumer, held, Codec::Json);
    world.turn();
    let list = "UNIQ_KEY\u{1}UUUU\u{2}";
    let first = world.post(conn, send("T", 0, list, b"one"), Codec::Json);
    let second = world.post(conn, send("T", 0, list, b"two"), Codec::Binary);
    world.pass(100);
    assert_eq!((world.next(conn), world.next(consumer)), (None, None));
    let quick = ok(&mut world, conn, send("T", 0, "WAIT\u{1}false\u{2}", b"three"));
    assert_eq!(quick.ext("queueOffset"), Some("2"));
    let looked = world.call(consumer, pull("T", 0, 0));
    assert_eq!((looked.code, looked.ext("maxOffset")), (19, Some("0")));
    // This one comes after the messages and before the sync.
    world.post(consumer, set(pull("T", 0, 0), "sysFlag", 6), Codec::Json);
    world.cold_runs = true;
    world.pass(20);
    for (opaque, offset) in [(first, "0"), (second, "1")] {
        let answer = world.next(conn).unwrap();
        assert_eq!((answer.code, answer.opaque), (0, opaque));
        assert_eq!(answer.ext("queueOffset"), Some(offset));
        assert_eq!(answer.ext("transactionId"), Some("UUUU"));
        assert_eq!(stored(&mut world, &answer).queue_offset.to_string(), offset);
    }
    for _ in 0..2 {
        let woken = world.next(consumer).expect("woken by the sync");
        assert_eq!((woken.code, woken.ext("nextBeginOffset")), (0, Some("3")));
    }
}

/// Goal: a flush that takes too long answers 10 with the whole header; the message is stored all the same.
#[test]
fn a_late_flush_answers_its_own_code() {
    let mut world = sync_flush();
    world.topic("T", 2);
    let conn = world.connect();
    world.cold_runs = false;
    world.post(conn, batch_to("T", "", &batch_of(&[("one", ""), ("two", "")])), Codec::Json);
    world.pass(4_990);
    assert_eq!(world.next(conn), None);
    world.pass(20);
    let late = world.next(conn).unwrap();
    assert_eq!((late.code, late.ext("queueOffset")), (10, Some("0")));
    assert_eq!(late.ext("msgId").unwrap().split(',').count(), 2);
    world.cold_runs = true;
    world.pass(20);
    assert_eq!(world.call(conn, pull("T", 1, 0)).ext("nextBeginOffset"), Some("2"));
}

/// D-7. Goal: after a failed sync who waits is answered 10 at once and is not acknowledged later, sends are refused with 14, pulls go
/// on, and operators see it. Method: break the sync of the log under a waiting send.
#[test]
fn a_failed_sync_refuses_and_is_seen() {
    let medium = SimMedium::new(1);
    let config = Config { flush_disk_type: FlushDiskType::SyncFlush, ..Settings::default().config };
    let mut world = World::with(Settings { config, medium: Arc::new(medium.clone()), ..Settings::default() });
    world.topic("T", 1);
    let conn = world.connect();
    ok(&mut world, conn, send("T", 0, "", b"kept"));
    assert!(world.shard.broker.store.disk_times().sync.buckets().count() > 0);
    medium.set_fault(Some(Fault { path_part: "commitlog", what: FaultKind::Sync }));
    world.post(conn, send("T", 0, "", b"lost"), Codec::Json);
    world.pass(20);
    let late = world.next(conn).expect("nothing is left to wait for");
    assert_eq!((late.code, late.ext("queueOffset")), (10, Some("1")));
    assert_eq!(world.call(conn, send("T", 0, "", b"refused")).code, 14);
    assert!(world.shard.broker.store.is_read_only());
    let pulled = world.call(conn, pull("T", 0, 0));
    assert_eq!((pulled.code, pulled.ext("maxOffset")), (0, Some("1")), "what was not synced is not shown");
    let status = world.call(conn, RemotingCommand::request(request::GET_BROKER_RUNTIME_INFO));
    let status = String::from_utf8(status.body.to_vec()).unwrap();
    assert!(status.contains("\"logReadOnly\":\"true\""), "{status}");
    medium.set_fault(None);
    world.pass(20);
    assert_eq!(world.next(conn), None, "nobody is acknowledged by accident");
}

/// Goal: a full log makes senders wait in TCP, answers nobody "busy", loses nothing, and lets consumers go on.
/// Method: fill the hot log with the disk standing still, then let it move; the shard naps longer before and after than meanwhile.
#[test]
fn a_full_log_holds_senders_back() {
    let mut world = World::new();
    world.topic("T", 1);
    let (sender, other) = (world.connect(), world.connect());
    world.cold_runs = false;
    let body = vec![7; 100_000];
    let long_nap = world.shard.nap_max();
    let mut answered = 0;
    let mut posted = 0;
    while posted < 400 {
        let bytes = RemotingCommand { opaque: posted, ..send("T", 0, "", &body) }.encode(Codec::Json);
        let mut rest = &bytes[..];
        for _ in 0..20 {
            let taken = world.shard.net.feed(sender, rest);
            rest = &rest[taken..];
            world.turn();
        }
        if !rest.is_empty() {
            break; // The ring is full and nobody reads it.
        }
        posted += 1;
    }
    assert!((100..300).contains(&posted), "{posted}");
    while let Some(answer) = world.next(sender) {
        assert_eq!((answer.code, answer.opaque), (0, answered));
        answered += 1;
    }
    // Reads and refusals go on.
    let first = world.call(other, set(pull("T", 0, 0), "maxMsgNums", 1));
    assert_eq!(first.code, 0);
    assert_eq!(world.call(other, RemotingCommand::request(99_999)).code, 3);
    assert!(world.shard.broker.counters.waits > 0);
    assert!(world.shard.nap_max() < long_nap / 10);
    world.cold_runs = true;
    world.pass(50);
    assert_eq!(world.shard.nap_max(), long_nap);
    while let Some(answer) = world.next(sender) {
        assert_eq!((answer.code, answer.opaque), (0, answered));
        answered += 1;
    }
    assert!(answered >= posted - 1, "{answered} of {posted}");
}

/// Goal: a request whose answer no frame can hold is refused with a few words, and ends nothing. Method: a question about all offsets (43), of
/// which there are more than a frame holds.
#[test]
fn an_answer_that_fits_no_frame_says_so() {
    let mut world = World::new();
    world.topic("T", 1);
    let (bad, good) = (world.connect(), world.connect());
    for group in 0..160_000 {
        world.shard.broker.offsets.commit(&format!("{group:0>110}"), "T", 0, 1).unwrap();
    }
    let asked = RemotingCommand::request(request::GET_ALL_CONSUMER_OFFSET);
    world.feed(bad, &RemotingCommand { opaque: 1, ..asked }.encode(Codec::Json));
    world.pass(1_000);
    let answer = world.next(bad).unwrap();
    let remark = "the answer is longer than a frame may be";
    assert_eq!((answer.opaque, answer.code, answer.remark.as_deref()), (1, 1, Some(remark)));
    ok(&mut world, bad, send("T", 0, "", b"x"));
    ok(&mut world, good, send("T", 0, "", b"x"));
}

/// B-12. Goal: the first message of a new topic is answered when name servers know the topic, and not much later when
/// they stay silent; other topics do not wait. Method: a registrar's word that comes late, and one that never comes.
#[test]
fn the_first_message_of_a_topic_waits_for_its_route() {
    let mut world = World::new();
    let announced = Announced::default();
    let wakes = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&wakes);
    announced.woken_by(move || _ = counted.fetch_add(1, Ordering::Relaxed));
    world.shard.broker.announced_by(announced.clone());
    world.topic("Old", 4);
    announced.tell(world.shard.broker.topics.version().counter);
    let conn = world.connect();
    world.post(conn, send("New", 0, "", b"first"), Codec::Json);
    world.turn();
    assert!(world.next(conn).is_none());
    let other = world.connect();
    assert_eq!(world.call(other, send("Old", 0, "", b"x")).code, 0);
    announced.tell(world.shard.broker.topics.version().counter);
    assert_eq!(wakes.load(Ordering::Relaxed), 2, "a shard asleep hears of it");
    world.pass(2);
    assert_eq!(world.next(conn).map(|answer| answer.code), Some(0));

    world.post(conn, send("Newer", 0, "", b"first"), Codec::Json);
    world.pass(900);
    assert!(world.next(conn).is_none());
    world.pass(200);
    assert_eq!(world.next(conn).map(|answer| answer.code), Some(0));
}
