//! Numbers that come round: sequence numbers of both ends, and clocks.

use crate::script::World;
use crate::wire::{Out, Seg};
use dataplane::net::Net;
use dataplane::net::packet::flag;
use std::time::Duration;

/// RFC 6528's clock: one step in four microseconds.
const CLOCK_STEP: Duration = Duration::from_micros(4);

/// A world whose attacked connection has our first data byte at number `ours`, and the peer's at `theirs`.
fn world_at(ours: u32, theirs: u32) -> World {
    let second = Duration::from_secs(1);
    let first = World::starting_at(theirs, second, |_| ()).conn.ack;
    let later = CLOCK_STEP * ours.wrapping_sub(first);
    let world = World::starting_at(theirs, second + later, |_| ());
    assert_eq!((world.conn.ack, world.conn.seq), (ours, theirs));
    world
}

/// T-24. Goal: numbers that come round 2^32 change nothing. Method: the same tables with both ends' first bytes on, just
/// before and just after the turn.
#[test]
fn sequence_numbers_come_round() {
    for ours in [0u32, 1, 5, u32::MAX, u32::MAX - 1, u32::MAX - 9, u32::MAX / 2, u32::MAX / 2 + 1] {
        for theirs in [0u32, u32::MAX, u32::MAX - 7, 1 << 31] {
            let mut world = world_at(ours, theirs);
            world.play(
                "> PA 0 ack 0 'hello'
                 = hello
                 write 10*w
                 < PA 0 ack 5 'wwwwwwwwww'
                 > PA 7 ack 10 'after'
                 < A 10 ack 5
                 > PA 5 ack 10 'a '
                 < A 10 ack 12
                 = a after
                 > R 13
                 < A 10 ack 12
                 > PA 0 ack 10 'hello'
                 < A 10 ack 12
                 open
                 @ 1000ms
                 > R 12
                 gone",
            );
        }
    }
}

/// T-24. Goal: what is lost at the turn is sent again, and the numbers of later segments are right. Method: our bytes end
/// exactly at the turn, and are lost.
#[test]
fn retransmission_at_the_turn() {
    for ours in [u32::MAX - 9, u32::MAX - 4, u32::MAX, 0] {
        let mut world = world_at(ours, 1_000);
        world.play(
            "write 0123456789
             < PA 0 ack 0 '0123456789'",
        );
        let again: Vec<Out> =
            world.wait(Duration::from_millis(7)).iter().map(|frame| Out::parse(frame)).collect();
        assert_eq!(again.len(), 1, "first byte {ours}");
        world.play(
            "> PA 2 ack 0 'early'
             < A 10 ack 0
             > A 0 ack 10
             write abc
             < PA 10 ack 0 'abc'
             > A 0 ack 13
             @ 1000ms",
        );
    }
}

/// T-24. Goal: a transfer over the turn is whole, both ways. Method: 300 KB each way from just before it.
#[test]
fn bulk_over_the_turn() {
    let mut world = world_at(u32::MAX - 99_999, u32::MAX - 99_999);
    let conn = world.conn;
    let bytes: Vec<u8> = (0..300_000u32).map(|at| (at % 251) as u8).collect();
    let (mut sent, mut queued, mut read, mut got) = (0, 0, Vec::<u8>::new(), Vec::<u8>::new());
    let mut rounds = 0;
    while read.len() < bytes.len() || got.len() < bytes.len() {
        queued += world.stack.send(conn.id, &bytes[queued..]);
        let mut seg = world.seg(flag::ACK, sent as i64, got.len() as i64);
        let len = 1_000.min(bytes.len() - sent);
        seg.data = bytes[sent..sent + len].to_vec();
        sent += len;
        for out in world.give_seg(&seg) {
            let at = out.tcp.seq.wrapping_sub(conn.ack) as usize;
            if at == got.len() {
                got.extend(&out.data);
            }
        }
        read.extend(world.read(conn));
        rounds += 1;
        assert!(rounds < 10_000);
    }
    assert!(read == bytes && got == bytes);
    world.assert_witness_lives();
}

/// T-5, T-24. Goal: the clock behind our numbers comes round every 4.8 hours, smoltcp's runs several times as fast:
/// a connection lives through both, and so does one opened at the turn. Method: five hours of small talk, in steps.
#[test]
fn hours_of_small_talk() {
    let mut world = World::new();
    let conn = world.conn;
    let (mut asked, mut answered) = (0u32, 0u32);
    for step in 0..5 * 360 {
        world.clock.advance(Duration::from_secs(10));
        world.turns();
        world.drain();
        let mut seg =
            Seg::new(flag::ACK, conn.port, conn.seq.wrapping_add(asked), conn.ack.wrapping_add(answered));
        seg.data = b"tick".to_vec();
        world.give_seg(&seg);
        assert_eq!(world.read(conn), b"tick");
        asked += 4;
        assert_eq!(world.stack.send(conn.id, b"tock"), 4);
        world.turns();
        let out: Vec<u8> = world.drain().iter().flat_map(|frame| Out::parse(frame).data).collect();
        assert_eq!(out, b"tock", "step {step}");
        answered += 4;
        world.give_seg(Seg::new(
            flag::ACK,
            conn.port,
            conn.seq.wrapping_add(asked),
            conn.ack.wrapping_add(answered),
        ));
        if step % 100 == 0 {
            world.take_events();
            let fresh = world.open(20_000 + step as u16, 9);
            world.stack.abort(fresh.id);
            world.turns();
            world.drain();
            world.take_events();
        }
        world.assert_witness_lives();
    }
}

/// T-24. Goal: years of uptime are no age. Method: a world whose clock has run for thirty years, in one leap.
#[test]
fn years_of_uptime() {
    let mut world = World::starting_at(1_000, Duration::from_secs(30 * 365 * 86_400), |_| ());
    world.play(
        "> PA 0 ack 0 'old'
         = old
         write folks
         < PA 0 ack 3 'folks'",
    );
    assert_eq!(world.wait(Duration::from_millis(7)).len(), 1, "timers run");
}
