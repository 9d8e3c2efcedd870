//! The hash of `topic#key`: Java's string hash, eight characters at a time, from the end of `topic#` on.
//!
//! ```text
//! a b c d e f g h  ->  31a+b  31c+d  31e+f  31g+h  ->  31^2(..)+..  31^2(..)+..  ->  31^4(..)+..     in one word
//! ```

use protocol::hash;

use super::keys::KeyKind;
use crate::brief::is_same;

/// What the keys of one topic begin with, hashed: messages that come together are most often of the same topic.
#[derive(Clone, Debug, Default)]
pub(crate) struct TopicHash {
    topic: Vec<u8>,
    /// `topic#` and `topic#T#`; `None`: not ASCII.
    key: Option<u32>,
    tag: Option<u32>,
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
            let hash = ascii_on(0, topic);
            self.key = hash.and_then(|hash| ascii_on(hash, KEY));
            self.tag = hash.and_then(|hash| ascii_on(hash, TAG));
        }
    }

    /// The hash of one key or tag, as an index file keeps it.
    #[inline]
    pub fn with(&self, wanted: &[u8], kind: KeyKind) -> i32 {
        let (before, separator) = match kind {
            KeyKind::Key => (self.key, KEY),
            KeyKind::Tag => (self.tag, TAG),
        };
        match before.and_then(|before| ascii_on(before, wanted)) {
            Some(hash) => (hash as i32).checked_abs().unwrap_or(0),
            None => hash::index_hash_of(&[&self.topic, separator, wanted]),
        }
    }
}

/// The hash of a longer text, given that of what comes before; `None` of what is not ASCII.
#[inline]
fn ascii_on(before: u32, text: &[u8]) -> Option<u32> {
    let (words, tail) = text.as_chunks::<8>();
    let tail = end_of_word(tail);
    let (mut hash, mut seen) = (before, tail);
    for word in words {
        let word = u64::from_le_bytes(*word);
        seen |= word;
        hash = hash.wrapping_mul(POWERS[8]).wrapping_add(word_hash(word));
    }
    hash = hash.wrapping_mul(POWERS[text.len() % 8]).wrapping_add(word_hash(tail));
    (seen & HIGH_BITS == 0).then_some(hash)
}

/// The hash of eight ASCII characters. Zeros in front count nothing.
#[inline]
fn word_hash(word: u64) -> u32 {
    let pairs = (word & 0x00ff_00ff_00ff_00ff) * 31 + ((word >> 8) & 0x00ff_00ff_00ff_00ff);
    let fours = (pairs & 0x0000_ffff_0000_ffff) * 961 + ((pairs >> 16) & 0x0000_ffff_0000_ffff);
    (fours as u32).wrapping_mul(POWERS[4]).wrapping_add((fours >> 32) as u32)
}

/// Less than eight bytes, behind zeros.
#[inline]
fn end_of_word(tail: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (tail.first_chunk::<4>(), tail.last_chunk::<4>()) {
        let last = u64::from(u32::from_le_bytes(*last)) << 32;
        return last | u64::from(u32::from_le_bytes(*first)) << (64 - 8 * tail.len());
    }
    tail.iter().fold(0, |word, byte| word >> 8 | u64::from(*byte) << 56)
}

/// Between a topic and a key, and a tag.
const KEY: &[u8] = b"#";
const TAG: &[u8] = b"#T#";
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
/// 31 to the 0th, 1st .. 8th.
const POWERS: [u32; 9] = {
    let mut powers = [1_u32; 9];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1].wrapping_mul(31);
        at += 1;
    }
    powers
};

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
