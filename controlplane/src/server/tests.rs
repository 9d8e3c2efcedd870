//! Tests of the server from within: what is left of a connection whose task panics.
#![allow(clippy::unwrap_used)] // In a test, the place where it stops says enough.

use super::*;
use crate::config::Config;
use crate::namesrv::kv::KvTable;
use crate::namesrv::request::Query;
use protocol::code::request;
use std::io::{Read, Write};

fn decode_or_panic(command: &RemotingCommand) -> Result<Request, Refusal> {
    assert!(command.code != FATAL, "a decoder that panics");
    Request::read(command)
}

/// Goal: a panic over a request closes its connection as any other end does: no place is kept for it, and the broker that
/// registered over it is out of the routes. Method: a decoder that panics, among the tasks and beside them.
#[tokio::test]
async fn a_panic_leaves_nothing_behind() {
    let mut config = Config::new("/nowhere", None);
    for setting in ["bindAddress=127.0.0.1", "listenPort=0"] {
        config.read_argument(setting).unwrap();
    }
    let make = |now| NameServer::new(config, KvTable::default(), now);
    let server = Server::bind_with(make, decode_or_panic).unwrap();
    let (address, shared) = (server.local_addr().unwrap(), Arc::clone(&server.shared));
    tokio::spawn(server.run(std::future::pending()));
    for is_packed in [false, true] {
        let registration = RemotingCommand::request(request::REGISTER_BROKER)
            .field("clusterName", "C")
            .field("brokerName", "broker-a")
            .field("brokerAddr", "10.0.0.1:10911")
            .field("brokerId", 0);
        let fatal = RemotingCommand::request(FATAL).field("compressed", is_packed);
        let peer = tokio::task::spawn_blocking(move || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(WAIT)).unwrap();
            stream.write_all(&registration.encode(protocol::Codec::Json)).unwrap();
            let answered = stream.read(&mut [0; 4096]).unwrap();
            (stream, answered)
        });
        let (mut stream, answered) = peer.await.unwrap();
        assert!(answered > 0 && clusters(&shared).contains("broker-a"));
        assert_eq!(lock(&shared.connections).len(), 1);
        stream.write_all(&fatal.encode(protocol::Codec::Json)).unwrap();
        let ended = tokio::task::spawn_blocking(move || stream.read(&mut [0; 64]).unwrap());
        assert_eq!(ended.await.unwrap(), 0, "the connection is closed");
        let all = async {
            while !lock(&shared.connections).is_empty() || clusters(&shared).contains("broker-a") {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(WAIT, all).await.expect("the connection has left the tables");
    }
}

fn clusters(shared: &Shared) -> String {
    String::from_utf8(shared.read().look(Query::ClusterInfo, shared.now()).body.to_vec()).unwrap()
}

const FATAL: i32 = 77_777;
const WAIT: Duration = Duration::from_secs(10);
