//! Which connections belong to which producer group.
//!
//! ```text
//! group -> channels, asked in turn for the state of a transaction
//! client id -> channel, where an answer to a request-reply message goes
//! ```
//!
//! A producer registers with its heartbeat and is known for 120 s after the last one. A group is keyed by
//! connection: a client that comes back on a new connection counts twice until the old one dies. Time is passed in.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::net::ConnId;

use super::client::Client;
use super::consumers::next_after;
use super::room::NoRoom;
use crate::limits::{MEMBERS_MAX, MEMBERS_PER_GROUP_MAX, PRODUCER_GROUPS_PER_CONN_MAX};

#[derive(Debug)]
struct ProducerGroup {
    /// By connection, in order.
    channels: Vec<Channel>,
    /// Whose turn it is to be asked.
    next: usize,
}

/// One producer of a group, as administrators see it.
#[derive(Debug)]
pub struct Channel {
    pub conn: ConnId,
    pub client: Arc<Client>,
    pub seen_ms: i64,
}

/// The table of one broker.
#[derive(Debug, Default)]
pub struct Producers {
    groups: HashMap<Arc<str>, ProducerGroup>,
    by_conn: HashMap<ConnId, Joined>,
    /// The newest channel of each client; an older one comes back with its next heartbeat when the newest closes.
    by_client: HashMap<Arc<str>, ConnId>,
    /// Channels of all groups.
    channels: usize,
}

/// What a connection is in.
#[derive(Debug)]
struct Joined {
    groups: BTreeSet<Arc<str>>,
    /// The client id it gave last: the only one by which `by_client` may lead to it.
    id: Arc<str>,
}

impl ProducerGroup {
    fn channel_mut(&mut self, conn: ConnId) -> Option<&mut Channel> {
        let at = self.channels.binary_search_by_key(&conn, |channel| channel.conn).ok()?;
        self.channels.get_mut(at)
    }
}

impl Producers {
    /// A heartbeat named this group.
    pub fn register(&mut self, group: &str, conn: ConnId, client: &Arc<Client>, now_ms: i64) {
        let joined = self
            .by_conn
            .entry(conn)
            .or_insert_with(|| Joined { groups: BTreeSet::new(), id: client.id.clone() });
        if joined.id != client.id {
            let given_up = std::mem::replace(&mut joined.id, client.id.clone());
            forget_client(&mut self.by_client, &given_up, conn);
        }
        if self.by_client.get(&*client.id) != Some(&conn) {
            self.by_client.insert(client.id.clone(), conn);
        }
        if let Some(channel) = self.groups.get_mut(group).and_then(|known| known.channel_mut(conn)) {
            channel.seen_ms = now_ms;
            if *channel.client != **client {
                channel.client = client.clone();
            }
            return;
        }
        if joined.groups.len() >= PRODUCER_GROUPS_PER_CONN_MAX {
            return;
        }
        let name: Arc<str> =
            self.groups.get_key_value(group).map_or_else(|| group.into(), |(name, _)| name.clone());
        let empty = || ProducerGroup { channels: Vec::new(), next: 0 };
        let known = self.groups.entry(name.clone()).or_insert_with(empty);
        let at = known.channels.partition_point(|channel| channel.conn < conn);
        known.channels.insert(at, Channel { conn, client: client.clone(), seen_ms: now_ms });
        self.channels += 1;
        joined.groups.insert(name);
    }

    /// The heartbeat of this connection said nothing new.
    pub fn touch(&mut self, conn: ConnId, now_ms: i64) {
        let Some(joined) = self.by_conn.get(&conn) else { return };
        for name in &joined.groups {
            if let Some(channel) = self.groups.get_mut(&**name).and_then(|known| known.channel_mut(conn)) {
                channel.seen_ms = now_ms;
            }
        }
        if !self.by_client.contains_key(&joined.id) {
            // Another connection of the same client has closed.
            self.by_client.insert(joined.id.clone(), conn);
        }
    }

    /// The client says goodbye for one group.
    pub fn unregister(&mut self, group: &str, conn: ConnId) {
        let Some(known) = self.groups.get_mut(group) else { return };
        let Ok(at) = known.channels.binary_search_by_key(&conn, |channel| channel.conn) else { return };
        known.channels.remove(at);
        self.channels -= 1;
        if known.channels.is_empty() {
            self.groups.remove(group);
        }
        let Some(joined) = self.by_conn.get_mut(&conn) else { return };
        joined.groups.remove(group);
        if joined.groups.is_empty() {
            forget_client(&mut self.by_client, &joined.id, conn);
            self.by_conn.remove(&conn);
        }
    }

    /// Whether this connection may be a member of the group, or is one.
    pub fn check_room(&self, group: &str, conn: ConnId) -> Result<(), NoRoom> {
        let is_member = || self.by_conn.get(&conn).is_some_and(|joined| joined.groups.contains(group));
        let of_group = self.groups.get(group).map_or(0, |known| known.channels.len());
        let is_full = of_group >= MEMBERS_PER_GROUP_MAX || self.channels >= MEMBERS_MAX;
        if is_full && !is_member() { Err(FULL) } else { Ok(()) }
    }

    /// The connection is gone: nothing is sent to its client there any more. Its groups it leaves one by one, by `unregister`.
    pub fn gone(&mut self, conn: ConnId) {
        if let Some(joined) = self.by_conn.get(&conn) {
            forget_client(&mut self.by_client, &joined.id, conn);
        }
    }

    /// One group this connection is still in; who takes it out asks until there is none.
    pub fn a_group_of(&self, conn: ConnId) -> Option<Arc<str>> {
        self.by_conn.get(&conn).and_then(|joined| joined.groups.first()).cloned()
    }

    /// The groups this connection is in.
    pub fn groups_of(&self, conn: ConnId) -> Option<&BTreeSet<Arc<str>>> {
        self.by_conn.get(&conn).map(|joined| &joined.groups)
    }

    /// The next of this connection's groups by name, and its channel there. Who goes through all of them goes on where he stopped.
    pub fn next_group_of(&self, conn: ConnId, after: Option<&Arc<str>>) -> Option<(&Arc<str>, &Channel)> {
        let group = next_after(&self.by_conn.get(&conn)?.groups, after)?;
        let channels = &self.groups.get(group)?.channels;
        let at = channels.binary_search_by_key(&conn, |channel| channel.conn).ok()?;
        Some((group, channels.get(at)?))
    }

    /// The next channel of a group in turn. Any member may answer for a transaction of its group.
    pub fn next_channel(&mut self, group: &str) -> Option<ConnId> {
        let known = self.groups.get_mut(group)?;
        known.next = (known.next + 1) % known.channels.len().max(1);
        known.channels.get(known.next).map(|channel| channel.conn)
    }

    /// Where this client's answers go.
    pub fn channel_of_client(&self, client_id: &str) -> Option<ConnId> {
        self.by_client.get(client_id).copied()
    }

    /// The channels of a group; None when the group is unknown.
    pub fn channels(&self, group: &str) -> Option<&[Channel]> {
        self.groups.get(group).map(|group| &*group.channels)
    }

    /// Every group and its channels.
    pub fn groups(&self) -> impl Iterator<Item = (&Arc<str>, &[Channel])> + '_ {
        self.groups.iter().map(|(name, group)| (name, &*group.channels))
    }
}

const FULL: NoRoom = NoRoom(
    "no room for more producers: this group, or all groups of this broker together, have as many members as they may; stop clients that \
     nobody needs",
);

/// This client is not on this connection any more; it may be on another one.
fn forget_client(by_client: &mut HashMap<Arc<str>, ConnId>, id: &str, conn: ConnId) {
    if by_client.get(id) == Some(&conn) {
        by_client.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::tests::client;
    use super::*;

    fn conn(slot: u32) -> ConnId {
        ConnId { slot, generation: 1 }
    }

    fn close(producers: &mut Producers, conn: ConnId) {
        producers.gone(conn);
        while let Some(group) = producers.a_group_of(conn) {
            producers.unregister(&group, conn);
        }
    }

    /// Goal: transaction checks go round the group's channels, and a group without channels has none.
    #[test]
    fn channels_are_asked_in_turn() {
        let mut producers = Producers::default();
        assert_eq!(producers.next_channel("PG"), None);
        producers.register("PG", conn(1), &client("a"), 0);
        producers.register("PG", conn(2), &client("b"), 0);
        producers.register("PG", conn(2), &client("b"), 5);
        let asked: Vec<_> = (0..4).filter_map(|_| producers.next_channel("PG")).collect();
        assert_eq!(asked, [conn(2), conn(1), conn(2), conn(1)]);
        close(&mut producers, conn(1));
        assert_eq!(producers.next_channel("PG"), Some(conn(2)));
        producers.unregister("PG", conn(2));
        assert_eq!(producers.next_channel("PG"), None);
        assert!(producers.channels("PG").is_none());
    }

    /// Goal: a client is found by its id on its newest connection, until it leaves its last group.
    #[test]
    fn a_client_is_found_by_its_id() {
        let mut producers = Producers::default();
        producers.register("PG", conn(1), &client("a"), 0);
        producers.register("CLIENT_INNER_PRODUCER", conn(1), &client("a"), 0);
        assert_eq!(producers.channel_of_client("a"), Some(conn(1)));
        producers.unregister("PG", conn(1));
        assert_eq!(producers.channel_of_client("a"), Some(conn(1)));
        producers.register("PG", conn(7), &client("a"), 1);
        assert_eq!(producers.channel_of_client("a"), Some(conn(7)));
        close(&mut producers, conn(7));
        assert_eq!(producers.channel_of_client("a"), None);
        producers.touch(conn(1), 2);
        assert_eq!(producers.channel_of_client("a"), Some(conn(1)));
        close(&mut producers, conn(1));
        assert_eq!(producers.channel_of_client("a"), None);
        assert_eq!(producers.groups().count(), 0);
    }

    /// Goal: a connection that calls itself something else with each heartbeat, for each group, leaves nothing behind.
    #[test]
    fn an_id_that_was_given_up_is_forgotten() {
        let mut producers = Producers::default();
        for id in ["a", "b", "c"] {
            producers.register("PG", conn(1), &client(id), 0);
            producers.register(id, conn(1), &client(id), 0);
            producers.touch(conn(1), 1);
            assert_eq!((producers.by_client.len(), producers.channel_of_client(id)), (1, Some(conn(1))));
        }
        producers.register("PG", conn(2), &client("c"), 0);
        close(&mut producers, conn(1));
        assert_eq!(producers.channel_of_client("c"), Some(conn(2)));
        close(&mut producers, conn(2));
        assert!(
            producers.by_client.is_empty() && producers.by_conn.is_empty() && producers.groups.is_empty()
        );
    }

    /// Goal: a client that is in very many groups leaves them without holding anybody up. Method: as many as would take minutes if each
    /// were looked for among all.
    #[test]
    fn a_member_of_many_groups_leaves_at_once() {
        let mut producers = Producers::default();
        let client = client("a");
        (0..100_000).for_each(|group| producers.register(&group.to_string(), conn(1), &client, 0));
        assert_eq!(producers.groups().count(), PRODUCER_GROUPS_PER_CONN_MAX);
        close(&mut producers, conn(1));
        assert_eq!(producers.groups().count(), 0);
        assert!(producers.by_conn.is_empty());
    }

    /// Goal: members are bounded, of a group and of all; who is in stays in, and who leaves makes room. Method: one connection after the other
    /// in one group, then connections in as many as each may be in, until one is refused.
    #[test]
    fn members_are_bounded() {
        let mut producers = Producers::default();
        let client = client("a");
        let join = |producers: &mut Producers, group: &str, slot: u32| {
            let room = producers.check_room(group, conn(slot));
            if room.is_ok() {
                producers.register(group, conn(slot), &client, 0);
            }
            room
        };
        for slot in (0..65_536).rev() {
            assert_eq!(join(&mut producers, "PG", slot), Ok(()), "{slot}");
        }
        assert_eq!(join(&mut producers, "PG", 70_000), Err(FULL));
        for at in 0..1_048_576 - 65_536 {
            let slot = 80_000 + at / PRODUCER_GROUPS_PER_CONN_MAX as u32;
            assert_eq!(join(&mut producers, &at.to_string(), slot), Ok(()), "{at}");
        }
        assert_eq!(join(&mut producers, "H", 0), Err(FULL));
        assert_eq!(join(&mut producers, "PG", 7), Ok(()));
        producers.unregister("PG", conn(7));
        assert_eq!((join(&mut producers, "H", 0), producers.channels), (Ok(()), 1_048_576));
    }

    /// Goal: silence is measured from the last heartbeat of each connection, repeated ones included.
    #[test]
    fn silence_is_known() {
        let mut producers = Producers::default();
        producers.register("PG", conn(1), &client("a"), 0);
        producers.register("PG", conn(2), &client("b"), 0);
        producers.touch(conn(2), 60_000);
        let seen_ms = |slot| producers.next_group_of(conn(slot), None).map(|(_, channel)| channel.seen_ms);
        assert_eq!((seen_ms(1), seen_ms(2), seen_ms(3)), (Some(0), Some(60_000), None));
        assert!(producers.next_group_of(conn(1), Some(&"PG".into())).is_none());
    }
}
