//! What one connection holds of a room, and that all together hold no more than it has.

use std::sync::Mutex;

use super::{BYTES_SUM_MAX, Close, Shared, lock};
use crate::namesrv::liveness::Channel;
use crate::room::Room;

/// Given back when it is dropped.
pub(super) struct Share<'a> {
    shared: &'a Shared,
    room: &'a Mutex<Room>,
    channel: Channel,
    /// What takes the room, for the line that says that there is none left.
    what: &'static str,
    is_counted: bool,
}

impl<'a> Share<'a> {
    pub fn new(shared: &'a Shared, room: &'a Mutex<Room>, channel: Channel, what: &'static str) -> Self {
        Self { shared, room, channel, what, is_counted: false }
    }

    /// It is not its peer that it waits for, until it is counted again.
    pub fn is_busy(&self) {
        if self.is_counted {
            lock(self.room).is_busy(self.channel);
        }
    }

    /// Its peer moved, and it holds so much now. Others are closed when all together hold too much.
    pub fn count(&mut self, bytes: usize) -> Result<(), Close> {
        if bytes <= BYTES_FREE {
            self.let_go();
            return Ok(());
        }
        self.is_counted = true;
        let mut room = lock(self.room);
        let closed = room.holds(self.channel, bytes);
        let news = room.take_news(self.shared.now());
        drop(room);
        if let Some(count) = news {
            log::warn!(
                "{} took more than {} MiB: connections closed, those that stood still for longest first: {count}",
                self.what,
                BYTES_SUM_MAX >> 20
            );
        }
        for channel in &closed {
            lock(&self.shared.connections).remove(channel);
        }
        if closed.contains(&self.channel) { Err(Close::NoRoom) } else { Ok(()) }
    }

    fn let_go(&mut self) {
        if self.is_counted {
            self.is_counted = false;
            lock(self.room).lets_go(self.channel);
        }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// What one connection may hold without being counted: those are as many as there are descriptors.
const BYTES_FREE: usize = 8 << 10;
