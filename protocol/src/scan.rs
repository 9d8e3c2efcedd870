//! Finds bytes eight at a time: strings in headers are mostly short, properties mostly long.

/// Where the first `wanted` is.
pub fn find(bytes: &[u8], wanted: u8) -> Option<usize> {
    let (words, tail) = bytes.as_chunks::<WORD_BYTES>();
    for (at, word) in words.iter().enumerate() {
        let hits = zero_bytes(u64::from_le_bytes(*word) ^ repeat(wanted));
        if hits != 0 {
            return Some(at * WORD_BYTES + first(hits));
        }
    }
    let at = tail.iter().position(|byte| *byte == wanted)?;
    Some(words.len() * WORD_BYTES + at)
}

/// Where the first `wanted` in a word is, or the word's length.
#[inline]
pub fn find_in_word(word: [u8; WORD_BYTES], wanted: u8) -> usize {
    let hits = zero_bytes(u64::from_le_bytes(word) ^ repeat(wanted));
    if hits == 0 { WORD_BYTES } else { first(hits) }
}

/// Where the first of `one` and `other` is.
#[inline]
pub fn find_either(bytes: &[u8], one: u8, other: u8) -> Option<usize> {
    let (words, tail) = bytes.as_chunks::<WORD_BYTES>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let hits = zero_bytes(word ^ repeat(one)) | zero_bytes(word ^ repeat(other));
        if hits != 0 {
            return Some(at * WORD_BYTES + first(hits));
        }
    }
    let at = tail.iter().position(|byte| *byte == one || *byte == other)?;
    Some(words.len() * WORD_BYTES + at)
}

/// Where the first byte is that a JSON string may not hold as it is: a control character, a quote or a backslash.
#[inline]
pub fn find_unsafe(bytes: &[u8]) -> Option<usize> {
    let (words, tail) = bytes.as_chunks::<WORD_BYTES>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // A byte under 0x20 borrows when 0x20 is taken from it; one above 0x7f is no ASCII and passes.
        let control = word.wrapping_sub(repeat(b' ')) & !word & HIGH_BITS;
        let hits = control | zero_bytes(word ^ repeat(b'"')) | zero_bytes(word ^ repeat(b'\\'));
        if hits != 0 {
            return Some(at * WORD_BYTES + first(hits));
        }
    }
    let at = tail.iter().position(|byte| *byte < b' ' || *byte == b'"' || *byte == b'\\')?;
    Some(words.len() * WORD_BYTES + at)
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
const fn first(hits: u64) -> usize {
    (hits.trailing_zeros() / 8) as usize
}

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
                    }
                }
            }
        }
    }
}
