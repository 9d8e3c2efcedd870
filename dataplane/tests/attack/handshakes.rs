//! Segments for nobody, and beginnings of connections that are not meant to be finished.

use crate::script::{Peer, World};
use crate::wire::{Out, PEER, Seg, US};
use dataplane::net::packet::flag;
use dataplane::net::{Net, NetEvent};
use dataplane::rng::Rng;
use dataplane::time::Clock;
use std::time::Duration;

/// T-3. Goal: what belongs to no connection is answered as RFC 9293 says (3.10.7.1), and leaves nothing behind. Method:
/// all 64 mixtures of flags, for an open port and a closed one.
#[test]
fn every_mixture_of_flags_for_nobody() {
    for (to_port, is_listening) in [(10911, true), (10912, false)] {
        for flags in 0..64u8 {
            let mut world = World::new();
            let conns = world.stack.conns_len();
            let mut seg = Seg::new(flags, 41_000, 500, 7_000);
            seg.to_port = to_port;
            seg.data = b"??".to_vec();
            let out = world.give_seg(&seg);
            let has = |bit| flags & bit != 0;
            let is_syn = is_listening && flags & (flag::SYN | flag::ACK | flag::RST | flag::FIN) == flag::SYN;
            let said: Vec<_> = out.iter().map(|out| (out.tcp.flags, out.tcp.seq, out.tcp.ack)).collect();
            let length = 2 + u32::from(has(flag::SYN)) + u32::from(has(flag::FIN));
            if has(flag::RST) {
                assert_eq!(said, [], "{flags:02x}");
            } else if is_syn {
                assert_eq!(
                    (said.len(), said[0].0, said[0].2),
                    (1, flag::SYN | flag::ACK, 501),
                    "{flags:02x}"
                );
            } else if has(flag::ACK) {
                assert_eq!(said, [(flag::RST, 7_000, 0)], "{flags:02x}");
            } else {
                assert_eq!(said, [(flag::RST | flag::ACK, 0, 500 + length)], "{flags:02x}");
            }
            assert_eq!(world.stack.conns_len(), conns);
            assert!(world.take_events().is_empty());
            world.assert_witness_lives();
        }
    }
}

/// T-1. Goal: nobody makes us talk to ourselves or to everybody (LAND and its like).
#[test]
fn sources_that_cannot_be() {
    for from in
        [[10, 77, 0, 2], [127, 0, 0, 1], [10, 77, 0, 255], [255; 4], [0; 4], [239, 1, 2, 3], [240, 0, 0, 1]]
    {
        let mut world = World::new();
        for flags in [flag::SYN, flag::ACK, flag::SYN | flag::ACK] {
            let mut seg = Seg::new(flags, 10911, 500, 7);
            seg.from = from.into();
            assert!(world.give_seg(&seg).is_empty(), "{from:?}");
        }
        assert_eq!(world.front().drop_bad_source, 3);
        world.assert_witness_lives();
    }
}

/// T-3. Goal: a wrong acknowledgement does not open a connection; the right one does afterwards.
#[test]
fn a_guessed_handshake_does_not_open() {
    let mut world = World::new();
    let answer = world.give_seg(Seg::new(flag::SYN, 41_000, 99, 0)).remove(0);
    for wrong in [0, 1, 2, -1i32, 1000, i32::MIN] {
        let ack = answer.tcp.seq.wrapping_add(wrong as u32);
        if ack == answer.tcp.seq.wrapping_add(1) {
            continue;
        }
        let mut seg = Seg::new(flag::ACK, 41_000, 100, ack);
        seg.data = b"let me in".to_vec();
        let out = world.give_seg(&seg);
        assert!(out.iter().all(|out| out.tcp.flags == flag::RST && out.tcp.seq == ack));
        assert!(world.take_events().is_empty());
    }
    let mut seg = Seg::new(flag::ACK, 41_000, 100, answer.tcp.seq.wrapping_add(1));
    seg.data = b"it is me".to_vec();
    world.give_seg(&seg);
    let [NetEvent::Opened { conn, .. }, NetEvent::Readable(_)] = world.take_events()[..] else { panic!() };
    assert_eq!(world.stack.readable(conn).0, b"it is me");
    world.assert_witness_lives();
}

/// Bytes go to the new connection's peer at the right numbers, and are let go of when they are acknowledged.
fn assert_serves(world: &mut World, peer: Peer) {
    let mut next = peer.ack;
    for text in [&b"first answer"[..], &[b'x'; 4_000], &b"last answer"[..]] {
        assert_eq!(world.stack.send(peer.id, text), text.len());
        world.turns();
        let mut said = Vec::new();
        for out in world.drain().iter().map(|frame| Out::parse(frame)) {
            assert_eq!(out.tcp.seq, next.wrapping_add(said.len() as u32));
            said.extend(out.data);
        }
        assert_eq!(said, text);
        next = next.wrapping_add(text.len() as u32);
        world.give_seg(Seg::new(flag::ACK, peer.port, peer.seq, next));
        assert_eq!(world.stack.info(peer.id).unwrap().queued_bytes, 0);
    }
    world.assert_witness_lives();
}

/// T-18. Goal: after a wrong acknowledgement, and the reset that answers it, the connection goes on where it was: what it
/// sends has its own numbers, and what is acknowledged is let go of. Method: guesses near and far.
#[test]
fn a_wrong_guess_moves_no_number() {
    for wrong in [2, 1_000, i32::MAX, i32::MIN, -1_000, 0] {
        let mut world = World::new();
        let answer = world.give_seg(Seg::new(flag::SYN, 41_000, 99, 0)).remove(0);
        let ack = answer.tcp.seq.wrapping_add(1);
        let guess = answer.tcp.seq.wrapping_add(wrong as u32);
        let out = world.give_seg(Seg::new(flag::ACK, 41_000, 100, guess));
        assert_eq!((out.len(), out[0].tcp.flags, out[0].tcp.seq), (1, flag::RST, guess));
        world.give_seg(Seg::new(flag::ACK, 41_000, 100, ack));
        let [NetEvent::Opened { conn: id, .. }] = world.take_events()[..] else { panic!("{wrong}") };
        assert_serves(&mut world, Peer { id, port: 41_000, seq: 100, ack });
    }
}

/// T-18. Goal: nobody acknowledges our answer to his SYN before it has left, though he can foresee its number: whoever
/// connects again from the same port knows the hash, and the clock is no secret. Method: both segments come before we have
/// sent anything, once because it is not our turn, once because the device is full; our numbers in both halves of their
/// space.
#[test]
fn a_foreseen_answer_is_not_acknowledged() {
    for (port, is_full) in (41_000..41_032).zip([false, true].into_iter().cycle()) {
        let mut world = World::new();
        let seq = world.give_seg(Seg::new(flag::SYN, port, 99, 0)).remove(0).tcp.seq;
        world.give_seg(Seg::new(flag::RST, port, 100, 0));
        let acknowledgement = Seg::new(flag::ACK, port, 100, seq.wrapping_add(1));
        world.port.set_room(if is_full { 0 } else { usize::MAX });
        world.port.give(&Seg::new(flag::SYN, port, 99, 0).frame());
        world.port.give(&acknowledgement.frame());
        let now = world.clock.read();
        (0..2).for_each(|_| _ = world.stack.ingress(&now, 1));
        world.turns();
        assert!(world.take_events().is_empty());
        world.port.set_room(usize::MAX);
        world.turns();
        let out: Vec<Out> = world.drain().iter().map(|frame| Out::parse(frame)).collect();
        let said: Vec<_> = out.iter().map(|out| (out.tcp.flags, out.tcp.seq)).collect();
        let answer = (flag::SYN | flag::ACK, seq);
        let refusal = (flag::RST, seq.wrapping_add(1));
        assert_eq!(said, if is_full { vec![answer] } else { vec![refusal, answer] });
        world.give_seg(&acknowledgement);
        let [NetEvent::Opened { conn: id, .. }] = world.take_events()[..] else { panic!("not opened") };
        assert_serves(&mut world, Peer { id, port, seq: 100, ack: acknowledgement.ack });
    }
}

/// T-5. Goal: our first numbers look random from one 4-tuple to the next, whatever the stranger varies, and are the clock's
/// for one 4-tuple (RFC 6528). Method: thousands of SYNs that differ in one bit; every bit of the number turns about half
/// of the time.
#[test]
fn first_numbers_cannot_be_foreseen() {
    let mut world = World::new();
    let mut number = |from: [u8; 4], port: u16| {
        let syn = Seg { seq: 5, ..Seg::syn(from.into(), port, 5) };
        let out = world.give_seg(&syn);
        let reset = Seg { flags: flag::RST, seq: 6, ..syn };
        world.give_seg(&reset);
        out[0].tcp.seq
    };
    let mut rng = Rng::from_seed(8);
    let mut turned = [0u32; 32];
    const PAIRS: u32 = 4_000;
    for _ in 0..PAIRS {
        let (host, port) = (1 + rng.below(0xfd) as u8, rng.next_u32() as u16);
        if host == 2 {
            continue;
        }
        let one = number([10, 77, 0, host], port);
        let other = number([10, 77, 0, host], port ^ 1 << rng.below(16));
        (0..32).for_each(|bit| turned[bit] += (one ^ other) >> bit & 1);
        assert_eq!(number([10, 77, 0, host], port), one, "the clock stands still");
    }
    for (bit, turned) in turned.iter().enumerate() {
        let share = f64::from(*turned) / f64::from(PAIRS);
        assert!((0.44..0.56).contains(&share), "bit {bit} turned in {share} of the pairs");
    }
}

/// T-7. Goal: handshakes that nobody finishes expire, those that somebody resets end at once, and neither is told to the
/// shard. Method: a few of each; then there is room again.
#[test]
fn unfinished_handshakes_leave_nothing() {
    let mut world = World::new();
    for round in 0..20 {
        for port in 1..=8 {
            let out = world.give_seg(Seg::new(flag::SYN, port, 99, 0));
            assert_eq!(out.len(), 1, "round {round}");
            if round % 2 == 0 {
                world.give_seg(Seg::new(flag::RST, port, 100, 0));
            }
        }
        if round % 2 == 1 {
            world.wait(Duration::from_secs(6));
        }
    }
    assert_eq!(world.counters().handshakes_expired, 80);
    assert!(world.take_events().is_empty());
    world.open(41_000, 1);
    world.assert_witness_lives();
}

/// T-1. Goal: data and options on a SYN do no harm, data is not taken before the handshake is done.
#[test]
fn data_on_a_syn() {
    let mut world = World::new();
    let mut syn = Seg::new(flag::SYN | flag::PSH, 41_000, 99, 0);
    syn.data = b"early".to_vec();
    let out: Vec<Out> = world.give_seg(&syn);
    assert_eq!((out[0].tcp.flags, out[0].tcp.ack), (flag::SYN | flag::ACK, 100));
    let ack = out[0].tcp.seq.wrapping_add(1);
    let mut seg = Seg::new(flag::ACK, 41_000, 100, ack);
    seg.data = b"early".to_vec();
    world.give_seg(&seg);
    let events = world.take_events();
    let NetEvent::Opened { conn, .. } = events[0] else { panic!("{events:?}") };
    assert_eq!(world.stack.readable(conn).0, b"early");
    assert_ne!(PEER, US);
    world.assert_witness_lives();
}

/// Fills the room for handshakes that are not finished.
fn fill_half_open(world: &mut World) {
    for port in 1..=8 {
        assert_eq!(world.give_seg(Seg::new(flag::SYN, port, 99, 0)).len(), 1);
    }
}

fn syn_with(port: u16, seq: u32, options: &[u8]) -> Seg {
    Seg { options: options.to_vec(), ..Seg::new(flag::SYN, port, seq, 0) }
}

/// Segment size 1400, SACK permitted, scale 7.
const OFFER: [u8; 12] = [2, 4, 5, 0x78, 4, 2, 1, 1, 1, 3, 3, 7];

/// T-7. Goal: while too many handshakes are half open, others succeed all the same, remembered by nobody until they are
/// finished; the connection is as good as any. Method: the same offer before and during; what is answered, and what is
/// sent afterwards, by segment size and scaled window.
#[test]
fn handshakes_without_memory() {
    let mut world = World::new();
    let remembered = world.give_seg(syn_with(41_000, 99, &OFFER)).remove(0);
    world.give_seg(Seg::new(flag::RST, 41_000, 100, 0));
    fill_half_open(&mut world);
    for round in 0..100u16 {
        let port = 42_000 + round;
        let answer = world.give_seg(syn_with(port, 99, &OFFER)).remove(0);
        assert_eq!((answer.tcp.flags, answer.tcp.ack), (flag::SYN | flag::ACK, 100));
        assert_eq!((&answer.options, answer.tcp.window), (&remembered.options, remembered.tcp.window));
        if round > 50 {
            continue; // Never heard of again.
        }
        let ack = answer.tcp.seq.wrapping_add(1);
        // The bare acknowledgement may be lost: the first data does as well.
        let mut seg = Seg { window: 100, ..Seg::new(flag::ACK, port, 100, ack) };
        seg.data = if round % 2 == 0 { Vec::new() } else { b"hello".to_vec() };
        world.give_seg(&seg);
        let events = world.take_events();
        let NetEvent::Opened { conn, .. } = events[0] else { panic!("{events:?}") };
        assert_eq!(world.stack.readable(conn).0, seg.data);
        world.stack.send(conn, &[b'x'; 20_000]);
        world.turns();
        let (mut sent, mut largest) = (0, 0);
        for _ in 0..40 {
            for out in world.drain().iter().map(|frame| Out::parse(frame)) {
                if out.tcp.to_port == port {
                    largest = largest.max(out.data.len());
                    sent = sent.max(out.tcp.seq.wrapping_sub(ack) as usize + out.data.len());
                }
            }
            let seq = 100 + seg.data.len() as u32;
            let taken = Seg::new(flag::ACK, port, seq, ack.wrapping_add(sent as u32));
            world.port.give(&Seg { window: 100, ..taken }.frame());
            world.turns();
        }
        assert_eq!(sent, 20_000, "a window of 100 is 12,800 bytes");
        assert_eq!(largest, 1_360, "the remembered size that is not above 1,400");
        world.stack.abort(conn);
        world.turns();
        world.drain();
        world.take_events();
        world.assert_witness_lives();
    }
    assert_eq!((world.counters().cookies_given, world.counters().cookies_taken), (100, 51));
}

/// T-7. Goal: only an answer to our number opens a connection: not one bit of it, of the peer's or of its port may differ,
/// and it is good for half a minute. Method: each changed in turn; then the right one; then one that comes too late.
#[test]
fn cookies_are_not_guessed() {
    let mut world = World::new();
    fill_half_open(&mut world);
    let answer = world.give_seg(syn_with(41_000, 99, &OFFER)).remove(0);
    let right = Seg::new(flag::ACK, 41_000, 100, answer.tcp.seq.wrapping_add(1));
    let mut wrong: Vec<Seg> = (0..32)
        .map(|bit| Seg { ack: (answer.tcp.seq ^ 1 << bit).wrapping_add(1), ..right.clone() })
        .collect();
    wrong.extend((0..32).map(|bit| Seg { seq: (99u32 ^ 1 << bit).wrapping_add(1), ..right.clone() }));
    wrong.extend((0..16).map(|bit| Seg { from_port: 41_000 ^ 1 << bit, ..right.clone() }));
    wrong.push(Seg { from: [10, 77, 0, 3].into(), ..right.clone() });
    for seg in wrong {
        let out = world.give_seg(&seg);
        assert_eq!(out.len(), 1);
        assert_eq!(out[0].tcp.flags & flag::RST, flag::RST, "{seg:?}");
        assert!(world.take_events().is_empty());
    }
    for odd in [flag::ACK | flag::SYN, flag::ACK | flag::RST, flag::FIN] {
        world.give_seg(&Seg { flags: odd, ..right.clone() });
        assert!(world.take_events().is_empty());
    }
    world.wait(Duration::from_secs(10));
    assert!(world.give_seg(&right).is_empty());
    assert!(matches!(world.take_events()[..], [NetEvent::Opened { .. }]));

    fill_half_open(&mut world); // The first ones have expired.
    let answer = world.give_seg(syn_with(43_000, 99, &OFFER)).remove(0);
    let late = Seg::new(flag::ACK, 43_000, 100, answer.tcp.seq.wrapping_add(1));
    world.wait(Duration::from_secs(33));
    assert_eq!(world.give_seg(&late)[0].tcp.flags, flag::RST);
    assert!(world.take_events().is_empty());
    world.assert_witness_lives();
}

/// T-7. Goal: a handshake without memory needs a place when it is finished; without one it is not refused aloud.
#[test]
fn cookies_and_a_full_table() {
    let mut world = World::with(|config| config.limits.conns_max = 11);
    fill_half_open(&mut world);
    let answer = world.give_seg(syn_with(41_000, 99, &OFFER)).remove(0);
    let other = world.give_seg(syn_with(42_000, 99, &OFFER)).remove(0);
    let ack = |port, answer: &Out| Seg::new(flag::ACK, port, 100, answer.tcp.seq.wrapping_add(1));
    assert!(world.give_seg(ack(41_000, &answer)).is_empty());
    assert!(matches!(world.take_events()[..], [NetEvent::Opened { .. }]));
    assert!(world.give_seg(ack(42_000, &other)).is_empty());
    assert!(world.take_events().is_empty());
    assert!(world.give_seg(syn_with(43_000, 99, &OFFER)).is_empty());
    world.give_seg(Seg::new(flag::RST, 1, 100, 0));
    assert!(world.give_seg(ack(42_000, &other)).is_empty());
    assert!(matches!(world.take_events()[..], [NetEvent::Opened { .. }]), "it tries again");
    world.assert_witness_lives();
}
