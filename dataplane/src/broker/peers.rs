//! Where each connection comes from, for the lists administrators ask for.

use std::net::SocketAddr;

use crate::net::ConnId;

/// Addresses by slot; a dead id finds nothing.
#[derive(Debug, Default)]
pub struct Peers {
    slots: Vec<Option<(u32, SocketAddr)>>,
}

impl Peers {
    pub fn opened(&mut self, conn: ConnId, peer: SocketAddr) {
        let slot = conn.slot as usize;
        if slot >= self.slots.len() {
            self.slots.resize(slot + 1, None);
        }
        self.slots[slot] = Some((conn.generation, peer));
    }

    pub fn closed(&mut self, conn: ConnId) {
        if self.of(conn).is_some() {
            self.slots[conn.slot as usize] = None;
        }
    }

    pub fn of(&self, conn: ConnId) -> Option<SocketAddr> {
        let (generation, peer) = (*self.slots.get(conn.slot as usize)?)?;
        (generation == conn.generation).then_some(peer)
    }

    /// `ip:port`, or nothing for who is gone.
    pub fn text(&self, conn: ConnId) -> String {
        self.of(conn).map_or_else(String::new, |peer| peer.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: an address is found by its own id only. Method: reuse a slot.
    #[test]
    fn a_reused_slot_does_not_answer_for_the_old_connection() {
        let (old, new) = (ConnId { slot: 3, generation: 1 }, ConnId { slot: 3, generation: 2 });
        let mut peers = Peers::default();
        peers.opened(old, "10.0.0.1:1".parse().unwrap());
        assert_eq!(peers.text(old), "10.0.0.1:1");
        peers.opened(new, "10.0.0.2:2".parse().unwrap());
        peers.closed(old);
        assert_eq!((peers.text(old).as_str(), peers.text(new).as_str()), ("", "10.0.0.2:2"));
        peers.closed(new);
        assert_eq!(peers.of(new), None);
    }
}
