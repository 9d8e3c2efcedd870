//! The connections of one client instance: at most one to an address, made when first needed.
//!
//! ```text
//!            want(addr)                up()                 closed() / retire()
//!   none ──────────────► connecting ──────────► up ───────────────────────────► none
//!                        frames wait            frames go at once
//! ```
//!
//! When there are as many as may be, one that carries heartbeats only gives way to one that is needed for more.
//!
//! A retired link (its server said GO_AWAY) still brings the answers it owes, but takes no new request: the next one
//! makes a new link.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// `ip:port` of a broker or name server.
pub type Addr = Arc<str>;

/// Names one connection, once: a new connection to the same address has a new id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u32);

/// A request that waits for its link.
#[derive(Debug)]
pub struct Waiting {
    pub opaque: i32,
    pub oneway: bool,
    pub frame: Vec<u8>,
}

#[derive(Debug)]
struct Link {
    addr: Addr,
    is_up: bool,
    since: Duration,
    heard: Duration,
    used: Duration,
    /// When it was last used for anything but heartbeats.
    worked: Option<Duration>,
    /// Whether somebody would miss the heartbeats over it.
    is_needed: bool,
    waiting: Vec<Waiting>,
    /// Bytes of frames that are not known to be written yet, those that wait for the connection included.
    unwritten: usize,
}

/// What `Links::want` found.
#[derive(Debug, PartialEq, Eq)]
pub enum Want {
    Up(LinkId),
    Connecting(LinkId),
    /// There was none; the caller must have one made.
    Made(LinkId),
}

/// A link that could be given up for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spare {
    pub id: LinkId,
    pub is_needed: bool,
}

#[derive(Debug, Default)]
pub struct Links {
    id_last: u32,
    by_id: HashMap<LinkId, Link>,
    by_addr: HashMap<Addr, LinkId>,
}

impl Links {
    pub fn want(&mut self, addr: &Addr, now: Duration) -> Want {
        if let Some(&id) = self.by_addr.get(addr) {
            let is_up = self.by_id.get(&id).is_some_and(|link| link.is_up);
            return if is_up { Want::Up(id) } else { Want::Connecting(id) };
        }
        self.id_last = self.id_last.checked_add(1).expect("fewer than 2^32 connections in one process");
        let id = LinkId(self.id_last);
        let link = Link {
            addr: addr.clone(),
            is_up: false,
            since: now,
            heard: now,
            used: now,
            worked: None,
            is_needed: false,
            waiting: Vec::new(),
            unwritten: 0,
        };
        self.by_id.insert(id, link);
        self.by_addr.insert(addr.clone(), id);
        Want::Made(id)
    }

    /// Keeps a frame until the link is up.
    pub fn wait(&mut self, id: LinkId, waiting: Waiting) {
        if let Some(link) = self.by_id.get_mut(&id) {
            link.waiting.push(waiting);
        }
    }

    /// The link is made; gives its address and what waited for it. `None` if it was given up meanwhile.
    pub fn up(&mut self, id: LinkId, now: Duration) -> Option<(Addr, Vec<Waiting>)> {
        let link = self.by_id.get_mut(&id)?;
        link.is_up = true;
        link.heard = now;
        link.used = now;
        Some((link.addr.clone(), std::mem::take(&mut link.waiting)))
    }

    /// What a frame of `bytes_len` would have to wait behind, if both together are more than `max`. A link that has nothing to
    /// write takes any frame.
    pub fn backlog(&self, id: LinkId, bytes_len: usize, max: usize) -> Option<usize> {
        let unwritten = self.by_id.get(&id)?.unwritten;
        (unwritten > 0 && unwritten.saturating_add(bytes_len) > max).then_some(unwritten)
    }

    /// These bytes are to be written to the link.
    pub fn queued(&mut self, id: LinkId, bytes_len: usize) {
        if let Some(link) = self.by_id.get_mut(&id) {
            link.unwritten += bytes_len;
        }
    }

    /// These bytes were written, or will not be.
    pub fn written(&mut self, id: LinkId, bytes_len: usize) {
        if let Some(link) = self.by_id.get_mut(&id) {
            link.unwritten = link.unwritten.saturating_sub(bytes_len);
        }
    }

    pub fn closed(&mut self, id: LinkId) -> Option<Addr> {
        let link = self.by_id.remove(&id)?;
        if self.by_addr.get(&link.addr) == Some(&id) {
            self.by_addr.remove(&link.addr);
        }
        Some(link.addr)
    }

    /// New requests to this address make a new link from now on.
    pub fn retire(&mut self, id: LinkId) {
        if let Some(link) = self.by_id.get(&id)
            && self.by_addr.get(&link.addr) == Some(&id)
        {
            self.by_addr.remove(&link.addr);
        }
    }

    pub fn heard(&mut self, id: LinkId, now: Duration) {
        if let Some(link) = self.by_id.get_mut(&id) {
            link.heard = now;
        }
    }

    pub fn used(&mut self, id: LinkId, now: Duration) {
        if let Some(link) = self.by_id.get_mut(&id) {
            link.used = now;
        }
    }

    /// It carries something else than a heartbeat.
    pub fn worked(&mut self, id: LinkId, now: Duration) {
        if let Some(link) = self.by_id.get_mut(&id) {
            link.worked = Some(now);
        }
    }

    /// To these addresses heartbeats are needed, and to no others.
    pub fn need(&mut self, addrs: &BTreeSet<Addr>) {
        for link in self.by_id.values_mut() {
            link.is_needed = addrs.contains(&link.addr);
        }
    }

    /// Links that carried nothing but heartbeats for `limit`: first those whose heartbeats nobody needs, then those of which
    /// it is longest ago.
    pub fn spare(&self, now: Duration, limit: Duration) -> Vec<Spare> {
        let is_spare =
            |link: &Link| link.unwritten == 0 && link.worked.is_none_or(|worked| now >= worked + limit);
        let mut links: Vec<(LinkId, &Link)> =
            self.by_id.iter().filter(|(_, link)| is_spare(link)).map(|(id, link)| (*id, link)).collect();
        links.sort_unstable_by_key(|(id, link)| (link.is_needed, link.worked, *id));
        links.iter().map(|(id, link)| Spare { id: *id, is_needed: link.is_needed }).collect()
    }

    pub fn addr(&self, id: LinkId) -> Option<&Addr> {
        self.by_id.get(&id).map(|link| &link.addr)
    }

    pub fn is_up(&self, id: LinkId) -> bool {
        self.by_id.get(&id).is_some_and(|link| link.is_up)
    }

    pub fn count(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is a link to the address, or one is being made.
    pub fn leads_to(&self, addr: &str) -> bool {
        self.by_addr.contains_key(addr)
    }

    pub fn is_up_to(&self, addr: &str) -> bool {
        self.by_addr.get(addr).is_some_and(|id| self.is_up(*id))
    }

    /// Whether nothing at all came over the link since `since`: then it is dead rather than busy.
    pub fn is_silent_since(&self, id: LinkId, since: Duration) -> bool {
        self.by_id.get(&id).is_some_and(|link| link.heard <= since)
    }

    /// Links whose connecting takes too long.
    pub fn connecting_too_long(&self, now: Duration, limit: Duration) -> Vec<LinkId> {
        self.ids(|link| !link.is_up && now >= link.since + limit)
    }

    /// Links that carried nothing either way for `limit`.
    pub fn idle(&self, now: Duration, limit: Duration) -> Vec<LinkId> {
        self.ids(|link| link.is_up && now >= link.heard.max(link.used) + limit)
    }

    /// When the first of those connecting now has taken too long.
    pub fn next_connect_deadline(&self, limit: Duration) -> Option<Duration> {
        self.by_id.values().filter(|link| !link.is_up).map(|link| link.since + limit).min()
    }

    /// Whether something nobody will be answered waits for a connection that is being made.
    pub fn has_oneway_waiting(&self) -> bool {
        self.by_id.values().any(|link| link.waiting.iter().any(|one| one.oneway))
    }

    pub fn all(&self) -> Vec<LinkId> {
        self.ids(|_| true)
    }

    fn ids(&self, pick: impl Fn(&Link) -> bool) -> Vec<LinkId> {
        let mut ids: Vec<LinkId> =
            self.by_id.iter().filter(|(_, link)| pick(link)).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1);

    /// Goal: one link an address; what waits for it comes out in order once it is up.
    #[test]
    fn frames_wait_for_the_link() {
        let (mut links, addr) = (Links::default(), Arc::from("10.0.0.1:10911"));
        let Want::Made(id) = links.want(&addr, START) else { panic!("there was no link") };
        assert_eq!(links.want(&addr, START), Want::Connecting(id));
        for opaque in 1..=3 {
            links.wait(id, Waiting { opaque, oneway: false, frame: vec![] });
        }
        let (_, waited) = links.up(id, START).unwrap();
        assert_eq!(waited.iter().map(|one| one.opaque).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(links.want(&addr, START), Want::Up(id));
        assert_eq!(links.closed(id).as_deref(), Some("10.0.0.1:10911"));
        assert!(links.closed(id).is_none());
        assert!(matches!(links.want(&addr, START), Want::Made(other) if other != id));
    }

    /// Goal: a retired link keeps its answers; the next request gets a new link, which the old one's end leaves alone.
    #[test]
    fn a_retired_link_takes_no_request() {
        let (mut links, addr) = (Links::default(), Arc::from("10.0.0.1:10911"));
        let Want::Made(old) = links.want(&addr, START) else { panic!("there was no link") };
        links.up(old, START);
        links.retire(old);
        let Want::Made(new) = links.want(&addr, START) else { panic!("the old one is retired") };
        assert!(links.is_up(old));
        links.closed(old);
        assert_eq!(links.want(&addr, START), Want::Connecting(new));
    }

    /// Goal: limits on connecting and on idleness name the links they are for.
    #[test]
    fn links_are_found_by_their_age() {
        let mut links = Links::default();
        let limit = Duration::from_secs(3);
        let Want::Made(slow) = links.want(&Arc::from("a:1"), START) else { panic!() };
        let Want::Made(idle) = links.want(&Arc::from("b:1"), START) else { panic!() };
        links.up(idle, START);
        assert_eq!(links.next_connect_deadline(limit), Some(START + limit));
        assert_eq!(links.connecting_too_long(START + limit, limit), [slow]);
        assert_eq!(links.idle(START + limit, limit), [idle]);
        links.used(idle, START + limit);
        assert_eq!(links.idle(START + limit, limit), []);
        assert!(links.is_silent_since(idle, START));
    }
}
