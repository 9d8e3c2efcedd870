//! The steering program in the kernel itself: frames in, verdicts out. Says "skipped: why" where that may not be.

use super::bpf::{Program, SocketMap};
use super::ring::{In, Out};
use super::socket::{Headroom, Sizes, Socket};
use super::steer::{Scope, Steering, program};
use super::umem::Umem;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

const OURS: Ipv4Addr = Ipv4Addr::new(10, 78, 1, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 78, 1, 3);
const PASS: u32 = 2;
const REDIRECT: u32 = 4;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;

/// The program at hand, with a socket for the queue that the kernel's test run pretends to receive on.
struct Bench {
    program: Program,
    _map: SocketMap,
    _socket: Socket,
}

fn bench(scope: Scope) -> Option<Bench> {
    let umem = Umem::new(64).unwrap();
    let made = Socket::open(&umem, Headroom::None).and_then(|socket| {
        // An entry is taken only for a socket that can receive.
        let (_rings, _) = socket.rings(Sizes { rx: 32, tx: 0 })?;
        let map = SocketMap::new(1)?;
        map.set(0, socket.as_fd())?;
        let program = Program::load(&program(&Steering { ip: OURS, scope }, map.raw()))?;
        Ok(Bench { program, _map: map, _socket: socket })
    });
    match made {
        Ok(bench) => Some(bench),
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES | libc::EAFNOSUPPORT)) =>
        {
            println!("skipped: no right to load BPF programs, or no AF_XDP ({error})");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2];
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An IPv4 packet with `options` words of options, its sum left out: the program does not look at it.
fn ipv4(to: Ipv4Addr, protocol: u8, options: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let header_bytes = 20 + usize::from(options) * 4;
    let mut packet = vec![0; header_bytes];
    packet[0] = 0x45 + options;
    packet[2..4].copy_from_slice(&((header_bytes + payload.len()) as u16).to_be_bytes());
    packet[6..8].copy_from_slice(&fragment.to_be_bytes());
    packet[8] = 64;
    packet[9] = protocol;
    packet[12..16].copy_from_slice(&[10, 78, 1, 1]);
    packet[16..20].copy_from_slice(&to.octets());
    packet.extend(payload);
    ethernet(0x0800, &packet)
}

fn tcp(port: u16) -> Vec<u8> {
    let mut header = vec![0; 20];
    header[..2].copy_from_slice(&10_911_u16.to_be_bytes()); // A port of ours as the source means nothing.
    header[2..4].copy_from_slice(&port.to_be_bytes());
    header
}

fn arp(target: Ipv4Addr) -> Vec<u8> {
    let mut message = vec![0, 1, 8, 0, 6, 4, 0, 1];
    message.extend([2, 0, 0, 0, 0, 2, 10, 78, 1, 1]);
    message.extend([0; 6]);
    message.extend(target.octets());
    ethernet(0x0806, &message)
}

fn icmp(kind: u8) -> Vec<u8> {
    vec![kind, 0, 0, 0, 0, 1, 0, 1]
}

fn check(bench: &Bench, name: &str, frame: &[u8], expected: u32) {
    assert_eq!(bench.program.run_once(frame).unwrap(), expected, "{name}");
}

/// T-xdp. Goal: of an address that is ours alone we take TCP, echo requests and ARP, and nothing else of the NIC's
/// traffic. Method: one frame of each kind through the program in the kernel.
#[test]
fn an_address_of_our_own_is_taken_whole() {
    let Some(bench) = bench(Scope::Alone) else { return };
    let long = icmp(8).repeat(100);
    for (name, frame, expected) in [
        ("TCP to us", ipv4(OURS, TCP, 0, 0, &tcp(10_911)), REDIRECT),
        ("TCP to any of our ports", ipv4(OURS, TCP, 0, 0x4000, &tcp(22)), REDIRECT),
        ("TCP with IP options", ipv4(OURS, TCP, 10, 0, &tcp(1)), REDIRECT),
        ("a piece of TCP", ipv4(OURS, TCP, 0, 0x2000, &tcp(1)), REDIRECT),
        ("TCP to the host", ipv4(OTHER, TCP, 0, 0, &tcp(10_911)), PASS),
        ("UDP to us", ipv4(OURS, UDP, 0, 0, &tcp(10_911)), PASS),
        ("ping to us", ipv4(OURS, ICMP, 0, 0, &icmp(8)), REDIRECT),
        ("a large ping to us", ipv4(OURS, ICMP, 0, 0x4000, &long), REDIRECT),
        ("ping to us with IP options", ipv4(OURS, ICMP, 3, 0, &icmp(8)), REDIRECT),
        ("a piece of a ping", ipv4(OURS, ICMP, 0, 0x2000, &icmp(8)), PASS),
        ("a later piece of a ping", ipv4(OURS, ICMP, 0, 0x0010, &icmp(8)), PASS),
        ("a ping cut short", ipv4(OURS, ICMP, 0, 0, &[8, 0]), PASS),
        ("an echo reply", ipv4(OURS, ICMP, 0, 0, &icmp(0)), PASS),
        ("unreachable", ipv4(OURS, ICMP, 0, 0, &icmp(3)), PASS),
        ("ping to the host", ipv4(OTHER, ICMP, 0, 0, &icmp(8)), PASS),
        ("ARP for us", arp(OURS), REDIRECT),
        ("ARP for the host", arp(OTHER), PASS),
        ("ARP cut short", arp(OURS)[..41].to_vec(), PASS),
        ("IPv6", ethernet(0x86dd, &[0x60; 60]), PASS),
        ("a VLAN's frame", ethernet(0x8100, &ipv4(OURS, TCP, 0, 0, &tcp(1))), PASS),
        ("LLDP", ethernet(0x88cc, &[0; 46]), PASS),
        ("an IPv4 header cut short", ipv4(OURS, TCP, 0, 0, &[])[..33].to_vec(), PASS),
        ("an Ethernet header and no more", ethernet(0x0800, &[]), PASS),
    ] {
        check(&bench, name, &frame, expected);
    }
}

/// T-xdp. Goal: of an address that we share with the host we take TCP to our ports alone: its SSH, ping and ARP stay its
/// own. Method: as above.
#[test]
fn an_address_of_the_host_is_taken_by_ports() {
    let Some(bench) = bench(Scope::Shared { ports: vec![10_911, 10_909] }) else { return };
    for (name, frame, expected) in [
        ("TCP to our port", ipv4(OURS, TCP, 0, 0, &tcp(10_911)), REDIRECT),
        ("TCP to our other port", ipv4(OURS, TCP, 0, 0, &tcp(10_909)), REDIRECT),
        ("TCP to our port, with IP options", ipv4(OURS, TCP, 10, 0, &tcp(10_911)), REDIRECT),
        ("SSH", ipv4(OURS, TCP, 0, 0, &tcp(22)), PASS),
        ("a port between ours", ipv4(OURS, TCP, 0, 0, &tcp(10_910)), PASS),
        ("our port in the other byte order", ipv4(OURS, TCP, 0, 0, &tcp(10_911_u16.swap_bytes())), PASS),
        ("our port at another address", ipv4(OTHER, TCP, 0, 0, &tcp(10_911)), PASS),
        ("UDP to our port", ipv4(OURS, UDP, 0, 0, &tcp(10_911)), PASS),
        ("a later piece that looks like it", ipv4(OURS, TCP, 0, 0x0001, &tcp(10_911)), PASS),
        ("TCP cut before the port ends", ipv4(OURS, TCP, 0, 0, &tcp(10_911)[..3]), PASS),
        ("options longer than the frame", ipv4(OURS, TCP, 10, 0, &tcp(10_911))[..70].to_vec(), PASS),
        ("ping", ipv4(OURS, ICMP, 0, 0, &icmp(8)), PASS),
        ("ARP", arp(OURS), PASS),
        ("IPv6", ethernet(0x86dd, &[0x60; 60]), PASS),
    ] {
        check(&bench, name, &frame, expected);
    }
}

/// Goal: frames of a queue that has no socket stay the host's. Method: the program with an empty map.
#[test]
fn a_queue_without_a_socket_passes_everything() {
    let made = SocketMap::new(1).and_then(|map| {
        Ok((Program::load(&program(&Steering { ip: OURS, scope: Scope::Alone }, map.raw()))?, map))
    });
    let Ok((program, _map)) = made else {
        println!("skipped: no right to load BPF programs");
        return;
    };
    assert_eq!(program.run_once(&ipv4(OURS, TCP, 0, 0, &tcp(10_911))).unwrap(), PASS);
}

/// Goal: the kernel's rings are where we look for them, and a chunk that came with a frame can go back before the kernel
/// shows that it has taken it. (Found by load over a veth pair: it shows the frame first, and the fill ring was full.)
/// Method: a new socket's rings are empty; rx and tx of the size asked for, fill of twice that.
#[test]
fn the_kernels_rings_are_found() {
    let umem = Umem::new(64).unwrap();
    let rings = Socket::open(&umem, Headroom::None).and_then(|socket| socket.rings(Sizes { rx: 32, tx: 16 }));
    let Ok((rx, Some(tx))) = rings else {
        println!("skipped: no AF_XDP sockets here");
        return;
    };
    let fits = |has_room: bool, pushed: usize, size: usize| assert_eq!(has_room, pushed < size);
    let (mut fill, mut send): (Out<u64>, Out<libc::xdp_desc>) = (rx.fill, tx.tx);
    for pushed in 0..=64 {
        fits(fill.has_room(), pushed, 64);
        if pushed < 64 {
            fill.push(0);
        }
    }
    for pushed in 0..=16 {
        fits(send.has_room(), pushed, 16);
        if pushed < 16 {
            send.push(libc::xdp_desc { addr: 0, len: 0, options: 0 });
        }
    }
    let (mut received, mut completed): (In<libc::xdp_desc>, In<u64>) = (rx.rx, tx.completion);
    assert!(received.pop().is_none() && completed.pop().is_none());
}
