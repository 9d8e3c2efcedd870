//! ARP and ICMP: who may tell us where somebody is (nobody), and how often we answer.

use crate::script::World;
use crate::wire::{self, OUR_MAC, Out, PEER, PEER_MAC, Seg, US};
use dataplane::net::Net;
use dataplane::net::packet::{self, Arp, BROADCAST, ETHERNET_BYTES, Ethernet, Ipv4, flag};
use dataplane::rng::Rng;
use std::net::Ipv4Addr;
use std::time::Duration;

const THIEF: [u8; 6] = [0x02, 6, 6, 6, 6, 6];

/// What is sent goes to the peer's own hardware address.
fn assert_peer_is_where_it_was(world: &mut World) {
    let conn = world.conn;
    world.stack.send(conn.id, b"for the peer");
    world.turns();
    let out: Vec<Out> = world.drain().iter().map(|frame| Out::parse(frame)).collect();
    assert_eq!((out.len(), out[0].to_mac), (1, PEER_MAC));
    world.assert_witness_lives();
}

/// T-2. Goal: no ARP message moves a connection. Method: requests and replies, asked for and not, that put the peer behind
/// another hardware address; then data.
#[test]
fn arp_moves_nobody() {
    let mut world = World::new();
    for operation in [Arp::REQUEST, Arp::REPLY, 3, 0] {
        for to in [BROADCAST, OUR_MAC] {
            for target in [US, PEER] {
                world.give(&wire::arp(operation, THIEF, PEER, target, to));
            }
        }
    }
    assert_peer_is_where_it_was(&mut world);
}

/// T-2. Goal: segments from elsewhere move a connection only if they are in order, twice: a thief who does not know where
/// the stream is gets nothing, whatever their number.
#[test]
fn blind_segments_move_nobody() {
    let mut world = World::new();
    let mut rng = Rng::from_seed(3);
    for _ in 0..2_000 {
        let mut seg = world.seg(flag::ACK, 1 + i64::from(rng.next_u32() >> 1), 0);
        seg.mac = THIEF;
        world.give_seg(&seg);
    }
    assert_peer_is_where_it_was(&mut world);
}

/// T-25. Goal: thousands of neighbours leave no trace: no table fills, none is thrown out. Method: every host of the
/// network asks, from a hundred hardware addresses; each is answered, the witness goes on.
#[test]
fn many_neighbours_leave_no_trace() {
    let mut world = World::new();
    for round in 0..40u8 {
        for host in 3..255u8 {
            let (mac, ip) = ([0x02, round, 0, 0, 0, host], Ipv4Addr::new(10, 77, 0, host));
            let out = world.give(&wire::arp(Arp::REQUEST, mac, ip, US, BROADCAST));
            let (to, answer) = wire::read_arp(&out[0]);
            assert_eq!((out.len(), to, answer.target, answer.sender_mac), (1, mac, ip, OUR_MAC));
        }
        world.wait(Duration::from_millis(50));
    }
    world.assert_witness_lives();
}

/// T-25. Goal: answers to ARP are bounded. Method: more questions in one instant than anybody honest has.
#[test]
fn arp_floods_are_answered_in_part() {
    let mut world = World::new();
    let question = wire::arp(Arp::REQUEST, PEER_MAC, PEER, US, BROADCAST);
    let answers: usize = (0..50_000).map(|_| world.give(&question).len()).sum();
    assert_eq!(answers, 10_000);
    assert_eq!(world.front().drop_over_budget, 40_000);
    world.wait(Duration::from_secs(1));
    assert_eq!(world.give(&question).len(), 1);
    world.assert_witness_lives();
}

/// T-25. Goal: who claims our address is contradicted, so that others do not believe him for long, but not endlessly
/// (RFC 5227 asks for that, or two of us would shout for ever).
#[test]
fn our_address_is_defended() {
    let mut world = World::new();
    let claim = wire::arp(Arp::REPLY, THIEF, US, PEER, BROADCAST);
    let out = world.give(&claim);
    assert_eq!(out.len(), 1);
    let (to, said) = wire::read_arp(&out[0]);
    assert_eq!(to, BROADCAST);
    assert_eq!((said.sender, said.sender_mac, said.target), (US, OUR_MAC, US));
    for _ in 0..100 {
        assert!(world.give(&claim).is_empty());
    }
    world.wait(Duration::from_secs(1));
    assert_eq!(world.give(&claim).len(), 1);
    assert_eq!(world.front().arp_conflicts, 102);
    world.assert_witness_lives();
}

/// T-26. Goal: a flood of pings is answered in part and harms nobody. Method: a hundred thousand in one second.
#[test]
fn ping_floods_are_answered_in_part() {
    let mut world = World::new();
    let ping = wire::icmp(8, 0, &[0; 60]);
    let mut answers = 0;
    for _ in 0..100 {
        for _ in 0..100 {
            answers += world.give(&ping).len();
        }
        world.wait(Duration::from_millis(10));
        world.assert_witness_lives();
    }
    assert!((1_000..=2_000).contains(&answers), "{answers}");
}

/// T-26. Goal: no ICMP message but an echo request has any effect: no connection ends, slows down or goes elsewhere
/// (RFC 5927). Method: every kind and code, quoting the attacked connection; a redirect, a small MTU, a dead port.
#[test]
fn icmp_changes_nothing() {
    let mut world = World::new();
    let conn = world.conn;
    world.stack.send(conn.id, b"quoted");
    world.turns();
    let quoted = world.drain().remove(0);
    for kind in 0..=255u8 {
        for code in 0..16u8 {
            if (kind, code) == (8, 0) {
                continue;
            }
            let rest = [&[0, 0, 0, 68][..], &quoted[ETHERNET_BYTES..ETHERNET_BYTES + 28]].concat();
            assert!(world.give(&wire::icmp(kind, code, &rest)).is_empty(), "{kind}/{code}");
        }
    }
    let ack = world.seg(flag::ACK, 0, 6);
    world.give_seg(&ack);
    world.stack.send(conn.id, &[b'x'; 3_000]);
    world.turns();
    let out: Vec<Out> = world.drain().iter().map(|frame| Out::parse(frame)).collect();
    assert!(world.is_open(conn));
    // Without an MSS option the peer takes 536 bytes; a smaller MTU is nobody's to tell.
    assert_eq!((out[0].data.len(), out[0].to_mac), (536, PEER_MAC));
    world.assert_witness_lives();
}

/// T-26. Goal: an echo is answered to its sender only, whole, and only if it is for us alone. Method: damaged, cut,
/// broadcast, foreign and fragmented ones.
#[test]
fn odd_pings() {
    type Damage = fn(&mut Vec<u8>);
    let table: [(&str, bool, Damage); 7] = [
        ("as it should be", true, |_| ()),
        ("a bad sum", false, |frame| *frame.last_mut().unwrap() ^= 1),
        ("code 1", false, |frame| frame[35] = 1),
        ("cut", false, |frame| frame.truncate(40)),
        ("to everybody", false, |frame| frame[..6].fill(0xff)),
        ("from everybody", false, |frame| frame[6] |= 1),
        ("a fragment", false, |frame| {
            frame[20] = 0x20;
            packet::finish_ipv4(frame[ETHERNET_BYTES..].first_chunk_mut().unwrap());
        }),
    ];
    for (name, is_answered, damage) in table {
        let mut world = World::new();
        let mut frame = wire::icmp(8, 0, b"\0\x01\0\x01are you there?");
        damage(&mut frame);
        let out = world.give(&frame);
        assert_eq!(out.len(), usize::from(is_answered), "{name}");
        for answer in out {
            let ethernet = Ethernet::parse(&answer).unwrap();
            let ip = Ipv4::parse(ethernet.payload).unwrap();
            assert_eq!((ethernet.to, ip.to, ip.payload.len()), (PEER_MAC, PEER, 22));
        }
        world.assert_witness_lives();
    }
}

/// T-1. Goal: pieces of packets are neither joined nor kept. Method: a segment in two fragments, first and last, in both
/// orders, a thousand times.
#[test]
fn fragments_are_dropped() {
    let mut world = World::new();
    let mut seg: Seg = world.seg(flag::ACK, 0, 0);
    seg.data = vec![b'f'; 64];
    let whole = seg.frame();
    let fragment = |from: usize, to: usize, more: bool| {
        let header_end = ETHERNET_BYTES + packet::IPV4_BYTES;
        let mut frame = whole[..header_end].to_vec();
        frame.extend(&whole[header_end + from..header_end + to]);
        let total = (frame.len() - ETHERNET_BYTES) as u16;
        frame[16..18].copy_from_slice(&total.to_be_bytes());
        let offset = (from / 8) as u16 | if more { 0x2000 } else { 0 };
        frame[20..22].copy_from_slice(&offset.to_be_bytes());
        packet::finish_ipv4(frame[ETHERNET_BYTES..].first_chunk_mut().unwrap());
        frame
    };
    for _ in 0..1_000 {
        assert!(world.give(&fragment(0, 40, true)).is_empty());
        assert!(world.give(&fragment(40, 84, false)).is_empty());
    }
    assert_eq!(world.front().drop_fragment, 2_000);
    world.play("= ''");
}
