//! Several shards in one process: two brokers to every client, with one start, one stop and one kill.

#![allow(clippy::unwrap_used)] // All of it is tests.

#[path = "../common/apart.rs"]
mod apart;
mod place;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use apart::ip;
use client::{
    Admin, ClientConfig, Message, Producer, ProducerConfig, PullConsumer, PullConsumerConfig, PullStatus,
    SendStatus,
};
use place::{Place, two_cores};
use serde_json::Value;

/// Runs a test on threads of its own, in a network of its own.
fn apart(test: impl Future<Output = ()> + Send) {
    apart::apart(|| tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(test));
}

/// Goal: what either shard acknowledged is there after kill -9 of both, and both are brokers like any other.
/// Method: see [`kill_and_read_back`], on kernel sockets.
#[test]
fn two_shards_on_kernel_sockets_keep_what_they_acknowledged() {
    apart(async {
        let Some(cores) = two_cores() else { return };
        let place = Place::new("kernel");
        let addresses = [0, 1].map(|number| format!("127.0.0.1:{}", place.shard_port(number)));
        kill_and_read_back(&place, &format!("{cores}\ndevice=kernel:127.0.0.1"), &addresses).await;
    });
}

/// The same with a stack of our own and a TAP for each shard.
#[test]
fn two_shards_on_taps_keep_what_they_acknowledged() {
    apart(async {
        let Some(cores) = two_cores() else { return };
        let tap = "ab-sh";
        if !ip(&["tuntap", "add", "dev", tap, "mode", "tap"]) || !ip(&["link", "delete", tap]) {
            println!("skipped: TAP needs root and /dev/net/tun");
            return;
        }
        let place = Place::new("tap");
        let addresses = [0, 1].map(|number| format!("10.78.{}.2:{}", 31 + number, place.shard_port(number)));
        let settings = format!("{cores}\ndevice=tap:{tap}\naddress=10.78.31.2/24");
        kill_and_read_back(&place, &settings, &addresses).await;
    });
}

/// Sends through the client library, with the name server's route of both, until both are killed; starts again, reads
/// every queue back and compares with what was acknowledged; then looks in, stops, and asks who is left; starts one shard alone.
async fn kill_and_read_back(place: &Place, settings: &str, addresses: &[String; 2]) {
    place.serve_names();
    let process = place.start(settings, 2);
    for (line, (name, address)) in process.ready.iter().zip(["broker-s", "broker-s-1"].iter().zip(addresses))
    {
        assert!(line.starts_with(&format!("The broker[{name}, {address}] boot success")), "{line}");
    }
    let masters = masters(place).await;
    assert_eq!(
        masters,
        BTreeMap::from([
            ("broker-s".to_owned(), addresses[0].clone()),
            ("broker-s-1".to_owned(), addresses[1].clone())
        ])
    );

    let acked = send_until_killed(place, process).await;
    let by_broker = acked.iter().fold(BTreeMap::<_, usize>::new(), |mut counts, (_, broker)| {
        *counts.entry(broker.as_str()).or_default() += 1;
        counts
    });
    println!("acknowledged: {by_broker:?}");
    assert!(by_broker.len() == 2 && by_broker.values().all(|&count| count >= 100), "{by_broker:?}");

    let process = place.start(settings, 2);
    let read = read_all(place).await;
    for (body, broker) in &acked {
        assert_eq!(read.get(body), Some(broker), "{body} was acknowledged");
    }
    println!("{} acknowledged, {} read back", acked.len(), read.len());
    look_in(&place.folder, addresses);
    process.stop();
    let until = Instant::now() + Duration::from_secs(5);
    while !self::masters(place).await.is_empty() {
        assert!(Instant::now() < until, "both sign off");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let said = place.start(&format!("{settings}\ncores=none"), 1).stop();
    assert!(
        said.contains("store/shard-1 is the store of shard 1"),
        "fewer cores leave messages behind: {said}"
    );
}

/// Brokers that the name server knows, and their addresses.
async fn masters(place: &Place) -> BTreeMap<String, String> {
    let admin = Admin::new(ClientConfig::new(&place.name_server()).with_instance_name("who"));
    admin.start().await.unwrap();
    let masters = admin.masters(None).await.unwrap();
    admin.shutdown().await;
    masters.into_iter().map(|master| (master.broker_name, master.addr)).collect()
}

/// Several tasks send, each message once, to whatever queue the client chooses; in the middle of it the process is killed.
/// Returns the bodies that were acknowledged, with the broker that did.
async fn send_until_killed(place: &Place, process: place::Process) -> Vec<(String, String)> {
    let mut config = ProducerConfig::new("PG_shards");
    config.retry_times_sync = 0; // A message that went twice would be read twice.
    let producer = Arc::new(Producer::new(ClientConfig::new(&place.name_server()), config));
    producer.start().await.unwrap();
    let brokers = || async { producer.publish_queues(TOPIC).await.unwrap_or_default() };
    // The first message makes the topic on the broker it goes to; both have it once both were sent to.
    let until = Instant::now() + Duration::from_secs(10);
    for number in 0.. {
        producer.send(Message::new(TOPIC, format!("first-{number}"))).await.unwrap();
        let names: BTreeSet<String> =
            brokers().await.into_iter().map(|queue| queue.broker_name.to_string()).collect();
        if names.len() == 2 {
            break;
        }
        assert!(Instant::now() < until, "the topic is on {names:?} only");
    }
    let (going, sent) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let (producer, going, sent) = (producer.clone(), going.clone(), sent.clone());
            tokio::spawn(async move {
                let mut acked = Vec::new();
                for number in 0.. {
                    if !going.load(Ordering::Relaxed) {
                        break;
                    }
                    let body = format!("{sender}/{number}");
                    match producer.send(Message::new(TOPIC, body.clone())).await {
                        Ok(result) => {
                            assert_eq!(result.status, SendStatus::Ok);
                            acked.push((body, result.queue.broker_name.to_string()));
                            sent.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(_) => break, // Killed meanwhile.
                    }
                }
                acked
            })
        })
        .collect();
    let until = Instant::now() + Duration::from_secs(30);
    while sent.load(Ordering::Relaxed) < 1_000 {
        assert!(Instant::now() < until, "sending is stuck");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    process.kill_9();
    tokio::time::sleep(Duration::from_millis(50)).await;
    going.store(false, Ordering::Relaxed);
    let mut acked = Vec::new();
    for sender in senders {
        acked.extend(sender.await.unwrap());
    }
    producer.shutdown().await;
    acked
}

/// Every body in the topic and the broker that has it; none twice.
async fn read_all(place: &Place) -> BTreeMap<String, String> {
    let client = ClientConfig::new(&place.name_server()).with_instance_name("reader");
    let consumer = PullConsumer::new(client, PullConsumerConfig::new("CG_shards"));
    consumer.start().await.unwrap();
    let mut read = BTreeMap::new();
    for queue in consumer.queues(TOPIC).await.unwrap() {
        let mut offset = consumer.min_offset(&queue).await.unwrap();
        loop {
            let result = consumer.pull(&queue, "*", offset, 32).await.unwrap();
            for message in &result.messages {
                let body = String::from_utf8(message.body().to_vec()).unwrap();
                let before = read.insert(body, queue.broker_name.to_string());
                assert!(before.is_none(), "a message was there twice");
            }
            offset = result.next_begin_offset;
            if result.status == PullStatus::NoNewMessage {
                break;
            }
        }
    }
    consumer.shutdown().await;
    read
}

/// Goal: each shard tells its own connections and counts, and which it is.
fn look_in(folder: &Path, addresses: &[String; 2]) {
    for (number, address) in addresses.iter().enumerate() {
        let store = if number == 0 { folder.join("store") } else { folder.join("store/shard-1") };
        let ask = |question: &str| -> Value {
            let mut stream = UnixStream::connect(store.join("afterburner.sock")).unwrap();
            writeln!(stream, r#"{{"ask":"{question}"}}"#).unwrap();
            let mut answer = String::new();
            BufReader::new(stream).read_line(&mut answer).unwrap();
            serde_json::from_str(&answer).unwrap()
        };
        let stats = ask("stats");
        assert_eq!(
            (&stats["broker"]["shard"], &stats["broker"]["address"]),
            (&number.into(), &address.as_str().into())
        );
        assert!(stats["broker"]["core"].is_u64(), "{stats}");
        assert!(stats["stats"]["counts"]["requests"]["pulls"].as_u64().unwrap() > 0, "{stats}");
        for conn in ask("conns")["conns"].as_array().unwrap() {
            assert_eq!(conn["local"], address.as_str());
        }
    }
}

/// Goal: a list of cores that cannot be, and a port that is taken, stop the start with the fix; what had been started is
/// stopped cleanly.
#[test]
fn a_start_that_cannot_be_says_why() {
    apart(async {
        let Some(cores) = two_cores() else { return };
        let place = Place::new("refused");
        for (list, fix) in [
            ("cores=0,0", "core 0 stands twice, and a core runs one shard: write each core once"),
            ("cores=0,4095", "and not on core 4095: write others, auto or none"),
            ("cores=0-1", "as in cores=1 or cores=2,3"),
        ] {
            let said = place.refused(&format!("{list}\ndevice=kernel:127.0.0.1"));
            assert!(said.contains(fix), "{list}: {said}");
        }
        let settings = format!("{cores}\ndevice=kernel:127.0.0.1\nnamesrvAddr=");
        let taken = TcpListener::bind(("127.0.0.1", place.shard_port(1))).unwrap();
        let said = place.refused(&settings);
        let wanted = format!("broker-s-1: cannot listen on port {}", place.shard_port(1));
        assert!(said.contains(&wanted), "{said}");
        drop(taken);
        let said = place.start(&settings, 2).stop();
        assert!(said.contains("broker-s: log from 0 to 0") && !said.contains("not clean"), "{said}");
        assert!(!said.contains("is the store of shard"), "{said}");
    });
}

/// Goal: a line of the log that comes while the shards run says whose it is. Method: a name server that is not there.
#[test]
fn each_line_of_the_log_names_its_shard() {
    apart(async {
        let Some(cores) = two_cores() else { return };
        let place = Place::new("speaker");
        let said =
            place.start(&format!("{cores}\ndevice=kernel:127.0.0.1\nnamesrvAddr=127.0.0.1:1"), 2).stop();
        for name in ["broker-s", "broker-s-1"] {
            assert!(said.contains(&format!("{name}: name server 127.0.0.1:1 cannot connect")), "{said}");
        }
    });
}

const TOPIC: &str = "TopicOfShards";
const SENDERS: usize = 8;
