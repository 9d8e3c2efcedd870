//! What has come over a connection and is not answered yet.

use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::share::Share;
use super::{Close, Shared};
use crate::namesrv::liveness::Channel;

pub(super) struct Inbox<'a> {
    share: Share<'a>,
    pub bytes: BytesMut,
    /// Of the buffer, what was answered and lies before `bytes`.
    gap_len: usize,
}

impl<'a> Inbox<'a> {
    pub fn new(shared: &'a Shared, channel: Channel) -> Self {
        let share = Share::new(shared, &shared.inboxes, channel, "large requests that do not become whole");
        Self { share, bytes: BytesMut::new(), gap_len: 0 }
    }

    /// The request at its front is there to be answered.
    pub fn got_whole(&self) {
        self.share.is_busy();
    }

    pub fn answered(&mut self, bytes_len: usize) {
        self.bytes.advance(bytes_len);
        self.gap_len += bytes_len;
    }

    /// Says what it holds, and has others closed when all together hold too much.
    pub fn count(&mut self) -> Result<(), Close> {
        self.share.count(self.gap_len + self.bytes.capacity())
    }

    /// Gives back the memory of requests that were answered.
    fn shrink(&mut self) -> Result<(), Close> {
        let mut rest = BytesMut::new();
        if !self.bytes.is_empty() {
            rest.reserve(self.bytes.len() + READ_BYTES_MIN);
            rest.extend_from_slice(&self.bytes);
        }
        self.bytes = rest;
        self.gap_len = 0;
        self.count()
    }

    /// Waits for bytes and takes them. Says `false` when the peer has closed.
    pub async fn fill(&mut self, stream: &TcpStream, idle_limit: Duration) -> Result<bool, Close> {
        if self.gap_len > 0 {
            self.shrink()?;
        }
        loop {
            timeout(idle_limit, stream.readable()).await.map_err(|_| Close::Idle)??;
            self.bytes.reserve(READ_BYTES_MIN);
            self.count()?;
            match stream.try_read_buf(&mut self.bytes) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

const READ_BYTES_MIN: usize = 4 << 10;
