//! Reads the JSON form of a header, as leniently as the official reader.
//!
//! Besides plain JSON it takes single quotes, bare names, superfluous commas, numbers in quotes, `language` as a number,
//! and bare numbers and booleans among the extFields. Nested values are passed over, without recursion.
//! Implements rules W-5 and W-6.

use super::quotes::Quotes;
use super::{Fields, Form, Header, MARKED_BYTES_MAX, Text};
use crate::error::WireError;
use crate::escape;
use crate::scan;
use crate::version::Language;

pub(crate) fn read<'a>(bytes: &'a [u8], header: &mut Header<'a>) -> Result<(), WireError> {
    match read_canonical(bytes, header) {
        Some(()) => Ok(()),
        None => read_any(bytes).map(|read| *header = read),
    }
}

/// What Java and its likes write: no blanks, known names, texts where texts belong. None is no error yet.
fn read_canonical<'a>(bytes: &'a [u8], header: &mut Header<'a>) -> Option<()> {
    let mut rest = bytes.strip_prefix(b"{")?;
    loop {
        let tail = match rest.get(1)? {
            b'c' => number(rest.strip_prefix(b"\"code\":")?, &mut header.code)?,
            b'f' => number(rest.strip_prefix(b"\"flag\":")?, &mut header.flag)?,
            b'o' => number(rest.strip_prefix(b"\"opaque\":")?, &mut header.opaque)?,
            b'v' => number(rest.strip_prefix(b"\"version\":")?, &mut header.version)?,
            b'e' => {
                let inside = rest.strip_prefix(b"\"extFields\":{")?;
                let end = canonical_fields(bytes, bytes.len() - inside.len(), &mut header.fields)?;
                bytes.get(end..)?
            }
            b'l' => {
                let (name, tail) = canonical_text(rest.strip_prefix(b"\"language\":\"")?)?;
                header.language = Language::from_name(name.plain_bytes()?);
                tail
            }
            b'r' => {
                let (remark, tail) = canonical_text(rest.strip_prefix(b"\"remark\":\"")?)?;
                header.remark = Some(remark);
                tail
            }
            b's' => rest.strip_prefix(b"\"serializeTypeCurrentRPC\":\"JSON\"")?,
            _ => return None,
        };
        match tail.split_first()? {
            (b',', tail) => rest = tail,
            (b'}', []) => return Some(()),
            _ => return None,
        }
    }
}

/// Reads digits, perhaps with a minus, and returns what is behind them.
#[inline]
fn number<'a>(text: &'a [u8], into: &mut i32) -> Option<&'a [u8]> {
    let (sign, mut rest) = match text {
        [b'-', rest @ ..] => (-1, rest),
        rest => (1, rest),
    };
    let mut value = 0i64;
    while let [digit @ b'0'..=b'9', tail @ ..] = rest {
        value = value * 10 + i64::from(digit - b'0');
        rest = tail;
        if value > i64::from(u32::MAX) {
            return None;
        }
    }
    *into = i32::try_from(sign * value).ok()?;
    // No digit at all leaves the text as it was, which the caller's comma or brace is not.
    Some(rest)
}

/// The text up to the closing quote, and what is behind it.
#[inline]
fn canonical_text(text: &[u8]) -> Option<(Text<'_>, &[u8])> {
    let len = scan::find_either(text, b'"', b'\\')?;
    match text.get(len..)? {
        [b'"', tail @ ..] => Some((Text::new(text.get(..len)?), tail)),
        _ => None, // Escapes: rare in a remark, and no work for this path.
    }
}

/// Marks the fields of an object that holds texts only, from behind its opening brace at `start` on, and returns where
/// its closing brace ends.
fn canonical_fields<'a>(bytes: &'a [u8], start: usize, fields: &mut Fields<'a>) -> Option<usize> {
    if bytes.get(start) == Some(&b'}') {
        return Some(start + 1);
    }
    if bytes.len() >= MARKED_BYTES_MAX {
        return None;
    }
    fields.bytes = bytes;
    let mut quotes = Quotes::new(bytes, start);
    let mut left = 0;
    let mut at = start;
    loop {
        let name_open = quotes.next(&mut left)?;
        let name_close = quotes.next(&mut left)?;
        let value_open = quotes.next(&mut left)?;
        let value_close = quotes.next(&mut left)?;
        // Every byte between the quotes of two texts is known, so there is nothing outside of them.
        if name_open != at || value_open != name_close + 2 || bytes.get(name_close + 1) != Some(&b':') {
            return None;
        }
        let (name, value) = (name_open + 1..name_close, value_open + 1..value_close);
        let escaped = quotes.passed_backslash(at, value_close);
        if escaped && bytes.get(name.clone())?.contains(&b'\\') {
            return None;
        }
        if quotes.broken() || !fields.mark(name, value, escaped) {
            return None;
        }
        match bytes.get(value_close + 1)? {
            b',' => at = value_close + 2,
            b'}' => return Some(value_close + 2),
            _ => return None,
        }
    }
}

#[cold]
fn read_any(bytes: &[u8]) -> Result<Header<'_>, WireError> {
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
            (b"code", Value::Text(text)) => header.code = int(text)?,
            (b"flag", Value::Text(text)) => header.flag = int(text)?,
            (b"opaque", Value::Text(text)) => header.opaque = int(text)?,
            (b"version", Value::Text(text)) => header.version = int(text)?,
            (b"language", Value::Text(text)) => header.language = language(text),
            (b"language", Value::Null) => header.language = Language::Unknown,
            (b"remark", Value::Text(text)) => header.remark = Some(text),
            _ => {}
        }
    }
    Some(header)
}

/// A number, also one with a fraction, which is dropped.
fn int(text: Text<'_>) -> Option<i32> {
    text.parse_i32().or_else(|| match text.parse_f64() {
        Some(value) if value.abs() < f64::from(i32::MAX) => Some(value as i32),
        _ => None,
    })
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
        Some(Fields::unmarked(Form::Json(self.bytes.get(start..self.at)?)))
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
            len += 1 + escape::len(rest.get(len + 1..)?)?;
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
