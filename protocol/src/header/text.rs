//! A string as it lies in a header: raw bytes, or the inside of a JSON string that holds escapes.
//!
//! The escapes are checked when the header is read, so everything here is total. Bytes are passed on as they are, even
//! when they are not UTF-8: a property is the user's, not ours. Half a surrogate pair becomes `?`, as in Java.
//! Implements rule W-6.

use std::borrow::Cow;
use std::fmt;

use super::out::copy_short;
use crate::decimal;
use crate::error::NoRoom;
use crate::escape;
use crate::scan;

/// A borrowed string. `plain` lends it without work; what holds escapes is written out by `write_to` or `to_cow`.
#[derive(Clone, Copy, Default)]
pub struct Text<'a> {
    raw: &'a [u8],
    /// `raw` holds at least one backslash escape, and every one in it is whole.
    escaped: bool,
}

/// One stretch of the unescaped text.
enum Piece<'a> {
    Run(&'a [u8]),
    Char(char),
}

impl<'a> Text<'a> {
    /// Bytes that mean themselves.
    pub const fn new(raw: &'a [u8]) -> Text<'a> {
        Text { raw, escaped: false }
    }

    /// The inside of a JSON string that holds backslashes; None when one of them starts no escape.
    pub fn from_json(raw: &'a [u8]) -> Option<Text<'a>> {
        let mut rest = raw;
        let mut escaped = false;
        while let Some(at) = scan::find(rest, b'\\') {
            escaped = true;
            let tail = rest.get(at + 1..)?;
            rest = tail.get(escape::len(tail)?..)?;
        }
        Some(Text { raw, escaped })
    }

    /// Only for bytes whose escapes the walk has checked one by one.
    pub(super) fn checked(raw: &'a [u8], escaped: bool) -> Text<'a> {
        Text { raw, escaped }
    }

    /// The bytes as they lie in the header, escapes and all; their number is never less than that of the text.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The text's bytes when no escape is in the way.
    #[inline]
    pub fn plain_bytes(&self) -> Option<&'a [u8]> {
        if self.escaped { None } else { Some(self.raw) }
    }

    /// The text itself when no escape is in the way and it is UTF-8.
    pub fn plain(&self) -> Option<&'a str> {
        std::str::from_utf8(self.plain_bytes()?).ok()
    }

    pub fn is_escaped(&self) -> bool {
        self.escaped
    }

    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The text whatever it takes: allocates only for escapes and for bytes that are not UTF-8.
    pub fn to_cow(&self) -> Cow<'a, str> {
        match self.plain_bytes() {
            Some(bytes) => String::from_utf8_lossy(bytes),
            None => Cow::Owned(self.unescaped_string()),
        }
    }

    pub fn to_bytes(&self) -> Cow<'a, [u8]> {
        match self.plain_bytes() {
            Some(bytes) => Cow::Borrowed(bytes),
            None => {
                let mut bytes = Vec::with_capacity(self.raw.len());
                self.for_each_run(|run| bytes.extend_from_slice(run));
                Cow::Owned(bytes)
            }
        }
    }

    /// The number of bytes `write_to` writes. At most `raw().len()`, which costs nothing to know.
    pub fn unescaped_len(&self) -> usize {
        let mut len = 0;
        self.for_each_run(|run| len += run.len());
        len
    }

    /// Writes the text to the front of `out` and returns its length. `raw().len()` bytes are always room enough; those
    /// of them that the text does not fill may be written over.
    pub fn write_to(&self, out: &mut [u8]) -> Result<usize, NoRoom> {
        match out.get_mut(..self.raw.len()) {
            Some(out) if self.escaped => Ok(write_unescaped(self.raw, out)),
            Some(out) => {
                out.copy_from_slice(self.raw);
                Ok(self.raw.len())
            }
            None => self.write_tightly(out),
        }
    }

    /// Adds the text to a buffer, which needs room for its raw form.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        if !self.escaped {
            return out.extend_from_slice(self.raw);
        }
        let before = out.len();
        out.resize(before + self.raw.len(), 0);
        let len = write_unescaped(self.raw, out.get_mut(before..).unwrap_or_default());
        out.truncate(before + len);
    }

    /// Where the text may fit though its raw form does not.
    #[cold]
    fn write_tightly(&self, out: &mut [u8]) -> Result<usize, NoRoom> {
        let mut at = 0;
        let mut fits = true;
        self.for_each_run(|run| match out.get_mut(at..).and_then(|free| free.get_mut(..run.len())) {
            Some(target) => {
                target.copy_from_slice(run);
                at += run.len();
            }
            None => fits = false,
        });
        if fits { Ok(at) } else { Err(NoRoom { bytes_len: self.unescaped_len() }) }
    }

    /// Hands out the unescaped bytes, stretch by stretch.
    pub fn for_each_run(&self, mut take: impl FnMut(&[u8])) {
        if !self.escaped {
            return take(self.raw);
        }
        let mut rest = self.raw;
        while let Some((piece, tail)) = next_piece(rest) {
            rest = tail;
            match piece {
                Piece::Run(run) => take(run),
                Piece::Char(char) => take(char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }

    /// As `Integer.parseInt`.
    #[inline]
    pub fn parse_i32(&self) -> Option<i32> {
        decimal::parse_i32(self.plain_bytes()?)
    }

    /// As `Long.parseLong`.
    #[inline]
    pub fn parse_i64(&self) -> Option<i64> {
        decimal::parse_i64(self.plain_bytes()?)
    }

    /// As `Boolean.parseBoolean`: whatever is not "true" is false.
    #[inline]
    pub fn parse_bool(&self) -> bool {
        matches!(self.raw, [b't' | b'T', b'r' | b'R', b'u' | b'U', b'e' | b'E'])
    }

    pub fn parse_f64(&self) -> Option<f64> {
        self.plain()?.trim().parse().ok()
    }

    #[cold]
    fn unescaped_string(&self) -> String {
        String::from_utf8_lossy(&self.to_bytes()).into_owned()
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Text<'a> {
        Text::new(text.as_bytes())
    }
}

impl<'a> From<&'a String> for Text<'a> {
    fn from(text: &'a String) -> Text<'a> {
        Text::new(text.as_bytes())
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Text<'_>) -> bool {
        if self.escaped || other.escaped {
            self.to_bytes() == other.to_bytes()
        } else {
            self.raw == other.raw
        }
    }
}

impl Eq for Text<'_> {}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        *self == Text::from(other)
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        *self == Text::from(*other)
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_cow(), out)
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_cow(), out)
    }
}

/// Undoes the escapes of checked text, into as many bytes as it has itself: what is written never overtakes what is read,
/// so whole parts can be copied, and what is too much of one is written over by the next.
fn write_unescaped(raw: &[u8], out: &mut [u8]) -> usize {
    let mut rest = raw;
    let mut len = 0;
    while !rest.is_empty() {
        let free = out.get_mut(len..).unwrap_or_default();
        let run_len = match (rest.first_chunk(), free.first_chunk_mut()) {
            (Some(part), Some(target)) => {
                *target = *part;
                scan::find_in_part(*part, b'\\')
            }
            _ => {
                let run_len = scan::find(rest, b'\\').unwrap_or(rest.len());
                let (run, _) = rest.split_at(run_len);
                match free.get_mut(..run_len) {
                    Some(target) => copy_short(target, run),
                    None => break, // Never: there is as much room as text.
                }
                run_len
            }
        };
        len += run_len;
        rest = rest.get(run_len..).unwrap_or_default();
        if rest.first() != Some(&b'\\') {
            continue;
        }
        if let (Some(separator), Some(target)) = (escape::separator(rest), out.get_mut(len)) {
            *target = separator;
            len += 1;
            rest = rest.get(escape::SEPARATOR_BYTES..).unwrap_or_default();
            continue;
        }
        let Some((char, used)) = rest.get(1..).and_then(escape::unescape) else { break };
        let mut utf8 = [0; 4];
        for (target, byte) in
            out.get_mut(len..).unwrap_or_default().iter_mut().zip(char.encode_utf8(&mut utf8).bytes())
        {
            *target = byte;
            len += 1;
        }
        rest = rest.get(1 + used..).unwrap_or_default();
    }
    len
}

/// The stretch at the front of checked text. An escape that is not whole, which checked text cannot hold, ends it.
fn next_piece(rest: &[u8]) -> Option<(Piece<'_>, &[u8])> {
    let run_len = match rest {
        [] => return None,
        [b'\\', tail @ ..] => {
            let (char, used) = escape::unescape(tail)?;
            return Some((Piece::Char(char), tail.get(used..)?));
        }
        _ => scan::find(rest, b'\\').unwrap_or(rest.len()),
    };
    let (run, tail) = rest.split_at_checked(run_len)?;
    Some((Piece::Run(run), tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unescaped(raw: &str) -> Option<String> {
        let text = Text::from_json(raw.as_bytes())?;
        let mut buffer = vec![0; raw.len()];
        let len = text.write_to(&mut buffer).expect("never longer than the raw text");
        assert_eq!(len, text.unescaped_len());
        for room in 0..raw.len() + 3 {
            let mut appended = vec![b'!'; room];
            text.append_to(&mut appended);
            assert_eq!(appended[room..], buffer[..len]);
            let mut buffer = vec![0xEE; room];
            match text.write_to(&mut buffer) {
                Ok(written) => assert_eq!(&buffer[..written], text.to_cow().as_bytes()),
                Err(error) => assert!(room < len && error == NoRoom { bytes_len: len }),
            }
        }
        assert_eq!(&buffer[..len], text.to_cow().as_bytes());
        Some(text.to_cow().into_owned())
    }

    /// W-6. Goal: escapes come out as Java reads them. Method: one row per kind, halves of pairs included.
    #[test]
    fn escapes_are_undone() {
        for (raw, expected) in [
            ("", ""),
            ("plain", "plain"),
            (r"TAGS\u0001A\u0002", "TAGS\u{1}A\u{2}"),
            (r#"a\"b\\c\/d\'e"#, "a\"b\\c/d'e"),
            (r"\n\t\r\b\f", "\n\t\r\u{8}\u{c}"),
            (r"\u4e2d\u6587", "中文"),
            (r"\ud83d\ude00", "😀"),
            (r"\uD83D\uDE00!", "😀!"),
            (r"\ud83d", "?"),
            (r"\ude00x", "?x"),
            (r"\ud83d\u0041", "?A"),
            (r"\ud83d\n", "?\n"),
            (
                r"KEYS\u0001key1 key2\u0002TAGS\u0001a long stretch without any\u0002end",
                "KEYS\u{1}key1 key2\u{2}TAGS\u{1}a long stretch without any\u{2}end",
            ),
            (r"\u0001\u0002\u0003\n\u4e2d!", "\u{1}\u{2}\u{3}\n中!"),
            (r"\ud83d\ud83d\ude00", "?😀"),
            (r"\x41\0", "A\0"),
        ] {
            assert_eq!(unescaped(raw).as_deref(), Some(expected), "{raw}");
        }
    }

    /// W-6. Goal: a broken escape is an error and never a panic. Method: cut and spoil each kind.
    #[test]
    fn broken_escapes_are_refused() {
        for raw in [
            r"\", r"a\", r"\u", r"\u1", r"\u12", r"\u123", r"\u12G4", r"\q", r"\x", r"\x4", r"\xGG",
            r"\ud83d\",
        ] {
            assert_eq!(unescaped(raw), None, "{raw}");
        }
    }

    #[test]
    fn a_small_buffer_is_no_room() {
        let text = Text::from_json(br"ab\u0001cd").expect("whole escapes");
        assert_eq!(text.write_to(&mut [0; 4]), Err(NoRoom { bytes_len: 5 }));
        assert_eq!(text.write_to(&mut [0; 5]), Ok(5));
    }

    #[test]
    fn texts_compare_by_meaning() {
        let escaped = Text::from_json(br"T\u0061g").expect("whole escapes");
        assert_eq!(escaped, "Tag");
        assert_eq!(escaped, Text::from("Tag"));
        assert!(escaped != "Tagg");
    }
}
