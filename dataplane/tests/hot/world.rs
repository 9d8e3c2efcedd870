//! A whole shard over a network in memory and a simulated disk, with a peer's view of it.

use std::collections::HashMap;
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
use store::sim_medium::SimMedium;
use store::{ColdStore, FlushMode, Medium, StoreConfig};

use crate::fake_net::FakeNet;
use crate::opened::{self, Opened};

pub struct World {
    pub shard: Shard<FakeNet>,
    pub cold: ColdStore,
    pub reads: Reads,
    pub persisted: LaneOut<PersistOp>,
    pub clock: SimClock,
    /// Whether the cold side moves with every turn.
    pub cold_runs: bool,
    /// Bytes taken from each connection that are no whole frame yet, and whole ones not asked for.
    inboxes: HashMap<ConnId, Vec<u8>>,
    opaque: i32,
}

/// What differs from test to test.
pub struct Settings {
    pub config: Config,
    pub store: StoreConfig,
    pub medium: Arc<dyn Medium>,
    pub rx_ring_bytes: usize,
    pub tx_ring_bytes: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        let config = Config {
            broker_name: "broker-a".into(),
            broker_ip1: Some("127.0.0.2".parse().unwrap()),
            ..Config::default()
        };
        Settings {
            config,
            store: opened::small_store(),
            medium: Arc::new(SimMedium::new(1)),
            rx_ring_bytes: 128 << 10,
            tx_ring_bytes: 256 << 10,
        }
    }
}

impl World {
    pub fn new() -> World {
        World::with(Settings::default())
    }

    pub fn with(mut settings: Settings) -> World {
        let mut clock = SimClock::new(1_795_178_790_000);
        let now_ms = clock.read().wall_ms;
        let config = settings.config;
        if config.flush_disk_type == dataplane::config::FlushDiskType::SyncFlush {
            settings.store.flush = FlushMode::Sync;
        }
        let (store, cold, _recovery) = store::open(settings.store, settings.medium).unwrap();
        let address = "127.0.0.2:10911".parse().unwrap();
        let kept = Mirror::default();
        let Opened { broker, reads, persisted } =
            opened::broker(config, address, &kept, (store, &cold), Rng::from_seed(7), now_ms);
        let net = FakeNet::new(settings.rx_ring_bytes, settings.tx_ring_bytes);
        World {
            shard: Shard::new(net, broker),
            cold,
            reads,
            persisted,
            clock,
            cold_runs: true,
            inboxes: HashMap::new(),
            opaque: 100,
        }
    }

    /// As with code 17, without the request.
    pub fn topic(&mut self, name: &str, queues: i32) {
        let now_ms = self.clock.read().wall_ms;
        let broker = &mut self.shard.broker;
        broker.topics.put(TopicConfig::new(name, queues, 6), now_ms, &mut broker.ops);
    }

    pub fn connect(&mut self) -> ConnId {
        self.connect_to(10911)
    }

    pub fn connect_to(&mut self, port: u16) -> ConnId {
        let conn = self.shard.net.connect("127.0.0.1:50206", &format!("127.0.0.2:{port}"));
        self.turn();
        conn
    }

    pub fn turn(&mut self) -> u32 {
        let now = self.clock.read();
        let work = self.shard.turn(&now);
        if self.cold_runs {
            self.cold.step(now.wall_ms);
            self.reads.step(64);
        }
        while self.persisted.pop().is_some() {}
        work
    }

    /// Lets time pass in steps, turning all the while.
    pub fn pass(&mut self, ms: u64) {
        for _ in 0..ms {
            self.clock.advance(Duration::from_millis(1));
            self.turn();
        }
    }

    /// Sends a command as it is, and returns its opaque.
    pub fn post(&mut self, conn: ConnId, mut command: RemotingCommand, codec: Codec) -> i32 {
        self.opaque += 1;
        command.opaque = self.opaque;
        let bytes = command.encode(codec);
        self.feed(conn, &bytes);
        self.opaque
    }

    /// Feeds bytes as the ring takes them.
    pub fn feed(&mut self, conn: ConnId, mut bytes: &[u8]) {
        for _ in 0..100_000 {
            let taken = self.shard.net.feed(conn, bytes);
            bytes = &bytes[taken..];
            if bytes.is_empty() {
                return;
            }
            self.pass(1);
            self.receive(conn);
        }
        panic!("{} bytes are never read", bytes.len());
    }

    /// The next command that came to this peer, if one came.
    pub fn next(&mut self, conn: ConnId) -> Option<RemotingCommand> {
        self.receive(conn);
        let inbox = self.inboxes.get_mut(&conn)?;
        let Found::Whole { frame, bytes_len } = find(inbox).unwrap() else { return None };
        let command = RemotingCommand::from_frame(&frame).unwrap();
        inbox.drain(..bytes_len);
        Some(command)
    }

    /// Sends a command and waits for its answer, within a few turns.
    pub fn call(&mut self, conn: ConnId, command: RemotingCommand) -> RemotingCommand {
        self.call_as(conn, command, Codec::Json)
    }

    pub fn call_as(&mut self, conn: ConnId, command: RemotingCommand, codec: Codec) -> RemotingCommand {
        let opaque = self.post(conn, command, codec);
        for _ in 0..1000 {
            self.turn();
            if let Some(answer) = self.next(conn) {
                assert!(answer.is_response(), "{answer:?}");
                assert_eq!(answer.opaque, opaque);
                return answer;
            }
        }
        panic!("no answer came");
    }

    fn receive(&mut self, conn: ConnId) {
        let inbox = self.inboxes.entry(conn).or_default();
        let mut buffer = [0; 16 * 1024];
        loop {
            let taken = self.shard.net.take(conn, &mut buffer);
            inbox.extend_from_slice(&buffer[..taken]);
            if taken == 0 {
                return;
            }
        }
    }
}
