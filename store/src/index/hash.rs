//! The hash of `topic#key`: Java's string hash, from the end of `topic#` on.

use protocol::hash;

use crate::brief::is_same;

/// What a key is looked up as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyKind {
    /// One of KEYS, or the unique key: in the file they look alike.
    #[default]
    Key,
    Tag,
}

/// What the keys of one topic begin with, hashed: messages that come together are most often of the same topic.
#[derive(Clone, Debug, Default)]
pub(crate) struct TopicHash {
    topic: Vec<u8>,
    /// `topic#` and `topic#T#`; `None`: not ASCII.
    key: Option<i32>,
    tag: Option<i32>,
}

impl TopicHash {
    pub fn of(topic: &[u8]) -> Self {
        let mut hash = Self::default();
        hash.change(topic);
        hash
    }

    #[inline]
    pub fn change(&mut self, topic: &[u8]) {
        if !is_same(&self.topic, topic) {
            self.topic.clear();
            self.topic.extend_from_slice(topic);
            let before = hash::java_hash_ascii(0, topic);
            self.key = before.and_then(|before| hash::java_hash_ascii(before, KEY));
            self.tag = before.and_then(|before| hash::java_hash_ascii(before, TAG));
        }
    }

    /// The hash of one key or tag, as an index file keeps it.
    #[inline]
    pub fn with(&self, wanted: &[u8], kind: KeyKind) -> i32 {
        let (before, separator) = match kind {
            KeyKind::Key => (self.key, KEY),
            KeyKind::Tag => (self.tag, TAG),
        };
        match before.and_then(|before| hash::java_hash_ascii(before, wanted)) {
            Some(hash) => hash.checked_abs().unwrap_or(0),
            None => hash::index_hash_of(&[&self.topic, separator, wanted]),
        }
    }
}

/// Between a topic and a key, and a tag.
const KEY: &[u8] = b"#";
const TAG: &[u8] = b"#T#";

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the hash is the one of `protocol`. Method: parts of every length up to a few words, of random ASCII, and of bytes that
    /// are none.
    #[test]
    fn it_is_the_hash_of_an_index() {
        let mut seed = 7_u64;
        let mut random = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 40) as u8
        };
        for len in 0..40 {
            for topic_len in 0..20 {
                let topic: Vec<u8> = (0..topic_len).map(|_| random() & 0x7f).collect();
                let mut key: Vec<u8> = (0..len).map(|_| random() & 0x7f).collect();
                let same = |key: &[u8]| {
                    for (kind, separator) in [(KeyKind::Key, &b"#"[..]), (KeyKind::Tag, b"#T#")] {
                        let plain = hash::index_hash_of(&[&topic, separator, key]);
                        assert_eq!(TopicHash::of(&topic).with(key, kind), plain, "{topic:?} {key:?}");
                    }
                };
                same(&key);
                if let Some(byte) = key.get_mut(topic_len) {
                    *byte = 0xe4;
                    same(&key);
                }
            }
        }
    }
}
