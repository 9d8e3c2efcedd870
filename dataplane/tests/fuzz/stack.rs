//! Target: a whole stack over the simulated device, with four connections under attack and one that must not notice.
//!
//! ```text
//!   0 len16 frame              a frame as it is              8 room       the device has room for so many frames
//!   1 len16 frame              one with good sums            9 peer       another of the peers speaks from now on
//!   2 flags seq32 ack32 win16 options8 data16 ..            10 steps      so many steps without a turn to send
//!     a segment of the peer's, relative numbers             11 offer seq32     the peer's SYN
//!   3 ms16                     time passes                  12 ack32 win16 blocks8 seq16 from32 to32 ..
//!   4            the shard reads                               an acknowledgement with reports, relative numbers
//!   5 len16      the shard writes
//!   6 how        the shard closes, or aborts                13 kind       first of all: another device, other numbers
//!   7 port16 ..  the same segment as 2 from another port
//! ```

use crate::script::{ATTACKED, PLAIN, Peer, World};
use crate::wire::{self, Seg};
use dataplane::device::DeviceCaps;
use dataplane::net::packet::{
    ETHERNET_BYTES, Ethernet, IPV4_BYTES, Ipv4, PROTOCOL_TCP, TCP_BYTES, Tcp, flag,
};
use dataplane::net::{ConnId, Net, NetEvent, NetRx};
use dataplane::time::Clock;
use std::time::Duration;

pub fn run(input: &[u8]) -> u64 {
    let (mut world, input) = match input {
        [13, kind, rest @ ..] => (world_of(*kind), rest),
        _ => (World::new(), input),
    };
    let mut input = Input(input);
    let mut peers = Peers::new(world.conn);
    let mut left_ms = TIME_MS_MAX;
    let mut readable = (world.conn.id, Vec::new());
    let mut unsent = 0usize;
    let mut silent_steps = 0u8;
    while let Some(step) = input.byte() {
        world.conn = peers.all[peers.at];
        match step % 13 {
            0 => {
                let frame = input.run_16().to_vec();
                world.port.give(&frame);
            }
            1 => {
                let mut frame = input.run_16().to_vec();
                if can_have_sums(&frame) {
                    wire::finish_tcp(&mut frame);
                }
                world.port.give(&frame);
            }
            2 => {
                let port = world.conn.port;
                let seg = segment(&world, &mut input, port);
                world.port.give(&seg.frame());
            }
            7 => {
                let port = input.word_16();
                let seg = segment(&world, &mut input, port);
                world.port.give(&seg.frame());
            }
            3 => {
                let wait_ms = u64::from(input.word_16()).min(left_ms);
                left_ms -= wait_ms;
                world.clock.advance(Duration::from_millis(wait_ms));
            }
            4 => {
                let conn = world.conn;
                world.read(conn);
                readable.1.clear();
            }
            5 => {
                let len = usize::from(input.word_16());
                let id = world.conn.id;
                unsent += world.stack.send(id, &vec![b'w'; len]);
            }
            6 => {
                let id = world.conn.id;
                match input.byte().is_some_and(|how| how & 1 == 0) {
                    true => world.stack.close(id),
                    false => world.stack.abort(id),
                }
            }
            8 => world.port.set_room(usize::from(input.byte().unwrap_or(0))),
            9 => peers.at = usize::from(input.byte().unwrap_or(0)) % peers.all.len(),
            10 => silent_steps = 1 + input.byte().unwrap_or(0) % 8,
            11 => {
                let offer = input.byte().unwrap_or(0);
                let seg = syn(world.conn.port, offer, input.word_32());
                world.port.give(&seg.frame());
            }
            _ => {
                let seg = reports(&world, &mut input);
                world.port.give(&seg.frame());
            }
        }
        match silent_steps {
            0 => world.turns(),
            _ => looks(&mut world),
        }
        silent_steps = silent_steps.saturating_sub(1);
        check_readable(&world, &mut readable);
        peers.learn(&mut world);
    }
    world.port.set_room(usize::MAX);
    world.turns();
    world.drain();
    world.assert_witness_lives();
    shape(&format!("{:?} {:?} {} {unsent}", world.front(), world.counters(), readable.1.len()))
}

/// A few bits each for the device's frames, the peer's first number and ours.
fn world_of(kind: u8) -> World {
    let caps = DeviceCaps {
        mtu: if kind & 1 == 0 { 1_500 } else { 9_000 },
        tso_bytes_max: (kind & 2 != 0).then_some(65_535),
        ..PLAIN
    };
    let seq = [1_000, 0, 0u32.wrapping_sub(2_000), 1 << 31][usize::from(kind >> 2 & 3)];
    let second = Duration::from_secs(1);
    if kind & 16 == 0 {
        return World::over(caps, seq, second, |_| ());
    }
    // Our number is a clock's, which ticks every four microseconds.
    let first = World::over(caps, seq, second, |_| ()).conn.ack;
    let ticks = [0u32.wrapping_sub(5_000), (1 << 31) - 5_000][usize::from(kind >> 5 & 1)].wrapping_sub(first);
    World::over(caps, seq, second + Duration::from_micros(4) * ticks, |_| ())
}

/// Turns of a shard that has no time to send.
fn looks(world: &mut World) {
    let now = world.clock.read();
    for _ in 0..4 {
        world.stack.ingress(&now, usize::MAX);
        let events: Vec<_> = std::iter::from_fn(|| world.stack.next_event()).collect();
        world.events.extend(events);
    }
}

/// Those who may have a connection. What they know of our numbers they have read.
struct Peers {
    all: [Peer; 4],
    at: usize,
}

impl Peers {
    fn new(first: Peer) -> Self {
        let other = |port| Peer { id: ConnId { slot: 0, generation: u32::MAX }, port, seq: 0, ack: 0 };
        Self { all: [first, other(ATTACKED + 1), other(ATTACKED + 2), other(ATTACKED + 3)], at: 0 }
    }

    fn learn(&mut self, world: &mut World) {
        for frame in world.drain() {
            if let Some(tcp) = tcp_of(&frame)
                && tcp.flags & (flag::SYN | flag::ACK) == flag::SYN | flag::ACK
                && let Some(peer) = self.all.iter_mut().find(|peer| peer.port == tcp.to_port)
            {
                (peer.seq, peer.ack) = (tcp.ack, tcp.seq.wrapping_add(1));
            }
        }
        for event in world.take_events() {
            if let NetEvent::Opened { conn, peer: address, .. } = event
                && let Some(peer) = self.all.iter_mut().find(|peer| peer.port == address.port())
            {
                peer.id = conn;
            }
        }
    }
}

fn tcp_of(frame: &[u8]) -> Option<Tcp> {
    let ip = Ipv4::parse(Ethernet::parse(frame)?.payload).ok()?;
    if ip.protocol == PROTOCOL_TCP { Tcp::parse(ip.payload) } else { None }
}

/// A SYN whose number is the second one; a bit of `offer` for each thing offered.
fn syn(port: u16, offer: u8, seq: u32) -> Seg {
    let mut seg = Seg::new(flag::SYN, port, seq, 0);
    if offer & 1 != 0 {
        let mss = [1_460u16, 100, 1, 9_000][usize::from(offer >> 4 & 3)].to_be_bytes();
        seg.options.extend([2, 4, mss[0], mss[1]]);
    }
    if offer & 2 != 0 {
        seg.options.extend([4, 2, 1, 1]);
    }
    if offer & 4 != 0 {
        seg.options.extend([3, 3, [0, 7, 14, 20][usize::from(offer >> 6)], 1]);
    }
    if offer & 8 != 0 {
        seg.data = b"early".to_vec();
    }
    seg
}

fn reports(world: &World, input: &mut Input<'_>) -> Seg {
    let ack = input.word_32();
    let mut seg = world.seg(flag::ACK, 0, i64::from(ack as i32));
    seg.window = input.word_16();
    let blocks = input.byte().unwrap_or(0) % 5;
    let received = input.word_16(); // How far the peer itself has sent.
    seg.seq = seg.seq.wrapping_add(received.into());
    seg.options = vec![1, 1, 5, 2 + 8 * blocks];
    for _ in 0..2 * blocks {
        let number = world.conn.ack.wrapping_add(input.word_32());
        seg.options.extend(number.to_be_bytes());
    }
    seg
}

/// What could be read stays what it is, until it is read or the connection is gone.
fn check_readable(world: &World, before: &mut (ConnId, Vec<u8>)) {
    let id = world.conn.id;
    let (first, second) = world.stack.rx().readable(id);
    let now = [first, second].concat();
    assert!(
        before.0 != id || now.starts_with(&before.1) || !world.is_open(world.conn),
        "readable bytes have changed"
    );
    *before = (id, now);
}

fn can_have_sums(frame: &[u8]) -> bool {
    let Some(packet) = frame.get(ETHERNET_BYTES..) else { return false };
    let header_bytes = packet.first().map_or(0, |first| usize::from(first & 15) * 4);
    header_bytes >= IPV4_BYTES && packet.len() >= header_bytes + TCP_BYTES
}

fn segment(world: &World, input: &mut Input<'_>, port: u16) -> Seg {
    let flags = input.byte().unwrap_or(flag::ACK);
    let (seq, ack, window) = (input.word_32(), input.word_32(), input.word_16());
    let options_len = usize::from(input.byte().unwrap_or(0)) % 11 * 4;
    let data_len = usize::from(input.word_16()) % 1_461;
    let mut seg = world.seg(flags, i64::from(seq as i32), i64::from(ack as i32));
    seg.from_port = port;
    seg.window = window;
    seg.options = input.run(options_len).to_vec();
    seg.options.resize(options_len, 1);
    seg.data = input.run(data_len).to_vec();
    seg
}

/// The counts of a text, each as roughly as its number of binary digits, in one number.
fn shape(text: &str) -> u64 {
    text.split(|letter: char| !letter.is_ascii_digit()).filter_map(|number| number.parse::<u64>().ok()).fold(
        0,
        |shape, number| {
            (shape ^ u64::from(u64::BITS - number.leading_zeros()))
                .wrapping_mul(0x0100_0000_01b3)
                .rotate_left(9)
        },
    )
}

/// Bytes taken from the front; what is missing is nought.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn word_16(&mut self) -> u16 {
        u16::from_le_bytes([self.byte().unwrap_or(0), self.byte().unwrap_or(0)])
    }

    fn word_32(&mut self) -> u32 {
        u32::from(self.word_16()) | u32::from(self.word_16()) << 16
    }

    fn run(&mut self, len: usize) -> &'a [u8] {
        let (run, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        run
    }

    fn run_16(&mut self) -> &'a [u8] {
        let len = self.word_16();
        self.run(len.into())
    }
}

/// A peer that says nothing is given up after a minute; the witness must not be.
const TIME_MS_MAX: u64 = 40_000;
