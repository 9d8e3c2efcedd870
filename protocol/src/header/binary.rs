//! Reads the ROCKETMQ form of a header.
//!
//! ```text
//! | code i16 | language u8 | version i16 | opaque i32 | flag i32 | remark_len i32 | remark .. | ext_len i32 | entry .. |
//! entry: | name_len i16 | name .. | value_len i32 | value .. |
//! ```
//!
//! A length of zero or less is a null, as in Java. Implements rule W-5.

use super::{Fields, Form, Header, MARKED_BYTES_MAX, Text};
use crate::error::WireError;
use crate::version::Language;

pub(crate) fn read<'a>(bytes: &'a [u8], header: &mut Header<'a>) -> Result<(), WireError> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
        return Err(WireError::HeaderCut { part: "fixed fields" });
    };
    let [c0, c1, language, v0, v1, o0, o1, o2, o3, f0, f1, f2, f3] = *fixed;
    let (remark, rest) = take_long(rest).ok_or(WireError::HeaderCut { part: "remark" })?;
    let (entries, _) = take_long(rest).ok_or(WireError::HeaderCut { part: "extFields" })?;
    header.code = i32::from(i16::from_be_bytes([c0, c1]));
    header.language = Language::from_code(i64::from(language));
    header.version = i32::from(i16::from_be_bytes([v0, v1]));
    header.opaque = i32::from_be_bytes([o0, o1, o2, o3]);
    header.flag = i32::from_be_bytes([f0, f1, f2, f3]);
    header.remark = if remark.is_empty() { None } else { Some(Text::new(remark)) };
    read_fields(entries, &mut header.fields).ok_or(WireError::HeaderCut { part: "field" })
}

/// Checks every entry, and marks it if there are not too many.
fn read_fields<'a>(entries: &'a [u8], fields: &mut Fields<'a>) -> Option<()> {
    fields.bytes = entries;
    let mut all_marked = entries.len() < MARKED_BYTES_MAX;
    let mut rest = entries;
    while !rest.is_empty() {
        let at = entries.len() - rest.len();
        if all_marked && let Some((value_len, tail)) = take_letter_entry(rest) {
            rest = tail;
            let value_at = at + LETTER_ENTRY_BYTES;
            all_marked = value_len == 0 || fields.mark_letter(at + NAME_LEN_BYTES, value_at, value_len);
            continue;
        }
        let (name, value) = take_entry(&mut rest)?;
        if all_marked && !name.is_empty() && !value.is_empty() {
            let name_at = at + NAME_LEN_BYTES;
            let name = name_at..name_at + name.len();
            let value_at = name.end + VALUE_LEN_BYTES;
            let value = value_at..value_at + value.len();
            all_marked = fields.mark(name, value, false);
        }
    }
    if !all_marked {
        *fields = Fields::unmarked(Form::Binary(entries));
    }
    Some(())
}

/// The next entry that has a name and a value.
#[inline]
pub(super) fn next_field<'a>(rest: &mut &'a [u8]) -> Option<(Text<'a>, Text<'a>)> {
    while !rest.is_empty() {
        let (name, value) = take_entry(rest)?;
        if !name.is_empty() && !value.is_empty() {
            return Some((Text::new(name), Text::new(value)));
        }
    }
    None
}

#[inline]
fn take_entry<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (len, tail) = rest.split_first_chunk()?;
    let name_len = i16::from_be_bytes(*len).max(0) as usize;
    let (name, tail) = tail.split_at_checked(name_len)?;
    let (value, tail) = take_long(tail)?;
    *rest = tail;
    Some((name, value))
}

/// The length of the value of an entry whose name is one letter, as all those of a short send are, and what is behind it.
#[inline]
fn take_letter_entry(rest: &[u8]) -> Option<(usize, &[u8])> {
    let word = u64::from_be_bytes(*rest.first_chunk()?);
    if word >> 48 != 1 {
        return None;
    }
    let value_len = ((word >> 8) as i32).max(0) as usize;
    Some((value_len, rest.get(LETTER_ENTRY_BYTES + value_len..)?))
}

#[inline]
fn take_long(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, tail) = bytes.split_first_chunk()?;
    let len = i32::from_be_bytes(*len).max(0) as usize;
    tail.split_at_checked(len)
}

const FIXED_BYTES: usize = 13;
const NAME_LEN_BYTES: usize = 2;
/// An entry with a name of one letter, without its value.
const LETTER_ENTRY_BYTES: usize = NAME_LEN_BYTES + 1 + VALUE_LEN_BYTES;
const VALUE_LEN_BYTES: usize = 4;
