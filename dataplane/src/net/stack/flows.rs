//! 4-tuple to connection: an open-addressed table, keyed so that strangers cannot choose where they land.
//!
//! ```text
//!   peer address, peer port, our port ──▶ one u64 ──▶ keyed mix ──▶ slot of the table ──▶ connection
//! ```
//!
//! Fixed size, never more than half full, no tombstones: a removal moves its followers back.

use crate::rng::Rng;
use std::net::Ipv4Addr;

/// Everything that tells one connection of ours from another (our own address is always the same).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKey(u64);

impl FlowKey {
    pub fn as_word(self) -> u64 {
        self.0
    }

    pub fn new(peer: Ipv4Addr, peer_port: u16, our_port: u16) -> Self {
        Self(u64::from(peer.to_bits()) << 32 | u64::from(peer_port) << 16 | u64::from(our_port))
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: FlowKey,
    conn: u32,
}

#[derive(Debug)]
pub struct Flows {
    entries: Box<[Entry]>,
    secret: [u64; 2],
    len: usize,
    len_max: usize,
}

impl Flows {
    pub fn with_capacity(flows_max: usize, rng: &mut Rng) -> Self {
        let entries_len = (flows_max.max(8) * 2).next_power_of_two();
        Self {
            entries: vec![Entry { key: FlowKey(0), conn: NONE }; entries_len].into_boxed_slice(),
            secret: [rng.next_u64(), rng.next_u64() | 1],
            len: 0,
            len_max: flows_max,
        }
    }

    pub fn find(&self, key: FlowKey) -> Option<u32> {
        let mut at = self.home(key);
        loop {
            let entry = self.entries[at];
            if entry.conn == NONE {
                return None;
            }
            if entry.key == key {
                return Some(entry.conn);
            }
            at = self.after(at);
        }
    }

    pub fn insert(&mut self, key: FlowKey, conn: u32) {
        assert!(conn != NONE);
        assert!(self.len < self.len_max);
        let mut at = self.home(key);
        while self.entries[at].conn != NONE {
            assert!(self.entries[at].key != key);
            at = self.after(at);
        }
        self.entries[at] = Entry { key, conn };
        self.len += 1;
    }

    pub fn remove(&mut self, key: FlowKey) {
        let mut hole = self.home(key);
        while self.entries[hole].key != key || self.entries[hole].conn == NONE {
            assert!(self.entries[hole].conn != NONE);
            hole = self.after(hole);
        }
        self.len -= 1;
        let mut at = hole;
        loop {
            self.entries[hole].conn = NONE;
            // The next entry that may lie in the hole: one whose home is not between the hole and itself.
            loop {
                at = self.after(at);
                if self.entries[at].conn == NONE {
                    return;
                }
                let home = self.home(self.entries[at].key);
                if self.distance(home, at) >= self.distance(hole, at) {
                    break;
                }
            }
            self.entries[hole] = self.entries[at];
            hole = at;
        }
    }

    fn home(&self, key: FlowKey) -> usize {
        let wide = u128::from(key.0 ^ self.secret[0]) * u128::from(self.secret[1]);
        ((wide >> 64) as u64 ^ wide as u64) as usize & (self.entries.len() - 1)
    }

    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.entries.len() - 1)
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.entries.len() - 1)
    }
}

const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Goal: finds what is in, and nothing else, whatever the order of removals. Method: random steps beside a map.
    #[test]
    fn behaves_like_a_map() {
        let mut rng = Rng::from_seed(9);
        let mut flows = Flows::with_capacity(64, &mut rng);
        let mut model = HashMap::new();
        for step in 0..200_000u32 {
            let key = FlowKey::new(Ipv4Addr::new(10, 0, 0, 1), rng.below(100) as u16, 10911);
            match model.get(&key.0).copied() {
                Some(conn) if rng.chance(0.5) => {
                    assert_eq!(flows.find(key), Some(conn));
                    flows.remove(key);
                    model.remove(&key.0);
                }
                None if model.len() < 64 => {
                    flows.insert(key, step);
                    model.insert(key.0, step);
                }
                found => assert_eq!(flows.find(key), found),
            }
        }
        for (key, conn) in model {
            assert_eq!(flows.find(FlowKey(key)), Some(conn));
        }
    }
}
