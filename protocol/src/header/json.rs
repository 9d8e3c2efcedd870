//! Reads the JSON form of a header, as leniently as the official reader.
//!
//! Besides plain JSON it takes single quotes, bare names, superfluous commas, numbers in quotes, `language` as a number,
//! and bare numbers and booleans among the extFields. Nested values are passed over, without recursion.
//! Implements rules W-5 and W-6.

use super::{Fields, Form, Header, Text};
use crate::error::WireError;
use crate::escape::unescape;
use crate::scan;
use crate::version::Language;

pub(crate) fn read(bytes: &[u8]) -> Result<Header<'_>, WireError> {
    let mut walk = Walk { bytes, at: 0 };
    let at_error = |walk: Walk<'_>| WireError::HeaderNotJson { at: walk.at };
    match read_object(&mut walk) {
        Some(header) => {
            walk.space();
            if walk.at == bytes.len() { Ok(header) } else { Err(at_error(walk)) }
        }
        None => Err(at_error(walk)),
    }
}

fn read_object<'a>(walk: &mut Walk<'a>) -> Option<Header<'a>> {
    let mut header = Header::default();
    walk.space();
    walk.expect(b'{')?;
    while let Some(name) = walk.name()? {
        let Some(name) = name.plain_bytes() else {
            walk.value()?;
            continue;
        };
        if name == b"extFields" {
            header.fields = walk.fields()?;
            continue;
        }
        let value = walk.value()?;
        match (name, value) {
            (b"code", Value::Text(text)) => header.code = text.parse_i32()?,
            (b"flag", Value::Text(text)) => header.flag = text.parse_i32()?,
            (b"opaque", Value::Text(text)) => header.opaque = text.parse_i32()?,
            (b"version", Value::Text(text)) => header.version = text.parse_i32()?,
            (b"language", Value::Text(text)) => header.language = language(text),
            (b"language", Value::Null) => header.language = Language::Unknown,
            (b"remark", Value::Text(text)) => header.remark = Some(text),
            _ => {}
        }
    }
    Some(header)
}

fn language(text: Text<'_>) -> Language {
    match text.parse_i64() {
        Some(code) => Language::from_code(code),
        None => Language::from_name(text.raw()),
    }
}

/// The next field of checked extFields whose value is a text, a number or a boolean.
#[inline]
pub(super) fn next_field<'a>(rest: &mut &'a [u8]) -> Option<(Text<'a>, Text<'a>)> {
    let mut walk = Walk { bytes: rest, at: 0 };
    loop {
        let name = walk.name()??;
        if let Value::Text(value) = walk.value()? {
            *rest = walk.bytes.get(walk.at..)?;
            return Some((name, value));
        }
    }
}

/// A place in the text. Every step is `None` when the text is not what it should be, with `at` where that was seen.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

enum Value<'a> {
    Text(Text<'a>),
    Null,
    Nested,
}

impl<'a> Walk<'a> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
    fn expect(&mut self, wanted: u8) -> Option<()> {
        if self.peek()? != wanted {
            return None;
        }
        self.at += 1;
        Some(())
    }

    /// The next name of an object with its colon passed; `Some(None)` behind the closing brace, or at the end of the
    /// text inside of one.
    #[inline]
    fn name(&mut self) -> Option<Option<Text<'a>>> {
        while let Some(b',' | b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
        let name = match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.string(quote)?,
            Some(b'}') => {
                self.at += 1;
                return Some(None);
            }
            Some(_) => self.bare()?,
            None => return None,
        };
        self.space();
        self.expect(b':')?;
        Some(Some(name))
    }

    #[inline]
    fn value(&mut self) -> Option<Value<'a>> {
        self.space();
        match self.peek()? {
            quote @ (b'"' | b'\'') => self.string(quote).map(Value::Text),
            b'{' | b'[' => self.skip_nested().map(|()| Value::Nested),
            _ => {
                let text = self.bare()?;
                Some(if text.raw() == b"null" { Value::Null } else { Value::Text(text) })
            }
        }
    }

    /// The extFields object: its entries are checked here and read later.
    fn fields(&mut self) -> Option<Fields<'a>> {
        self.space();
        if self.peek()? != b'{' {
            self.value()?;
            return Some(Fields::NONE);
        }
        self.at += 1;
        let start = self.at;
        while self.name()?.is_some() {
            self.value()?;
        }
        // The closing brace stays: it ends the later walk as it ended this one.
        Some(Fields { form: Form::Json(self.bytes.get(start..self.at)?) })
    }

    #[inline]
    fn string(&mut self, quote: u8) -> Option<Text<'a>> {
        let start = self.at + 1;
        let rest = self.bytes.get(start..)?;
        let len = scan::find_either(rest, quote, b'\\')?;
        if rest.get(len) == Some(&quote) {
            self.at = start + len + 1;
            return Some(Text::new(rest.get(..len)?));
        }
        self.string_with_escapes(quote, rest, len)
    }

    fn string_with_escapes(&mut self, quote: u8, rest: &'a [u8], first: usize) -> Option<Text<'a>> {
        let mut len = first;
        loop {
            if rest.get(len) == Some(&quote) {
                self.at += len + 2;
                return Some(Text::checked(rest.get(..len)?, true));
            }
            let (_, used) = unescape(rest.get(len + 1..)?)?;
            len += 1 + used;
            len += scan::find_either(rest.get(len..)?, quote, b'\\')?;
        }
    }

    /// A number, a boolean, a null or a name without quotes.
    fn bare(&mut self) -> Option<Text<'a>> {
        let rest = self.bytes.get(self.at..)?;
        let is_bare = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'-' | b'+' | b'.' | b'$');
        let len = rest.iter().position(|byte| !is_bare(byte)).unwrap_or(rest.len());
        if len == 0 {
            return None;
        }
        self.at += len;
        Some(Text::new(rest.get(..len)?))
    }

    /// Passes over an object or array, whatever it holds, by counting brackets outside of strings.
    fn skip_nested(&mut self) -> Option<()> {
        let mut depth = 0usize;
        loop {
            match self.peek()? {
                quote @ (b'"' | b'\'') => {
                    self.string(quote)?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }
}
