//! A stack on a simulated cable, and the far end of it, written by hand.

use dataplane::device::sim::{SimDevice, SimPort};
use dataplane::device::{DeviceCaps, Mac};
use dataplane::net::front::Address;
use dataplane::net::packet::{self, *};
use dataplane::net::stack::{Stack, StackConfig};
use dataplane::net::{ConnId, Net, NetEvent};
use dataplane::rng::Rng;
use dataplane::time::{Clock, SimClock};
use std::net::Ipv4Addr;
use std::time::Duration;

pub const US: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub const OUR_MAC: Mac = [0x02, 0xab, 10, 77, 0, 2];
pub const HOST_MAC: Mac = [0x02, 0, 0, 0, 0, 1];
pub const PORT: u16 = 10911;
pub const MTU: usize = 1500;

/// A stack, its clock, and the far end of its cable.
pub struct World {
    pub stack: Stack<SimDevice>,
    pub port: SimPort,
    pub clock: SimClock,
    pub events: Vec<NetEvent>,
}

/// A TCP segment as the peer writes it.
#[derive(Clone, Debug)]
pub struct Seg {
    pub from: Ipv4Addr,
    pub from_port: u16,
    pub to_port: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    pub options: Vec<u8>,
    pub data: Vec<u8>,
}

impl Seg {
    pub fn new(flags: u8, seq: u32, ack: u32) -> Self {
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

    pub fn data(mut self, data: &[u8]) -> Self {
        self.data = data.to_vec();
        self
    }

    pub fn port(mut self, port: u16) -> Self {
        self.from_port = port;
        self
    }

    pub fn frame(&self) -> Vec<u8> {
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
pub struct Out {
    pub to_mac: Mac,
    pub tcp: Tcp,
    pub options: Vec<u8>,
    pub data: Vec<u8>,
}

pub fn parse_out(frame: &[u8]) -> Out {
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
    pub fn new() -> Self {
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

    pub fn with(change: impl FnOnce(&mut StackConfig), caps: DeviceCaps) -> Self {
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
    pub fn turns(&mut self) {
        for _ in 0..4 {
            let now = self.clock.read();
            self.stack.ingress(&now, 64);
            self.events.extend(std::iter::from_fn(|| self.stack.next_event()));
            self.stack.egress(&now, 64);
        }
    }

    pub fn drain(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.port.take()).map(|frame| frame.bytes).collect()
    }

    /// This frame in; what comes out.
    pub fn give(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        self.port.give(frame);
        self.turns();
        self.drain()
    }

    pub fn give_seg(&mut self, seg: Seg) -> Vec<Out> {
        self.give(&seg.frame()).iter().map(|frame| parse_out(frame)).collect()
    }

    pub fn wait(&mut self, time: Duration) -> Vec<Out> {
        self.clock.advance(time);
        self.turns();
        self.drain().iter().map(|frame| parse_out(frame)).collect()
    }

    pub fn take_events(&mut self) -> Vec<NetEvent> {
        std::mem::take(&mut self.events)
    }

    /// Opens a connection from the given port; returns it and the stack's first sequence number.
    pub fn open(&mut self, from_port: u16) -> (ConnId, u32) {
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
