//! The administrators' desks, over the whole shard. Expected codes, remarks and bodies are those of mqadmin-5.5.0.json
//! and probe-5.5.0.json.

mod broker;
mod messages;
mod offsets;
mod tables;

use std::time::Duration;

use protocol::RemotingCommand;
use protocol::body::Body;
use protocol::code::response;

use crate::requests::send;
use crate::world::World;

fn ask(code: i32, fields: &[(&str, &str)]) -> RemotingCommand {
    fields.iter().fold(RemotingCommand::request(code), |command, (name, value)| command.field(*name, value))
}

fn refused(answer: &RemotingCommand, code: i32, remark: &str) {
    assert_eq!((answer.code, answer.remark.as_deref()), (code, Some(remark)));
}

fn decode<T: Body>(answer: &RemotingCommand) -> T {
    assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
    T::decode(&answer.body).unwrap()
}

/// A message per call, half a MiB each, so that a few dozen of them leave the hot log.
fn fill(world: &mut World, conn: dataplane::net::ConnId, topic: &str, messages: usize) {
    let body = vec![b'x'; 512 << 10];
    for _ in 0..messages {
        let answer = world.call(conn, send(topic, 0, "", &body));
        assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
        world.clock.advance(Duration::from_millis(10));
    }
    world.pass(50);
}
