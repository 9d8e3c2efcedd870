//! Frames as a peer, or somebody who pretends to be one, writes them; and what the stack sent, read and verified.

use dataplane::device::Mac;
use dataplane::net::packet::{self, *};
use std::net::Ipv4Addr;

pub const US: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
pub const PEER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub const OUR_MAC: Mac = [0x02, 0xab, 10, 77, 0, 2];
pub const PEER_MAC: Mac = [0x02, 0, 0, 0, 0, 1];
pub const PORT: u16 = 10911;

/// A TCP segment for us.
#[derive(Clone, Debug)]
pub struct Seg {
    pub mac: Mac,
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
    pub fn new(flags: u8, from_port: u16, seq: u32, ack: u32) -> Self {
        Self {
            mac: PEER_MAC,
            from: PEER,
            from_port,
            to_port: PORT,
            seq,
            ack,
            flags,
            window: 0xffff,
            options: Vec::new(),
            data: Vec::new(),
        }
    }

    pub fn syn(from: Ipv4Addr, from_port: u16, seq: u32) -> Self {
        Self { from, ..Self::new(flag::SYN, from_port, seq, 0) }
    }

    pub fn frame(&self) -> Vec<u8> {
        let segment_bytes = TCP_BYTES + self.options.len() + self.data.len();
        let mut frame = vec![0; ETHERNET_BYTES + IPV4_BYTES + segment_bytes];
        let (ethernet, rest) = frame.split_first_chunk_mut().unwrap();
        packet::write_ethernet(ethernet, OUR_MAC, self.mac, ETHERTYPE_IPV4);
        let (ip, segment) = rest.split_first_chunk_mut().unwrap();
        packet::write_ipv4(ip, self.from, US, PROTOCOL_TCP, segment_bytes);
        let header_bytes = TCP_BYTES + self.options.len();
        let tcp = Tcp {
            from_port: self.from_port,
            to_port: self.to_port,
            seq: self.seq,
            ack: self.ack,
            flags: self.flags,
            window: self.window,
            header_bytes,
            data_bytes: self.data.len(),
        };
        tcp.write(segment.first_chunk_mut().unwrap());
        segment[12] = (header_bytes as u8 / 4) << 4;
        segment[TCP_BYTES..header_bytes].copy_from_slice(&self.options);
        segment[header_bytes..].copy_from_slice(&self.data);
        finish_tcp(&mut frame);
        frame
    }
}

/// Writes a good IPv4 header sum and a good TCP sum over whatever the frame holds; the TCP one only if the lengths allow it.
pub fn finish_tcp(frame: &mut [u8]) {
    let packet = &mut frame[ETHERNET_BYTES..];
    let header_bytes = usize::from(packet[0] & 15) * 4;
    packet[10..12].copy_from_slice(&[0, 0]);
    let checksum = !packet::fold(packet::sum(&packet[..header_bytes]));
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    let address = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    let (from, to) = (address(12), address(16));
    let segment = &mut packet[header_bytes..];
    segment[TCP_CHECKSUM_AT..TCP_CHECKSUM_AT + 2].copy_from_slice(&[0, 0]);
    let sum = packet::pseudo_sum(from, to, PROTOCOL_TCP, segment.len()) + packet::sum(segment);
    segment[TCP_CHECKSUM_AT..TCP_CHECKSUM_AT + 2].copy_from_slice(&(!packet::fold(sum)).to_be_bytes());
}

/// A segment of ours, verified.
#[derive(Clone, Debug)]
pub struct Out {
    pub to_mac: Mac,
    pub to: Ipv4Addr,
    pub tcp: Tcp,
    pub options: Vec<u8>,
    pub data: Vec<u8>,
}

impl Out {
    /// Every frame with TCP in it must be whole, ours, and have good sums.
    pub fn parse(frame: &[u8]) -> Self {
        let ethernet = Ethernet::parse(frame).unwrap();
        assert_eq!((ethernet.from, ethernet.ethertype), (OUR_MAC, ETHERTYPE_IPV4));
        let ip = Ipv4::parse(ethernet.payload).unwrap();
        assert_eq!((ip.from, ip.protocol), (US, PROTOCOL_TCP));
        assert!(ip.tcp_checksum_holds());
        let tcp = Tcp::parse(ip.payload).unwrap();
        Self {
            to_mac: ethernet.to,
            to: ip.to,
            tcp,
            options: ip.payload[TCP_BYTES..tcp.header_bytes].to_vec(),
            data: ip.payload[tcp.header_bytes..].to_vec(),
        }
    }

    /// The value of an option, without its kind and length.
    pub fn option(&self, kind: u8) -> Option<&[u8]> {
        let mut rest = &self.options[..];
        loop {
            match rest {
                [1, after @ ..] => rest = after,
                [found, len, after @ ..]
                    if usize::from(*len) >= 2 && usize::from(*len) - 2 <= after.len() =>
                {
                    let (value, after) = after.split_at(usize::from(*len) - 2);
                    if *found == kind {
                        return Some(value);
                    }
                    rest = after;
                }
                _ => return None,
            }
        }
    }
}

pub fn arp(operation: u16, sender_mac: Mac, sender: Ipv4Addr, target: Ipv4Addr, to: Mac) -> Vec<u8> {
    let mut frame = vec![0; ETHERNET_BYTES + ARP_BYTES];
    let (ethernet, rest) = frame.split_first_chunk_mut().unwrap();
    packet::write_ethernet(ethernet, to, sender_mac, ETHERTYPE_ARP);
    Arp { operation, sender_mac, sender, target_mac: [0; 6], target }.write(rest.first_chunk_mut().unwrap());
    frame
}

pub fn read_arp(frame: &[u8]) -> (Mac, Arp) {
    let ethernet = Ethernet::parse(frame).unwrap();
    assert_eq!(ethernet.ethertype, ETHERTYPE_ARP);
    (ethernet.to, Arp::parse(ethernet.payload).unwrap())
}

/// An ICMP message for us with a good sum.
pub fn icmp(kind: u8, code: u8, rest: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest);
    let checksum = !packet::fold(packet::sum(&message));
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let mut frame = vec![0; ETHERNET_BYTES + IPV4_BYTES];
    let (ethernet, ip) = frame.split_first_chunk_mut().unwrap();
    packet::write_ethernet(ethernet, OUR_MAC, PEER_MAC, ETHERTYPE_IPV4);
    packet::write_ipv4(ip.first_chunk_mut().unwrap(), PEER, US, PROTOCOL_ICMP, message.len());
    frame.extend(message);
    frame
}
