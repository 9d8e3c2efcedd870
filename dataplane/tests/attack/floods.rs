//! Very many of something, and what is left of us.

use crate::script::World;
use crate::wire::{Out, Seg};
use dataplane::net::packet::flag;
use dataplane::net::stack::StackConfig;
use dataplane::net::{Net, NetEvent};
use dataplane::rng::Rng;
use std::net::Ipv4Addr;
use std::time::Duration;

/// A host that may be anywhere.
fn stranger(rng: &mut Rng) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x1400_0000 | rng.next_u32() >> 4)
}

/// T-27. Goal: segments for nobody are answered in part, and cost no connection anything.
#[test]
fn refusals_are_bounded() {
    let mut world = World::new();
    let mut rng = Rng::from_seed(2);
    let mut resets = 0;
    for _ in 0..100_000 {
        let mut seg = Seg::new(flag::ACK, rng.next_u32() as u16, rng.next_u32(), rng.next_u32());
        seg.from = stranger(&mut rng);
        resets += world.give_seg(&seg).len();
    }
    assert_eq!(resets, 20_000);
    world.wait(Duration::from_secs(1));
    let mut seg = Seg::new(flag::ACK, 1, 1, 1);
    seg.from = stranger(&mut rng);
    assert_eq!(world.give_seg(&seg).len(), 1);
    world.play("> PA 0 ack 0 'hello'\n = hello");
}

/// T-27. Goal: connections that are opened and left idle fill the table and no more; those before them go on, and a place
/// that is given up is taken again.
#[test]
fn a_full_table_serves_who_is_in_it() {
    let mut world = World::new();
    let peers: Vec<_> = (0..62).map(|at| world.open(20_000 + at, 5)).collect();
    assert!(world.try_open(30_000, 5).is_none());
    world.assert_witness_lives();
    let gone = peers[7];
    let reset = Seg::new(flag::RST, gone.port, gone.seq, 0);
    world.give_seg(&reset);
    world.take_events();
    assert!(world.try_open(30_000, 5).is_some());
    assert_eq!(world.stack.conns_len(), 64);
    world.play("> PA 0 ack 0 'hello'\n = hello");
}

/// T-7, T-27. Goal: a hundred thousand SYNs a second for ten seconds hold no memory beyond the half-open ones, and the
/// established connection is served in the very turn it speaks. An honest peer connects in between, with patience.
#[test]
fn a_flood_of_syns() {
    let mut world = World::new();
    let mut rng = Rng::from_seed(6);
    let (mut connected, mut tries) = (0, 0);
    for milli in 0..10_000u16 {
        for _ in 0..100 {
            let syn = Seg::syn(stranger(&mut rng), rng.next_u32() as u16, rng.next_u32());
            world.port.give(&syn.frame());
        }
        world.turns();
        world.drain();
        if milli % 97 == 0 {
            world.assert_witness_lives();
            tries += 1;
            if let Some(peer) = world.try_open(20_000 + milli, 5) {
                connected += 1;
                world.stack.abort(peer.id);
                world.turns();
                world.drain();
                world.take_events();
            }
        }
        world.clock.advance(Duration::from_millis(1));
    }
    assert!(connected * 10 > tries, "{connected} of {tries}");
    let counters = world.counters();
    assert!(counters.cookies_given <= 20_000 * 11, "{counters:?}");
    assert_eq!(world.stack.conns_len(), 2);
    world.play("> PA 0 ack 0 'hello'\n = hello");
}

/// T-15. Goal: ten thousand connects at one instant, none refused and none left waiting. Method: all SYNs, then all
/// acknowledgements with a first word, then the answers.
#[test]
fn ten_thousand_at_once() {
    let mut world = World::with(|config| {
        config.limits.conns_max = 10_100;
        config.half_open_max = StackConfig::new(config.address).half_open_max;
    });
    for at in 0..10_000u32 {
        let from = Ipv4Addr::new(10, 78, (at >> 8) as u8, at as u8);
        world.port.give(&Seg::syn(from, 1_024 + at as u16, at).frame());
    }
    let mut answers = Vec::new();
    while answers.len() < 10_000 {
        world.turns();
        let out = world.drain();
        assert!(!out.is_empty(), "{} of 10,000 answered", answers.len());
        answers.extend(out.iter().map(|frame| Out::parse(frame)));
    }
    for answer in &answers {
        assert_eq!(answer.tcp.flags, flag::SYN | flag::ACK);
        let mut seg = Seg::new(flag::ACK, answer.tcp.to_port, answer.tcp.ack, answer.tcp.seq.wrapping_add(1));
        seg.from = answer.to;
        seg.data = b"word".to_vec();
        world.port.give(&seg.frame());
    }
    let (mut opened, mut said) = (0, 0);
    for _ in 0..10 {
        world.turns();
        for event in world.take_events() {
            match event {
                NetEvent::Opened { .. } => opened += 1,
                NetEvent::Readable(conn) => {
                    assert_eq!(world.stack.readable(conn).0, b"word");
                    world.stack.consume(conn, 4);
                    assert_eq!(world.stack.send(conn, b"heard"), 5);
                }
                other => panic!("{other:?}"),
            }
        }
        world.turns();
        said += world.drain().iter().filter(|frame| Out::parse(frame).data == b"heard").count();
    }
    assert_eq!((opened, said), (10_000, 10_000));
    assert_eq!(world.stack.conns_len(), 10_002);
}

/// T-15, T-29. Goal: ten thousand connections a second are opened, served and closed for seconds on end; none is refused,
/// no place is lost, and the witness is served in the very turn it speaks all the while. Method: ten new peers a
/// millisecond, each with a question, each closing when it has the answer.
#[test]
fn ten_thousand_connects_a_second() {
    let mut world = World::with(|config| config.limits.conns_max = 2_000);
    let mut rng = Rng::from_seed(5);
    let (mut opened, mut answered, mut closed) = (0, 0, 0);
    const SECONDS: u32 = 3;
    for milli in 0..SECONDS * 1_000 {
        for at in 0..10 {
            let number = milli * 10 + at;
            let from = Ipv4Addr::new(10, 78, (number >> 14) as u8, (number >> 6) as u8);
            world.port.give(&Seg::syn(from, 1_024 + number as u16 % 64, rng.next_u32()).frame());
        }
        // Everything that is sent comes back at once, as from peers that are near.
        for _ in 0..4 {
            world.turns();
            for event in world.take_events() {
                match event {
                    NetEvent::Opened { .. } => opened += 1,
                    NetEvent::Readable(conn) => {
                        let len = world.stack.readable(conn).0.len();
                        world.stack.consume(conn, len);
                        assert_eq!(world.stack.send(conn, b"answer"), 6);
                    }
                    NetEvent::PeerFinished(conn) => world.stack.close(conn),
                    NetEvent::Closed(_) => closed += 1,
                    NetEvent::Writable(_) => (),
                }
            }
            world.turns();
            for frame in world.drain() {
                let out = Out::parse(&frame);
                assert_eq!(out.tcp.flags & flag::RST, 0, "refused: {out:?}");
                let after = out.tcp.seq.wrapping_add(out.tcp.sequence_len());
                let mut seg = Seg::new(flag::ACK, out.tcp.to_port, out.tcp.ack, after);
                seg.from = out.to;
                if out.tcp.flags & flag::SYN != 0 {
                    seg.data = b"question".to_vec();
                } else if !out.data.is_empty() {
                    answered += 1;
                    seg.flags |= flag::FIN;
                } else if out.tcp.flags & flag::FIN == 0 {
                    continue; // A bare acknowledgement needs none.
                }
                world.port.give(&seg.frame());
            }
        }
        if milli % 10 == 0 {
            world.assert_witness_lives();
        }
        world.clock.advance(Duration::from_millis(1));
    }
    let all = SECONDS * 10_000;
    assert_eq!((opened, answered, closed), (all, all, all));
    assert_eq!((world.stack.conns_len(), world.counters().syns_dropped), (2, 0));
}
