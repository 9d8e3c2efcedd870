//! Java's string hash, and the two codes RocketMQ makes of it: the tag code of a consume queue entry and the slot
//! hash of an index entry.

/// `String.hashCode()`: h = 31·h + c over UTF-16 code units, wrapping.
pub fn java_hash(text: &str) -> i32 {
    java_hash_on(0, text)
}

/// The hash of a longer text, given that of what comes before.
fn java_hash_on(before: i32, text: &str) -> i32 {
    if text.is_ascii() {
        return text.bytes().fold(before, |hash, byte| step(hash, u16::from(byte)));
    }
    text.encode_utf16().fold(before, step)
}

/// The tag code of a consume queue entry and of a subscription's `codeSet`: 0 without a tag.
pub fn tags_code(tags: &str) -> i64 {
    i64::from(java_hash(tags))
}

/// As [`tags_code`], of stored bytes. Bytes that are no UTF-8 hash as Java reads them: with replacement characters.
pub fn tags_code_bytes(tags: &[u8]) -> i64 {
    match str::from_utf8(tags) {
        Ok(text) => tags_code(text),
        Err(_) => tags_code(&String::from_utf8_lossy(tags)),
    }
}

/// The hash an index file keeps of `topic#key`.
pub fn index_hash(topic_and_key: &str) -> i32 {
    index_hash_of(&[topic_and_key.as_bytes()])
}

/// As [`index_hash`], of a text in parts that are not put together. A part that is no UTF-8 counts as Java reads it.
pub fn index_hash_of(parts: &[&[u8]]) -> i32 {
    let hash = parts.iter().fold(0, |hash, part| match str::from_utf8(part) {
        Ok(text) => java_hash_on(hash, text),
        Err(_) => java_hash_on(hash, &String::from_utf8_lossy(part)),
    });
    hash.checked_abs().unwrap_or(0)
}

fn step(hash: i32, unit: u16) -> i32 {
    hash.wrapping_mul(31).wrapping_add(i32::from(unit))
}
