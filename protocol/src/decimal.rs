//! Decimal text of integers, to and from bytes, without allocation.

/// The decimal text of one number, right-aligned in its own small buffer.
pub struct Decimal {
    digits: [u8; DIGITS_MAX],
    start: usize,
}

impl Decimal {
    pub fn new(value: i64) -> Decimal {
        let mut digits = [b'0'; DIGITS_MAX];
        let mut rest = value.unsigned_abs();
        let mut start = DIGITS_MAX;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
            start -= 1;
            if rest == 0 {
                break;
            }
        }
        if value < 0 {
            start -= 1;
            if let Some(sign) = digits.get_mut(start) {
                *sign = b'-';
            }
        }
        Decimal { digits, start }
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.digits.get(self.start..).unwrap_or_default()
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

/// Reads what `Long.parseLong` reads: an optional sign, then digits and nothing else.
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    if digits.len() < DIGITS_SAFE {
        let mut value = 0i64;
        for byte in digits {
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
        for value in [0, 1, -1, 9, 10, 1_700_000_000_000, i64::MAX, i64::MIN, i64::from(i32::MIN)] {
            assert_eq!(Decimal::new(value).as_str(), value.to_string());
            assert_eq!(parse_i64(value.to_string().as_bytes()), Some(value));
        }
        for text in ["", "-", "+", "4a", " 4", "9223372036854775808", "-9223372036854775809", "0x4", "1.0"] {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_i64(b"+4"), Some(4));
        assert_eq!(parse_i64(b"00000000000000000000000000004"), Some(4));
        assert_eq!(parse_i32(b"2147483648"), None);
    }
}
