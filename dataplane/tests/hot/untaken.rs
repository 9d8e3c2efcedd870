//! What peers ask for and do not take, over all connections.

use dataplane::broker::ReplyTo;
use dataplane::limits::{ANSWERS_AWAITED_BYTES_MAX, ANSWERS_HELD_BYTES_MAX};
use dataplane::net::{ConnId, Net, NetEvent};
use dataplane::outbox::{Body, Outbox};
use protocol::frame::{Codec, Found, find};
use store::{LogRange, PhysicalOffset};

use crate::fake_net::FakeNet;

/// An outbox over a fake net; peers take what they are asked to.
struct World {
    net: FakeNet,
    outbox: Outbox,
}

impl World {
    fn new() -> World {
        World { net: FakeNet::new(16, 4096), outbox: Outbox::new() }
    }

    fn connect(&mut self) -> ConnId {
        let conn = self.net.connect("127.0.0.1:50206", "127.0.0.2:10911");
        self.turn();
        conn
    }

    fn turn(&mut self) {
        while let Some(event) = self.net.next_event() {
            match event {
                NetEvent::Opened { conn, .. } => self.outbox.opened(conn),
                NetEvent::Writable(conn) => self.outbox.writable(conn),
                NetEvent::Closed(conn) => self.outbox.closed(conn),
                NetEvent::Readable(_) | NetEvent::PeerFinished(_) => {}
            }
        }
        self.outbox.drain(self.net.split().1, |_| None);
    }

    fn answer(&mut self, conn: ConnId, body: Body<'_>) {
        let to = ReplyTo { conn, opaque: 1, codec: Codec::Binary, oneway: false };
        self.outbox.reply(to, 0, |w| w, body);
    }

    fn take(&mut self, conn: ConnId, out: &mut [u8]) -> usize {
        self.turn();
        self.net.take(conn, out)
    }
}

/// B-17. Goal: what many peers ask for and do not read is bounded over all of them; whoever holds most is ended for it, nobody who holds
/// little, and all is given back. Method: a hundred with 1 to 16 MiB each, in answers made beside the shard; one with little, which reads it in the end.
#[test]
fn untaken_answers_are_bounded_over_all_connections() {
    const LEN: usize = 200_000;
    let mut world = World::new();
    let modest = world.connect();
    world.answer(modest, Body::Owned(vec![7; LEN]));
    let greedy: Vec<ConnId> = (0..100).map(|_| world.connect()).collect();
    let len_of = |nth: usize| ((nth % 16) + 1) << 20;
    for (nth, conn) in greedy.iter().enumerate() {
        // Zeros that nobody touches take no memory here.
        world.answer(*conn, Body::Owned(vec![0; len_of(nth) - 100_000]));
        world.turn();
        assert!(world.outbox.held_bytes() <= ANSWERS_HELD_BYTES_MAX, "{}", world.outbox.held_bytes());
    }
    let ended: Vec<usize> = (0..100).filter(|nth| !world.net.is_open(greedy[*nth])).map(len_of).collect();
    assert_eq!(world.outbox.counters.untaken_ends, ended.len() as u64);
    assert!(!ended.is_empty() && ended.len() < 70, "{} of 100", ended.len());
    assert!(ended.iter().all(|len| *len > 8 << 20), "those that hold most go: {ended:?}");

    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    while !matches!(find(&answer), Ok(Found::Whole { .. })) {
        let taken = world.take(modest, &mut part);
        answer.extend_from_slice(&part[..taken]);
    }
    assert!(answer.len() > LEN && answer.ends_with(&[7; 1000]));
    greedy.iter().for_each(|conn| world.net.reset(*conn));
    world.turn();
    assert_eq!(world.outbox.held_bytes(), 0);
}

/// B-17. Goal: what is held counts as long as it is in memory, however much of it was read, and whatever kind it is. Method: an answer read up to
/// its last bytes, one copied into the chunk, one brought in place of a range of the log, and the ends of each.
#[test]
fn what_is_held_is_counted_until_it_is_gone() {
    const LEN: usize = 300_000;
    let mut world = World::new();
    let mut part = vec![0; 4096];
    let owned = world.connect();
    world.answer(owned, Body::Owned(vec![1; LEN]));
    let mut taken = 0;
    while taken < LEN - 8_000 {
        taken += world.take(owned, &mut part);
    }
    assert_eq!(world.outbox.held_bytes(), LEN);
    while taken < LEN + 8 {
        taken += world.take(owned, &mut part);
        world.turn();
    }
    assert_eq!(world.outbox.held_bytes(), 0);

    let copied = world.connect();
    world.answer(copied, Body::Bytes(&vec![1; LEN]));
    assert!(world.outbox.held_bytes() >= LEN);
    world.net.reset(copied);
    world.turn();
    assert_eq!(world.outbox.held_bytes(), 0);
    world.answer(owned, Body::Bytes(&[1; 1_000]));
    assert_eq!(world.outbox.held_bytes(), 0, "a short chunk is everybody's");

    let logged = world.connect();
    let range = LogRange { physical: PhysicalOffset(0), len: LEN as u32 };
    world.answer(logged, Body::Log(&[range]));
    world.turn();
    assert_eq!(world.outbox.held_bytes(), 0, "the log holds it");
    assert_eq!(world.outbox.take_missing().map(|(conn, _)| conn), Some(logged));
    world.outbox.fetched(logged, Some(vec![1; LEN]), world.net.split().1);
    assert_eq!(world.outbox.held_bytes(), LEN);
    world.net.reset(logged);
    world.turn();
    assert_eq!(world.outbox.held_bytes(), 0);
}

/// B-17. Goal: the more is held, the less one connection may have made for it at a time, and always something. Method: more and more answers that
/// nobody reads.
#[test]
fn the_more_is_held_the_less_may_come_for_one() {
    let mut world = World::new();
    let mut last = world.outbox.awaited_bytes_max();
    assert_eq!(last, ANSWERS_AWAITED_BYTES_MAX);
    let conn = world.connect();
    for _ in 0..40 {
        world.answer(conn, Body::Owned(vec![0; 15 << 20]));
        let now = world.outbox.awaited_bytes_max();
        assert!((1..=last).contains(&now), "{now} after {last}");
        last = now;
    }
    assert_eq!(last, 1);
}
