//! Tables of texts: the KV configuration of the name server, a broker's figures (28), and lists of topics.

use std::collections::BTreeMap;

bodies! {
    /// Codes 219, 28, and the answer to 103.
    #[derive(Eq)]
    #[allow(clippy::upper_case_acronyms)]
    pub struct KVTable {
        pub table: BTreeMap<String, String>,
    }

    /// The name server's `kvConfig.json`: namespace, then key.
    #[derive(Eq)]
    pub struct KVConfigSerializeWrapper {
        pub config_table: BTreeMap<String, BTreeMap<String, String>>,
    }

    /// Codes 206, 224, 304, 305, 311 to 313 and 343.
    #[derive(Eq)]
    pub struct TopicList {
        pub broker_addr: Option<String>,
        pub topic_list: Vec<String>,
    }

    /// Who reads a topic (300).
    #[derive(Eq)]
    pub struct GroupList {
        pub group_list: Vec<String>,
    }
}
