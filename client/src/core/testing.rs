//! What the core's tests share: records and routes made by hand, and a world of scripted peers in virtual time.

use crate::config::ClientConfig;
use crate::core::{Action, Answer, Check, Consumed, Instance, LinkId, Packed, Settings, TaskId, Time, Token};
use crate::error::ClientError;
use crate::message::{Message, MessageExt, MessageQueue};
use crate::result::SendResult;
use protocol::RemotingCommand;
use protocol::body::{Body, BrokerData, QueueData, TopicRouteData};
use protocol::code::{request, response};
use protocol::frame::{Codec, Found, find};
use protocol::record::{RecordDraft, Stamp};
use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

pub(crate) fn message_at(topic: &str, queue_id: i32, offset: i64) -> MessageExt {
    let host = SocketAddr::from(([10, 0, 0, 1], 10911));
    MessageExt {
        message: Message::new(topic, format!("message {offset}")),
        queue: MessageQueue::new(topic, "broker-a", queue_id),
        queue_offset: offset,
        commit_log_offset: offset * 200,
        prepared_transaction_offset: 0,
        sys_flag: 0,
        born_timestamp: 0,
        born_host: host,
        store_timestamp: 0,
        store_host: host,
        reconsume_times: 0,
        body_crc: 0,
        store_bytes: 200,
        offset_msg_id: protocol::ids::offset_id(host, offset * 200).to_string(),
    }
}

pub(crate) fn record_bytes(
    topic: &str,
    queue_id: i32,
    queue_offset: i64,
    body: &[u8],
    properties: &[u8],
    sys_flag: i32,
) -> Vec<u8> {
    let host = SocketAddr::from(([10, 0, 0, 1], 10911));
    let draft = RecordDraft {
        sys_flag,
        born_timestamp: 1,
        properties,
        ..RecordDraft::plain(topic.as_bytes(), queue_id, host, body)
    };
    let mut out = vec![0; draft.encoded_len()];
    draft.encode_into(
        &mut out,
        &Stamp { queue_offset, physical_offset: queue_offset * 200, store_timestamp: 2 },
    );
    out
}

pub(crate) fn zlib(body: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(body).expect("memory takes it");
    packer.finish().expect("memory takes it")
}

/// Broker, its (id, address)s, perm, write queues, read queues.
pub(crate) type BrokerRow<'a> = (&'a str, &'a [(i64, &'a str)], i32, i32, i32);

pub(crate) fn route_data(brokers: &[BrokerRow<'_>]) -> TopicRouteData {
    let mut data = TopicRouteData::default();
    for (name, addrs, perm, write, read) in brokers {
        data.broker_datas.push(BrokerData {
            broker_name: (*name).to_owned(),
            cluster: "C".to_owned(),
            broker_addrs: addrs.iter().map(|(id, addr)| (*id, (*addr).to_owned())).collect(),
            ..BrokerData::default()
        });
        data.queue_datas.push(QueueData {
            broker_name: (*name).to_owned(),
            perm: *perm,
            write_queue_nums: *write,
            read_queue_nums: *read,
            ..QueueData::default()
        });
    }
    data
}

/// A client instance in a world of scripted peers and virtual time.
///
/// Peers answer at once, or after `delay`, by a closure from request to answer; a peer that gives `None` stays silent.
/// What the instance wants of the shell (answers, listener calls) piles up to be looked at.
pub(crate) struct World {
    pub core: Instance,
    pub now: Time,
    peers: BTreeMap<String, Peer>,
    links: BTreeMap<LinkId, String>,
    /// Bytes that arrive at a moment.
    inbound: Vec<(Duration, LinkId, Vec<u8>)>,
    /// Every request a peer got: when, which peer, what.
    pub asked: Vec<(Duration, String, RemotingCommand)>,
    pub answers: BTreeMap<Token, Result<Answer, ClientError>>,
    pub tasks: VecDeque<(TaskId, Vec<Arc<MessageExt>>)>,
    pub checks: Vec<Check>,
    pub saved: Vec<String>,
    /// What is to be unpacked, when the shell takes its time for it.
    pub packed: VecDeque<Packed>,
    pub is_slow_to_unpack: bool,
}

struct Peer {
    script: Script,
    is_up: bool,
    /// Whether it reads what it is sent; what it does not read stays unwritten.
    is_reading: bool,
    delay: Duration,
}

pub(crate) type Script = Box<dyn FnMut(&RemotingCommand) -> Option<RemotingCommand>>;

pub(crate) const NAME_SERVER: &str = "ns:9876";
pub(crate) const BROKER_A: &str = "a:10911";
pub(crate) const BROKER_B: &str = "b:10911";

impl World {
    /// With one name server that knows `route` for every topic in `topics`, and the brokers a and b, which store
    /// whatever they are sent.
    pub fn new(topics: &[&str], route: TopicRouteData) -> World {
        World::with_config(topics, route, ClientConfig::new(NAME_SERVER))
    }

    pub fn with_config(topics: &[&str], route: TopicRouteData, config: ClientConfig) -> World {
        let settings = Settings {
            config,
            client_id: "10.0.0.9@test".to_owned(),
            ip: IpAddr::from([10, 0, 0, 9]),
            pid: 1,
            seed: 7,
        };
        let mut world = World {
            core: Instance::new(settings),
            now: Time { mono: Duration::from_secs(1000), wall_ms: 1_795_000_000_000 },
            peers: BTreeMap::new(),
            links: BTreeMap::new(),
            inbound: Vec::new(),
            asked: Vec::new(),
            answers: BTreeMap::new(),
            tasks: VecDeque::new(),
            checks: Vec::new(),
            saved: Vec::new(),
            packed: VecDeque::new(),
            is_slow_to_unpack: false,
        };
        world.peer(NAME_SERVER, name_server(topics, route));
        world.peer(BROKER_A, broker());
        world.peer(BROKER_B, broker());
        world
    }

    pub fn peer(&mut self, addr: &str, script: Script) {
        self.peers
            .insert(addr.to_owned(), Peer { script, is_up: true, is_reading: true, delay: Duration::ZERO });
    }

    pub fn set_delay(&mut self, addr: &str, delay: Duration) {
        self.peers.get_mut(addr).expect("a peer of this world").delay = delay;
    }

    /// The peer stands still: it keeps its connections and reads nothing more.
    pub fn stop_reading(&mut self, addr: &str) {
        self.peers.get_mut(addr).expect("a peer of this world").is_reading = false;
    }

    pub fn link_count(&self) -> usize {
        self.links.len()
    }

    pub fn has_link(&self, addr: &str) -> bool {
        self.links.values().any(|to| to == addr)
    }

    /// The peer's process dies, or comes back; its connections break.
    pub fn set_up(&mut self, addr: &str, is_up: bool) {
        self.peers.get_mut(addr).expect("a peer of this world").is_up = is_up;
        if !is_up {
            let broken: Vec<LinkId> =
                self.links.iter().filter(|(_, to)| *to == addr).map(|(link, _)| *link).collect();
            for link in broken {
                self.links.remove(&link);
                self.core.link_down(link, "reset", self.now);
            }
            self.settle();
        }
    }

    /// Carries out what the instance wants until it wants nothing more at this moment.
    pub fn settle(&mut self) {
        loop {
            while let Some(action) = self.core.next_action() {
                self.carry_out(action);
            }
            let Some(due) = self.inbound.iter().position(|(at, ..)| *at <= self.now.mono) else {
                return;
            };
            let (_, link, bytes) = self.inbound.remove(due);
            if self.links.contains_key(&link) {
                let taken = self.core.received(link, &bytes, self.now);
                assert_eq!(taken, bytes.len(), "peers send whole frames");
            }
        }
    }

    /// Lets time pass, stopping at every moment something is due.
    pub fn pass(&mut self, span: Duration) {
        let until = self.now.mono + span;
        self.settle();
        loop {
            let arrival = self.inbound.iter().map(|(at, ..)| *at).min();
            let next = [self.core.next_deadline(), arrival].into_iter().flatten().min();
            let Some(at) = next.filter(|at| *at <= until) else {
                break;
            };
            self.now = self.now.after(at.saturating_sub(self.now.mono));
            self.core.tick(self.now);
            self.settle();
        }
        self.now = self.now.after(until - self.now.mono);
    }

    /// The requests of this code that a peer got so far.
    pub fn asked_of(&self, addr: &str, code: i32) -> Vec<&RemotingCommand> {
        let of = self.asked.iter().filter(|(_, to, command)| to == addr && command.code == code);
        of.map(|(_, _, command)| command).collect()
    }

    pub fn count(&self, code: i32) -> usize {
        self.asked.iter().filter(|(_, _, command)| command.code == code).count()
    }

    pub fn answer(&mut self, token: Token) -> Result<Answer, ClientError> {
        self.answers.remove(&token).expect("the operation has ended")
    }

    pub fn sent(&mut self, token: Token) -> Result<SendResult, ClientError> {
        self.answer(token).map(|answer| match answer {
            Answer::Sent(result) => result,
            other => panic!("no send ends with {other:?}"),
        })
    }

    /// A broker asks or tells the client something over its connection.
    pub fn tell(&mut self, addr: &str, command: &RemotingCommand) {
        let link = self.links.iter().find(|(_, to)| *to == addr).map(|(link, _)| *link);
        self.inbound.push((self.now.mono, link.expect("a connection"), command.encode(Codec::Json)));
        self.settle();
    }

    /// The listener is done with the oldest task; gives the messages it was called with.
    pub fn consume(&mut self, group: &str, result: Consumed) -> Vec<Arc<MessageExt>> {
        let (task, messages) = self.tasks.pop_front().expect("the listener was called");
        self.core.consumed(group, task, result, self.now);
        self.settle();
        messages
    }

    /// The shell has unpacked the oldest of what is to be.
    pub fn unpack(&mut self) {
        let packed = self.packed.pop_front().expect("something is to be unpacked");
        self.core.unpacked(Some(packed.unpack()), self.now);
        self.settle();
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Connect { link, addr } => match self.peers.get(&*addr) {
                Some(peer) if peer.is_up => {
                    self.links.insert(link, addr.to_string());
                    self.core.link_up(link, self.now);
                }
                _ => self.core.link_down(link, "refused", self.now),
            },
            Action::Write { link, bytes } => self.deliver(link, &bytes),
            Action::Close { link } => {
                self.links.remove(&link);
            }
            Action::Answer { token, answer } => {
                let before = self.answers.insert(token, answer);
                assert!(before.is_none(), "an operation ends once");
            }
            Action::Consume { task, messages, .. } => self.tasks.push_back((task, messages)),
            Action::Check(check) => self.checks.push(*check),
            Action::Unpack(packed) if self.is_slow_to_unpack => self.packed.push_back(packed),
            Action::Unpack(packed) => self.core.unpacked(Some(packed.unpack()), self.now),
            Action::SaveOffsets { json, .. } => self.saved.push(json),
        }
    }

    fn deliver(&mut self, link: LinkId, bytes: &[u8]) {
        let Some(addr) = self.links.get(&link) else {
            return;
        };
        let peer = self.peers.get_mut(addr).expect("links lead to peers");
        if !peer.is_reading {
            return;
        }
        self.core.written(link, bytes.len());
        let Ok(Found::Whole { frame, .. }) = find(bytes) else { panic!("a client writes whole frames") };
        let command = RemotingCommand::from_frame(&frame).expect("a client writes sound frames");
        let answer = (peer.script)(&command);
        if let Some(mut answer) = answer.filter(|_| !command.is_oneway() && !command.is_response()) {
            answer.opaque = command.opaque;
            self.inbound.push((self.now.mono + peer.delay, link, answer.encode(Codec::Json)));
        }
        self.asked.push((self.now.mono, addr.clone(), command));
    }
}

pub(crate) fn ok() -> RemotingCommand {
    RemotingCommand::response(response::SUCCESS, 0)
}

pub(crate) fn refusal(code: i32, remark: &str) -> RemotingCommand {
    RemotingCommand::response(code, 0).remark(remark)
}

/// Knows `route` for the topics named, and 17 for all others.
pub(crate) fn name_server(topics: &[&str], route: TopicRouteData) -> Script {
    let topics: Vec<String> = topics.iter().map(|&topic| topic.to_owned()).collect();
    Box::new(move |command| {
        let topic = command.ext("topic").unwrap_or("");
        let is_known = topics.iter().any(|known| known == topic);
        Some(if is_known {
            ok().body(route.encode())
        } else {
            refusal(response::TOPIC_NOT_EXIST, "no route")
        })
    })
}

/// Stores whatever it is sent, and says yes to everything else.
pub(crate) fn broker() -> Script {
    let mut next_offset = 0;
    Box::new(move |command| {
        Some(match command.code {
            request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE => {
                next_offset += 1;
                stored(command, response::SUCCESS, next_offset - 1)
            }
            _ => ok(),
        })
    })
}

pub(crate) fn stored(command: &RemotingCommand, code: i32, queue_offset: i64) -> RemotingCommand {
    let host = SocketAddr::from(([10, 0, 0, 1], 10911));
    RemotingCommand::response(code, 0)
        .field("msgId", protocol::ids::offset_id(host, queue_offset * 200))
        .field("queueId", command.ext("e").unwrap_or("0"))
        .field("queueOffset", queue_offset)
}

/// How a broker hands a reply to who asked for it.
pub(crate) fn pushed_reply(
    correlation: &str,
    sys_flag: i32,
    body: impl Into<bytes::Bytes>,
) -> RemotingCommand {
    RemotingCommand::request(request::PUSH_REPLY_MESSAGE_TO_CLIENT)
        .field("producerGroup", "G")
        .field("topic", "C_REPLY_TOPIC")
        .field("defaultTopic", "TBW102")
        .field("defaultTopicQueueNums", 4)
        .field("queueId", 0)
        .field("sysFlag", sys_flag)
        .field("bornTimestamp", 1)
        .field("flag", 0)
        .field("properties", format!("CORRELATION_ID\u{1}{correlation}\u{2}"))
        .field("bornHost", "a:1")
        .field("storeHost", "a:1")
        .field("storeTimestamp", 1)
        .body(body)
}

/// Two brokers with four queues each.
pub(crate) fn two_brokers() -> TopicRouteData {
    route_data(&[("broker-a", &[(0, BROKER_A)], 6, 4, 4), ("broker-b", &[(0, BROKER_B)], 6, 4, 4)])
}

pub(crate) fn one_broker(queues: i32) -> TopicRouteData {
    route_data(&[("broker-a", &[(0, BROKER_A)], 6, queues, queues)])
}
