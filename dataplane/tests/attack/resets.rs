//! Segments that would end or restart a connection if they were believed (RFC 5961).

use crate::script::World;
use crate::wire::{Out, Seg};
use dataplane::net::packet::flag;
use dataplane::net::{Net, NetEvent};
use std::time::Duration;

/// T-6. Goal: a reset ends a connection only at exactly the expected number. Method: around the window's edges.
#[test]
fn resets_must_be_exact() {
    let mut world = World::new();
    world.play(
        "> PA 0 ack 0 'hello'
         > R -1
         > R 4
         > R 6
         < A 0 ack 5
         open
         @ 100ms
         < A 0 ack 5
         > RA 100 ack 0
         < A 0 ack 5
         > R 131077
         > R 2147483647
         > R -2147483648
         open
         = hello
         > R 5
         gone",
    );
    assert_eq!(world.counters().resets_ignored, 7);
}

/// T-6. Goal: a SYN on an open connection is challenged wherever it lies, and is never a way to end or restart it.
#[test]
fn syns_are_challenged() {
    let mut world = World::new();
    for (flags, seq) in [("S", 0), ("S", -1), ("S", 7), ("S", 70_000_000), ("SA", 0), ("SP", 0)] {
        world.play(&format!(
            "> {flags} {seq} ack 0
             < A 0 ack 0
             open
             @ 100ms"
        ));
    }
    world.play(
        "> PA 0 ack 0 'still here'
         = still here",
    );
}

/// T-17. Goal: challenges are few for each connection, whatever is sent, and one connection's use them up for no other
/// (a shared budget would tell a stranger whose numbers he has guessed: CVE-2016-5696).
#[test]
fn challenges_are_limited_for_each_connection() {
    let mut world = World::new();
    let other = world.open(41_000, 500);
    let mut challenges = 0;
    for _ in 0..10_000 {
        let forged = world.seg(flag::RST, 7, 0);
        challenges += world.give_seg(&forged).len();
    }
    assert_eq!(challenges, 1);
    let forged = Seg::new(flag::RST, other.port, other.seq.wrapping_add(9), 0);
    assert_eq!(world.give_seg(&forged).len(), 1, "the other one has its own");
    world.wait(Duration::from_secs(1));
    let forged = world.seg(flag::SYN, 7, 0);
    assert_eq!(world.give_seg(&forged).len(), 1, "later there is one again");
    world.play("open");
}

/// T-18. Goal: an acknowledgement of what we have not sent is not believed: the bytes it skips would never be sent.
/// Method: more to send than the peer's window takes; acknowledge beyond the window.
#[test]
fn unsent_bytes_cannot_be_acknowledged() {
    let mut world = World::new();
    world.play(
        "> A 0 ack 0 win 20
         write 1000*x
         < A 0 ack 0 20*x
         > A 0 ack 21 win 65535
         < A 20 ack 0
         > PA 0 ack 1000 win 65535 'evil'
         @ 4ms
         = ''
         > A 0 ack 20 win 65535
         < A 20 ack 0 536*x
         < PA 556 ack 0 444*x
         > A 0 ack 1000
         @ 1000ms",
    );
}

/// T-18. Goal: data from a blind sender is dropped unless its acknowledgement is plausible too.
#[test]
fn data_needs_a_plausible_acknowledgement() {
    let mut world = World::new();
    world.play(
        "> PA 0 ack 100000 'evil'
         < A 0 ack 0
         > PA 0 ack 2147483000 'evil'
         > PA 0 ack -2147483000 'evil'
         > P 0 'evil'
         = ''
         > PA 0 ack 0 'good'
         = good",
    );
}

/// T-19. Goal: no mixture of flags on an open connection does more than its parts allow. Method: all 64, at the expected
/// number, before it, in the window and far away; nothing but an exact reset and a FIN in place may end anything.
#[test]
fn every_mixture_of_flags() {
    for seq in [0i64, -1, -500, 1, 1_000, 131_072, 1 << 30] {
        for flags in 0..64u8 {
            let mut world = World::new();
            let mut seg = world.seg(flags, seq, 0);
            seg.data = b"?!".to_vec();
            let out = world.give_seg(&seg);
            assert!(out.len() <= 1, "one in, at most one out: {out:?}");
            assert!(out.iter().all(|out| out.tcp.flags & flag::RST == 0), "{flags:02x} at {seq}");
            // A reset that would also begin or finish is no segment at all.
            let is_exact_reset = flags & (flag::RST | flag::SYN | flag::FIN) == flag::RST && seq == 0;
            assert_eq!(!world.is_open(world.conn), is_exact_reset, "{flags:02x} at {seq}");
            let is_data = flags & (flag::SYN | flag::RST) == 0 && flags & flag::ACK != 0;
            let conn = world.conn;
            let read = world.read(conn);
            let expected: &[u8] = match seq {
                0 if is_data => b"?!",
                -1 if is_data => b"!",
                _ => b"",
            };
            assert_eq!(read, expected, "{flags:02x} at {seq}");
            let finished = world.take_events().iter().any(|event| matches!(event, NetEvent::PeerFinished(_)));
            assert_eq!(
                finished,
                is_data && flags & flag::FIN != 0 && !expected.is_empty(),
                "{flags:02x} at {seq}"
            );
            world.assert_witness_lives();
        }
    }
}

/// T-32. Goal: what came before a reset is served, whatever the reset's burst brought; then the connection ends like one
/// whose peer has finished, and nothing leaves for it any more. Method: data and reset before one turn; then read,
/// answer and close, or abort, or close unread.
#[test]
fn bytes_before_a_reset_are_served() {
    for ending in ["read", "abort", "close"] {
        let mut world = World::new();
        let id = world.conn.id;
        for row in ["PA 0 ack 0 'send me'", "A 7 ack 0 ' too'", "R 11"] {
            let seg = world.read_row(row);
            world.port.give(&seg.frame());
        }
        world.turns();
        let told = world.take_events();
        assert!(told.contains(&NetEvent::Readable(id)), "{told:?}");
        assert_eq!(told.last(), Some(&NetEvent::PeerFinished(id)), "and not yet closed");
        assert_eq!(world.counters().ended_unread, 1);
        if ending == "read" {
            let conn = world.conn;
            assert_eq!(world.read(conn), b"send me too");
            // An answer of any length goes where the peer has gone, and keeps nobody waiting for room.
            assert_eq!(world.stack.send(id, &[7; 1 << 20]), 1 << 20);
            assert!(world.stack.send_with(id, &mut |run| run.len()) > 0);
            assert!(world.stack.send_room(id) > 0);
        }
        let out = world.drain();
        assert!(out.iter().all(|frame| Out::parse(frame).data.is_empty()), "acknowledgements at most");
        match ending {
            "abort" => world.stack.abort(id),
            _ => world.stack.close(id),
        }
        assert!(world.wait(Duration::from_secs(1)).is_empty(), "nobody is there to hear anything");
        assert_eq!(world.take_events(), [NetEvent::Closed(id)]);
        assert!(world.stack.readable(id).0.is_empty(), "the id is dead");
        assert_eq!(world.stack.send(id, b"more"), 0);
        world.assert_witness_lives();
    }
}

/// T-32. Goal: connections that were reset and are not read cost slots, as open ones do, and no more; their addresses
/// and slots can be used again. Method: twice as many as there are slots, from one port each.
#[test]
fn unread_resets_are_bounded() {
    let mut world = World::new();
    for round in 0..128u16 {
        let peer = world.open(20_000 + round % 2, u32::from(round) << 20);
        let mut data = Seg::new(flag::ACK | flag::PSH, peer.port, peer.seq, peer.ack);
        data.data = vec![7; 1_000];
        world.port.give(&data.frame());
        world.port.give(&Seg::new(flag::RST, peer.port, peer.seq.wrapping_add(1_000), 0).frame());
        world.turns();
        world.drain();
        assert_eq!(world.stack.conns_len(), 3, "two of the world's, and this one");
        assert_eq!(world.read(peer).len(), 1_000);
        world.stack.close(peer.id);
        world.turns();
        assert_eq!(world.stack.conns_len(), 2);
        world.take_events();
    }
    assert_eq!(world.counters().ended_unread, 128);
    world.assert_witness_lives();
}
