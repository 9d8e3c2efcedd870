//! A stack on a simulated cable, and the far end of it, written by hand.

pub use crate::cable::Cable as World;
use crate::wire::{OUR_MAC, Out, PORT, Seg, US};
use dataplane::device::DeviceCaps;
use dataplane::device::sim::SimDevice;
use dataplane::net::front::Address;
use dataplane::net::packet::flag;
use dataplane::net::stack::{Stack, StackConfig};
use dataplane::net::{ConnId, Net, NetEvent};
use dataplane::rng::Rng;
use dataplane::time::SimClock;
use std::time::Duration;

pub const MTU: usize = 1500;

/// A segment of the peer's first connection.
pub fn seg(flags: u8, seq: u32, ack: u32) -> Seg {
    Seg::new(flags, 40_000, seq, ack)
}

impl Seg {
    pub fn data(mut self, data: &[u8]) -> Self {
        self.data = data.to_vec();
        self
    }

    pub fn port(mut self, port: u16) -> Self {
        self.from_port = port;
        self
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(
            |_| (),
            DeviceCaps {
                mac: OUR_MAC,
                mtu: MTU,
                tso_bytes_max: None,
                completes_checksums: false,
                leaves_checksums_partial: false,
            },
        )
    }

    pub fn with(change: impl FnOnce(&mut StackConfig), caps: DeviceCaps) -> Self {
        let (device, port) = SimDevice::new(caps);
        let mut config = StackConfig::new(Address { ip: US, prefix_len: 24, gateway: None });
        config.limits.conns_max = 16;
        config.half_open_max = 4;
        change(&mut config);
        let mut stack = Stack::simulated(device, config, &mut Rng::from_seed(1)).unwrap();
        stack.listen(PORT).unwrap();
        let mut world = Self { stack, port, clock: SimClock::new(0), events: Vec::new() };
        world.clock.advance(Duration::from_secs(1));
        world.drain(); // The announcement.
        world
    }

    pub fn wait(&mut self, time: Duration) -> Vec<Out> {
        self.clock.advance(time);
        self.turns();
        self.drain().iter().map(|frame| Out::parse(frame)).collect()
    }

    /// Opens a connection from the given port; returns it and the stack's first sequence number.
    pub fn open(&mut self, from_port: u16) -> (ConnId, u32) {
        let out = self.give_seg(seg(flag::SYN, 999, 0).port(from_port));
        assert_eq!(out.len(), 1, "{out:?}");
        assert_eq!(out[0].tcp.flags, flag::SYN | flag::ACK);
        assert_eq!(out[0].tcp.ack, 1000);
        let first = out[0].tcp.seq.wrapping_add(1);
        assert!(self.give_seg(seg(flag::ACK, 1000, first).port(from_port)).is_empty());
        let [NetEvent::Opened { conn, peer, local }] = self.take_events()[..] else { panic!("not opened") };
        assert_eq!((peer.port(), local.port()), (from_port, PORT));
        (conn, first)
    }
}
