//! Decimal text of integers, to and from bytes, without allocation.

/// The decimal text of one number, right-aligned in its own small buffer.
pub struct Decimal {
    digits: [u8; DIGITS_MAX],
    start: usize,
}

impl Decimal {
    pub fn new(value: i64) -> Decimal {
        let mut digits = [b'0'; DIGITS_MAX];
        let start = DIGITS_MAX - text_len(value);
        write(value, digits.get_mut(start..).unwrap_or_default());
        Decimal { digits, start }
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.digits.get(self.start..).unwrap_or_default()
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

/// How many bytes the decimal text of a number has.
#[inline]
pub fn text_len(value: i64) -> usize {
    let digits = value.unsigned_abs().checked_ilog10().map_or(1, |log| log as usize + 1);
    digits + usize::from(value < 0)
}

/// Writes the decimal text of a number over `target`, which has its length: from the last digit on, two at a time, and
/// straight to its place, since bytes that were just written one by one are slow to copy.
#[inline]
pub fn write(value: i64, target: &mut [u8]) {
    let mut rest = value.unsigned_abs();
    let mut target = target;
    while rest >= 100 {
        let Some((free, last)) = target.split_last_chunk_mut() else { return };
        *last = PAIRS.get((rest % 100) as usize).copied().unwrap_or_default();
        rest /= 100;
        target = free;
    }
    let [tens, ones] = PAIRS.get(rest as usize).copied().unwrap_or_default();
    match target {
        [one] => *one = ones,
        [ten, one] if rest >= 10 => [*ten, *one] = [tens, ones],
        [sign, one] => [*sign, *one] = [b'-', ones],
        [sign, ten, one] => [*sign, *ten, *one] = [b'-', tens, ones],
        _ => {}
    }
}

/// Reads what `Long.parseLong` reads: an optional sign, then digits and nothing else.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    match text {
        [digit @ b'0'..=b'9'] => Some(i64::from(digit - b'0')), // Most numbers on the wire.
        _ => parse_i64_any(text),
    }
}

fn parse_i64_any(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    if digits.len() < DIGITS_SAFE {
        let (mut value, rest) = match digits.split_first_chunk() {
            Some((eight, rest)) => (eight_digits(*eight)?, rest),
            None => (0, digits),
        };
        for byte in rest {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            value = value * 10 + i64::from(digit);
        }
        return Some(if negative { -value } else { value });
    }
    parse_i64_long(negative, digits)
}

/// Eight digits at once: pairs, then fours, then all.
#[inline]
fn eight_digits(text: [u8; 8]) -> Option<i64> {
    let word = u64::from_le_bytes(text);
    let high_halves = word & 0xF0F0_F0F0_F0F0_F0F0;
    let over_nine = (word & 0x0F0F_0F0F_0F0F_0F0F) + 0x0606_0606_0606_0606;
    if high_halves != 0x3030_3030_3030_3030 || over_nine & 0xF0F0_F0F0_F0F0_F0F0 != 0 {
        return None;
    }
    let digits = word & 0x0F0F_0F0F_0F0F_0F0F;
    let pairs = (digits.wrapping_mul(10) + (digits >> 8)) & 0x00FF_00FF_00FF_00FF;
    let fours = (pairs.wrapping_mul(100) + (pairs >> 16)) & 0x0000_FFFF_0000_FFFF;
    Some((fours.wrapping_mul(10_000) + (fours >> 32)) as u32 as i64)
}

#[inline]
pub fn parse_i32(text: &[u8]) -> Option<i32> {
    i32::try_from(parse_i64(text)?).ok()
}

#[cold]
fn parse_i64_long(negative: bool, digits: &[u8]) -> Option<i64> {
    let mut value = 0i64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Counted downwards, since the smallest number has no positive twin.
        value = value.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// "00" to "99".
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut at = 0;
    while at < 100 {
        pairs[at] = [b'0' + (at / 10) as u8, b'0' + (at % 10) as u8];
        at += 1;
    }
    pairs
};

/// "-9223372036854775808".
const DIGITS_MAX: usize = 20;
/// As many digits as cannot overflow an i64.
const DIGITS_SAFE: usize = 19;

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: every number comes back from its text. Method: the ends, the middle, and what is no number.
    #[test]
    fn numbers_survive_their_text() {
        for value in [
            0,
            1,
            -1,
            9,
            10,
            12_345_678,
            -98_765_432,
            1_700_000_000_000,
            999_999_999,
            i64::MAX,
            i64::MIN,
            i64::from(i32::MIN),
        ] {
            assert_eq!(Decimal::new(value).as_str(), value.to_string());
            assert_eq!(parse_i64(value.to_string().as_bytes()), Some(value));
        }
        for text in [
            "",
            "-",
            "+",
            "4a",
            " 4",
            "9223372036854775808",
            "-9223372036854775809",
            "0x4",
            "1.0",
            "1234567:",
            "/2345678",
            "12345\u{fa}78",
        ] {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_i64(b"+4"), Some(4));
        assert_eq!(parse_i64(b"00000000000000000000000000004"), Some(4));
        assert_eq!(parse_i32(b"2147483648"), None);
    }
}
