//! How connections begin, and what is refused.

use crate::wire::{PEER_MAC, PORT};
use crate::world::{World, seg};
use dataplane::net::packet::flag;
use dataplane::net::{ConnId, Net, NetEvent};
use std::time::Duration;

/// Goal: segments that belong to nobody are refused as RFC 9293 says, resets never are.
#[test]
fn unknown_segments_are_reset() {
    let mut world = World::new();
    let out = world.give_seg(seg(flag::ACK | flag::PSH, 5, 77).data(b"lost"));
    assert_eq!(out.len(), 1);
    assert_eq!((out[0].tcp.flags, out[0].tcp.seq), (flag::RST, 77));
    assert_eq!((out[0].to_mac, out[0].tcp.to_port, out[0].tcp.from_port), (PEER_MAC, 40_000, PORT));

    let mut closed = seg(flag::SYN, 999, 0);
    closed.to_port = 1;
    let out = world.give_seg(closed);
    assert_eq!((out[0].tcp.flags, out[0].tcp.seq, out[0].tcp.ack), (flag::RST | flag::ACK, 0, 1000));

    assert!(world.give_seg(seg(flag::RST, 5, 0)).is_empty());
    assert!(world.give_seg(seg(flag::RST | flag::ACK, 5, 6)).is_empty());
}

/// Goal: the handshake offers what RFC 9293 and RFC 7323 want. Method: a SYN with MSS, window scale and SACK.
#[test]
fn handshake_options() {
    let mut world = World::new();
    let mut syn = seg(flag::SYN, 999, 0);
    syn.options = vec![2, 4, 5, 0xb4, 4, 2, 1, 3, 3, 7, 1, 1]; // MSS 1460, SACK permitted, scale 7.
    let out = world.give_seg(syn);
    assert_eq!(out[0].tcp.flags, flag::SYN | flag::ACK);
    assert_eq!(out[0].options[..4], [2, 4, 0x05, 0xb4]);
    assert!(
        out[0].options.windows(3).any(|option| option[..2] == [3, 3] && option[2] >= 1),
        "{:?}",
        out[0].options
    );
    assert!(out[0].options.windows(2).any(|option| option == [4, 2]));
}

/// Goal: nobody can foresee our sequence numbers, and one 4-tuple's grow with time (RFC 6528).
#[test]
fn sequence_numbers_are_unpredictable() {
    let mut world = World::new();
    let mut firsts: Vec<u32> = (0..4).map(|index| world.open(50_000 + index).1).collect();
    firsts.windows(2).for_each(|pair| assert!(pair[0].abs_diff(pair[1]) > 10_000, "{firsts:?}"));
    firsts.dedup();
    assert_eq!(firsts.len(), 4);

    let (conn, first) = world.open(60_000);
    world.stack.abort(conn);
    world.turns();
    world.drain();
    world.clock.advance(Duration::from_millis(40));
    world.take_events();
    let (_, later) = world.open(60_000);
    assert_eq!(later.wrapping_sub(first), 10_000); // 40 ms of a 4 µs clock.
}

/// Goal: a SYN on an open connection is challenged, not believed; a peer that has restarted resets with the exact
/// number then, and may connect again.
#[test]
fn a_syn_on_an_open_connection_is_challenged() {
    let mut world = World::new();
    let (conn, first) = world.open(40_000);
    let challenge = world.give_seg(seg(flag::SYN, 70_000, 0));
    assert_eq!(challenge.len(), 1);
    assert_eq!(
        (challenge[0].tcp.flags, challenge[0].tcp.ack, challenge[0].tcp.seq),
        (flag::ACK, 1000, first)
    );
    world.give_seg(seg(flag::RST, 1000, 0));
    assert_eq!(world.take_events(), [NetEvent::Closed(conn)]);
    let (again, _) = world.open(40_000);
    assert_ne!(conn, again);
}

/// Goal: half-open connections are few and expire; beyond them a SYN is answered and forgotten.
#[test]
fn half_open_connections_are_bounded() {
    let mut world = World::new();
    for port in 1..=4 {
        assert_eq!(world.give_seg(seg(flag::SYN, 999, 0).port(port)).len(), 1);
    }
    assert_eq!(world.give_seg(seg(flag::SYN, 999, 0).port(5)).len(), 1);
    assert_eq!(world.stack.counters().1.cookies_given, 1);
    for _ in 0..60 {
        world.wait(Duration::from_millis(100)); // Answers are sent again, then given up.
    }
    assert_eq!(world.stack.counters().1.handshakes_expired, 4);
    assert!(world.take_events().is_empty());
    world.open(6);
}

/// T-7. Goal: a stack that stood still for longer than a handshake may take takes in what came meanwhile before it gives
/// anything up; what nobody finished expires all the same. Method: SYNs, then the clock jumps, and all but one answer wait at
/// the device, more than the first turn takes.
#[test]
fn a_stack_that_stood_still_takes_in_first() {
    let mut world = World::new();
    let mut answer = |port| {
        let out = world.give_seg(seg(flag::SYN, 999, 0).port(port));
        seg(flag::ACK, 1000, out[0].tcp.seq.wrapping_add(1)).port(port)
    };
    let answers = [1, 2, 3, 4].map(&mut answer);
    world.wait(Duration::from_millis(1)); // A turn without frames.
    for answer in &answers[..3] {
        world.port.give(&answer.frame());
    }
    world.wait(Duration::from_secs(20)).iter().for_each(|out| assert_eq!(out.tcp.flags & flag::RST, 0));
    world.wait(Duration::from_millis(10));
    assert_eq!(world.stack.counters().1.handshakes_expired, 1);
    let opened = world.take_events();
    assert!(opened.len() == 3, "{opened:?}");
}

/// Goal: a full house refuses nobody aloud: the SYN is dropped, and succeeds when somebody has left.
#[test]
fn a_full_table_drops_syns() {
    let mut world = World::new();
    let conns: Vec<ConnId> = (0..16).map(|index| world.open(20_000 + index).0).collect();
    assert!(world.give_seg(seg(flag::SYN, 999, 0)).is_empty());
    world.stack.abort(conns[3]);
    world.turns();
    world.drain();
    assert_eq!(world.take_events(), [NetEvent::Closed(conns[3])]);
    let (reused, _) = world.open(40_000);
    assert_eq!(reused.slot, conns[3].slot);
    // The dead id of the same slot does nothing.
    assert_eq!(world.stack.send(conns[3], b"x"), 0);
    assert_eq!(world.stack.readable(conns[3]).0, b"");
    world.stack.close(conns[3]);
    assert!(world.stack.info(conns[3]).is_none());
    assert!(world.stack.info(reused).is_some());
}
