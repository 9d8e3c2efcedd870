//! Which keys a record is found by.
//!
//! ```text
//! UNIQ_KEY u, KEYS "k1 k2", TAGS t   ->   topic#u, topic#k1, topic#k2, topic#T#t     (the last is 5.5's)
//! ```

use protocol::hash;
use protocol::properties::{self, key};
use protocol::record::{RecordView, sys_flag};

/// What a key is looked up as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyKind {
    /// One of KEYS, or the unique key: in the file they look alike.
    #[default]
    Key,
    Tag,
}

/// Hands out the hash of every key of a record, in the order in which they are stored.
pub(crate) fn for_each(view: &RecordView<'_>, mut take: impl FnMut(i32)) {
    if view.sys_flag & sys_flag::TRANSACTION_MASK == sys_flag::TRANSACTION_ROLLBACK {
        return;
    }
    let (mut unique, mut keys, mut tag) = (None, None, None);
    for (name, value) in properties::iter(view.properties) {
        // The last one of a name counts.
        match name {
            _ if name == key::UNIQ_KEY.as_bytes() => unique = Some(value),
            _ if name == key::KEYS.as_bytes() => keys = Some(value),
            _ if name == key::TAGS.as_bytes() => tag = Some(value),
            _ => {}
        }
    }
    if let Some(unique) = unique {
        take(hash_of(view.topic, unique, KeyKind::Key));
    }
    for one in keys.into_iter().flat_map(parts) {
        take(hash_of(view.topic, one, KeyKind::Key));
    }
    if let Some(tag) = tag {
        take(hash_of(view.topic, tag, KeyKind::Tag));
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

pub(crate) fn hash_of(topic: &[u8], wanted: &[u8], kind: KeyKind) -> i32 {
    match kind {
        KeyKind::Key => hash::index_hash_of(&[topic, b"#", wanted]),
        KeyKind::Tag => hash::index_hash_of(&[topic, b"#T#", wanted]),
    }
}

fn parts(keys: &[u8]) -> impl Iterator<Item = &[u8]> {
    keys.split(|byte| *byte == b' ').filter(|part| !part.is_empty())
}
