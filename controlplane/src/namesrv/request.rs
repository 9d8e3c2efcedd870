//! What a request asks, read out of its fields and body before any lock is taken.
//!
//! Every code of the name server's side of the wire (docs/COMPAT.md) is here, and nowhere else. Like the official server,
//! a missing field is no error in itself: the answer is what it would be for a thing that does not exist. Only a
//! registration is refused, because it would leave a nameless broker behind.

use protocol::RemotingCommand;
use protocol::body::{
    Body, DataVersion, RegisterBrokerBody, TopicConfigSerializeWrapper, TopicRouteData, body_crc32,
};
use protocol::code::request as code;
use protocol::code::response;
use protocol::config_text::{self, Entry};

use super::lists::{UnitList, WriteSwitch};
use super::liveness::BrokerKey;
use super::route::{Leaving, Registration};

pub enum Request {
    Query(Query),
    Change(Change),
}

/// Only looks: many may be answered at once.
pub enum Query {
    Route { topic: String, quoted: bool, zone: Option<String> },
    Kv { namespace: String, key: String },
    KvNamespace { namespace: String },
    ClusterInfo,
    Members { cluster: String, broker_name: String },
    AllTopics,
    TopicsOfCluster { cluster: String },
    SystemTopics,
    UnitTopics(UnitList),
    Config,
}

/// Changes a table: one at a time.
pub enum Change {
    Register(Box<Registration>),
    Unregister(Leaving),
    /// Asks whether a data version is news, which is also a sign of life.
    DataVersion {
        key: BrokerKey,
        version: Option<DataVersion>,
    },
    Heartbeat {
        key: BrokerKey,
    },
    PutKv {
        namespace: String,
        key: String,
        value: Option<String>,
    },
    DeleteKv {
        namespace: String,
        key: String,
    },
    SwitchWrite {
        broker_name: String,
        switch: WriteSwitch,
    },
    DeleteTopic {
        topic: String,
        cluster: Option<String>,
    },
    RegisterTopic {
        topic: String,
        route: TopicRouteData,
    },
    UpdateConfig(Vec<Entry>),
}

/// A request that is answered with an error before it reaches a table.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: i32,
    pub remark: String,
}

impl Refusal {
    fn error(remark: impl Into<String>) -> Self {
        Self { code: response::SYSTEM_ERROR, remark: remark.into() }
    }
}

impl Request {
    pub fn read(command: &RemotingCommand) -> Result<Self, Refusal> {
        let field = |name: &str| command.ext(name).map(str::to_owned);
        let named = |name: &str| field(name).unwrap_or_else(|| NULL.to_owned());
        let broker_key = || BrokerKey { cluster: named("clusterName"), address: named("brokerAddr") };
        let query = match command.code {
            code::GET_ROUTEINFO_BY_TOPIC => Query::Route {
                topic: named("topic"),
                quoted: command.version >= VERSION_OF_QUOTED_KEYS || flag(command, "acceptStandardJsonOnly"),
                zone: field("__ZONE_NAME").filter(|_| flag(command, "__ZONE_MODE")),
            },
            code::GET_KV_CONFIG => Query::Kv { namespace: named("namespace"), key: named("key") },
            code::GET_KVLIST_BY_NAMESPACE => Query::KvNamespace { namespace: named("namespace") },
            code::GET_BROKER_CLUSTER_INFO => Query::ClusterInfo,
            code::GET_BROKER_MEMBER_GROUP => {
                Query::Members { cluster: named("clusterName"), broker_name: named("brokerName") }
            }
            code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => Query::AllTopics,
            code::GET_TOPICS_BY_CLUSTER => Query::TopicsOfCluster { cluster: named("cluster") },
            code::GET_SYSTEM_TOPIC_LIST_FROM_NS => Query::SystemTopics,
            code::GET_UNIT_TOPIC_LIST => Query::UnitTopics(UnitList::Unit),
            code::GET_HAS_UNIT_SUB_TOPIC_LIST => Query::UnitTopics(UnitList::UnitSub),
            code::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => Query::UnitTopics(UnitList::UnitSubNotUnit),
            code::GET_NAMESRV_CONFIG => Query::Config,
            _ => return Self::read_change(command, field, named, broker_key).map(Self::Change),
        };
        Ok(Self::Query(query))
    }

    fn read_change(
        command: &RemotingCommand,
        field: impl Fn(&str) -> Option<String>,
        named: impl Fn(&str) -> String,
        broker_key: impl Fn() -> BrokerKey,
    ) -> Result<Change, Refusal> {
        Ok(match command.code {
            code::REGISTER_BROKER => Change::Register(Box::new(read_registration(command)?)),
            code::UNREGISTER_BROKER => Change::Unregister(Leaving {
                cluster: named("clusterName"),
                broker_name: named("brokerName"),
                broker_addr: named("brokerAddr"),
                broker_id: number(command, "brokerId").unwrap_or(-1),
            }),
            code::QUERY_DATA_VERSION => {
                let version = (!command.body.is_empty()).then(|| DataVersion::decode(&command.body));
                let version = version.transpose().map_err(|error| Refusal::error(error.to_string()))?;
                Change::DataVersion { key: broker_key(), version }
            }
            code::BROKER_HEARTBEAT => Change::Heartbeat { key: broker_key() },
            code::PUT_KV_CONFIG => {
                let (Some(namespace), Some(key)) = (field("namespace"), field("key")) else {
                    return Err(Refusal::error("namespace or key is null"));
                };
                Change::PutKv { namespace, key, value: field("value") }
            }
            code::DELETE_KV_CONFIG => Change::DeleteKv { namespace: named("namespace"), key: named("key") },
            code::WIPE_WRITE_PERM_OF_BROKER => {
                Change::SwitchWrite { broker_name: named("brokerName"), switch: WriteSwitch::Wipe }
            }
            code::ADD_WRITE_PERM_OF_BROKER => {
                Change::SwitchWrite { broker_name: named("brokerName"), switch: WriteSwitch::Add }
            }
            code::DELETE_TOPIC_IN_NAMESRV => Change::DeleteTopic {
                topic: named("topic"),
                cluster: field("clusterName").filter(|name| !name.is_empty()),
            },
            code::REGISTER_TOPIC_IN_NAMESRV => {
                let route = match command.body.is_empty() {
                    true => TopicRouteData::default(),
                    false => TopicRouteData::decode(&command.body)
                        .map_err(|error| Refusal::error(error.to_string()))?,
                };
                Change::RegisterTopic { topic: named("topic"), route }
            }
            code::UPDATE_NAMESRV_CONFIG => {
                let entries = config_text::parse(&command.body);
                Change::UpdateConfig(entries.map_err(|_| Refusal::error("string2Properties error"))?)
            }
            other => {
                return Err(Refusal {
                    code: response::REQUEST_CODE_NOT_SUPPORTED,
                    remark: format!(" request type {other} not supported"),
                });
            }
        })
    }
}

/// Rule N-1 and the forms of the body: plain, compressed, and the bare topic table of brokers before 3.0.11.
fn read_registration(command: &RemotingCommand) -> Result<Registration, Refusal> {
    let text = |name: &'static str| {
        let value = command.ext(name).filter(|value| !value.is_empty());
        value.map(str::to_owned).ok_or_else(|| Refusal::error(format!("the custom field <{name}> is null")))
    };
    let crc = number(command, "bodyCrc32").unwrap_or(0);
    if crc != 0 && crc != body_crc32(&command.body) {
        return Err(Refusal::error("crc32 not match"));
    }
    let body = read_body(command)?;
    let wrapper = body.topic_config_serialize_wrapper;
    Ok(Registration {
        cluster: text("clusterName")?,
        broker_name: text("brokerName")?,
        broker_addr: text("brokerAddr")?,
        broker_id: number(command, "brokerId")
            .ok_or_else(|| Refusal::error("the custom field <brokerId> is null"))?,
        ha_server_addr: command.ext("haServerAddr").unwrap_or_default().to_owned(),
        zone_name: command.ext("__ZONE_NAME").map(str::to_owned),
        timeout_ms: number(command, "heartbeatTimeoutMillis"),
        enable_acting_master: command.ext("enableActingMaster").map(is_true),
        data_version: wrapper.data_version,
        topics: wrapper.topic_config_table,
        mappings: wrapper.topic_queue_mapping_info_map,
        filter_servers: body.filter_server_list,
    })
}

fn read_body(command: &RemotingCommand) -> Result<RegisterBrokerBody, Refusal> {
    let (bytes, version) = (&command.body, command.version);
    if bytes.is_empty() {
        return Ok(RegisterBrokerBody::default());
    }
    if version < VERSION_OF_REGISTER_BODY {
        let table =
            TopicConfigSerializeWrapper::decode(bytes).map_err(|error| Refusal::error(error.to_string()))?;
        let mut body = RegisterBrokerBody::default();
        body.topic_config_serialize_wrapper.data_version = table.data_version;
        body.topic_config_serialize_wrapper.topic_config_table = table.topic_config_table;
        return Ok(body);
    }
    RegisterBrokerBody::decode_any(bytes, flag(command, "compressed"), version)
        .map_err(|error| Refusal::error(format!("Failed to decode RegisterBrokerBody, {error}")))
}

fn number<T: std::str::FromStr>(command: &RemotingCommand, name: &str) -> Option<T> {
    command.ext(name)?.parse().ok()
}

fn flag(command: &RemotingCommand, name: &str) -> bool {
    command.ext(name).is_some_and(is_true)
}

fn is_true(value: &str) -> bool {
    value.eq_ignore_ascii_case("true")
}

/// The name under which official servers look up what was not named.
const NULL: &str = "null";
/// From 3.0.11 on a registration is more than a bare topic table.
const VERSION_OF_REGISTER_BODY: i32 = 37;
/// From 4.9.4 on (ordinal 401) clients read map keys in quotes.
const VERSION_OF_QUOTED_KEYS: i32 = 401;
