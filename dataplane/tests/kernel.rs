//! Kernel sockets behind the `Net` face.

#![allow(clippy::unwrap_used)] // All of it is tests.

mod common;

use common::{Echo, Running};
use dataplane::net::{Net, NetEvent, NetLimits, NetTx};
use dataplane::time::TurnTime;
use std::net::{Ipv4Addr, TcpStream};

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn start() -> (Running, u16) {
    common::start_on_kernel_sockets()
}

/// Goal: bytes go both ways unharmed, in small and large pieces. Method: echoes, compared.
#[test]
fn echoes() {
    let (server, port) = start();
    common::ping_pong(HERE, port);
    common::bulk(HERE, port, 64 << 20);
    assert_eq!(server.stop().0, 2);
}

/// Goal: connections do not mix, and all of them are told opened and closed. Method: hundreds at once, then count.
#[test]
fn many_connections() {
    let (server, port) = start();
    common::many(HERE, port, 400);
    server.until_ended(400);
    common::churn(HERE, port, 200);
    server.until_ended(600);
    assert_eq!(server.stop(), (600, 600));
}

/// Goal: close, abort and refusal look to the peer as they are called.
#[test]
fn ends() {
    let (_server, port) = start();
    for _ in 0..20 {
        common::ends(HERE, port);
    }
}

/// T-32. Goal: what came before a reset is served. Method: a peer that sends and resets while nobody looks; with rings
/// that hold all of it, and with smaller ones.
#[test]
fn last_words() {
    for ring_bytes in [128 << 10, 4 << 10] {
        let limits = NetLimits { conns_max: 64, rx_ring_bytes: ring_bytes, tx_ring_bytes: ring_bytes };
        let ((net, echo), _) = common::on_free_ports(|port| {
            let mut net = common::kernel_net(limits);
            Echo::new(&mut net, port).map(|echo| (net, echo))
        });
        common::last_words(net, echo, HERE);
    }
}

/// T-11. Goal: a connection that we have closed does not keep its place for ever because its peer does not read. Method: one
/// place, a peer that reads nothing of what fills its socket, and two minutes of virtual time; then another comes.
#[test]
fn orphans_end() {
    let limits = NetLimits { conns_max: 1, rx_ring_bytes: 4 << 10, tx_ring_bytes: 64 << 10 };
    let (mut net, port) = common::on_free_ports(|port| {
        let mut net = common::kernel_net(limits);
        net.listen(port).map(|()| net)
    });
    let mut second = 0;
    let mut turn = |net: &mut dataplane::net::kernel::KernelNet| {
        second += 1;
        let now = TurnTime { mono_ns: second * 1_000_000_000, wall_ms: 0 };
        net.ingress(&now, 64);
        let opened = std::iter::from_fn(|| net.next_event())
            .filter_map(|event| if let NetEvent::Opened { conn, .. } = event { Some(conn) } else { None })
            .last();
        net.egress(&now, 64);
        opened
    };
    let deaf = TcpStream::connect((HERE, port)).unwrap();
    let conn = (0..100).find_map(|_| turn(&mut net)).unwrap();
    let mut idle = 0;
    while idle < 50 {
        idle = if net.split().1.send(conn, &[7; 32 << 10]) == 0 { idle + 1 } else { 0 };
        turn(&mut net);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    net.split().1.close(conn);
    let _another = TcpStream::connect((HERE, port)).unwrap();
    assert!((0..120).find_map(|_| turn(&mut net)).is_some());
    drop(deaf);
}
