//! How connections end: by either side, by a reset, by silence.

use crate::wire::Out;
use crate::world::{World, seg};
use dataplane::net::packet::flag;
use dataplane::net::{Net, NetEvent};
use std::time::Duration;

/// Goal: a reset counts only at exactly the expected number (RFC 5961): others in the window are challenged, and those
/// outside are ignored.
#[test]
fn resets_must_be_exact() {
    let mut world = World::new();
    let (conn, first) = world.open(40_000);
    world.give_seg(seg(flag::ACK, 1000, first).data(b"12345"));
    world.take_events();
    assert!(world.give_seg(seg(flag::RST, 999, 0)).is_empty());
    assert!(world.give_seg(seg(flag::RST, 1005 + (1 << 20), 0)).is_empty());
    let challenge = world.give_seg(seg(flag::RST, 1006, 0));
    assert_eq!(challenge.len(), 1);
    assert_eq!(
        (challenge[0].tcp.flags, challenge[0].tcp.ack, challenge[0].tcp.seq),
        (flag::ACK, 1005, first)
    );
    assert!(world.take_events().is_empty());
    world.stack.consume(conn, 5); // Unread, they would be served before the end.
    assert!(world.give_seg(seg(flag::RST, 1005, 0)).is_empty());
    assert_eq!(world.take_events(), [NetEvent::Closed(conn)]);
    assert_eq!(world.stack.conns_len(), 0);
}

/// Goal: orderly ends from either side. Method: the peer closes first; then we close first.
#[test]
fn orderly_ends() {
    let mut world = World::new();
    let (conn, first) = world.open(40_000);
    world.give_seg(seg(flag::FIN | flag::ACK, 1000, first).data(b"bye"));
    assert_eq!(world.take_events(), [NetEvent::Readable(conn), NetEvent::PeerFinished(conn)]);
    assert_eq!(world.stack.readable(conn).0, b"bye");
    world.stack.send(conn, b"ok");
    world.stack.close(conn);
    world.turns();
    let out: Vec<Out> = world.drain().iter().map(|frame| Out::parse(frame)).collect();
    let last = out.last().unwrap();
    assert_eq!((last.tcp.ack, last.tcp.flags & flag::FIN), (1004, flag::FIN));
    assert!(out.iter().any(|out| out.data == b"ok"));
    assert_eq!(world.take_events(), [NetEvent::Closed(conn)]);
    assert!(world.give_seg(seg(flag::ACK, 1004, first.wrapping_add(3))).is_empty());
    assert_eq!(
        world.give_seg(seg(flag::ACK, 1004, first.wrapping_add(3)))[0].tcp.flags,
        flag::RST,
        "forgotten"
    );

    let (conn, first) = world.open(40_001);
    world.stack.close(conn);
    world.turns();
    let out: Vec<Out> = world.drain().iter().map(|frame| Out::parse(frame)).collect();
    assert_eq!(out[0].tcp.flags & flag::FIN, flag::FIN);
    assert_eq!(world.take_events(), [NetEvent::Closed(conn)]);
    let after = first.wrapping_add(1);
    world.give_seg(seg(flag::ACK, 1000, after).port(40_001));
    let ack = world.give_seg(seg(flag::FIN | flag::ACK, 1000, after).port(40_001));
    assert_eq!((ack.len(), ack[0].tcp.ack), (1, 1001));
    // In TIME-WAIT a newer SYN opens the connection again.
    let out = world.give_seg(seg(flag::SYN, 5000, 0).port(40_001));
    assert_eq!((out[0].tcp.flags, out[0].tcp.ack), (flag::SYN | flag::ACK, 5001));
}

/// Goal: a connection we have closed does not stay for ever, whatever the peer does.
#[test]
fn orphans_end() {
    let mut world = World::new();
    let (conn, first) = world.open(40_000);
    world.stack.close(conn);
    world.turns();
    world.give_seg(seg(flag::ACK, 1000, first.wrapping_add(1))); // The peer never finishes.
    let mut last = Vec::new();
    for _ in 0..120 {
        last.extend(world.wait(Duration::from_millis(100)));
    }
    assert!(last.iter().any(|out| out.tcp.flags & flag::RST != 0));
    assert_eq!(world.give_seg(seg(flag::ACK, 1000, first.wrapping_add(1)))[0].tcp.flags, flag::RST);
}

/// Goal: quiet connections are kept alive, dead peers are noticed. Method: answer nothing for more than a minute.
#[test]
fn dead_peers_are_noticed() {
    let mut world = World::new();
    let (conn, _) = world.open(40_000);
    let mut sent = Vec::new();
    for _ in 0..700 {
        sent.extend(world.wait(Duration::from_millis(100)));
    }
    assert!(sent.iter().filter(|out| out.data.len() == 1).count() >= 2, "keep-alives");
    assert_eq!(world.take_events(), [NetEvent::Closed(conn)]);
}
