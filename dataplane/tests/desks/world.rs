//! A shard that can be stopped, killed and started again, with a peer's view of it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use dataplane::broker::persist_ops::PersistOp;
use dataplane::broker::topic_config::TopicConfig;
use dataplane::cold::mirror::Mirror;
use dataplane::cold::reads::Reads;
use dataplane::config::Config;
use dataplane::lane::LaneOut;
use dataplane::net::ConnId;
use dataplane::rng::Rng;
use dataplane::shard::Shard;
use dataplane::time::{Clock, SimClock};
use protocol::RemotingCommand;
use protocol::frame::{Codec, Found, find};
use store::ColdStore;
use store::sim_medium::SimMedium;

use crate::fake_net::FakeNet;
use crate::opened::{self, Opened};

/// One machine.
pub struct World {
    pub shard: Shard<FakeNet>,
    pub clock: SimClock,
    cold: ColdStore,
    reads: Reads,
    persisted: LaneOut<PersistOp>,
    /// What the files would hold.
    pub kept: Mirror,
    pub medium: SimMedium,
    config: Config,
    inboxes: HashMap<ConnId, Vec<u8>>,
    waiting: HashMap<ConnId, VecDeque<RemotingCommand>>,
    last_opaque: i32,
    runs: u32,
}

/// How a run ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Everything is handed over and written.
    Clean,
    /// kill -9: the tables are as they were kept last.
    Kill,
}

impl World {
    pub fn new() -> World {
        World::with(Config { broker_name: "broker-a".into(), ..Config::default() })
    }

    pub fn with(config: Config) -> World {
        let clock = SimClock::new(1_795_178_790_000);
        World::start(config, SimMedium::new(1), Mirror::default(), clock, 0)
    }

    fn start(config: Config, medium: SimMedium, kept: Mirror, mut clock: SimClock, runs: u32) -> World {
        let now_ms = clock.read().wall_ms;
        let (store, cold, _) = store::open(opened::small_store(), Arc::new(medium.clone())).unwrap();
        let address = "127.0.0.2:31011".parse().unwrap();
        let Opened { broker, reads, persisted } =
            opened::broker(config.clone(), address, &kept, (store, &cold), Rng::from_seed(7), now_ms);
        let mut world = World {
            shard: Shard::new(FakeNet::new(128 << 10, 256 << 10), broker),
            clock,
            cold,
            reads,
            persisted,
            kept,
            medium,
            config,
            inboxes: HashMap::new(),
            waiting: HashMap::new(),
            last_opaque: 100,
            runs,
        };
        world.turn();
        world
    }

    /// Ends this run and starts the next one on what is left.
    pub fn restart(mut self, stop: Stop) -> World {
        let now = self.clock.read();
        if stop == Stop::Clean {
            while !self.shard.broker.keep_everything(&now) {
                self.keep();
            }
            self.keep();
        }
        let World { shard, cold, kept, medium, config, clock, runs, reads, .. } = self;
        drop(reads);
        drop(shard);
        match stop {
            Stop::Clean => cold.close(now.wall_ms).unwrap(),
            Stop::Kill => {
                drop(cold);
                medium.restart();
            }
        }
        World::start(config, medium, kept, clock, runs + 1)
    }

    /// As with code 17, without the request.
    pub fn topic(&mut self, name: &str, queues: i32) {
        let now_ms = self.clock.read().wall_ms;
        let broker = &mut self.shard.broker;
        broker.topics.put(TopicConfig::new(name, queues, 6), now_ms, &mut broker.ops);
    }

    pub fn connect(&mut self) -> ConnId {
        let conn = self.shard.net.connect("127.0.0.1:50206", "127.0.0.2:10911");
        self.turn();
        conn
    }

    /// The peer vanishes.
    pub fn disconnect(&mut self, conn: ConnId) {
        self.shard.net.reset(conn);
        self.turn();
    }

    pub fn turn(&mut self) {
        self.turn_alone();
        self.cold_turn();
    }

    /// A turn of the cold side, while the shard does nothing.
    pub fn cold_turn(&mut self) {
        let now = self.clock.read();
        self.cold.step(now.wall_ms);
        self.read_turn();
        self.keep();
    }

    /// What the shard has asked is answered.
    pub fn read_turn(&mut self) {
        self.reads.step(64);
    }

    /// A turn of the shard, while the cold side does nothing.
    pub fn turn_alone(&mut self) {
        let now = self.clock.read();
        self.shard.turn(&now);
    }

    fn keep(&mut self) {
        while let Some(op) = self.persisted.pop() {
            self.kept.apply(op);
        }
    }

    /// How often the shard allocates while it serves these frames a few thousand times, when it is warm.
    pub fn allocations(&mut self, conn: ConnId, frames: &[Vec<u8>]) -> u64 {
        let mut allocated = 0;
        for (round, bytes) in (0..4_000).zip(frames.iter().cycle()) {
            self.clock.advance(Duration::from_millis(1));
            let now = self.clock.read();
            assert_eq!(self.shard.net.feed(conn, bytes), bytes.len());
            let before = dataplane::alloc::on_this_thread();
            self.shard.turn(&now);
            if round >= 1_500 {
                allocated += dataplane::alloc::on_this_thread() - before;
            }
            let mut buffer = [0; 4096];
            while self.shard.net.take(conn, &mut buffer) > 0 {}
            self.keep();
        }
        allocated
    }

    /// Lets virtual time pass, a turn each `step_ms`.
    pub fn pass(&mut self, ms: u64) {
        let step_ms = if ms > 20_000 { 50 } else { 5 };
        for _ in 0..ms.div_ceil(step_ms) {
            self.clock.advance(Duration::from_millis(step_ms));
            self.turn();
        }
    }

    /// Sends a command; returns its opaque.
    pub fn post(&mut self, conn: ConnId, mut command: RemotingCommand) -> i32 {
        command.opaque = self.next_opaque();
        self.post_as_is(conn, command);
        self.last_opaque
    }

    pub fn next_opaque(&mut self) -> i32 {
        self.last_opaque += 1;
        self.last_opaque
    }

    /// Sends a command with the opaque it has: an answer, mostly.
    pub fn post_as_is(&mut self, conn: ConnId, command: RemotingCommand) {
        self.post_in(Codec::Json, conn, &command);
    }

    /// The same in either form.
    pub fn post_in(&mut self, codec: Codec, conn: ConnId, command: &RemotingCommand) {
        let bytes = command.encode(codec);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let taken = self.shard.net.feed(conn, rest);
            rest = &rest[taken..];
            self.turn();
        }
    }

    /// Sends a command and returns its answer; what else comes meanwhile waits for `next`.
    pub fn call(&mut self, conn: ConnId, command: RemotingCommand) -> RemotingCommand {
        let opaque = self.post(conn, command);
        for _ in 0..1_000 {
            self.receive(conn);
            let queue = self.waiting.entry(conn).or_default();
            if let Some(at) = queue.iter().position(|c| c.is_response() && c.opaque == opaque) {
                return queue.remove(at).unwrap();
            }
            self.turn();
        }
        panic!("no answer came");
    }

    /// As `call`, for what must succeed.
    pub fn done(&mut self, conn: ConnId, command: RemotingCommand) -> RemotingCommand {
        let answer = self.call(conn, command);
        assert_eq!(answer.code, 0, "{answer:?}");
        answer
    }

    /// The next command that came to this peer.
    pub fn next(&mut self, conn: ConnId) -> Option<RemotingCommand> {
        self.receive(conn);
        self.waiting.entry(conn).or_default().pop_front()
    }

    /// How many commands of a code wait for this peer; they are taken.
    pub fn take(&mut self, conn: ConnId, code: i32) -> Vec<RemotingCommand> {
        self.receive(conn);
        let queue = self.waiting.entry(conn).or_default();
        let wanted = |command: &RemotingCommand| !command.is_response() && command.code == code;
        let taken = queue.iter().filter(|command| wanted(command)).cloned().collect();
        queue.retain(|command| !wanted(command));
        taken
    }

    fn receive(&mut self, conn: ConnId) {
        let inbox = self.inboxes.entry(conn).or_default();
        let mut buffer = [0; 16 * 1024];
        loop {
            let taken = self.shard.net.take(conn, &mut buffer);
            if taken == 0 {
                break;
            }
            inbox.extend_from_slice(&buffer[..taken]);
        }
        while let Found::Whole { frame, bytes_len } = find(inbox).unwrap() {
            let command = RemotingCommand::from_frame(&frame).unwrap();
            inbox.drain(..bytes_len);
            self.waiting.entry(conn).or_default().push_back(command);
        }
    }
}
