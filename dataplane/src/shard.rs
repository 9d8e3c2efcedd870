//! One core's world, and its `turn`.
//!
//! ```text
//! ingress -> events -> visits (frames served, answers encoded) -> settle (disk, cold thread, held pulls)
//!         -> tick -> drain (answers to the send rings) -> egress        every step bounded
//! ```
//!
//! The caller owns time and the loop. Nothing here blocks, logs or takes a lock; what must wait has left by a lane.

mod shown;

use std::time::Duration;

use protocol::code::request as codes;
use protocol::frame::Frame;
use protocol::header::{Header, SendFields};

use crate::broker::{Broker, Refusal, ReplyTo, Request, Served};
use crate::config::FlushDiskType;
use crate::limits::{HEADER_BYTES_MAX, REQUESTS_PER_TURN_MAX, RX_BURST_MAX, TX_BURST_MAX};
use crate::net::{Net, NetEvent, NetTx};
use crate::outbox::Outbox;
use crate::session::{Ends, Sessions, Silent, Verdict};
use crate::sight::Sight;
use crate::time::TurnTime;

/// A network, a broker, and the connections between them.
pub struct Shard<N: Net> {
    pub net: N,
    pub broker: Broker,
    pub sessions: Sessions,
    pub outbox: Outbox,
    /// Where operators look in; None: nobody can.
    pub sight: Option<Sight>,
    /// What may not take longer without being told of.
    bound_ns: u64,
    swept_ms: u64,
}

impl<N: Net> Shard<N> {
    pub fn new(net: N, mut broker: Broker) -> Shard<N> {
        broker.admin.stages.set_interval(broker.config.stage_sample_interval);
        Shard {
            net,
            broker,
            sessions: Sessions::default(),
            outbox: Outbox::new(),
            sight: None,
            bound_ns: u64::MAX,
            swept_ms: 0,
        }
    }

    /// One bounded turn of one core. Returns how much was done, so the caller can count idle turns.
    pub fn turn(&mut self, now: &TurnTime) -> u32 {
        if let Some(took_ns) = self.broker.admin.pace.begin(now)
            && took_ns > self.bound_ns
        {
            self.bound_crossed(took_ns, now);
        }
        let (puts, pulls) = (self.broker.counters.put_messages, self.broker.counters.pulls);
        let mut work = self.net.ingress(now, RX_BURST_MAX);
        work += self.take_events(now);
        work += self.serve_sessions(now);
        work += self.broker.settle(now, self.net.split().1, &mut self.outbox);
        work += self.broker.tick(now, &mut self.outbox);
        self.sweep(now);
        work += self.drain();
        self.broker.hand_over();
        self.net.split().1.hurry(self.outbox.hurry());
        work += self.net.egress(now, TX_BURST_MAX);
        self.follow_sends(now);
        work += self.show(now, work == 0);
        let counters = &self.broker.counters;
        let (puts, pulls) = (counters.put_messages - puts, counters.pulls - pulls);
        self.broker.admin.pace.end(now, work > 0, puts, pulls);
        work
    }

    /// How long the next sleep may be when a turn has found nothing to do, and nobody wakes us.
    pub fn nap_max(&self) -> Duration {
        match (self.broker.gate.is_empty(), self.sessions.has_stalled()) {
            (false, _) => Duration::ZERO, // Somebody waits for a sync: a look at it must not be late.
            (true, true) => STALLED_NAP_MAX,
            (true, false) => NAP_MAX,
        }
    }

    /// Ends every connection once it has what it is owed: the broker stops.
    pub fn close_all(&mut self) {
        for ends in self.sessions.ends() {
            self.outbox.close(ends.conn);
        }
    }

    fn take_events(&mut self, now: &TurnTime) -> u32 {
        let mut events = 0;
        while let Some(event) = self.net.next_event() {
            events += 1;
            match event {
                NetEvent::Opened { conn, peer, local } => {
                    self.outbox.opened(conn);
                    self.sessions.opened(Ends { conn, peer, local }, now.mono_ms());
                    self.broker.opened(conn, peer);
                }
                NetEvent::Readable(conn) => self.sessions.readable(conn, now.mono_ms()),
                NetEvent::Writable(conn) => self.outbox.writable(conn),
                NetEvent::PeerFinished(conn) => self.sessions.finished(conn),
                NetEvent::Closed(conn) => {
                    self.outbox.closed(conn);
                    self.sessions.closed(conn);
                    self.broker.closed(conn, now, &mut self.outbox);
                }
            }
        }
        events
    }

    /// Visits the connections that have something, in the order they came, until the turn's budget is used up.
    fn serve_sessions(&mut self, now: &TurnTime) -> u32 {
        let Shard { net, broker, sessions, outbox, .. } = self;
        let vip_port = vip_port(broker);
        let mut serve = |frame: Frame<'_>, ends: &Ends, outbox: &mut Outbox| {
            let mut req = Request {
                conn: ends.conn,
                peer: ends.peer,
                local: ends.local,
                vip: ends.local.port() == vip_port,
                codec: frame.codec,
                header: Header::default(),
                send: SendFields::default(),
                body: frame.body,
                now,
            };
            if frame.header.len() > HEADER_BYTES_MAX {
                // Its number lies somewhere in it. This one nobody asks by, so that clients write the answer to their logs.
                let to = ReplyTo { conn: ends.conn, opaque: -1, codec: frame.codec, oneway: false };
                outbox.refuse(to, &Refusal::header_too_long(frame.header.len()));
                return Verdict::Close;
            }
            if broker.shapes.read(&frame, &mut req.header, &mut req.send).is_err() {
                return Verdict::Close;
            }
            let parsed_ns = match is_send(req.header.code) {
                true => broker.admin.stages.begin(now),
                false => None,
            };
            match broker.serve(&req, outbox) {
                Served::Done => {
                    if let Some(parsed_ns) = parsed_ns {
                        let log_end = broker.store.published().0;
                        broker.admin.stages.appended(ends.conn, parsed_ns, log_end, now);
                    }
                    Verdict::Done
                }
                Served::Wait => Verdict::Wait,
            }
        };
        let mut served = 0;
        for _ in 0..sessions.start_round() {
            if served >= REQUESTS_PER_TURN_MAX {
                break;
            }
            let Some(conn) = sessions.next_ready() else { break };
            let budget = REQUESTS_PER_TURN_MAX - served;
            served += sessions.visit(conn, now.mono_ms(), budget, net, outbox, &mut serve);
        }
        served
    }

    /// Moves answers to the send rings, and lets readers go on whose outbox has room again.
    fn drain(&mut self) -> u32 {
        let store = &self.broker.store;
        let mut moved = self.outbox.drain(self.net.split().1, |range| store.range(range));
        while let Some(conn) = self.outbox.take_resumed() {
            self.sessions.resumed(conn);
            moved += 1;
        }
        while let Some((conn, range)) = self.outbox.take_missing() {
            self.broker.fetch_rest(conn, range);
        }
        moved
    }

    /// Sends that are sampled go through their last stages.
    #[inline]
    fn follow_sends(&mut self, now: &TurnTime) {
        let Shard { net, broker, outbox, .. } = self;
        if broker.admin.stages.is_following() {
            let waits_for_disk = broker.config.flush_disk_type == FlushDiskType::SyncFlush;
            let synced_to = waits_for_disk.then(|| broker.store.synced_to().0);
            let longest_ns = broker.admin.stages.follow(now, synced_to, |conn| {
                net.info(conn).map(|info| (info.heard_ns, outbox.queued(conn) == 0))
            });
            if longest_ns > self.bound_ns {
                self.bound_crossed(longest_ns, now);
            }
        }
    }

    /// Ends connections that have been silent for too long.
    fn sweep(&mut self, now: &TurnTime) {
        if self.swept_ms == now.mono_ms() {
            return;
        }
        self.swept_ms = now.mono_ms();
        self.tend_sight();
        let idle_ms_max = self.broker.config.server_channel_max_idle_time_seconds * 1000;
        match self.sessions.sweep(now.mono_ms(), idle_ms_max, &self.outbox) {
            Some(Silent::Close(conn)) => self.net.close(conn),
            Some(Silent::Abort(conn)) => self.net.abort(conn),
            None => {}
        }
    }
}

#[inline]
fn is_send(code: i32) -> bool {
    matches!(code, codes::SEND_MESSAGE_V2 | codes::SEND_MESSAGE | codes::SEND_BATCH_MESSAGE)
}

/// The port that serves everything but pulls.
fn vip_port(broker: &Broker) -> u16 {
    broker.config.listen_port.wrapping_sub(2)
}

/// A shard without traffic looks around this often: timers of the broker are no finer.
const NAP_MAX: Duration = Duration::from_millis(10);
/// Whoever makes room in the log wakes nobody.
const STALLED_NAP_MAX: Duration = Duration::from_micros(200);
