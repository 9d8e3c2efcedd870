//! Looking into a shard: what is seen is true, and looking costs the shard next to nothing.

use dataplane::alloc;
use dataplane::sight::conns::{ConnPage, ConnRow, SLOTS_PER_PAGE};
use dataplane::sight::{Look, Numbered, Sight, SightEnds};
use dataplane::time::Clock;
use protocol::RemotingCommand;
use protocol::code::request;
use protocol::frame::Codec;

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
        let Look::Conns(page) = self.look(world, Look::Conns(ConnPage::from(slot)));
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
    let look = Look::Conns(ConnPage::from(0));
    assert!(watcher.ends.ask.push(Numbered { number: 1, look }).is_ok());
    let now = world.clock.read();
    let before = alloc::on_this_thread();
    world.shard.turn(&now);
    assert_eq!(alloc::on_this_thread() - before, 0);
    assert!(watcher.ends.answers.pop().is_some());
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
