//! What a connection was answered and its peer has not taken yet.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::share::Share;
use super::{Close, Shared};
use crate::namesrv::liveness::Channel;

pub(super) struct Outbox<'a> {
    share: Share<'a>,
    bytes: Vec<u8>,
}

impl<'a> Outbox<'a> {
    pub fn new(shared: &'a Shared, channel: Channel) -> Self {
        let share = Share::new(shared, &shared.outboxes, channel, "large answers that are not read");
        Self { share, bytes: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether its peer is to take some of it before it is answered more.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= OUTBOX_BYTES_MAX
    }

    pub fn put(&mut self, answer: &[u8]) -> Result<(), Close> {
        self.bytes.extend_from_slice(answer);
        self.share.count(self.bytes.capacity())
    }

    /// Brings out all of it. The peer may take its time, as long as it takes some of it now and then.
    pub async fn drain(&mut self, stream: &TcpStream, idle_limit: Duration) -> Result<(), Close> {
        let mut taken_len = 0;
        while let Some(rest @ [_, ..]) = self.bytes.get(taken_len..) {
            timeout(idle_limit, stream.writable()).await.map_err(|_| Close::Idle)??;
            match stream.try_write(rest) {
                Ok(len) => {
                    taken_len += len;
                    self.share.count(self.bytes.capacity())?; // It is all in memory until the last of it is out.
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.bytes = Vec::new();
        self.share.count(0)
    }
}

/// A peer is given its answers once they are this many bytes, before more of its requests are read.
const OUTBOX_BYTES_MAX: usize = 256 << 10;
