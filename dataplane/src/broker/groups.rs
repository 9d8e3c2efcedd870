//! Subscription groups: what consumer groups this broker knows and what each may do.
//!
//! ```text
//! name -> GroupConfig        every change -> DataVersion + 1, PersistOp::GroupChanged
//! ```
//!
//! A group comes from subscriptionGroup.json, from the list that every broker has, on the fly from a heartbeat,
//! a pull, a send-back or a send to its retry topic, and from administrators. Who is online is in consumers.rs. The table has so
//! much memory; at the bound what is new is refused.

use std::sync::Arc;

use hashbrown::HashMap;
use protocol::names;

use super::group_config::GroupConfig;
use super::persist_ops::{PersistOp, PersistOps};
use super::room::{NoRoom, NotMade};
use super::version::DataVersion;
use crate::limits::GROUPS_BYTES_MAX;

/// What a list of groups would add to the table.
#[derive(Debug, Default)]
pub struct MoreGroups {
    bytes: usize,
}

/// The table of one broker.
#[derive(Debug)]
pub struct Groups {
    by_name: HashMap<Arc<str>, usize>,
    slots: Vec<Option<Arc<GroupConfig>>>,
    free: Vec<usize>,
    /// What they take.
    bytes: usize,
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
        let mut groups =
            Groups { by_name: HashMap::new(), slots: Vec::new(), free: Vec::new(), bytes: 0, version };
        for config in loaded {
            groups.place(Arc::new(config));
        }
        for &name in names::SYSTEM_GROUPS {
            if groups.get(name).is_none() {
                groups.put(GroupConfig::new(name), now_ms, ops);
            }
        }
        groups
    }

    /// The group, if there is one; never makes one.
    pub fn get(&self, name: &str) -> Option<&Arc<GroupConfig>> {
        self.at(*self.by_name.get(name)?)
    }

    /// The group, made with defaults when the broker may (autoCreateSubscriptionGroup). Not allowed: 26 is the answer of most codes.
    pub fn find_or_create(
        &mut self,
        name: &str,
        auto_create: bool,
        now_ms: i64,
        ops: &mut PersistOps,
    ) -> Result<&Arc<GroupConfig>, NotMade> {
        if !self.by_name.contains_key(name) {
            if !(auto_create || names::is_system_group(name)) || !is_group_name(name) {
                return Err(NotMade::NotAllowed);
            }
            let config = GroupConfig::new(name);
            self.check_room([&config]).map_err(NotMade::NoRoom)?;
            self.put(config, now_ms, ops);
        }
        Ok(self.get(name).expect("put above when it was missing"))
    }

    /// Whether all of these may be made, or take the place of what is there.
    pub fn check_room<'a>(&self, wanted: impl IntoIterator<Item = &'a GroupConfig>) -> Result<(), NoRoom> {
        let mut more = MoreGroups::default();
        wanted.into_iter().try_for_each(|config| self.check_room_for(config, &mut more))
    }

    /// .. and this one, after those of the same list that `more` counts already.
    pub fn check_room_for(&self, config: &GroupConfig, more: &mut MoreGroups) -> Result<(), NoRoom> {
        let known = self.get(&config.name).map_or(0, |known| known.bytes());
        more.bytes += config.bytes().saturating_sub(known);
        if more.bytes > 0 && self.bytes + more.bytes > GROUPS_BYTES_MAX { Err(FULL) } else { Ok(()) }
    }

    /// Makes or replaces a group; whether it may be made is asked before.
    pub fn put(&mut self, config: GroupConfig, now_ms: i64, ops: &mut PersistOps) {
        let config = Arc::new(config);
        self.version.advance(now_ms);
        ops.push(PersistOp::GroupChanged { config: config.clone(), version: self.version });
        self.place(config);
    }

    fn place(&mut self, config: Arc<GroupConfig>) {
        self.bytes += config.bytes();
        let place = match self.by_name.get(&config.name) {
            Some(&place) => place,
            None => {
                let place = self.free.pop().unwrap_or_else(|| {
                    self.slots.push(None);
                    self.slots.len() - 1
                });
                self.by_name.insert(config.name.clone(), place);
                place
            }
        };
        let slot = self.slots.get_mut(place).expect("every name has its place");
        if let Some(before) = slot.replace(config) {
            self.bytes -= before.bytes();
        }
    }

    /// Deletes a group; false when it was not there.
    pub fn remove(&mut self, name: &str, now_ms: i64, ops: &mut PersistOps) -> bool {
        let Some((group, place)) = self.by_name.remove_entry(name) else { return false };
        let config = self.slots.get_mut(place).and_then(Option::take).expect("every name has its place");
        self.free.push(place);
        self.bytes -= config.bytes();
        self.version.advance(now_ms);
        ops.push(PersistOp::GroupRemoved { group, version: self.version });
        true
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<GroupConfig>> + '_ {
        self.slots.iter().flatten()
    }

    /// Places of groups, empty ones included: who goes through all of them goes on where he stopped.
    pub fn places(&self) -> usize {
        self.slots.len()
    }

    pub fn at(&self, place: usize) -> Option<&Arc<GroupConfig>> {
        self.slots.get(place)?.as_ref()
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

const FULL: NoRoom = NoRoom(
    "no room for more subscription groups: those of this broker take as much memory as they may; delete some that nobody needs",
);

/// Whether a group of this name may be made on the fly.
pub fn is_group_name(name: &str) -> bool {
    name.len() <= names::GROUP_LEN_MAX_BROKER && names::has_legal_characters(name)
}

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
        assert_eq!(groups.len(), names::SYSTEM_GROUPS.len());
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
        assert_eq!(groups.find_or_create("G", false, 0, &mut ops).err(), Some(NotMade::NotAllowed));
        assert!(groups.find_or_create("CID_RMQ_SYS_X", false, 0, &mut ops).is_ok());
    }

    /// Goal: names that RocketMQ refuses never enter the table.
    #[test]
    fn bad_names_are_not_created() {
        let (mut groups, mut ops) = (table(), PersistOps::new());
        for name in ["", "a b", "ü", &"g".repeat(121)] {
            let made = groups.find_or_create(name, true, 0, &mut ops);
            assert_eq!(made.err(), Some(NotMade::NotAllowed), "{name}");
        }
        assert!(groups.find_or_create(&"g".repeat(120), true, 0, &mut ops).is_ok());
        assert!(groups.remove("TOOLS_CONSUMER", 0, &mut ops));
        assert!(!groups.remove("TOOLS_CONSUMER", 0, &mut ops));
    }
}
