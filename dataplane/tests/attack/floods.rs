//! Very many of something, and what is left of us.

use crate::script::World;
use crate::wire::Seg;
use dataplane::net::Net;
use dataplane::net::packet::flag;
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
