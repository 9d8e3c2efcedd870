//! Lists of what the route table holds, and the switches operators throw in it
//! (codes 106, 205, 206, 216, 217, 224, 304, 311 to 313, 327, 901).

use std::collections::BTreeMap;

use protocol::body::{ClusterInfo, PERM_READ, PERM_WRITE, QueueData, TOPIC_FLAG_UNIT, TOPIC_FLAG_UNIT_SUB};

use super::route::RouteTable;

/// Which topics a unit list names; the flags are those of `topicSysFlag`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitList {
    /// 311: topics of a unit.
    Unit,
    /// 312: topics that are subscribed from another unit.
    UnitSub,
    /// 313: the same, but no topics of a unit themselves.
    UnitSubNotUnit,
}

impl UnitList {
    fn holds(self, flags: i32) -> bool {
        let (unit, unit_sub) = (flags & TOPIC_FLAG_UNIT != 0, flags & TOPIC_FLAG_UNIT_SUB != 0);
        match self {
            Self::Unit => unit,
            Self::UnitSub => unit_sub,
            Self::UnitSubNotUnit => unit_sub && !unit,
        }
    }
}

/// What the write switch of a broker is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteSwitch {
    /// 205: clear the write bit.
    Wipe,
    /// 327: read and write.
    Add,
}

impl WriteSwitch {
    /// The field that answers how many topics were switched.
    pub fn count_field(self) -> &'static str {
        match self {
            Self::Wipe => "wipeTopicCount",
            Self::Add => "addTopicCount",
        }
    }
}

impl RouteTable {
    pub fn cluster_info(&self) -> ClusterInfo {
        ClusterInfo { broker_addr_table: self.brokers.clone(), cluster_addr_table: self.clusters.clone() }
    }

    /// The members of one broker, by id; empty when there is no such broker.
    pub fn members(&self, broker_name: &str) -> BTreeMap<i64, String> {
        self.brokers.get(broker_name).map(|broker| broker.broker_addrs.clone()).unwrap_or_default()
    }

    pub fn all_topics(&self) -> Vec<String> {
        self.topics.keys().cloned().collect()
    }

    pub fn topics_of_cluster(&self, cluster: &str) -> Vec<String> {
        let Some(names) = self.clusters.get(cluster) else { return Vec::new() };
        self.topics_where(|queues| queues.keys().any(|name| names.contains(name)))
    }

    pub fn unit_topics(&self, list: UnitList) -> Vec<String> {
        self.topics_where(|queues| queues.values().next().is_some_and(|data| list.holds(data.topic_sys_flag)))
    }

    /// Cluster and broker names, which are topics on every broker, and the address of some broker to ask for more.
    pub fn system_topics(&self) -> (Vec<String>, Option<String>) {
        let mut names: Vec<String> = self.clusters.keys().cloned().collect();
        names.extend(self.clusters.values().flatten().cloned());
        names.sort_unstable();
        names.dedup();
        let address = self.brokers.values().find_map(|broker| broker.broker_addrs.values().next()).cloned();
        (names, address)
    }

    /// Returns how many topics the broker holds. Its next registration with another data version undoes this.
    pub fn switch_write(&mut self, broker_name: &str, switch: WriteSwitch) -> usize {
        let mut count = 0;
        for data in self.topics.values_mut().filter_map(|queues| queues.get_mut(broker_name)) {
            data.perm = match switch {
                WriteSwitch::Wipe => data.perm & !PERM_WRITE,
                WriteSwitch::Add => PERM_READ | PERM_WRITE,
            };
            count += 1;
        }
        count
    }

    /// Forgets a topic, on the brokers of one cluster or everywhere.
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let Some(queues) = self.topics.get_mut(topic) else { return };
        match cluster {
            None => queues.clear(),
            Some(cluster) => {
                let names = self.clusters.get(cluster);
                queues.retain(|broker, _| !names.is_some_and(|names| names.contains(broker)));
            }
        }
        if queues.is_empty() {
            self.topics.remove(topic);
            self.mappings.remove(topic);
        }
    }

    /// Adds queues to a topic without a registration. Stops at the first broker that is not known.
    pub fn register_topic(&mut self, topic: &str, queue_datas: &[QueueData]) {
        let known = |data: &QueueData| self.brokers.contains_key(&data.broker_name);
        let count = queue_datas.iter().take_while(|data| known(data)).count();
        if count == 0 || (count < queue_datas.len() && !self.topics.contains_key(topic)) {
            return;
        }
        let queues = self.topics.entry(topic.to_owned()).or_default();
        for data in &queue_datas[..count] {
            queues.insert(data.broker_name.clone(), data.clone());
        }
    }

    fn topics_where(&self, holds: impl Fn(&BTreeMap<String, QueueData>) -> bool) -> Vec<String> {
        self.topics.iter().filter(|(_, queues)| holds(queues)).map(|(topic, _)| topic.clone()).collect()
    }
}
