//! What comes before TCP: Ethernet, ARP, ICMP echo, header and checksum validation, and refusals.
//!
//! ```text
//!   frame ──▶ Ethernet ──▶ ARP   ──▶ answered here
//!                     └──▶ IPv4  ──▶ ICMP echo ──▶ answered here
//!                               └──▶ TCP segment, valid, for us ──▶ the stack
//! ```
//!
//! Nothing a stranger sends is remembered here: answers go back to where the frame came from, and each connection
//! keeps the hardware address its own segments come from. So there is no neighbour cache to poison or to thrash.

use super::packet::{
    self, ARP_BYTES, Arp, BROADCAST, ETHERNET_BYTES, ETHERTYPE_ARP, ETHERTYPE_IPV4, Ethernet, ICMP_BYTES,
    IPV4_BYTES, IpFault, Ipv4, PROTOCOL_ICMP, PROTOCOL_TCP, TCP_BYTES, TCP_CHECKSUM_AT, Tcp, flag,
};
use crate::counters::count_fields;
use crate::device::{DeviceCaps, DeviceTx, Mac, Received, TxOffload};
use crate::time::TurnTime;
use std::net::Ipv4Addr;

/// Where we are on the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pub ip: Ipv4Addr,
    pub prefix_len: u8,
    pub gateway: Option<Ipv4Addr>,
}

/// A valid TCP segment for us.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// The IP packet, header and all.
    pub packet: &'a [u8],
    pub from: Ipv4Addr,
    pub from_mac: Mac,
    pub tcp: Tcp,
}

/// Frames by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrontCounters {
    pub frames_in: u64,
    pub segments_in: u64,
    pub arp_in: u64,
    pub arp_conflicts: u64,
    pub echoes: u64,
    pub drop_malformed: u64,
    pub drop_not_ours: u64,
    pub drop_ip_checksum: u64,
    pub drop_tcp_checksum: u64,
    pub drop_fragment: u64,
    pub drop_protocol: u64,
    pub drop_bad_source: u64,
    pub drop_over_budget: u64,
    pub refused: u64,
    pub challenged: u64,
}

count_fields!(FrontCounters: frames_in, segments_in, arp_in, arp_conflicts, echoes, drop_malformed, drop_not_ours,
    drop_ip_checksum, drop_tcp_checksum, drop_fragment, drop_protocol, drop_bad_source, drop_over_budget, refused,
    challenged);

pub struct Front {
    address: Address,
    caps: DeviceCaps,
    counters: FrontCounters,
    echo_budget: Budget,
    refusal_budget: Budget,
    arp_budget: Budget,
    defence_budget: Budget,
}

impl Front {
    pub fn new(address: Address, caps: DeviceCaps) -> Self {
        Self {
            address,
            caps,
            counters: FrontCounters::default(),
            echo_budget: Budget::per_second(ECHOES_PER_SECOND_MAX),
            refusal_budget: Budget::per_second(REFUSALS_PER_SECOND_MAX),
            arp_budget: Budget::per_second(ARP_ANSWERS_PER_SECOND_MAX),
            defence_budget: Budget::per_second(DEFENCES_PER_SECOND_MAX),
        }
    }

    pub fn counters(&self) -> &FrontCounters {
        &self.counters
    }

    /// Tells the network that we are here, and where: a gratuitous ARP, and a question for the gateway if there is one.
    pub fn announce(&self, tx: &mut impl DeviceTx) {
        let us = self.address.ip;
        for target in [Some(us), self.address.gateway].into_iter().flatten() {
            self.send_arp(tx, BROADCAST, &self.question(target));
        }
    }

    /// Asks for an address, and so tells everybody ours; about our own address it is an announcement.
    fn question(&self, target: Ipv4Addr) -> Arp {
        Arp {
            operation: Arp::REQUEST,
            sender_mac: self.caps.mac,
            sender: self.address.ip,
            target_mac: [0; 6],
            target,
        }
    }

    /// Looks at one frame: answers it, drops it, or returns the segment in it.
    pub fn look<'a>(
        &mut self,
        received: Received<'a>,
        tx: &mut impl DeviceTx,
        now: &TurnTime,
    ) -> Option<Segment<'a>> {
        self.counters.frames_in += 1;
        let Some(ethernet) = Ethernet::parse(received.frame) else {
            self.counters.drop_malformed += 1;
            return None;
        };
        if ethernet.from[0] & GROUP_BIT != 0 {
            self.counters.drop_bad_source += 1;
            return None;
        }
        match ethernet.ethertype {
            ETHERTYPE_IPV4 if ethernet.to == self.caps.mac => {
                self.look_ipv4(&ethernet, received.checksum_is_good, tx, now)
            }
            ETHERTYPE_ARP if ethernet.to == self.caps.mac || ethernet.to == BROADCAST => {
                self.look_arp(&ethernet, tx, now);
                None
            }
            _ => {
                self.counters.drop_not_ours += 1;
                None
            }
        }
    }

    fn look_ipv4<'a>(
        &mut self,
        ethernet: &Ethernet<'a>,
        checksum_is_good: bool,
        tx: &mut impl DeviceTx,
        now: &TurnTime,
    ) -> Option<Segment<'a>> {
        let ip = match Ipv4::parse(ethernet.payload) {
            Ok(ip) => ip,
            Err(fault) => {
                *match fault {
                    IpFault::Malformed => &mut self.counters.drop_malformed,
                    IpFault::Checksum => &mut self.counters.drop_ip_checksum,
                    IpFault::Fragment => &mut self.counters.drop_fragment,
                } += 1;
                return None;
            }
        };
        if ip.to != self.address.ip {
            self.counters.drop_not_ours += 1;
            return None;
        }
        if !self.is_host(ip.from) {
            self.counters.drop_bad_source += 1;
            return None;
        }
        match ip.protocol {
            PROTOCOL_TCP => {
                let Some(tcp) = Tcp::parse(ip.payload) else {
                    self.counters.drop_malformed += 1;
                    return None;
                };
                let is_local = self.caps.leaves_checksums_partial && ip.tcp_checksum_is_begun();
                if !checksum_is_good && !is_local && !ip.tcp_checksum_holds() {
                    self.counters.drop_tcp_checksum += 1;
                    return None;
                }
                self.counters.segments_in += 1;
                Some(Segment { packet: ip.packet, from: ip.from, from_mac: ethernet.from, tcp })
            }
            PROTOCOL_ICMP => {
                self.look_icmp(&ip, ethernet.from, tx, now);
                None
            }
            _ => {
                self.counters.drop_protocol += 1;
                None
            }
        }
    }

    /// A unicast address that somebody other than us may have.
    fn is_host(&self, ip: Ipv4Addr) -> bool {
        let host_mask = u32::MAX.checked_shr(self.address.prefix_len.into()).unwrap_or(0);
        let in_subnet = (ip.to_bits() ^ self.address.ip.to_bits()) & !host_mask == 0;
        let is_subnet_broadcast = in_subnet && host_mask > 1 && ip.to_bits() & host_mask == host_mask;
        let first = ip.octets()[0];
        ip != self.address.ip && first != 0 && first != 127 && first < 224 && !is_subnet_broadcast
    }

    fn look_arp(&mut self, ethernet: &Ethernet<'_>, tx: &mut impl DeviceTx, now: &TurnTime) {
        let Some(arp) = Arp::parse(ethernet.payload) else {
            self.counters.drop_malformed += 1;
            return;
        };
        self.counters.arp_in += 1;
        if arp.sender == self.address.ip && arp.sender_mac != self.caps.mac {
            self.counters.arp_conflicts += 1;
            if self.counters.arp_conflicts == 1 {
                warn_conflict(self.address.ip, arp.sender_mac);
            }
            if self.defence_budget.take(now) {
                self.send_arp(tx, BROADCAST, &self.question(self.address.ip));
            }
            return;
        }
        if arp.operation == Arp::REQUEST && arp.target == self.address.ip && arp.sender_mac == ethernet.from {
            if !self.arp_budget.take(now) {
                self.counters.drop_over_budget += 1;
                return;
            }
            let answer = Arp {
                operation: Arp::REPLY,
                sender_mac: self.caps.mac,
                sender: self.address.ip,
                target_mac: arp.sender_mac,
                target: arp.sender,
            };
            self.send_arp(tx, arp.sender_mac, &answer);
        }
    }

    fn send_arp(&self, tx: &mut impl DeviceTx, to: Mac, arp: &Arp) {
        if !tx.has_room() {
            return; // Whoever asked asks again.
        }
        tx.send(ETHERNET_BYTES + ARP_BYTES, |frame| {
            let (ethernet, rest) = split_header::<ETHERNET_BYTES>(frame);
            packet::write_ethernet(ethernet, to, self.caps.mac, ETHERTYPE_ARP);
            arp.write(split_header(rest).0);
            TxOffload::default()
        });
    }

    fn look_icmp(&mut self, ip: &Ipv4<'_>, from_mac: Mac, tx: &mut impl DeviceTx, now: &TurnTime) {
        let icmp = ip.payload;
        let is_echo = icmp.len() >= ICMP_BYTES && icmp[0] == ICMP_ECHO && icmp[1] == 0;
        if !is_echo || packet::fold(packet::sum(icmp)) != 0xffff {
            self.counters.drop_protocol += 1;
            return;
        }
        if !tx.has_room() || !self.echo_budget.take(now) {
            self.counters.drop_over_budget += 1;
            return;
        }
        self.counters.echoes += 1;
        tx.send(ETHERNET_BYTES + IPV4_BYTES + icmp.len(), |frame| {
            let (ethernet, rest) = split_header::<ETHERNET_BYTES>(frame);
            packet::write_ethernet(ethernet, from_mac, self.caps.mac, ETHERTYPE_IPV4);
            let (header, answer) = split_header::<IPV4_BYTES>(rest);
            packet::write_ipv4(header, self.address.ip, ip.from, PROTOCOL_ICMP, icmp.len());
            answer.copy_from_slice(icmp);
            answer[0] = ICMP_ECHO_REPLY;
            answer[2..4].copy_from_slice(&[0, 0]);
            let checksum = !packet::fold(packet::sum(answer));
            answer[2..4].copy_from_slice(&checksum.to_be_bytes());
            TxOffload::default()
        });
    }

    /// Answers a segment that belongs to nobody with a reset (RFC 9293, 3.10.7.1), so that its sender learns at once.
    pub fn refuse(&mut self, segment: &Segment<'_>, tx: &mut impl DeviceTx, now: &TurnTime) {
        let asked = &segment.tcp;
        if asked.flags & flag::RST != 0 {
            return;
        }
        if !tx.has_room() || !self.refusal_budget.take(now) {
            self.counters.drop_over_budget += 1;
            return;
        }
        self.counters.refused += 1;
        let (seq, ack, flags) = if asked.flags & flag::ACK != 0 {
            (asked.ack, 0, flag::RST)
        } else {
            (0, asked.seq.wrapping_add(asked.sequence_len()), flag::RST | flag::ACK)
        };
        self.answer_bare(segment, Bare { seq, ack, flags, window: 0 }, tx);
    }

    /// Makes somebody who was connected to the process before us say where he is in the sequence, which is then refused.
    /// The caller has seen that the device has room.
    pub fn probe(&self, survivor: &Ends, seq: u32, tx: &mut impl DeviceTx) {
        self.send_bare(survivor, Bare { seq, ack: seq, flags: flag::ACK, window: 0 }, tx);
    }

    /// Tells the peer where we are in the sequence, for a segment that may be forged (RFC 5961). How often is for the
    /// connection to say.
    pub fn challenge(&mut self, segment: &Segment<'_>, bare: Bare, tx: &mut impl DeviceTx) {
        if !tx.has_room() {
            return;
        }
        self.counters.challenged += 1;
        self.answer_bare(segment, bare, tx);
    }

    /// Sends a segment without data back to where `segment` came from.
    fn answer_bare(&self, segment: &Segment<'_>, bare: Bare, tx: &mut impl DeviceTx) {
        let ends = Ends {
            mac: segment.from_mac,
            peer: segment.from,
            peer_port: segment.tcp.from_port,
            our_port: segment.tcp.to_port,
        };
        self.send_bare(&ends, bare, tx);
    }

    fn send_bare(&self, ends: &Ends, bare: Bare, tx: &mut impl DeviceTx) {
        tx.send(ETHERNET_BYTES + IPV4_BYTES + TCP_BYTES, |frame| {
            let (ethernet, rest) = split_header::<ETHERNET_BYTES>(frame);
            packet::write_ethernet(ethernet, ends.mac, self.caps.mac, ETHERTYPE_IPV4);
            let (header, rest) = split_header::<IPV4_BYTES>(rest);
            packet::write_ipv4(header, self.address.ip, ends.peer, PROTOCOL_TCP, TCP_BYTES);
            let (tcp, _) = split_header::<TCP_BYTES>(rest);
            Tcp {
                from_port: ends.our_port,
                to_port: ends.peer_port,
                seq: bare.seq,
                ack: bare.ack,
                flags: bare.flags,
                window: bare.window,
                header_bytes: TCP_BYTES,
                data_bytes: 0,
            }
            .write(tcp);
            let pseudo = packet::pseudo_sum(self.address.ip, ends.peer, PROTOCOL_TCP, TCP_BYTES);
            let checksum = !packet::fold(pseudo + packet::sum(tcp));
            tcp[TCP_CHECKSUM_AT..TCP_CHECKSUM_AT + 2].copy_from_slice(&checksum.to_be_bytes());
            TxOffload::default()
        });
    }
}

/// Between whom a connection is, or was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub mac: Mac,
    pub peer: Ipv4Addr,
    pub peer_port: u16,
    pub our_port: u16,
}

/// A segment without data or options.
#[derive(Clone, Copy, Debug)]
pub struct Bare {
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
}

/// At most so many a second, all at once if need be.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    left: u32,
    per_second: u32,
    second: u64,
}

impl Budget {
    pub fn per_second(per_second: u32) -> Self {
        Self { left: per_second, per_second, second: 0 }
    }

    pub fn take(&mut self, now: &TurnTime) -> bool {
        let second = now.mono_ns / NANOS_PER_SECOND;
        if second != self.second {
            self.second = second;
            self.left = self.per_second;
        }
        let has_left = self.left > 0;
        self.left -= u32::from(has_left);
        has_left
    }
}

/// The first `N` bytes of a frame that was asked for with room for them.
fn split_header<const N: usize>(bytes: &mut [u8]) -> (&mut [u8; N], &mut [u8]) {
    bytes.split_first_chunk_mut().expect("the frame was made this long")
}

#[cold]
fn warn_conflict(ip: Ipv4Addr, mac: Mac) {
    let [a, b, c, d, e, f] = mac;
    log::warn!(
        "another machine ({a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}) claims our address {ip}: give one of us another"
    );
}

const GROUP_BIT: u8 = 1;
const ICMP_ECHO: u8 = 8;
const ICMP_ECHO_REPLY: u8 = 0;
const NANOS_PER_SECOND: u64 = 1_000_000_000;
const ECHOES_PER_SECOND_MAX: u32 = 1_000;
/// Enough for ten thousand clients to learn within a second that we have restarted.
const REFUSALS_PER_SECOND_MAX: u32 = 20_000;
/// Every host of a large network may ask at once; a flood of questions is answered in part.
const ARP_ANSWERS_PER_SECOND_MAX: u32 = 10_000;
/// RFC 5227, 2.4: whoever defends his address must not do it without end.
const DEFENCES_PER_SECOND_MAX: u32 = 1;
