//! Answers from beside the shard are bounded by their bytes, over all connections and for each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use protocol::RemotingCommand;
use protocol::code::request;
use protocol::frame::Codec;
use store::StoreConfig;
use store::sim_medium::SimMedium;

use dataplane::broker::errands::{Answer, Errands, Make, Question, Waits};
use dataplane::cold::reads::Reads;
use dataplane::limits::{
    ANSWERS_AWAITED_BYTES_MAX, ANSWERS_UNTAKEN_BYTES_MAX, COLD_LANE_MAX, FRAME_BYTES_MAX,
};
use dataplane::net::ConnId;

use crate::world::World;

#[derive(Debug)]
struct Large(usize);

impl Make for Large {
    fn body(self: Box<Self>) -> Vec<u8> {
        vec![0; self.0]
    }
}

/// Somebody on a connection.
struct Asker(ConnId);

impl Waits for Asker {
    fn conn(&self) -> Option<ConnId> {
        Some(self.0)
    }
}

/// B-17. Goal: however many large answers are asked for, few are in memory at a time, and all come. Method: many askers of 1 MiB each; the cold
/// side does what it can, then the shard takes one, in turn.
#[test]
fn answers_that_nobody_has_taken_are_bounded_by_bytes() {
    const BYTES: usize = 1 << 20;
    let medium = SimMedium::new(1);
    let (_store, cold, _) = store::open(StoreConfig::new("/store"), Arc::new(medium)).unwrap();
    let (mut errands, ends) = Errands::<Asker>::new();
    let mut reads = Reads::new(ends, cold.new_reader());
    for slot in 0..500 {
        errands.ask(Question::Make(Box::new(Large(BYTES))), Asker(ConnId { slot, generation: 1 }));
    }
    let mut taken = 0;
    loop {
        while reads.step(64) > 0 {}
        assert!(errands.untaken_bytes() <= ANSWERS_UNTAKEN_BYTES_MAX, "{}", errands.untaken_bytes());
        let Some((_, answer)) = errands.take_next() else { break };
        assert!(matches!(answer, Answer::Bytes(Some(bytes)) if bytes.len() == BYTES));
        taken += 1;
    }
    assert_eq!((taken, errands.untaken_bytes(), errands.len()), (500, 0, 0));
}

/// Goal: an answer that found its lane full is not forgotten until the next question comes. Method: one small question more than the lane has
/// places; the cold side does what it can, and sleeps.
#[test]
fn an_answer_that_waits_for_a_place_is_woken_by_it() {
    let (_store, cold, _) = store::open(StoreConfig::new("/store"), Arc::new(SimMedium::new(1))).unwrap();
    let (mut errands, ends) = Errands::<Asker>::new();
    let woken = Arc::new(AtomicU32::new(0));
    let wakes = Arc::clone(&woken);
    ends.requests.woken_by(move || {
        wakes.fetch_add(1, Ordering::Relaxed);
    });
    let mut reads = Reads::new(ends, cold.new_reader());
    for _ in 0..=COLD_LANE_MAX {
        errands.ask(Question::Make(Box::new(Large(1))), Asker(ConnId { slot: 0, generation: 1 }));
        errands.wake();
        reads.step(64);
    }
    assert_eq!(errands.len(), COLD_LANE_MAX + 1);
    woken.store(0, Ordering::Relaxed);
    assert!(errands.take_next().is_some());
    errands.wake();
    assert_eq!(woken.load(Ordering::Relaxed), 1);
    assert_eq!(reads.step(64), 1);
    assert_eq!(std::iter::from_fn(|| errands.take_next()).count(), COLD_LANE_MAX);
}

/// B-17. Goal: who asks for one large answer after the other, in one breath, has some of them made at a time, and all in the end; others do not
/// wait. Method: ask for whole tables while the cold side does nothing.
#[test]
fn one_connection_awaits_so_many_bytes() {
    let mut world = World::new();
    let (greedy, other) = (world.connect(), world.connect());
    let ask = |opaque| {
        let asked = RemotingCommand::request(request::GET_ALL_TOPIC_CONFIG);
        RemotingCommand { opaque, ..asked }.encode(Codec::Json)
    };
    let bytes: Vec<u8> = (0..40).flat_map(ask).collect();
    assert_eq!(world.shard.net.feed(greedy, &bytes), bytes.len());
    for _ in 0..100 {
        world.turn_alone();
    }
    assert_eq!(world.shard.broker.errands.len(), ANSWERS_AWAITED_BYTES_MAX.div_ceil(FRAME_BYTES_MAX));
    world.done(other, RemotingCommand::request(request::GET_ALL_TOPIC_CONFIG));
    for _ in 0..200 {
        world.turn();
    }
    let answered: Vec<_> = std::iter::from_fn(|| world.next(greedy)).map(|answer| answer.opaque).collect();
    assert_eq!(answered, (0..40).collect::<Vec<_>>());
}
