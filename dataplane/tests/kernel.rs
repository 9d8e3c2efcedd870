//! Kernel sockets behind the `Net` face.

#![allow(clippy::unwrap_used)] // All of it is tests.

mod common;

use common::{Echo, Running};
use dataplane::net::NetLimits;
use std::net::Ipv4Addr;

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
