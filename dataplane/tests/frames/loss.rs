//! What is lost is found and sent again, and nothing else is.

use crate::wire::{Out, Seg};
use crate::world::{World, seg};
use dataplane::net::packet::flag;
use dataplane::net::stack::LossCounters;
use dataplane::net::{ConnId, Net, NetEvent};
use dataplane::time::Clock;
use std::time::Duration;

/// Opens a connection with a peer that reports what it has beyond holes; returns the first number of our data.
fn open_with_sack(world: &mut World) -> (ConnId, u32) {
    let mut syn = seg(flag::SYN, 999, 0);
    syn.options = vec![2, 4, 5, 180, 1, 3, 3, 7, 1, 1, 4, 2];
    let answer = world.give_seg(syn);
    assert_eq!(&answer[0].options[..4], [2, 4, 5, 180]);
    assert!(answer[0].options.windows(2).any(|pair| pair == [4, 2]), "we take reports too");
    let first = answer[0].tcp.seq.wrapping_add(1);
    world.give_seg(seg(flag::ACK, 1000, first));
    let [NetEvent::Opened { conn, .. }] = world.take_events()[..] else { panic!("not opened") };
    (conn, first)
}

fn sack(ack: u32, blocks: &[(u32, u32)]) -> Seg {
    let mut seg = seg(flag::ACK, 1000, ack);
    seg.options = vec![1, 1, 5, 2 + 8 * blocks.len() as u8];
    for (from, to) in blocks {
        seg.options.extend_from_slice(&from.to_be_bytes());
        seg.options.extend_from_slice(&to.to_be_bytes());
    }
    seg
}

/// Goal: a hole is filled at the first report of bytes beyond it, with the bytes that were there, over the send ring's end
/// too; and nothing else is sent again, however often it is reported. Method: segments lost, one by one, for a megabyte.
#[test]
fn a_hole_is_filled_at_once() {
    let mut world = World::new();
    let (conn, first) = open_with_sack(&mut world);
    let (mut written, mut una, mut filled) = (0u32, first, 0);
    while filled < 100 {
        let bytes: Vec<u8> = (0..7_300u32).map(|at| ((written + at) % 251) as u8).collect();
        assert_eq!(world.stack.send(conn, &bytes), bytes.len());
        world.turns();
        let sent: Vec<Out> = world.drain().iter().map(|frame| Out::parse(frame)).collect();
        assert_eq!(sent.iter().map(|out| out.data.len()).sum::<usize>(), bytes.len());
        // The first segment is lost; the others are reported one by one.
        let end = una.wrapping_add(7_300);
        let hole = una.wrapping_add(sent[0].data.len() as u32);
        for (index, out) in sent.iter().enumerate().skip(1) {
            let to = out.tcp.seq.wrapping_add(out.data.len() as u32);
            let again = world.give_seg(sack(una, &[(hole, to)]));
            if index > 1 {
                assert!(again.is_empty());
                continue;
            }
            assert_eq!(again.len(), 1);
            assert_eq!((again[0].tcp.seq, &again[0].data[..]), (una, &bytes[..sent[0].data.len()]));
            filled += 1;
        }
        una = end;
        written += 7_300;
        assert!(world.give_seg(seg(flag::ACK, 1000, una)).is_empty());
    }
    assert_eq!(world.stack.counters().1.loss.repeated_frames, 100);
}

/// Goal: of many lost segments at the end, the probe finds all, and news of it fills them at once. Method: a window of
/// which only the beginning arrives.
#[test]
fn a_lost_tail_is_found_by_a_probe() {
    let mut world = World::new();
    let (conn, first) = open_with_sack(&mut world);
    world.stack.send(conn, &[7; 14_600]);
    world.turns();
    assert_eq!(world.drain().len(), 10);
    let una = first.wrapping_add(2 * 1_460);
    let nothing = world.give_seg(seg(flag::ACK, 1000, una));
    assert!(nothing.is_empty(), "{nothing:?}");
    let probe = world.wait(Duration::from_millis(7));
    assert_eq!((probe.len(), probe[0].data.len()), (1, 1_460));
    let end = first.wrapping_add(14_600);
    assert_eq!(probe[0].tcp.seq, end.wrapping_sub(1_460));
    let again = world.give_seg(sack(una, &[(end.wrapping_sub(1_460), end)]));
    assert_eq!(again.len(), 7);
    assert_eq!((again[0].tcp.seq, again[6].tcp.seq), (una, end.wrapping_sub(2 * 1_460)));
    world.give_seg(seg(flag::ACK, 1000, end));
    assert!(world.wait(Duration::from_secs(5)).is_empty());
}

/// T-33. Goal: after a long turn of ours nobody is probed who had no time to answer; a loss is found all the same, also by a
/// shard whose turns are all long. Method: turns of 8 and 3 ms, with and without an answer.
#[test]
fn a_long_turn_is_no_silence() {
    for (turn_ms, turns_until_answer) in [(8, 1), (3, 2)] {
        let mut world = World::new();
        let (conn, first) = open_with_sack(&mut world);
        let mut una = first;
        let long_turn = |world: &mut World, has_answer: bool| {
            let now = world.clock.read();
            world.stack.ingress(&now, 64);
            while world.stack.next_event().is_some() {}
            if has_answer {
                world.stack.send(conn, b"an answer");
            }
            world.stack.egress(&now, 64);
            world.clock.advance(Duration::from_millis(turn_ms));
            world.drain().len()
        };
        for _ in 0..50 {
            assert_eq!(long_turn(&mut world, true), 1);
            for _ in 0..turns_until_answer {
                assert_eq!(long_turn(&mut world, false), 0);
            }
            una = una.wrapping_add(9);
            world.port.give(&seg(flag::ACK, 1000, una).frame());
        }
        assert_eq!(world.stack.counters().1.loss, LossCounters::default(), "turns of {turn_ms} ms");
        // From now on everything is lost.
        let mut turns = 1;
        long_turn(&mut world, true);
        while world.stack.counters().1.loss.probes == 0 {
            long_turn(&mut world, false);
            turns += 1;
            assert!(turns * turn_ms <= 40, "never looked for");
        }
    }
}
