//! The library against a live cluster: ours or the official one.
//!
//! Needs `AFTERBURNER_TEST_NAMESRV=HOST:PORT`; without it each test says so and passes. Topics and groups are new in
//! every run, so that a cluster can be used again and again.

#![allow(clippy::unwrap_used)] // All of it is tests.

use client::admin::body::TopicConfig;
use client::query::IndexedBy;
use client::{
    Admin, ClientConfig, ClientError, Codec, ConsumeFrom, Consumed, Message, MessageExt, MessageModel,
    Producer, ProducerConfig, PullConsumer, PullConsumerConfig, PullStatus, PushConsumer, PushConsumerConfig,
    SendStatus, TransactionListener, TransactionProducer, TransactionState, reply_to,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// Where the cluster is, or `None` after a line that says why nothing is tested.
fn name_server() -> Option<String> {
    let found = std::env::var("AFTERBURNER_TEST_NAMESRV").ok();
    if found.is_none() {
        eprintln!("not tested: AFTERBURNER_TEST_NAMESRV names no cluster");
    }
    found
}

/// A name that no run has used before.
fn fresh(what: &str) -> String {
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    format!("{what}_{nanos:x}")
}

async fn create(name_server: &str, topic: &str, queues: i32) {
    let admin = Admin::new(ClientConfig::new(name_server));
    admin.start().await.unwrap();
    for master in admin.masters(None).await.unwrap() {
        admin.create_topic(&master.addr, &TopicConfig::new(topic, queues, 6)).await.unwrap();
    }
    let until = Instant::now() + Duration::from_secs(10);
    while admin.route(topic).await.is_err() {
        assert!(Instant::now() < until, "the name server never heard of {topic}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    admin.shutdown().await;
}

async fn producer(name_server: &str) -> Producer {
    let producer = Producer::new(ClientConfig::new(name_server), ProducerConfig::new(fresh("PG")));
    producer.start().await.unwrap();
    producer
}

async fn send_numbers(producer: &Producer, topic: &str, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let sent = producer.send(Message::new(topic, number.to_string())).await.unwrap();
        assert_eq!(sent.status, SendStatus::Ok);
    }
}

/// What a listener got, by body.
type Got = Arc<Mutex<Vec<Arc<MessageExt>>>>;

fn consumer(name_server: &str, group: &str, topic: &str, expression: &str) -> (PushConsumer, Got) {
    with_config(ClientConfig::new(name_server), from_first(group), topic, expression)
}

fn from_first(group: &str) -> PushConsumerConfig {
    let mut config = PushConsumerConfig::new(group);
    config.consume_from = ConsumeFrom::FirstOffset;
    config.await_termination = Duration::from_secs(1);
    config
}

fn with_config(
    client: ClientConfig,
    config: PushConsumerConfig,
    topic: &str,
    expression: &str,
) -> (PushConsumer, Got) {
    let mut consumer = PushConsumer::new(client, config);
    consumer.subscribe(topic, expression).unwrap();
    let got = Got::default();
    let into = got.clone();
    consumer.listen(move |messages| {
        into.lock().unwrap().extend(messages);
        std::future::ready(Consumed::Done)
    });
    (consumer, got)
}

fn numbers(got: &Got) -> Vec<usize> {
    let text =
        |message: &Arc<MessageExt>| String::from_utf8(message.body().to_vec()).unwrap().parse().unwrap();
    got.lock().unwrap().iter().map(text).collect()
}

async fn until(what: &str, seconds: u64, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !holds() {
        assert!(Instant::now() < end, "not within {seconds} s: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Everything in a topic, by pulling.
async fn pull_all(name_server: &str, topic: &str, expression: &str) -> Vec<Arc<MessageExt>> {
    let consumer = PullConsumer::new(ClientConfig::new(name_server), PullConsumerConfig::new(fresh("pull")));
    consumer.start().await.unwrap();
    let mut messages = Vec::new();
    for queue in consumer.queues(topic).await.unwrap() {
        let mut offset = consumer.min_offset(&queue).await.unwrap();
        loop {
            let result = consumer.pull(&queue, expression, offset, 32).await.unwrap();
            messages.extend(result.messages);
            offset = result.next_begin_offset;
            if result.status == PullStatus::NoNewMessage {
                break;
            }
        }
    }
    consumer.shutdown().await;
    messages
}

/// Goal: every way of sending, in both forms of header, and every field of a message comes back as it was sent.
#[tokio::test(flavor = "multi_thread")]
async fn messages_come_back_as_they_were_sent() {
    let Some(name_server) = name_server() else { return };
    for codec in [Codec::Json, Codec::Binary] {
        let topic = fresh("fields");
        create(&name_server, &topic, 4).await;
        let client = ClientConfig::new(&name_server).with_codec(codec);
        let producer = Producer::new(client, ProducerConfig::new(fresh("PG")));
        producer.start().await.unwrap();

        let message = Message::new(&topic, "sync").with_tag("TagA").with_keys(["k1", "k2"]).with_flag(7);
        let message = message.with_property("mine", "\u{e4}\"quoted\"\n").unwrap();
        let sent = producer.send(message).await.unwrap();
        let big = "again and again ".repeat(1000);
        producer.send(Message::new(&topic, big.clone())).await.unwrap();
        let end = producer.send_async(Message::new(&topic, "async")).await.unwrap();
        end.await.unwrap();
        let selected = producer
            .send_selected(Message::new(&topic, "selected"), |queues, _| queues.len() - 1)
            .await
            .unwrap();
        assert_eq!(selected.queue.queue_id, 3);
        let batch =
            (0..10).map(|number| Message::new(&topic, format!("batch {number}")).with_tag("B")).collect();
        let batched = producer.send_batch(batch).await.unwrap();
        assert_eq!(batched.offset_msg_id.split(',').count(), 10);
        producer.send_oneway(Message::new(&topic, "oneway")).await.unwrap();
        producer.shutdown().await;

        let end = Instant::now() + Duration::from_secs(10);
        let mut messages = pull_all(&name_server, &topic, "*").await;
        while messages.len() < 15 && Instant::now() < end {
            messages = pull_all(&name_server, &topic, "*").await;
        }
        let by_body: HashMap<String, Arc<MessageExt>> = messages
            .iter()
            .map(|message| (String::from_utf8(message.body().to_vec()).unwrap(), message.clone()))
            .collect();
        assert_eq!(by_body.len(), 15);
        for body in ["sync", "async", "selected", "oneway", &big, "batch 0", "batch 9"] {
            assert!(by_body.contains_key(body), "{body} is missing");
        }
        let back = &by_body["sync"];
        assert_eq!((back.tag(), back.flag, back.topic()), (Some("TagA"), 7, topic.as_str()));
        assert_eq!(back.keys().collect::<Vec<_>>(), ["k1", "k2"]);
        assert_eq!(back.property("mine"), Some("\u{e4}\"quoted\"\n"));
        assert_eq!((back.msg_id(), &back.offset_msg_id), (sent.msg_id.as_str(), &sent.offset_msg_id));
        assert_eq!((back.queue_offset, &back.queue), (sent.queue_offset, &sent.queue));
        let offsets: Vec<i64> = (0..10).map(|n| by_body[&format!("batch {n}")].queue_offset).collect();
        assert_eq!(offsets, (batched.queue_offset..batched.queue_offset + 10).collect::<Vec<_>>());
        assert_eq!(pull_all(&name_server, &topic, "TagA || none").await.len(), 1);
    }
}

/// Goal: a push consumer gets everything once, whichever codec; a restart goes on where the last life ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_resumes_after_a_restart() {
    let Some(name_server) = name_server() else { return };
    for codec in [Codec::Json, Codec::Binary] {
        let (topic, group) = (fresh("resume"), fresh("CG"));
        create(&name_server, &topic, 4).await;
        let producer = producer(&name_server).await;
        send_numbers(&producer, &topic, 0..200).await;
        let client = ClientConfig::new(&name_server).with_codec(codec);
        let (first, got) = with_config(client.clone(), from_first(&group), &topic, "*");
        first.start().await.unwrap();
        until("the first life has it all", 30, || got.lock().unwrap().len() == 200).await;
        first.shutdown().await;
        send_numbers(&producer, &topic, 200..300).await;
        let (second, rest) = with_config(client, from_first(&group), &topic, "*");
        second.start().await.unwrap();
        until("the second life has the rest", 30, || rest.lock().unwrap().len() >= 100).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        second.shutdown().await;
        producer.shutdown().await;
        assert_eq!(numbers(&rest).into_iter().collect::<BTreeSet<_>>(), (200..300).collect());
        assert_eq!(rest.lock().unwrap().len(), 100, "nothing twice");
    }
}

/// Goal: only messages with the tags asked for reach the listener.
#[tokio::test(flavor = "multi_thread")]
async fn tags_select() {
    let Some(name_server) = name_server() else { return };
    let topic = fresh("tags");
    create(&name_server, &topic, 2).await;
    let producer = producer(&name_server).await;
    for number in 0..60 {
        let tag = ["A", "B", "C"][number % 3];
        producer.send(Message::new(&topic, number.to_string()).with_tag(tag)).await.unwrap();
    }
    let (consumer, got) = consumer(&name_server, &fresh("CG"), &topic, "A || C");
    consumer.start().await.unwrap();
    until("both tags came", 30, || got.lock().unwrap().len() >= 40).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    consumer.shutdown().await;
    producer.shutdown().await;
    let mut all = numbers(&got);
    all.sort_unstable();
    assert_eq!(all, (0..60).filter(|number| number % 3 != 1).collect::<Vec<_>>());
}

/// Goal: an orderly listener sees each queue in order, one message at a time.
#[tokio::test(flavor = "multi_thread")]
async fn orderly_is_in_order() {
    let Some(name_server) = name_server() else { return };
    let topic = fresh("order");
    create(&name_server, &topic, 4).await;
    let producer = producer(&name_server).await;
    send_numbers(&producer, &topic, 0..400).await;
    let mut consumer = PushConsumer::new(ClientConfig::new(&name_server), from_first(&fresh("CG")));
    consumer.subscribe(&topic, "*").unwrap();
    let seen: Arc<Mutex<BTreeMap<i32, Vec<i64>>>> = Arc::default();
    let into = seen.clone();
    consumer.listen_orderly(move |messages| {
        for message in messages {
            into.lock().unwrap().entry(message.queue.queue_id).or_default().push(message.queue_offset);
        }
        std::future::ready(Consumed::Done)
    });
    consumer.start().await.unwrap();
    let count = || seen.lock().unwrap().values().map(Vec::len).sum::<usize>();
    until("all came", 30, || count() == 400).await;
    consumer.shutdown().await;
    producer.shutdown().await;
    for (queue, offsets) in seen.lock().unwrap().iter() {
        assert_eq!(*offsets, (0..100).collect::<Vec<i64>>(), "queue {queue}");
    }
}

/// Goal: two members share the queues; when one leaves, the other gets what it left; nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn members_share_the_queues() {
    let Some(name_server) = name_server() else { return };
    let (topic, group) = (fresh("share"), fresh("CG"));
    create(&name_server, &topic, 8).await;
    let producer = producer(&name_server).await;
    let (one, got_one) = consumer(&name_server, &group, &topic, "*");
    let (two, got_two) = consumer(&name_server, &group, &topic, "*");
    one.start().await.unwrap();
    two.start().await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    send_numbers(&producer, &topic, 0..160).await;
    let both = || got_one.lock().unwrap().len() + got_two.lock().unwrap().len();
    until("both have it all", 30, || both() >= 160).await;
    let queues = |got: &Got| {
        got.lock().unwrap().iter().map(|message| message.queue.queue_id).collect::<BTreeSet<i32>>()
    };
    let (of_one, of_two) = (queues(&got_one), queues(&got_two));
    assert_eq!((of_one.len(), of_two.len()), (4, 4), "{of_one:?} {of_two:?}");
    one.shutdown().await;
    send_numbers(&producer, &topic, 160..320).await;
    until("the other takes over", 30, || both() >= 320).await;
    two.shutdown().await;
    producer.shutdown().await;
    let all: BTreeSet<usize> = numbers(&got_one).into_iter().chain(numbers(&got_two)).collect();
    assert_eq!(all.len(), 320);
}

/// Goal: in broadcasting mode every member gets every message.
#[tokio::test(flavor = "multi_thread")]
async fn broadcasting_reaches_everybody() {
    let Some(name_server) = name_server() else { return };
    let (topic, group) = (fresh("broadcast"), fresh("CG"));
    create(&name_server, &topic, 4).await;
    let producer = producer(&name_server).await;
    send_numbers(&producer, &topic, 0..100).await;
    let member = |name: &str| {
        let client = ClientConfig::new(&name_server).with_instance_name(fresh(name));
        let config = PushConsumerConfig { model: MessageModel::Broadcasting, ..from_first(&group) };
        with_config(client, config, &topic, "*")
    };
    let ((one, got_one), (two, got_two)) = (member("one"), member("two"));
    one.start().await.unwrap();
    two.start().await.unwrap();
    for got in [&got_one, &got_two] {
        until("a member has it all", 30, || got.lock().unwrap().len() == 100).await;
    }
    one.shutdown().await;
    two.shutdown().await;
    producer.shutdown().await;
}

/// Goal: a message whose listener fails comes again after the first retry delay, with its failure counted and its
/// topic restored.
#[tokio::test(flavor = "multi_thread")]
async fn failed_messages_come_again() {
    let Some(name_server) = name_server() else { return };
    let topic = fresh("retry");
    create(&name_server, &topic, 1).await;
    let producer = producer(&name_server).await;
    let mut consumer = PushConsumer::new(ClientConfig::new(&name_server), from_first(&fresh("CG")));
    consumer.subscribe(&topic, "*").unwrap();
    let got = Got::default();
    let into = got.clone();
    consumer.listen(move |messages| {
        let is_first = messages.iter().all(|message| message.reconsume_times == 0);
        into.lock().unwrap().extend(messages);
        std::future::ready(if is_first { Consumed::Again } else { Consumed::Done })
    });
    consumer.start().await.unwrap();
    let sent = producer.send(Message::new(&topic, "1").with_tag("t")).await.unwrap();
    until("it comes again", 60, || got.lock().unwrap().len() >= 2).await;
    consumer.shutdown().await;
    producer.shutdown().await;
    let got = got.lock().unwrap();
    let again = &got[1];
    assert_eq!(
        (again.topic(), again.reconsume_times, again.msg_id()),
        (topic.as_str(), 1, sent.msg_id.as_str())
    );
    assert!(again.store_timestamp - got[0].store_timestamp >= 9000, "the first retry is after 10 s");
}

/// Commits or rolls back by the body; says nothing at first for "ask".
struct Judge {
    checks: Arc<Mutex<Vec<String>>>,
}

impl TransactionListener for Judge {
    fn execute(&self, message: &Message) -> TransactionState {
        match message.body.as_ref() {
            b"commit" => TransactionState::Commit,
            b"rollback" => TransactionState::Rollback,
            _ => TransactionState::Unknown,
        }
    }

    fn check(&self, message: &MessageExt) -> TransactionState {
        self.checks.lock().unwrap().push(message.msg_id().to_owned());
        TransactionState::Commit
    }
}

/// Goal: committed halves are delivered, rolled back ones are not, and one the broker asks about is once it is
/// answered. Takes as long as the broker waits before it asks.
#[tokio::test(flavor = "multi_thread")]
async fn transactions_are_all_or_nothing() {
    let Some(name_server) = name_server() else { return };
    let topic = fresh("trans");
    create(&name_server, &topic, 1).await;
    let checks: Arc<Mutex<Vec<String>>> = Arc::default();
    let producer = TransactionProducer::new(
        ClientConfig::new(&name_server),
        ProducerConfig::new(fresh("TPG")),
        Judge { checks: checks.clone() },
    );
    producer.start().await.unwrap();
    let mut consumer = PushConsumer::new(ClientConfig::new(&name_server), from_first(&fresh("CG")));
    consumer.subscribe(&topic, "*").unwrap();
    let got: Arc<Mutex<Vec<String>>> = Arc::default();
    let into = got.clone();
    consumer.listen(move |messages| {
        let text = |message: &Arc<MessageExt>| String::from_utf8(message.body().to_vec()).unwrap();
        into.lock().unwrap().extend(messages.iter().map(text));
        std::future::ready(Consumed::Done)
    });
    consumer.start().await.unwrap();
    for body in ["commit", "rollback", "ask"] {
        let result = producer.send(Message::new(&topic, body)).await.unwrap();
        assert_eq!(result.sent.status, SendStatus::Ok);
    }
    until("the committed one is delivered", 20, || got.lock().unwrap().contains(&"commit".to_owned())).await;
    until("the broker asks", 120, || !checks.lock().unwrap().is_empty()).await;
    until("the answer counts", 20, || got.lock().unwrap().contains(&"ask".to_owned())).await;
    consumer.shutdown().await;
    producer.shutdown().await;
    assert!(!got.lock().unwrap().contains(&"rollback".to_owned()));
}

/// Goal: a request gets the reply of whoever consumes it.
#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered() {
    let Some(name_server) = name_server() else { return };
    let topic = fresh("request");
    create(&name_server, &topic, 1).await;
    let replier = Arc::new(producer(&name_server).await);
    let mut consumer = PushConsumer::new(ClientConfig::new(&name_server), from_first(&fresh("CG")));
    consumer.subscribe(&topic, "*").unwrap();
    let sender = replier.clone();
    consumer.listen(move |messages| {
        let sender = sender.clone();
        async move {
            for message in &messages {
                let mut text = message.body().to_vec();
                text.reverse();
                sender.send(reply_to(message, text).unwrap()).await.unwrap();
            }
            Consumed::Done
        }
    });
    consumer.start().await.unwrap();
    let asker = producer(&name_server).await;
    for text in ["abc", "xyz"] {
        let reply = asker.request(Message::new(&topic, text), Duration::from_secs(20)).await.unwrap();
        assert_eq!(reply.body, text.chars().rev().collect::<String>());
    }
    consumer.shutdown().await;
    let error = asker.request(Message::new(&topic, "nobody"), Duration::from_millis(500)).await.unwrap_err();
    assert!(matches!(error, ClientError::NoReply { .. }), "{error}");
    asker.shutdown().await;
    replier.shutdown().await;
}

/// Goal: offsets are kept, found by time, and bounded as the broker says; an offset beyond is illegal.
#[tokio::test(flavor = "multi_thread")]
async fn a_puller_knows_its_place() {
    let Some(name_server) = name_server() else { return };
    let (topic, group) = (fresh("place"), fresh("CG"));
    create(&name_server, &topic, 1).await;
    let producer = producer(&name_server).await;
    send_numbers(&producer, &topic, 0..10).await;
    let consumer = PullConsumer::new(ClientConfig::new(&name_server), PullConsumerConfig::new(&group));
    consumer.start().await.unwrap();
    let queue = consumer.queues(&topic).await.unwrap().remove(0);
    assert_eq!(
        (consumer.min_offset(&queue).await.unwrap(), consumer.max_offset(&queue).await.unwrap()),
        (0, 10)
    );
    assert_eq!(consumer.committed(&queue).await.unwrap(), None);
    // The group is made by its first pull or heartbeat.
    let result = consumer.pull(&queue, "*", 4, 3).await.unwrap();
    assert_eq!((result.messages.len(), result.next_begin_offset, result.max_offset), (3, 7, 10));
    consumer.commit(&queue, 7).await.unwrap();
    assert_eq!(consumer.committed(&queue).await.unwrap(), Some(7));
    let third = result.messages[2].store_timestamp;
    assert!(consumer.search_offset(&queue, third).await.unwrap() <= 6);
    let far = consumer.pull(&queue, "*", 99, 3).await.unwrap();
    assert_eq!((far.status, far.next_begin_offset), (PullStatus::OffsetIllegal, 10));
    // A pull that is held ends with the message that comes in meanwhile.
    let (held, sent) = tokio::join!(consumer.pull_block(&queue, "*", 10, 3), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        producer.send(Message::new(&topic, "10")).await
    });
    sent.unwrap();
    assert_eq!(held.unwrap().messages.len(), 1);
    consumer.shutdown().await;
    producer.shutdown().await;
}

/// Goal: a topic nobody made is made by the first message to it; one that is deleted is gone.
#[tokio::test(flavor = "multi_thread")]
async fn topics_come_and_go() {
    let Some(name_server) = name_server() else { return };
    let topic = fresh("made_by_sending");
    let producer = producer(&name_server).await;
    producer.send(Message::new(&topic, "first")).await.unwrap();
    let admin = Admin::new(ClientConfig::new(&name_server));
    admin.start().await.unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    while admin.route(&topic).await.is_err() {
        assert!(Instant::now() < end, "the new topic is not registered");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let route = admin.route(&topic).await.unwrap();
    assert_eq!(route.queue_datas[0].write_queue_nums, 4);
    assert!(admin.topics().await.unwrap().contains(&topic));
    let master = admin.masters(None).await.unwrap().remove(0);
    let stats = admin.topic_stats(&master.addr, &topic).await.unwrap();
    assert_eq!(stats.offset_table.values().map(|queue| queue.max_offset).sum::<i64>(), 1);
    assert!(admin.runtime_info(&master.addr).await.unwrap().contains_key("brokerVersionDesc"));
    admin.delete_topic(&topic, None).await.unwrap();
    let error = admin.topic_stats(&master.addr, &topic).await.unwrap_err();
    assert_eq!(error.code(), Some(protocol::code::response::TOPIC_NOT_EXIST));
    admin.shutdown().await;
    producer.shutdown().await;
}

/// Goal: a message is found by its key, its sender's id, the id of its place, its queue offset and its time, by the library and by
/// the command; and nothing else is. Method: two messages with keys among ten without, in one of four queues each.
#[tokio::test(flavor = "multi_thread")]
async fn messages_are_found() {
    let Some(name_server) = name_server() else { return };
    let topic = fresh("Find");
    create(&name_server, &topic, 4).await;
    let producer = producer(&name_server).await;
    send_numbers(&producer, &topic, 0..10).await;
    let mut sent = Vec::new();
    for body in ["one", "two"] {
        let message = Message::new(&topic, body).with_keys(["shared", body]).with_tag("Tag");
        sent.push(producer.send(message).await.unwrap());
    }
    producer.shutdown().await;
    let admin = Admin::new(ClientConfig::new(&name_server));
    admin.start().await.unwrap();
    let bodies = |found: &[MessageExt]| -> BTreeSet<String> {
        found.iter().map(|message| String::from_utf8_lossy(message.body()).into_owned()).collect()
    };
    let both = BTreeSet::from(["one".to_owned(), "two".to_owned()]);
    let (one, all) = (BTreeSet::from(["one".to_owned()]), 0..i64::MAX);
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        // An index is made by and by.
        let found = admin.find_messages(&topic, IndexedBy::Key, "shared", all.clone(), 32).await.unwrap();
        if bodies(&found) == both {
            break;
        }
        assert!(Instant::now() < until, "{found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let found = admin.find_messages(&topic, IndexedBy::Key, "one", all.clone(), 32).await.unwrap();
    assert_eq!(bodies(&found), one);
    assert_eq!(admin.find_messages(&topic, IndexedBy::Key, "On", all.clone(), 32).await.unwrap(), []);
    assert_eq!(admin.find_messages(&topic, IndexedBy::Key, "one", 0..1, 32).await.unwrap(), []);
    let id = found[0].unique_id().unwrap().to_owned();
    assert_eq!(id, sent[0].msg_id);
    assert_eq!(admin.find_messages(&topic, IndexedBy::UniqueId, &id, all.clone(), 32).await.unwrap(), found);
    let place = found[0].offset_msg_id.clone();
    assert_eq!(admin.view_message(Some(&topic), &place).await.unwrap().as_ref(), found.first());
    assert_eq!(admin.view_message(Some(&topic), "no id").await.unwrap(), None);
    let (queue, offset) = (found[0].queue.clone(), found[0].queue_offset);
    let there = admin.messages_from(&queue, offset, 1).await.unwrap();
    assert_eq!(bodies(&there), one);
    assert_eq!(admin.messages_from(&queue, 1_000, 1).await.unwrap(), []);
    let stored = found[0].store_timestamp;
    assert_eq!(admin.messages_between(&topic, 0..i64::MAX, 32).await.unwrap().len(), 12);
    let then = admin.messages_between(&topic, stored..stored + 1, 32).await.unwrap();
    assert!(bodies(&then).contains("one") && then.iter().all(|message| message.store_timestamp == stored));
    assert_eq!(admin.messages_between(&topic, 0..1_000, 32).await.unwrap(), []);
    admin.shutdown().await;
    let (queue_id, offset) = (queue.queue_id.to_string(), offset.to_string());
    for how in [
        vec!["key", "one", "--topic", &topic],
        vec!["key", &id, "--topic", &topic],
        vec!["id", &id, "--topic", &topic],
        vec!["id", &place],
        vec!["offset", &offset, "--queue", &queue_id, "--topic", &topic, "--max", "1"],
        vec!["time", "--topic", &topic],
    ] {
        for form in [None, Some("--json")] {
            let output = std::process::Command::new(env!("CARGO_BIN_EXE_afterburner"))
                .arg("query")
                .args(how.iter().copied().chain(form))
                .args(["-n", &name_server])
                .output()
                .unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success() && text.contains("one"), "{how:?}: {text} {:?}", output.stderr);
            assert!(form.is_none() || text.starts_with('{'), "{how:?}: {text}");
        }
    }
    let none = std::process::Command::new(env!("CARGO_BIN_EXE_afterburner"))
        .args(["query", "key", "none", "--topic", &topic, "-n", &name_server])
        .output()
        .unwrap();
    assert!(
        !none.status.success() && String::from_utf8_lossy(&none.stderr).contains("no message with that key")
    );
}
