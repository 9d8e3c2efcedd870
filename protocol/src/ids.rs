//! The two message ids: the broker's (where a message lies) and the client's (UNIQ_KEY).
//!
//! ```text
//! offset id: | store address 4 or 16 | port i32 | physical offset i64 |                               as upper-case hex
//! UNIQ_KEY:  | client address 4 or 16 | pid u16 | class loader hash i32 | ms of month i32 | counter u16 |  as upper-case hex
//! ```
//!
//! Written into a small array on the stack: no allocation.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An id as text, on the stack.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IdText {
    text: [u8; ID_CHARS_MAX],
    len: usize,
}

impl IdText {
    pub fn as_str(&self) -> &str {
        self.text.get(..self.len).and_then(|text| str::from_utf8(text).ok()).unwrap_or_default()
    }

    fn new() -> Self {
        Self { text: [0; ID_CHARS_MAX], len: 0 }
    }

    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            for digit in [byte >> 4, byte & 15] {
                self.text[self.len] = b"0123456789ABCDEF"[usize::from(digit)];
                self.len += 1;
            }
        }
    }

    fn push_address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => self.push(&v4.octets()),
            IpAddr::V6(v6) => self.push(&v6.octets()),
        }
    }
}

impl fmt::Display for IdText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for IdText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// The `msgId` of a send answer: where the message lies.
pub fn offset_id(store_host: SocketAddr, physical_offset: i64) -> IdText {
    let mut id = IdText::new();
    id.push_address(store_host.ip());
    id.push(&u32::from(store_host.port()).to_be_bytes());
    id.push(&physical_offset.to_be_bytes());
    id
}

/// Reads what [`offset_id`] wrote; `None` for anything else (a UNIQ_KEY of the same length reads as nonsense, or not).
pub fn parse_offset_id(id: &str) -> Option<(SocketAddr, i64)> {
    let mut raw = [0; ID_CHARS_MAX / 2];
    let raw = unhex(id, &mut raw)?;
    let (address, rest) = match raw.len() {
        16 => raw.split_first_chunk().map(|(ip, rest)| (IpAddr::V4(Ipv4Addr::from_octets(*ip)), rest))?,
        28 => raw.split_first_chunk().map(|(ip, rest)| (IpAddr::V6(Ipv6Addr::from_octets(*ip)), rest))?,
        _ => return None,
    };
    let (port, offset) = rest.split_first_chunk()?;
    let port = u16::try_from(u32::from_be_bytes(*port)).ok()?;
    Some((SocketAddr::new(address, port), i64::from_be_bytes(*offset.first_chunk()?)))
}

/// Makes client message ids (UNIQ_KEY). Time comes in as milliseconds since the first of the month, 00:00 local time;
/// only uniqueness depends on it, so UTC serves as well.
#[derive(Clone, Debug)]
pub struct UniqKeys {
    address: IpAddr,
    pid: u16,
    seed: u32,
    counter: u16,
}

impl UniqKeys {
    /// `seed` stands where Java has the hash of its class loader: any number that differs between processes.
    pub fn new(address: IpAddr, pid: u32, seed: u32) -> Self {
        Self { address, pid: pid as u16, seed, counter: 0 }
    }

    pub fn next(&mut self, ms_of_month: u32) -> IdText {
        let mut id = IdText::new();
        id.push_address(self.address);
        id.push(&self.pid.to_be_bytes());
        id.push(&self.seed.to_be_bytes());
        id.push(&ms_of_month.to_be_bytes());
        id.push(&self.counter.to_be_bytes());
        self.counter = self.counter.wrapping_add(1);
        id
    }
}

/// Milliseconds since the first day of the month, 00:00 UTC: what [`UniqKeys::next`] wants.
pub fn ms_of_month(epoch_ms: i64) -> u32 {
    let days = epoch_ms.div_euclid(DAY_MS);
    // Days to civil date (the era arithmetic of the proleptic Gregorian calendar); only the day of the month is kept.
    let shifted = days + 719_468;
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5;
    (day * DAY_MS + epoch_ms.rem_euclid(DAY_MS)) as u32
}

fn unhex<'a>(text: &str, raw: &'a mut [u8]) -> Option<&'a [u8]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let raw = raw.get_mut(..pairs.len())?;
    for (byte, [high, low]) in raw.iter_mut().zip(pairs) {
        *byte = (hex_digit(*high)? << 4) | hex_digit(*low)?;
    }
    Some(raw)
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

const ID_CHARS_MAX: usize = 56;
const DAY_MS: i64 = 86_400_000;
