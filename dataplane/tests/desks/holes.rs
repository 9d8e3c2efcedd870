//! Consumers and desks that come to entries which the disk has lost.

use std::path::Path;

use protocol::RemotingCommand;
use protocol::body::{Body, KVTable};
use protocol::code::request;
use store::Medium;

use crate::client::read;
use crate::requests::send;
use crate::world::World;

/// D-14. Goal: a consumer gets messages whose entries are gone from the queue's file, which it is told to come back for; counters tell.
/// Method: large messages until the first are only on disk; zeros over their entries; a consumer from the first on.
#[test]
fn a_consumer_gets_messages_whose_entries_are_missing() {
    let mut world = World::new();
    world.topic("T", 1);
    let conn = world.connect();
    let body = vec![b'x'; 1 << 20];
    for _ in 0..40 {
        world.pass(100);
        world.done(conn, send("T", 0, "", &body));
    }
    world.pass(1_000);
    assert!(world.shard.broker.store.hot_start().0 > 14 << 20, "the test made messages cold");
    let path = Path::new("/store/consumequeue/T/0/00000000000000000000");
    world.medium.open(path).unwrap().unwrap().write_at(3 * 20, &[0; 10 * 20]).unwrap();
    let offsets: Vec<i64> =
        read(&mut world, conn, "T", 0, 0).iter().map(|message| message.queue_offset).collect();
    assert_eq!(offsets, (0..40).collect::<Vec<i64>>());
    let answer = world.done(conn, RemotingCommand::request(request::GET_BROKER_RUNTIME_INFO));
    let info = KVTable::decode(&answer.body).unwrap().table;
    assert_eq!((&*info["queueEntriesRemade"], &*info["queueEntriesLost"]), ("10", "0"));
}
