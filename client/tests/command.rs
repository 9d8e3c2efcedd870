//! The command as a shell sees it.

#![allow(clippy::unwrap_used)] // A test.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use protocol::RemotingCommand;
use protocol::code::{request, response};
use protocol::frame::{Found, find};

/// Goal: a reader that has seen enough, as in `afterburner check | head -1`, ends the command without a word.
/// Method: close the pipe before anything is written.
#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_afterburner"))
        .arg("check")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success(), "{}", output.status);
}

/// Goal: what cannot be a name server is refused with what to write instead, and not asked whether it runs. Method: by the flag
/// and by the environment.
#[test]
fn what_is_no_name_server_is_told() {
    let run = |flags: &[&str], env: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_afterburner"));
        let output = command.arg("cluster").args(flags).env("NAMESRV_ADDR", env).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    for (said, place) in [
        (run(&["-n", "127.0.0.1"], "127.0.0.1:9876"), "-n 127.0.0.1"),
        (run(&[], "nonsense;a:9876"), "NAMESRV_ADDR nonsense;a:9876"),
    ] {
        assert!(said.starts_with(&format!("afterburner: {place}: `")), "{said}");
        assert!(said.contains("write HOST:PORT"), "{said}");
    }
}

/// Goal: a bench that is told to stop does so soon, says which load has no figures, and fails. Method: a minute's load on its own
/// stub, interrupted when it runs.
#[test]
fn an_interrupted_bench_ends_soon() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_afterburner"))
        .args([
            "bench",
            "--compare",
            "stub",
            "--loads",
            "ping",
            "--warmup",
            "0",
            "--seconds",
            "60",
            "--rounds",
            "2",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let pid = rustix::process::Pid::from_child(&child);
    std::thread::sleep(Duration::from_secs(1));
    assert!(child.try_wait().unwrap().is_none(), "it runs");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(output.status.code(), Some(1), "{}", output.status);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("stopped before its end"), "{told}");
}

/// Goal: what is to be made where no name server listens is refused, with what to do next. Method: a port that was just let go.
#[test]
fn a_group_without_a_name_server_is_refused() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let told = refused(&["group", "create", "--group", "G", "--namesrv", &free.to_string()]);
    assert!(told.contains(&free.to_string()), "{told}");
    assert!(told.contains("`afterburner up` starts a cluster, -n HOST:PORT names another"), "{told}");
}

/// Goal: what is to be made where no broker is, is refused, with what to do next; so it is where only the cluster named has
/// none. Method: a name server that knows nobody.
#[test]
fn a_group_without_a_broker_is_refused() {
    let addr = name_server_without_brokers().to_string();
    let told = refused(&["group", "create", "--group", "G", "--namesrv", &addr]);
    assert!(told.contains("there is no broker to do it on"), "{told}");
    assert!(told.contains("`afterburner up` starts a cluster, -n HOST:PORT names another"), "{told}");
    let told = refused(&["topic", "create", "--topic", "T", "--cluster-name", "C", "--namesrv", &addr]);
    assert!(told.contains("no broker of cluster C"), "{told}");
    assert!(told.contains("`afterburner cluster` lists those that there are"), "{told}");
}

/// Goal: `check` beside a running `up`, as the README has it, finds nothing that mends; what is no name server does. Method: a
/// port with a name server, one with somebody who says nothing the protocol knows.
#[test]
fn a_check_beside_a_name_server_is_content() {
    let check = |port: u16| {
        let port = port.to_string();
        let output = Command::new(env!("CARGO_BIN_EXE_afterburner"))
            .args(["check", "--namesrv-port", &port])
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let port = name_server_without_brokers().port();
    let (code, told) = check(port);
    let line = format!("ok    name server port       a name server answers at {port} already");
    assert!(told.contains(&line), "{told}");
    assert_eq!(code, Some(0), "{told}");

    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    std::thread::spawn(move || other.incoming().for_each(drop));
    let (code, told) = check(port);
    assert!(
        told.contains(&format!("lacks name server port       port {port}: Address already in use")),
        "{told}"
    );
    assert_eq!(code, Some(1), "{told}");
}

/// Goal: cores with which the broker does not start are no host on which it runs.
#[test]
fn a_check_of_cores_that_are_not_there_fails() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_afterburner"))
        .args(["check", "--namesrv-port", &free, "--cores", "4000"])
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("core 4000 is not for this process; the broker does not start so"), "{told}");
    assert_eq!(output.status.code(), Some(1), "{told}");
}

/// Goal: a topic that nobody has made is told in one line, with what to do next.
#[test]
fn a_topic_that_is_not_there_is_told() {
    let addr = name_server_without_brokers().to_string();
    let told = refused(&["query", "key", "K", "--topic", "Orders", "--namesrv", &addr]);
    assert!(
        told.contains("No topic route info in name server for the topic: Orders; `afterburner topic list`"),
        "{told}"
    );
    assert_eq!(told.lines().count(), 1, "{told}");
}

/// Goal: what is to be deleted and is not there is told in one line, with what to do next, and fails; what is there is deleted. Method: a
/// cluster of one broker that has one topic and one group.
#[test]
fn what_is_not_there_is_not_deleted() {
    let addr = cluster_of_one().to_string();
    for (kind, flag) in [("topic", "--topic"), ("group", "--group")] {
        let told = refused(&[kind, "delete", flag, "Nobody", "--namesrv", &addr]);
        let expected = format!(
            "afterburner: no broker has a {kind} Nobody; `afterburner {kind} list` shows those that there are\n"
        );
        assert_eq!(told, expected);
        let args = [kind, "delete", flag, "There", "--namesrv", &addr];
        let output = Command::new(env!("CARGO_BIN_EXE_afterburner")).args(args).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert_eq!((output.status.code(), told), (Some(0), format!("There is deleted on b ({addr})\n")));
    }
    let told = refused(&["topic", "delete", "--topic", "There", "--cluster-name", "C", "--namesrv", &addr]);
    assert!(told.contains("no broker of cluster C"), "{told}");
}

/// What the command says as it fails; nothing of it on stdout.
fn refused(args: &[&str]) -> String {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_afterburner")).args(args).output().unwrap();
    assert_eq!((status.code(), String::from_utf8_lossy(&stdout).as_ref()), (Some(1), ""));
    String::from_utf8(stderr).unwrap()
}

/// A name server that no broker has registered with. Its thread ends with the test.
fn name_server_without_brokers() -> SocketAddr {
    serve(|_, asked| {
        let code = match asked.code {
            request::GET_BROKER_CLUSTER_INFO => response::SUCCESS,
            code => {
                assert_eq!(code, request::GET_ROUTEINFO_BY_TOPIC);
                response::TOPIC_NOT_EXIST
            }
        };
        let mut answer = RemotingCommand::response(code, asked.opaque);
        answer.remark = Some(NO_ROUTE.into());
        answer.body = br#"{"brokerAddrTable":{},"clusterAddrTable":{}}"#.as_slice().into();
        answer
    })
}

/// A name server, and at the same address the broker that it knows. That has a topic and a group, each of the name `There`.
fn cluster_of_one() -> SocketAddr {
    serve(|addr, asked| {
        let is_unknown = asked.ext("topic").is_some_and(|topic| topic != "There");
        let (code, body) = match asked.code {
            request::GET_BROKER_CLUSTER_INFO => (
                response::SUCCESS,
                format!(r#"{{"brokerAddrTable":{{"b":{{"brokerAddrs":{{0:"{addr}"}},"brokerName":"b"}}}}}}"#),
            ),
            request::GET_TOPIC_STATS_INFO if is_unknown => (response::TOPIC_NOT_EXIST, String::new()),
            request::GET_TOPIC_STATS_INFO => (response::SUCCESS, r#"{"offsetTable":{}}"#.to_owned()),
            request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => (
                response::SUCCESS,
                r#"{"subscriptionGroupTable":{"There":{"groupName":"There"}}}"#.to_owned(),
            ),
            code => {
                let deletes = [
                    request::DELETE_TOPIC_IN_BROKER,
                    request::DELETE_TOPIC_IN_NAMESRV,
                    request::DELETE_SUBSCRIPTIONGROUP,
                ];
                assert!(deletes.contains(&code), "{code}");
                (response::SUCCESS, String::new())
            }
        };
        let mut answer = RemotingCommand::response(code, asked.opaque);
        answer.body = body.into_bytes().into();
        answer
    })
}

/// Answers whoever comes, until the test ends.
fn serve(answer: fn(SocketAddr, &RemotingCommand) -> RemotingCommand) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for peer in listener.incoming() {
            let peer = peer.unwrap();
            std::thread::spawn(move || serve_peer(peer, addr, answer));
        }
    });
    addr
}

/// Until the client closes.
fn serve_peer(
    mut peer: TcpStream,
    addr: SocketAddr,
    answer: fn(SocketAddr, &RemotingCommand) -> RemotingCommand,
) {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let read = peer.read(&mut piece).unwrap_or(0);
        if read == 0 {
            return;
        }
        bytes.extend_from_slice(&piece[..read]);
        while let Found::Whole { frame, bytes_len } = find(&bytes).unwrap() {
            let asked = RemotingCommand::from_frame(&frame).unwrap();
            let codec = frame.codec;
            bytes.drain(..bytes_len);
            peer.write_all(&answer(addr, &asked).encode(codec)).unwrap();
        }
    }
}

const NO_ROUTE: &str = "No topic route info in name server for the topic: Orders
See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";
