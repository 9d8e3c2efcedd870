//! The world of one table, and the language its rows are written in.
//!
//! ```text
//!   > FLAGS seq [ack N] [win N] ['data' | len*byte]    comes from the peer
//!   < FLAGS seq [ack N] [win N] ['data' | len*byte]    must leave; rows in order; what no row expects fails the table
//!   = text | len*byte                                  must be all that is readable; it is read
//!   write text | len*byte                              the shard sends this
//!   @ 12ms                                             time passes, in steps of a millisecond
//!   open | gone                                        whether the connection still is
//! ```
//!
//! Numbers are relative: the peer's first data byte is its 0, ours is ours. FLAGS are S A P F R U. A row without `win`
//! offers the largest window, or does not care which one is offered.

use crate::cable::Cable;
use crate::wire::{OUR_MAC, Out, PORT, Seg, US};
use dataplane::device::DeviceCaps;
use dataplane::device::sim::SimDevice;
use dataplane::net::front::{Address, FrontCounters};
use dataplane::net::packet::flag;
use dataplane::net::stack::{Stack, StackConfig, StackCounters};
use dataplane::net::{ConnId, Net, NetEvent};
use dataplane::rng::Rng;
use dataplane::time::SimClock;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// A stack, its clock, the far end of its cable, one connection under attack and one that must not notice.
pub struct World {
    cable: Cable,
    pub conn: Peer,
    witness: Peer,
}

impl Deref for World {
    type Target = Cable;

    fn deref(&self) -> &Cable {
        &self.cable
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Cable {
        &mut self.cable
    }
}

/// One connection as its peer sees it.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub id: ConnId,
    pub port: u16,
    /// Absolute numbers of the peer's first data byte and of ours.
    pub seq: u32,
    pub ack: u32,
}

/// Where the connection under attack starts its sequence, and the witness.
pub const ATTACKED: u16 = 40_000;
const WITNESS: u16 = 50_000;

/// Every checksum is computed and verified in software, nothing is segmented.
pub const PLAIN: DeviceCaps = DeviceCaps {
    mac: OUR_MAC,
    mtu: 1500,
    tso_bytes_max: None,
    completes_checksums: false,
    leaves_checksums_partial: false,
};

impl World {
    pub fn new() -> Self {
        Self::with(|_| ())
    }

    pub fn with(change: impl FnOnce(&mut StackConfig)) -> Self {
        Self::starting_at(1_000, Duration::from_secs(1), change)
    }

    /// A world whose attacked peer's first data byte is number `seq`, opened at this time.
    pub fn starting_at(seq: u32, time: Duration, change: impl FnOnce(&mut StackConfig)) -> Self {
        Self::over(PLAIN, seq, time, change)
    }

    /// The same over any device.
    pub fn over(caps: DeviceCaps, seq: u32, time: Duration, change: impl FnOnce(&mut StackConfig)) -> Self {
        let (device, port) = SimDevice::new(caps);
        let mut config = StackConfig::new(Address { ip: US, prefix_len: 24, gateway: None });
        config.limits.conns_max = 64;
        config.half_open_max = 8;
        change(&mut config);
        let mut stack = Stack::simulated(device, config, &mut Rng::from_seed(1)).unwrap();
        stack.listen(PORT).unwrap();
        let nobody = Peer { id: ConnId { slot: 0, generation: u32::MAX }, port: 0, seq: 0, ack: 0 };
        let cable = Cable { stack, port, clock: SimClock::new(0), events: Vec::new() };
        let mut world = Self { cable, conn: nobody, witness: nobody };
        world.drain(); // The announcement.
        world.clock.advance(time);
        world.witness = world.open(WITNESS, 77);
        world.conn = world.open(ATTACKED, seq);
        world
    }

    pub fn wait(&mut self, time: Duration) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(Duration::from_millis(1));
            self.clock.advance(step);
            left -= step;
            self.turns();
            out.extend(self.drain());
        }
        out
    }

    pub fn front(&self) -> FrontCounters {
        *self.stack.counters().0
    }

    pub fn counters(&self) -> StackCounters {
        *self.stack.counters().1
    }

    /// A handshake as it should be; `seq` is the peer's first data byte.
    pub fn open(&mut self, from_port: u16, seq: u32) -> Peer {
        self.try_open(from_port, seq).expect("the handshake succeeds")
    }

    pub fn try_open(&mut self, from_port: u16, seq: u32) -> Option<Peer> {
        let out = self.give_seg(Seg::new(flag::SYN, from_port, seq.wrapping_sub(1), 0));
        let [answer] = &out[..] else { return None };
        assert_eq!((answer.tcp.flags, answer.tcp.ack), (flag::SYN | flag::ACK, seq));
        let ack = answer.tcp.seq.wrapping_add(1);
        assert!(self.give_seg(Seg::new(flag::ACK, from_port, seq, ack)).is_empty());
        let [NetEvent::Opened { conn: id, peer, .. }] = self.take_events()[..] else { panic!("not opened") };
        assert_eq!(peer.port(), from_port);
        Some(Peer { id, port: from_port, seq, ack })
    }

    pub fn is_open(&self, peer: Peer) -> bool {
        self.stack.info(peer.id).is_some()
    }

    /// Everything readable, read.
    pub fn read(&mut self, peer: Peer) -> Vec<u8> {
        let (first, second) = self.stack.readable(peer.id);
        let bytes = [first, second].concat();
        self.stack.consume(peer.id, bytes.len());
        bytes
    }

    /// The attacked connection's segment with these relative numbers.
    pub fn seg(&self, flags: u8, seq: i64, ack: i64) -> Seg {
        let Peer { port, seq: seq_first, ack: ack_first, .. } = self.conn;
        Seg::new(flags, port, seq_first.wrapping_add(seq as u32), ack_first.wrapping_add(ack as u32))
    }

    /// Plays a table for the attacked connection, then asks the witness.
    pub fn play(&mut self, script: &str) {
        let mut came: Vec<String> = Vec::new();
        for row in script.lines().map(str::trim).filter(|row| !row.is_empty()) {
            if !row.starts_with('<') {
                assert!(came.is_empty(), "before `{row}` nobody expected {came:?}");
            }
            let (verb, rest) = row.split_once(' ').unwrap_or((row, ""));
            match verb {
                ">" => {
                    let seg = self.read_row(rest);
                    came = self.give(&seg.frame()).iter().map(|frame| self.write_row(frame)).collect();
                }
                "<" => {
                    assert!(!came.is_empty(), "`{row}` did not come");
                    let first = came.remove(0);
                    // Without `win` any window will do.
                    let is_it = first == rest || first.split(" win ").next() == Some(rest);
                    let with_data = first.split_once(" win ").and_then(|(head, tail)| {
                        tail.split_once(' ').map(|(_, data)| format!("{head} {data}"))
                    });
                    assert!(is_it || with_data.as_deref() == Some(rest), "`{row}` expected, `{first}` came");
                }
                "=" => {
                    let expected = text(rest);
                    let conn = self.conn;
                    let found = self.read(conn);
                    assert!(
                        found == expected,
                        "`{row}` expected, {:?} read",
                        String::from_utf8_lossy(&found)
                    );
                }
                "write" => {
                    let id = self.conn.id;
                    let bytes = text(rest);
                    assert_eq!(self.stack.send(id, &bytes), bytes.len());
                    self.turns();
                    came = self.drain().iter().map(|frame| self.write_row(frame)).collect();
                }
                "@" => {
                    let millis = rest.strip_suffix("ms").and_then(|millis| millis.parse().ok());
                    let out = self.wait(Duration::from_millis(millis.expect("as in `@ 12ms`")));
                    came = out.iter().map(|frame| self.write_row(frame)).collect();
                }
                "open" => assert!(self.is_open(self.conn), "it is gone"),
                "gone" => assert!(!self.is_open(self.conn), "it is still there"),
                _ => panic!("no such row: {row}"),
            }
        }
        assert!(came.is_empty(), "at the end nobody expected {came:?}");
        self.assert_witness_lives();
    }

    /// `PA 4 ack 0 win 100 'efgh'` as a segment.
    pub fn read_row(&self, row: &str) -> Seg {
        let (head, data) = match row.find(['\'', '*']) {
            Some(at) => row.split_at(row[..at].rfind(' ').unwrap()),
            None => (row, ""),
        };
        let mut words = head.split_whitespace();
        let flags = words.next().unwrap().chars().fold(0, |flags, letter| flags | flag_of(letter));
        let seq = words.next().unwrap().parse().unwrap();
        let (mut ack, mut window) = (0, 0xffff);
        while let Some(word) = words.next() {
            let number: i64 = words.next().unwrap().parse().unwrap();
            match word {
                "ack" => ack = number,
                "win" => window = number as u16,
                _ => panic!("no such word: {word}"),
            }
        }
        let mut seg = self.seg(flags, seq, ack);
        if flags & flag::ACK == 0 {
            seg.ack = 0;
        }
        seg.window = window;
        seg.data = text(data.trim());
        seg
    }

    fn write_row(&self, frame: &[u8]) -> String {
        let out = Out::parse(frame);
        assert_eq!(out.tcp.to_port, self.conn.port);
        let seq = out.tcp.seq.wrapping_sub(self.conn.ack) as i32;
        let ack = out.tcp.ack.wrapping_sub(self.conn.seq) as i32;
        let mut row: String =
            LETTERS.iter().filter(|(_, bit)| out.tcp.flags & bit != 0).map(|(letter, _)| *letter).collect();
        row += &match (out.tcp.flags & flag::ACK != 0, out.tcp.flags & flag::RST != 0) {
            (true, _) => format!(" {seq} ack {ack} win {}", out.tcp.window),
            // A bare reset's number is what was asked about.
            (false, _) => format!(" {seq}"),
        };
        match &out.data[..] {
            [] => (),
            [first, rest @ ..] if rest.len() > 15 && rest.iter().all(|byte| byte == first) => {
                row += &format!(" {}*{}", out.data.len(), char::from(*first));
            }
            data => row += &format!(" '{}'", String::from_utf8_lossy(data)),
        }
        row
    }

    /// The other connection works, whatever was done to this one.
    pub fn assert_witness_lives(&mut self) {
        let Peer { id, port, seq, ack } = self.witness;
        let mut question = Seg::new(flag::ACK | flag::PSH, port, seq, ack);
        question.data = b"are you well?".to_vec();
        self.port.give(&question.frame());
        self.turns();
        assert_eq!(self.read(self.witness), b"are you well?");
        assert_eq!(self.stack.send(id, b"never better"), 12);
        self.turns();
        let out: Vec<Out> = self.drain().iter().map(|frame| Out::parse(frame)).collect();
        let said: Vec<u8> =
            out.iter().filter(|out| out.tcp.to_port == port).flat_map(|out| out.data.clone()).collect();
        assert_eq!(said, b"never better");
        self.witness.seq = seq.wrapping_add(13);
        self.witness.ack = ack.wrapping_add(12);
        self.port.give(&Seg::new(flag::ACK, port, self.witness.seq, self.witness.ack).frame());
        self.turns();
        self.drain();
        let witness = self.witness.id;
        self.events.retain(|event| !matches!(event, NetEvent::Readable(id) if *id == witness));
    }
}

/// `'abc'`, `abc` or `20*x`.
fn text(row: &str) -> Vec<u8> {
    match row.split_once('*') {
        Some((len, byte)) => vec![byte.as_bytes()[0]; len.parse().unwrap()],
        None => row.trim_matches('\'').as_bytes().to_vec(),
    }
}

fn flag_of(letter: char) -> u8 {
    LETTERS.iter().find(|(known, _)| *known == letter).unwrap_or_else(|| panic!("no flag {letter}")).1
}

const URG: u8 = 0x20;
const LETTERS: [(char, u8); 6] =
    [('S', flag::SYN), ('F', flag::FIN), ('R', flag::RST), ('P', flag::PSH), ('A', flag::ACK), ('U', URG)];
