//! The broker: its tables, and one `match` from request code to desk.
//!
//! ```text
//! Request --serve--> match code --> desk (one file each) --> Outbox (answers, calls to clients)
//!                                     |
//!                                     +--> Holds (long polls)   +--> Gate (waits for the disk)
//!                                     +--> PersistOps, Errands (cold thread: files, name servers, old records)
//! ```
//!
//! A desk is an `impl Broker` block in a file of its own: `fn name(&mut self, req: &Request<'_>, out: &mut Outbox)
//! -> Result<(), Refusal>`. It reads the request in place, changes the tables and either answers through the
//! [`Outbox`], keeps a [`ReplyTo`] for later, or returns a [`Refusal`], which `serve` turns into the answer. No desk
//! sees a socket, a device or a clock: time comes with the request.

pub mod admin;
pub mod assignment;
pub mod bodies;
pub mod client;
pub mod consumers;
pub mod delay;
pub mod groups;
pub mod halves;
pub mod heartbeat;
pub mod locks;
pub mod offsets;
pub mod peers;
pub mod persist_ops;
pub mod producers;
pub mod request;
pub mod topics;
pub mod version;

use std::net::SocketAddr;

use protocol::code::request as codes;

use crate::broker::admin::Admin;
use crate::broker::consumers::Consumers;
use crate::broker::groups::Groups;
use crate::broker::heartbeat::Beats;
use crate::broker::locks::Locks;
use crate::broker::offsets::ConsumerOffsets;
use crate::broker::peers::Peers;
use crate::broker::persist_ops::PersistOps;
use crate::broker::producers::Producers;
pub use crate::broker::request::{Refusal, ReplyTo, Request, Served};
use crate::broker::topics::Topics;
use crate::config::Config;
use crate::net::ConnId;
use crate::outbox::Outbox;
use crate::rng::Rng;
use crate::time::TurnTime;

/// One shard's broker: plain tables, owned by one thread.
pub struct Broker {
    /// The settings as they are now; code 25 changes a few.
    pub config: Config,
    /// brokerIP1 and listenPort: announced to clients and written into messages.
    pub address: SocketAddr,
    pub topics: Topics,
    pub groups: Groups,
    pub offsets: ConsumerOffsets,
    pub consumers: Consumers,
    pub producers: Producers,
    pub beats: Beats,
    pub locks: Locks,
    pub peers: Peers,
    pub admin: Admin,
    /// Changes on their way to the cold side's files.
    pub ops: PersistOps,
    pub rng: Rng,
    ticked_ms: u64,
}

impl Broker {
    /// Serves one request, or one answer of a client to a call of ours. `Served::Wait` means that nothing was
    /// done and the frame must be offered again later: the log or the cold lane has no room (back-pressure).
    pub fn serve(&mut self, req: &Request<'_>, out: &mut Outbox) -> Served {
        if req.header.is_response() {
            self.answered(req, out);
        } else if let Err(refusal) = self.dispatch(req, out) {
            out.refuse(req.reply_to(), &refusal);
        }
        Served::Done
    }

    /// A connection begins.
    pub fn opened(&mut self, conn: ConnId, peer: SocketAddr) {
        self.peers.opened(conn, peer);
    }

    /// A connection is gone: its client leaves every group, its holds and calls vanish.
    pub fn closed(&mut self, conn: ConnId, _now: &TurnTime, out: &mut Outbox) {
        self.client_left(conn, out);
        self.peers.closed(conn);
    }

    /// What comes by time: called every turn, acts once a millisecond. Returns how much was done.
    pub fn tick(&mut self, now: &TurnTime, out: &mut Outbox) -> u32 {
        if self.ticked_ms == now.mono_ms() {
            return 0;
        }
        self.ticked_ms = now.mono_ms();
        self.locks.sweep(now.wall_ms);
        self.scan_clients(now, out);
        0
    }

    fn dispatch(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        match req.header.code {
            codes::HEART_BEAT => self.heartbeat(req, out),
            codes::UNREGISTER_CLIENT => self.unregister_client(req, out),
            codes::GET_CONSUMER_LIST_BY_GROUP => self.consumer_list(req, out),
            codes::LOCK_BATCH_MQ => self.lock_batch(req, out),
            codes::UNLOCK_BATCH_MQ => self.unlock_batch(req, out),
            _ => self.administer(req, out),
        }
    }

    /// A client answers a call of ours.
    fn answered(&mut self, _req: &Request<'_>, _out: &mut Outbox) {}
}
