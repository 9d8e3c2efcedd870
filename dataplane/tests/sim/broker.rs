//! Producers and a consumer against a broker that dies now and then, and an oracle that knows every acknowledgement.
//!
//! ```text
//!   producers ─▶ numbered messages, several in flight ─▶ broker ─▶ consumer: long polls, queue by queue
//!        └─ acknowledged: (queue, offset) is this message          └─ seen: (queue, offset) holds this message
//! ```
//!
//! The oracle's rules, checked on what the consumer sees live and on a second reading from the first offset at the end:
//! - every acknowledged message is where its acknowledgement says (nothing acknowledged is lost);
//! - every message in the log was sent, and is there once (no phantom, no duplicate);
//! - queue offsets have no hole;
//! - in each queue one producer's messages are in the order it sent them;
//! - what was seen once stays as it was seen.

use crate::appliance::{self, Death, PORT, QUEUES, TOPIC};
use crate::calls::Calls;
use crate::link::Faults;
use crate::requests::{self, set};
use crate::world::{APPLIANCE, World};
use dataplane::rng::Rng;
use protocol::RemotingCommand;
use protocol::code::response;
use protocol::frame::Codec;
use protocol::record::RecordView;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use store::sim_medium::SimMedium;

/// A message's place.
type Place = (i32, i64);
/// A producer and a number of its own.
type Message = (u8, u32);

#[derive(Default)]
struct Oracle {
    sent: BTreeMap<Message, Vec<u8>>,
    acknowledged: BTreeMap<Place, Message>,
    seen: BTreeMap<Place, Message>,
    /// Numbers of the last message seen of each producer in each queue.
    last: BTreeMap<(i32, u8), u32>,
    once: BTreeSet<Message>,
}

impl Oracle {
    fn acknowledge(&mut self, place: Place, message: Message) {
        let before = self.acknowledged.insert(place, message);
        assert!(before.is_none(), "{place:?} was given to {before:?} and to {message:?}");
    }

    /// One more message at the consumer, in the order of its queue.
    fn see(&mut self, place: Place, body: &[u8]) {
        let message = message_of(body);
        assert!(
            self.sent.get(&message).is_some_and(|sent| sent == body),
            "{place:?}: nobody sent {message:?} so"
        );
        assert!(self.once.insert(message), "{message:?} is in the log twice, the second time at {place:?}");
        let last = self.last.insert((place.0, message.0), message.1);
        assert!(
            last.is_none_or(|last| last < message.1),
            "{place:?}: {message:?} comes after number {last:?}"
        );
        self.seen.insert(place, message);
    }

    fn judge(&self, read_again: &BTreeMap<Place, Message>) {
        for (place, message) in &self.acknowledged {
            assert_eq!(self.seen.get(place), Some(message), "{place:?} was acknowledged");
        }
        assert_eq!(&self.seen, read_again, "a second reading differs");
    }
}

/// The body says whose it is; the rest is filler that any mistake would show in.
fn body_of(message: Message, rng: &mut Rng) -> Vec<u8> {
    let most = if rng.chance(0.05) { 60_000 } else { 2_000 };
    let mut body = vec![0; 5 + rng.below(most) as usize];
    rng.fill(&mut body);
    body[0] = message.0;
    body[1..5].copy_from_slice(&message.1.to_be_bytes());
    body
}

fn message_of(body: &[u8]) -> Message {
    let [producer, a, b, c, d] = *body.first_chunk().expect("a body is longer");
    (producer, u32::from_be_bytes([a, b, c, d]))
}

fn send(queue: i32, body: &[u8]) -> RemotingCommand {
    set(set(requests::send(TOPIC, queue, "", body), "a", "PG_sim"), "d", QUEUES)
}

fn pull(queue: i32, offset: i64, may_wait: bool) -> RemotingCommand {
    let (suspend, subscription) = (2, 4);
    let flags = if may_wait { suspend | subscription } else { subscription };
    set(set(requests::pull(TOPIC, queue, offset), "consumerGroup", "CG_sim"), "sysFlag", flags)
}

struct Producer {
    client: usize,
    name: u8,
    calls: Option<Calls<(Message, i32)>>,
    next: u32,
    left: u32,
}

impl Producer {
    fn turn(&mut self, world: &mut World, oracle: &mut Oracle, rng: &mut Rng) {
        let client = &mut world.clients[self.client];
        let calls = self.calls.get_or_insert_with(|| {
            Calls::connect(client, SocketAddrV4::new(APPLIANCE, PORT), codec(self.name))
        });
        while self.left > 0 && calls.waiting_len() < IN_FLIGHT_MAX && rng.chance(0.4) {
            let message = (self.name, self.next);
            (self.next, self.left) = (self.next + 1, self.left - 1);
            let body = body_of(message, rng);
            let queue = rng.below(QUEUES as u64) as i32;
            calls.call(send(queue, &body), (message, queue));
            oracle.sent.insert(message, body);
        }
        calls.turn(client, |answer, (message, queue)| {
            assert_eq!(answer.code, response::SUCCESS, "{message:?}: {:?}", answer.remark);
            assert_eq!(answer.ext("queueId"), Some(queue.to_string().as_str()));
            let offset = answer.ext("queueOffset").expect("an answer says where").parse().unwrap();
            oracle.acknowledge((queue, offset), message);
        });
        if calls.is_dead(client) {
            assert!(world.deaths > 0, "a producer's connection died without cause");
            // Nobody knows what became of the calls under way: the messages may be there or not.
            let _unknown = self.calls.take().expect("it was there").bury(client).count();
        }
    }

    fn is_done(&self) -> bool {
        self.left == 0 && self.calls.as_ref().is_none_or(|calls| calls.waiting_len() == 0)
    }
}

/// Reads every queue from its first offset on.
struct Consumer {
    client: usize,
    calls: Option<Calls<i32>>,
    next: Vec<i64>,
    /// What the broker says the queues end at.
    max: Vec<i64>,
    is_asking: Vec<bool>,
    may_wait: bool,
    /// Where it ends when nobody writes any more.
    found_end: Vec<bool>,
}

impl Consumer {
    fn new(client: usize, may_wait: bool) -> Self {
        let queues = QUEUES as usize;
        Self {
            client,
            calls: None,
            next: vec![0; queues],
            max: vec![0; queues],
            is_asking: vec![false; queues],
            may_wait,
            found_end: vec![false; queues],
        }
    }

    fn turn(&mut self, world: &mut World, mut see: impl FnMut(Place, &[u8])) {
        let client = &mut world.clients[self.client];
        let mut calls = self
            .calls
            .take()
            .unwrap_or_else(|| Calls::connect(client, SocketAddrV4::new(APPLIANCE, PORT), codec(1)));
        for queue in 0..self.next.len() {
            if !self.is_asking[queue] && !self.found_end[queue] {
                calls.call(pull(queue as i32, self.next[queue], self.may_wait), queue as i32);
                self.is_asking[queue] = true;
            }
        }
        calls.turn(client, |answer, queue| self.take(&answer, queue, &mut see));
        if calls.is_dead(client) {
            assert!(world.deaths > 0, "a consumer's connection died without cause");
            let _unanswered = calls.bury(client).count();
            self.is_asking.fill(false);
        } else {
            self.calls = Some(calls);
        }
    }

    fn take(&mut self, answer: &RemotingCommand, queue: i32, see: &mut impl FnMut(Place, &[u8])) {
        let index = queue as usize;
        self.is_asking[index] = false;
        let number =
            |name: &str| answer.ext(name).and_then(|text| text.parse::<i64>().ok()).expect("pull headers");
        assert_eq!(number("minOffset"), 0);
        self.max[index] = number("maxOffset");
        match answer.code {
            response::SUCCESS => {
                let mut rest = &answer.body[..];
                while !rest.is_empty() {
                    let record = RecordView::parse(rest).expect("a whole record");
                    assert!(record.crc_holds());
                    assert_eq!((record.queue_id, record.queue_offset), (queue, self.next[index]), "a hole");
                    see((queue, record.queue_offset), record.body);
                    self.next[index] += 1;
                    rest = &rest[record.size() as usize..];
                }
                assert_eq!(number("nextBeginOffset"), self.next[index]);
            }
            response::PULL_NOT_FOUND | response::PULL_RETRY_IMMEDIATELY => {
                assert_eq!(number("nextBeginOffset"), self.next[index]);
                self.found_end[index] = !self.may_wait;
            }
            // After a crash a consumer may be ahead of a log that lost what nobody was promised; never here, where
            // consumers see nothing that is not kept.
            code => panic!("queue {queue} at {}: code {code}, {:?}", self.next[index], answer.remark),
        }
    }
}

/// Even producers speak JSON, odd ones binary.
fn codec(name: u8) -> Codec {
    if name.is_multiple_of(2) { Codec::Json } else { Codec::Binary }
}

/// T-16. Goal: what is acknowledged is kept, in order, once, through kill -9 under ASYNC_FLUSH and power cuts under
/// SYNC_FLUSH. Method: two producers, one consumer, a bad network; the machine dies between two turns or within any
/// call to its medium; the oracle's rules above.
pub fn run(seed: u64) -> String {
    let death = if seed.is_multiple_of(3) { Death::PowerCut } else { Death::Kill };
    let deaths_max = [0, 2, 4][(seed % 4).min(2) as usize];
    let medium = SimMedium::new(seed);
    let mut world = World::new(seed, 3, Faults::random, appliance::boot(medium.clone(), death));
    let mut rng = world.rng.fork();
    let mut oracle = Oracle::default();
    let producer = |name| Producer { client: name as usize, name, calls: None, next: 0, left: MESSAGES_EACH };
    let mut producers = [producer(0), producer(1)];
    let mut consumer = Consumer::new(2, true);
    let mut read_again = BTreeMap::new();
    let mut last_reader = Consumer::new(2, false);

    loop {
        for producer in &mut producers {
            producer.turn(&mut world, &mut oracle, &mut rng);
        }
        let all_sent = producers.iter().all(Producer::is_done);
        let has_seen_all = all_sent
            && oracle.acknowledged.keys().all(|place| oracle.seen.contains_key(place))
            && consumer.next == consumer.max;
        if has_seen_all {
            last_reader.turn(&mut world, |place, body| {
                // What nobody was told of may come to light after the consumer's last look, behind all that it saw.
                if place.1 >= consumer.next[place.0 as usize] && !oracle.seen.contains_key(&place) {
                    oracle.see(place, body);
                }
                read_again.insert(place, message_of(body));
            });
            if last_reader.found_end.iter().all(|found| *found) {
                break;
            }
        } else {
            consumer.turn(&mut world, |place, body| oracle.see(place, body));
        }
        if !all_sent && world.deaths < deaths_max && rng.chance(0.002) {
            if rng.chance(0.5) {
                medium.kill_after(1 + rng.below(40));
            } else {
                world.kill();
            }
        }
        if !world.is_up() && rng.chance(0.01) {
            world.start();
        }
        world.step();
        let now_ms = world.now().mono_ms();
        assert!(
            now_ms < WORLD_MS_MAX,
            "the world does not end: {} acknowledged, {} seen",
            oracle.acknowledged.len(),
            oracle.seen.len()
        );
    }
    oracle.judge(&read_again);
    let world_ms = world.now().mono_ms();
    format!(
        "{} acknowledged, {} seen, {} sent, {} deaths ({death:?}), {:?}, {world_ms} ms of the world's time",
        oracle.acknowledged.len(),
        oracle.seen.len(),
        oracle.sent.len(),
        world.deaths,
        world.link.counters
    )
}

const MESSAGES_EACH: u32 = 400;
const IN_FLIGHT_MAX: usize = 32;
const WORLD_MS_MAX: u64 = 600_000;
