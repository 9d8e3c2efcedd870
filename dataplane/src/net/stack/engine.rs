//! smoltcp called: one packet in for one connection, and the interface that all of them share.

use super::conn::Conn;
use super::wire::{self, Wire};
use super::{StackConfig, StackCounters, tails};
use crate::device::{DeviceCaps, DeviceTx};
use crate::time::TurnTime;
use smoltcp::iface::{Config, Interface, PollIngressSingleResult};
use smoltcp::time::Instant as StackInstant;
use smoltcp::wire::{HardwareAddress, IpCidr};

/// Gives smoltcp one packet for one connection.
pub fn feed(
    iface: &mut Interface,
    conn: &mut Conn,
    caps: &DeviceCaps,
    packet: &[u8],
    tx: &mut impl DeviceTx,
    now: &TurnTime,
    counters: &mut StackCounters,
) {
    let mut sent = conn.sent();
    let stack_now = conn.clock.at(now.mono_ns);
    let mut wire = Wire { packet: Some(packet), tx, caps, to: conn.mac, sent: &mut sent };
    let result = iface.poll_ingress_single(stack_now, &mut wire, &mut conn.set);
    assert!(result != PollIngressSingleResult::None);
    tails::note_sent(conn, &sent, now, &mut counters.loss);
    counters.frames_out += u64::from(sent.frames);
}

pub fn new_interface(caps: &DeviceCaps, config: &StackConfig, seed: u64, now: StackInstant) -> Interface {
    let mut told = Config::new(HardwareAddress::Ip);
    told.random_seed = seed;
    let mut iface = Interface::new(told, &mut wire::Described(caps), now);
    iface.update_ip_addrs(|addresses| {
        let cidr = IpCidr::new(config.address.ip.into(), config.address.prefix_len);
        addresses.push(cidr).expect("an interface has room for one address");
    });
    iface
}
