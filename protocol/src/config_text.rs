//! Java properties text: configuration files, and the bodies of codes 25, 26, 318 and 319.
//!
//! ```text
//! # comment                 ! comment
//! brokerName = broker-a     brokerName: broker-a     brokerName broker-a
//! namesrvAddr=10.0.0.1:9876;\
//!             10.0.0.2:9876                continued: leading blanks of the next line are dropped
//! greeting=caf\u00e9
//! ```
//!
//! The rules are those of `java.util.Properties`: blanks around the separator go, **trailing blanks of the value
//! stay**. Deliberate differences: bytes that are valid UTF-8 are read as UTF-8, only others as ISO-8859-1; and a byte-order mark at the start,
//! as some editors write it, is passed over, where Java takes it for the first letter of a key.

/// One `key=value` of a text, with the line it began on (from 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub line: usize,
    pub key: String,
    pub value: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigTextError {
    #[error("line {line}: `\\u` must be followed by four hexadecimal digits, as in `\\u00e9`")]
    BadUnicodeEscape { line: usize },
}

/// All entries in the order of the text; a key that is given twice is listed twice (the later one wins in Java).
pub fn parse(bytes: &[u8]) -> Result<Vec<Entry>, ConfigTextError> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect(),
    };
    let mut entries = Vec::new();
    for (line, logical) in logical_lines(&text) {
        let (raw_key, raw_value) = split(&logical);
        entries.push(Entry { line, key: unescape(raw_key, line)?, value: unescape(raw_value, line)? });
    }
    Ok(entries)
}

/// The form official servers answer with: one `key=value` and a newline each, nothing escaped.
pub fn write<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (key, value) in entries {
        text.push_str(key);
        text.push('=');
        text.push_str(value);
        text.push('\n');
    }
    text
}

/// The known word that `word` was most likely meant to be, if any is close enough to be worth naming.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (edit_distance(&wanted, &candidate.to_lowercase()), candidate))
        .min_by_key(|&(distance, _)| distance)
        .filter(|&(distance, candidate)| {
            distance <= candidate.chars().count().max(wanted.chars().count()) / 2
        })
        .map(|(_, candidate)| candidate)
}

/// Joins continued lines and leaves out comments and empty ones; escapes are still in.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut pending: Option<(usize, String)> = None;
    for (index, natural) in natural_lines(text).enumerate() {
        let body = natural.trim_start_matches(is_blank);
        let (line, mut logical) = match pending.take() {
            Some(begun) => begun,
            None if body.is_empty() || body.starts_with(['#', '!']) => continue,
            None => (index + 1, String::new()),
        };
        let backslashes = body.len() - body.trim_end_matches('\\').len();
        if backslashes % 2 == 1 {
            logical.push_str(&body[..body.len() - 1]);
            pending = Some((line, logical));
        } else {
            logical.push_str(body);
            lines.push((line, logical));
        }
    }
    lines.extend(pending); // The text ended in a backslash.
    lines
}

/// Lines end with `\n`, `\r` or `\r\n`.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// Key and value as they are written: the key ends at the first unescaped `=`, `:` or blank.
fn split(logical: &str) -> (&str, &str) {
    let mut escaped = false;
    let key_len = logical
        .find(|c: char| {
            let ends = !escaped && (c == '=' || c == ':' || is_blank(c));
            escaped = !escaped && c == '\\';
            ends
        })
        .unwrap_or(logical.len());
    let (key, rest) = logical.split_at(key_len);
    let rest = rest.trim_start_matches(is_blank);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, value.trim_start_matches(is_blank))
}

fn unescape(raw: &str, line: usize) -> Result<String, ConfigTextError> {
    if !raw.contains('\\') {
        return Ok(raw.to_owned());
    }
    // `\uXXXX` names a UTF-16 unit, so a character outside the basic plane takes two of them.
    let mut units = Vec::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        let plain = if c == '\\' {
            match chars.next() {
                None => break,
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).collect();
                    let valid = digits.len() == 4 && digits.chars().all(|digit| digit.is_ascii_hexdigit());
                    let unit = u16::from_str_radix(&digits, 16).ok().filter(|_| valid);
                    units.push(unit.ok_or(ConfigTextError::BadUnicodeEscape { line })?);
                    continue;
                }
                Some(other) => other,
            }
        } else {
            c
        };
        units.extend_from_slice(plain.encode_utf16(&mut [0; 2]));
    }
    Ok(String::from_utf16_lossy(&units))
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// Levenshtein's distance, counting an exchange of neighbours as one step as typists make it.
fn edit_distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        rows[i][0] = i;
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = changed.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text.as_bytes()).unwrap().into_iter().map(|entry| (entry.key, entry.value)).collect()
    }

    fn one(text: &str) -> (String, String) {
        let found = pairs(text);
        assert_eq!(found.len(), 1, "{text:?}");
        found[0].clone()
    }

    /// Goal: every separator and blank rule of java.util.Properties. Method: one line each.
    #[test]
    fn separators_and_blanks() {
        let expected = ("key".to_owned(), "a value".to_owned());
        for text in ["key=a value", "key:a value", "key a value", "  key = a value", "key\t:\x0c a value"] {
            assert_eq!(one(text), expected, "{text:?}");
        }
        assert_eq!(one("key=value  ").1, "value  ", "trailing blanks stay");
        assert_eq!(one("key==value").1, "=value", "only one separator is taken");
        assert_eq!(one("key = : v").1, ": v");
        assert_eq!(one("key"), ("key".to_owned(), String::new()));
        assert_eq!(one("a\\=b\\:c\\ d=e").0, "a=b:c d");
        assert_eq!(one("=value"), (String::new(), "value".to_owned()));
    }

    #[test]
    fn comments_and_empty_lines_are_left_out() {
        assert_eq!(pairs("# a=b\n  ! c=d\\\n\n \t \nkey=v # stays\n"), [("key".into(), "v # stays".into())]);
    }

    #[test]
    fn lines_continue_and_end_in_every_way() {
        assert_eq!(one("key=one,\\\n   two,\\\r\n\tthree").1, "one,two,three");
        assert_eq!(one("key=back\\\\").1, "back\\", "two backslashes are one, and no continuation");
        assert_eq!(one("key=last\\").1, "last");
        assert_eq!(one("key=a\\\n# b").1, "a# b", "a continuation is never a comment");
        assert_eq!(pairs("a=1\rb=2\r\nc=3\n").len(), 3);
    }

    #[test]
    fn escapes() {
        assert_eq!(one("k=\\t\\n\\r\\f\\q\\u00e9\\uD83D\\uDE00").1, "\t\n\r\u{c}qé😀");
        let error = parse(b"a=1\nk=\\u00g9").unwrap_err();
        assert_eq!(error, ConfigTextError::BadUnicodeEscape { line: 2 });
        assert!(parse(b"k=\\u+0e9").is_err());
    }

    #[test]
    fn utf_8_is_taken_as_such_and_other_bytes_as_latin_1() {
        assert_eq!(one("k=é").1, "é");
        assert_eq!(parse(b"k=\xe9").unwrap()[0].value, "é");
    }

    /// Goal: the mark that some editors write before UTF-8 is no part of the first key, whatever follows it, and none elsewhere. Method: files
    /// that begin with it.
    #[test]
    fn a_byte_order_mark_is_no_key() {
        assert_eq!(one("\u{feff}key=v"), ("key".to_owned(), "v".to_owned()));
        assert_eq!(pairs("\u{feff}# comment\nkey=v\n"), [("key".into(), "v".into())]);
        assert_eq!(parse(b"\xef\xbb\xbfkey=\xe9").unwrap()[0].key, "key", "amid bytes that are no UTF-8");
        assert_eq!(pairs("\u{feff}"), []);
        assert_eq!(one("key=\u{feff}v").1, "\u{feff}v");
    }

    #[test]
    fn a_line_is_numbered_by_where_it_began() {
        let entries = parse(b"\n# c\na=1\\\n2\nb=3").unwrap();
        assert_eq!(entries.iter().map(|entry| entry.line).collect::<Vec<_>>(), [3, 5]);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = write([("a", "1"), ("b", "two words")]);
        assert_eq!(text, "a=1\nb=two words\n");
        assert_eq!(pairs(&text), [("a".into(), "1".into()), ("b".into(), "two words".into())]);
    }

    #[test]
    fn the_nearest_known_word_is_named() {
        let known = ["brokerName", "brokerId", "namesrvAddr", "flushDiskType"];
        assert_eq!(nearest("brokername", known), Some("brokerName"));
        assert_eq!(nearest("borkerName", known), Some("brokerName"));
        assert_eq!(nearest("namesrvAddress", known), Some("namesrvAddr"));
        assert_eq!(nearest("zzzzzzzz", known), None);
    }
}
