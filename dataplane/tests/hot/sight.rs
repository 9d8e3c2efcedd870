//! Looking into a shard: what is seen is true, and looking costs the shard next to nothing.

use dataplane::alloc;
use dataplane::sight::conns::{ConnPage, ConnRow, SLOTS_PER_PAGE};
use dataplane::sight::{Look, Numbered, Sight, SightEnds};
use dataplane::time::Clock;
use protocol::RemotingCommand;
use protocol::code::request;
use protocol::frame::Codec;

use crate::requests::{pull, send};
use crate::world::{Settings, World};

/// Who looks.
struct Watcher {
    ends: SightEnds,
    number: u64,
}

impl Watcher {
    fn of(world: &mut World) -> Watcher {
        let (sight, ends) = Sight::new();
        world.shard.sight = Some(sight);
        Watcher { ends, number: 0 }
    }

    /// One look, answered within a turn that has nothing else to do.
    fn look(&mut self, world: &mut World, look: Look) -> Look {
        self.number += 1;
        assert!(self.ends.ask.push(Numbered { number: self.number, look }).is_ok());
        world.turn();
        let answer = self.ends.answers.pop().expect("an idle shard answers in its next turn");
        assert_eq!(answer.number, self.number);
        answer.look
    }

    fn page(&mut self, world: &mut World, slot: usize) -> ConnPage {
        let Look::Conns(page) = self.look(world, Look::Conns(ConnPage::from(slot))) else {
            panic!("another look")
        };
        page
    }
}

/// With small rings, for many connections.
fn world() -> World {
    World::with(Settings { rx_ring_bytes: 16 << 10, tx_ring_bytes: 16 << 10, ..Settings::default() })
}

fn all(watcher: &mut Watcher, world: &mut World) -> (Vec<ConnRow>, usize) {
    let (mut rows, mut pages, mut next) = (Vec::new(), 0, Some(0));
    while let Some(slot) = next {
        let page = watcher.page(world, slot);
        assert!(page.rows.len() <= SLOTS_PER_PAGE);
        rows.extend(page.rows);
        (pages, next) = (pages + 1, page.slot);
    }
    (rows, pages)
}

/// Goal: every connection is shown once, with its client, its groups and its waiting bytes; in bounded pieces.
#[test]
fn every_connection_is_shown() {
    let mut world = world();
    let mut watcher = Watcher::of(&mut world);
    assert_eq!(all(&mut watcher, &mut world).0.len(), 0);
    let conns: Vec<_> = (0..SLOTS_PER_PAGE + 44).map(|_| world.connect()).collect();
    let beat = r#"{"clientID":"10.0.0.9@77","producerDataSet":[{"groupName":"P1"}],"consumerDataSet":[
        {"groupName":"C1","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING",
         "consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","subscriptionDataSet":[],"unitMode":false}]}"#;
    let named = conns[280];
    let beat = RemotingCommand::request(request::HEART_BEAT).body(beat.as_bytes().to_vec());
    world.post(named, beat, Codec::Json);
    world.turn();
    world.feed(conns[3], &[0, 0, 0]); // The beginning of a frame.
    world.turn();
    let (rows, pages) = all(&mut watcher, &mut world);
    assert_eq!((rows.len(), pages), (conns.len(), 2));
    for (row, conn) in rows.iter().zip(&conns) {
        assert_eq!((row.conn, row.info.peer.port(), row.info.tcp.state), (*conn, 50206, "established"));
        assert_eq!(row.unread_bytes, if *conn == conns[3] { 3 } else { 0 });
        let is_named = *conn == named;
        assert_eq!(row.client.as_deref(), is_named.then_some("10.0.0.9@77"));
        let groups: Vec<&str> = row.groups.iter().flatten().map(|group| &**group).collect();
        assert_eq!((groups, row.groups_len), if is_named { (vec!["C1", "P1"], 2) } else { (vec![], 0) });
    }
}

/// Goal: a shard that is looked at allocates nothing, since the memory comes with the look.
#[test]
fn looking_allocates_nothing_in_the_shard() {
    let mut world = world();
    let watcher = Watcher::of(&mut world);
    for _ in 0..SLOTS_PER_PAGE {
        world.connect();
    }
    world.turn();
    for look in [Look::Conns(ConnPage::from(0)), Look::Stats(Box::default())] {
        assert!(watcher.ends.ask.push(Numbered { number: 1, look }).is_ok());
        let now = world.clock.read();
        let before = alloc::on_this_thread();
        world.shard.turn(&now);
        assert_eq!(alloc::on_this_thread() - before, 0);
        assert!(watcher.ends.answers.pop().is_some());
    }
}

/// Goal: what is counted and timed is what happened. Method: sends and pulls, every send followed.
#[test]
fn counts_and_times_are_shown() {
    let mut settings = Settings::default();
    settings.config.stage_sample_interval = 1;
    let mut world = World::with(settings);
    let mut watcher = Watcher::of(&mut world);
    world.topic("T", 4);
    let conn = world.connect();
    world.pass(2);
    for _ in 0..10 {
        assert_eq!(world.call(conn, send("T", 0, "", b"body")).code, 0);
        world.pass(1);
    }
    assert_eq!(world.call(conn, pull("T", 0, 0)).code, 0);
    let Look::Stats(page) = watcher.look(&mut world, Look::Stats(Box::default())) else {
        panic!("another look")
    };
    assert_eq!((page.requests.put_messages, page.requests.pulls_found, page.now.connections), (10, 1, 1));
    assert!(page.busy_turns >= 11 && page.turns > page.busy_turns, "{} of {}", page.busy_turns, page.turns);
    let counted = page.stages.named().map(|(name, times)| (name, times.count()));
    assert_eq!(counted, [("parsed", 10), ("appended", 10), ("durable", 0), ("replied", 10), ("whole", 10)]);

    let info = world.call(conn, RemotingCommand::request(request::GET_BROKER_RUNTIME_INFO));
    let body = String::from_utf8(info.body.to_vec()).unwrap();
    assert!(body.contains(r#""putMessageDistributeTime":"[<=0ms]:"#), "{body}");
    assert!(body.contains(r#""putLatency99":"#), "{body}");
}

/// Goal: under SYNC_FLUSH the disk's share is seen.
#[test]
fn a_synced_send_has_a_durable_stage() {
    let mut settings = Settings::default();
    settings.config.stage_sample_interval = 1;
    settings.config.flush_disk_type = dataplane::config::FlushDiskType::SyncFlush;
    let mut world = World::with(settings);
    let mut watcher = Watcher::of(&mut world);
    world.topic("T", 4);
    let conn = world.connect();
    world.pass(2);
    world.cold_runs = false;
    world.post(conn, send("T", 0, "", b"body"), Codec::Json);
    world.pass(3);
    world.cold_runs = true;
    world.pass(3);
    let Look::Stats(page) = watcher.look(&mut world, Look::Stats(Box::default())) else {
        panic!("another look")
    };
    let durable = &page.stages.durable;
    assert_eq!(durable.count(), 1);
    assert!((3_000_000..=5_000_000).contains(&durable.max()), "{durable:?}");
}

/// Goal: a busy shard is asked once a millisecond at most.
#[test]
fn a_busy_shard_looks_once_a_millisecond() {
    let mut world = world();
    let mut watcher = Watcher::of(&mut world);
    let conn = world.connect();
    let busy_turn = |world: &mut World, watcher: &mut Watcher| {
        let _ = watcher.ends.ask.push(Numbered { number: 0, look: Look::Conns(ConnPage::from(0)) });
        world.post(conn, RemotingCommand::request(request::GET_BROKER_RUNTIME_INFO), Codec::Json);
        world.turn();
        watcher.ends.answers.pop().is_some()
    };
    world.clock.advance(std::time::Duration::from_millis(1));
    assert!(busy_turn(&mut world, &mut watcher));
    assert!(!busy_turn(&mut world, &mut watcher));
    world.clock.advance(std::time::Duration::from_millis(1));
    assert!(busy_turn(&mut world, &mut watcher));
}
