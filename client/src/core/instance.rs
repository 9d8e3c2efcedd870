//! One client instance: everything that shares a client id, as one state machine.
//!
//! This file holds the state and the plumbing: links, calls, timers, actions. What a call's answer means is in the
//! file of its subject.

use super::action::{Action, Answer, Token};
use super::calls::{Call, Calls};
use super::fault::Faults;
use super::group::PushGroup;
use super::links::{Addr, LinkId, Links, Spare, Waiting, Want};
use super::order::{Producer, SendId, SendOp};
use super::rng::Rng;
use super::route::{Brokers, Route};
use super::time::Time;
use super::timers::Timers;
use super::waiter::{Lookup, Requests, Timer, Unpacking, Waiter};
use crate::config::ClientConfig;
use crate::error::ClientError;
use bytes::Bytes;
use protocol::code::response;
use protocol::frame::{self, Codec, Found};
use protocol::ids::UniqKeys;
use protocol::{Frame, RemotingCommand};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// What an instance is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    pub config: ClientConfig,
    /// `ip@instance[@unit]`
    pub client_id: String,
    /// Goes into the ids of messages.
    pub ip: IpAddr,
    pub pid: u32,
    pub seed: u64,
}

#[derive(Debug)]
pub struct Instance {
    pub(super) settings: Settings,
    pub(super) name_servers: Vec<Addr>,
    pub(super) name_server_turn: usize,
    pub(super) rng: Rng,
    pub(super) links: Links,
    pub(super) calls: Calls<Waiter>,
    pub(super) timers: Timers<Timer>,
    pub(super) actions: VecDeque<Action>,
    pub(super) unpacking: Unpacking,
    /// When it was last said that some brokers get no heartbeats.
    pub(super) untold_at: Option<Duration>,
    pub(super) routes: BTreeMap<Arc<str>, Route>,
    pub(super) lookups: HashMap<Arc<str>, Lookup>,
    pub(super) brokers: Brokers,
    pub(super) unique_keys: UniqKeys,
    pub(super) producers: BTreeMap<Arc<str>, Producer>,
    pub(super) faults: Faults,
    pub(super) sends: HashMap<SendId, SendOp>,
    /// Bytes of the messages in `sends`.
    pub(super) sends_bytes: usize,
    pub(super) requests: Requests,
    /// Checks of transactions under way.
    pub(super) checks: usize,
    pub(super) groups: BTreeMap<Arc<str>, PushGroup>,
    /// Groups of pull consumers, which do nothing by themselves but are told to brokers.
    pub(super) pull_groups: BTreeMap<Arc<str>, crate::config::PullConsumerConfig>,
    pub(super) id_last: u64,
    is_started: bool,
    is_closed: bool,
}

impl Instance {
    pub fn new(settings: Settings) -> Instance {
        let mut rng = Rng::new(settings.seed);
        let name_servers: Vec<Addr> =
            settings.config.name_servers.iter().map(|addr| Addr::from(addr.as_str())).collect();
        let name_server_turn = if name_servers.is_empty() { 0 } else { rng.below(name_servers.len()) };
        let unique_keys = UniqKeys::new(settings.ip, settings.pid, rng.next_u64() as u32);
        Instance {
            settings,
            name_servers,
            name_server_turn,
            rng,
            links: Links::default(),
            calls: Calls::new(),
            timers: Timers::new(),
            actions: VecDeque::new(),
            unpacking: Unpacking::default(),
            untold_at: None,
            routes: BTreeMap::new(),
            lookups: HashMap::new(),
            brokers: Brokers::default(),
            unique_keys,
            producers: BTreeMap::new(),
            faults: Faults::default(),
            sends: HashMap::new(),
            sends_bytes: 0,
            requests: Requests::default(),
            checks: 0,
            groups: BTreeMap::new(),
            pull_groups: BTreeMap::new(),
            id_last: 0,
            is_started: false,
            is_closed: false,
        }
    }

    /// Sets the periodic work going. Again does nothing.
    pub fn start(&mut self, now: Time) {
        if self.is_started {
            return;
        }
        self.is_started = true;
        let mono = now.mono;
        self.timers.set(mono + FIRST_REFRESH, Timer::RefreshRoutes);
        self.timers.set(mono + FIRST_HEARTBEAT, Timer::Heartbeat);
        self.timers.set(mono + FIRST_PERSIST, Timer::PersistOffsets);
        self.timers.set(mono + self.config().idle_max, Timer::CloseIdle);
    }

    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When `tick` is to be called at the latest. May be early, never late.
    pub fn next_deadline(&self) -> Option<Duration> {
        let connect = self.links.next_connect_deadline(self.config().connect_timeout);
        [self.calls.next_deadline(), self.timers.next(), connect].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Time) {
        for link in self.links.connecting_too_long(now.mono, self.config().connect_timeout) {
            self.drop_link(link, "connecting took too long", now);
        }
        while let Some(call) = self.calls.expired(now.mono) {
            self.expire(call, now);
        }
        while let Some(timer) = self.timers.due(now.mono) {
            self.fire(timer, now);
        }
    }

    /// The connection asked for is made.
    pub fn link_up(&mut self, link: LinkId, now: Time) {
        let Some((addr, waited)) = self.links.up(link, now.mono) else {
            return; // Given up while it was being made.
        };
        self.greet(link, &addr, now);
        for Waiting { opaque, oneway, frame } in waited {
            if !self.calls.is_open(opaque) {
                self.links.written(link, frame.len());
                continue; // Its time ran out meanwhile.
            }
            self.actions.push_back(Action::Write { link, bytes: frame });
            if oneway && let Some(call) = self.calls.answered(link, opaque) {
                self.answered(call.waiter, Ok(written(opaque)), now);
            }
        }
    }

    /// So many bytes of what was to be written to the link are with the kernel now.
    pub fn written(&mut self, link: LinkId, bytes_len: usize) {
        self.links.written(link, bytes_len);
    }

    /// The connection is gone, or could not be made.
    pub fn link_down(&mut self, link: LinkId, reason: &str, now: Time) {
        let was_up = self.links.is_up(link);
        let Some(addr) = self.links.closed(link) else {
            return; // We dropped it ourselves.
        };
        for call in self.calls.link_closed(link) {
            let (addr, reason) = (addr.to_string(), reason.to_owned());
            let error = if was_up {
                ClientError::Closed { addr, reason }
            } else {
                ClientError::Connect { addr, reason }
            };
            self.answered(call.waiter, Err(error), now);
        }
    }

    /// Takes the whole frames at the front of `bytes`; gives how many bytes they took. What is left is to come again
    /// with more behind it.
    pub fn received(&mut self, link: LinkId, bytes: &[u8], now: Time) -> usize {
        self.links.heard(link, now.mono);
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..)
            && self.links.is_up(link)
        {
            match frame::find(rest) {
                Ok(Found::Need { .. }) => break,
                Ok(Found::Whole { frame, bytes_len }) => {
                    taken += bytes_len;
                    self.take_frame(link, &frame, now);
                }
                Err(error) => {
                    self.drop_link(link, &error.to_string(), now);
                    break;
                }
            }
        }
        taken
    }

    /// Asks `addr` and answers `token` with what comes back, whatever its code.
    pub fn call(
        &mut self,
        token: Token,
        addr: &Addr,
        command: RemotingCommand,
        timeout: Duration,
        now: Time,
    ) {
        self.request(addr, command, Waiter::Outside(token), timeout, now);
    }

    /// Whether a one-way request waits for its connection: after `close` it would be lost.
    pub fn has_words_waiting(&self) -> bool {
        self.links.has_oneway_waiting()
    }

    /// Stops everything: closes the links, fails what is under way. The instance is not to be used again.
    pub fn close(&mut self, now: Time) {
        self.is_closed = true;
        self.unpacking = Unpacking::default();
        for link in self.links.all() {
            self.drop_link(link, "the client was shut down", now);
        }
    }

    pub fn client_id(&self) -> &str {
        &self.settings.client_id
    }

    pub(super) fn config(&self) -> &ClientConfig {
        &self.settings.config
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.id_last += 1;
        self.id_last
    }

    pub(super) fn answer(&mut self, token: Token, answer: Result<Answer, ClientError>) {
        self.actions.push_back(Action::Answer { token, answer });
    }

    /// Sends a request, over a new link if there is none. `waiter` gets its end; for a one-way command that is the
    /// moment it was written.
    pub(super) fn request(
        &mut self,
        addr: &Addr,
        mut command: RemotingCommand,
        waiter: Waiter,
        timeout: Duration,
        now: Time,
    ) {
        if self.is_closed {
            return self.answered(waiter, Err(ClientError::ShutDown), now);
        }
        let max = self.config().connections_max;
        let is_heartbeat = matches!(waiter, Waiter::Heartbeat { .. });
        if !self.has_room_for(addr, max) && !self.give_one_back(true, now) {
            let error = ClientError::TooManyConnections { addr: addr.to_string(), max };
            return self.answered(waiter, Err(error), now);
        }
        let opaque = self.calls.next_opaque();
        command.opaque = opaque;
        let (code, oneway) = (command.code, command.is_oneway());
        let frame = command.encode(self.config().codec);
        let want = self.links.want(addr, now.mono);
        let link = match want {
            Want::Up(link) | Want::Connecting(link) | Want::Made(link) => link,
        };
        let settings = self.config().write_bytes_max;
        // What we owe brokers by ourselves (heartbeats, offsets) is little, and goes on where a caller's requests end.
        let is_callers = matches!(waiter, Waiter::Outside(_) | Waiter::Send(_));
        let max = if is_callers { settings } else { settings.saturating_mul(2) };
        if let Some(bytes) = self.links.backlog(link, frame.len(), max) {
            let what = format!("are to be written to {addr}");
            let error = ClientError::TooFast { bytes, what, max: settings, setting: "write_bytes_max" };
            return self.answered(waiter, Err(error), now);
        }
        self.links.queued(link, frame.len());
        self.links.used(link, now.mono);
        if !is_heartbeat {
            self.links.worked(link, now.mono);
        }
        if let (true, Want::Up(_)) = (oneway, &want) {
            self.actions.push_back(Action::Write { link, bytes: frame });
            self.answered(waiter, Ok(written(opaque)), now);
            return;
        }
        self.calls.open(opaque, Call { link, code, opened: now.mono, timeout, waiter });
        match want {
            Want::Up(_) => self.actions.push_back(Action::Write { link, bytes: frame }),
            Want::Connecting(_) => self.links.wait(link, Waiting { opaque, oneway, frame }),
            Want::Made(_) => {
                self.links.wait(link, Waiting { opaque, oneway, frame });
                self.actions.push_back(Action::Connect { link, addr: addr.clone() });
            }
        }
    }

    /// Has a connection made for heartbeats, if there is none and enough are left for those that need one for more. Says whether
    /// there is one then.
    pub(super) fn connect(&mut self, addr: &Addr, is_needed: bool, now: Time) -> bool {
        let max = self.config().connections_max;
        let has_room =
            self.has_room_for(addr, max - max / 8) || (is_needed && self.give_one_back(false, now));
        if has_room
            && !self.is_closed
            && let Want::Made(link) = self.links.want(addr, now.mono)
        {
            self.actions.push_back(Action::Connect { link, addr: addr.clone() });
        }
        has_room
    }

    /// Name servers are few, told by the user, and must be heard whatever they say of brokers.
    fn has_room_for(&self, addr: &Addr, max: usize) -> bool {
        self.links.leads_to(addr) || self.links.count() < max || self.name_servers.contains(addr)
    }

    /// Closes a connection that carries heartbeats only, for another one. Says whether there was one; one whose heartbeats are
    /// needed only counts for a caller.
    fn give_one_back(&mut self, is_for_caller: bool, now: Time) -> bool {
        let spare = self.links.spare(now.mono, self.config().idle_max);
        let may_go = |spare: &Spare| {
            let is_name_server =
                self.links.addr(spare.id).is_some_and(|addr| self.name_servers.contains(addr));
            let mut calls = self.calls.of_link(spare.id);
            (is_for_caller || !spare.is_needed)
                && !is_name_server
                && calls.all(|call| matches!(call.waiter, Waiter::Heartbeat { .. }))
        };
        let Some(Spare { id, .. }) = spare.into_iter().find(may_go) else {
            return false;
        };
        self.drop_link(id, "another broker needs a connection more", now);
        true
    }

    /// Sends a request whose end interests nobody.
    pub(super) fn tell(&mut self, addr: &Addr, command: RemotingCommand, now: Time) {
        self.request(addr, command.oneway(), Waiter::Nobody, self.config().api_timeout, now);
    }

    /// Writes an answer to a request that came over `link`, in the form it came in.
    pub(super) fn respond(&mut self, link: LinkId, codec: Codec, command: &RemotingCommand, now: Time) {
        if !self.links.is_up(link) {
            return;
        }
        let bytes = command.encode(codec);
        if self.links.backlog(link, bytes.len(), self.config().write_bytes_max.saturating_mul(2)).is_some() {
            return self.drop_link(link, "it asks, and does not read what it is answered", now);
        }
        self.links.queued(link, bytes.len());
        self.links.used(link, now.mono);
        self.links.worked(link, now.mono);
        self.actions.push_back(Action::Write { link, bytes });
    }

    fn take_frame(&mut self, link: LinkId, frame: &Frame<'_>, now: Time) {
        let command = match RemotingCommand::from_frame(frame) {
            Ok(command) => command,
            Err(error) => return self.drop_link(link, &error.to_string(), now),
        };
        if !command.is_response() {
            return self.asked(link, frame.codec, command, now);
        }
        if command.code == response::GO_AWAY {
            self.links.retire(link);
        }
        let Some(call) = self.calls.answered(link, command.opaque) else {
            log::debug!("an answer to {} came too late or was never asked for", command.opaque);
            return;
        };
        self.answered(call.waiter, Ok(command), now);
    }

    /// A call ran out of time. A link that brought nothing since the call was made is taken for dead.
    fn expire(&mut self, call: Call<Waiter>, now: Time) {
        let addr = self.links.addr(call.link).map_or_else(String::new, ToString::to_string);
        let is_dead = self.links.is_up(call.link) && self.links.is_silent_since(call.link, call.opened);
        log::debug!("request {} to {addr} had no answer in {:?}", call.code, call.timeout);
        self.answered(call.waiter, Err(ClientError::Timeout { addr, after: call.timeout }), now);
        if is_dead {
            self.drop_link(call.link, "it did not answer in time", now);
        }
    }

    pub(super) fn drop_link(&mut self, link: LinkId, reason: &str, now: Time) {
        self.actions.push_back(Action::Close { link });
        self.link_down(link, reason, now);
    }

    fn answered(&mut self, waiter: Waiter, answer: Result<RemotingCommand, ClientError>, now: Time) {
        match waiter {
            Waiter::Outside(token) => self.answer(token, answer.map(Answer::Reply)),
            Waiter::Nobody => {}
            Waiter::Route { topic } => self.route_answered(&topic, answer, now),
            Waiter::Heartbeat { broker, addr } => self.heartbeat_answered(&broker, &addr, answer),
            Waiter::Send(id) => self.send_answered(id, answer, now),
            Waiter::Members { group, topic } => self.members_answered(&group, &topic, answer, now),
            Waiter::Lock { group, topic, asked } => self.lock_answered(&group, &topic, &asked, answer, now),
            Waiter::Relock { group, asked } => self.relock_answered(&group, &asked, answer, now),
            Waiter::Offset { group, run } => self.offset_answered(&group, run, answer, now),
            Waiter::StartAt { group, run } => self.start_answered(&group, run, answer, now),
            Waiter::Pull { group, run } => self.pull_answered(&group, run, answer, now),
            Waiter::SendBack { group, task, offset } => {
                self.send_back_answered(&group, task, offset, answer, now);
            }
        }
    }

    fn fire(&mut self, timer: Timer, now: Time) {
        match timer {
            Timer::RefreshRoutes => {
                self.timers.set(now.mono + self.config().poll_name_server, Timer::RefreshRoutes);
                self.refresh_routes(now);
            }
            Timer::Heartbeat => {
                self.timers.set(now.mono + self.config().heartbeat_broker, Timer::Heartbeat);
                self.forget_offline_brokers();
                self.heartbeat_all(now);
            }
            Timer::PersistOffsets => {
                self.timers.set(now.mono + self.config().persist_consumer_offset, Timer::PersistOffsets);
                self.persist_all(now);
            }
            Timer::CloseIdle => {
                let idle_max = self.config().idle_max;
                self.timers.set(now.mono + idle_max / 4, Timer::CloseIdle);
                for link in self.links.idle(now.mono, idle_max) {
                    self.drop_link(link, "idle", now);
                }
            }
            Timer::Rebalance { group } => self.rebalance_due(&group, now),
            Timer::Pull { group, run } => self.pull(&group, run, now),
            Timer::Consume { group, run } => self.consume_due(&group, run, now),
            Timer::Relock { group } => self.relock_all(&group, now),
            Timer::CleanExpired { group } => self.clean_expired(&group, now),
            Timer::RequestExpired { correlation } => self.request_expired(&correlation),
        }
    }
}

/// What a one-way request's waiter gets once it is written.
fn written(opaque: i32) -> RemotingCommand {
    RemotingCommand::response(response::SUCCESS, opaque).body(Bytes::new())
}

const FIRST_REFRESH: Duration = Duration::from_secs(10);
const FIRST_HEARTBEAT: Duration = Duration::from_secs(1);
const FIRST_PERSIST: Duration = Duration::from_secs(10);
