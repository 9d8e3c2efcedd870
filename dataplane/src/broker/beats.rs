//! Heartbeats that are known by their bytes.
//!
//! Nearly every heartbeat says what the last one said. Its bytes are kept per connection, and while no table it
//! depends on has moved, the same bytes again only refresh the times: no parsing, no allocation.

use hashbrown::HashMap;
use protocol::code::response;

use super::{Broker, ReplyTo, Request};
use crate::limits::BEATS_BYTES_MAX;
use crate::net::ConnId;
use crate::outbox::{Body, Outbox};

/// The last heartbeat of each connection, for the short way.
#[derive(Debug, Default)]
pub struct Beats {
    by_conn: HashMap<ConnId, Beat>,
    /// What their bodies take.
    bytes: usize,
}

#[derive(Debug)]
pub(super) struct Beat {
    pub body: Box<[u8]>,
    pub tables: TableMarks,
    /// A fingerprint was sent (heartbeat V2): the answer says whether the client must send everything again.
    pub fingerprinted: bool,
}

/// What a heartbeat's outcome depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TableMarks {
    topics: i64,
    groups: i64,
    consumers: u64,
}

impl Broker {
    pub(super) fn table_marks(&self) -> TableMarks {
        TableMarks {
            topics: self.topics.version().counter,
            groups: self.groups.version().counter,
            consumers: self.consumers.revision(),
        }
    }
}

impl Beats {
    /// The last heartbeat of this connection, if it said the same and still means that.
    pub(super) fn known(&self, req: &Request<'_>, tables: TableMarks) -> Option<&Beat> {
        self.by_conn.get(&req.conn).filter(|beat| beat.tables == tables && *beat.body == *req.body)
    }

    /// Keeps the last heartbeat of a connection, if there is room for it.
    pub(super) fn keep(&mut self, conn: ConnId, beat: Beat) {
        self.forget(conn);
        if self.bytes + beat.body.len() <= BEATS_BYTES_MAX {
            self.bytes += beat.body.len();
            self.by_conn.insert(conn, beat);
        }
    }

    /// The client says something else, or is gone.
    pub(super) fn forget(&mut self, conn: ConnId) {
        if let Some(beat) = self.by_conn.remove(&conn) {
            self.bytes -= beat.body.len();
        }
    }
}

/// `sub_change`: the client must tell everything again (heartbeat V2).
pub(super) fn answer_heartbeat(to: ReplyTo, sub_change: bool, out: &mut Outbox) {
    out.reply(
        to,
        response::SUCCESS,
        |w| w.field("IS_SUPPORT_HEART_BEAT_V2", true).field("IS_SUB_CHANGE", sub_change),
        Body::None,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: heartbeats that are kept take so much memory at most, and what is forgotten makes room. Method: long ones of one connection after
    /// the other.
    #[test]
    fn kept_heartbeats_are_bounded() {
        let mut beats = Beats::default();
        let conn = |slot| ConnId { slot, generation: 1 };
        let keep = |beats: &mut Beats, slot| {
            let tables = TableMarks { topics: 0, groups: 0, consumers: 0 };
            let body = vec![b'x'; 32 << 10].into();
            beats.keep(conn(slot), Beat { body, tables, fingerprinted: false });
        };
        (0..3_000).for_each(|slot| keep(&mut beats, slot));
        assert_eq!((beats.by_conn.len(), beats.bytes), (2_048, 64 << 20));
        keep(&mut beats, 7);
        assert!(beats.by_conn.contains_key(&conn(7)));
        (0..3_000).for_each(|slot| beats.forget(conn(slot)));
        assert_eq!((beats.by_conn.len(), beats.bytes), (0, 0));
    }
}
