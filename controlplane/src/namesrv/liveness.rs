//! Which broker addresses are alive: last sign of life, the channel each came by, and its data version.
//!
//! ```text
//! (cluster, address) --> last update, time-out, channel, data version, HA address
//! ```
//!
//! An address dies when its channel closes, when it is silent for longer than its time-out, or when it says goodbye.
//! This table only says who died; `route.rs` takes them out of the routes.

use std::collections::{BTreeMap, HashSet};

use protocol::body::DataVersion;

/// Milliseconds on the server's own clock, which never goes back.
pub type Millis = u64;

/// One connection to the name server, by the number the server gave it. Numbers are never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Channel(pub u64);

/// One address of one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BrokerKey {
    pub cluster: String,
    pub address: String,
}

impl BrokerKey {
    pub fn new(cluster: &str, address: &str) -> Self {
        Self { cluster: cluster.to_owned(), address: address.to_owned() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    pub last_update: Millis,
    pub timeout_ms: Millis,
    pub channel: Channel,
    pub data_version: DataVersion,
    pub ha_server_addr: String,
}

impl Live {
    fn is_silent(&self, now: Millis) -> bool {
        self.last_update.saturating_add(self.timeout_ms) < now
    }
}

/// A broker that does not ask for another time-out is given this.
pub const TIMEOUT_MS_DEFAULT: Millis = 120_000;

#[derive(Debug, Default)]
pub struct LiveTable {
    table: BTreeMap<BrokerKey, Live>,
}

impl LiveTable {
    pub fn get(&self, key: &BrokerKey) -> Option<&Live> {
        self.table.get(key)
    }

    pub fn put(&mut self, key: BrokerKey, live: Live) {
        self.table.insert(key, live);
    }

    pub fn remove(&mut self, key: &BrokerKey) -> Option<Live> {
        self.table.remove(key)
    }

    /// Notes a sign of life; says nothing about an address that is not known.
    pub fn touch(&mut self, key: &BrokerKey, now: Millis) {
        if let Some(live) = self.table.get_mut(key) {
            live.last_update = now;
        }
    }

    /// Whether `version` differs from what this address last registered. An unknown address always differs.
    pub fn differs(&self, key: &BrokerKey, version: Option<&DataVersion>) -> bool {
        self.table.get(key).is_none_or(|live| version != Some(&live.data_version))
    }

    /// The addresses whose newest registration came by `channel`.
    pub fn on_channel(&self, channel: Channel) -> Vec<BrokerKey> {
        self.keys_where(|live| live.channel == channel)
    }

    /// The addresses that have been silent for longer than their time-out.
    pub fn silent(&self, now: Millis) -> Vec<BrokerKey> {
        self.keys_where(|live| live.is_silent(now))
    }

    /// Whatever is alive in some cluster.
    pub fn addresses(&self) -> HashSet<&str> {
        self.table.keys().map(|key| key.address.as_str()).collect()
    }

    fn keys_where(&self, dead: impl Fn(&Live) -> bool) -> Vec<BrokerKey> {
        self.table.iter().filter(|(_, live)| dead(live)).map(|(key, _)| key.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(last_update: Millis, timeout_ms: Millis, channel: u64) -> Live {
        Live {
            last_update,
            timeout_ms,
            channel: Channel(channel),
            data_version: DataVersion::default(),
            ha_server_addr: String::new(),
        }
    }

    /// Goal: an address dies just after its time-out, not at it. Method: both sides of the edge.
    #[test]
    fn silence_is_counted_from_the_last_sign_of_life() {
        let key = BrokerKey::new("C", "a:1");
        let mut table = LiveTable::default();
        table.put(key.clone(), live(1_000, 500, 1));
        assert!(table.silent(1_500).is_empty());
        assert_eq!(table.silent(1_501).len(), 1);
        table.touch(&key, 1_400);
        assert!(table.silent(1_900).is_empty());
        assert_eq!(table.silent(1_901), [key]);
    }

    #[test]
    fn a_touch_does_not_make_an_address() {
        let mut table = LiveTable::default();
        table.touch(&BrokerKey::new("C", "a:1"), 7);
        assert_eq!(table.get(&BrokerKey::new("C", "a:1")), None);
    }

    /// Goal: closing an old connection does not take down a broker that came back by a new one.
    #[test]
    fn only_the_newest_channel_counts() {
        let key = BrokerKey::new("C", "a:1");
        let mut table = LiveTable::default();
        table.put(key.clone(), live(0, 500, 1));
        table.put(key.clone(), live(0, 500, 2));
        assert!(table.on_channel(Channel(1)).is_empty());
        assert_eq!(table.on_channel(Channel(2)), [key]);
    }

    #[test]
    fn a_time_out_without_end_is_never_reached() {
        let mut table = LiveTable::default();
        table.put(BrokerKey::new("C", "a:1"), live(9, Millis::MAX, 1));
        assert!(table.silent(Millis::MAX).is_empty());
    }
}
