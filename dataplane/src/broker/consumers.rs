//! Which consumers are online: the members of each group and what the group subscribes to.
//!
//! ```text
//! heartbeat -> group: kind, members (one per connection), subscriptions (one per topic)
//!              changed?  = a new member, a topic added, a topic removed  -> the desk notifies every member (code 40)
//! ```
//!
//! A newer version of a subscription replaces the older one and is not a change: clients set a new version after
//! every rebalance, and a notification would start the next one. A group is keyed by connection, so a client that
//! comes back on a new connection counts twice until the old one dies. A group without members is forgotten with
//! its subscriptions. Time is passed in; a member is silent when its last heartbeat is older than the caller allows.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
pub use protocol::body::{ConsumeFromWhere, ConsumeType, MessageModel};

use crate::net::ConnId;

use super::client::Client;
use super::room::NoRoom;
use crate::limits::{MEMBERS_MAX, MEMBERS_PER_GROUP_MAX, SUBSCRIPTIONS_BYTES_MAX};

/// How a group consumes; every heartbeat says it anew and the last one wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupKind {
    pub consume_type: ConsumeType,
    pub model: MessageModel,
    /// The broker only shows it.
    pub from_where: ConsumeFromWhere,
}

/// What a group wants of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub topic: Arc<str>,
    /// "TAG" or "SQL92".
    pub expression_type: Arc<str>,
    pub sub_string: Arc<str>,
    pub tags: Vec<Arc<str>>,
    /// The Java hashes of the tags, sorted; empty for "*".
    pub codes: Vec<i32>,
    pub sub_version: i64,
    pub class_filter_mode: bool,
}

impl Subscription {
    /// Everything of the topic, whatever its tag.
    pub fn is_all(&self) -> bool {
        *self.sub_string == *"*"
    }

    pub fn is_tag(&self) -> bool {
        *self.expression_type == *TAG
    }

    /// Memory that it takes, near enough.
    pub fn bytes(&self) -> usize {
        let texts = [&*self.topic, &*self.expression_type, &*self.sub_string];
        Subscription::bytes_of(texts, self.tags.iter().map(|tag| tag.len()), self.codes.len())
    }

    /// .. and that one would take which has these texts, tags so long, and so many codes.
    pub fn bytes_of(texts: [&str; 3], tags: impl Iterator<Item = usize>, codes: usize) -> usize {
        let tags: usize = tags.map(|len| len + TEXT_BYTES).sum();
        let texts: usize = texts.iter().map(|text| text.len()).sum();
        texts + tags + codes * size_of::<i32>() + SUBSCRIPTION_BYTES
    }

    /// Whether a message with this tags code may match; the client compares the tag's text again.
    pub fn matches_code(&self, tags_code: i64) -> bool {
        self.is_all() || self.codes.binary_search(&(tags_code as i32)).is_ok()
    }
}

/// One consumer of a group.
#[derive(Debug)]
pub struct Member {
    pub conn: ConnId,
    pub client: Arc<Client>,
    pub seen_ms: i64,
}

/// One group that is online.
#[derive(Debug)]
pub struct ConsumerGroup {
    pub name: Arc<str>,
    pub kind: GroupKind,
    /// By connection, in order: each heartbeat looks for its own among thousands.
    members: Vec<Member>,
    subscriptions: HashMap<Arc<str>, Subscription>,
    /// What they take.
    bytes: usize,
}

impl ConsumerGroup {
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    pub fn member_of_client(&self, client_id: &str) -> Option<&Member> {
        self.members.iter().find(|member| *member.client.id == *client_id)
    }

    pub fn subscription(&self, topic: &str) -> Option<&Subscription> {
        self.subscriptions.get(topic)
    }

    pub fn subscriptions(&self) -> impl Iterator<Item = &Subscription> + '_ {
        self.subscriptions.values()
    }

    /// Takes the whole list of a heartbeat; true when a topic came or went.
    fn subscribe(&mut self, listed: Vec<Subscription>, revision: &mut u64) -> bool {
        let mut changed = false;
        let topics: HashSet<Arc<str>> =
            listed.iter().map(|subscription| subscription.topic.clone()).collect();
        self.subscriptions.retain(|topic, _| {
            let keep = topics.contains(topic);
            changed |= !keep;
            keep
        });
        for subscription in listed {
            match self.subscriptions.get_mut(&subscription.topic) {
                Some(known) if subscription.sub_version > known.sub_version => {
                    *known = subscription;
                    *revision += 1;
                }
                Some(_) => {}
                None => {
                    changed = true;
                    self.subscriptions.insert(subscription.topic.clone(), subscription);
                }
            }
        }
        *revision += u64::from(changed);
        self.bytes = self.subscriptions.values().map(Subscription::bytes).sum();
        changed
    }
}

/// The table of one broker.
#[derive(Debug, Default)]
pub struct Consumers {
    groups: HashMap<Arc<str>, ConsumerGroup>,
    by_conn: HashMap<ConnId, BTreeSet<Arc<str>>>,
    /// Members of all groups.
    members: usize,
    /// What the subscriptions of all groups take.
    bytes: usize,
    /// Moves on with every change of a group's kind or subscriptions.
    revision: u64,
}

impl Consumers {
    /// A heartbeat named this group. `listed` is None when the heartbeat leaves subscriptions out because they are
    /// as before (heartbeat V2). True when the members must be told.
    pub fn register(
        &mut self,
        group: &str,
        kind: GroupKind,
        listed: Option<Vec<Subscription>>,
        conn: ConnId,
        client: &Arc<Client>,
        now_ms: i64,
    ) -> bool {
        if !self.groups.contains_key(group) {
            let name: Arc<str> = group.into();
            let members = Vec::new();
            let subscriptions = HashMap::new();
            let empty = ConsumerGroup { name: name.clone(), kind, members, subscriptions, bytes: 0 };
            self.groups.insert(name, empty);
        }
        let known = self.groups.get_mut(group).expect("inserted above when it was missing");
        if known.kind != kind {
            known.kind = kind;
            self.revision += 1;
        }
        let mut changed = false;
        match known.members.binary_search_by_key(&conn, |member| member.conn) {
            Ok(at) => {
                let member = &mut known.members[at];
                member.seen_ms = now_ms;
                if *member.client != **client {
                    member.client = client.clone();
                }
            }
            Err(at) => {
                changed = true;
                self.revision += 1;
                self.members += 1;
                known.members.insert(at, Member { conn, client: client.clone(), seen_ms: now_ms });
                self.by_conn.entry(conn).or_default().insert(known.name.clone());
            }
        }
        if let Some(listed) = listed {
            self.bytes -= known.bytes;
            changed |= known.subscribe(listed, &mut self.revision);
            self.bytes += known.bytes;
        }
        changed
    }

    /// While it stands still, a heartbeat that says the same as before would change nothing.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The heartbeat of this connection said nothing new.
    pub fn touch(&mut self, conn: ConnId, now_ms: i64) {
        let Some(names) = self.by_conn.get(&conn) else { return };
        for name in names {
            let Some(group) = self.groups.get_mut(&**name) else { continue };
            if let Ok(at) = group.members.binary_search_by_key(&conn, |member| member.conn) {
                group.members[at].seen_ms = now_ms;
            }
        }
    }

    /// The client says goodbye to one group. True when it was a member.
    pub fn unregister(&mut self, group: &str, conn: ConnId) -> bool {
        let Some(known) = self.groups.get_mut(group) else { return false };
        let place = known.members.binary_search_by_key(&conn, |member| member.conn);
        if let Ok(at) = place {
            known.members.remove(at);
            self.members -= 1;
        }
        if known.members.is_empty() {
            self.bytes -= known.bytes;
            self.groups.remove(group);
        }
        if let Some(names) = self.by_conn.get_mut(&conn) {
            names.remove(group);
            if names.is_empty() {
                self.by_conn.remove(&conn);
            }
        }
        place.is_ok()
    }

    /// One group this connection is still in; who takes it out asks until there is none.
    pub fn a_group_of(&self, conn: ConnId) -> Option<Arc<str>> {
        self.by_conn.get(&conn).and_then(|names| names.first()).cloned()
    }

    /// The groups this connection is in.
    pub fn groups_of(&self, conn: ConnId) -> Option<&BTreeSet<Arc<str>>> {
        self.by_conn.get(&conn)
    }

    /// The next of this connection's groups by name, and when it was heard there. Who goes through all of them goes on where he stopped.
    pub fn next_group_of(&self, conn: ConnId, after: Option<&Arc<str>>) -> Option<(&Arc<str>, i64)> {
        let group = next_after(self.by_conn.get(&conn)?, after)?;
        let members = &self.groups.get(group)?.members;
        let at = members.binary_search_by_key(&conn, |member| member.conn).ok()?;
        Some((group, members.get(at)?.seen_ms))
    }

    /// Whether this connection may be a member of the group, or is one.
    pub fn check_room(&self, group: &str, conn: ConnId) -> Result<(), NoRoom> {
        let is_member = || self.by_conn.get(&conn).is_some_and(|names| names.contains(group));
        let of_group = self.groups.get(group).map_or(0, |known| known.members.len());
        let is_full = of_group >= MEMBERS_PER_GROUP_MAX || self.members >= MEMBERS_MAX;
        if is_full && !is_member() { Err(FULL) } else { Ok(()) }
    }

    /// Whether groups may subscribe so much: names, and bytes of what each would have. Less than they have is always possible.
    pub fn has_room_for<'a>(&self, wanted: impl IntoIterator<Item = (&'a str, usize)>) -> bool {
        let more = |(name, bytes): (&str, usize)| {
            bytes.saturating_sub(self.groups.get(name).map_or(0, |group| group.bytes))
        };
        let more: usize = wanted.into_iter().map(more).sum();
        more == 0 || self.bytes + more <= SUBSCRIPTIONS_BYTES_MAX
    }

    pub fn group(&self, name: &str) -> Option<&ConsumerGroup> {
        self.groups.get(name)
    }

    pub fn groups(&self) -> impl Iterator<Item = &ConsumerGroup> + '_ {
        self.groups.values()
    }
}

/// The name that follows.
pub(super) fn next_after<'a>(
    names: &'a BTreeSet<Arc<str>>,
    after: Option<&Arc<str>>,
) -> Option<&'a Arc<str>> {
    let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
    names.range::<Arc<str>, _>((begin, Bound::Unbounded)).next()
}

const FULL: NoRoom = NoRoom(
    "no room for more consumers: this group, or all groups of this broker together, have as many members as they may; stop clients that \
     nobody needs",
);

/// What a text takes besides its bytes, and a subscription besides its texts.
const TEXT_BYTES: usize = 32;
const SUBSCRIPTION_BYTES: usize = 256;

/// The expression type of plain tags, also when none is given.
pub const TAG: &str = "TAG";

#[cfg(test)]
pub mod tests {
    use super::super::client::tests::client;
    use super::*;

    pub fn clustering() -> GroupKind {
        let from_where = ConsumeFromWhere::LastOffset;
        GroupKind { consume_type: ConsumeType::Passively, model: MessageModel::Clustering, from_where }
    }

    pub fn subscription(topic: &str, sub_version: i64) -> Subscription {
        Subscription {
            topic: topic.into(),
            expression_type: TAG.into(),
            sub_string: "*".into(),
            tags: Vec::new(),
            codes: Vec::new(),
            sub_version,
            class_filter_mode: false,
        }
    }

    fn conn(slot: u32) -> ConnId {
        ConnId { slot, generation: 1 }
    }

    fn beat(consumers: &mut Consumers, slot: u32, topics: &[(&str, i64)]) -> bool {
        let listed = topics.iter().map(|(topic, version)| subscription(topic, *version)).collect();
        consumers.register("G", clustering(), Some(listed), conn(slot), &client(&slot.to_string()), 0)
    }

    /// Goal: exactly a new member, an added topic and a removed topic are changes.
    /// Method: the sequence of heartbeats a group goes through, step by step.
    #[test]
    fn only_members_and_topics_that_come_or_go_are_changes() {
        let mut consumers = Consumers::default();
        assert!(beat(&mut consumers, 1, &[("T", 1)]), "a new member");
        assert!(!beat(&mut consumers, 1, &[("T", 1)]), "the same again");
        assert!(!beat(&mut consumers, 1, &[("T", 2)]), "a newer version");
        assert_eq!(consumers.group("G").unwrap().subscription("T").unwrap().sub_version, 2);
        assert!(!beat(&mut consumers, 1, &[("T", 1)]), "an older version is not taken");
        assert_eq!(consumers.group("G").unwrap().subscription("T").unwrap().sub_version, 2);
        assert!(beat(&mut consumers, 1, &[("T", 2), ("U", 1)]), "a topic added");
        assert!(beat(&mut consumers, 1, &[("U", 1)]), "a topic removed");
        assert!(beat(&mut consumers, 2, &[("U", 1)]), "a second member");
        assert_eq!(consumers.group("G").unwrap().members().len(), 2);
    }

    /// Goal: heartbeat V2 without subscriptions keeps a member alive and its subscriptions as they are.
    #[test]
    fn a_heartbeat_without_subscriptions_changes_none() {
        let mut consumers = Consumers::default();
        beat(&mut consumers, 1, &[("T", 1)]);
        assert!(!consumers.register("G", clustering(), None, conn(1), &client("1"), 9));
        assert!(consumers.group("G").unwrap().subscription("T").is_some());
        assert!(consumers.register("G", clustering(), None, conn(2), &client("2"), 9));
    }

    /// Goal: the last member takes the group with it; the index by connection follows every way to leave.
    #[test]
    fn a_group_lives_as_long_as_its_members() {
        let mut consumers = Consumers::default();
        beat(&mut consumers, 1, &[("T", 1)]);
        beat(&mut consumers, 2, &[("T", 1)]);
        assert!(consumers.unregister("G", conn(1)));
        assert!(!consumers.unregister("G", conn(1)));
        assert_eq!(consumers.a_group_of(conn(1)), None);
        assert_eq!(consumers.a_group_of(conn(2)).as_deref(), Some("G"));
        assert!(consumers.unregister("G", conn(2)));
        assert!(consumers.group("G").is_none());
        assert!(beat(&mut consumers, 2, &[("T", 1)]));
    }

    /// Goal: a client that is in very many groups leaves them without holding anybody up. Method: as many as would take minutes if each
    /// were looked for among all.
    #[test]
    fn a_member_of_many_groups_leaves_at_once() {
        let mut consumers = Consumers::default();
        let client = client("1");
        for group in 0..100_000 {
            consumers.register(&group.to_string(), clustering(), Some(vec![]), conn(1), &client, 0);
        }
        while let Some(group) = consumers.a_group_of(conn(1)) {
            assert!(consumers.unregister(&group, conn(1)));
        }
        assert_eq!(consumers.groups().count(), 0);
    }

    /// Goal: what groups subscribe is bounded over all of them; who has some keeps it, and what leaves makes room. Method: groups with a
    /// MiB of expressions each, until no more is let in.
    #[test]
    fn subscriptions_are_bounded() {
        let mut consumers = Consumers::default();
        let client = client("1");
        let long = |topics: usize| -> Vec<Subscription> {
            let one = |at: usize| Subscription {
                sub_string: "x".repeat(1 << 16).into(),
                ..subscription(&at.to_string(), 1)
            };
            (0..topics).map(one).collect()
        };
        let bytes = |listed: &[Subscription]| listed.iter().map(Subscription::bytes).sum::<usize>();
        let mib = bytes(&long(16));
        let mut groups = 0;
        while consumers.has_room_for([(&*groups.to_string(), mib)]) {
            consumers.register(&groups.to_string(), clustering(), Some(long(16)), conn(1), &client, 0);
            groups += 1;
        }
        assert!((250..=256).contains(&groups), "{groups}");
        assert!(!consumers.has_room_for([("0", mib), ("new", mib)]));
        assert!(!consumers.has_room_for([("0", mib + (2 << 20))]));
        assert!(consumers.has_room_for([("0", mib), ("1", 0), ("new", 300)]));
        consumers.register("0", clustering(), Some(long(1)), conn(1), &client, 0);
        assert!(consumers.unregister("1", conn(1)));
        assert!(consumers.has_room_for([("new", mib)]));
        while let Some(group) = consumers.a_group_of(conn(1)) {
            consumers.unregister(&group, conn(1));
        }
        assert_eq!(consumers.bytes, 0);
    }

    /// Goal: members are bounded, of a group and of all; who is in stays in, and who leaves makes room. Method: one connection after the other
    /// in one group, then one connection in very many, until one is refused.
    #[test]
    fn members_are_bounded() {
        let mut consumers = Consumers::default();
        let client = client("1");
        let join = |consumers: &mut Consumers, group: &str, slot: u32| {
            let room = consumers.check_room(group, conn(slot));
            if room.is_ok() {
                consumers.register(group, clustering(), None, conn(slot), &client, 0);
            }
            room
        };
        // Those who come last go before those who came first, too.
        for slot in (0..65_536).rev() {
            assert_eq!(join(&mut consumers, "G", slot), Ok(()), "{slot}");
        }
        assert_eq!(join(&mut consumers, "G", 70_000), Err(FULL));
        for group in 0..1_048_576 - 65_536 {
            assert_eq!(join(&mut consumers, &group.to_string(), 80_000), Ok(()), "{group}");
        }
        assert_eq!(join(&mut consumers, "H", 0), Err(FULL));
        assert_eq!(join(&mut consumers, "G", 7), Ok(()));
        assert!(consumers.unregister("G", conn(7)) && !consumers.unregister("G", conn(7)));
        assert_eq!((join(&mut consumers, "H", 0), consumers.members), (Ok(()), 1_048_576));
    }

    /// Goal: silence is measured from the last heartbeat of each connection, repeated ones included.
    #[test]
    fn silence_is_known() {
        let mut consumers = Consumers::default();
        beat(&mut consumers, 1, &[("T", 1)]);
        beat(&mut consumers, 2, &[("T", 1)]);
        consumers.touch(conn(1), 100_000);
        let seen_ms = |slot| consumers.next_group_of(conn(slot), None).map(|(_, seen_ms)| seen_ms);
        assert_eq!((seen_ms(1), seen_ms(2), seen_ms(3)), (Some(100_000), Some(0), None));
        assert_eq!(consumers.next_group_of(conn(1), Some(&"F".into())), Some((&"G".into(), 100_000)));
        assert_eq!(consumers.next_group_of(conn(1), Some(&"G".into())), None);
    }

    /// Goal: a tag subscription matches by the low 32 bits of the tags code; "*" matches everything.
    #[test]
    fn subscriptions_match_by_tags_code() {
        let mut some = Subscription { sub_string: "TagA || TagB".into(), ..subscription("T", 0) };
        some.codes = vec![-5, 2_598_919];
        assert!(some.matches_code(2_598_919) && some.matches_code(-5));
        assert!(!some.matches_code(0) && !some.matches_code(2_598_920));
        assert!(subscription("T", 0).matches_code(0));
    }
}
