//! Finds bytes many at a time: strings in headers are mostly short, properties mostly long.

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

/// The same 16 bytes at a time, for who expects to find one soon, and more behind it.
#[inline]
pub fn find_either_by_part(bytes: &[u8], one: u8, other: u8) -> Option<usize> {
    let mut rest = bytes;
    while let Some((part, tail)) = rest.split_first_chunk() {
        let part = u8x16::new(*part);
        let hits = part.simd_eq(u8x16::splat(one)) | part.simd_eq(u8x16::splat(other));
        match hits.to_bitmask() {
            0 => rest = tail,
            hits => return Some(bytes.len() - rest.len() + hits.trailing_zeros() as usize),
        }
    }
    find_either_in_tail(bytes, rest.len(), one, other)
}

/// The same in the last few bytes.
#[inline(never)]
fn find_either_in_tail(bytes: &[u8], tail_len: usize, one: u8, other: u8) -> Option<usize> {
    let before = bytes.len() - tail_len;
    find_either(bytes.get(before..)?, one, other).map(|at| before + at)
}

/// Where the first byte is that a JSON string may not hold as it is: a control character, a quote or a backslash.
#[inline]
pub fn find_unsafe(bytes: &[u8]) -> Option<usize> {
    find_by(bytes, unsafe_bytes)
}

/// A bit for each of 16 bytes that `find_unsafe` would find.
#[inline]
pub fn unsafe_places(part: [u8; PART_BYTES]) -> u32 {
    let part = u8x16::new(part);
    let control = part.min(u8x16::splat(b' ' - 1)).simd_eq(part);
    let special = part.simd_eq(u8x16::splat(b'"')) | part.simd_eq(u8x16::splat(b'\\'));
    (control | special).to_bitmask()
}

/// A walk over the places of one byte, never a zero, a block at a time: to take a bit off a word is all there is to do for most
/// of them.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    wanted: u8,
    /// Where the present block begins, and a bit for each of its places that was not said yet.
    block_at: usize,
    left: u64,
}

impl Places {
    #[inline]
    pub fn new(bytes: &[u8], wanted: u8) -> Places {
        Places { wanted, block_at: 0, left: places_from(bytes, 0, wanted) }
    }

    /// The next place; `bytes` are those that the walk began with.
    #[inline]
    pub fn next(&mut self, bytes: &[u8]) -> Option<usize> {
        while self.left == 0 {
            self.block_at += BLOCK_BYTES;
            if self.block_at >= bytes.len() {
                self.block_at = bytes.len();
                return None;
            }
            self.left = places_from(bytes, self.block_at, self.wanted);
        }
        let place = self.block_at + self.left.trailing_zeros() as usize;
        self.left &= self.left - 1;
        Some(place)
    }
}

/// A bit for every `wanted` in the block from `at` on, which may be a short one.
#[inline]
fn places_from(bytes: &[u8], at: usize, wanted: u8) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    match (rest.first_chunk(), bytes.last_chunk()) {
        (Some(block), _) => block_places(block, wanted),
        // The last block and what lies before it, pushed out again.
        (None, Some(block)) if !rest.is_empty() => block_places(block, wanted) >> (BLOCK_BYTES - rest.len()),
        _ => short_places(rest, wanted),
    }
}

/// A bit for every `wanted`.
#[inline]
fn block_places(block: &[u8; BLOCK_BYTES], wanted: u8) -> u64 {
    let (parts, _) = block.as_chunks::<PART_BYTES>();
    parts.iter().rev().fold(0, |places, part| places << PART_BYTES | part_places(*part, wanted))
}

/// As `block_places`, of less than a block.
fn short_places(bytes: &[u8], wanted: u8) -> u64 {
    let (parts, tail) = bytes.as_chunks::<PART_BYTES>();
    let last = part_places(tail_part(tail).to_le_bytes(), wanted);
    parts.iter().rev().fold(last, |places, part| places << PART_BYTES | part_places(*part, wanted))
}

#[inline]
fn part_places(part: [u8; PART_BYTES], wanted: u8) -> u64 {
    u64::from(u8x16::new(part).simd_eq(u8x16::splat(wanted)).to_bitmask())
}

/// Where the first `wanted` in 16 bytes is, or their number.
#[inline]
pub fn find_in_part(part: [u8; PART_BYTES], wanted: u8) -> usize {
    (part_places(part, wanted) | 1 << PART_BYTES).trailing_zeros() as usize
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

const BLOCK_BYTES: usize = 64;
const PART_BYTES: usize = 16;
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
                        for padding in [0, 7, 16, 40] {
                            let mut long = vec![filler; padding];
                            long.extend_from_slice(&bytes);
                            assert_eq!(
                                find_either_by_part(&long, b'"', b'\\'),
                                long.iter().position(|b| *b == b'"' || *b == b'\\')
                            );
                        }
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

    /// Goal: blocks, their borders and the short last one hide no place. Method: random bytes of every length, in which every
    /// second, tenth or no byte is wanted.
    #[test]
    fn places_agree_with_a_plain_loop() {
        let mut seed = 1_u64;
        for len in 0..300 {
            for kinds in [2, 10, 250] {
                let bytes: Vec<u8> = (0..len)
                    .map(|_| {
                        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        ((seed >> 40) % kinds) as u8
                    })
                    .collect();
                let mut places = Places::new(&bytes, 1);
                let found: Vec<usize> = std::iter::from_fn(|| places.next(&bytes)).collect();
                let plain: Vec<usize> = (0..len).filter(|at| bytes[*at] == 1).collect();
                assert_eq!(found, plain, "{bytes:?}");
                assert_eq!(places.next(&bytes), None);
            }
        }
    }
}
