//! Below TCP: ARP, ping, and frames that are dropped.

use crate::wire::{OUR_MAC, Out, PEER, PEER_MAC, Seg, US, arp, icmp, read_arp};
use crate::world::{MTU, World, seg};
use dataplane::device::sim::SimDevice;
use dataplane::device::{DeviceCaps, TxOffload};
use dataplane::net::front::Address;
use dataplane::net::packet::{
    self, Arp, BROADCAST, ETHERNET_BYTES, Ethernet, IPV4_BYTES, Ipv4, PROTOCOL_TCP, Tcp, finish_ipv4, flag,
};
use dataplane::net::stack::{Stack, StackConfig};
use dataplane::net::{Net, NetEvent};
use dataplane::rng::Rng;

/// Goal: the network learns of us at start. Method: look at the first frames of a stack with a gateway.
#[test]
fn announces_itself() {
    let (device, port) = SimDevice::plain(OUR_MAC, MTU);
    let config = StackConfig::new(Address { ip: US, prefix_len: 24, gateway: Some(PEER) });
    let _stack = Stack::simulated(device, config, &mut Rng::from_seed(1)).unwrap();
    let asked: Vec<_> = std::iter::from_fn(|| port.take()).map(|frame| read_arp(&frame.bytes)).collect();
    assert_eq!(asked.len(), 2);
    for ((to, arp), target) in asked.iter().zip([US, PEER]) {
        assert_eq!(*to, BROADCAST);
        assert_eq!(
            (arp.operation, arp.sender, arp.sender_mac, arp.target),
            (Arp::REQUEST, US, OUR_MAC, target)
        );
    }
}

/// Goal: ARP for us is answered, ARP for others is not, and nobody may claim our address unnoticed.
#[test]
fn arp_is_answered() {
    let mut world = World::new();
    for to in [BROADCAST, OUR_MAC] {
        let out = world.give(&arp(Arp::REQUEST, PEER_MAC, PEER, US, to));
        assert_eq!(out.len(), 1);
        let (to, answer) = read_arp(&out[0]);
        assert_eq!(to, PEER_MAC);
        let expected = Arp {
            operation: Arp::REPLY,
            sender_mac: OUR_MAC,
            sender: US,
            target_mac: PEER_MAC,
            target: PEER,
        };
        assert_eq!(answer, expected);
    }
    assert!(world.give(&arp(Arp::REQUEST, PEER_MAC, PEER, PEER, BROADCAST)).is_empty());
    assert!(world.give(&arp(Arp::REPLY, PEER_MAC, PEER, US, OUR_MAC)).is_empty());
    let defence = world.give(&arp(Arp::REQUEST, PEER_MAC, US, US, BROADCAST));
    assert_eq!(read_arp(&defence[0]).1.sender_mac, OUR_MAC);
    assert_eq!(world.stack.counters().0.arp_conflicts, 1);
}

/// Goal: echo requests come back, damaged ones do not.
#[test]
fn ping_is_answered() {
    let mut world = World::new();
    let mut echo = vec![0x12, 0x34, 0, 1];
    echo.extend(b"are you there?!");
    let mut frame = icmp(8, 0, &echo);

    let out = world.give(&frame);
    assert_eq!(out.len(), 1);
    let ethernet = Ethernet::parse(&out[0]).unwrap();
    let ip = Ipv4::parse(ethernet.payload).unwrap();
    assert_eq!((ethernet.to, ip.from, ip.to), (PEER_MAC, US, PEER));
    assert_eq!(ip.payload[0], 0);
    assert_eq!(ip.payload[4..], echo);
    assert_eq!(packet::fold(packet::sum(ip.payload)), 0xffff);

    *frame.last_mut().unwrap() ^= 1;
    assert!(world.give(&frame).is_empty());
}

/// Goal: what is not a whole, sound frame for us is dropped without an answer and counted by its cause.
#[test]
fn bad_frames_are_dropped() {
    type Damage = fn(&mut Vec<u8>);
    let table: [(&str, Damage); 14] = [
        ("drop_malformed", |frame| frame.truncate(13)),
        ("drop_malformed", |frame| frame.truncate(ETHERNET_BYTES + 19)),
        ("drop_malformed", |frame| frame.truncate(ETHERNET_BYTES + IPV4_BYTES + 19)),
        ("drop_malformed", |frame| frame[ETHERNET_BYTES] = 0x65),
        ("drop_malformed", |frame| frame[ETHERNET_BYTES] = 0x44),
        ("drop_malformed", |frame| frame[ETHERNET_BYTES + IPV4_BYTES + 12] = 0x40),
        ("drop_malformed", |frame| frame[ETHERNET_BYTES + IPV4_BYTES + 12] = 0xf0),
        ("drop_ip_checksum", |frame| frame[ETHERNET_BYTES + 8] ^= 1),
        ("drop_tcp_checksum", |frame| frame[ETHERNET_BYTES + IPV4_BYTES + 7] ^= 1),
        ("drop_fragment", |frame| {
            frame[ETHERNET_BYTES + 6] = 0x20;
            finish_ipv4(frame[ETHERNET_BYTES..].first_chunk_mut().unwrap());
        }),
        ("drop_fragment", |frame| {
            frame[ETHERNET_BYTES + 7] = 0x10;
            finish_ipv4(frame[ETHERNET_BYTES..].first_chunk_mut().unwrap());
        }),
        ("drop_not_ours", |frame| frame[5] ^= 1),
        ("drop_not_ours", |frame| {
            frame[ETHERNET_BYTES + 19] = 9;
            finish_ipv4(frame[ETHERNET_BYTES..].first_chunk_mut().unwrap());
        }),
        ("drop_bad_source", |frame| frame[6] |= 1),
    ];
    for (index, (cause, damage)) in table.into_iter().enumerate() {
        let mut world = World::new();
        let mut frame = seg(flag::SYN, 999, 0).frame();
        damage(&mut frame);
        assert!(world.give(&frame).is_empty(), "row {index}");
        let counters = format!("{:?}", world.stack.counters().0);
        assert!(counters.contains(&format!("{cause}: 1")), "row {index}: {counters}");
    }
    for source in
        [[10, 77, 0, 255], [0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255], [10, 77, 0, 2]]
    {
        let mut world = World::new();
        let mut seg = seg(flag::SYN, 999, 0);
        seg.from = source.into();
        assert!(world.give_seg(seg).is_empty());
        assert_eq!(world.stack.counters().0.drop_bad_source, 1, "{source:?}");
    }
}

/// Goal: Ethernet's padding is not data. Method: a short segment padded to 60 bytes.
#[test]
fn padding_is_not_data() {
    let mut world = World::new();
    let (conn, first) = world.open(40_000);
    let mut frame = seg(flag::ACK | flag::PSH, 1000, first).data(b"abc").frame();
    frame.resize(60, 0xee);
    world.give(&frame);
    assert_eq!(world.stack.readable(conn), (&b"abc"[..], &b""[..]));
}

/// Goal: a device without room delays frames and loses none.
#[test]
fn a_full_device_delays() {
    let mut world = World::new();
    let (conn, first) = world.open(40_000);
    world.port.set_room(0);
    world.stack.send(conn, b"later");
    world.turns();
    assert!(world.drain().is_empty());
    assert!(world.give_seg(seg(flag::ACK, 1000, first).data(b"in")).is_empty());
    assert_eq!(world.stack.readable(conn).0, b"in");
    world.port.set_room(64);
    world.turns();
    let out = world.drain();
    assert_eq!(Out::parse(&out[0]).data, b"later");
    assert_eq!(Out::parse(&out[0]).tcp.ack, 1002);
}

/// Goal: with segmentation offload a large send is one frame, with everything the kernel needs to cut it.
#[test]
fn segmentation_offload() {
    let caps = DeviceCaps {
        mac: OUR_MAC,
        mtu: MTU,
        tso_bytes_max: Some(65_535),
        completes_checksums: true,
        leaves_checksums_partial: false,
    };
    let mut world = World::with(|_| (), caps);
    let out = world.give(&Seg { options: vec![2, 4, 5, 0xb4], ..seg(flag::SYN, 999, 0) }.frame());
    let first = u32::from_be_bytes(out[0][38..42].try_into().unwrap()).wrapping_add(1);
    world.give(&seg(flag::ACK, 1000, first).frame());
    let [NetEvent::Opened { conn, .. }] = world.take_events()[..] else { panic!() };
    // Open the congestion window first: acknowledge as it grows.
    let bytes = vec![9; 60_000];
    let (mut acked, mut largest) = (first, (0, TxOffload::default(), 0));
    for _ in 0..60 {
        world.stack.send(conn, &bytes);
        world.turns();
        while let Some(frame) = world.port.take() {
            let ip = Ipv4::parse(&frame.bytes[ETHERNET_BYTES..]).unwrap();
            let tcp = Tcp::parse(ip.payload).unwrap();
            let pseudo = packet::fold(packet::pseudo_sum(US, PEER, PROTOCOL_TCP, ip.payload.len()));
            assert_eq!(ip.payload[16..18], pseudo.to_be_bytes());
            acked = tcp.seq.wrapping_add(tcp.data_bytes as u32);
            if tcp.data_bytes > largest.0 {
                largest = (tcp.data_bytes, frame.offload, tcp.header_bytes);
            }
        }
        world.port.give(&seg(flag::ACK, 1000, acked).frame());
    }
    let (data_bytes, offload, header_bytes) = largest;
    assert!(data_bytes > 30_000, "{data_bytes}");
    assert_eq!(offload.segment_bytes, 1460);
    assert_eq!((offload.checksum_start, offload.checksum_offset), (34, 16));
    assert_eq!(usize::from(offload.header_bytes), 34 + header_bytes);
}

/// Goal: where senders on the same host leave checksums begun, such a segment is taken and a wrong one is not; elsewhere
/// neither is. Method: a SYN with the pseudo header's sum, and one with that sum off by one, to both kinds of device.
#[test]
fn partial_checksums() {
    for leaves_checksums_partial in [true, false] {
        let caps = DeviceCaps {
            mac: OUR_MAC,
            mtu: MTU,
            tso_bytes_max: None,
            completes_checksums: false,
            leaves_checksums_partial,
        };
        let mut world = World::with(|_| (), caps);
        for (change, is_taken) in [(0, leaves_checksums_partial), (1, false)] {
            let mut frame = seg(flag::SYN, 999, 0).frame();
            let ip = Ipv4::parse(&frame[ETHERNET_BYTES..]).unwrap();
            let pseudo = packet::fold(packet::pseudo_sum(PEER, US, PROTOCOL_TCP, ip.payload.len()));
            let at = ETHERNET_BYTES + 20 + 16;
            frame[at..at + 2].copy_from_slice(&(pseudo + change).to_be_bytes());
            assert_eq!(!world.give(&frame).is_empty(), is_taken, "{leaves_checksums_partial} {change}");
        }
        assert!(world.stack.counters().0.drop_tcp_checksum > 0);
        assert!(!world.give_seg(seg(flag::SYN, 999, 0).port(40_001)).is_empty(), "a whole one is taken");
    }
}
