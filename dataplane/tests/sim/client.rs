//! A client machine: smoltcp with its own sockets, on its own cable. Knows nothing of what the bytes mean.

use dataplane::device::sim::SimPort;
use dataplane::device::{Device, DeviceRx, DeviceTx, Mac, TxOffload};
use dataplane::device::{mac_for, sim::SimDevice};
use dataplane::net::packet::{self, ETHERNET_BYTES, ETHERTYPE_IPV4, Ethernet};
use dataplane::rng::Rng;
use dataplane::time::TurnTime;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::{Duration as StackDuration, Instant as StackInstant};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};
use std::net::{Ipv4Addr, SocketAddrV4};

pub type Conn = SocketHandle;

pub struct Client {
    iface: Interface,
    sockets: SocketSet<'static>,
    cable: Cable,
    next_port: u16,
    pub mac: Mac,
}

/// smoltcp's device over the simulated one: the Ethernet header is put on and taken off here.
struct Cable {
    device: SimDevice,
    mac: Mac,
    peer_mac: Mac,
    packet: Vec<u8>,
}

impl Client {
    /// A client and the port to plug into the link. It talks to one appliance.
    pub fn new(ip: Ipv4Addr, appliance: Ipv4Addr, rng: &mut Rng) -> (Self, SimPort) {
        let (device, port) = SimDevice::plain(mac_for(ip), MTU);
        let mut cable = Cable { device, mac: mac_for(ip), peer_mac: mac_for(appliance), packet: Vec::new() };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = rng.next_u64();
        let mut iface = Interface::new(config, &mut cable, StackInstant::ZERO);
        iface.update_ip_addrs(|addresses| addresses.push(IpCidr::new(ip.into(), 24)).unwrap());
        let next_port = 32_768 + rng.below(10_000) as u16;
        let mac = mac_for(ip);
        (Self { iface, sockets: SocketSet::new(Vec::new()), cable, next_port, mac }, port)
    }

    pub fn connect(&mut self, to: SocketAddrV4) -> Conn {
        let buffer = || tcp::SocketBuffer::new(vec![0; RING_BYTES]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket.set_congestion_control(tcp::CongestionControl::Cubic);
        socket.set_timeout(Some(StackDuration::from_secs(30 * CLOCK_FACTOR as u64)));
        socket.set_keep_alive(Some(StackDuration::from_secs(10 * CLOCK_FACTOR as u64)));
        self.next_port = if self.next_port >= 60_000 { 32_768 } else { self.next_port + 1 };
        socket.connect(self.iface.context(), (IpAddress::from(*to.ip()), to.port()), self.next_port).unwrap();
        self.sockets.add(socket)
    }

    fn socket(&mut self, conn: Conn) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(conn)
    }

    /// The handshake is over and we may send.
    pub fn is_open(&mut self, conn: Conn) -> bool {
        self.socket(conn).may_send()
    }

    /// Reset, refused, timed out, or ended by both sides.
    pub fn is_dead(&mut self, conn: Conn) -> bool {
        matches!(self.socket(conn).state(), tcp::State::Closed | tcp::State::TimeWait)
    }

    /// The appliance has finished, and everything it sent has been read.
    pub fn is_finished(&mut self, conn: Conn) -> bool {
        let socket = self.socket(conn);
        !socket.may_recv() && !matches!(socket.state(), tcp::State::SynSent | tcp::State::SynReceived)
    }

    /// Returns how many of the bytes were taken.
    pub fn send(&mut self, conn: Conn, bytes: &[u8]) -> usize {
        self.socket(conn).send_slice(bytes).unwrap_or(0)
    }

    /// Appends what has come.
    pub fn recv(&mut self, conn: Conn, into: &mut Vec<u8>) {
        let socket = self.socket(conn);
        while socket.can_recv() {
            let taken = socket.recv(|run| {
                into.extend_from_slice(run);
                (run.len(), ())
            });
            if taken.is_err() {
                return;
            }
        }
    }

    pub fn close(&mut self, conn: Conn) {
        self.socket(conn).close();
    }

    /// Forgets a dead connection.
    pub fn forget(&mut self, conn: Conn) {
        self.sockets.remove(conn);
    }

    pub fn turn(&mut self, now: &TurnTime) {
        self.iface.poll(stack_now(now), &mut self.cable, &mut self.sockets);
    }
}

fn stack_now(now: &TurnTime) -> StackInstant {
    StackInstant::from_micros((now.mono_ns / 1_000) as i64 * CLOCK_FACTOR)
}

pub struct InToken<'a>(&'a [u8]);
pub struct OutToken<'a> {
    device: &'a mut SimDevice,
    mac: Mac,
    peer_mac: Mac,
}

impl phy::Device for Cable {
    type RxToken<'a> = InToken<'a>;
    type TxToken<'a> = OutToken<'a>;

    fn receive(&mut self, _now: StackInstant) -> Option<(InToken<'_>, OutToken<'_>)> {
        loop {
            let received = self.device.split().0.receive()?;
            let Some(ethernet) = Ethernet::parse(received.frame) else { continue };
            if ethernet.to != self.mac || ethernet.ethertype != ETHERTYPE_IPV4 || ethernet.payload.is_empty()
            {
                continue;
            }
            self.packet.clear();
            self.packet.extend_from_slice(ethernet.payload);
            break;
        }
        let out = OutToken { device: &mut self.device, mac: self.mac, peer_mac: self.peer_mac };
        Some((InToken(&self.packet), out))
    }

    fn transmit(&mut self, _now: StackInstant) -> Option<OutToken<'_>> {
        Some(OutToken { device: &mut self.device, mac: self.mac, peer_mac: self.peer_mac })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut told = DeviceCapabilities::default();
        told.medium = Medium::Ip;
        told.max_transmission_unit = MTU;
        told
    }
}

impl phy::RxToken for InToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

impl phy::TxToken for OutToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, packet_bytes: usize, write: F) -> R {
        let mut result = None;
        self.device.split().1.send(ETHERNET_BYTES + packet_bytes, |frame| {
            let (ethernet, rest) = frame.split_first_chunk_mut().unwrap();
            packet::write_ethernet(ethernet, self.peer_mac, self.mac, ETHERTYPE_IPV4);
            result = Some(write(rest));
            TxOffload::default()
        });
        result.unwrap()
    }
}

const MTU: usize = 1500;
const RING_BYTES: usize = 64 << 10;
/// As the appliance's own: its retransmissions come after 200 ms, like Linux's.
const CLOCK_FACTOR: i64 = 5;
