//! The registrar against scripted name servers.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::RemotingCommand;
use protocol::code::{request, response};
use protocol::frame::{self, Codec, Found};
use tokio::sync::watch;

use super::{Identity, Pace, Registrar, Tables};
use crate::config::HostPort;
use crate::rng::Rng;

/// A scripted name server: it reads one request at a time and answers as told.
struct Peer(TcpStream);

impl Peer {
    fn accept(listener: &TcpListener) -> Peer {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Peer(stream)
    }

    fn read(&mut self) -> RemotingCommand {
        let mut bytes = vec![0; 4];
        self.0.read_exact(&mut bytes).unwrap();
        let rest = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        bytes.resize(4 + rest, 0);
        self.0.read_exact(&mut bytes[4..]).unwrap();
        match frame::find(&bytes).unwrap() {
            Found::Whole { frame, .. } => RemotingCommand::from_frame(&frame).unwrap(),
            Found::Need { .. } => panic!("a whole frame was read"),
        }
    }

    fn answer(&mut self, asked: &RemotingCommand, code: i32) {
        let answer = RemotingCommand::response(code, asked.opaque);
        self.0.write_all(&answer.encode(Codec::Json)).unwrap();
    }
}

fn listen() -> (TcpListener, HostPort) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, HostPort { host: "127.0.0.1".into(), port })
}

fn start(servers: &[HostPort]) -> (Registrar, watch::Sender<Option<Tables>>) {
    let identity = Identity {
        cluster: "C".into(),
        broker_name: "b".into(),
        broker_id: 0,
        broker_addr: "10.0.0.1:10911".into(),
        ha_server_addr: "10.0.0.1:10912".into(),
    };
    let pace = Pace { period: Duration::from_secs(30), answer_wait_max: Duration::from_secs(3) };
    let (tables, newest) = watch::channel(Some(Tables { body: Bytes::from_static(b"{}"), counter: 1 }));
    (Registrar::start(servers, identity, pace, newest, &mut Rng::from_seed(1)).unwrap(), tables)
}

/// One name server, and a registrar that registers with it.
fn start_one() -> (TcpListener, Registrar, watch::Sender<Option<Tables>>) {
    let (listener, server) = listen();
    let (registrar, tables) = start(&[server]);
    (listener, registrar, tables)
}

/// The connection over which the name server has said yes to the registration, and the registrar has heard it.
fn accept_known(listener: &TcpListener, registrar: &Registrar) -> Peer {
    let mut peer = Peer::accept(listener);
    let asked = peer.read();
    peer.answer(&asked, response::SUCCESS);
    assert!(registrar.standing().wait_for_all(Duration::from_secs(5)));
    peer
}

/// Goal: the first frame is a complete registration. Method: read it and compare every field.
#[test]
fn registers_at_once_with_every_field() {
    let (listener, registrar, _tables) = start_one();
    let mut peer = Peer::accept(&listener);
    let asked = peer.read();
    assert_eq!(asked.code, request::REGISTER_BROKER);
    for (name, value) in [
        ("brokerName", "b"),
        ("brokerAddr", "10.0.0.1:10911"),
        ("clusterName", "C"),
        ("haServerAddr", "10.0.0.1:10912"),
        ("brokerId", "0"),
        ("enableActingMaster", "false"),
        ("compressed", "false"),
        ("bodyCrc32", &(crc32fast::hash(b"{}") & 0x7fff_ffff).to_string()),
    ] {
        assert_eq!(asked.ext(name), Some(value), "{name}");
    }
    assert_eq!(&asked.body[..], b"{}");
    assert_eq!(registrar.standing().count(), (0, 1));
    peer.answer(&asked, response::SUCCESS);
    assert!(registrar.standing().wait_for_all(Duration::from_secs(5)));
}

/// Goal: a changed table is told within milliseconds, and several changes during one registration are told once.
#[test]
fn a_change_is_told_at_once_and_changes_are_joined() {
    let (listener, _registrar, tables) = start_one();
    let mut peer = Peer::accept(&listener);
    let first = peer.read();
    for version in ["a", "b", "c"] {
        tables.send_replace(Some(Tables { body: Bytes::from(version), counter: 1 }));
    }
    peer.answer(&first, response::SUCCESS);
    let began = Instant::now();
    let second = peer.read();
    assert!(began.elapsed() < Duration::from_millis(500));
    assert_eq!(&second.body[..], b"c");
    assert!(second.opaque != first.opaque);
    peer.answer(&second, response::SUCCESS);
    peer.0.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(peer.0.read(&mut [0]).is_err(), "nothing more is sent");
}

/// Goal: a name server that restarts knows us again in under a second. Method: close, and stay away a while.
#[test]
fn a_restarted_name_server_is_told_again() {
    let (listener, server) = listen();
    let (registrar, _tables) = start(std::slice::from_ref(&server));
    let peer = accept_known(&listener, &registrar);
    drop(peer);
    drop(listener);
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(registrar.standing().count(), (0, 1));
    let listener = TcpListener::bind((server.host.as_str(), server.port)).unwrap();
    let back = Instant::now();
    let mut peer = Peer::accept(&listener);
    assert_eq!(peer.read().code, request::REGISTER_BROKER);
    assert!(back.elapsed() < Duration::from_millis(900), "{:?}", back.elapsed());
}

/// Goal: a dead and a silent name server do not delay a third one.
#[test]
fn a_dead_name_server_delays_nobody() {
    let (dead_listener, dead) = listen();
    drop(dead_listener);
    let (_silent_listener, silent) = listen();
    let (listener, live) = listen();
    let began = Instant::now();
    let (registrar, _tables) = start(&[dead, silent, live]);
    let mut peer = Peer::accept(&listener);
    let asked = peer.read();
    peer.answer(&asked, response::SUCCESS);
    assert!(began.elapsed() < Duration::from_millis(500));
    assert!(!registrar.standing().wait_for_all(Duration::from_millis(50)));
    assert_eq!(registrar.standing().count(), (1, 3));
}

#[test]
fn leaving_unregisters_from_those_who_know_us() {
    let (listener, registrar, _tables) = start_one();
    let mut peer = accept_known(&listener, &registrar);
    let leaving = std::thread::spawn(move || registrar.leave());
    let goodbye = peer.read();
    assert_eq!(goodbye.code, request::UNREGISTER_BROKER);
    assert_eq!(goodbye.ext("brokerAddr"), Some("10.0.0.1:10911"));
    assert_eq!(goodbye.ext("brokerId"), Some("0"));
    peer.answer(&goodbye, response::SUCCESS);
    leaving.join().unwrap();
}

/// Goal: garbage or a refusal costs that connection or a second, nothing else.
#[test]
fn garbage_and_refusals_are_survived() {
    let (listener, registrar, _tables) = start_one();
    let mut peer = Peer::accept(&listener);
    peer.read();
    peer.0.write_all(&[0xff; 64]).unwrap();
    let mut peer = Peer::accept(&listener);
    let asked = peer.read();
    peer.answer(&asked, response::SYSTEM_ERROR);
    let again = peer.read();
    assert_eq!(registrar.standing().count(), (0, 1));
    peer.answer(&again, response::SUCCESS);
    assert!(registrar.standing().wait_for_all(Duration::from_secs(5)));
}

/// Goal: a request of the name server's own is answered, not taken for an answer.
#[test]
fn requests_of_a_name_server_are_refused_politely() {
    let (listener, _registrar, _tables) = start_one();
    let mut peer = Peer::accept(&listener);
    let _asked = peer.read();
    let mut strange = RemotingCommand::request(905);
    strange.opaque = 77;
    peer.0.write_all(&strange.encode(Codec::Json)).unwrap();
    let answer = peer.read();
    assert_eq!((answer.code, answer.opaque), (response::REQUEST_CODE_NOT_SUPPORTED, 77));
}

/// Goal: a peer that accepts and closes is not tried every 20 ms. Method: count for 2 s what comes to one that closes at once, to
/// one that closes after the question, and to one that says yes first.
#[test]
fn who_accepts_and_closes_is_left_alone() {
    for answers in [None, Some(false), Some(true)] {
        let (listener, server) = listen();
        listener.set_nonblocking(true).unwrap();
        let (_registrar, _tables) = start(&[server]);
        let (began, mut count) = (Instant::now(), 0);
        while began.elapsed() < Duration::from_secs(2) {
            let Ok((stream, _)) = listener.accept() else {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            };
            count += 1;
            stream.set_nonblocking(false).unwrap();
            let mut peer = Peer(stream);
            if let Some(says_yes) = answers {
                let asked = peer.read();
                if says_yes {
                    peer.answer(&asked, response::SUCCESS);
                }
            }
        }
        assert!((3..=14).contains(&count), "{count} connections in 2 s from {answers:?}");
    }
}

/// Goal: who stops does not wait for a name server that reads nothing. Method: a registration too large for the kernel's
/// buffers, under way when we leave.
#[test]
fn leaving_waits_for_nobody() {
    let (listener, registrar, tables) = start_one();
    let _peer = accept_known(&listener, &registrar);
    tables.send_replace(Some(Tables { body: Bytes::from(vec![b' '; 14 << 20]), counter: 2 }));
    std::thread::sleep(Duration::from_millis(300)); // It is being written.
    let began = Instant::now();
    registrar.leave();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

/// Goal: a registrar that is dropped ends its thread, also where no name server answers. Method: nobody counts its servers any
/// more, when the thread is gone.
#[test]
fn a_dropped_registrar_ends() {
    let (listener, server) = listen();
    drop(listener);
    let (registrar, _tables) = start(&[server]);
    std::thread::sleep(Duration::from_millis(50));
    let standing = std::sync::Arc::downgrade(&registrar.standing);
    drop(registrar);
    let began = Instant::now();
    while standing.upgrade().is_some() {
        assert!(began.elapsed() < Duration::from_secs(5), "its thread is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}
