//! Kernel sockets behind the `Net` face.

#![allow(clippy::unwrap_used)] // All of it is tests.

mod common;

use common::Running;
use dataplane::net::kernel::KernelNet;
use dataplane::net::{NetLimits, Spin};
use std::net::{IpAddr, Ipv4Addr, TcpListener};

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Three free ports in a row.
fn free_ports() -> u16 {
    loop {
        let first = TcpListener::bind((HERE, 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        if port < 65_500 && (1..4).all(|next| TcpListener::bind((HERE, port + next)).is_ok()) {
            return port;
        }
    }
}

fn start() -> (Running, u16) {
    let port = free_ports();
    let net = KernelNet::new(IpAddr::V4(HERE), NetLimits::default(), Spin::Adaptive).unwrap();
    (Running::start(net, port).unwrap(), port)
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
    common::churn(HERE, port, 200);
    std::thread::sleep(std::time::Duration::from_millis(50));
    server.until_empty();
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
