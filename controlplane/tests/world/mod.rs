//! A name server without sockets, and brokers that talk to it in whole commands.
#![allow(dead_code)] // Each test file uses its own part.

use controlplane::config::Config;
use controlplane::namesrv::kv::KvTable;
use controlplane::namesrv::liveness::{Channel, Millis};
use controlplane::namesrv::request::Request;
use controlplane::namesrv::{Effects, NameServer, Reply};
use protocol::RemotingCommand;
use protocol::code::request;
use serde_json::{Value, json};

pub struct World {
    pub server: NameServer,
    pub now: Millis,
}

impl World {
    pub fn new(settings: &[&str]) -> Self {
        let mut config = Config::new("/nowhere", None);
        settings.iter().for_each(|setting| config.read_argument(setting).unwrap());
        Self { server: NameServer::new(config, KvTable::default(), 0), now: 0 }
    }

    /// Everything that does not name its channel comes by channel 1.
    pub fn ask(&mut self, command: RemotingCommand) -> Reply {
        self.ask_on(1, command).0
    }

    pub fn ask_on(&mut self, channel: u64, command: RemotingCommand) -> (Reply, Effects) {
        match Request::read(&command) {
            Err(refusal) => (refusal.into(), Effects::default()),
            Ok(Request::Query(query)) => (self.server.look(query, self.now), Effects::default()),
            Ok(Request::Change(change)) => self.server.apply(&change, Channel(channel), self.now),
        }
    }

    pub fn register(&mut self, broker: &Broker) -> Reply {
        self.ask(broker.registration())
    }

    pub fn close(&mut self, channel: u64) -> Effects {
        self.server.close(Channel(channel))
    }

    /// The route of a topic, as 4.9.4 and later read it; `None` for code 17.
    pub fn route(&mut self, topic: &str) -> Option<Value> {
        let reply = self.ask(ask(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", topic)]));
        match reply.code {
            0 => Some(serde_json::from_slice(&reply.body).unwrap()),
            17 => None,
            other => panic!("code {other}: {:?}", reply.remark),
        }
    }

    /// `id=address` of the first broker of a route.
    pub fn addresses(&mut self, topic: &str) -> Vec<String> {
        let route = self.route(topic).expect("the topic has a route");
        let addresses = route["brokerDatas"][0]["brokerAddrs"].as_object().unwrap();
        addresses.iter().map(|(id, address)| format!("{id}={}", address.as_str().unwrap())).collect()
    }

    /// The permission of the first queue data of a route.
    pub fn perm(&mut self, topic: &str) -> i64 {
        self.route(topic).expect("the topic has a route")["queueDatas"][0]["perm"].as_i64().unwrap()
    }

    pub fn cluster_info(&mut self) -> String {
        String::from_utf8(self.ask(ask(request::GET_BROKER_CLUSTER_INFO, &[])).body.to_vec()).unwrap()
    }
}

pub fn ask(code: i32, fields: &[(&str, &str)]) -> RemotingCommand {
    fields.iter().fold(RemotingCommand::request(code), |command, (name, value)| command.field(*name, value))
}

/// What a broker says about itself; `..Broker::default()` is master of broker-a with topics A and B.
#[derive(Clone)]
pub struct Broker {
    pub cluster: &'static str,
    pub name: &'static str,
    pub addr: &'static str,
    pub id: i64,
    /// counter, stateVersion, timestamp
    pub version: (i64, i64, i64),
    pub topics: Vec<&'static str>,
    pub perm: i64,
    pub flags: i64,
    pub more: Vec<(&'static str, &'static str)>,
    pub filters: Vec<&'static str>,
}

impl Default for Broker {
    fn default() -> Self {
        Self {
            cluster: "C",
            name: "broker-a",
            addr: "10.0.0.1:10911",
            id: 0,
            version: (1, 0, 1_700_000_000_000),
            topics: vec!["A", "B"],
            perm: 6,
            flags: 0,
            more: Vec::new(),
            filters: Vec::new(),
        }
    }
}

impl Broker {
    pub fn slave() -> Self {
        Self { addr: "10.0.0.2:10911", id: 1, ..Self::default() }
    }

    pub fn registration(&self) -> RemotingCommand {
        let id = self.id.to_string();
        let ha = format!("{}9", self.addr);
        let mut fields = vec![
            ("clusterName", self.cluster),
            ("brokerName", self.name),
            ("brokerAddr", self.addr),
            ("brokerId", id.as_str()),
            ("haServerAddr", ha.as_str()),
            ("compressed", "false"),
            ("bodyCrc32", "0"),
        ];
        fields.extend(&self.more);
        ask(request::REGISTER_BROKER, &fields).body(self.body().to_string().into_bytes())
    }

    pub fn body(&self) -> Value {
        let topics = self.topics.iter().map(|name| (name.to_string(), self.topic(name)));
        json!({
            "filterServerList": self.filters,
            "topicConfigSerializeWrapper": {
                "dataVersion": self.data_version(),
                "topicConfigTable": Value::Object(topics.collect()),
            },
        })
    }

    pub fn topic(&self, name: &str) -> Value {
        json!({
            "order": false, "perm": self.perm, "readQueueNums": 4, "topicFilterType": "SINGLE_TAG",
            "topicName": name, "topicSysFlag": self.flags, "writeQueueNums": 4,
        })
    }

    pub fn data_version(&self) -> Value {
        let (counter, state_version, timestamp) = self.version;
        json!({ "counter": counter, "stateVersion": state_version, "timestamp": timestamp })
    }

    /// The four fields that name a broker.
    pub fn ask(&self, code: i32) -> RemotingCommand {
        let id = self.id.to_string();
        ask(
            code,
            &[
                ("clusterName", self.cluster),
                ("brokerName", self.name),
                ("brokerAddr", self.addr),
                ("brokerId", &id),
            ],
        )
    }

    pub fn unregistration(&self) -> RemotingCommand {
        self.ask(request::UNREGISTER_BROKER)
    }
}
