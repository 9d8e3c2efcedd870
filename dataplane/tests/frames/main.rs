//! The stack over the simulated device, frame by frame: this frame in, that frame expected.

#![allow(clippy::unwrap_used)] // All of it is tests.

use dataplane::device::sim::{SimDevice, SimPort};
use dataplane::device::{DeviceCaps, Mac, TxOffload};
use dataplane::net::front::Address;
use dataplane::net::packet::{self, *};
use dataplane::net::stack::{LossCounters, Stack, StackConfig};
use dataplane::net::{ConnId, Net, NetEvent};
use dataplane::rng::Rng;
use dataplane::time::{Clock, SimClock};
use std::net::Ipv4Addr;
use std::time::Duration;

const US: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const OUR_MAC: Mac = [0x02, 0xab, 10, 77, 0, 2];
const HOST_MAC: Mac = [0x02, 0, 0, 0, 0, 1];
const PORT: u16 = 10911;
const MTU: usize = 1500;

/// A stack, its clock, and the far end of its cable.
struct World {
    stack: Stack<SimDevice>,
    port: SimPort,
    clock: SimClock,
    events: Vec<NetEvent>,
}

/// A TCP segment as the peer writes it.
#[derive(Clone, Debug)]
struct Seg {
    from: Ipv4Addr,
    from_port: u16,
    to_port: u16,
    seq: u32,
    ack: u32,
    flags: u8,
    window: u16,
    options: Vec<u8>,
    data: Vec<u8>,
}

impl Seg {
    fn new(flags: u8, seq: u32, ack: u32) -> Self {
        Self {
            from: HOST,
            from_port: 40_000,
            to_port: PORT,
            seq,
            ack,
            flags,
            window: 0xffff,
            options: Vec::new(),
            data: Vec::new(),
        }
    }

    fn data(mut self, data: &[u8]) -> Self {
        self.data = data.to_vec();
        self
    }

    fn port(mut self, port: u16) -> Self {
        self.from_port = port;
        self
    }

    fn frame(&self) -> Vec<u8> {
        let segment_bytes = TCP_BYTES + self.options.len() + self.data.len();
        let mut frame = vec![0; ETHERNET_BYTES + IPV4_BYTES + segment_bytes];
        let (ethernet, rest) = frame.split_first_chunk_mut().unwrap();
        packet::write_ethernet(ethernet, OUR_MAC, HOST_MAC, ETHERTYPE_IPV4);
        let (ip, segment) = rest.split_first_chunk_mut().unwrap();
        packet::write_ipv4(ip, self.from, US, PROTOCOL_TCP, segment_bytes);
        let tcp = Tcp {
            from_port: self.from_port,
            to_port: self.to_port,
            seq: self.seq,
            ack: self.ack,
            flags: self.flags,
            window: self.window,
            header_bytes: TCP_BYTES,
            data_bytes: 0,
        };
        tcp.write(segment.first_chunk_mut().unwrap());
        segment[12] = ((TCP_BYTES + self.options.len()) as u8 / 4) << 4;
        segment[TCP_BYTES..TCP_BYTES + self.options.len()].copy_from_slice(&self.options);
        segment[TCP_BYTES + self.options.len()..].copy_from_slice(&self.data);
        let sum = packet::pseudo_sum(self.from, US, PROTOCOL_TCP, segment_bytes) + packet::sum(segment);
        segment[TCP_CHECKSUM_AT..TCP_CHECKSUM_AT + 2].copy_from_slice(&(!packet::fold(sum)).to_be_bytes());
        frame
    }
}

/// What the stack sent, parsed and verified.
#[derive(Clone, Debug)]
struct Out {
    to_mac: Mac,
    tcp: Tcp,
    options: Vec<u8>,
    data: Vec<u8>,
}

fn parse_out(frame: &[u8]) -> Out {
    let ethernet = Ethernet::parse(frame).unwrap();
    assert_eq!((ethernet.from, ethernet.ethertype), (OUR_MAC, ETHERTYPE_IPV4));
    let ip = Ipv4::parse(ethernet.payload).unwrap();
    assert_eq!((ip.from, ip.protocol), (US, PROTOCOL_TCP));
    assert!(ip.tcp_checksum_holds());
    let tcp = Tcp::parse(ip.payload).unwrap();
    Out {
        to_mac: ethernet.to,
        tcp,
        options: ip.payload[TCP_BYTES..tcp.header_bytes].to_vec(),
        data: ip.payload[tcp.header_bytes..].to_vec(),
    }
}

impl World {
    fn new() -> Self {
        Self::with(
            |_| (),
            DeviceCaps {
                mac: OUR_MAC,
                mtu: MTU,
                tso_bytes_max: None,
                completes_checksums: false,
                leaves_checksums_partial: false,
            },
        )
    }

    fn with(change: impl FnOnce(&mut StackConfig), caps: DeviceCaps) -> Self {
        let (device, port) = SimDevice::new(caps);
        let mut config = StackConfig::new(Address { ip: US, prefix_len: 24, gateway: None });
        config.limits.conns_max = 16;
        config.half_open_max = 4;
        change(&mut config);
        let mut stack = Stack::simulated(device, config, &mut Rng::from_seed(1)).unwrap();
        stack.listen(PORT).unwrap();
        let mut world = Self { stack, port, clock: SimClock::new(0), events: Vec::new() };
        world.clock.advance(Duration::from_secs(1));
        world.drain(); // The announcement.
        world
    }

    /// A few turns at one instant.
    fn turns(&mut self) {
        for _ in 0..4 {
            let now = self.clock.read();
            self.stack.ingress(&now, 64);
            self.events.extend(std::iter::from_fn(|| self.stack.next_event()));
            self.stack.egress(&now, 64);
        }
    }

    fn drain(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.port.take()).map(|frame| frame.bytes).collect()
    }

    /// This frame in; what comes out.
    fn give(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        self.port.give(frame);
        self.turns();
        self.drain()
    }

    fn give_seg(&mut self, seg: Seg) -> Vec<Out> {
        self.give(&seg.frame()).iter().map(|frame| parse_out(frame)).collect()
    }

    fn wait(&mut self, time: Duration) -> Vec<Out> {
        self.clock.advance(time);
        self.turns();
        self.drain().iter().map(|frame| parse_out(frame)).collect()
    }

    fn take_events(&mut self) -> Vec<NetEvent> {
        std::mem::take(&mut self.events)
    }

    /// Opens a connection from the given port; returns it and the stack's first sequence number.
    fn open(&mut self, from_port: u16) -> (ConnId, u32) {
        let out = self.give_seg(Seg::new(flag::SYN, 999, 0).port(from_port));
        assert_eq!(out.len(), 1, "{out:?}");
        assert_eq!(out[0].tcp.flags, flag::SYN | flag::ACK);
        assert_eq!(out[0].tcp.ack, 1000);
        let first = out[0].tcp.seq.wrapping_add(1);
        assert!(self.give_seg(Seg::new(flag::ACK, 1000, first).port(from_port)).is_empty());
        let [NetEvent::Opened { conn, peer, local }] = self.take_events()[..] else { panic!("not opened") };
        assert_eq!((peer.port(), local.port()), (from_port, PORT));
        (conn, first)
    }
}

fn arp(operation: u16, sender_mac: Mac, sender: Ipv4Addr, target: Ipv4Addr, to: Mac) -> Vec<u8> {
    let mut frame = vec![0; ETHERNET_BYTES + ARP_BYTES];
    let (ethernet, rest) = frame.split_first_chunk_mut().unwrap();
    packet::write_ethernet(ethernet, to, sender_mac, ETHERTYPE_ARP);
    Arp { operation, sender_mac, sender, target_mac: [0; 6], target }.write(rest.first_chunk_mut().unwrap());
    frame
}

fn parse_arp(frame: &[u8]) -> (Mac, Arp) {
    let ethernet = Ethernet::parse(frame).unwrap();
    assert_eq!(ethernet.ethertype, ETHERTYPE_ARP);
    (ethernet.to, Arp::parse(ethernet.payload).unwrap())
}

/// Goal: the network learns of us at start. Method: look at the first frames of a stack with a gateway.
#[test]
fn announces_itself() {
    let (device, port) = SimDevice::plain(OUR_MAC, MTU);
    let config = StackConfig::new(Address { ip: US, prefix_len: 24, gateway: Some(HOST) });
    let _stack = Stack::simulated(device, config, &mut Rng::from_seed(1)).unwrap();
    let asked: Vec<_> = std::iter::from_fn(|| port.take()).map(|frame| parse_arp(&frame.bytes)).collect();
    assert_eq!(asked.len(), 2);
    for ((to, arp), target) in asked.iter().zip([US, HOST]) {
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
        let out = world.give(&arp(Arp::REQUEST, HOST_MAC, HOST, US, to));
        assert_eq!(out.len(), 1);
        let (to, answer) = parse_arp(&out[0]);
        assert_eq!(to, HOST_MAC);
        let expected = Arp {
            operation: Arp::REPLY,
            sender_mac: OUR_MAC,
            sender: US,
            target_mac: HOST_MAC,
            target: HOST,
        };
        assert_eq!(answer, expected);
    }
    assert!(world.give(&arp(Arp::REQUEST, HOST_MAC, HOST, HOST, BROADCAST)).is_empty());
    assert!(world.give(&arp(Arp::REPLY, HOST_MAC, HOST, US, OUR_MAC)).is_empty());
    let defence = world.give(&arp(Arp::REQUEST, HOST_MAC, US, US, BROADCAST));
    assert_eq!(parse_arp(&defence[0]).1.sender_mac, OUR_MAC);
    assert_eq!(world.stack.counters().0.arp_conflicts, 1);
}

/// Goal: echo requests come back, damaged ones do not.
#[test]
fn ping_is_answered() {
    let mut world = World::new();
    let mut icmp = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1];
    icmp.extend(b"are you there?!");
    let checksum = !packet::fold(packet::sum(&icmp));
    icmp[2..4].copy_from_slice(&checksum.to_be_bytes());
    let mut frame = vec![0; ETHERNET_BYTES + IPV4_BYTES];
    let (ethernet, rest) = frame.split_first_chunk_mut().unwrap();
    packet::write_ethernet(ethernet, OUR_MAC, HOST_MAC, ETHERTYPE_IPV4);
    packet::write_ipv4(rest.first_chunk_mut().unwrap(), HOST, US, PROTOCOL_ICMP, icmp.len());
    frame.extend(&icmp);

    let out = world.give(&frame);
    assert_eq!(out.len(), 1);
    let ethernet = Ethernet::parse(&out[0]).unwrap();
    let ip = Ipv4::parse(ethernet.payload).unwrap();
    assert_eq!((ethernet.to, ip.from, ip.to), (HOST_MAC, US, HOST));
    assert_eq!(ip.payload[0], 0);
    assert_eq!(ip.payload[4..], icmp[4..]);
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
        let mut frame = Seg::new(flag::SYN, 999, 0).frame();
        damage(&mut frame);
        assert!(world.give(&frame).is_empty(), "row {index}");
        let counters = format!("{:?}", world.stack.counters().0);
        assert!(counters.contains(&format!("{cause}: 1")), "row {index}: {counters}");
    }
    for source in
        [[10, 77, 0, 255], [0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255], [10, 77, 0, 2]]
    {
        let mut world = World::new();
        let mut seg = Seg::new(flag::SYN, 999, 0);
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
    let mut frame = Seg::new(flag::ACK | flag::PSH, 1000, first).data(b"abc").frame();
    frame.resize(60, 0xee);
    world.give(&frame);
    assert_eq!(world.stack.readable(conn), (&b"abc"[..], &b""[..]));
}

/// Goal: segments that belong to nobody are refused as RFC 9293 says, resets never are.
#[test]
fn unknown_segments_are_reset() {
    let mut world = World::new();
    let out = world.give_seg(Seg::new(flag::ACK | flag::PSH, 5, 77).data(b"lost"));
    assert_eq!(out.len(), 1);
    assert_eq!((out[0].tcp.flags, out[0].tcp.seq), (flag::RST, 77));
    assert_eq!((out[0].to_mac, out[0].tcp.to_port, out[0].tcp.from_port), (HOST_MAC, 40_000, PORT));

    let mut closed = Seg::new(flag::SYN, 999, 0);
    closed.to_port = 1;
    let out = world.give_seg(closed);
    assert_eq!((out[0].tcp.flags, out[0].tcp.seq, out[0].tcp.ack), (flag::RST | flag::ACK, 0, 1000));

    assert!(world.give_seg(Seg::new(flag::RST, 5, 0)).is_empty());
    assert!(world.give_seg(Seg::new(flag::RST | flag::ACK, 5, 6)).is_empty());
}

/// Goal: the handshake offers what RFC 9293 and RFC 7323 want. Method: a SYN with MSS, window scale and SACK.
#[test]
fn handshake_options() {
    let mut world = World::new();
    let mut syn = Seg::new(flag::SYN, 999, 0);
    syn.options = vec![2, 4, 5, 0xb4, 4, 2, 1, 3, 3, 7, 1, 1]; // MSS 1460, SACK permitted, scale 7.
    let out = world.give_seg(syn);
    assert_eq!(out[0].tcp.flags, flag::SYN | flag::ACK);
    assert_eq!(out[0].options[..4], [2, 4, 0x05, 0xb4]);
    assert!(
        out[0].options.windows(3).any(|option| option[..2] == [3, 3] && option[2] >= 1),
        "{:?}",
        out[0].options
    );
    assert!(out[0].options.windows(2).any(|option| option == [4, 2]));
}

/// Goal: nobody can foresee our sequence numbers, and one 4-tuple's grow with time (RFC 6528).
#[test]
fn sequence_numbers_are_unpredictable() {
    let mut world = World::new();
    let mut firsts: Vec<u32> = (0..4).map(|index| world.open(50_000 + index).1).collect();
    firsts.windows(2).for_each(|pair| assert!(pair[0].abs_diff(pair[1]) > 10_000, "{firsts:?}"));
    firsts.dedup();
    assert_eq!(firsts.len(), 4);

    let (conn, first) = world.open(60_000);
    world.stack.abort(conn);
    world.turns();
    world.drain();
    world.clock.advance(Duration::from_millis(40));
    world.take_events();
    let (_, later) = world.open(60_000);
    assert_eq!(later.wrapping_sub(first), 10_000); // 40 ms of a 4 µs clock.
}

/// Goal: bytes in, bytes out, acknowledgements: at once with data, delayed without.
#[test]
fn data_and_acknowledgements() {
    let mut world = World::new();
    let (conn, first) = world.open(40_000);
    assert!(world.give_seg(Seg::new(flag::ACK | flag::PSH, 1000, first).data(b"hello")).is_empty());
    assert_eq!(world.take_events(), [NetEvent::Readable(conn)]);
    assert_eq!(world.stack.readable(conn).0, b"hello");
    let acks = world.wait(Duration::from_millis(12));
    assert_eq!((acks.len(), acks[0].tcp.flags, acks[0].tcp.ack), (1, flag::ACK, 1005));

    world.stack.consume(conn, 5);
    assert_eq!(world.stack.send(conn, b"world"), 5);
    world.turns();
    let out: Vec<Out> = world.drain().iter().map(|frame| parse_out(frame)).collect();
    assert_eq!((out.len(), &out[0].data[..], out[0].tcp.seq), (1, &b"world"[..], first));
    assert_eq!(out[0].tcp.flags, flag::ACK | flag::PSH);

    // Not acknowledged: sent again as a probe after 5 ms, then by the timer after 10 ms, then after twice that each time.
    for (quiet_ms, then_ms) in [(4, 3), (7, 4), (16, 6), (36, 6)] {
        assert!(world.wait(Duration::from_millis(quiet_ms)).is_empty());
        let again = world.wait(Duration::from_millis(then_ms));
        assert_eq!((again.len(), again[0].tcp.seq, &again[0].data[..]), (1, first, &b"world"[..]));
        assert_eq!((again[0].tcp.ack, again[0].tcp.flags), (1005, flag::ACK | flag::PSH));
    }
    world.give_seg(Seg::new(flag::ACK, 1005, first.wrapping_add(5)));
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
    let acks = world.give_seg(Seg::new(flag::ACK, 1004, first).data(b"late"));
    assert_eq!((acks.len(), acks[0].tcp.ack), (1, 1000));
    assert_eq!(acks[0].tcp.seq, first.wrapping_add(1_072));
}

/// Goal: a peer that moves behind another hardware address is followed, but not for a single frame that says so.
#[test]
fn a_moved_peer_is_followed() {
    let mut world = World::new();
    let (_, first) = world.open(40_000);
    let elsewhere = [0x02, 0, 0, 0, 0, 9];
    for (seq, expected) in [(1000, HOST_MAC), (1001, elsewhere)] {
        let mut frame = Seg::new(flag::ACK, seq, first).data(b"x").frame();
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
    let seg = |at: u32, data: &[u8]| Seg::new(flag::ACK, 1000 + at, first).data(data);
    let out = world.give_seg(seg(4, b"efgh"));
    assert_eq!((out.len(), out[0].tcp.ack), (1, 1000), "a duplicate acknowledgement, at once");
    world.give_seg(seg(2, b"cdef"));
    assert_eq!(world.stack.readable(conn).0, b"");
    world.give_seg(seg(0, b"abcd"));
    assert_eq!(world.stack.readable(conn).0, b"abcdefgh");
}

/// Goal: a reset counts only at exactly the expected number (RFC 5961): others in the window are challenged, and those
/// outside are ignored.
#[test]
fn resets_must_be_exact() {
    let mut world = World::new();
    let (conn, first) = world.open(40_000);
    world.give_seg(Seg::new(flag::ACK, 1000, first).data(b"12345"));
    world.take_events();
    assert!(world.give_seg(Seg::new(flag::RST, 999, 0)).is_empty());
    assert!(world.give_seg(Seg::new(flag::RST, 1005 + (1 << 20), 0)).is_empty());
    let challenge = world.give_seg(Seg::new(flag::RST, 1006, 0));
    assert_eq!(challenge.len(), 1);
    assert_eq!(
        (challenge[0].tcp.flags, challenge[0].tcp.ack, challenge[0].tcp.seq),
        (flag::ACK, 1005, first)
    );
    assert!(world.take_events().is_empty());
    world.stack.consume(conn, 5); // Unread, they would be served before the end.
    assert!(world.give_seg(Seg::new(flag::RST, 1005, 0)).is_empty());
    assert_eq!(world.take_events(), [NetEvent::Closed(conn)]);
    assert_eq!(world.stack.conns_len(), 0);
}

/// Goal: a SYN on an open connection is challenged, not believed; a peer that has restarted resets with the exact
/// number then, and may connect again.
#[test]
fn a_syn_on_an_open_connection_is_challenged() {
    let mut world = World::new();
    let (conn, first) = world.open(40_000);
    let challenge = world.give_seg(Seg::new(flag::SYN, 70_000, 0));
    assert_eq!(challenge.len(), 1);
    assert_eq!(
        (challenge[0].tcp.flags, challenge[0].tcp.ack, challenge[0].tcp.seq),
        (flag::ACK, 1000, first)
    );
    world.give_seg(Seg::new(flag::RST, 1000, 0));
    assert_eq!(world.take_events(), [NetEvent::Closed(conn)]);
    let (again, _) = world.open(40_000);
    assert_ne!(conn, again);
}

/// Goal: half-open connections are few and expire; beyond them a SYN is answered and forgotten.
#[test]
fn half_open_connections_are_bounded() {
    let mut world = World::new();
    for port in 1..=4 {
        assert_eq!(world.give_seg(Seg::new(flag::SYN, 999, 0).port(port)).len(), 1);
    }
    assert_eq!(world.give_seg(Seg::new(flag::SYN, 999, 0).port(5)).len(), 1);
    assert_eq!(world.stack.counters().1.cookies_given, 1);
    for _ in 0..60 {
        world.wait(Duration::from_millis(100)); // Answers are sent again, then given up.
    }
    assert_eq!(world.stack.counters().1.handshakes_expired, 4);
    assert!(world.take_events().is_empty());
    world.open(6);
}

/// Goal: a full house refuses nobody aloud: the SYN is dropped, and succeeds when somebody has left.
#[test]
fn a_full_table_drops_syns() {
    let mut world = World::new();
    let conns: Vec<ConnId> = (0..16).map(|index| world.open(20_000 + index).0).collect();
    assert!(world.give_seg(Seg::new(flag::SYN, 999, 0)).is_empty());
    world.stack.abort(conns[3]);
    world.turns();
    world.drain();
    assert_eq!(world.take_events(), [NetEvent::Closed(conns[3])]);
    let (reused, _) = world.open(40_000);
    assert_eq!(reused.slot, conns[3].slot);
    // The dead id of the same slot does nothing.
    assert_eq!(world.stack.send(conns[3], b"x"), 0);
    assert_eq!(world.stack.readable(conns[3]).0, b"");
    world.stack.close(conns[3]);
    assert!(world.stack.info(conns[3]).is_none());
    assert!(world.stack.info(reused).is_some());
}

/// Goal: orderly ends from either side. Method: the peer closes first; then we close first.
#[test]
fn orderly_ends() {
    let mut world = World::new();
    let (conn, first) = world.open(40_000);
    world.give_seg(Seg::new(flag::FIN | flag::ACK, 1000, first).data(b"bye"));
    assert_eq!(world.take_events(), [NetEvent::Readable(conn), NetEvent::PeerFinished(conn)]);
    assert_eq!(world.stack.readable(conn).0, b"bye");
    world.stack.send(conn, b"ok");
    world.stack.close(conn);
    world.turns();
    let out: Vec<Out> = world.drain().iter().map(|frame| parse_out(frame)).collect();
    let last = out.last().unwrap();
    assert_eq!((last.tcp.ack, last.tcp.flags & flag::FIN), (1004, flag::FIN));
    assert!(out.iter().any(|out| out.data == b"ok"));
    assert_eq!(world.take_events(), [NetEvent::Closed(conn)]);
    assert!(world.give_seg(Seg::new(flag::ACK, 1004, first.wrapping_add(3))).is_empty());
    assert_eq!(
        world.give_seg(Seg::new(flag::ACK, 1004, first.wrapping_add(3)))[0].tcp.flags,
        flag::RST,
        "forgotten"
    );

    let (conn, first) = world.open(40_001);
    world.stack.close(conn);
    world.turns();
    let out: Vec<Out> = world.drain().iter().map(|frame| parse_out(frame)).collect();
    assert_eq!(out[0].tcp.flags & flag::FIN, flag::FIN);
    assert_eq!(world.take_events(), [NetEvent::Closed(conn)]);
    let after = first.wrapping_add(1);
    world.give_seg(Seg::new(flag::ACK, 1000, after).port(40_001));
    let ack = world.give_seg(Seg::new(flag::FIN | flag::ACK, 1000, after).port(40_001));
    assert_eq!((ack.len(), ack[0].tcp.ack), (1, 1001));
    // In TIME-WAIT a newer SYN opens the connection again.
    let out = world.give_seg(Seg::new(flag::SYN, 5000, 0).port(40_001));
    assert_eq!((out[0].tcp.flags, out[0].tcp.ack), (flag::SYN | flag::ACK, 5001));
}

/// Goal: a connection we have closed does not stay for ever, whatever the peer does.
#[test]
fn orphans_end() {
    let mut world = World::new();
    let (conn, first) = world.open(40_000);
    world.stack.close(conn);
    world.turns();
    world.give_seg(Seg::new(flag::ACK, 1000, first.wrapping_add(1))); // The peer never finishes.
    let mut last = Vec::new();
    for _ in 0..120 {
        last.extend(world.wait(Duration::from_millis(100)));
    }
    assert!(last.iter().any(|out| out.tcp.flags & flag::RST != 0));
    assert_eq!(world.give_seg(Seg::new(flag::ACK, 1000, first.wrapping_add(1)))[0].tcp.flags, flag::RST);
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
    assert!(world.give_seg(Seg::new(flag::ACK, 1000, first).data(b"in")).is_empty());
    assert_eq!(world.stack.readable(conn).0, b"in");
    world.port.set_room(64);
    world.turns();
    let out = world.drain();
    assert_eq!(parse_out(&out[0]).data, b"later");
    assert_eq!(parse_out(&out[0]).tcp.ack, 1002);
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
    let out = world.give(&Seg { options: vec![2, 4, 5, 0xb4], ..Seg::new(flag::SYN, 999, 0) }.frame());
    let first = u32::from_be_bytes(out[0][38..42].try_into().unwrap()).wrapping_add(1);
    world.give(&Seg::new(flag::ACK, 1000, first).frame());
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
            let pseudo = packet::fold(packet::pseudo_sum(US, HOST, PROTOCOL_TCP, ip.payload.len()));
            assert_eq!(ip.payload[16..18], pseudo.to_be_bytes());
            acked = tcp.seq.wrapping_add(tcp.data_bytes as u32);
            if tcp.data_bytes > largest.0 {
                largest = (tcp.data_bytes, frame.offload, tcp.header_bytes);
            }
        }
        world.port.give(&Seg::new(flag::ACK, 1000, acked).frame());
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
            let mut frame = Seg::new(flag::SYN, 999, 0).frame();
            let ip = Ipv4::parse(&frame[ETHERNET_BYTES..]).unwrap();
            let pseudo = packet::fold(packet::pseudo_sum(HOST, US, PROTOCOL_TCP, ip.payload.len()));
            let at = ETHERNET_BYTES + 20 + 16;
            frame[at..at + 2].copy_from_slice(&(pseudo + change).to_be_bytes());
            assert_eq!(!world.give(&frame).is_empty(), is_taken, "{leaves_checksums_partial} {change}");
        }
        assert!(world.stack.counters().0.drop_tcp_checksum > 0);
        assert!(!world.give_seg(Seg::new(flag::SYN, 999, 0).port(40_001)).is_empty(), "a whole one is taken");
    }
}

/// Goal: a small answer does not wait for a large one of another connection, nor does a turn last as long as that takes.
/// Method: the large one is given first, to a peer that takes it at once; one turn.
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
            outs = world.give_seg(Seg::new(flag::ACK, 1000, acked));
        }
    }

    world.stack.send(large, &[2; 200_000]);
    world.stack.send(small, b"small");
    let now = world.clock.read();
    world.stack.egress(&now, 1_000);
    let outs: Vec<Out> = world.drain().iter().map(|frame| parse_out(frame)).collect();
    assert_eq!(outs[0].data, b"small");
    let bytes: usize = outs.iter().map(|out| out.data.len()).sum();
    assert!((40_000..60_000).contains(&bytes), "{bytes} bytes in one turn");
}

/// Goal: a peer that stops reading stops us, is probed, and gets the rest when it reads again.
#[test]
fn zero_window() {
    let mut world = World::new();
    let (conn, first) = world.open(40_000);
    world.give_seg(Seg { window: 0, ..Seg::new(flag::ACK, 1000, first) });
    assert_eq!(world.stack.send(conn, b"abcdef"), 6);
    let mut probes = Vec::new();
    for _ in 0..20 {
        probes.extend(world.wait(Duration::from_millis(100)));
    }
    assert!(!probes.is_empty());
    assert!(probes.iter().all(|probe| probe.data.len() <= 1));
    let out = world.give_seg(Seg::new(flag::ACK, 1000, first));
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
        world.give_seg(Seg { window: 0, ..Seg::new(flag::ACK, 1000, first) });
        assert_eq!(world.stack.send(conn, b"abcdef"), 6);
        let (mut seq, mut window) = (1000_u32, 1000);
        while window > 0 {
            let data = vec![1; window.min(1000)];
            let out = world.give_seg(Seg { window: 0, ..Seg::new(flag::ACK, seq, first).data(&data) });
            seq += data.len() as u32;
            let acks = if out.is_empty() { world.wait(Duration::from_millis(12)) } else { out };
            window = acks.last().map_or(window, |ack| usize::from(ack.tcp.window));
            assert!(seq < 1_000_000);
        }
        let out = world.give_seg(Seg::new(flag::ACK, seq + 2 - probe.len() as u32, first).data(probe));
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
        let out = world.give_seg(Seg::new(flag::ACK, seq, first).data(&chunk));
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
    let update: Vec<Out> = world.drain().iter().map(|frame| parse_out(frame)).collect();
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
            let out = parse_out(&frame);
            acked = out.tcp.seq.wrapping_add(out.data.len() as u32);
        }
        world.give_seg(Seg::new(flag::ACK, 1000, acked)).iter().for_each(|out| {
            acked = out.tcp.seq.wrapping_add(out.data.len() as u32);
        });
        rounds += 1;
        assert!(rounds < 10_000);
    }
    assert!(world.stack.send_room(conn) >= room / 4);
}

/// Opens a connection with a peer that reports what it has beyond holes; returns the first number of our data.
fn open_with_sack(world: &mut World) -> (ConnId, u32) {
    let mut syn = Seg::new(flag::SYN, 999, 0);
    syn.options = vec![2, 4, 5, 180, 1, 3, 3, 7, 1, 1, 4, 2];
    let answer = world.give_seg(syn);
    assert_eq!(&answer[0].options[..4], [2, 4, 5, 180]);
    assert!(answer[0].options.windows(2).any(|pair| pair == [4, 2]), "we take reports too");
    let first = answer[0].tcp.seq.wrapping_add(1);
    world.give_seg(Seg::new(flag::ACK, 1000, first));
    let [NetEvent::Opened { conn, .. }] = world.take_events()[..] else { panic!("not opened") };
    (conn, first)
}

fn sack(ack: u32, blocks: &[(u32, u32)]) -> Seg {
    let mut seg = Seg::new(flag::ACK, 1000, ack);
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
        let sent: Vec<Out> = world.drain().iter().map(|frame| parse_out(frame)).collect();
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
        assert!(world.give_seg(Seg::new(flag::ACK, 1000, una)).is_empty());
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
    let nothing = world.give_seg(Seg::new(flag::ACK, 1000, una));
    assert!(nothing.is_empty(), "{nothing:?}");
    let probe = world.wait(Duration::from_millis(7));
    assert_eq!((probe.len(), probe[0].data.len()), (1, 1_460));
    let end = first.wrapping_add(14_600);
    assert_eq!(probe[0].tcp.seq, end.wrapping_sub(1_460));
    let again = world.give_seg(sack(una, &[(end.wrapping_sub(1_460), end)]));
    assert_eq!(again.len(), 7);
    assert_eq!((again[0].tcp.seq, again[6].tcp.seq), (una, end.wrapping_sub(2 * 1_460)));
    world.give_seg(Seg::new(flag::ACK, 1000, end));
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
            world.port.give(&Seg::new(flag::ACK, 1000, una).frame());
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

/// Goal: a window whose reopening was lost is asked for soon, and less and less often. Method: a closed window, silence.
#[test]
fn a_closed_window_is_asked_for() {
    let mut world = World::new();
    let (conn, first) = world.open(40_000);
    let mut seg = Seg::new(flag::ACK, 1000, first);
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

/// Goal: quiet connections are kept alive, dead peers are noticed. Method: answer nothing for more than a minute.
#[test]
fn dead_peers_are_noticed() {
    let mut world = World::new();
    let (conn, _) = world.open(40_000);
    let mut sent = Vec::new();
    for _ in 0..700 {
        sent.extend(world.wait(Duration::from_millis(100)));
    }
    assert!(sent.iter().filter(|out| out.data.len() == 1).count() >= 2, "keep-alives");
    assert_eq!(world.take_events(), [NetEvent::Closed(conn)]);
}

/// Goal: no bytes make the stack panic. Method: random frames, and good ones with random damage and lengths.
#[test]
fn any_bytes_are_survived() {
    let mut rng = Rng::from_seed(77);
    let mut world = World::new();
    let (_, first) = world.open(40_000);
    for round in 0..60_000 {
        let mut frame = match rng.below(3) {
            0 => {
                let mut frame = vec![0; rng.below(120) as usize];
                rng.fill(&mut frame);
                frame
            }
            _ => {
                let mut seg = Seg::new(rng.next_u32() as u8, 1000 + rng.below(2000) as u32, first);
                seg.from_port = 40_000 + rng.below(3) as u16;
                seg.window = rng.next_u32() as u16;
                let reach = if rng.chance(0.9) { 3 } else { 2_000 };
                seg.ack = seg.ack.wrapping_add(rng.below(reach) as u32).wrapping_sub(1);
                seg.options = vec![0; rng.below(11) as usize * 4];
                rng.fill(&mut seg.options);
                seg.data = vec![1; rng.below(1_400) as usize];
                seg.frame()
            }
        };
        if rng.chance(0.1) && !frame.is_empty() {
            let at = rng.below(frame.len() as u64) as usize;
            frame[at] ^= 1 << rng.below(8);
        }
        world.give(&frame);
        if round % 64 == 0 {
            world.wait(Duration::from_millis(rng.below(500)));
            for event in world.take_events() {
                if let NetEvent::Readable(conn) = event {
                    let (a, b) = world.stack.readable(conn);
                    let len = a.len() + b.len();
                    world.stack.send(conn, b"thanks");
                    world.stack.consume(conn, len);
                }
            }
        }
    }
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
    world.give_seg(Seg::new(flag::ACK, 1000, first + 10));
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
    let mut shut = Seg::new(flag::ACK, 1000, first + 14);
    shut.window = 0;
    world.give_seg(shut);
    assert_eq!(world.stack.info(conn).unwrap().tcp.rtt_ns, Some(rtt_ns), "what was sent twice is not timed");
    world.wait(Duration::from_millis(20));
    assert_eq!(world.stack.info(conn).unwrap().tcp.zero_window_ns, Some(20_000_000));
}
