//! The states of the services and the sharing of instances, which need no cluster.

#![allow(clippy::unwrap_used)] // All of it is tests.

use client::{
    ClientConfig, ClientError, Consumed, Message, Producer, ProducerConfig, PushConsumer, PushConsumerConfig,
    State,
};
use std::time::Duration;

/// An address where nobody listens: its port was free a moment ago.
fn nobody() -> ClientConfig {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    ClientConfig::new(&listener.local_addr().unwrap().to_string())
}

fn text<T>(result: Result<T, ClientError>) -> String {
    result.err().expect("it is refused").to_string()
}

/// Goal: CREATE_JUST → RUNNING → SHUTDOWN_ALREADY, and what each state refuses.
#[tokio::test]
async fn a_producer_lives_once() {
    let producer = Producer::new(nobody(), ProducerConfig::new("life"));
    assert_eq!(producer.state(), State::CreateJust);
    assert_eq!(
        text(producer.send(Message::new("T", "x")).await),
        "The producer service state not OK, CREATE_JUST"
    );
    producer.start().await.unwrap();
    assert_eq!(producer.state(), State::Running);
    assert_eq!(
        text(producer.start().await),
        "The producer service state not OK, maybe started once, RUNNING"
    );
    producer.shutdown().await;
    producer.shutdown().await;
    assert_eq!(producer.state(), State::ShutdownAlready);
    let late = producer.send(Message::new("T", "x")).await;
    assert_eq!(text(late), "The producer service state not OK, SHUTDOWN_ALREADY");
    let again = "The producer service state not OK, maybe started once, SHUTDOWN_ALREADY";
    assert_eq!(text(producer.start().await), again);
}

/// Goal: a refused group leaves START_FAILED.
#[tokio::test]
async fn a_bad_group_does_not_start() {
    for (group, reason) in [
        ("", "the specified group is blank"),
        ("DEFAULT_PRODUCER", "producerGroup can not equal DEFAULT_PRODUCER, please specify another one."),
    ] {
        let producer = Producer::new(nobody(), ProducerConfig::new(group));
        assert_eq!(text(producer.start().await), reason);
        assert_eq!(producer.state(), State::StartFailed);
        let late = "The producer service state not OK, maybe started once, START_FAILED";
        assert_eq!(text(producer.start().await), late);
    }
    let consumer = PushConsumer::new(nobody(), PushConsumerConfig::new("CG"));
    assert_eq!(text(consumer.start().await), "messageListener is null");
}

/// Goal: one instance a client id. The same group twice in it is refused, and may start once the first is gone; under
/// names of their own the same groups get along.
#[tokio::test]
async fn an_instance_has_each_group_once() {
    let client = nobody().with_instance_name("shared");
    let first = Producer::new(client.clone(), ProducerConfig::new("twice"));
    let second = Producer::new(client.clone(), ProducerConfig::new("twice"));
    let other = Producer::new(client, ProducerConfig::new("another"));
    first.start().await.unwrap();
    other.start().await.unwrap();
    assert_eq!(first.client_id(), other.client_id());
    assert!(first.client_id().unwrap().ends_with("@shared"));
    let taken = "The producer group[twice] has been created before, specify another name please.";
    assert_eq!(text(second.start().await), taken);
    assert_eq!(second.state(), State::CreateJust);
    first.shutdown().await;
    second.start().await.unwrap();
    second.shutdown().await;
    other.shutdown().await;

    let (one, two) = (
        Producer::new(nobody(), ProducerConfig::new("twice")),
        Producer::new(nobody(), ProducerConfig::new("twice")),
    );
    one.start().await.unwrap();
    two.start().await.unwrap();
    let (one_id, two_id) = (one.client_id().unwrap(), two.client_id().unwrap());
    assert_ne!(one_id, two_id);
    assert!(one_id.contains(&format!("@{}#", std::process::id())), "{one_id}");
}

/// Goal: nobody to ask is said at once and by its documented code, and so is a message that breaks a rule.
#[tokio::test]
async fn failures_have_their_codes() {
    let producer = Producer::new(nobody(), ProducerConfig::new("codes"));
    producer.start().await.unwrap();
    let began = std::time::Instant::now();
    let error = producer.send(Message::new("T", "x")).await.unwrap_err();
    assert_eq!(error.code(), Some(10005), "{error}");
    assert!(began.elapsed() < Duration::from_secs(2));
    let error = producer.send(Message::new("T", "")).await.unwrap_err();
    assert_eq!((error.code(), error.to_string().as_str()), (Some(13), "the message body length is zero"));
    producer.shutdown().await;
}

/// Goal: a consumer that was dropped leaves no task behind that keeps its instance alive: its id is free again.
#[tokio::test]
async fn a_dropped_consumer_leaves() {
    let client = nobody().with_instance_name("dropped");
    for _ in 0..2 {
        let mut consumer = PushConsumer::new(client.clone(), PushConsumerConfig::new("CG"));
        consumer.subscribe("T", "*").unwrap();
        consumer.listen(|_| std::future::ready(Consumed::Done));
        consumer.start().await.unwrap();
        drop(consumer);
    }
}

/// Goal: `send_async` waits when as much is under way as may be, also when nobody looks at the ends of what was begun, and goes
/// on by itself when there is room; a shutdown ends the wait. Method: a name server that says nothing.
#[tokio::test]
async fn async_sends_wait_for_room() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = ClientConfig {
        write_bytes_max: 8 << 10,
        api_timeout: Duration::from_millis(300),
        ..ClientConfig::new(&silent.local_addr().unwrap().to_string())
    };
    let producer = std::sync::Arc::new(Producer::new(client, ProducerConfig::new("room")));
    producer.start().await.unwrap();
    let message = || Message::new("T", vec![7; 1800]);
    let first = producer.send_async(message()).await.unwrap();
    let second = producer.send_async(message()).await.unwrap();
    let third = tokio::time::timeout(Duration::from_millis(50), producer.send_async(message())).await;
    assert!(third.is_err(), "half of 8 KiB are under way");
    let third = tokio::time::timeout(Duration::from_secs(20), producer.send_async(message())).await;
    drop(third.expect("the first ones had their time").unwrap());
    assert!(matches!(first.await, Err(ClientError::NoRoute { .. })));
    assert!(matches!(second.await, Err(ClientError::NoRoute { .. })));
    let waiting = tokio::spawn({
        let producer = producer.clone();
        async move {
            for _ in 0..100 {
                producer.send_async(Message::new("T", vec![7; 1800])).await.map(drop)?;
            }
            Ok::<(), ClientError>(())
        }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    producer.shutdown().await;
    let ended = tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it ends").unwrap();
    assert_eq!(text(ended), "The producer service state not OK, SHUTDOWN_ALREADY");
}
