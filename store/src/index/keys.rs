//! Which keys a record is found by.
//!
//! ```text
//! UNIQ_KEY u, KEYS "k1 k2", TAGS t   ->   topic#u, topic#k1, topic#k2, topic#T#t     (the last is 5.5's)
//! ```

use protocol::properties::{self, key};
use protocol::record::{RecordView, sys_flag};

use super::hash::{KeyKind, TopicHash};
use crate::brief::{Brief, Labels};

/// Hands out the hash of every key of a record, in the order in which they are stored. `topic`: kept from record to record.
#[inline]
pub(crate) fn for_each(
    record: &Brief<'_>,
    labels: &Labels<'_>,
    topic: &mut TopicHash,
    mut take: impl FnMut(i32),
) {
    if record.sys_flag & sys_flag::TRANSACTION_MASK == sys_flag::TRANSACTION_ROLLBACK {
        return;
    }
    topic.change(record.topic);
    if let Some(unique) = labels.unique {
        take(topic.with(unique, KeyKind::Key));
    }
    if let Some(keys) = labels.keys {
        parts(keys).for_each(|one| take(topic.with(one, KeyKind::Key)));
    }
    if let Some(tag) = labels.tags {
        take(topic.with(tag, KeyKind::Tag));
    }
}

/// Whether the record bears this key: hashes may be equal by chance.
pub(crate) fn bears(view: &RecordView<'_>, topic: &[u8], wanted: &[u8], kind: KeyKind) -> bool {
    let value = |name| properties::get(view.properties, name);
    let matches = match kind {
        KeyKind::Tag => value(key::TAGS) == Some(wanted),
        KeyKind::Key => {
            value(key::UNIQ_KEY) == Some(wanted)
                || value(key::KEYS).is_some_and(|keys| parts(keys).any(|one| one == wanted))
        }
    };
    matches && view.topic == topic
}

fn parts(keys: &[u8]) -> impl Iterator<Item = &[u8]> {
    keys.split(|byte| *byte == b' ').filter(|part| !part.is_empty())
}
