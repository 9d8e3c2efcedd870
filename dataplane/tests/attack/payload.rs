//! What may be in segments of an open connection: holes, overlaps, lies about lengths, windows that hardly open.

use crate::script::{Peer, World};
use crate::wire::{self, Out, Seg};
use dataplane::net::packet::{ETHERNET_BYTES, IPV4_BYTES, flag};
use dataplane::net::{Net, NetEvent, NetLimits};
use dataplane::rng::Rng;
use dataplane::time::Clock;
use std::time::Duration;

/// T-20. Goal: a byte is fixed when everything before it has come, and never changes from then on. Behind a hole the last
/// one that comes counts. Method: segments that contradict each other, before and behind a hole.
#[test]
fn contradicting_segments() {
    World::new().play(
        "> PA 0 ack 0 'abcd'
         > PA 2 ack 0 'XXef'
         > PA 0 ack 0 'YYYYYY'
         < A 0 ack 6
         = abcdef
         > PA 10 ack 0 '2222'
         < A 0 ack 6
         > PA 8 ack 0 '1111'
         < A 0 ack 6
         > PA 12 ack 0 '3333'
         < A 0 ack 6
         = ''
         > PA 6 ack 0 '000000'
         < A 0 ack 16
         = 0000003333",
    );
}

/// T-20. Goal: whatever the order, the overlaps and the repetitions of honest segments, the bytes come out as they were.
/// Method: random cuts of one run of bytes, shuffled and repeated, beside the run itself.
#[test]
fn honest_overlaps_in_any_order() {
    let mut rng = Rng::from_seed(4);
    for round in 0..200 {
        let mut world =
            World::starting_at((rng.next_u32() & 0xff).wrapping_neg(), Duration::from_secs(1), |_| ());
        let run: Vec<u8> = (0..3_000).map(|_| rng.next_u32() as u8).collect();
        let mut read = Vec::new();
        for _ in 0..10_000 {
            if read.len() == run.len() {
                break;
            }
            let at = rng.below(run.len() as u64 + 300).saturating_sub(300) as usize;
            let len = (1 + rng.below(400) as usize).min(run.len() - at);
            let mut seg = world.seg(flag::ACK, at as i64, 0);
            seg.data = run[at..at + len].to_vec();
            world.give_seg(&seg);
            if rng.chance(0.3) {
                let conn = world.conn;
                read.extend(world.read(conn));
            }
        }
        let conn = world.conn;
        read.extend(world.read(conn));
        assert!(read == run, "round {round}");
    }
}

/// T-21. Goal: what waits behind holes is bounded in bytes by the ring, and in pieces by 32; what is refused is lost and
/// sent again, and nothing that was kept is. Method: a thousand holes, then the run from its beginning.
#[test]
fn a_thousand_holes() {
    let mut world = World::new();
    for hole in 0..1_000 {
        let mut seg = world.seg(flag::ACK, 1 + 2 * hole, 0);
        seg.data = vec![b'x'];
        assert!(world.give_seg(&seg).len() <= 1);
    }
    for at in 0..2_000 {
        let mut seg = world.seg(flag::ACK, at, 0);
        seg.data = vec![if at % 2 == 1 { b'x' } else { b'o' }];
        world.give_seg(&seg);
    }
    let conn = world.conn;
    assert_eq!(world.read(conn), b"ox".repeat(1_000));
    world.assert_witness_lives();
}

/// T-28. Goal: what waits behind a hole is kept however long the hole stays, though buffers of quiet connections are given
/// back. Method: quiet connections beyond those that keep their buffers for good; one of them has a hole for half a minute.
#[test]
fn a_hole_outlives_quiet() {
    let mut world = World::new();
    let witnesses: Vec<_> = (0..30).map(|at| world.open(20_000 + at, 5)).collect();
    world.conn = world.open(41_000, u32::MAX - 4);
    for peer in &witnesses {
        let mut seg = Seg::new(flag::ACK, peer.port, peer.seq, peer.ack);
        seg.data = vec![b'q'; 5_000];
        world.give_seg(&seg);
        assert_eq!(world.read(*peer).len(), 5_000);
    }
    let mut late = world.seg(flag::ACK, 10, 0);
    late.data = b"behind the hole".repeat(400);
    world.give_seg(&late);
    let blind = world.seg(flag::ACK, 500_000, 0);
    world.give_seg(&Seg { data: b"far away".to_vec(), ..blind });
    for _ in 0..30_000 {
        world.wait(Duration::from_millis(1));
    }
    // The first 16 slots keep theirs, the one with the hole must.
    assert_eq!(world.counters().rings_given_back, 30);
    let conn = world.conn;
    let mut first = world.seg(flag::ACK, 0, 0);
    first.data = vec![b'0'; 10];
    world.give_seg(&first);
    assert!(world.read(conn) == [&[b'0'; 10][..], &late.data].concat());
    for _ in 0..10_000 {
        world.wait(Duration::from_millis(1));
    }
    assert_eq!(world.counters().rings_given_back, 31, "now nothing waits");
    let mut again = world.seg(flag::ACK, 6_010, 0);
    again.data = b"and on".to_vec();
    world.give_seg(&again);
    assert_eq!(world.read(conn), b"and on");
    assert!(witnesses.iter().all(|peer| world.is_open(*peer)));
}

/// T-21. Goal: bytes beyond our window are not kept. Method: segments at, over and behind the window's edge; then
/// everything before it.
#[test]
fn beyond_the_window() {
    let mut world = World::new();
    // 65,535 bytes were offered: no window scale was asked for.
    world.play(
        "> A 65000 ack 0 535*a
         < A 0 ack 0
         > A 65535 ack 0 100*b
         < A 0 ack 0
         open",
    );
    let conn = world.conn;
    let mut seg = world.seg(flag::ACK, 0, 0);
    seg.data = vec![b'0'; 60_000];
    world.give_seg(&seg);
    let mut seg = world.seg(flag::ACK, 60_000, 0);
    seg.data = vec![b'1'; 5_000];
    world.give_seg(&seg);
    let read = world.read(conn);
    assert_eq!(read.len(), 65_535);
    assert!(read[..60_000].iter().all(|byte| *byte == b'0'));
    world.turns();
    world.drain();
    world.play(
        "> PA 65535 ack 0 'on'
         < A 0 ack 65537
         = on
         open",
    );
}

/// T-21. Goal: what the ring cannot hold is not kept, before we have said anything behind our SYN either: a SYN's window is not
/// shifted, those of other segments are. Method: a peer that shifts its windows; more than the ring holds before we have
/// our turn, in order, and with the end before the beginning.
#[test]
fn beyond_the_ring() {
    for is_end_first in [false, true] {
        for is_with_handshake in [false, true] {
            let mut world = World::new();
            let ring_bytes = NetLimits::default().rx_ring_bytes;
            let mut syn = Seg::new(flag::SYN, 41_000, 99, 0);
            syn.options = vec![3, 3, 7, 1];
            let ack = world.give_seg(&syn).remove(0).tcp.seq.wrapping_add(1);
            let data = |at: usize, len: usize| {
                let data = (at..at + len).map(|at| (at % 251) as u8).collect();
                Seg { data, ..Seg::new(flag::ACK, 41_000, 100 + at as u32, ack) }
            };
            if !is_with_handshake {
                world.port.give(&data(0, 0).frame());
            }
            if is_end_first {
                world.port.give(&data(ring_bytes - 10, 1_000).frame());
            }
            (0..ring_bytes + 40_000).step_by(1_000).for_each(|at| world.port.give(&data(at, 1_000).frame()));
            let now = world.clock.read();
            (0..16).for_each(|_| _ = world.stack.ingress(&now, usize::MAX));
            let NetEvent::Opened { conn, .. } = world.stack.next_event().unwrap() else {
                panic!("not opened")
            };
            world.turns();
            let peer = Peer { id: conn, port: 41_000, seq: 100, ack };
            let mut read = world.read(peer);
            assert!(read.len() > ring_bytes - 1_000 && read.len() <= ring_bytes, "{}", read.len());
            world.turns();
            world.give_seg(data(read.len(), 5_000));
            read.extend(world.read(peer));
            assert_eq!(read, data(0, read.len()).data);
            assert!(read.len() > ring_bytes);
            world.drain();
            world.take_events();
            world.assert_witness_lives();
        }
    }
}

/// T-21. Goal: the window that a challenge tells is never more than the ring holds, whatever was told last. Method: a peer that
/// shifts its windows, challenged at once.
#[test]
fn challenges_tell_a_true_window() {
    let mut world = World::new();
    let mut syn = Seg::new(flag::SYN, 41_000, 99, 0);
    syn.options = vec![3, 3, 7, 1];
    let answer = world.give_seg(&syn).remove(0);
    let shift = answer.option(3).unwrap()[0];
    assert!(shift > 0, "a ring for which nothing need be shifted shows nothing");
    world.give_seg(Seg::new(flag::ACK, 41_000, 100, answer.tcp.seq.wrapping_add(1)));
    let [challenge] = &world.give_seg(&syn)[..] else { panic!("one challenge") };
    let told = usize::from(challenge.tcp.window) << shift;
    assert!((60_000..=NetLimits::default().rx_ring_bytes).contains(&told), "{told}");
}

/// T-22. Goal: a peer whose window is one byte gets its bytes, one at a time, each only for an acknowledgement of its
/// own; it costs us no more than it spends.
#[test]
fn a_window_of_one_byte() {
    let mut world = World::new();
    let conn = world.conn;
    let seg = world.seg(flag::ACK, 0, 0);
    world.give_seg(&Seg { window: 1, ..seg });
    let bytes: Vec<u8> = (0..200).collect();
    assert_eq!(world.stack.send(conn.id, &bytes), bytes.len());
    world.turns();
    let mut got: Vec<u8> = world.drain().iter().flat_map(|frame| wire::Out::parse(frame).data).collect();
    assert_eq!(got.len(), 1);
    while got.len() < bytes.len() {
        let seg = world.seg(flag::ACK, 0, got.len() as i64);
        let out = world.give_seg(&Seg { window: 1, ..seg });
        assert_eq!(out.len(), 1, "one frame for one frame");
        assert_eq!(out[0].data.len(), 1);
        got.extend(&out[0].data);
    }
    assert_eq!(got, bytes);
    world.assert_witness_lives();
}

/// T-22. Goal: a peer whose window is shut is asked now and then, more and more rarely, by a byte at most, and holds no
/// more than its ring. Method: a minute of answers that say shut; then it opens.
#[test]
fn a_shut_window() {
    let mut world = World::new();
    let conn = world.conn;
    let shut = world.seg(flag::ACK, 0, 0);
    world.give_seg(&Seg { window: 0, ..shut.clone() });
    assert_eq!(world.stack.send(conn.id, &[b'z'; 1_000_000]), 256 << 10);
    let mut probes = 0;
    for _ in 0..60_000 / 50 {
        for frame in world.wait(Duration::from_millis(50)) {
            let out = wire::Out::parse(&frame);
            assert!(out.data.len() <= 1);
            probes += 1;
            world.give_seg(&Seg { window: 0, ..shut.clone() });
        }
    }
    assert!((3..100).contains(&probes), "{probes} probes in a minute");
    assert!(world.is_open(conn), "it answers, so it lives");
    let out = world.give_seg(&shut);
    assert!(out.iter().map(|out| out.data.len()).sum::<usize>() > 1_000);
    world.assert_witness_lives();
}

/// T-1. Goal: no lie about a length or an option reaches the stream or the witness. Method: good frames with every header
/// byte of IP and TCP set to every value, sums made good again; the stream must hold only what honest rows put there.
#[test]
fn every_header_byte() {
    for at in ETHERNET_BYTES..ETHERNET_BYTES + IPV4_BYTES + 20 {
        let mut world = World::new();
        for value in 0..=255u8 {
            // At the far end of the window, where no mixture of numbers makes it the next expected byte.
            let mut seg = world.seg(flag::ACK, 40_000, 0);
            seg.data = vec![b'!'; 32];
            let mut frame = seg.frame();
            if frame[at] == value {
                continue;
            }
            frame[at] = value;
            if usize::from(frame[ETHERNET_BYTES] & 15) * 4 + 20 <= frame.len() - ETHERNET_BYTES
                && frame[ETHERNET_BYTES] & 15 >= 5
            {
                wire::finish_tcp(&mut frame);
            }
            world.give(&frame);
            world.wait(Duration::from_millis(1));
        }
        let conn = world.conn;
        assert!(world.is_open(conn), "byte {at}");
        assert_eq!(world.read(conn), b"", "byte {at}");
        world.assert_witness_lives();
    }
}

/// T-1. Goal: options may be anything. Method: random options of every length on SYNs and on data of an open connection;
/// cut ones, and lengths of nought and beyond the header.
#[test]
fn any_options() {
    let mut rng = Rng::from_seed(9);
    let mut world = World::new();
    for round in 0..20_000u32 {
        let mut options = vec![0; 4 * rng.below(11) as usize];
        rng.fill(&mut options);
        if let [kind, len, ..] = &mut options[..]
            && rng.chance(0.7)
        {
            *kind = [2, 3, 4, 5, 8, 254][rng.below(6) as usize];
            *len = rng.below(12) as u8;
        }
        let mut data = world.seg(flag::ACK, round.into(), 0);
        data.options = options.clone();
        data.data = vec![b'd'];
        world.give(&data.frame());
        let conn = world.conn;
        // Options that cannot be read make the segment a bad one; then the byte comes again without them.
        if world.read(conn).is_empty() {
            data.options.clear();
            world.give(&data.frame());
            assert_eq!(world.read(conn), b"d", "{options:?}");
        }
        let mut syn = Seg::syn([10, 77, 0, 9].into(), round as u16, 5);
        syn.options = options;
        let out = world.give_seg(&syn);
        assert!(out.len() <= 1);
        if let [answer] = &out[..] {
            let reset = Seg { flags: flag::RST, seq: 6, ..syn };
            assert_eq!((answer.to, answer.tcp.ack), (syn.from, 6));
            assert_eq!(answer.option(2), Some(&1460u16.to_be_bytes()[..]));
            world.give_seg(&reset);
        }
    }
    world.assert_witness_lives();
}

/// T-23. Goal: nobody makes us cut a stream into crumbs. Method: SYNs that ask for tiny segments.
#[test]
fn tiny_segments_are_not_sent() {
    for mss in [0u16, 1, 7, 47] {
        let mut world = World::new();
        let mut syn = Seg::new(flag::SYN, 42_000, 99, 0);
        syn.options = [&[2, 4][..], &mss.to_be_bytes()].concat();
        let out = world.give_seg(&syn);
        let ack = out[0].tcp.seq.wrapping_add(1);
        world.give_seg(Seg::new(flag::ACK, 42_000, 100, ack));
        let events = world.take_events();
        let [dataplane::net::NetEvent::Opened { conn, .. }] = events[..] else { panic!("{events:?}") };
        world.stack.send(conn, &[1; 4_000]);
        world.turns();
        let out: Vec<wire::Out> = world.drain().iter().map(|frame| wire::Out::parse(frame)).collect();
        assert!(out[0].data.len() >= 48, "asked for {mss}, sent {}", out[0].data.len());
    }
}

/// T-34. Goal: a peer that lies about what it has beyond holes gets no more frames for it than it sends, and its bytes all the
/// same when it turns out to have nothing. Method: thousands of reports, possible and impossible; then a receiver who begins
/// with nothing and reports nothing.
#[test]
fn lying_reports() {
    let mut world = World::new();
    let mut rng = Rng::from_seed(34);
    let mut syn = Seg::new(flag::SYN, 42_000, 499, 0);
    syn.options = vec![2, 4, 5, 180, 1, 1, 4, 2];
    let answer = world.give_seg(&syn).remove(0);
    let first = answer.tcp.seq.wrapping_add(1);
    world.give_seg(Seg::new(flag::ACK, 42_000, 500, first));
    let [NetEvent::Opened { conn, .. }] = world.take_events()[..] else { panic!("not opened") };
    let mut bytes = vec![0; 60_000];
    rng.fill(&mut bytes);
    assert_eq!(world.stack.send(conn, &bytes), bytes.len());
    world.turns();
    let mut out = world.drain().len();

    const LIES: usize = 5_000;
    for _ in 0..LIES {
        let mut lie = Seg::new(flag::ACK, 42_000, 500, first);
        let blocks = 1 + rng.below(4) as usize;
        lie.options = vec![1, 1, 5, 2 + 8 * blocks as u8];
        for _ in 0..2 * blocks {
            let at = match rng.below(4) {
                0 => rng.next_u32(),
                1 => rng.below(60_000) as u32,
                _ => rng.below(15) as u32 * 1_460,
            };
            lie.options.extend_from_slice(&first.wrapping_add(at).to_be_bytes());
        }
        out += world.give(&lie.frame()).len();
        if rng.below(10) == 0 {
            out += world.wait(Duration::from_millis(1)).len();
        }
    }
    assert!(out <= LIES, "{out} frames for {LIES} lies");
    world.assert_witness_lives();

    let (mut got, mut rounds, mut frames) = (Vec::new(), 0, Vec::new());
    while got.len() < bytes.len() {
        let later = world.wait(Duration::from_millis(20));
        frames.extend(later.iter().map(|frame| Out::parse(frame)));
        for frame in frames.drain(..).filter(|out| out.tcp.to_port == 42_000) {
            let at = frame.tcp.seq.wrapping_sub(first) as usize;
            if at <= got.len() && at + frame.data.len() > got.len() {
                got.extend_from_slice(&frame.data[got.len() - at..]);
            }
        }
        let acked = first.wrapping_add(got.len() as u32);
        frames = world.give_seg(Seg::new(flag::ACK, 42_000, 500, acked));
        rounds += 1;
        assert!(rounds < 5_000, "{} bytes came", got.len());
    }
    assert!(got == bytes);
    world.assert_witness_lives();
}
