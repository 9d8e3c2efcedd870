//! Finds the quotes of a JSON text, 64 bytes at a time, escaped ones left out.
//!
//! ```text
//! {"a":"PG","i":"TAGS\u0001A \"x\""}
//!  ^ ^ ^  ^ ^ ^ ^                 ^      what `next` says; the two behind backslashes are not among them
//! ```
//!
//! A header is mostly short strings. To look for each end by itself makes every step wait for the one before it; here
//! the bytes are compared first, all alike, and what is left to do for a quote is to take one bit off a word.

use wide::u8x16;

use crate::escape;

/// A walk over the quotes from a place on.
///
/// The quotes of the present block that are still to be said are the caller's `left`, which begins as 0: a word of its
/// own stays in a register, one in a struct that others write to does not.
pub(super) struct Quotes<'a> {
    bytes: &'a [u8],
    /// The present block; before the first one, 64 less than where that begins.
    block_at: usize,
    backslashes: u64,
    /// One past the last backslash of the blocks before.
    earlier_end: usize,
    /// The present block ends in a backslash that escapes the next one's first byte.
    carries: bool,
    /// Some backslash up to here begins no escape.
    broken: bool,
}

impl<'a> Quotes<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Quotes<'a> {
        Quotes {
            bytes,
            block_at: at.wrapping_sub(BLOCK_BYTES),
            backslashes: 0,
            earlier_end: 0,
            carries: false,
            broken: false,
        }
    }

    /// Where the next quote is.
    #[inline]
    pub(super) fn next(&mut self, left: &mut u64) -> Option<usize> {
        while *left == 0 {
            *left = self.next_block()?;
        }
        let at = self.block_at.wrapping_add(left.trailing_zeros() as usize);
        *left &= *left - 1;
        Some(at)
    }

    /// Whether a backslash lies between `start` and `end`, the quote said last.
    #[inline]
    pub(super) fn passed_backslash(&self, start: usize, end: usize) -> bool {
        if self.backslashes == 0 {
            return self.earlier_end > start;
        }
        let before_end = (1u64 << (end - self.block_at)) - 1;
        let from_start = match start.checked_sub(self.block_at) {
            Some(shift) => u64::MAX << shift,
            None => u64::MAX,
        };
        self.backslashes & before_end & from_start != 0 || self.earlier_end > start
    }

    /// Some backslash of what was looked at begins no escape. False says that all of them do.
    #[inline]
    pub(super) fn broken(&self) -> bool {
        self.broken
    }

    /// The quotes of the block behind the present one.
    #[inline(never)]
    fn next_block(&mut self) -> Option<u64> {
        if self.backslashes != 0 {
            self.earlier_end = self.block_at + BLOCK_BYTES - self.backslashes.leading_zeros() as usize;
        }
        let at = self.block_at.wrapping_add(BLOCK_BYTES);
        let rest = self.bytes.get(at..)?;
        self.block_at = at;
        match rest.first_chunk() {
            Some(block) => Some(self.look(block, rest)),
            None if rest.is_empty() => None,
            None => Some(self.look(&padded(rest), rest)),
        }
    }

    #[inline]
    fn look(&mut self, block: &[u8; BLOCK_BYTES], rest: &[u8]) -> u64 {
        let quotes = places(block, b'"');
        self.backslashes = places(block, b'\\');
        if self.backslashes == 0 && !self.carries {
            return quotes;
        }
        quotes & !self.escaped(rest)
    }

    /// The places behind the block's backslashes. Looks, too, whether each of these begins an escape.
    fn escaped(&mut self, rest: &[u8]) -> u64 {
        let mut escaped = u64::from(self.carries);
        self.carries = false;
        let mut backslashes = self.backslashes & !escaped;
        while backslashes != 0 {
            let backslash = backslashes & backslashes.wrapping_neg();
            let behind = backslash << 1;
            self.carries = behind == 0;
            escaped |= behind;
            self.broken |= !begins_escape(rest, backslashes.trailing_zeros() as usize);
            backslashes &= !(backslash | behind);
        }
        escaped
    }
}

/// Whether the backslash at `at` begins an escape.
#[inline]
fn begins_escape(rest: &[u8], at: usize) -> bool {
    let Some(tail) = rest.get(at..) else { return false };
    escape::separator(tail).is_some() || tail.get(1..).and_then(escape::len).is_some()
}

#[cold]
fn padded(rest: &[u8]) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    for (target, byte) in block.iter_mut().zip(rest) {
        *target = *byte;
    }
    block
}

/// A bit for every `wanted`.
#[inline]
fn places(block: &[u8; BLOCK_BYTES], wanted: u8) -> u64 {
    let (parts, _) = block.as_chunks::<PART_BYTES>();
    let mut places = 0;
    for (at, part) in parts.iter().enumerate() {
        let hits = u8x16::new(*part).simd_eq(u8x16::splat(wanted)).to_bitmask();
        places |= u64::from(hits) << (at * PART_BYTES);
    }
    places
}

const BLOCK_BYTES: usize = 64;
const PART_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// What `Quotes` says, found the plain way.
    fn plain(bytes: &[u8], start: usize) -> Vec<usize> {
        let mut found = Vec::new();
        let mut at = start;
        while at < bytes.len() {
            match bytes[at] {
                b'\\' => at += 1,
                b'"' => found.push(at),
                _ => {}
            }
            at += 1;
        }
        found
    }

    /// Goal: blocks and their borders hide no quote and show no escaped one.
    /// Method: random texts of quotes, backslashes and their neighbours, from every start.
    #[test]
    fn quotes_agree_with_a_plain_loop() {
        let mut seed = 7u64;
        for len in 0..300 {
            let text: Vec<u8> = (0..len)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    *b"\"\"\\\\\\#!aaaaaaa\x00\xff\x22\x5c\xa2\xdc"
                        .get((seed >> 33) as usize % 20)
                        .expect("twenty bytes")
                })
                .collect();
            for start in 0..=len.min(70) {
                let mut quotes = Quotes::new(&text, start);
                let mut found = Vec::new();
                let mut left = 0;
                while let Some(at) = quotes.next(&mut left) {
                    for from in start..at {
                        assert_eq!(quotes.passed_backslash(from, at), text[from..at].contains(&b'\\'));
                    }
                    found.push(at);
                }
                assert_eq!(found, plain(&text, start), "{text:?} from {start}");
            }
        }
    }
}
