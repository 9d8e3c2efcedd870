//! The route table: which brokers hold which topic, and at which addresses (behaviour of codes 103, 104, 105).
//!
//! ```text
//! topic   --> broker name --> QueueData (queues, permission)        what a client asks for ..
//! broker  --> BrokerData (cluster, id --> address)                  .. and where it then goes
//! cluster --> broker names
//! (cluster, address) --> live.rs        (cluster, address) --> filter servers
//! ```
//!
//! Pure: time and channels come in as numbers. Registration follows rules N-1 to N-10, departure rules N-11 to N-14
//! (docs/PROMISES.md); lists.rs holds the lists and the permission switches.

use std::collections::{BTreeMap, BTreeSet};

use protocol::body::{
    BrokerData, DataVersion, MASTER_ID, PERM_WRITE, QueueData, TopicConfig, TopicQueueMappingInfo,
    TopicRouteData,
};

use super::liveness::{BrokerKey, Channel, Live, LiveTable, Millis, TIMEOUT_MS_DEFAULT};

/// What one broker says about itself.
#[derive(Debug, Clone, Default)]
pub struct Registration {
    pub cluster: String,
    pub broker_name: String,
    pub broker_addr: String,
    pub broker_id: i64,
    pub ha_server_addr: String,
    pub zone_name: Option<String>,
    pub timeout_ms: Option<Millis>,
    /// `None` from brokers that have never heard of acting masters.
    pub enable_acting_master: Option<bool>,
    pub data_version: DataVersion,
    pub topics: BTreeMap<String, TopicConfig>,
    pub mappings: BTreeMap<String, TopicQueueMappingInfo>,
    pub filter_servers: Vec<String>,
}

/// What comes of a registration.
#[derive(Debug, PartialEq, Eq)]
pub enum Registered {
    Taken {
        master: Option<Master>,
        min_id_change: Option<MinIdChange>,
    },
    /// Another address holds this id with newer state; the newcomer is told nothing.
    Outdated,
    /// A single topic from a broker that has not registered in full before.
    Refused,
}

/// Where a slave finds its master.
#[derive(Debug, PartialEq, Eq)]
pub struct Master {
    pub address: String,
    pub ha_server_addr: String,
}

/// The lowest id among the living members of a broker is another one now; `to` wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinIdChange {
    pub broker_name: String,
    pub min_broker_id: i64,
    pub min_broker_addr: String,
    pub offline_broker_addr: Option<String>,
    pub ha_broker_addr: Option<String>,
    pub to: Vec<String>,
}

/// An address that leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    pub cluster: String,
    pub broker_name: String,
    pub broker_addr: String,
    pub broker_id: i64,
}

#[derive(Debug, Default)]
pub struct RouteTable {
    pub(super) topics: BTreeMap<String, BTreeMap<String, QueueData>>,
    pub(super) brokers: BTreeMap<String, BrokerData>,
    pub(super) clusters: BTreeMap<String, BTreeSet<String>>,
    pub(super) live: LiveTable,
    filters: BTreeMap<BrokerKey, Vec<String>>,
    pub(super) mappings: BTreeMap<String, BTreeMap<String, TopicQueueMappingInfo>>,
}

impl RouteTable {
    /// With `forget_topics`, topics this broker no longer names lose its queues.
    pub fn register(
        &mut self,
        registration: &Registration,
        channel: Channel,
        forget_topics: bool,
        now: Millis,
    ) -> Registered {
        let Registration { cluster, broker_name, broker_addr, broker_id, .. } = registration;
        let (broker_id, key) = (*broker_id, BrokerKey::new(cluster, broker_addr));

        self.clusters.entry(cluster.clone()).or_default().insert(broker_name.clone());
        let unknown = !self.brokers.contains_key(broker_name);
        let broker = self.brokers.entry(broker_name.clone()).or_insert_with(|| BrokerData {
            cluster: cluster.clone(),
            broker_name: broker_name.clone(),
            ..BrokerData::default()
        });
        broker.enable_acting_master = registration.enable_acting_master.unwrap_or(false);
        broker.zone_name.clone_from(&registration.zone_name);
        let min_id_before = broker.broker_addrs.first_key_value().map_or(0, |(&id, _)| id);
        broker.broker_addrs.retain(|&id, address| address != broker_addr || id == broker_id);

        if let Some(holder) = broker.broker_addrs.get(&broker_id).filter(|&holder| holder != broker_addr) {
            let held = self.live.get(&BrokerKey::new(cluster, holder));
            if held
                .is_some_and(|live| live.data_version.state_version > registration.data_version.state_version)
            {
                self.live.remove(&key);
                return Registered::Outdated;
            }
        }
        if !broker.broker_addrs.contains_key(&broker_id) && registration.topics.len() == 1 {
            return Registered::Refused;
        }
        let first = broker.broker_addrs.insert(broker_id, broker_addr.clone()).is_none() || unknown;

        let is_master = broker_id == MASTER_ID;
        let is_prime_slave = !is_master
            && registration.enable_acting_master.is_some()
            && broker.broker_addrs.first_key_value().is_some_and(|(&id, _)| id == broker_id);
        let master = broker.broker_addrs.get(&MASTER_ID).filter(|_| !is_master).cloned();
        let min_id_change = (broker_id < min_id_before)
            .then(|| min_id_change(broker, None, Some(&registration.ha_server_addr)))
            .flatten();
        if is_master || is_prime_slave {
            let read_only = is_prime_slave && broker.enable_acting_master;
            self.take_topics(registration, &key, first, read_only, forget_topics);
        }

        self.live.put(
            key.clone(),
            Live {
                last_update: now,
                timeout_ms: registration.timeout_ms.unwrap_or(TIMEOUT_MS_DEFAULT),
                channel,
                data_version: registration.data_version,
                ha_server_addr: registration.ha_server_addr.clone(),
            },
        );
        if registration.filter_servers.is_empty() {
            self.filters.remove(&key);
        } else {
            self.filters.insert(key, registration.filter_servers.clone());
        }
        let master = master.and_then(|address| {
            let live = self.live.get(&BrokerKey::new(&registration.cluster, &address))?;
            Some(Master { ha_server_addr: live.ha_server_addr.clone(), address })
        });
        Registered::Taken { master, min_id_change }
    }

    /// Rule N-7: topics that are new, or came with another data version, replace what is known.
    fn take_topics(
        &mut self,
        registration: &Registration,
        key: &BrokerKey,
        first: bool,
        read_only: bool,
        forget_topics: bool,
    ) {
        let name = &registration.broker_name;
        if forget_topics && registration.mappings.is_empty() {
            let named = &registration.topics;
            self.retain_queues(|topic, queues| {
                if !named.contains_key(topic) {
                    queues.remove(name);
                }
            });
        }
        let changed = first || self.live.differs(key, Some(&registration.data_version));
        let queues = |config: &TopicConfig| QueueData {
            broker_name: name.clone(),
            read_queue_nums: config.read_queue_nums,
            write_queue_nums: config.write_queue_nums,
            perm: if read_only { config.perm & !PERM_WRITE } else { config.perm },
            topic_sys_flag: config.topic_sys_flag,
        };
        // Both tables are sorted by topic, so one walk finds what is known; the rest is added after it.
        let mut known = self.topics.iter_mut().peekable();
        let mut unknown = Vec::new();
        for (topic, config) in &registration.topics {
            while known.next_if(|(known, _)| *known < topic).is_some() {}
            match known.next_if(|(known, _)| *known == topic) {
                None => unknown.push((topic, config)),
                Some((_, brokers)) => match brokers.get_mut(name) {
                    Some(_) if !changed => {}
                    Some(data) => *data = queues(config),
                    None => drop(brokers.insert(name.clone(), queues(config))),
                },
            }
        }
        for (topic, config) in unknown {
            self.topics.entry(topic.clone()).or_default().insert(name.clone(), queues(config));
        }
        if changed {
            for (topic, info) in &registration.mappings {
                let of_topic = self.mappings.entry(topic.clone()).or_default();
                of_topic.insert(info.bname.clone(), info.clone());
            }
        }
    }

    /// Takes addresses out of every table. Returns whom to tell that the lowest id of their broker changed.
    pub fn leave(&mut self, leaving: &[Leaving]) -> Vec<MinIdChange> {
        let mut vanished = BTreeSet::new();
        let mut orphaned = BTreeSet::new();
        let mut changes = Vec::new();
        for Leaving { cluster, broker_name, broker_addr, broker_id } in leaving {
            let key = BrokerKey::new(cluster, broker_addr);
            self.live.remove(&key);
            self.filters.remove(&key);
            let Some(broker) = self.brokers.get_mut(broker_name) else { continue };
            let was_min = broker.broker_addrs.first_key_value().is_some_and(|(id, _)| id == broker_id);
            broker.broker_addrs.retain(|_, address| address != broker_addr);
            if broker.broker_addrs.is_empty() {
                let home = std::mem::take(&mut broker.cluster);
                self.brokers.remove(broker_name);
                self.leave_cluster(&home, broker_name);
                orphaned.remove(broker_name);
                vanished.insert(broker_name.clone());
            } else if broker.enable_acting_master {
                if !broker.broker_addrs.contains_key(&MASTER_ID) {
                    orphaned.insert(broker_name.clone());
                }
                changes.extend(was_min.then(|| min_id_change(broker, Some(broker_addr), None)).flatten());
            }
        }
        if !vanished.is_empty() || !orphaned.is_empty() {
            self.retain_queues(|_, queues| {
                queues.retain(|name, data| {
                    if orphaned.contains(name) {
                        data.perm &= !PERM_WRITE;
                    }
                    !vanished.contains(name)
                });
            });
        }
        changes
    }

    /// Everything that was registered by this channel leaves.
    pub fn close(&mut self, channel: Channel) -> Vec<MinIdChange> {
        let keys = self.live.on_channel(channel);
        self.drop_keys(keys)
    }

    /// Everything that has been silent for too long leaves, and its channel is to be closed.
    pub fn expire(&mut self, now: Millis) -> (Vec<Channel>, Vec<MinIdChange>) {
        let keys = self.live.silent(now);
        let channels = keys.iter().filter_map(|key| self.live.get(key)).map(|live| live.channel).collect();
        let mut changes = self.drop_keys(keys);
        changes.extend(self.sweep());
        (channels, changes)
    }

    /// Takes out what no sign of life holds any more: addresses that went under another of their names or clusters, and the
    /// empty records of brokers that were refused. Both could gather without end.
    fn sweep(&mut self) -> Vec<MinIdChange> {
        let alive = self.live.addresses();
        let of_broker = |broker: &BrokerData| -> Vec<Leaving> {
            let gone = broker.broker_addrs.iter().filter(|(_, address)| !alive.contains(address.as_str()));
            gone.map(|(&id, address)| leaving(broker, id, address)).collect()
        };
        let gone: Vec<Leaving> = self.brokers.values().flat_map(of_broker).collect();
        let changes = self.leave(&gone);
        let is_empty = |broker: &&BrokerData| broker.broker_addrs.is_empty();
        let empty: BTreeSet<String> =
            self.brokers.values().filter(is_empty).map(|broker| broker.broker_name.clone()).collect();
        if !empty.is_empty() {
            self.brokers.retain(|name, _| !empty.contains(name));
            self.retain_queues(|_, queues| queues.retain(|name, _| !empty.contains(name)));
        }
        let brokers = &self.brokers;
        self.clusters.retain(|_, names| {
            names.retain(|name| brokers.contains_key(name));
            !names.is_empty()
        });
        changes
    }

    fn drop_keys(&mut self, keys: Vec<BrokerKey>) -> Vec<MinIdChange> {
        let leaving: Vec<Leaving> = keys.iter().flat_map(|key| self.leaving(key)).collect();
        for key in &keys {
            self.live.remove(key);
            self.filters.remove(key);
        }
        self.leave(&leaving)
    }

    /// Under every name that the address has in this cluster.
    fn leaving(&self, key: &BrokerKey) -> impl Iterator<Item = Leaving> {
        self.brokers.values().filter(|broker| broker.cluster == key.cluster).filter_map(|broker| {
            let (&id, address) = broker.broker_addrs.iter().find(|(_, address)| **address == key.address)?;
            Some(leaving(broker, id, address))
        })
    }

    fn leave_cluster(&mut self, cluster: &str, broker_name: &str) {
        if let Some(names) = self.clusters.get_mut(cluster) {
            names.remove(broker_name);
            if names.is_empty() {
                self.clusters.remove(cluster);
            }
        }
    }

    /// Lets `change` edit the queues of every topic; topics left without any disappear.
    fn retain_queues(&mut self, mut change: impl FnMut(&str, &mut BTreeMap<String, QueueData>)) {
        self.topics.retain(|topic, queues| {
            change(topic, queues);
            !queues.is_empty()
        });
        let topics = &self.topics;
        self.mappings.retain(|topic, _| topics.contains_key(topic));
    }

    /// A sign of life from a broker that has nothing new to say.
    pub fn touch(&mut self, key: &BrokerKey, now: Millis) {
        self.live.touch(key, now);
    }

    /// Whether `version` is news about this broker, and what the table holds.
    pub fn data_version(
        &self,
        key: &BrokerKey,
        version: Option<&DataVersion>,
    ) -> (bool, Option<DataVersion>) {
        (self.live.differs(key, version), self.live.get(key).map(|live| live.data_version))
    }

    /// All that a client needs to reach `topic`; `None` when no queue or no broker of it is known.
    ///
    /// With `acting_master`, the slave that stands in for a dead master is shown under the master's id.
    pub fn route(&self, topic: &str, acting_master: bool) -> Option<TopicRouteData> {
        let queues = self.topics.get(topic)?;
        let mut brokers: Vec<BrokerData> =
            queues.keys().filter_map(|name| self.brokers.get(name)).cloned().collect();
        if brokers.is_empty() {
            return None;
        }
        let filter_server_table = brokers
            .iter()
            .flat_map(|broker| broker.broker_addrs.values().map(|address| (&broker.cluster, address)))
            .filter_map(|(cluster, address)| {
                Some((address.clone(), self.filters.get(&BrokerKey::new(cluster, address))?.clone()))
            })
            .collect();
        if acting_master && !topic.starts_with(SYNC_BROKER_MEMBER_PREFIX) {
            brokers.iter_mut().for_each(|broker| show_acting_master(broker, queues));
        }
        Some(TopicRouteData {
            broker_datas: brokers,
            queue_datas: queues.values().cloned().collect(),
            filter_server_table,
            topic_queue_mapping_by_broker: self.mappings.get(topic).cloned(),
            ..TopicRouteData::default()
        })
    }
}

fn leaving(broker: &BrokerData, broker_id: i64, address: &str) -> Leaving {
    Leaving {
        cluster: broker.cluster.clone(),
        broker_name: broker.broker_name.clone(),
        broker_addr: address.to_owned(),
        broker_id,
    }
}

/// A dead master's place is taken by the slave with the lowest id, once the topic is read-only there.
fn show_acting_master(broker: &mut BrokerData, queues: &BTreeMap<String, QueueData>) {
    let read_only = queues.get(&broker.broker_name).is_some_and(|data| data.perm & PERM_WRITE == 0);
    let orphaned = broker.enable_acting_master && !broker.broker_addrs.contains_key(&MASTER_ID);
    if let Some(lowest) = broker.broker_addrs.first_entry().filter(|_| read_only && orphaned) {
        let address = lowest.remove();
        broker.broker_addrs.insert(MASTER_ID, address);
    }
}

/// Whom to tell: all that remain when one went; all but the new lowest when one came.
fn min_id_change(broker: &BrokerData, offline: Option<&str>, ha: Option<&str>) -> Option<MinIdChange> {
    let (&min_broker_id, min_broker_addr) = broker.broker_addrs.first_key_value()?;
    let everybody = offline.is_some() || broker.broker_addrs.len() == 1;
    Some(MinIdChange {
        broker_name: broker.broker_name.clone(),
        min_broker_id,
        min_broker_addr: min_broker_addr.clone(),
        offline_broker_addr: offline.map(str::to_owned),
        ha_broker_addr: ha.map(str::to_owned),
        to: broker
            .broker_addrs
            .iter()
            .filter(|&(&id, _)| everybody || id != min_broker_id)
            .map(|(_, address)| address.clone())
            .collect(),
    })
}

/// Brokers watch this topic for the members of their group, so it always shows the true ids.
const SYNC_BROKER_MEMBER_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";
