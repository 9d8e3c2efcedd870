//! Where each connection comes from and what client it is, for the lists administrators ask for.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::net::ConnId;

use super::client::Client;

/// By slot; a dead id finds nothing.
#[derive(Debug, Default)]
pub struct Peers {
    slots: Vec<Option<Peer>>,
}

#[derive(Debug, Clone)]
struct Peer {
    generation: u32,
    address: SocketAddr,
    /// Who its last new heartbeat said it is.
    client: Option<Arc<Client>>,
}

impl Peers {
    pub fn opened(&mut self, conn: ConnId, peer: SocketAddr) {
        let slot = conn.slot as usize;
        if slot >= self.slots.len() {
            self.slots.resize(slot + 1, None);
        }
        self.slots[slot] = Some(Peer { generation: conn.generation, address: peer, client: None });
    }

    /// A heartbeat said who this is.
    pub fn named(&mut self, conn: ConnId, client: &Arc<Client>) {
        let slot = self.slots.get_mut(conn.slot as usize).and_then(Option::as_mut);
        if let Some(peer) = slot.filter(|peer| peer.generation == conn.generation) {
            peer.client = Some(Arc::clone(client));
        }
    }

    pub fn closed(&mut self, conn: ConnId) {
        if self.of(conn).is_some() {
            self.slots[conn.slot as usize] = None;
        }
    }

    /// Places of connections, free ones included: who goes through all of them goes on where he stopped.
    pub fn places(&self) -> usize {
        self.slots.len()
    }

    pub fn at(&self, place: usize) -> Option<ConnId> {
        let peer = self.slots.get(place)?.as_ref()?;
        Some(ConnId { slot: u32::try_from(place).ok()?, generation: peer.generation })
    }

    pub fn of(&self, conn: ConnId) -> Option<SocketAddr> {
        self.find(conn).map(|peer| peer.address)
    }

    pub fn client_of(&self, conn: ConnId) -> Option<&Arc<Client>> {
        self.find(conn)?.client.as_ref()
    }

    fn find(&self, conn: ConnId) -> Option<&Peer> {
        let peer = self.slots.get(conn.slot as usize)?.as_ref()?;
        (peer.generation == conn.generation).then_some(peer)
    }

    /// `ip:port`, or nothing for who is gone.
    pub fn text(&self, conn: ConnId) -> String {
        self.of(conn).map_or_else(String::new, |peer| peer.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::client::tests::client;

    /// Goal: an address is found by its own id only. Method: reuse a slot.
    #[test]
    fn a_reused_slot_does_not_answer_for_the_old_connection() {
        let (old, new) = (ConnId { slot: 3, generation: 1 }, ConnId { slot: 3, generation: 2 });
        let mut peers = Peers::default();
        peers.opened(old, "10.0.0.1:1".parse().unwrap());
        assert_eq!(peers.text(old), "10.0.0.1:1");
        peers.named(old, &client("c@1"));
        assert_eq!(peers.client_of(old).map(|client| &*client.id), Some("c@1"));
        peers.opened(new, "10.0.0.2:2".parse().unwrap());
        peers.closed(old);
        assert_eq!((peers.text(old).as_str(), peers.text(new).as_str()), ("", "10.0.0.2:2"));
        assert!(peers.client_of(new).is_none() && peers.client_of(old).is_none());
        peers.named(old, &client("late"));
        assert!(peers.client_of(new).is_none());
        peers.closed(new);
        assert_eq!(peers.of(new), None);
    }
}
