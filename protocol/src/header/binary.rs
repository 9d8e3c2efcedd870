//! Reads the ROCKETMQ form of a header.
//!
//! ```text
//! | code i16 | language u8 | version i16 | opaque i32 | flag i32 | remark_len i32 | remark .. | ext_len i32 | entry .. |
//! entry: | name_len i16 | name .. | value_len i32 | value .. |
//! ```
//!
//! A length of zero or less is a null, as in Java. Implements rule W-5.

use super::{Fields, Form, Header, MARKED_BYTES_MAX, SendFields, Take, Text};
use crate::error::WireError;
use crate::version::Language;

pub(crate) fn read<'a>(
    bytes: &'a [u8],
    header: &mut Header<'a>,
    send: Option<&mut SendFields<'a>>,
) -> Result<(), WireError> {
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
    let whole = match send {
        Some(send) if SendFields::are_of(header.code) => {
            header.fields.unmarked = Form::Binary(entries);
            walk(entries, send).map(|_taken| ())
        }
        _ => mark(entries, &mut header.fields),
    };
    whole.ok_or(WireError::HeaderCut { part: "field" })
}

/// Checks every entry, and marks them if there are not too many.
fn mark<'a>(entries: &'a [u8], fields: &mut Fields<'a>) -> Option<()> {
    fields.bytes = entries;
    if entries.len() >= MARKED_BYTES_MAX || !walk(entries, fields)? {
        *fields = Fields::unmarked(Form::Binary(entries));
        return walk(entries, &mut Nobody).map(|_| ());
    }
    Some(())
}

/// Checks every entry and hands over those that have a name and a value. False: not all were wanted, or looked at.
#[inline(always)]
fn walk<'a>(entries: &'a [u8], take: &mut impl Take<'a>) -> Option<bool> {
    let mut rest = entries;
    while !rest.is_empty() {
        let name_at = entries.len() - rest.len() + NAME_LEN_BYTES;
        if let Some((name, value, tail)) = take_letter_entry(rest) {
            rest = tail;
            if !value.is_empty()
                && !take.field(name_at, name, name_at + 1 + VALUE_LEN_BYTES, Text::new(value))
            {
                return Some(false);
            }
            continue;
        }
        let (name, value) = take_entry(&mut rest)?;
        let value_at = name_at + name.len() + VALUE_LEN_BYTES;
        if !name.is_empty() && !value.is_empty() && !take.field(name_at, name, value_at, Text::new(value)) {
            return Some(false);
        }
    }
    Some(true)
}

/// For a walk that only looks at the form.
struct Nobody;

impl<'a> Take<'a> for Nobody {
    fn field(&mut self, _name_at: usize, _name: &'a [u8], _value_at: usize, _value: Text<'a>) -> bool {
        true
    }
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

/// An entry whose name is one letter, as all those of a short send are, and what is behind it. None also if it
/// is not whole or has no value: `take_entry` sees to those.
#[inline]
fn take_letter_entry(rest: &[u8]) -> Option<(&[u8; 1], &[u8], &[u8])> {
    let (head, behind) = rest.split_first_chunk::<LETTER_ENTRY_BYTES>()?;
    let [n0, n1, name @ .., l0, l1, l2, l3] = head;
    let value_len = u32::from_be_bytes([*l0, *l1, *l2, *l3]) as usize;
    if [*n0, *n1] != [0, 1] || value_len == 0 {
        return None;
    }
    let (value, tail) = behind.split_at_checked(value_len)?; // A negative length is a very long one here.
    Some((name, value, tail))
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
