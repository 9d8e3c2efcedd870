//! What a client repeats all day costs no allocation.

use protocol::RemotingCommand;
use protocol::code::request;
use protocol::frame::Codec;

use crate::client::{consumer, heartbeat, subscription};
use crate::requests::send;
use crate::world::World;

/// Goal: heartbeats that say the same, commits that move on, and questions about offsets allocate nothing.
/// Method: count the shard's allocations over some seconds of each, in either codec, once it is warm.
#[test]
fn repeated_requests_allocate_nothing() {
    let mut world = World::new();
    world.topic("T", 4);
    let conn = world.connect();
    let beat = heartbeat("a", vec![consumer("G", vec![subscription("T", 1)])], &["PG"]);
    world.done(conn, beat.clone());
    world.done(conn, send("T", 1, "", b"x"));
    let on_queue = |code| RemotingCommand::request(code).field("topic", "T").field("queueId", 1);
    let commit = |offset: i64| {
        let commit = on_queue(request::UPDATE_CONSUMER_OFFSET).field("consumerGroup", "G");
        commit.field("commitOffset", offset)
    };
    let query = on_queue(request::QUERY_CONSUMER_OFFSET).field("consumerGroup", "G");
    for codec in [Codec::Json, Codec::Binary] {
        let commits = vec![commit(1), commit(2), commit(3)];
        for commands in
            [vec![beat.clone()], commits, vec![query.clone()], vec![on_queue(request::GET_MAX_OFFSET)]]
        {
            let frames: Vec<_> = commands.iter().map(|command| command.encode(codec)).collect();
            assert_eq!(world.allocations(conn, &frames), 0, "{codec:?} {}", commands[0].code);
        }
    }
}
