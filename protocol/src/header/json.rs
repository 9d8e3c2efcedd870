//! Reads the JSON form of a header, as leniently as the official reader.
//!
//! Besides plain JSON it takes single quotes, bare names, superfluous commas, numbers in quotes, `language` as a number,
//! and bare numbers and booleans among the extFields. Nested values are passed over, without recursion.
//! Implements rules W-5 and W-6.

use super::{Fields, Form, Header, MARKED_BYTES_MAX, SendFields, Take, Text};
use crate::error::WireError;
use crate::escape;
use crate::scan;
use crate::version::Language;

pub(crate) fn read<'a>(
    bytes: &'a [u8],
    header: &mut Header<'a>,
    mut send: Option<&mut SendFields<'a>>,
) -> Result<(), WireError> {
    let taken = match read_canonical(bytes, header, send.as_deref_mut()) {
        Some(taken) => taken,
        None => {
            *header = read_any(bytes)?;
            false
        }
    };
    if let Some(send) = send.filter(|_| !taken && SendFields::are_of(header.code)) {
        *send = SendFields::default(); // It may have got some of them.
        send.take_all(&header.fields);
    }
    Ok(())
}

/// Whether this is written as Java and its likes do, and a send's: a change of digits or of plain characters within a text is none of
/// its form, then.
pub(super) fn is_canonical_send(bytes: &[u8]) -> bool {
    read_canonical(bytes, &mut Header::default(), Some(&mut SendFields::default())) == Some(true)
}

/// What Java and its likes write: no blanks, known names, texts where texts belong. None is no error yet. Says, too,
/// whether `send` got the fields, which it does when they are behind a code that has such.
#[inline]
fn read_canonical<'a>(
    bytes: &'a [u8],
    header: &mut Header<'a>,
    mut send: Option<&mut SendFields<'a>>,
) -> Option<bool> {
    let mut rest = bytes.strip_prefix(b"{")?;
    let mut taken = false;
    let mut had_fields = false;
    loop {
        let tail = match rest.get(1)? {
            b'c' => number(rest.strip_prefix(b"\"code\":")?, &mut header.code)?,
            b'f' => number(rest.strip_prefix(b"\"flag\":")?, &mut header.flag)?,
            b'o' => number(rest.strip_prefix(b"\"opaque\":")?, &mut header.opaque)?,
            b'v' => number(rest.strip_prefix(b"\"version\":")?, &mut header.version)?,
            b'e' if !had_fields => {
                had_fields = true;
                let inside = rest.strip_prefix(b"\"extFields\":{")?;
                let start = bytes.len() - inside.len();
                let end = match &mut send {
                    Some(send) if SendFields::are_of(header.code) => {
                        taken = true;
                        let end = canonical_fields(bytes, start, *send)?;
                        header.fields.unmarked = Form::Json(bytes.get(start..end)?);
                        end
                    }
                    _ if bytes.len() < MARKED_BYTES_MAX => {
                        header.fields.bytes = bytes;
                        canonical_fields(bytes, start, &mut header.fields)?
                    }
                    _ => return None,
                };
                bytes.get(end..)?
            }
            b'l' => {
                let (name, tail) = canonical_text(rest.strip_prefix(b"\"language\":\"")?)?;
                header.language = Language::from_name(name);
                tail
            }
            b'r' => {
                let (remark, tail) = canonical_text(rest.strip_prefix(b"\"remark\":\"")?)?;
                header.remark = Some(Text::new(remark));
                tail
            }
            b's' => rest.strip_prefix(b"\"serializeTypeCurrentRPC\":\"JSON\"")?,
            _ => return None,
        };
        match tail.split_first()? {
            (b',', tail) => rest = tail,
            (b'}', []) => return Some(taken),
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
fn canonical_text(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = scan::find_either(text, b'"', b'\\')?;
    match text.get(len..)? {
        [b'"', tail @ ..] => Some((text.get(..len)?, tail)),
        _ => None, // Escapes: rare in a remark, and no work for this path.
    }
}

/// Hands over the fields of an object that holds texts only, from behind its opening brace at `start` on, and returns
/// where its closing brace ends.
#[inline(always)]
fn canonical_fields<'a>(bytes: &'a [u8], start: usize, take: &mut impl Take<'a>) -> Option<usize> {
    let mut rest = bytes.get(start..)?;
    if rest.first() == Some(&b'}') {
        return Some(start + 1);
    }
    loop {
        let tail = match rest.first_chunk() {
            // A name of one letter, as all those of a short send are, by one look; and a value of one digit, as most of
            // them are, by the same.
            Some([b'"', letter @ b'a'..=b'z', b'"', b':', b'"', first, second, _]) => {
                let behind = rest.get(LETTER_NAME_BYTES..)?;
                let is_digit = first.is_ascii_digit() && *second == b'"';
                let (len, escaped) = if is_digit { (1, false) } else { text_len(behind)? };
                let (value, tail) = behind.split_at_checked(len)?;
                let name_at = bytes.len() - rest.len() + 1;
                let value_at = bytes.len() - behind.len();
                if !take.field(name_at, std::slice::from_ref(letter), value_at, Text::checked(value, escaped))
                {
                    return None;
                }
                tail
            }
            _ => long_named(bytes, rest, take)?,
        };
        match tail {
            [b'"', b',', next @ ..] => rest = next,
            [b'"', b'}', next @ ..] => return Some(bytes.len() - next.len()),
            _ => return None,
        }
    }
}

/// One field, at the front of `rest`, whatever its name is. Returns what is behind its value.
#[inline(never)]
fn long_named<'a>(bytes: &'a [u8], rest: &'a [u8], take: &mut impl Take<'a>) -> Option<&'a [u8]> {
    let (name, behind) = canonical_text(rest.strip_prefix(b"\"")?)?;
    let behind = behind.strip_prefix(b":\"")?;
    let (len, escaped) = text_len(behind)?;
    let (value, tail) = behind.split_at_checked(len)?;
    let (name_at, value_at) = (bytes.len() - rest.len() + 1, bytes.len() - behind.len());
    if take.field(name_at, name, value_at, Text::checked(value, escaped)) { Some(tail) } else { None }
}

/// How long the text is whose inside begins here, up to its closing quote, and whether it holds escapes: whole ones.
#[inline]
fn text_len(text: &[u8]) -> Option<(usize, bool)> {
    let len = scan::find_either_by_part(text, b'"', b'\\')?;
    if text.get(len) == Some(&b'"') { Some((len, false)) } else { escaped_text_len(text, len) }
}

/// The same from the first backslash on.
#[inline(never)]
fn escaped_text_len(text: &[u8], first: usize) -> Option<(usize, bool)> {
    let mut len = first;
    loop {
        let rest = text.get(len..)?;
        len += match escape::separator(rest) {
            Some(_) => escape::SEPARATOR_BYTES,
            None if rest.first() == Some(&b'"') => return Some((len, true)),
            None => 1 + escape::len(rest.get(1..)?)?,
        };
        len += scan::find_either_by_part(text.get(len..)?, b'"', b'\\')?;
    }
}

/// `"a":"`.
const LETTER_NAME_BYTES: usize = 5;

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
