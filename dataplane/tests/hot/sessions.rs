//! Sessions: bytes in any cut become the same frames; full outboxes and missing room stop the reading, nothing else.

use dataplane::broker::ReplyTo;
use dataplane::limits::{DRAIN_BYTES_SHORT, FRAME_BYTES_MAX, OUTBOX_BYTES_MAX, SHORT_DRAINS};
use dataplane::net::{ConnId, Net, NetEvent};
use dataplane::outbox::{Body, Outbox};
use dataplane::rng::Rng;
use dataplane::session::{Ends, Sessions, Silent, Verdict};
use protocol::frame::{Codec, Frame};
use store::{LogRange, PhysicalOffset};

use crate::fake_net::FakeNet;

/// A frame whose header is `tag` and whose body has `body_len` bytes.
fn frame(tag: u32, body_len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&(4 + 4 + body_len as u32).to_be_bytes());
    bytes.extend_from_slice(&4u32.to_be_bytes());
    bytes.extend_from_slice(&tag.to_be_bytes());
    bytes.extend((0..body_len).map(|at| (at as u32 ^ tag) as u8));
    bytes
}

fn check(frame: &Frame<'_>) -> u32 {
    let tag = u32::from_be_bytes(frame.header.try_into().unwrap());
    assert!(frame.body.iter().enumerate().all(|(at, byte)| *byte == (at as u32 ^ tag) as u8));
    tag
}

/// Sessions over a fake net, without a broker.
struct World {
    net: FakeNet,
    sessions: Sessions,
    outbox: Outbox,
    now_ms: u64,
    served: Vec<(ConnId, u32)>,
    verdict: Verdict,
    /// Bytes answered to each frame.
    answer_bytes: usize,
}

impl World {
    fn new(rx: usize, tx: usize) -> World {
        World {
            net: FakeNet::new(rx, tx),
            sessions: Sessions::default(),
            outbox: Outbox::new(),
            now_ms: 0,
            served: Vec::new(),
            verdict: Verdict::Done,
            answer_bytes: 0,
        }
    }

    fn turn(&mut self) {
        while let Some(event) = self.net.next_event() {
            match event {
                NetEvent::Opened { conn, peer, local } => {
                    self.outbox.opened(conn);
                    self.sessions.opened(Ends { conn, peer, local }, self.now_ms);
                }
                NetEvent::Readable(conn) => self.sessions.readable(conn, self.now_ms),
                NetEvent::Writable(conn) => self.outbox.writable(conn),
                NetEvent::PeerFinished(conn) => self.sessions.finished(conn),
                NetEvent::Closed(conn) => {
                    self.outbox.closed(conn);
                    self.sessions.closed(conn);
                }
            }
        }
        let (served, verdict, answer) = (&mut self.served, self.verdict, vec![0; self.answer_bytes]);
        let mut serve = |frame: Frame<'_>, ends: &Ends, outbox: &mut Outbox| {
            let tag = check(&frame);
            if verdict == Verdict::Done {
                served.push((ends.conn, tag));
                if !answer.is_empty() {
                    let to = ReplyTo { conn: ends.conn, opaque: 1, codec: Codec::Binary, oneway: false };
                    outbox.reply(to, 0, |w| w, Body::Bytes(&answer));
                }
            }
            verdict
        };
        for _ in 0..self.sessions.start_round() {
            let Some(conn) = self.sessions.next_ready() else { break };
            self.sessions.visit(conn, self.now_ms, u32::MAX, &mut self.net, &mut self.outbox, &mut serve);
        }
        self.outbox.drain(self.net.split().1, |_| None);
        while let Some(conn) = self.outbox.take_resumed() {
            self.sessions.resumed(conn);
        }
    }

    /// Feeds all of `bytes`, turn by turn, at most `cut` at a time.
    fn feed(&mut self, conn: ConnId, mut bytes: &[u8], mut cut: impl FnMut() -> usize) {
        let mut idle_turns = 0;
        while !bytes.is_empty() {
            let part = cut().clamp(1, bytes.len());
            let taken = self.net.feed(conn, &bytes[..part]);
            bytes = &bytes[taken..];
            self.turn();
            idle_turns = if taken == 0 { idle_turns + 1 } else { 0 };
            assert!(idle_turns < 1000, "{} bytes are never read", bytes.len());
        }
        for _ in 0..100 {
            self.turn();
        }
    }

    fn tags(&self) -> Vec<u32> {
        self.served.iter().map(|(_, tag)| *tag).collect()
    }
}

/// W-1. Goal: frames come out whole and in order however they are cut, wrapped by the ring or longer than it.
/// Method: random sizes from empty to 300 KiB through a ring of 16 KiB, in random pieces, many seeds.
#[test]
fn any_cut_gives_the_same_frames() {
    for seed in 0..30 {
        let mut rng = Rng::from_seed(seed);
        let mut world = World::new(16 * 1024, 64 * 1024);
        let conn = world.net.connect("10.0.0.1:5000", "10.0.0.2:10911");
        let mut bytes = Vec::new();
        let count = 60;
        for tag in 0..count {
            let len = match rng.below(10) {
                0 => rng.below(300_000),
                1..4 => rng.below(20_000),
                _ => rng.below(300),
            };
            bytes.extend(frame(tag, len as usize));
        }
        let cut_max = 1 + rng.below(20_000);
        world.feed(conn, &bytes, || 1 + rng.below(cut_max) as usize);
        assert_eq!(world.tags(), (0..count).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(world.net.unread(conn), 0);
    }
}

/// W-1. Goal: the largest frame of the wire passes a small ring; one byte more ends the connection before it is read.
#[test]
fn the_largest_frame_passes_and_a_larger_one_does_not() {
    let mut world = World::new(16 * 1024, 64 * 1024);
    let conn = world.net.connect("10.0.0.1:5000", "10.0.0.2:10911");
    let largest = frame(7, protocol::frame::FRAME_BYTES_MAX - 12);
    assert!(largest.len() <= FRAME_BYTES_MAX);
    world.feed(conn, &largest, || 16 * 1024);
    assert_eq!(world.tags(), [7]);
    assert!(world.net.is_open(conn));
    let mut over = frame(8, 0);
    over[..4].copy_from_slice(&(protocol::frame::FRAME_BYTES_MAX as u32 - 3).to_be_bytes());
    world.net.feed(conn, &over);
    world.turn();
    assert!(!world.net.is_open(conn));
}

/// W-2. Goal: bytes that are no frame end their connection and no other. Method: garbage beside honest traffic.
#[test]
fn garbage_ends_its_own_connection_only() {
    let mut world = World::new(16 * 1024, 64 * 1024);
    let bad = world.net.connect("10.0.0.1:5000", "10.0.0.2:10911");
    let good = world.net.connect("10.0.0.3:5000", "10.0.0.2:10911");
    world.net.feed(bad, &frame(1, 10));
    world.net.feed(bad, b"GET / HTTP/1.1\r\n\r\n");
    world.net.feed(good, &frame(2, 10));
    world.turn();
    world.turn();
    assert_eq!(world.tags(), [1, 2]);
    assert!(!world.net.is_open(bad));
    world.net.feed(good, &frame(3, 10));
    world.turn();
    assert_eq!(world.tags(), [1, 2, 3]);
    assert_eq!(world.sessions.counters.garbage, 1);
}

/// Goal: one connection with much to do does not starve the others. Method: a flood beside a single frame.
#[test]
fn visits_are_fair() {
    let mut world = World::new(64 * 1024, 64 * 1024);
    let flood = world.net.connect("10.0.0.1:5000", "10.0.0.2:10911");
    let quiet = world.net.connect("10.0.0.3:5000", "10.0.0.2:10911");
    for tag in 0..1000 {
        world.net.feed(flood, &frame(tag, 1));
    }
    world.net.feed(quiet, &frame(5000, 1));
    world.turn();
    let at = world.served.iter().position(|(conn, _)| *conn == quiet).expect("served in the first turn");
    assert!(at <= dataplane::limits::REQUESTS_PER_VISIT_MAX as usize);
}

/// Goal: a peer that does not read its answers is not read either, loses nothing, and goes on when it reads.
/// Method: large answers against a small send ring; drain it later.
#[test]
fn a_full_outbox_stops_the_reading() {
    let mut world = World::new(16 * 1024, 16 * 1024);
    world.answer_bytes = 50_000;
    let conn = world.net.connect("10.0.0.1:5000", "10.0.0.2:10911");
    let frames: Vec<u8> = (0..100).flat_map(|tag| frame(tag, 10)).collect();
    world.net.feed(conn, &frames);
    for _ in 0..50 {
        world.turn();
    }
    let served = world.served.len();
    assert!(served * world.answer_bytes <= OUTBOX_BYTES_MAX + 16 * 1024 + 2 * world.answer_bytes, "{served}");
    assert!(world.net.unread(conn) > 0);
    let (mut taken, mut buffer) = (0, vec![0; 10_000]);
    for _ in 0..2000 {
        taken += world.net.take(conn, &mut buffer);
        world.turn();
    }
    assert_eq!(world.served.len(), 100);
    assert_eq!(world.tags(), (0..100).collect::<Vec<_>>());
    assert!(taken > 100 * world.answer_bytes);
    assert_eq!(world.outbox.queued(conn), 0);
}

/// Goal: while one connection asks for little, a turn moves little of what another one is owed; without it, much; nothing is lost
/// and small answers go at once. Method: an answer of 200 KB, alone, beside a small one, and long after it.
#[test]
fn turns_are_short_while_somebody_asks_for_little() {
    let mut world = World::new(64 * 1024, 1 << 20);
    let large = world.net.connect("10.0.0.1:5000", "10.0.0.2:10911");
    let small = world.net.connect("10.0.0.3:5000", "10.0.0.2:10911");
    let (mut buffer, mut asked, mut taken) = (vec![0; 1 << 20], 0, 0);
    // What each turn moves of one more large answer.
    let mut moves = |world: &mut World, with_small: bool| {
        if with_small {
            world.answer_bytes = 100;
            world.net.feed(small, &frame(1, 10));
            world.turn();
            assert!(world.net.take(small, &mut buffer) > 100);
        }
        world.answer_bytes = LARGE_BYTES;
        world.net.feed(large, &frame(2, 10));
        asked += 1;
        let mut moves = Vec::new();
        loop {
            let before = world.outbox.sent_bytes(large);
            world.turn();
            let moved = (world.outbox.sent_bytes(large) - before) as usize;
            taken += world.net.take(large, &mut buffer);
            if moved == 0 {
                return moves;
            }
            moves.push(moved);
        }
    };
    assert!(moves(&mut world, false)[0] > LARGE_BYTES);
    let beside = moves(&mut world, true);
    let (short, rest) = beside.split_at(SHORT_DRAINS as usize);
    assert!(short.iter().all(|moved| *moved == DRAIN_BYTES_SHORT), "{short:?}");
    // So many turns later the small one is forgotten.
    assert!(rest.len() == 1 && rest[0] > LARGE_BYTES - SHORT_DRAINS as usize * DRAIN_BYTES_SHORT, "{rest:?}");
    assert!(moves(&mut world, false)[0] > LARGE_BYTES);
    assert_eq!(world.outbox.queued(large), 0);
    assert!(taken > asked * LARGE_BYTES && taken < asked * (LARGE_BYTES + 100), "{taken} of {asked}");
}

const LARGE_BYTES: usize = 200_000;

/// Goal: a request without room waits in its ring, is offered again every turn and is taken once.
#[test]
fn a_request_without_room_waits_unread() {
    let mut world = World::new(16 * 1024, 16 * 1024);
    let conn = world.net.connect("10.0.0.1:5000", "10.0.0.2:10911");
    world.verdict = Verdict::Wait;
    let both = [frame(1, 100), frame(2, 12_000)].concat();
    world.net.feed(conn, &both);
    for _ in 0..10 {
        world.turn();
    }
    assert_eq!(world.served, []);
    assert_eq!(world.net.unread(conn), both.len());
    world.verdict = Verdict::Done;
    world.turn();
    world.turn();
    assert_eq!(world.tags(), [1, 2]);
}

/// Goal: what a peer sent before it finished is served and answered, then the connection ends.
#[test]
fn a_finished_peer_is_served_to_the_end() {
    let mut world = World::new(16 * 1024, 16 * 1024);
    world.answer_bytes = 100;
    let conn = world.net.connect("10.0.0.1:5000", "10.0.0.2:10911");
    world.net.feed(conn, &[frame(1, 10), frame(2, 10), vec![0, 0]].concat());
    world.net.finish(conn);
    world.turn();
    assert_eq!(world.tags(), [1, 2]);
    let mut buffer = [0; 1000];
    assert!(world.net.take(conn, &mut buffer) > 200);
    world.turn();
    assert_eq!(world.net.conns_len(), 0);
}

/// Goal: under load, ends that come while their connections still wait for a visit are borne, whatever is opened then. Method:
/// many lives of one slot without a round between them, then a slot more.
#[test]
fn many_lives_of_a_slot_between_two_rounds() {
    let mut world = World::new(16 * 1024, 16 * 1024);
    let ends = |slot, generation| Ends {
        conn: ConnId { slot, generation },
        peer: "10.0.0.1:5000".parse().unwrap(),
        local: "10.0.0.2:10911".parse().unwrap(),
    };
    for generation in 0..10 {
        world.sessions.opened(ends(0, generation), 0);
        world.sessions.finished(ends(0, generation).conn);
        world.sessions.closed(ends(0, generation).conn);
    }
    world.sessions.opened(ends(1, 0), 0);
    world.sessions.readable(ends(1, 0).conn, 0);
    assert_eq!(world.sessions.start_round(), 11);
    world.turn();
    assert_eq!(world.sessions.counters.opened - world.sessions.counters.closed, 1);
}

/// Goal: the rest of an answer that cannot be fetched any more ends its connection, also one that is to end anyway. Method: the
/// peer's end and the bad news in one turn, in either order; other answers behind it or none.
#[test]
fn a_rest_that_is_gone_ends_the_connection() {
    for (is_finished_before, answers_behind) in [(true, 0), (false, 0), (true, 2), (false, 2)] {
        let mut world = World::new(16 * 1024, 16 * 1024);
        let conn = world.net.connect("10.0.0.1:5000", "10.0.0.2:10911");
        world.turn();
        let to = ReplyTo { conn, opaque: 1, codec: Codec::Binary, oneway: false };
        let range = LogRange { physical: PhysicalOffset(4096), len: 1_000 };
        world.outbox.reply(to, 0, |w| w, Body::Log(&[range]));
        (0..answers_behind).for_each(|_| world.outbox.reply(to, 0, |w| w, Body::Bytes(b"later")));
        world.outbox.drain(world.net.split().1, |_| None);
        assert!(world.outbox.take_missing().is_some());
        if is_finished_before {
            world.outbox.close(conn);
        }
        world.outbox.fetched(conn, None, world.net.split().1);
        if !is_finished_before {
            world.outbox.close(conn);
        }
        world.outbox.drain(world.net.split().1, |_| None);
        assert_eq!(world.outbox.queued(conn), 0);
        world.turn();
        assert!(!world.outbox.is_open(conn));
        let again = world.net.connect("10.0.0.1:5000", "10.0.0.2:10911");
        world.answer_bytes = 100;
        world.net.feed(again, &frame(1, 10));
        world.turn();
        assert!(world.net.take(again, &mut [0; 1000]) > 100);
    }
}

/// Goal: silence beyond the limit ends a connection, traffic in either direction prevents it, and half a frame that
/// never goes on is ended sooner.
#[test]
fn silent_connections_are_named() {
    let mut world = World::new(16 * 1024, 16 * 1024);
    let silent = world.net.connect("10.0.0.1:5000", "10.0.0.2:10911");
    let talks = world.net.connect("10.0.0.3:5000", "10.0.0.2:10911");
    let halts = world.net.connect("10.0.0.4:5000", "10.0.0.2:10911");
    world.turn();
    world.net.feed(halts, &frame(1, 100_000)[..10_000]);
    let mut named = Vec::new();
    for _ in 0..200 {
        world.now_ms += 1000;
        if world.now_ms.is_multiple_of(60_000) {
            world.net.feed(talks, &frame(2, 1));
        }
        world.turn();
        if let Some(silent) = world.sessions.sweep(world.now_ms, 120_000, &world.outbox) {
            named.push((world.now_ms, silent));
        }
    }
    assert_eq!(named[0], (32_000, Silent::Abort(halts)));
    assert_eq!(named[1], (121_000, Silent::Close(silent)));
    assert!(
        named
            .iter()
            .all(|(_, name)| !matches!(name, Silent::Close(conn) | Silent::Abort(conn) if *conn == talks))
    );
}
