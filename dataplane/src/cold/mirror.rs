//! The broker's tables as the cold side knows them: what the files and the name servers are told.
//!
//! ```text
//! PersistOp --apply--> tables --text--> topics.json, subscriptionGroup.json, consumerOffset.json, delayOffset.json
//!                             '-registration--> body of REGISTER_BROKER
//! ```
//!
//! Pure: no file, no socket; time is passed in. Every op carries the whole new state of one entry, so applying is
//! replacing. The texts are Java's, so that the official broker may go on with the same directory.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::broker::groups::GroupConfig;
use crate::broker::persist_ops::PersistOp;
use crate::broker::topics::TopicConfig;
use crate::broker::version::DataVersion;

use super::java_json::JavaJson;

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

/// The tables. What is read at start is put in with the same ops that changes come with.
#[derive(Debug, Default)]
pub struct Mirror {
    pub topics: BTreeMap<Arc<str>, Arc<TopicConfig>>,
    pub topics_version: DataVersion,
    pub groups: BTreeMap<Arc<str>, Arc<GroupConfig>>,
    pub groups_version: DataVersion,
    /// (topic, group) to queue to committed offset.
    pub offsets: BTreeMap<(Arc<str>, Arc<str>), BTreeMap<i32, i64>>,
    pub offsets_version: DataVersion,
    /// Delay level to the next entry of its queue.
    pub delays: BTreeMap<u8, i64>,
    pub delays_version: DataVersion,
    changed: [bool; 4],
}

impl Mirror {
    pub fn apply(&mut self, op: PersistOp) {
        let file = match op {
            PersistOp::TopicChanged { config, version } => {
                self.topics_version = version;
                self.topics.insert(config.name.clone(), config);
                ConfigFile::Topics
            }
            PersistOp::TopicRemoved { topic, version } => {
                self.topics_version = version;
                self.topics.remove(&topic);
                ConfigFile::Topics
            }
            PersistOp::PermissionChanged { version, .. } => {
                self.topics_version = version;
                ConfigFile::Topics
            }
            PersistOp::GroupChanged { config, version } => {
                self.groups_version = version;
                self.groups.insert(config.name.clone(), config);
                ConfigFile::SubscriptionGroups
            }
            PersistOp::GroupRemoved { group, version } => {
                self.groups_version = version;
                self.groups.remove(&group);
                ConfigFile::SubscriptionGroups
            }
            PersistOp::OffsetCommitted { group, topic, queue_id, offset } => {
                self.offsets.entry((topic, group)).or_default().insert(queue_id, offset);
                ConfigFile::ConsumerOffsets
            }
            PersistOp::OffsetsRemoved { group, topic } => {
                self.offsets.remove(&(topic, group));
                ConfigFile::ConsumerOffsets
            }
            PersistOp::DelayOffset { level, offset } => {
                self.delays.insert(level, offset);
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
        if std::mem::take(&mut self.changed[file as usize]) {
            match file {
                ConfigFile::ConsumerOffsets => self.offsets_version.advance(now_ms),
                ConfigFile::DelayOffsets => self.delays_version.advance(now_ms),
                ConfigFile::Topics | ConfigFile::SubscriptionGroups => {}
            }
        }
        self.text(file, JavaJson::pretty())
    }

    /// Takes back that the file was written.
    pub fn mark_changed(&mut self, file: ConfigFile) {
        self.changed[file as usize] = true;
    }

    /// The text of a file, compact or pretty; compact it is also the body of codes 43, 45 and 201.
    pub fn text(&self, file: ConfigFile, mut json: JavaJson) -> String {
        match file {
            ConfigFile::Topics => json.object(|j| {
                put_version(j.key("dataVersion"), self.topics_version);
                j.key("topicConfigTable");
                self.put_topics(j, ALL_PERMISSIONS);
            }),
            ConfigFile::SubscriptionGroups => json.object(|j| {
                put_version(j.key("dataVersion"), self.groups_version);
                j.key("forbiddenTable").object(|_| {});
                j.key("subscriptionGroupTable").object(|j| {
                    for (name, config) in &self.groups {
                        put_group(j.key(name), config);
                    }
                });
            }),
            ConfigFile::ConsumerOffsets => json.object(|j| {
                put_version(j.key("dataVersion"), self.offsets_version);
                j.key("groupTopicMap");
                self.put_topics_of_groups(j);
                j.key("offsetTable").object(|j| {
                    for ((topic, group), queues) in &self.offsets {
                        j.key(&format!("{topic}@{group}")).object(|j| {
                            for (&queue_id, &offset) in queues {
                                j.number_key(queue_id.into()).number(offset);
                            }
                        });
                    }
                });
            }),
            ConfigFile::DelayOffsets => json.object(|j| {
                put_version(j.key("dataVersion"), self.delays_version);
                j.key("offsetTable").object(|j| {
                    for (&level, &offset) in &self.delays {
                        j.number_key(level.into()).number(offset);
                    }
                });
            }),
        }
        json.finish()
    }

    /// The body of REGISTER_BROKER in the 5.x form. `permission`: brokerPermission, which limits every topic's.
    pub fn registration(&self, permission: i32, mapping_version: DataVersion) -> String {
        let mut json = JavaJson::compact();
        json.object(|j| {
            j.key("filterServerList").list(|_| {});
            j.key("topicConfigSerializeWrapper");
            self.put_wrapper(j, permission, mapping_version);
        });
        json.finish()
    }

    /// The body of GET_ALL_TOPIC_CONFIG in the 5.x form.
    pub fn topic_wrapper(&self, mapping_version: DataVersion) -> String {
        let mut json = JavaJson::compact();
        self.put_wrapper(&mut json, ALL_PERMISSIONS, mapping_version);
        json.finish()
    }

    fn put_wrapper(&self, json: &mut JavaJson, permission: i32, mapping_version: DataVersion) {
        json.object(|j| {
            put_version(j.key("dataVersion"), self.topics_version);
            put_version(j.key("mappingDataVersion"), mapping_version);
            j.key("topicConfigTable");
            self.put_topics(j, permission);
            j.key("topicQueueMappingDetailMap").object(|_| {});
            j.key("topicQueueMappingInfoMap").object(|_| {});
        });
    }

    fn put_topics(&self, json: &mut JavaJson, permission: i32) {
        json.object(|j| {
            for (name, config) in &self.topics {
                put_topic(j.key(name), config, config.perm & permission);
            }
        });
    }

    /// 5.x keeps with the offsets which topics a group has read.
    fn put_topics_of_groups(&self, json: &mut JavaJson) {
        let mut topics_of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (topic, group) in self.offsets.keys() {
            // `topic@group@broadcast` is an offset of the proxy's, not of a group.
            if !group.contains('@') {
                topics_of.entry(group).or_default().push(topic);
            }
        }
        json.object(|j| {
            for (group, topics) in topics_of {
                j.key(group).list(|j| {
                    for topic in topics {
                        j.item().string(topic);
                    }
                });
            }
        });
    }
}

/// A DataVersion as a JSON object.
pub fn put_version(json: &mut JavaJson, version: DataVersion) {
    json.object(|j| {
        j.key("counter").number(version.counter);
        j.key("stateVersion").number(version.state_version);
        j.key("timestamp").number(version.timestamp);
    });
}

/// A TopicConfig as a JSON object.
pub fn put_topic(json: &mut JavaJson, config: &TopicConfig, perm: i32) {
    json.object(|j| {
        put_attributes(j.key("attributes"), &config.attributes);
        j.key("order").boolean(config.order);
        j.key("perm").number(perm.into());
        j.key("readQueueNums").number(config.read_queue_nums.into());
        j.key("topicFilterType").string(if config.multi_tag { "MULTI_TAG" } else { "SINGLE_TAG" });
        j.key("topicName").string(&config.name);
        j.key("topicSysFlag").number(config.topic_sys_flag.into());
        j.key("writeQueueNums").number(config.write_queue_nums.into());
    });
}

/// A SubscriptionGroupConfig as a JSON object.
pub fn put_group(json: &mut JavaJson, config: &GroupConfig) {
    json.object(|j| {
        put_attributes(j.key("attributes"), &config.attributes);
        j.key("brokerId").number(config.broker_id);
        j.key("consumeBroadcastEnable").boolean(config.consume_broadcast_enable);
        j.key("consumeEnable").boolean(config.consume_enable);
        j.key("consumeFromMinEnable").boolean(config.consume_from_min_enable);
        j.key("consumeMessageOrderly").boolean(config.consume_message_orderly);
        j.key("consumeTimeoutMinute").number(config.consume_timeout_minute.into());
        j.key("groupName").string(&config.name);
        // Whoever wrote another text knew what it meant; Java takes its default when the field is missing.
        if let Ok(policy) = serde_json::from_str(&config.retry_policy) {
            j.key("groupRetryPolicy").value(&policy);
        }
        j.key("groupSysFlag").number(config.group_sys_flag.into());
        j.key("notifyConsumerIdsChangedEnable").boolean(config.notify_consumer_ids_changed_enable);
        j.key("retryMaxTimes").number(config.retry_max_times.into());
        j.key("retryQueueNums").number(config.retry_queue_nums.into());
        j.key("whichBrokerWhenConsumeSlowly").number(config.which_broker_when_consume_slowly);
    });
}

fn put_attributes(json: &mut JavaJson, attributes: &BTreeMap<String, String>) {
    json.object(|j| {
        for (name, value) in attributes {
            j.key(name).string(value);
        }
    });
}

const ALL_PERMISSIONS: i32 = -1;

#[cfg(test)]
mod tests {
    use super::*;

    fn version(counter: i64) -> DataVersion {
        DataVersion { state_version: 0, timestamp: 1795178388167, counter }
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
        let text = mirror.text(ConfigFile::SubscriptionGroups, JavaJson::compact());
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
            mirror.text(ConfigFile::ConsumerOffsets, JavaJson::compact()),
            r#"{"dataVersion":{"counter":1,"stateVersion":0,"timestamp":77},"groupTopicMap":{"G":["T","U"]},"offsetTable":{"T@G":{0:12,1:9},"T@G@broadcast":{0:2},"U@G":{0:1}}}"#
        );
        mirror.apply(PersistOp::OffsetsRemoved { group: "G".into(), topic: "T".into() });
        assert!(!mirror.text(ConfigFile::ConsumerOffsets, JavaJson::compact()).contains(r#""T@G":"#));
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
        let mapping = DataVersion { timestamp: 1795178390843, ..DataVersion::default() };
        assert_eq!(
            mirror.registration(6, mapping),
            r#"{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":0,"stateVersion":0,"timestamp":1795178388167},"mappingDataVersion":{"counter":0,"stateVersion":0,"timestamp":1795178390843},"topicConfigTable":{"TBW102":{"attributes":{},"order":false,"perm":6,"readQueueNums":8,"topicFilterType":"SINGLE_TAG","topicName":"TBW102","topicSysFlag":0,"writeQueueNums":8}},"topicQueueMappingDetailMap":{},"topicQueueMappingInfoMap":{}}}"#
        );
        assert!(mirror.topic_wrapper(mapping).contains(r#""perm":7"#));
    }
}
