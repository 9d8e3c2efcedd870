//! The broker's tables as the cold side knows them: what the files and the name servers are told.
//!
//! ```text
//! PersistOp --apply--> tables --text--> topics.json, subscriptionGroup.json, consumerOffset.json, delayOffset.json
//!                             '-registration--> body of REGISTER_BROKER
//! ```
//!
//! Pure: no file, no socket; time is passed in. Every op carries the whole new state of one entry, so applying is
//! replacing. The texts are Java's, so that the official broker may go on with the same directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use protocol::body::{
    Body, ConsumerOffsetSerializeWrapper, DataVersion, DelayOffsetSerializeWrapper, RegisterBrokerBody,
    SubscriptionGroupWrapper, TopicConfigAndMappingSerializeWrapper, TopicConfigSerializeWrapper,
};
use protocol::fastjson;

use crate::broker::persist_ops::PersistOp;

/// A file of `config/` that we write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigFile {
    Topics,
    SubscriptionGroups,
    ConsumerOffsets,
    DelayOffsets,
}

impl ConfigFile {
    pub const ALL: [ConfigFile; 4] = [
        ConfigFile::Topics,
        ConfigFile::SubscriptionGroups,
        ConfigFile::ConsumerOffsets,
        ConfigFile::DelayOffsets,
    ];

    pub fn name(self) -> &'static str {
        match self {
            ConfigFile::Topics => "topics.json",
            ConfigFile::SubscriptionGroups => "subscriptionGroup.json",
            ConfigFile::ConsumerOffsets => "consumerOffset.json",
            ConfigFile::DelayOffsets => "delayOffset.json",
        }
    }
}

/// The tables, in the form of their files. What is read at start is put in directly.
#[derive(Debug, Default)]
pub struct Mirror {
    pub topics: TopicConfigSerializeWrapper,
    pub groups: SubscriptionGroupWrapper,
    pub offsets: ConsumerOffsetSerializeWrapper,
    pub delays: DelayOffsetSerializeWrapper,
    changed: [bool; 4],
    /// `topic@group` of the offset at hand.
    row: String,
}

impl Mirror {
    pub fn apply(&mut self, op: PersistOp) {
        let file = match op {
            PersistOp::TopicChanged { config, version } => {
                self.topics.data_version = version.into();
                self.topics.topic_config_table.insert(config.name.to_string(), (&*config).into());
                ConfigFile::Topics
            }
            PersistOp::TopicRemoved { topic, version } => {
                self.topics.data_version = version.into();
                self.topics.topic_config_table.remove(&*topic);
                ConfigFile::Topics
            }
            PersistOp::PermissionChanged { version, .. } => {
                self.topics.data_version = version.into();
                ConfigFile::Topics
            }
            PersistOp::SettingsChanged { .. } => return,
            PersistOp::GroupChanged { config, version } => {
                self.groups.data_version = version.into();
                self.groups.subscription_group_table.insert(config.name.to_string(), (&*config).into());
                ConfigFile::SubscriptionGroups
            }
            PersistOp::GroupRemoved { group, version } => {
                self.groups.data_version = version.into();
                self.groups.subscription_group_table.remove(&*group);
                ConfigFile::SubscriptionGroups
            }
            PersistOp::OffsetCommitted { group, topic, queue_id, offset } => {
                self.set_row(&topic, &group);
                match self.offsets.offset_table.get_mut(&self.row) {
                    Some(queues) => queues.insert(queue_id, offset),
                    None => {
                        self.offsets.offset_table.insert(self.row.clone(), [(queue_id, offset)].into());
                        None
                    }
                };
                ConfigFile::ConsumerOffsets
            }
            PersistOp::OffsetsRemoved { group, topic } => {
                self.set_row(&topic, &group);
                self.offsets.offset_table.remove(&self.row);
                ConfigFile::ConsumerOffsets
            }
            PersistOp::DelayOffset { level, offset } => {
                self.delays.offset_table.insert(level.into(), offset);
                ConfigFile::DelayOffsets
            }
            // Kept by the broker for its statistics only; the official broker does not write it either.
            PersistOp::OffsetPulled { .. } => return,
        };
        self.changed[file as usize] = true;
    }

    pub fn is_changed(&self, file: ConfigFile) -> bool {
        self.changed[file as usize]
    }

    /// The file's new text; it counts as written. Offsets have no version of their own, so they get one here.
    pub fn take_text(&mut self, file: ConfigFile, now_ms: i64) -> String {
        let changed = std::mem::take(&mut self.changed[file as usize]);
        let step = |version: &mut Option<DataVersion>| {
            let known = version.unwrap_or(DataVersion::new(now_ms));
            *version = Some(if changed { known.next(now_ms) } else { known });
        };
        match file {
            ConfigFile::Topics => fastjson::to_string_pretty(&self.topics),
            ConfigFile::SubscriptionGroups => fastjson::to_string_pretty(&self.groups),
            ConfigFile::ConsumerOffsets => {
                step(&mut self.offsets.data_version);
                self.offsets.group_topic_map = Some(self.topics_of_groups());
                fastjson::to_string_pretty(&self.offsets)
            }
            ConfigFile::DelayOffsets => {
                step(&mut self.delays.data_version);
                fastjson::to_string_pretty(&self.delays)
            }
        }
    }

    /// Takes back that the file was written.
    pub fn mark_changed(&mut self, file: ConfigFile) {
        self.changed[file as usize] = true;
    }

    /// The body of REGISTER_BROKER in the 5.x form. `permission`: brokerPermission, which limits every topic's.
    pub fn registration(&self, permission: i32, mapping_version: DataVersion) -> Vec<u8> {
        let mut topic_config_table = self.topics.topic_config_table.clone();
        if permission & READ_WRITE != READ_WRITE {
            topic_config_table.values_mut().for_each(|config| config.perm &= permission);
        }
        let topic_config_serialize_wrapper = TopicConfigAndMappingSerializeWrapper {
            data_version: self.topics.data_version,
            mapping_data_version: mapping_version,
            topic_config_table,
            ..TopicConfigAndMappingSerializeWrapper::default()
        };
        RegisterBrokerBody { filter_server_list: Vec::new(), topic_config_serialize_wrapper }.encode()
    }

    fn set_row(&mut self, topic: &str, group: &str) {
        self.row.clear();
        write!(self.row, "{topic}@{group}").expect("a String takes everything");
    }

    /// 5.x keeps with the offsets which topics a group has read.
    fn topics_of_groups(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut topics_of: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for row in self.offsets.offset_table.keys() {
            // `topic@group@broadcast` is an offset of the proxy's, not of a group.
            if let Some((topic, group)) = row.split_once('@').filter(|(_, group)| !group.contains('@')) {
                topics_of.entry(group.to_owned()).or_default().insert(topic.to_owned());
            }
        }
        topics_of
    }
}

/// The permission bits that brokerPermission can take away.
const READ_WRITE: i32 = 6;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::broker::group_config::GroupConfig;
    use crate::broker::topic_config::TopicConfig;
    use crate::broker::version;

    fn version(counter: i64) -> version::DataVersion {
        version::DataVersion { state_version: 0, timestamp: 1795178388167, counter }
    }

    fn topic(name: &str, queues: i32, perm: i32, counter: i64) -> PersistOp {
        let config = Arc::new(TopicConfig::new(name, queues, perm));
        PersistOp::TopicChanged { config, version: version(counter) }
    }

    fn commit(topic: &str, group: &str, queue_id: i32, offset: i64) -> PersistOp {
        PersistOp::OffsetCommitted { group: group.into(), topic: topic.into(), queue_id, offset }
    }

    /// Goal: topics.json is the official file. Method: one entry of vectors/store.json, config.
    #[test]
    fn topics_json() {
        let mut mirror = Mirror::default();
        mirror.apply(topic("RT_c55b", 4, 6, 25));
        assert!(mirror.is_changed(ConfigFile::Topics));
        let text = mirror.take_text(ConfigFile::Topics, 0);
        assert!(!mirror.is_changed(ConfigFile::Topics));
        assert_eq!(
            text,
            "{\n\t\"dataVersion\":{\n\t\t\"counter\":25,\n\t\t\"stateVersion\":0,\n\t\t\"timestamp\":1795178388167\n\t},\n\t\
             \"topicConfigTable\":{\n\t\t\"RT_c55b\":{\n\t\t\t\"attributes\":{},\n\t\t\t\"order\":false,\n\t\t\t\"perm\":6,\n\t\t\t\
             \"readQueueNums\":4,\n\t\t\t\"topicFilterType\":\"SINGLE_TAG\",\n\t\t\t\"topicName\":\"RT_c55b\",\n\t\t\t\
             \"topicSysFlag\":0,\n\t\t\t\"writeQueueNums\":4\n\t\t}\n\t}\n}"
        );
    }

    /// Goal: subscriptionGroup.json is the official file. Method: the fields of vectors/store.json in their order.
    #[test]
    fn subscription_group_json() {
        let mut mirror = Mirror::default();
        let config = Arc::new(GroupConfig::new("RCG"));
        mirror.apply(PersistOp::GroupChanged { config, version: version(16) });
        let text = fastjson::to_string(&mirror.groups);
        assert_eq!(
            text,
            r#"{"dataVersion":{"counter":16,"stateVersion":0,"timestamp":1795178388167},"forbiddenTable":{},"subscriptionGroupTable":{"RCG":{"attributes":{},"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"consumeMessageOrderly":false,"consumeTimeoutMinute":15,"groupName":"RCG","groupRetryPolicy":{"type":"CUSTOMIZED"},"groupSysFlag":0,"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}}}"#
        );
    }

    #[test]
    fn consumer_offset_json() {
        let mut mirror = Mirror::default();
        for op in [
            commit("T", "G", 1, 9),
            commit("T", "G", 0, 12),
            commit("U", "G", 0, 1),
            commit("T", "G@broadcast", 0, 2),
        ] {
            mirror.apply(op);
        }
        mirror.take_text(ConfigFile::ConsumerOffsets, 77);
        assert_eq!(
            fastjson::to_string(&mirror.offsets),
            r#"{"dataVersion":{"counter":1,"stateVersion":0,"timestamp":77},"groupTopicMap":{"G":["T","U"]},"offsetTable":{"T@G":{0:12,1:9},"T@G@broadcast":{0:2},"U@G":{0:1}}}"#
        );
        mirror.apply(PersistOp::OffsetsRemoved { group: "G".into(), topic: "T".into() });
        assert!(!fastjson::to_string(&mirror.offsets).contains(r#""T@G":"#));
    }

    #[test]
    fn delay_offset_json() {
        let mut mirror = Mirror::default();
        mirror.apply(PersistOp::DelayOffset { level: 3, offset: 1 });
        mirror.apply(PersistOp::DelayOffset { level: 1, offset: 4 });
        assert_eq!(
            mirror.take_text(ConfigFile::DelayOffsets, 5),
            "{\n\t\"dataVersion\":{\n\t\t\"counter\":1,\n\t\t\"stateVersion\":0,\n\t\t\"timestamp\":5\n\t},\n\t\"offsetTable\":{\n\t\t1:4,\n\t\t3:1\n\t}\n}"
        );
    }

    /// Goal: the registration is the official one. Method: its beginning and one topic of vectors/register-broker.json.
    #[test]
    fn registration_body() {
        let mut mirror = Mirror::default();
        mirror.apply(topic("TBW102", 8, 7, 0));
        let mapping = DataVersion::new(1795178390843);
        assert_eq!(
            String::from_utf8(mirror.registration(4, mapping)).unwrap(),
            r#"{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":0,"stateVersion":0,"timestamp":1795178388167},"mappingDataVersion":{"counter":0,"stateVersion":0,"timestamp":1795178390843},"topicConfigTable":{"TBW102":{"attributes":{},"order":false,"perm":4,"readQueueNums":8,"topicFilterType":"SINGLE_TAG","topicName":"TBW102","topicSysFlag":0,"writeQueueNums":8}},"topicQueueMappingDetailMap":{},"topicQueueMappingInfoMap":{}}}"#
        );
        assert!(String::from_utf8(mirror.registration(6, mapping)).unwrap().contains(r#""perm":7"#));
    }
}
