//! The name server as a state machine: one request and the time in, one reply and its consequences out.
//!
//! ```text
//! RemotingCommand -> request.rs (decode, no lock) -> Query  -> look(&self)       -> Reply
//!                                                 -> Change -> apply(&mut self)  -> Reply + Effects
//!                         a channel closed, a tick --------> close, tick         ->         Effects
//! ```
//!
//! No socket, no file, no clock: `server.rs` holds the lock, passes the time and carries the effects out.

pub mod kv;
pub mod lists;
pub mod liveness;
pub mod request;
pub mod route;

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::body::{
    Body, BrokerMemberGroup, GetBrokerMemberGroupResponseBody, KVTable, MASTER_ID, TopicList, TopicRouteData,
};
use protocol::code::response;

use crate::config::{Config, Settings};
use kv::{Full, KvTable, ORDER_TOPIC_CONFIG};
use liveness::{Channel, Millis};
use request::{Change, Query};
use route::{MinIdChange, Registered, RouteTable};

/// An answer, still without the opaque and the codec of its request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reply {
    pub code: i32,
    pub remark: Option<String>,
    pub fields: Vec<(&'static str, String)>,
    pub body: Bytes,
}

/// What must be done outside the tables because of a change.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// The KV file is out of date.
    pub kv_changed: bool,
    /// The settings file is out of date.
    pub config_changed: bool,
    /// Brokers to tell who their lowest id is now.
    pub notify: Vec<MinIdChange>,
    /// Connections to close, because what they registered has gone silent.
    pub close: Vec<Channel>,
}

pub struct NameServer {
    config: Config,
    settings: Settings,
    routes: RouteTable,
    kv: KvTable,
    started: Millis,
}

impl NameServer {
    pub fn new(config: Config, kv: KvTable, now: Millis) -> Self {
        Self { settings: config.settings(), config, routes: RouteTable::default(), kv, started: now }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn kv(&self) -> &KvTable {
        &self.kv
    }

    /// Answers what only looks.
    pub fn look(&self, query: Query, now: Millis) -> Reply {
        match query {
            Query::Route { topic, quoted, zone } => self.route(&topic, quoted, zone.as_deref(), now),
            Query::Kv { namespace, key } => match self.kv.get(&namespace, &key) {
                Some(value) => Reply::ok().field("value", value),
                None => not_found(format!("No config item, Namespace: {namespace} Key: {key}")),
            },
            Query::KvNamespace { namespace } => match self.kv.namespace(&namespace) {
                Some(table) => Reply::ok().body(kv_body(table)),
                None => not_found(format!("No config item, Namespace: {namespace}")),
            },
            Query::ClusterInfo => Reply::ok().body(self.routes.cluster_info().encode()),
            Query::Members { cluster, broker_name } => {
                let broker_addrs = self.routes.members(&broker_name);
                let group = BrokerMemberGroup { cluster, broker_name, broker_addrs };
                let body = GetBrokerMemberGroupResponseBody { broker_member_group: Some(group) };
                // The official handler never sets a remark, so the one it was made with stays.
                Reply {
                    remark: Some("not set any response code".to_owned()),
                    ..Reply::ok().body(body.encode())
                }
            }
            Query::AllTopics if !self.settings.enable_all_topic_list => disabled(),
            Query::AllTopics => topic_list(self.routes.all_topics(), None),
            Query::SystemTopics => {
                let (names, broker_addr) = self.routes.system_topics();
                topic_list(names, broker_addr)
            }
            Query::TopicsOfCluster { .. } | Query::UnitTopics(_) if !self.settings.enable_topic_list => {
                disabled()
            }
            Query::TopicsOfCluster { cluster } => topic_list(self.routes.topics_of_cluster(&cluster), None),
            Query::UnitTopics(list) => topic_list(self.routes.unit_topics(list), None),
            Query::Config => Reply::ok().body(self.config.to_text()),
        }
    }

    fn route(&self, topic: &str, quoted: bool, zone: Option<&str>, now: Millis) -> Reply {
        let waited_ms = u128::from(now.saturating_sub(self.started));
        if waited_ms < self.settings.wait_for_service.as_millis() {
            return Reply::error("name server not ready");
        }
        let Some(mut route) = self.routes.route(topic, self.settings.support_acting_master) else {
            return Reply {
                code: response::TOPIC_NOT_EXIST,
                remark: Some(format!("No topic route info in name server for the topic: {topic}{SEE_FAQ}")),
                ..Reply::default()
            };
        };
        if self.settings.order_message_enable {
            route.order_topic_conf = self.kv.get(ORDER_TOPIC_CONFIG, topic).map(str::to_owned);
        }
        if let Some(zone) = zone {
            keep_zone(&mut route, zone);
            return Reply::ok().body(route.encode());
        }
        Reply::ok().body(if quoted { route.encode_standard() } else { route.encode() })
    }

    /// Carries out what changes a table. `channel` is the connection it came by. The change is lent, so that freeing a
    /// big one does not keep anybody waiting.
    pub fn apply(&mut self, change: &Change, channel: Channel, now: Millis) -> (Reply, Effects) {
        let mut effects = Effects::default();
        let reply = match change {
            Change::Register(registration) => self.register(registration, channel, &mut effects, now),
            Change::Unregister(leaving) => {
                effects.notify = self.routes.leave(std::slice::from_ref(leaving));
                Reply::ok()
            }
            Change::DataVersion { key, version } => {
                self.routes.touch(key, now);
                let (changed, known) = self.routes.data_version(key, version.as_ref());
                let body = known.map(|version| version.encode()).unwrap_or_default();
                Reply::ok().field("changed", changed).body(body)
            }
            Change::Heartbeat { key } => {
                self.routes.touch(key, now);
                Reply::ok()
            }
            Change::PutKv { namespace, key, value } => {
                match self.kv.put(namespace.clone(), key.clone(), value.clone()) {
                    Ok(()) => {
                        effects.kv_changed = true;
                        Reply::ok()
                    }
                    Err(Full) => Reply::error(KV_FULL),
                }
            }
            Change::DeleteKv { namespace, key } => {
                effects.kv_changed = self.kv.delete(namespace, key);
                Reply::ok()
            }
            Change::SwitchWrite { broker_name, switch } => {
                let count = self.routes.switch_write(broker_name, *switch);
                Reply::ok().field(switch.count_field(), count)
            }
            Change::DeleteTopic { topic, cluster } => {
                self.routes.delete_topic(topic, cluster.as_deref());
                Reply::ok()
            }
            Change::RegisterTopic { topic, route } => {
                self.routes.register_topic(topic, &route.queue_datas);
                Reply::ok()
            }
            Change::UpdateConfig(entries) => match self.config.update(entries) {
                Ok(()) => {
                    self.settings = self.config.settings();
                    effects.config_changed = !entries.is_empty();
                    Reply::ok()
                }
                Err(_) => Reply {
                    code: response::NO_PERMISSION,
                    remark: Some("Can not update config in black list.".to_owned()),
                    ..Reply::default()
                },
            },
        };
        if !self.settings.notify_min_broker_id_changed {
            effects.notify.clear();
        }
        (reply, effects)
    }

    fn register(
        &mut self,
        registration: &route::Registration,
        channel: Channel,
        effects: &mut Effects,
        now: Millis,
    ) -> Reply {
        let forget_topics = self.settings.delete_topic_with_broker_registration;
        let mut reply = Reply::ok();
        match self.routes.register(registration, channel, forget_topics, now) {
            Registered::Refused => return Reply::error("register broker failed"),
            Registered::Outdated => {}
            Registered::Taken { master, min_id_change } => {
                effects.notify.extend(min_id_change);
                if let Some(master) = master {
                    reply = reply
                        .field("haServerAddr", master.ha_server_addr)
                        .field("masterAddr", master.address);
                }
            }
        }
        let order = self.kv.namespace(ORDER_TOPIC_CONFIG);
        match order.filter(|_| self.settings.return_order_topic_config_to_broker) {
            Some(table) => reply.body(kv_body(table)),
            None => reply,
        }
    }

    /// A connection is gone, and with it all that was registered by it.
    pub fn close(&mut self, channel: Channel) -> Effects {
        let notify = self.routes.close(channel);
        self.effects_of_departure(notify, Vec::new())
    }

    /// Takes out what has been silent for too long.
    pub fn tick(&mut self, now: Millis) -> Effects {
        let (close, notify) = self.routes.expire(now);
        self.effects_of_departure(notify, close)
    }

    fn effects_of_departure(&self, notify: Vec<MinIdChange>, close: Vec<Channel>) -> Effects {
        let notify = if self.settings.notify_min_broker_id_changed { notify } else { Vec::new() };
        Effects { notify, close, ..Effects::default() }
    }
}

impl Reply {
    fn ok() -> Self {
        Self { code: response::SUCCESS, ..Self::default() }
    }

    pub fn error(remark: impl Into<String>) -> Self {
        Self { code: response::SYSTEM_ERROR, remark: Some(remark.into()), ..Self::default() }
    }

    fn field(mut self, name: &'static str, value: impl ToString) -> Self {
        self.fields.push((name, value.to_string()));
        self
    }

    fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

impl From<request::Refusal> for Reply {
    fn from(refusal: request::Refusal) -> Self {
        Self { code: refusal.code, remark: Some(refusal.remark), ..Self::default() }
    }
}

/// Leaves the brokers of one zone, those of no zone, and those whose master is down: their slaves serve everybody.
fn keep_zone(route: &mut TopicRouteData, zone: &str) {
    route.broker_datas.retain(|broker| {
        let home = broker.zone_name.as_deref().is_none_or(|name| name.eq_ignore_ascii_case(zone));
        home || !broker.broker_addrs.contains_key(&MASTER_ID)
    });
    let kept = &route.broker_datas;
    let addresses =
        |address: &String| kept.iter().any(|broker| broker.broker_addrs.values().any(|a| a == address));
    route.queue_datas.retain(|data| kept.iter().any(|broker| broker.broker_name == data.broker_name));
    route.filter_server_table.retain(|address, _| addresses(address));
}

fn kv_body(table: &BTreeMap<String, String>) -> Vec<u8> {
    KVTable { table: table.clone() }.encode()
}

fn topic_list(topic_list: Vec<String>, broker_addr: Option<String>) -> Reply {
    Reply::ok().body(TopicList { topic_list, broker_addr }.encode())
}

fn not_found(remark: String) -> Reply {
    Reply { code: response::QUERY_NOT_FOUND, remark: Some(remark), ..Reply::default() }
}

fn disabled() -> Reply {
    Reply::error("disable")
}

const KV_FULL: &str =
    "the KV settings have no room for it: 8 MiB of names, keys and values are the most; delete some first";
const SEE_FAQ: &str = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";
