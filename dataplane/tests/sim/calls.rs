//! Remoting calls over one simulated connection: frames out, frames in, answers matched by opaque.

use crate::client::{Client, Conn};
use protocol::RemotingCommand;
use protocol::frame::{Codec, Found, find};
use std::collections::BTreeMap;
use std::net::SocketAddrV4;

/// A connection and the calls on it; `W` is what the caller wants to remember of each.
pub struct Calls<W> {
    conn: Conn,
    unsent: Vec<u8>,
    inbox: Vec<u8>,
    waiting: BTreeMap<i32, W>,
    opaque: i32,
    codec: Codec,
}

impl<W> Calls<W> {
    pub fn connect(client: &mut Client, to: SocketAddrV4, codec: Codec) -> Self {
        let conn = client.connect(to);
        Self { conn, unsent: Vec::new(), inbox: Vec::new(), waiting: BTreeMap::new(), opaque: 0, codec }
    }

    pub fn waiting_len(&self) -> usize {
        self.waiting.len()
    }

    pub fn call(&mut self, mut command: RemotingCommand, what: W) {
        self.opaque += 1;
        command.opaque = self.opaque;
        self.unsent.extend(command.encode(self.codec));
        self.waiting.insert(self.opaque, what);
    }

    /// Moves bytes both ways; hands over each answer with what was remembered of its call.
    pub fn turn(&mut self, client: &mut Client, mut answered: impl FnMut(RemotingCommand, W)) {
        if client.is_open(self.conn) {
            let sent = client.send(self.conn, &self.unsent);
            self.unsent.drain(..sent);
        }
        client.recv(self.conn, &mut self.inbox);
        let mut taken = 0;
        while let Found::Whole { frame, bytes_len } =
            find(&self.inbox[taken..]).expect("the broker writes frames")
        {
            let command = RemotingCommand::from_frame(&frame).expect("the broker writes headers");
            taken += bytes_len;
            if !command.is_response() {
                continue; // A question of the broker's; nobody here answers.
            }
            let what = self.waiting.remove(&command.opaque).expect("an answer has a question");
            answered(command, what);
        }
        self.inbox.drain(..taken);
    }

    pub fn is_dead(&self, client: &mut Client) -> bool {
        client.is_dead(self.conn) || client.is_finished(self.conn)
    }

    /// Forgets the connection; returns the calls that were never answered.
    pub fn bury(self, client: &mut Client) -> impl Iterator<Item = W> {
        client.forget(self.conn);
        self.waiting.into_values()
    }
}
