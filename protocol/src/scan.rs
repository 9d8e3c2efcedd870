//! Finds bytes eight at a time: strings in headers are mostly short, properties mostly long.

use wide::u8x16;

/// Where the first `wanted` is.
#[inline]
pub fn find(bytes: &[u8], wanted: u8) -> Option<usize> {
    find_by(bytes, |word| zero_bytes(word ^ repeat(wanted)))
}

/// Where the first of `one` and `other` is.
#[inline]
pub fn find_either(bytes: &[u8], one: u8, other: u8) -> Option<usize> {
    find_by(bytes, |word| zero_bytes(word ^ repeat(one)) | zero_bytes(word ^ repeat(other)))
}

/// Where the first byte is that a JSON string may not hold as it is: a control character, a quote or a backslash.
#[inline]
pub fn find_unsafe(bytes: &[u8]) -> Option<usize> {
    find_by(bytes, unsafe_bytes)
}

/// Where the first `wanted` in a word is, or the word's length.
#[inline]
pub fn find_in_word(word: [u8; WORD_BYTES], wanted: u8) -> usize {
    first_or_len(zero_bytes(u64::from_le_bytes(word) ^ repeat(wanted)))
}

/// A bit for each of 16 bytes that `find_unsafe` would find.
#[inline]
pub fn unsafe_places(part: [u8; 16]) -> u32 {
    let part = u8x16::new(part);
    let control = part.min(u8x16::splat(b' ' - 1)).simd_eq(part);
    let special = part.simd_eq(u8x16::splat(b'"')) | part.simd_eq(u8x16::splat(b'\\'));
    (control | special).to_bitmask()
}

/// A bit for each of the first `BLOCK_BYTES` bytes that is at most `max`.
#[inline]
pub fn low_places(bytes: &[u8], max: u8) -> u32 {
    let Some(block) = bytes.first_chunk() else {
        return bytes.iter().rev().fold(0, |places, byte| places << 1 | u32::from(*byte <= max));
    };
    let block = u8x16::new(*block);
    block.min(u8x16::splat(max)).simd_eq(block).to_bitmask()
}

/// Less than 16 bytes, as the low ones of 16.
#[inline]
pub fn tail_part(tail: &[u8]) -> u128 {
    if let (Some(low), Some(high)) = (tail.first_chunk::<WORD_BYTES>(), tail.last_chunk::<WORD_BYTES>()) {
        let shift = 8 * (tail.len() - WORD_BYTES);
        return u128::from(u64::from_le_bytes(*low)) | u128::from(u64::from_le_bytes(*high)) << shift;
    }
    u128::from(tail_word(tail))
}

/// `hits` sets the high bit of the first byte it looks for, and perhaps of later ones.
#[inline]
fn find_by(bytes: &[u8], hits: impl Fn(u64) -> u64) -> Option<usize> {
    let (words, tail) = bytes.as_chunks::<WORD_BYTES>();
    for (at, word) in words.iter().enumerate() {
        let hits = hits(u64::from_le_bytes(*word));
        if hits != 0 {
            return Some(at * WORD_BYTES + first_or_len(hits));
        }
    }
    // What is behind the tail is zero, which may be a hit, too.
    let at = first_or_len(hits(tail_word(tail)));
    if at < tail.len() { Some(words.len() * WORD_BYTES + at) } else { None }
}

/// Less than a word, as the low bytes of one.
#[inline]
fn tail_word(tail: &[u8]) -> u64 {
    if let (Some(low), Some(high)) = (tail.first_chunk::<4>(), tail.last_chunk::<4>()) {
        let shift = 8 * (tail.len() - 4);
        return u64::from(u32::from_le_bytes(*low)) | u64::from(u32::from_le_bytes(*high)) << shift;
    }
    tail.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

#[inline]
const fn unsafe_bytes(word: u64) -> u64 {
    // A byte under 0x20 borrows when 0x20 is taken from it; one above 0x7f is no ASCII and passes.
    let control = word.wrapping_sub(repeat(b' ')) & !word & HIGH_BITS;
    control | zero_bytes(word ^ repeat(b'"')) | zero_bytes(word ^ repeat(b'\\'))
}

/// The high bit of every zero byte. Bits above the lowest one may be wrong, and are not looked at.
#[inline]
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(repeat(1)) & !word & HIGH_BITS
}

#[inline]
const fn repeat(byte: u8) -> u64 {
    u64::from_le_bytes([byte; WORD_BYTES])
}

#[inline]
const fn first_or_len(hits: u64) -> usize {
    (hits.trailing_zeros() / 8) as usize // 64 / 8 when there is none.
}

/// Bytes that `low_places` looks at.
pub const BLOCK_BYTES: usize = 16;
const WORD_BYTES: usize = 8;
const HIGH_BITS: u64 = repeat(0x80);

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the word scans agree with the plain ones. Method: every byte value at every place of a few lengths.
    #[test]
    fn scans_agree_with_a_plain_loop() {
        for len in 0..20 {
            for at in 0..len {
                for byte in 0..=255u8 {
                    for filler in [b'x', 0x80, 0xff, b'!', b'#', b'[', b']'] {
                        let mut bytes = vec![filler; len];
                        bytes[at] = byte;
                        assert_eq!(find(&bytes, b'"'), bytes.iter().position(|b| *b == b'"'));
                        assert_eq!(
                            find_either(&bytes, b'"', b'\\'),
                            bytes.iter().position(|b| *b == b'"' || *b == b'\\')
                        );
                        let plain = bytes.iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\');
                        assert_eq!(find_unsafe(&bytes), plain, "{bytes:?}");
                        if len < 16 {
                            let places = unsafe_places(tail_part(&bytes).to_le_bytes()) & ((1 << len) - 1);
                            assert_eq!(
                                plain,
                                (places != 0).then_some(places.trailing_zeros() as usize),
                                "{bytes:?}"
                            );
                        }
                    }
                }
            }
        }
    }
}
