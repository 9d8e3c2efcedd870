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
pub mod announce;
pub mod assignment;
pub mod beats;
pub mod bodies;
pub mod calls;
pub mod client;
pub mod consumers;
pub mod delay;
pub mod desk_errands;
pub mod errands;
pub mod facts;
pub mod filter;
pub mod gate;
pub mod group_config;
pub mod groups;
pub mod halves;
pub mod heartbeat;
pub mod held_pull;
pub mod hold;
pub mod leaving;
pub mod locks;
pub mod long_bodies;
mod long_work;
pub mod new_beat;
pub mod notices;
pub mod offset_desk;
pub mod offset_row;
pub mod offsets;
pub mod peers;
pub mod persist_ops;
pub mod producers;
pub mod pull;
mod pull_checks;
pub mod put;
pub mod read;
pub mod read_ahead;
mod relay;
mod reply;
pub mod request;
pub mod room;
pub mod schedule;
pub mod second_halves;
mod send;
pub mod send_back;
mod send_checks;
mod send_properties;
mod sent;
pub mod start;
pub mod topic_config;
pub mod topics;
pub mod transaction;
pub mod transaction_check;
pub mod version;

use std::net::SocketAddr;

use protocol::code::request as codes;
use protocol::header::{EncodedFields, SendShapes};
use protocol::ids::UniqKeys;
use store::Store;

pub use crate::answer::{Refusal, ReplyTo};
use crate::broker::admin::Admin;
use crate::broker::announce::{Announced, Announcing};
use crate::broker::assignment::Routes;
use crate::broker::beats::Beats;
use crate::broker::calls::Calls;
use crate::broker::consumers::Consumers;
use crate::broker::desk_errands::Stalled;
use crate::broker::errands::Errands;
use crate::broker::gate::Gate;
use crate::broker::groups::Groups;
use crate::broker::hold::Holds;
use crate::broker::leaving::Leaving;
use crate::broker::locks::Locks;
use crate::broker::long_bodies::LongBodies;
use crate::broker::long_work::LongWorks;
use crate::broker::notices::Notices;
use crate::broker::offsets::ConsumerOffsets;
use crate::broker::peers::Peers;
use crate::broker::persist_ops::{PersistOp, PersistOps};
use crate::broker::producers::Producers;
use crate::broker::put::{Queues, Scratch};
pub use crate::broker::request::{Request, Served};
use crate::broker::schedule::Schedule;
use crate::broker::second_halves::Errand;
use crate::broker::send_properties::Known;
use crate::broker::sent::MsgIds;
pub use crate::broker::start::BrokerStart;
use crate::broker::topics::Topics;
use crate::broker::transaction::EndedWaits;
use crate::broker::transaction_check::Transactions;
use crate::config::Config;
use crate::counters::Counters;
use crate::lane::LaneIn;
use crate::limits::{COLD_BYTES_PER_TURN_MIN, COLD_REPLIES_PER_TURN_MAX, HOLDS_PER_TURN_MAX};
use crate::net::{ConnId, NetTx};
use crate::outbox::Outbox;
use crate::rng::Rng;
use crate::time::TurnTime;

/// What official remarks end with.
const FAQ: &str = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// What a stored message takes besides its body, most of the time; `Refusal::no_room` catches the others.
const HEADER_ROOM_BYTES: usize = 2048;

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
    long_bodies: LongBodies,
    long_work: LongWorks,
    leaving: Leaving,
    notices: Notices,
    pub locks: Locks,
    pub peers: Peers,
    pub admin: Admin,
    pub store: Store,
    pub holds: Holds,
    pub gate: Gate,
    /// Questions to the cold thread.
    pub errands: Errands<Errand>,
    /// Changes on their way to the cold side's files.
    pub ops: PersistOps,
    persist: LaneIn<PersistOp>,
    pub rng: Rng,
    pub counters: Counters,
    uniq_keys: UniqKeys,
    msg_ids: MsgIds,
    /// Fields that every answer to a send gets.
    region: EncodedFields,
    /// Properties that every stored message gets.
    stamp: Vec<u8>,
    queues: Queues,
    scratch: Scratch,
    /// Headers of sends that others are like.
    pub shapes: SendShapes<Known>,
    schedule: Schedule,
    transactions: Transactions,
    ended_waits: EndedWaits,
    /// What name servers know of our topics, and the topics they do not know yet.
    announced: Announced,
    announcing: Announcing,
    /// Our calls to clients.
    calls: Calls,
    stalled: Stalled,
    /// None: there is no name server to ask.
    routes: Option<Routes>,
    /// A stored message that a desk works on.
    record_buffer: Vec<u8>,
    offsets_kept_ms: i64,
    ticked_ms: u64,
    disk: Option<std::thread::Thread>,
    waits_told: u64,
}

impl Broker {
    /// Serves one request, or one answer of a client to a call of ours. `Served::Wait` means that nothing was
    /// done and the frame must be offered again later: the log or the cold lane has no room (back-pressure).
    pub fn serve(&mut self, req: &Request<'_>, out: &mut Outbox) -> Served {
        if req.header.is_response() {
            self.answered(req, out);
            return Served::Done;
        }
        if !self.has_room_for(req, out) {
            self.counters.waits += 1;
            return Served::Wait;
        }
        self.counters.requests += 1;
        if let Err(refusal) = self.dispatch(req, out) {
            if refusal.is_no_room() {
                self.counters.waits += 1;
                return Served::Wait;
            }
            self.counters.refusals += 1;
            out.refuse(req.reply_to(), &refusal);
        }
        Served::Done
    }

    /// Whether this request could be finished now. Requests that store nothing pass while the log is full, so that
    /// consumers go on and the disk can catch up.
    #[inline]
    fn has_room_for(&self, req: &Request<'_>, out: &Outbox) -> bool {
        if self.errands.is_full(req.conn, out.awaited_bytes_max()) || self.long_work.is_of(req.conn) {
            return false;
        }
        let stores = matches!(
            req.header.code,
            codes::SEND_MESSAGE_V2
                | codes::SEND_MESSAGE
                | codes::SEND_BATCH_MESSAGE
                | codes::SEND_REPLY_MESSAGE
                | codes::SEND_REPLY_MESSAGE_V2
                | codes::CONSUMER_SEND_MSG_BACK
                | codes::END_TRANSACTION
        );
        !stores || self.store.has_room(req.body.len() + HEADER_ROOM_BYTES)
    }

    /// A connection begins.
    pub fn opened(&mut self, conn: ConnId, peer: SocketAddr) {
        self.peers.opened(conn, peer);
    }

    /// A connection is gone: its client leaves every group, from this turn on, and its holds and calls vanish.
    pub fn closed(&mut self, conn: ConnId, _now: &TurnTime, out: &mut Outbox) {
        self.holds.closed(conn);
        self.long_bodies.closed(conn);
        self.lose_calls_to(conn, out);
        self.client_left(conn);
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
        self.lose_late_calls(now, out);
        self.release_ended(now, out);
        self.run_stalled(now, out);
        self.take_routes(out);
        self.store.take_news();
        self.keep_offsets(now);
        self.sample_rates(now);
        self.deliver_delayed(now) + self.check_transactions(now, out)
    }

    /// What happened since the requests of this turn: the disk, the cold thread, messages for those who wait.
    /// Returns how much was done.
    pub fn settle(&mut self, now: &TurnTime, net: &mut impl NetTx, out: &mut Outbox) -> u32 {
        let mut work = self.release_synced(now, out);
        let mut cold_bytes = 0;
        for _ in 0..COLD_REPLIES_PER_TURN_MAX {
            if cold_bytes >= COLD_BYTES_PER_TURN_MIN {
                break;
            }
            let Some((errand, answer)) = self.errands.take_next() else { break };
            cold_bytes += answer.bytes_len();
            self.errand_done(errand, answer, now, net, out);
            work += 1;
        }
        work += self.take_leaves(out) + self.go_on_with_work(now, out);
        work += self.tell_members(out) + self.count_queues();
        self.holds.expire(now.mono_ms());
        work + self.run_due_holds(now, HOLDS_PER_TURN_MAX, out)
    }

    /// Gives the cold side what this turn has for it.
    pub fn hand_over(&mut self) {
        let mut gave = false;
        while let Some(op) = self.ops.pop() {
            if let Err(op) = self.persist.push(op) {
                self.ops.unpop(op);
                break;
            }
            gave = true;
        }
        if gave {
            self.persist.wake();
        }
        self.errands.wake();
        // Sends wait for the disk: for a sync, or for room in the hot log.
        let has_waited = self.counters.waits > self.waits_told;
        self.waits_told = self.counters.waits;
        if let Some(disk) = self.disk.as_ref().filter(|_| has_waited || !self.gate.is_empty()) {
            // One atomic swap; a system call only if the thread is in its deep sleep.
            disk.unpark();
        }
    }

    fn dispatch(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        match req.header.code {
            codes::SEND_MESSAGE_V2 | codes::SEND_MESSAGE | codes::SEND_BATCH_MESSAGE => self.send(req, out),
            codes::PULL_MESSAGE | codes::LITE_PULL_MESSAGE if !req.vip => self.pull(req, out),
            codes::HEART_BEAT => self.heartbeat(req, out),
            codes::UNREGISTER_CLIENT => self.unregister_client(req, out),
            codes::GET_CONSUMER_LIST_BY_GROUP => self.consumer_list(req, out),
            codes::LOCK_BATCH_MQ => self.lock_batch(req, out),
            codes::UNLOCK_BATCH_MQ => self.unlock_batch(req, out),
            codes::UPDATE_CONSUMER_OFFSET => self.update_consumer_offset(req, out),
            codes::QUERY_CONSUMER_OFFSET => self.query_consumer_offset(req, out),
            codes::GET_MAX_OFFSET => self.max_offset(req, out),
            codes::GET_MIN_OFFSET => self.min_offset(req, out),
            codes::SEARCH_OFFSET_BY_TIMESTAMP => self.search_offset(req, out),
            codes::GET_EARLIEST_MSG_STORETIME => self.earliest_store_time(req, out),
            codes::GET_ALL_DELAY_OFFSET => self.all_delay_offsets(req, out),
            codes::CONSUMER_SEND_MSG_BACK => self.send_back(req, out),
            codes::END_TRANSACTION => self.end_transaction(req, out),
            codes::SEND_REPLY_MESSAGE | codes::SEND_REPLY_MESSAGE_V2 => self.send_reply(req, out),
            codes::QUERY_ASSIGNMENT => self.query_assignment(req, out),
            codes::CHECK_CLIENT_CONFIG => self.check_client_config(req, out),
            codes::GET_CONSUMER_RUNNING_INFO => self.consumer_running_info(req, out),
            _ => self.administer(req, out),
        }
    }

    /// A client answers a call of ours.
    fn answered(&mut self, req: &Request<'_>, out: &mut Outbox) {
        self.call_answered(req, out);
    }
}
