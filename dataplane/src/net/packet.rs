//! Ethernet, ARP, IPv4, ICMP and TCP headers, read and written in place.
//!
//! ```text
//!   | Ethernet 14 | ARP 28                                    |
//!   | Ethernet 14 | IPv4 20.. | ICMP 8 ..  or  TCP 20.. | data |
//! ```
//!
//! Pure functions over bytes from strangers: everything is split, nothing is indexed beyond a checked length.

use crate::device::Mac;
use std::net::Ipv4Addr;

pub const ETHERNET_BYTES: usize = 14;
pub const IPV4_BYTES: usize = 20;
pub const TCP_BYTES: usize = 20;
pub const ARP_BYTES: usize = 28;
pub const ICMP_BYTES: usize = 8;

pub const ETHERTYPE_IPV4: u16 = 0x0800;
pub const ETHERTYPE_ARP: u16 = 0x0806;
pub const PROTOCOL_ICMP: u8 = 1;
pub const PROTOCOL_TCP: u8 = 6;
pub const BROADCAST: Mac = [0xff; 6];

pub mod flag {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
}

/// An Ethernet header and what follows it.
#[derive(Clone, Copy, Debug)]
pub struct Ethernet<'a> {
    pub to: Mac,
    pub from: Mac,
    pub ethertype: u16,
    pub payload: &'a [u8],
}

impl<'a> Ethernet<'a> {
    pub fn parse(frame: &'a [u8]) -> Option<Self> {
        let (to, rest) = frame.split_first_chunk::<6>()?;
        let (from, rest) = rest.split_first_chunk::<6>()?;
        let (ethertype, payload) = rest.split_first_chunk::<2>()?;
        Some(Self { to: *to, from: *from, ethertype: u16::from_be_bytes(*ethertype), payload })
    }
}

pub fn write_ethernet(header: &mut [u8; ETHERNET_BYTES], to: Mac, from: Mac, ethertype: u16) {
    header[..6].copy_from_slice(&to);
    header[6..12].copy_from_slice(&from);
    header[12..].copy_from_slice(&ethertype.to_be_bytes());
}

/// An ARP message for Ethernet and IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    pub operation: u16,
    pub sender_mac: Mac,
    pub sender: Ipv4Addr,
    pub target_mac: Mac,
    pub target: Ipv4Addr,
}

impl Arp {
    pub const REQUEST: u16 = 1;
    pub const REPLY: u16 = 2;

    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let arp = bytes.first_chunk::<ARP_BYTES>()?;
        if arp[..6] != ARP_ETHERNET_IPV4 {
            return None;
        }
        let mac = |at: usize| [arp[at], arp[at + 1], arp[at + 2], arp[at + 3], arp[at + 4], arp[at + 5]];
        let address = |at: usize| Ipv4Addr::new(arp[at], arp[at + 1], arp[at + 2], arp[at + 3]);
        Some(Self {
            operation: u16::from_be_bytes([arp[6], arp[7]]),
            sender_mac: mac(8),
            sender: address(14),
            target_mac: mac(18),
            target: address(24),
        })
    }

    pub fn write(&self, arp: &mut [u8; ARP_BYTES]) {
        arp[..6].copy_from_slice(&ARP_ETHERNET_IPV4);
        arp[6..8].copy_from_slice(&self.operation.to_be_bytes());
        arp[8..14].copy_from_slice(&self.sender_mac);
        arp[14..18].copy_from_slice(&self.sender.octets());
        arp[18..24].copy_from_slice(&self.target_mac);
        arp[24..28].copy_from_slice(&self.target.octets());
    }
}

/// Why an IPv4 packet is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpFault {
    /// Shorter than it says, or not version 4, or header lengths that contradict each other.
    Malformed,
    /// The header's sum is wrong.
    Checksum,
    /// A piece of a packet; we neither need nor join them.
    Fragment,
}

/// A whole IPv4 packet, cut to the length it says it has (Ethernet pads short ones).
#[derive(Clone, Copy, Debug)]
pub struct Ipv4<'a> {
    pub from: Ipv4Addr,
    pub to: Ipv4Addr,
    pub protocol: u8,
    pub packet: &'a [u8],
    pub payload: &'a [u8],
}

impl<'a> Ipv4<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, IpFault> {
        let fixed = bytes.first_chunk::<IPV4_BYTES>().ok_or(IpFault::Malformed)?;
        let header_bytes = usize::from(fixed[0] & 0x0f) * 4;
        let total_bytes = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if fixed[0] >> 4 != 4 || header_bytes < IPV4_BYTES || total_bytes < header_bytes {
            return Err(IpFault::Malformed);
        }
        let (packet, _padding) = bytes.split_at_checked(total_bytes).ok_or(IpFault::Malformed)?;
        let (header, payload) = packet.split_at_checked(header_bytes).ok_or(IpFault::Malformed)?;
        if fold(sum(header)) != 0xffff {
            return Err(IpFault::Checksum);
        }
        let fragment = u16::from_be_bytes([fixed[6], fixed[7]]);
        if fragment & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0 {
            return Err(IpFault::Fragment);
        }
        Ok(Self {
            from: Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]),
            to: Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]),
            protocol: fixed[9],
            packet,
            payload,
        })
    }

    /// Whether the TCP checksum over this packet's payload holds.
    pub fn tcp_checksum_holds(&self) -> bool {
        let pseudo = pseudo_sum(self.from, self.to, PROTOCOL_TCP, self.payload.len());
        fold(pseudo + sum(self.payload)) == 0xffff
    }

    /// Whether the checksum field holds the pseudo header's sum and nothing more: what a sender leaves to hardware that
    /// this packet has not met yet.
    pub fn tcp_checksum_is_begun(&self) -> bool {
        let pseudo = pseudo_sum(self.from, self.to, PROTOCOL_TCP, self.payload.len());
        let field = self.payload.get(TCP_CHECKSUM_AT..TCP_CHECKSUM_AT + 2);
        field.is_some_and(|field| field == fold(pseudo).to_be_bytes())
    }
}

/// Writes a header without options, checksum included.
pub fn write_ipv4(
    header: &mut [u8; IPV4_BYTES],
    from: Ipv4Addr,
    to: Ipv4Addr,
    protocol: u8,
    payload_bytes: usize,
) {
    let total = u16::try_from(IPV4_BYTES + payload_bytes).expect("our own packets are short");
    header[0] = 0x45;
    header[1] = 0;
    header[2..4].copy_from_slice(&total.to_be_bytes());
    header[4..6].copy_from_slice(&[0, 0]);
    header[6..8].copy_from_slice(&DONT_FRAGMENT.to_be_bytes());
    header[8] = HOPS;
    header[9] = protocol;
    header[12..16].copy_from_slice(&from.octets());
    header[16..20].copy_from_slice(&to.octets());
    finish_ipv4(header);
}

/// Fills in the checksum of an otherwise complete header.
pub fn finish_ipv4(header: &mut [u8; IPV4_BYTES]) {
    header[10..12].copy_from_slice(&[0, 0]);
    let checksum = !fold(sum(header));
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// The fixed part of a TCP header, and how much follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    pub from_port: u16,
    pub to_port: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    pub header_bytes: usize,
    pub data_bytes: usize,
}

impl Tcp {
    pub fn parse(segment: &[u8]) -> Option<Self> {
        let tcp = segment.first_chunk::<TCP_BYTES>()?;
        let header_bytes = usize::from(tcp[12] >> 4) * 4;
        if header_bytes < TCP_BYTES || header_bytes > segment.len() {
            return None;
        }
        Some(Self {
            from_port: u16::from_be_bytes([tcp[0], tcp[1]]),
            to_port: u16::from_be_bytes([tcp[2], tcp[3]]),
            seq: u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]),
            ack: u32::from_be_bytes([tcp[8], tcp[9], tcp[10], tcp[11]]),
            flags: tcp[13],
            window: u16::from_be_bytes([tcp[14], tcp[15]]),
            header_bytes,
            data_bytes: segment.len() - header_bytes,
        })
    }

    /// Length in sequence space.
    pub fn sequence_len(&self) -> u32 {
        let controls = u32::from(self.flags & flag::SYN != 0) + u32::from(self.flags & flag::FIN != 0);
        self.data_bytes as u32 + controls
    }

    /// Writes a bare header, without options and without its checksum.
    pub fn write(&self, tcp: &mut [u8; TCP_BYTES]) {
        tcp[0..2].copy_from_slice(&self.from_port.to_be_bytes());
        tcp[2..4].copy_from_slice(&self.to_port.to_be_bytes());
        tcp[4..8].copy_from_slice(&self.seq.to_be_bytes());
        tcp[8..12].copy_from_slice(&self.ack.to_be_bytes());
        tcp[12] = (TCP_BYTES as u8 / 4) << 4;
        tcp[13] = self.flags;
        tcp[14..16].copy_from_slice(&self.window.to_be_bytes());
        tcp[16..20].copy_from_slice(&[0; 4]);
    }
}

/// What a segment says of our data and of its sender's window, and nothing else: as if it came without data at `seq`. Its
/// TCP checksum is left out.
pub fn bare_acknowledgement(packet: &[u8], seq: u32, tcp: &Tcp) -> [u8; IPV4_BYTES + TCP_BYTES] {
    let mut bare = [0; IPV4_BYTES + TCP_BYTES];
    let (ip, rest) = bare.split_first_chunk_mut::<IPV4_BYTES>().expect("made of both");
    let ends: [u8; 8] = *packet[12..].first_chunk().expect("the packet has been parsed");
    let [a, b, c, d, e, f, g, h] = ends;
    write_ipv4(ip, Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h), PROTOCOL_TCP, TCP_BYTES);
    let tcp = Tcp { seq, flags: flag::ACK, header_bytes: TCP_BYTES, data_bytes: 0, ..*tcp };
    tcp.write(rest.first_chunk_mut().expect("made of both"));
    bare
}

/// Where a TCP header keeps its checksum.
pub const TCP_CHECKSUM_AT: usize = 16;

/// The sum over the pseudo header.
pub fn pseudo_sum(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload_bytes: usize) -> u64 {
    let halves = |address: Ipv4Addr| {
        let bits = u64::from(address.to_bits());
        (bits >> 16) + (bits & 0xffff)
    };
    halves(from) + halves(to) + u64::from(protocol) + payload_bytes as u64
}

/// The one's-complement sum of the bytes as big-endian 16-bit words.
pub fn sum(bytes: &[u8]) -> u64 {
    // The sum does not care about byte order, only its result does (RFC 1071): so add wide native words.
    let (words, rest) = bytes.as_chunks::<4>();
    let mut total: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    total += u64::from(u32::from_ne_bytes(last));
    u64::from(fold(total).to_be())
}

/// Folds a sum to 16 bits.
pub fn fold(mut total: u64) -> u16 {
    while total >> 16 != 0 {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

const ARP_ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;
const DONT_FRAGMENT: u16 = 0x4000;
const HOPS: u8 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Goal: the sum is the one of RFC 1071. Method: its own example, and a naive sum over random bytes.
    #[test]
    fn checksum_is_rfc_1071() {
        assert_eq!(fold(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
        let mut rng = Rng::from_seed(5);
        for len in 0..200 {
            let mut bytes = vec![0; len];
            rng.fill(&mut bytes);
            let naive = bytes.chunks(2).fold(0u32, |total, pair| {
                let total = total + (u32::from(pair[0]) << 8) + u32::from(*pair.get(1).unwrap_or(&0));
                (total & 0xffff) + (total >> 16)
            });
            let naive = (naive & 0xffff) + (naive >> 16);
            assert_eq!(u32::from(fold(sum(&bytes))) % 0xffff, naive % 0xffff);
        }
    }

    /// Goal: no bytes make a parser panic. Method: random bytes, and a good packet cut anywhere.
    #[test]
    fn parsers_take_anything() {
        let mut rng = Rng::from_seed(6);
        let mut bytes = [0; 80];
        for _ in 0..100_000 {
            let len = rng.below(80) as usize;
            rng.fill(&mut bytes);
            if rng.chance(0.5) {
                bytes[0] = 0x45;
                bytes[2] = 0;
            }
            let bytes = &bytes[..len];
            let _looked = (Ethernet::parse(bytes), Arp::parse(bytes), Tcp::parse(bytes));
            if let Ok(ip) = Ipv4::parse(bytes) {
                assert!(ip.packet.len() <= len);
            }
        }
    }

    /// Goal: what is written is read back, with good sums. Method: one of each.
    #[test]
    fn written_headers_read_back() {
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let tcp = Tcp {
            from_port: 10911,
            to_port: 40_000,
            seq: 0xdead_beef,
            ack: 7,
            flags: flag::ACK | flag::RST,
            window: 512,
            header_bytes: TCP_BYTES,
            data_bytes: 0,
        };
        let mut packet = [0; IPV4_BYTES + TCP_BYTES];
        let (ip_header, tcp_header) = packet.split_first_chunk_mut::<IPV4_BYTES>().unwrap();
        write_ipv4(ip_header, a, b, PROTOCOL_TCP, TCP_BYTES);
        tcp.write(tcp_header.first_chunk_mut().unwrap());
        let ip = Ipv4::parse(&packet).unwrap();
        assert_eq!((ip.from, ip.to, ip.protocol), (a, b, PROTOCOL_TCP));
        assert_eq!(Tcp::parse(ip.payload), Some(tcp));

        let arp = Arp { operation: Arp::REPLY, sender_mac: [1; 6], sender: a, target_mac: [2; 6], target: b };
        let mut bytes = [0; ARP_BYTES];
        arp.write(&mut bytes);
        assert_eq!(Arp::parse(&bytes), Some(arp));
    }
}
