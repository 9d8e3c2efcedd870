//! The hot walks allocate nothing once they are warm: counted, not hoped.

use dataplane::alloc;
use dataplane::net::ConnId;
use dataplane::time::Clock;
use protocol::RemotingCommand;
use protocol::frame::Codec;

use crate::requests::{pull, send, set};
use crate::world::World;

const BODY_BYTES: usize = 1024;

/// A world whose turns are counted, and nothing else.
struct Counted {
    world: World,
    allocations: u64,
    buffer: Vec<u8>,
}

impl Counted {
    fn new() -> Counted {
        let mut world = World::new();
        world.topic("T", 4);
        Counted { world, allocations: 0, buffer: vec![0; 1 << 20] }
    }

    /// Feeds requests, turns until nothing is left to do, and throws the answers away; returns how many bytes of answers came.
    fn round(&mut self, frames: &[(ConnId, &[u8])]) -> usize {
        for (conn, frame) in frames {
            assert_eq!(self.world.shard.net.feed(*conn, frame), frame.len());
        }
        self.world.clock.advance(std::time::Duration::from_micros(300));
        let now = self.world.clock.read();
        loop {
            let before = alloc::on_this_thread();
            let work = self.world.shard.turn(&now);
            self.allocations += alloc::on_this_thread() - before;
            if work == 0 {
                break;
            }
        }
        self.world.cold.step(now.wall_ms);
        self.world.reads.step(64);
        while self.world.persisted.pop().is_some() {}
        frames.iter().map(|(conn, _)| self.world.shard.net.take(*conn, &mut self.buffer)).sum()
    }

    /// Allocations per round after a warm-up.
    fn measure(&mut self, warm_up: u32, rounds: u32, mut round: impl FnMut(&mut Counted)) -> f64 {
        for _ in 0..warm_up {
            round(self);
        }
        self.allocations = 0;
        for _ in 0..rounds {
            round(self);
        }
        self.allocations as f64 / f64::from(rounds)
    }
}

fn frames(commands: impl IntoIterator<Item = RemotingCommand>, codec: Codec) -> Vec<u8> {
    commands.into_iter().flat_map(|command| command.encode(codec)).collect()
}

/// Goal: 0 allocations per SEND. Method: both codecs, bursts of 16, over several commitlog files and hot segments.
#[test]
fn sends_allocate_nothing() {
    let mut counted = Counted::new();
    let conn = counted.world.connect();
    let list = "KEYS\u{1}order-7\u{2}UNIQ_KEY\u{1}7F0000010000000000000000000000AA\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}";
    for codec in [Codec::Json, Codec::Binary] {
        let burst = frames((0..16).map(|at| send("T", at % 4, list, &[7; BODY_BYTES])), codec);
        let each = counted.measure(3_000, 3_000, |counted| {
            assert!(counted.round(&[(conn, &burst)]) > 16 * 100);
        });
        assert_eq!(each, 0.0, "{codec:?}");
    }
}

/// Goal: 0 allocations per SEND that the broker has to work on: a UNIQ_KEY to make, marks to replace, a delay level.
#[test]
fn rare_kinds_of_sends_allocate_nothing() {
    let mut counted = Counted::new();
    let conn = counted.world.connect();
    for list in ["", "CLUSTER\u{1}x\u{2}POP_CK\u{1}y\u{2}", "DELAY\u{1}18\u{2}REAL_TOPIC\u{1}z\u{2}"] {
        let burst = frames((0..4).map(|at| send("T", at, list, &[7; BODY_BYTES])), Codec::Json);
        let each = counted.measure(3_000, 1_000, |counted| {
            assert!(counted.round(&[(conn, &burst)]) > 4 * 100);
        });
        assert_eq!(each, 0.0, "{list:?}");
    }
}

/// Goal: 0 allocations per PULL, found or not. Method: a filled queue, an empty one, both codecs.
#[test]
fn pulls_allocate_nothing() {
    let mut counted = Counted::new();
    let conn = counted.world.connect();
    let fill = frames((0..64).map(|_| send("T", 0, "TAGS\u{1}TagA\u{2}", &[7; BODY_BYTES])), Codec::Json);
    counted.round(&[(conn, &fill)]);
    for codec in [Codec::Json, Codec::Binary] {
        for (command, bytes_min) in [
            (pull("T", 0, 0), 32 * BODY_BYTES),
            (set(pull("T", 0, 10), "subscription", "TagA || TagB"), 32 * BODY_BYTES),
            (pull("T", 1, 0), 100),
            (set(pull("T", 0, 0), "subscription", "TagC"), 100),
        ] {
            let frame = frames([command], codec);
            let each = counted.measure(1_000, 1_000, |counted| {
                assert!(counted.round(&[(conn, &frame)]) > bytes_min);
            });
            assert_eq!(each, 0.0, "{codec:?}");
        }
    }
}

/// Goal: 0 allocations per message that is pushed through a long poll: park, append, wake, answer.
#[test]
fn long_polls_allocate_nothing() {
    let mut counted = Counted::new();
    let (producer, consumer) = (counted.world.connect(), counted.world.connect());
    let message = frames([send("T", 2, "TAGS\u{1}TagA\u{2}", &[7; BODY_BYTES])], Codec::Binary);
    let mut offset = 0;
    let each = counted.measure(3_000, 3_000, |counted| {
        let held = set(set(pull("T", 2, offset), "sysFlag", 6), "suspendTimeoutMillis", 15_000);
        let held = frames([held], Codec::Binary);
        assert_eq!(counted.round(&[(consumer, &held)]), 0);
        offset += 1;
        counted.round(&[(producer, &message)]);
        let taken = counted.world.shard.net.take(consumer, &mut counted.buffer);
        assert!(taken > BODY_BYTES, "{taken}");
    });
    assert_eq!(each, 0.0);
}
