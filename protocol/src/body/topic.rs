//! Topics and their tables: codes 17, 18, 21 and 351, and `topics.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DataVersion, PERM_READ, PERM_WRITE};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfig {
    /// Only 5.x has it.
    pub attributes: BTreeMap<String, String>,
    pub order: bool,
    pub perm: i32,
    pub read_queue_nums: i32,
    pub topic_filter_type: TopicFilterType,
    pub topic_name: String,
    pub topic_sys_flag: i32,
    pub write_queue_nums: i32,
}

impl Default for TopicConfig {
    fn default() -> TopicConfig {
        TopicConfig {
            attributes: BTreeMap::new(),
            order: false,
            perm: PERM_READ | PERM_WRITE,
            read_queue_nums: TopicConfig::QUEUE_NUMS_DEFAULT,
            topic_filter_type: TopicFilterType::SingleTag,
            topic_name: String::new(),
            topic_sys_flag: 0,
            write_queue_nums: TopicConfig::QUEUE_NUMS_DEFAULT,
        }
    }
}

impl TopicConfig {
    /// What a config means that says no number of queues.
    pub const QUEUE_NUMS_DEFAULT: i32 = 16;

    pub fn new(topic_name: impl Into<String>, queue_nums: i32, perm: i32) -> TopicConfig {
        TopicConfig {
            topic_name: topic_name.into(),
            read_queue_nums: queue_nums,
            write_queue_nums: queue_nums,
            perm,
            ..TopicConfig::default()
        }
    }
}

named_enum! {
    pub enum TopicFilterType {
        #[default]
        SingleTag = "SINGLE_TAG",
        MultiTag = "MULTI_TAG",
    }
}

bodies! {
    /// `topics.json`, and the 4.9 answer to GET_ALL_TOPIC_CONFIG (21).
    #[derive(Eq)]
    pub struct TopicConfigSerializeWrapper {
        pub data_version: DataVersion,
        pub topic_config_table: BTreeMap<String, TopicConfig>,
    }

    /// The 5.x form on the wire: the same with the mappings of static topics.
    #[derive(Eq)]
    pub struct TopicConfigAndMappingSerializeWrapper {
        pub data_version: DataVersion,
        pub mapping_data_version: DataVersion,
        pub topic_config_table: BTreeMap<String, TopicConfig>,
        pub topic_queue_mapping_detail_map: BTreeMap<String, serde_json::Value>,
        pub topic_queue_mapping_info_map: BTreeMap<String, TopicQueueMappingInfo>,
    }

    /// Which logical queues of a static topic a broker has.
    #[derive(Eq)]
    pub struct TopicQueueMappingInfo {
        pub bname: String,
        pub curr_id_map: BTreeMap<i32, i32>,
        pub dirty: bool,
        pub epoch: i64,
        pub scope: Option<String>,
        pub topic: String,
        pub total_queues: i32,
    }

    /// UPDATE_AND_CREATE_TOPIC_LIST (18).
    #[derive(Eq)]
    pub struct CreateTopicListRequestBody {
        pub topic_config_list: Vec<TopicConfig>,
    }
}

/// The answer to GET_TOPIC_CONFIG (351): the config's fields, and the mapping of a static topic beside them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigAndQueueMapping {
    #[serde(flatten)]
    pub config: TopicConfig,
    pub mapping_detail: Option<serde_json::Value>,
}
