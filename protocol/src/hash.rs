//! Java's string hash, and the two codes RocketMQ makes of it: the tag code of a consume queue entry and the slot
//! hash of an index entry.

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

/// Eight bytes at a time: each has its own power of 31 to be multiplied by, so that no product waits for the one before.
/// None if some are no ASCII.
#[inline]
fn java_hash_ascii(before: i32, text: &[u8]) -> Option<i32> {
    let (words, tail) = text.as_chunks::<WORD_BYTES>();
    let mut all = 0;
    let mut hash = before;
    for word in words {
        all |= u64::from_le_bytes(*word);
        let sum = word.iter().zip(POWERS).map(|(byte, power)| i32::from(*byte).wrapping_mul(power));
        hash = hash.wrapping_mul(POWER_WORD).wrapping_add(sum.fold(0, i32::wrapping_add));
    }
    for byte in tail {
        all |= u64::from(*byte);
        hash = step(hash, u16::from(*byte));
    }
    if all & HIGH_BITS == 0 { Some(hash) } else { None }
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

const WORD_BYTES: usize = 8;
const HIGH_BITS: u64 = u64::from_le_bytes([0x80; WORD_BYTES]);
/// 31 to the 7th, 6th .. 0th.
const POWERS: [i32; WORD_BYTES] = {
    let mut powers = [1_i32; WORD_BYTES];
    let mut at = WORD_BYTES - 1;
    while at > 0 {
        powers[at - 1] = powers[at].wrapping_mul(31);
        at -= 1;
    }
    powers
};
/// 31 to the 8th.
const POWER_WORD: i32 = POWERS[0].wrapping_mul(31);

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the quick hash is the plain one. Method: every length up to a few words, after every kind of beginning.
    #[test]
    fn words_hash_as_single_bytes_do() {
        let text: Vec<u8> = (0..60_u32).map(|at| ((at * 37 + 11) % 128) as u8).collect();
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
