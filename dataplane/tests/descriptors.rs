//! Kernel sockets when the process has no descriptors left. Alone in its program, whose limit it lowers.

#![allow(clippy::unwrap_used)] // All of it is tests.

mod common;

use dataplane::net::kernel::KernelNet;
use dataplane::net::{Net, NetEvent, NetLimits};
use dataplane::time::TurnTime;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsRawFd;

/// T-36. Goal: who came while there was no descriptor is let in when there is one again, though nobody else comes. Method:
/// a limit that leaves none, turns over virtual time, then the old limit.
#[test]
fn a_connection_waits_for_a_descriptor() {
    let limits = NetLimits { conns_max: 8, rx_ring_bytes: 4 << 10, tx_ring_bytes: 4 << 10 };
    let (mut net, port) = common::on_free_ports(|port| {
        let mut net = common::kernel_net(limits);
        net.listen(port).map(|()| net)
    });
    let waiting = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let before = getrlimit(Resource::Nofile);
    let next = File::open("/dev/null").unwrap().as_raw_fd() as u64;
    setrlimit(Resource::Nofile, Rlimit { current: Some(next), ..before }).unwrap();
    let while_none = (0..50).map(|ms| opened(&mut net, ms)).sum::<u32>();
    setrlimit(Resource::Nofile, before).unwrap();
    assert_eq!(while_none, 0);
    let after = (50..1_000).map(|ms| opened(&mut net, ms)).sum::<u32>();
    assert_eq!(after, 1);
    drop(waiting);
}

/// Connections that open in one turn.
fn opened(net: &mut KernelNet, ms: u64) -> u32 {
    net.ingress(&TurnTime { mono_ns: ms * 1_000_000, wall_ms: 0 }, 64);
    std::iter::from_fn(|| net.next_event()).filter(|event| matches!(event, NetEvent::Opened { .. })).count()
        as u32
}
