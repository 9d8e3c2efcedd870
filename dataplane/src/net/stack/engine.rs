//! smoltcp called: one packet in for one connection, what it sent noted, and the interface that all of them share.

use super::conn::{Conn, Phase};
use super::recovery::LossCounters;
use super::wire::{self, Sent, Wire};
use super::{StackConfig, StackCounters};
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
    note_sent(conn, &sent, now, &mut counters.loss);
    counters.frames_out += u64::from(sent.frames);
}

/// What smoltcp has sent.
pub fn note_sent(conn: &mut Conn, sent: &Sent, now: &TurnTime, counters: &mut LossCounters) {
    let has_new = sent.snd_next != conn.snd_next;
    conn.gauge.resent(sent.resent);
    (conn.snd_next, conn.ack_told, conn.window) = (sent.snd_next, sent.ack, sent.window);
    conn.has_told_window |= sent.tells_window;
    if conn.phase == Phase::Handshake {
        if sent.frames > 0 {
            conn.answers += sent.frames;
            conn.answered_ns = now.mono_ns;
        }
        return;
    }
    if let Some((from, to)) = sent.again {
        conn.recovery.sent_again(now.mono_ns, from, to, counters);
    }
    if has_new {
        conn.recovery.sent(now.mono_ns, sent.snd_next);
    }
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
