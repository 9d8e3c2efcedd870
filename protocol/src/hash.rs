//! Java's string hash, and the two codes RocketMQ makes of it: the tag code of a consume queue entry and the slot
//! hash of an index entry.

use wide::{i16x8, i32x4, u8x16};

/// `String.hashCode()`: h = 31·h + c over UTF-16 code units, wrapping.
pub fn java_hash(text: &str) -> i32 {
    java_hash_on(0, text.as_bytes())
}

/// The hash of a longer text, given that of what comes before.
#[inline]
fn java_hash_on(before: i32, text: &[u8]) -> i32 {
    java_hash_ascii(before, text).unwrap_or_else(|| java_hash_any(before, text))
}

#[cold]
fn java_hash_any(before: i32, text: &[u8]) -> i32 {
    String::from_utf8_lossy(text).encode_utf16().fold(before, step)
}

/// The hash of a longer text, given that of what comes before; `None` of what is not ASCII. Sixteen characters at a time, then eight.
#[inline]
pub fn java_hash_ascii(before: i32, text: &[u8]) -> Option<i32> {
    if text.len() < PART_BYTES {
        return hash_words(before, text);
    }
    let (parts, tail) = text.as_chunks();
    let hash = hash_parts(before, parts)?;
    if tail.is_empty() { Some(hash) } else { hash_words(hash, tail) }
}

/// Four characters in two lanes: `31^3 a + 31^2 b | 31 c + d`. What each lane is still to be multiplied by comes once, at the end.
#[inline]
fn hash_parts(before: i32, parts: &[[u8; PART_BYTES]]) -> Option<i32> {
    let (mut hash, mut seen) = (before, u8x16::ZERO);
    let (mut low, mut high) = (i32x4::ZERO, i32x4::ZERO);
    for part in parts {
        let part = u8x16::new(*part);
        seen |= part;
        low = low * NEXT_PART + i16x8::from_u8x16_low(part).dot(IN_FOUR);
        high = high * NEXT_PART + i16x8::from_u8x16_high(part).dot(IN_FOUR);
        hash = hash.wrapping_mul(POWERS[PART_BYTES]);
    }
    let lanes = (low * BEHIND_LOW + high * BEHIND_HIGH).to_array();
    (seen.to_bitmask() == 0).then_some(lanes.into_iter().fold(hash, i32::wrapping_add))
}

/// Eight characters in one word, by pairs and by fours.
#[inline]
fn hash_words(before: i32, text: &[u8]) -> Option<i32> {
    let (words, tail) = text.as_chunks();
    let tail = end_of_word(tail);
    let (mut hash, mut seen) = (before, tail);
    for word in words {
        let word = u64::from_le_bytes(*word);
        seen |= word;
        hash = hash.wrapping_mul(POWERS[WORD_BYTES]).wrapping_add(word_hash(word));
    }
    hash = hash.wrapping_mul(POWERS[text.len() % WORD_BYTES]).wrapping_add(word_hash(tail));
    (seen & HIGH_BITS == 0).then_some(hash)
}

/// ```text
/// a b c d e f g h  ->  31a+b  31c+d  31e+f  31g+h  ->  31^2(..)+..  31^2(..)+..  ->  31^4(..)+..     zeros in front count nothing
/// ```
#[inline]
fn word_hash(word: u64) -> i32 {
    let pairs = (word & 0x00ff_00ff_00ff_00ff) * 31 + ((word >> 8) & 0x00ff_00ff_00ff_00ff);
    let fours = (pairs & 0x0000_ffff_0000_ffff) * 961 + ((pairs >> 16) & 0x0000_ffff_0000_ffff);
    (fours as i32).wrapping_mul(POWERS[4]).wrapping_add((fours >> 32) as i32)
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

/// The tag code of a consume queue entry and of a subscription's `codeSet`: 0 without a tag.
pub fn tags_code(tags: &str) -> i64 {
    i64::from(java_hash(tags))
}

/// As [`tags_code`], of stored bytes. Bytes that are no UTF-8 hash as Java reads them: with replacement characters.
pub fn tags_code_bytes(tags: &[u8]) -> i64 {
    i64::from(java_hash_on(0, tags))
}

/// The hash an index file keeps of `topic#key`.
pub fn index_hash(topic_and_key: &str) -> i32 {
    index_hash_of(&[topic_and_key.as_bytes()])
}

/// As [`index_hash`], of a text in parts that are not put together. A part that is no UTF-8 counts as Java reads it.
pub fn index_hash_of(parts: &[&[u8]]) -> i32 {
    let hash = parts.iter().fold(0, |hash, part| java_hash_on(hash, part));
    hash.checked_abs().unwrap_or(0)
}

fn step(hash: i32, unit: u16) -> i32 {
    hash.wrapping_mul(31).wrapping_add(i32::from(unit))
}

const PART_BYTES: usize = 16;
const WORD_BYTES: usize = 8;
const HIGH_BITS: u64 = u64::from_le_bytes([0x80; WORD_BYTES]);
/// 31 to the 0th, 1st .. 16th.
const POWERS: [i32; PART_BYTES + 1] = {
    let mut powers = [1_i32; PART_BYTES + 1];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1].wrapping_mul(31);
        at += 1;
    }
    powers
};
const IN_FOUR: i16x8 = i16x8::new([29_791, 961, 31, 1, 29_791, 961, 31, 1]);
const NEXT_PART: i32x4 = i32x4::new([POWERS[PART_BYTES]; 4]);
const BEHIND_LOW: i32x4 = i32x4::new([POWERS[12], POWERS[12], POWERS[8], POWERS[8]]);
const BEHIND_HIGH: i32x4 = i32x4::new([POWERS[4], POWERS[4], 1, 1]);

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the quick hash is the plain one. Method: every length up to a few words, after every kind of beginning.
    #[test]
    fn words_hash_as_single_bytes_do() {
        let text: Vec<u8> = (0..100_u32).map(|at| ((at * 37 + 11) % 128) as u8).collect();
        for len in 0..=text.len() {
            for before in [0, 1, -7, i32::MAX, i32::MIN] {
                let plain = text[..len].iter().fold(before, |hash, byte| step(hash, u16::from(*byte)));
                assert_eq!(java_hash_on(before, &text[..len]), plain);
                let mut other = text[..len].to_vec();
                other.extend_from_slice("é".as_bytes());
                assert_eq!(java_hash_on(before, &other), step(plain, 0xE9));
            }
        }
    }
}
