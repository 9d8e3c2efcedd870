//! Target: a whole stack over the simulated device, with one connection under attack and one that must not notice.
//!
//! ```text
//!   0 len16 frame              a frame as it is              4            the shard reads
//!   1 len16 frame              one with good sums            5 len16      the shard writes
//!   2 flags seq32 ack32 win16 options8 data16 ..             6 how        the shard closes, or aborts
//!     a segment of the connection, relative numbers          7 port16 ..  the same segment as 2 from another port
//!   3 ms16                     time passes                   8 room       the device has room for so many frames
//! ```

use crate::script::World;
use crate::wire::{self, Seg};
use dataplane::net::packet::{ETHERNET_BYTES, IPV4_BYTES, TCP_BYTES, flag};
use dataplane::net::{Net, NetRx};
use std::time::Duration;

pub fn run(input: &[u8]) -> u64 {
    let mut world = World::new();
    let mut input = Input(input);
    let mut left_ms = TIME_MS_MAX;
    let mut readable = Vec::new();
    let mut unsent = 0usize;
    while let Some(step) = input.byte() {
        match step % 9 {
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
                readable.clear();
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
            _ => world.port.set_room(usize::from(input.byte().unwrap_or(0))),
        }
        world.turns();
        check_readable(&world, &mut readable);
        world.drain();
        world.take_events();
    }
    world.port.set_room(usize::MAX);
    world.turns();
    world.drain();
    world.assert_witness_lives();
    shape(&format!("{:?} {:?} {} {unsent}", world.front(), world.counters(), readable.len()))
}

/// What could be read stays what it is, until it is read or the connection is gone.
fn check_readable(world: &World, before: &mut Vec<u8>) {
    let (first, second) = world.stack.rx().readable(world.conn.id);
    let now = [first, second].concat();
    assert!(now.starts_with(before) || !world.is_open(world.conn), "readable bytes have changed");
    *before = now;
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
