//! JSON string escapes, both ways: what a backslash stands for, and what stands for a byte that may not be bare.

/// What the bytes after a backslash stand for, and how many of them do. None when they are no escape.
///
/// As lenient as the official reader: `\x41`, `\0`, `\v` and `\'` too. Half a surrogate pair is `?`, as Java writes it.
#[inline]
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

/// `\u0000` to `\u0007` at the front of a text, as before and behind every property: the byte it stands for. None also
/// where fewer than eight bytes are left.
#[inline]
pub(crate) fn separator(text: &[u8]) -> Option<u8> {
    const SEPARATOR: u64 = u64::from_le_bytes(*b"\\u0000\0\0");
    const MASK: u64 = 0x0000_F8FF_FFFF_FFFF;
    let word = u64::from_le_bytes(*text.first_chunk()?);
    if word & MASK == SEPARATOR { Some((word >> 40) as u8 & 7) } else { None }
}

pub(crate) const SEPARATOR_BYTES: usize = 6;

/// How many bytes after a backslash belong to its escape; None when they are no escape. Halves of pairs count by themselves.
#[inline]
pub(crate) fn len(tail: &[u8]) -> Option<usize> {
    match tail.first()? {
        b'u' => code_unit(tail).map(|_| UNIT_BYTES),
        _ => other_len(tail),
    }
}

fn other_len(tail: &[u8]) -> Option<usize> {
    unescape(tail).map(|(_, used)| used)
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
    if first < 0x80 {
        return Some((char::from(first as u8), UNIT_BYTES));
    }
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

#[inline]
fn code_unit(tail: &[u8]) -> Option<u32> {
    let [_u, digits @ ..] = *tail.first_chunk::<UNIT_BYTES>()?;
    let [a, b, c, d] = digits.map(|digit| HEX[usize::from(digit)]);
    if (a | b | c | d) & !15 != 0 {
        return None;
    }
    Some(u32::from(a) << 12 | u32::from(b) << 8 | u32::from(c) << 4 | u32::from(d))
}

fn hex(digit: u8) -> Option<u8> {
    Some(HEX[usize::from(digit)]).filter(|value| *value < 16)
}

/// The value of each hexadecimal digit; 255 for what is none. As long as a byte has values, so no index is outside.
const HEX: [u8; 256] = {
    let mut table = [255; 256];
    let mut value = 0;
    while value < 16 {
        table[b"0123456789abcdef"[value] as usize] = value as u8;
        table[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    table
};

/// The letter u and four digits.
const UNIT_BYTES: usize = 5;

#[rustfmt::skip]
const CONTROLS: [&[u8]; 32] = [
    b"\\u0000", b"\\u0001", b"\\u0002", b"\\u0003", b"\\u0004", b"\\u0005", b"\\u0006", b"\\u0007",
    b"\\b",     b"\\t",     b"\\n",     b"\\u000B", b"\\f",     b"\\r",     b"\\u000E", b"\\u000F",
    b"\\u0010", b"\\u0011", b"\\u0012", b"\\u0013", b"\\u0014", b"\\u0015", b"\\u0016", b"\\u0017",
    b"\\u0018", b"\\u0019", b"\\u001A", b"\\u001B", b"\\u001C", b"\\u001D", b"\\u001E", b"\\u001F",
];
