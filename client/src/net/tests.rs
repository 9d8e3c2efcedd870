//! Tests of the shell, over real sockets and files.

use super::*;
use crate::core::Addr;
use crate::core::testing::{pushed_reply, zlib};
use protocol::frame::Found;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn settings(write_bytes_max: usize) -> Settings {
    let config = crate::config::ClientConfig::new("127.0.0.1:1");
    Settings {
        config: crate::config::ClientConfig { write_bytes_max, ..config },
        client_id: "here@1".to_owned(),
        ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        pid: 1,
        seed: 1,
    }
}

fn shell(write_bytes_max: usize) -> Arc<Shell> {
    Shell::start(settings(write_bytes_max))
}

/// Goal: what was told on the way out gets there, also when the connection was still to be made.
#[tokio::test]
async fn the_last_words_get_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr: Addr = listener.local_addr().unwrap().to_string().into();
    let shell = shell(1 << 20);
    let _pending = shell.ask(|core, token, now| {
        let command = RemotingCommand::request(15).oneway().field("commitOffset", 7);
        core.call(token, &addr, command, Duration::from_secs(3), now);
        Ok(())
    });
    shell.close().await;
    let came = tokio::time::timeout(Duration::from_secs(5), listener.accept()).await;
    let (mut peer, _) = came.expect("a connection was made").unwrap();
    let mut got = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), peer.read_to_end(&mut got)).await;
    read.expect("the connection has an end").unwrap();
    assert!(String::from_utf8_lossy(&got).contains("commitOffset"), "{} bytes came", got.len());
}

/// Goal: the offsets that a broadcasting group had last are the ones in its file, once we are closed. Method: a thousand
/// versions of three groups, as fast as can be, then the end at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_offsets_are_kept() {
    let dir = std::env::temp_dir().join(format!("ab-offsets-{}", std::process::id()));
    let settings = settings(1 << 20);
    let shell = Shell::start_in(dir.clone(), settings);
    for number in 1..=1000 {
        for group in ["a", "b", "c"] {
            let queue = crate::message::MessageQueue::new("T", "x", 0);
            let json = crate::offset_file::write(&[(queue, number)].into_iter().collect());
            shell.with(|core, _| core.save(group, json));
        }
    }
    shell.close().await;
    for group in ["a", "b", "c"] {
        let kept: Vec<i64> = shell.kept_offsets(group).unwrap().iter().map(|(_, offset)| offset).collect();
        assert_eq!(kept, [1000], "{group}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Goal: what waits for a peer that does not read is bounded, and the bound is gone once it reads. Method: one-way requests
/// of 1 MiB until one is refused; then the peer reads all that was taken, and another one.
#[tokio::test]
async fn what_waits_for_a_peer_is_bounded() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr: Addr = listener.local_addr().unwrap().to_string().into();
    let shell = shell(4 << 20);
    let tell = || {
        shell.ask(|core, token, now| {
            let command = RemotingCommand::request(10).oneway().body(vec![7; 1 << 20]);
            core.call(token, &addr, command, Duration::from_secs(60), now);
            Ok(())
        })
    };
    let first = tell();
    let (mut peer, _) = listener.accept().await.unwrap();
    first.reply().await.unwrap();
    let mut taken = 1;
    let refusal = loop {
        match tell().reply().await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 64, "the kernel has room for some of it, not for all");
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    assert!(matches!(refusal, ClientError::TooFast { max, .. } if max == 4 << 20), "{refusal}");
    let mut rest = vec![0; taken << 20];
    peer.read_exact(&mut rest).await.unwrap();
    let again = tokio::time::timeout(Duration::from_secs(20), async {
        while tell().reply().await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    again.await.expect("there is room again");
}

/// Goal: a broker that stands still does not keep a connection, its thread of writing and what was to be written for ever,
/// once the connection was given up. Method: 64 MiB to a peer that reads nothing until we have closed: it gets a part of
/// it and then the end.
#[tokio::test]
async fn a_peer_that_does_not_read_keeps_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr: Addr = listener.local_addr().unwrap().to_string().into();
    let shell = shell(128 << 20);
    for _ in 0..8 {
        let command = RemotingCommand::request(10).body(vec![7; 8 << 20]);
        let _pending = shell.ask(|core, token, now| {
            core.call(token, &addr, command, Duration::from_secs(60), now);
            Ok(())
        });
    }
    let (mut peer, _) = listener.accept().await.unwrap();
    peer.read_exact(&mut [0; 1024]).await.unwrap();
    shell.close().await;
    tokio::time::sleep(CLOSE_WAIT).await;
    let (mut got, mut bytes) = (0, vec![0; 1 << 20]);
    while let Ok(len @ 1..) = peer.read(&mut bytes).await {
        got += len;
    }
    assert!(got < 60 << 20, "{got} bytes came after the end");
}

/// Goal: what takes long to unpack is unpacked beside the core and goes on from there. Method: a broker pushes a compressed
/// reply that nobody waits for, and one that does not unpack: the first is heard, the second refused.
#[tokio::test]
async fn compressed_bodies_are_unpacked_beside_the_core() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr: Addr = listener.local_addr().unwrap().to_string().into();
    let shell = shell(1 << 20);
    let _pending = shell.ask(|core, token, now| {
        core.call(token, &addr, RemotingCommand::request(10).oneway(), Duration::from_secs(60), now);
        Ok(())
    });
    let (mut peer, _) = listener.accept().await.unwrap();
    let flags = protocol::record::sys_flag::COMPRESSED;
    for (opaque, body) in [(7, zlib(b"a reply")), (8, b"not packed".to_vec())] {
        let push = RemotingCommand { opaque, ..pushed_reply("nobody's", flags, body) };
        peer.write_all(&push.encode(protocol::Codec::Json)).await.unwrap();
    }
    let mut bytes = Vec::new();
    let mut codes = Vec::new();
    let heard = async {
        while codes.len() < 2 {
            assert!(peer.read_buf(&mut bytes).await.unwrap() > 0, "the client goes on");
            while let Found::Whole { frame, bytes_len } = protocol::frame::find(&bytes).unwrap() {
                let command = RemotingCommand::from_frame(&frame).unwrap();
                codes.extend(command.is_response().then_some((command.opaque, command.code)));
                bytes.drain(..bytes_len);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), heard).await.expect("both are answered");
    assert_eq!(codes, [(7, response::SUCCESS), (8, response::SYSTEM_ERROR)]);
}
