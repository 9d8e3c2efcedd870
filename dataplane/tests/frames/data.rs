//! Bytes in and out: acknowledgements, order, windows, turns.

use crate::wire::{Out, PEER_MAC, Seg};
use crate::world::{World, seg};
use dataplane::net::packet::flag;
use dataplane::net::{Net, NetEvent, NetTx};
use dataplane::time::Clock;
use std::time::Duration;

/// Goal: bytes in, bytes out, acknowledgements: at once with data, delayed without.
#[test]
fn data_and_acknowledgements() {
    let mut world = World::new();
    let (conn, first) = world.open(40_000);
    assert!(world.give_seg(seg(flag::ACK | flag::PSH, 1000, first).data(b"hello")).is_empty());
    assert_eq!(world.take_events(), [NetEvent::Readable(conn)]);
    assert_eq!(world.stack.readable(conn).0, b"hello");
    let acks = world.wait(Duration::from_millis(12));
    assert_eq!((acks.len(), acks[0].tcp.flags, acks[0].tcp.ack), (1, flag::ACK, 1005));

    world.stack.consume(conn, 5);
    assert_eq!(world.stack.send(conn, b"world"), 5);
    world.turns();
    let out: Vec<Out> = world.drain().iter().map(|frame| Out::parse(frame)).collect();
    assert_eq!((out.len(), &out[0].data[..], out[0].tcp.seq), (1, &b"world"[..], first));
    assert_eq!(out[0].tcp.flags, flag::ACK | flag::PSH);

    // Not acknowledged: sent again as a probe after 5 ms, then by the timer after 10 ms, then after twice that each time.
    for (quiet_ms, then_ms) in [(4, 3), (7, 4), (16, 6), (36, 6)] {
        assert!(world.wait(Duration::from_millis(quiet_ms)).is_empty());
        let again = world.wait(Duration::from_millis(then_ms));
        assert_eq!((again.len(), again[0].tcp.seq, &again[0].data[..]), (1, first, &b"world"[..]));
        assert_eq!((again[0].tcp.ack, again[0].tcp.flags), (1005, flag::ACK | flag::PSH));
    }
    world.give_seg(seg(flag::ACK, 1005, first.wrapping_add(5)));
    assert!(world.wait(Duration::from_secs(5)).is_empty());
}

/// Goal: an acknowledgement after a timeout lies in the peer's window: it carries the number after all we have sent, not
/// the one we send again from. Method: two segments lost, the first sent again, then data from the peer.
#[test]
fn acknowledgements_after_a_timeout() {
    let mut world = World::new();
    let (conn, first) = world.open(40_000);
    world.stack.send(conn, &[1; 1_072]);
    world.turns();
    world.drain();
    let again = world.wait(Duration::from_millis(1_005));
    assert!(!again.is_empty());
    let acks = world.give_seg(seg(flag::ACK, 1004, first).data(b"late"));
    assert_eq!((acks.len(), acks[0].tcp.ack), (1, 1000));
    assert_eq!(acks[0].tcp.seq, first.wrapping_add(1_072));
}

/// Goal: a peer that moves behind another hardware address is followed, but not for a single frame that says so.
#[test]
fn a_moved_peer_is_followed() {
    let mut world = World::new();
    let (_, first) = world.open(40_000);
    let elsewhere = [0x02, 0, 0, 0, 0, 9];
    for (seq, expected) in [(1000, PEER_MAC), (1001, elsewhere)] {
        let mut frame = seg(flag::ACK, seq, first).data(b"x").frame();
        frame[6..12].copy_from_slice(&elsewhere);
        world.give(&frame);
        let acks = world.wait(Duration::from_millis(12));
        assert_eq!(acks[0].to_mac, expected);
    }
}

/// Goal: out of order and overlapping segments are put in order; the first bytes to come are kept.
#[test]
fn reassembly() {
    let mut world = World::new();
    let (conn, first) = world.open(40_000);
    let seg = |at: u32, data: &[u8]| seg(flag::ACK, 1000 + at, first).data(data);
    let out = world.give_seg(seg(4, b"efgh"));
    assert_eq!((out.len(), out[0].tcp.ack), (1, 1000), "a duplicate acknowledgement, at once");
    world.give_seg(seg(2, b"cdef"));
    assert_eq!(world.stack.readable(conn).0, b"");
    world.give_seg(seg(0, b"abcd"));
    assert_eq!(world.stack.readable(conn).0, b"abcdefgh");
}

/// Goal: a small answer does not wait for a large one of another connection, nor does a turn last as long as that takes.
/// Method: the large one is given first, to a peer that takes it at once; one turn. In a hurry the next one sends a frame, or
/// more with more answers that the hurry is about.
#[test]
fn small_answers_go_before_large_ones() {
    let mut world = World::new();
    let (large, _) = world.open(40_000);
    let (small, _) = world.open(40_001);
    for _ in 0..20 {
        world.stack.send(large, &[1; 60_000]);
        let mut outs = world.wait(Duration::from_millis(1));
        while let Some(last) = outs.last() {
            let acked = last.tcp.seq.wrapping_add(last.data.len() as u32);
            outs = world.give_seg(seg(flag::ACK, 1000, acked));
        }
    }

    world.stack.send(large, &[2; 200_000]);
    world.stack.send(small, b"small");
    let mut turn = |hurry: Option<usize>| {
        world.stack.split().1.hurry(hurry);
        let now = world.clock.read();
        world.stack.egress(&now, 1_000);
        let outs: Vec<Out> = world.drain().iter().map(|frame| Out::parse(frame)).collect();
        (outs.iter().map(|out| out.data.len()).sum::<usize>(), outs)
    };
    let (bytes, outs) = turn(Some(1_000_000));
    assert_eq!(outs[0].data, b"small");
    assert!((40_000..60_000).contains(&bytes), "{bytes} bytes in a turn with very many answers");
    let (frame, _) = turn(Some(0));
    assert!((1_000..2_000).contains(&frame), "{frame} bytes in one turn in a hurry");
    assert_eq!(turn(Some(1)).0, frame);
    let (bytes, _) = turn(Some(10));
    assert!((10_000..13_000).contains(&bytes), "{bytes} bytes in a turn with ten answers");
}

/// Goal: a peer that stops reading stops us, is probed, and gets the rest when it reads again.
#[test]
fn zero_window() {
    let mut world = World::new();
    let (conn, first) = world.open(40_000);
    world.give_seg(Seg { window: 0, ..seg(flag::ACK, 1000, first) });
    assert_eq!(world.stack.send(conn, b"abcdef"), 6);
    let mut probes = Vec::new();
    for _ in 0..20 {
        probes.extend(world.wait(Duration::from_millis(100)));
    }
    assert!(!probes.is_empty());
    assert!(probes.iter().all(|probe| probe.data.len() <= 1));
    let out = world.give_seg(seg(flag::ACK, 1000, first));
    let sent: Vec<u8> = out.iter().flat_map(|out| out.data.clone()).collect();
    assert!(b"abcdef".ends_with(&sent) && sent.len() >= 5, "{sent:?}");
}

/// RFC 9293, 3.10.7.4. Goal: two ends that have both closed their windows do not stay silent for ever: what a peer
/// acknowledges and offers is heard while we take no data from it, even when it has sent more than we took. (Found by
/// bulk echoes over AF_XDP.) Method: fill our ring, then open the peer's window with a segment from beyond ours.
#[test]
fn a_window_update_is_heard_while_our_window_is_closed() {
    for probe in [&b""[..], b"xy"] {
        let mut world = World::new();
        let (conn, first) = world.open(40_000);
        world.give_seg(Seg { window: 0, ..seg(flag::ACK, 1000, first) });
        assert_eq!(world.stack.send(conn, b"abcdef"), 6);
        let (mut seq, mut window) = (1000_u32, 1000);
        while window > 0 {
            let data = vec![1; window.min(1000)];
            let out = world.give_seg(Seg { window: 0, ..seg(flag::ACK, seq, first).data(&data) });
            seq += data.len() as u32;
            let acks = if out.is_empty() { world.wait(Duration::from_millis(12)) } else { out };
            window = acks.last().map_or(window, |ack| usize::from(ack.tcp.window));
            assert!(seq < 1_000_000);
        }
        let out = world.give_seg(seg(flag::ACK, seq + 2 - probe.len() as u32, first).data(probe));
        let sent: Vec<u8> = out.iter().flat_map(|out| out.data.clone()).collect();
        assert!(b"abcdef".ends_with(&sent) && sent.len() >= 5, "{sent:?}");
        let (a, b) = world.stack.readable(conn);
        assert_eq!(a.len() + b.len(), (seq - 1000) as usize, "what did not fit is not taken");
    }
}

/// Goal: a receiver that does not read closes its window, and opens it again. Method: fill the ring, then consume.
#[test]
fn back_pressure() {
    let mut world = World::new();
    let (conn, first) = world.open(40_000);
    let chunk = [1; 1000];
    let (mut seq, mut window) = (1000u32, 0xffff);
    while window >= chunk.len() {
        let out = world.give_seg(seg(flag::ACK, seq, first).data(&chunk));
        seq += 1000;
        let acks = if out.is_empty() { world.wait(Duration::from_millis(12)) } else { out };
        window = usize::from(acks.last().unwrap().tcp.window);
        assert!(seq < 1_000_000);
    }
    let (a, b) = world.stack.readable(conn);
    let len = a.len() + b.len();
    assert!(len > 60_000);
    world.stack.consume(conn, len);
    world.turns();
    let update: Vec<Out> = world.drain().iter().map(|frame| Out::parse(frame)).collect();
    assert_eq!(update.len(), 1);
    assert!(update[0].tcp.window > 60_000);
}

/// Goal: `Writable` comes after a send that did not take everything, once there is room.
#[test]
fn writable_follows_a_short_send() {
    let mut world = World::new();
    let (conn, first) = world.open(40_000);
    let room = world.stack.send_room(conn);
    let bytes = vec![7; room + 1];
    assert_eq!(world.stack.send(conn, &bytes), room);
    let mut acked = first;
    let mut rounds = 0;
    while !world.take_events().contains(&NetEvent::Writable(conn)) {
        world.turns();
        for frame in world.drain() {
            let out = Out::parse(&frame);
            acked = out.tcp.seq.wrapping_add(out.data.len() as u32);
        }
        world.give_seg(seg(flag::ACK, 1000, acked)).iter().for_each(|out| {
            acked = out.tcp.seq.wrapping_add(out.data.len() as u32);
        });
        rounds += 1;
        assert!(rounds < 10_000);
    }
    assert!(world.stack.send_room(conn) >= room / 4);
}

/// Goal: a window whose reopening was lost is asked for soon, and less and less often. Method: a closed window, silence.
#[test]
fn a_closed_window_is_asked_for() {
    let mut world = World::new();
    let (conn, first) = world.open(40_000);
    let mut seg = seg(flag::ACK, 1000, first);
    seg.window = 500;
    world.give_seg(seg.clone());
    world.stack.send(conn, &[1; 1000]);
    world.turns();
    assert_eq!(world.drain().len(), 1);
    (seg.ack, seg.window) = (first.wrapping_add(500), 0);
    assert!(world.give_seg(seg.clone()).is_empty());
    let asked: Vec<Out> = (0..900).flat_map(|_| world.wait(Duration::from_millis(1))).collect();
    assert!((5..=8).contains(&asked.len()), "{asked:?}");
    assert!(
        asked.iter().all(|out| out.tcp.seq == seg.ack.wrapping_sub(1) && out.data.is_empty()),
        "{asked:?}"
    );
    seg.window = 0xffff;
    let data = world.give_seg(seg);
    assert_eq!((data.len(), data[0].data.len()), (1, 500));
}

/// Goal: what an operator is told of a connection is what happened to it. Method: answer after 4 ms, then not at all,
/// then with a shut window.
#[test]
fn a_connection_is_measured() {
    let mut world = World::new();
    let (conn, first) = world.open(40_000);
    assert_eq!(world.stack.send(conn, b"0123456789"), 10);
    assert_eq!(world.wait(Duration::ZERO).len(), 1);
    assert!(world.wait(Duration::from_millis(4)).is_empty());
    world.give_seg(seg(flag::ACK, 1000, first + 10));
    let info = world.stack.info(conn).unwrap();
    assert_eq!(info.tcp.state, "established");
    let rtt_ns = info.tcp.rtt_ns.unwrap();
    assert!((500_000..=4_000_000).contains(&rtt_ns), "{rtt_ns}: an eighth of 4 ms at least");
    assert_eq!((info.tcp.retransmits, info.tcp.zero_window_ns), (Some(0), Some(0)));

    assert_eq!(world.stack.send(conn, b"lost"), 4);
    assert_eq!(world.wait(Duration::ZERO).len(), 1);
    let again = (0..40).find(|_| !world.wait(Duration::from_millis(50)).is_empty());
    assert!(again.is_some(), "sent again");
    let info = world.stack.info(conn).unwrap();
    assert_eq!(info.tcp.retransmits, Some(1));
    let mut shut = seg(flag::ACK, 1000, first + 14);
    shut.window = 0;
    world.give_seg(shut);
    assert_eq!(world.stack.info(conn).unwrap().tcp.rtt_ns, Some(rtt_ns), "what was sent twice is not timed");
    world.wait(Duration::from_millis(20));
    assert_eq!(world.stack.info(conn).unwrap().tcp.zero_window_ns, Some(20_000_000));
}
