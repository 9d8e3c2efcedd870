//! JSON string escapes, both ways: what a backslash stands for, and what stands for a byte that may not be bare.

/// What the bytes after a backslash stand for, and how many of them do. None when they are no escape.
///
/// As lenient as the official reader: `\x41`, `\0`, `\v` and `\'` too. Half a surrogate pair is `?`, as Java writes it.
pub(crate) fn unescape(tail: &[u8]) -> Option<(char, usize)> {
    let char = match tail.first()? {
        b'u' => return unicode(tail),
        b'n' => '\n',
        b't' => '\t',
        b'r' => '\r',
        b'b' => '\u{8}',
        b'f' | b'F' => '\u{c}',
        b'v' => '\u{b}',
        b'"' => '"',
        b'\'' => '\'',
        b'\\' => '\\',
        b'/' => '/',
        digit @ b'0'..=b'7' => char::from(digit - b'0'),
        b'x' => {
            let [high, low] = tail.get(1..3)? else { return None };
            return Some((char::from(hex(*high)? << 4 | hex(*low)?), 3));
        }
        _ => return None,
    };
    Some((char, 1))
}

/// The escape of a byte that `scan::find_unsafe` finds.
pub(crate) fn of(byte: u8) -> &'static [u8] {
    match byte {
        b'"' => b"\\\"",
        b'\\' => b"\\\\",
        _ => CONTROLS.get(usize::from(byte)).copied().unwrap_or_default(),
    }
}

/// `uXXXX`, or a pair of them for what lies outside the first plane.
fn unicode(tail: &[u8]) -> Option<(char, usize)> {
    let first = code_unit(tail)?;
    if !(0xD800..0xE000).contains(&first) {
        return Some((char::from_u32(first)?, UNIT_BYTES));
    }
    if first < 0xDC00
        && let Some([b'\\', second @ ..]) = tail.get(UNIT_BYTES..)
        && second.first() == Some(&b'u')
        && let Some(low @ 0xDC00..0xE000) = code_unit(second)
    {
        let char = char::from_u32(0x10000 + ((first - 0xD800) << 10) + (low - 0xDC00))?;
        return Some((char, 2 * UNIT_BYTES + 1));
    }
    Some(('?', UNIT_BYTES))
}

fn code_unit(tail: &[u8]) -> Option<u32> {
    let [_u, digits @ ..] = tail.first_chunk::<UNIT_BYTES>()?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | u32::from(hex(*digit)?)))
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The letter u and four digits.
const UNIT_BYTES: usize = 5;

#[rustfmt::skip]
const CONTROLS: [&[u8]; 32] = [
    b"\\u0000", b"\\u0001", b"\\u0002", b"\\u0003", b"\\u0004", b"\\u0005", b"\\u0006", b"\\u0007",
    b"\\b",     b"\\t",     b"\\n",     b"\\u000B", b"\\f",     b"\\r",     b"\\u000E", b"\\u000F",
    b"\\u0010", b"\\u0011", b"\\u0012", b"\\u0013", b"\\u0014", b"\\u0015", b"\\u0016", b"\\u0017",
    b"\\u0018", b"\\u0019", b"\\u001A", b"\\u001B", b"\\u001C", b"\\u001D", b"\\u001E", b"\\u001F",
];
