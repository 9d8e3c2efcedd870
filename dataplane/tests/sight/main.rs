//! Operators look into the real broker: a child process over TAP when the host gives one, else over kernel sockets.

#![allow(clippy::unwrap_used)] // All of it is tests.

mod broker;
mod frames;

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use broker::Broker;
use protocol::RemotingCommand;
use protocol::code::request;
use serde_json::{Value, json};

/// Goal: connections are told as they are, through a socket only the owner may use, which goes with the broker.
#[test]
fn operators_see_connections() {
    let mut broker = Broker::start("conns", "");
    let rights = std::fs::metadata(broker.socket()).unwrap().permissions().mode();
    assert_eq!(rights & 0o777, 0o600);

    let mut client = TcpStream::connect(broker.address).unwrap();
    let beat = r#"{"clientID":"looked@at","producerDataSet":[{"groupName":"P1"}],"consumerDataSet":[]}"#;
    broker::call(&mut client, RemotingCommand::request(request::HEART_BEAT).body(beat.as_bytes().to_vec()));
    let _silent = TcpStream::connect(broker.address).unwrap();

    let answer = broker.ask(&json!({ "ask": "conns" }));
    assert_eq!(answer["broker"]["name"], "broker-sight");
    let conns = answer["conns"].as_array().unwrap();
    assert_eq!(conns.len(), 2, "{answer}");
    let ours = client.local_addr().unwrap().to_string();
    let row = conns.iter().find(|row| row["peer"] == ours).unwrap();
    assert_eq!((&row["clientId"], &row["groups"]), (&json!("looked@at"), &json!(["P1"])));
    assert_eq!((&row["state"], &row["groupsCount"]), (&json!("established"), &json!(1)));
    assert!(row["bytesIn"].as_u64().unwrap() > beat.len() as u64);
    if broker.is_tap() {
        assert_eq!(row["retransmits"], 0);
        let rtt = row["rttMicros"].as_f64().unwrap();
        assert!(rtt > 0.0 && rtt < 1e6, "{rtt}");
    } else {
        assert!(row["rttMicros"].is_null());
    }
    let socket = broker.socket();
    broker.stop();
    assert!(!socket.exists());
}

/// Goal: drops are told by cause, polls and stages are counted in a real broker.
#[test]
fn operators_see_counts_and_times() {
    let broker = Broker::start("stats", "stageSampleInterval=1");
    let mut client = TcpStream::connect(broker.address).unwrap();
    for _ in 0..20 {
        broker::send(&mut client, &[7; 100]);
    }
    let answer = broker.ask(&json!({ "ask": "stats" }));
    let stats = &answer["stats"];
    assert_eq!(
        (&stats["counts"]["requests"]["putMessages"], &stats["levels"]["connections"]),
        (&json!(20), &json!(1))
    );
    let polls = &stats["counts"]["polls"];
    let [turns, busy, elapsed] =
        ["turns", "busyTurns", "elapsedNs"].map(|name| polls[name].as_u64().unwrap());
    assert!(busy >= 20 && turns >= busy && elapsed > 0, "{polls}");
    // The last one may be shown before it has ended.
    assert!(stats["times"]["whole"]["count"].as_u64().unwrap() >= 19, "{}", stats["times"]["whole"]);
    let appended = stats["times"]["appended"]["maxNs"].as_u64().unwrap();
    assert!(appended > 0, "a real clock moves within a turn");
    if broker.is_tap() {
        assert_eq!(stats["counts"]["net"]["dropIpChecksum"], 0);
        assert!(stats["counts"]["net"]["framesIn"].as_u64().unwrap() >= 20);
    }
}

/// Goal: who looks at the log finds which settings were changed while the broker runs, by whom, and that the file lacks them.
/// Method: two settings in one request.
#[test]
fn operators_read_of_changed_settings() {
    let broker = Broker::start("settings", "");
    let mut client = TcpStream::connect(broker.address).unwrap();
    let lines = b"brokerPermission=4\ntraceOn=false\n";
    let change = RemotingCommand::request(request::UPDATE_BROKER_CONFIG).body(lines.to_vec());
    assert_eq!(broker::call(&mut client, change).code, 0);
    let wanted = format!(
        "brokerPermission=4, traceOn=false: set by {} until the next start; write it into the -c file to keep it",
        client.local_addr().unwrap()
    );
    let until = Instant::now() + Duration::from_secs(20);
    while !broker.log().contains(&wanted) {
        assert!(Instant::now() < until, "no `{wanted}` in: {}", broker.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Goal: nonsense is answered with a sentence, silence is given up, and neither keeps others from being answered.
#[test]
fn nonsense_and_silence_do_no_harm() {
    let broker = Broker::start("nonsense", "");
    let idle: Vec<_> = (0..7).map(|_| UnixStream::connect(broker.socket()).unwrap()).collect();
    for nonsense in ["\n", "{}\n", "{\"ask\":\"everything\"}\n", "\u{1}\u{2}\n"] {
        // The one before has gone, but may not have been seen to go.
        let answer = || broker.try_ask_raw(nonsense.as_bytes());
        let error = |answer: Value| answer["error"].as_str().unwrap().to_owned();
        let errors = (0..1_000).filter_map(|_| answer()).map(error);
        let error = errors.into_iter().find(|error| !error.contains("too many")).unwrap();
        assert!(error.contains("no such question"), "{error}");
    }
    let more = UnixStream::connect(broker.socket()).unwrap();
    let conns = json!({ "ask": "conns" });
    let is_answered = || broker.try_ask(&conns).is_some_and(|answer| answer["conns"].is_array());
    assert!((0..1_000).any(|_| !is_answered()), "eight are too many");
    drop(more);
    let mut endless = UnixStream::connect(broker.socket()).unwrap();
    let _ = endless.write_all(&[b'x'; 100_000]); // It is hung up on before it is through.
    drop((idle, endless));
    // Those who are gone are noticed within moments.
    assert!((0..1_000).any(|_| is_answered()));
}

/// Goal: a broker that was killed leaves a socket behind, and the next one takes its place.
#[test]
fn the_socket_of_a_killed_broker_is_replaced() {
    let mut broker = Broker::start("killed", "");
    broker.kill_9();
    assert!(broker.socket().exists());
    broker.start_again();
    assert!(broker.ask(&json!({ "ask": "conns" }))["conns"].is_array());
}
