//! Reads the ROCKETMQ form of a header.
//!
//! ```text
//! | code i16 | language u8 | version i16 | opaque i32 | flag i32 | remark_len i32 | remark .. | ext_len i32 | entry .. |
//! entry: | name_len i16 | name .. | value_len i32 | value .. |
//! ```
//!
//! A length of zero or less is a null, as in Java. Implements rule W-5.

use super::{Fields, Form, Header, Text};
use crate::error::WireError;
use crate::version::Language;

pub(crate) fn read(bytes: &[u8]) -> Result<Header<'_>, WireError> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
        return Err(WireError::HeaderCut { part: "fixed fields" });
    };
    let [c0, c1, language, v0, v1, o0, o1, o2, o3, f0, f1, f2, f3] = *fixed;
    let (remark, rest) = take_long(rest).ok_or(WireError::HeaderCut { part: "remark" })?;
    let (entries, _) = take_long(rest).ok_or(WireError::HeaderCut { part: "extFields" })?;
    let mut walk = entries;
    while !walk.is_empty() {
        take_entry(&mut walk).ok_or(WireError::HeaderCut { part: "field" })?;
    }
    Ok(Header {
        code: i32::from(i16::from_be_bytes([c0, c1])),
        language: Language::from_code(i64::from(language)),
        version: i32::from(i16::from_be_bytes([v0, v1])),
        opaque: i32::from_be_bytes([o0, o1, o2, o3]),
        flag: i32::from_be_bytes([f0, f1, f2, f3]),
        remark: if remark.is_empty() { None } else { Some(Text::new(remark)) },
        fields: Fields { form: Form::Binary(entries) },
    })
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
    let name_len = usize::try_from(i16::from_be_bytes(*len)).unwrap_or(0);
    let (name, tail) = tail.split_at_checked(name_len)?;
    let (value, tail) = take_long(tail)?;
    *rest = tail;
    Some((name, value))
}

#[inline]
fn take_long(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, tail) = bytes.split_first_chunk()?;
    let len = usize::try_from(i32::from_be_bytes(*len)).unwrap_or(0);
    tail.split_at_checked(len)
}

const FIXED_BYTES: usize = 13;
