//! Subscription groups: what consumer groups this broker knows and what each may do.
//!
//! ```text
//! name -> GroupConfig        every change -> DataVersion + 1, PersistOp::GroupChanged
//! ```
//!
//! A group comes from subscriptionGroup.json, from the list that every broker has, on the fly from a heartbeat,
//! a pull, a send-back or a send to its retry topic, and from administrators. Who is online is in consumers.rs.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;

use super::persist_ops::{PersistOp, PersistOps};
use super::version::DataVersion;

/// A group as the broker uses it. The JSON form is `protocol::body`'s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupConfig {
    pub name: Arc<str>,
    pub consume_enable: bool,
    pub consume_from_min_enable: bool,
    pub consume_broadcast_enable: bool,
    pub consume_message_orderly: bool,
    pub retry_queue_nums: i32,
    pub retry_max_times: i32,
    /// The JSON text of groupRetryPolicy; kept for its readers, the broker does not look into it.
    pub retry_policy: Arc<str>,
    pub broker_id: i64,
    pub which_broker_when_consume_slowly: i64,
    pub notify_consumer_ids_changed_enable: bool,
    pub group_sys_flag: i32,
    pub consume_timeout_minute: i32,
    pub attributes: BTreeMap<String, String>,
}

impl GroupConfig {
    pub fn new(name: &str) -> GroupConfig {
        GroupConfig {
            name: name.into(),
            consume_enable: true,
            consume_from_min_enable: true,
            consume_broadcast_enable: true,
            consume_message_orderly: false,
            retry_queue_nums: 1,
            retry_max_times: 16,
            retry_policy: RETRY_POLICY_DEFAULT.into(),
            broker_id: 0,
            which_broker_when_consume_slowly: 1,
            notify_consumer_ids_changed_enable: true,
            group_sys_flag: 0,
            consume_timeout_minute: 15,
            attributes: BTreeMap::new(),
        }
    }
}

/// The table of one broker.
#[derive(Debug)]
pub struct Groups {
    by_name: HashMap<Arc<str>, Arc<GroupConfig>>,
    version: DataVersion,
}

impl Groups {
    /// Takes over what subscriptionGroup.json held and makes the groups every broker has.
    pub fn new(
        loaded: impl IntoIterator<Item = GroupConfig>,
        version: DataVersion,
        now_ms: i64,
        ops: &mut PersistOps,
    ) -> Groups {
        let mut groups = Groups { by_name: HashMap::new(), version };
        for config in loaded {
            groups.by_name.insert(config.name.clone(), Arc::new(config));
        }
        for name in START_GROUPS {
            if groups.get(name).is_none() {
                groups.put(GroupConfig::new(name), now_ms, ops);
            }
        }
        groups
    }

    /// The group, if there is one; never makes one.
    pub fn get(&self, name: &str) -> Option<&Arc<GroupConfig>> {
        self.by_name.get(name)
    }

    /// The group, made with defaults when the broker may (autoCreateSubscriptionGroup). None: 26 is the answer.
    pub fn find_or_create(
        &mut self,
        name: &str,
        auto_create: bool,
        now_ms: i64,
        ops: &mut PersistOps,
    ) -> Option<&Arc<GroupConfig>> {
        if !self.by_name.contains_key(name) {
            if !(auto_create || name.starts_with(SYSTEM_GROUP_PREFIX)) || !is_group_name(name) {
                return None;
            }
            self.put(GroupConfig::new(name), now_ms, ops);
        }
        self.by_name.get(name)
    }

    /// Makes or replaces a group.
    pub fn put(&mut self, config: GroupConfig, now_ms: i64, ops: &mut PersistOps) {
        let config = Arc::new(config);
        self.version.advance(now_ms);
        ops.push(PersistOp::GroupChanged { config: config.clone(), version: self.version });
        self.by_name.insert(config.name.clone(), config);
    }

    /// Deletes a group; false when it was not there.
    pub fn remove(&mut self, name: &str, now_ms: i64, ops: &mut PersistOps) -> bool {
        let Some((group, _)) = self.by_name.remove_entry(name) else { return false };
        self.version.advance(now_ms);
        ops.push(PersistOp::GroupRemoved { group, version: self.version });
        true
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<GroupConfig>> + '_ {
        self.by_name.values()
    }

    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub fn version(&self) -> DataVersion {
        self.version
    }
}

/// Whether a group of this name may be made on the fly.
pub fn is_group_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'_' | b'-');
    !name.is_empty() && name.len() <= GROUP_BYTES_MAX && name.bytes().all(allowed)
}

/// The group whose committed offsets say how far transactions have been looked through.
pub const TRANSACTION_GROUP: &str = "CID_RMQ_SYS_TRANS";

const GROUP_BYTES_MAX: usize = 120;
const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";
const RETRY_POLICY_DEFAULT: &str = r#"{"type":"CUSTOMIZED"}"#;
const START_GROUPS: [&str; 8] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    TRANSACTION_GROUP,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Groups {
        Groups::new([], DataVersion::default(), 0, &mut PersistOps::new())
    }

    /// Goal: a new group gets the official defaults, and the change is kept once.
    #[test]
    fn groups_come_about_on_the_fly() {
        let (mut groups, mut ops) = (table(), PersistOps::new());
        assert_eq!(groups.len(), START_GROUPS.len());
        let config = groups.find_or_create("G", true, 5, &mut ops).unwrap().clone();
        assert_eq!((config.retry_max_times, config.retry_queue_nums), (16, 1));
        assert_eq!(ops.pop(), Some(PersistOp::GroupChanged { config, version: groups.version() }));
        groups.find_or_create("G", true, 6, &mut ops).unwrap();
        assert_eq!(ops.pop(), None);
        assert_eq!(groups.version().timestamp, 5);
    }

    /// Goal: with autoCreateSubscriptionGroup=false only system groups are made on the fly.
    #[test]
    fn without_auto_creation_only_system_groups_are_made() {
        let (mut groups, mut ops) = (table(), PersistOps::new());
        assert!(groups.find_or_create("G", false, 0, &mut ops).is_none());
        assert!(groups.find_or_create("CID_RMQ_SYS_X", false, 0, &mut ops).is_some());
    }

    /// Goal: names that RocketMQ refuses never enter the table.
    #[test]
    fn bad_names_are_not_created() {
        let (mut groups, mut ops) = (table(), PersistOps::new());
        for name in ["", "a b", "ü", &"g".repeat(121)] {
            assert!(groups.find_or_create(name, true, 0, &mut ops).is_none(), "{name}");
        }
        assert!(groups.find_or_create(&"g".repeat(120), true, 0, &mut ops).is_some());
        assert!(groups.remove("TOOLS_CONSUMER", 0, &mut ops));
        assert!(!groups.remove("TOOLS_CONSUMER", 0, &mut ops));
    }
}
