//! What queues and index need of a stored record, taken from it in one walk.
//!
//! ```text
//! record -> place, queue, time, topic      properties --one walk--> TAGS, KEYS, UNIQ_KEY, DELAY
//! ```
//!
//! The write-out sees every message beside whoever sends them, so it takes what it needs of a record of the usual form, and leaves
//! all others to `protocol::record`, which reads every part. Both say the same.

use protocol::properties::{self, key};
use protocol::record::{self, MAGIC_V1, RECORD_BYTES_MIN, RecordError, RecordView, sys_flag};

/// What lies at the front of a run of log bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit<'a> {
    Record(Brief<'a>),
    Blank { bytes_left: u32 },
}

/// A record, in brief.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Brief<'a> {
    pub size: u32,
    pub queue_id: i32,
    pub queue_offset: i64,
    pub physical_offset: i64,
    pub sys_flag: i32,
    pub store_timestamp: i64,
    pub topic: &'a [u8],
    pub properties: &'a [u8],
}

/// The properties that queues and index go by; of one name the last. Apart from the rest, so that it is made where it stays: moving it
/// on at once costs as much as making it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels<'a> {
    pub tags: Option<&'a [u8]>,
    pub keys: Option<&'a [u8]>,
    pub unique: Option<&'a [u8]>,
    pub delay: Option<&'a [u8]>,
}

/// As [`record::unit`], CRC included if it is asked for.
#[inline]
pub(crate) fn unit(bytes: &[u8], check_crc: bool) -> Result<Unit<'_>, RecordError> {
    if !check_crc && let Some(brief) = Brief::usual(bytes) {
        return Ok(Unit::Record(brief));
    }
    unusual(bytes, check_crc)
}

#[cold]
fn unusual(bytes: &[u8], check_crc: bool) -> Result<Unit<'_>, RecordError> {
    match record::unit(bytes)? {
        record::Unit::Record(view) if check_crc && !view.crc_holds() => Err(RecordError::Crc),
        record::Unit::Record(view) => Ok(Unit::Record(Brief::of(&view))),
        record::Unit::Blank { bytes_left } => Ok(Unit::Blank { bytes_left }),
    }
}

impl<'a> Brief<'a> {
    pub fn of(view: &RecordView<'a>) -> Self {
        Self {
            size: view.size(),
            queue_id: view.queue_id,
            queue_offset: view.queue_offset,
            physical_offset: view.physical_offset,
            sys_flag: view.sys_flag,
            store_timestamp: view.store_timestamp,
            topic: view.topic,
            properties: view.properties,
        }
    }

    /// Takes what lies at the front of `bytes`, if it is a record that is as most are; else says `false`, and is as it was. For who looks at
    /// many: a record that is made elsewhere and moved at once costs as much as the rest of the look.
    #[inline]
    pub fn take_usual(&mut self, bytes: &'a [u8]) -> bool {
        let usual = Self::usual(bytes);
        if let Some(usual) = usual {
            *self = usual;
        }
        usual.is_some()
    }

    /// A whole record with a one-byte topic length and IPv4 hosts.
    #[inline]
    fn usual(bytes: &'a [u8]) -> Option<Self> {
        let head = bytes.first_chunk::<HEAD_BYTES>()?;
        let total = u32_at(head, 0) as usize;
        let sys_flag = u32_at(head, 36) as i32;
        let is_usual = u32_at(head, 4) == MAGIC_V1
            && sys_flag & (sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6) == 0
            && (RECORD_BYTES_MIN..=i32::MAX as usize).contains(&total);
        if !is_usual {
            return None;
        }
        let behind_body = bytes.get(..total)?.get(HEAD_BYTES..)?.get(u32_at(head, 84) as usize..)?;
        let (topic_len, rest) = behind_body.split_first()?;
        let (topic, rest) = rest.split_at_checked(usize::from(*topic_len))?;
        let (properties_len, properties) = rest.split_first_chunk::<2>()?;
        let is_whole = usize::from(u16::from_be_bytes(*properties_len)) == properties.len();
        if !is_whole || *topic_len > i8::MAX as u8 || properties.len() > i16::MAX as usize {
            return None;
        }
        Some(Self {
            size: total as u32,
            queue_id: u32_at(head, 12) as i32,
            queue_offset: i64_at(head, 20),
            physical_offset: i64_at(head, 28),
            sys_flag,
            store_timestamp: i64_at(head, 56),
            topic,
            properties,
        })
    }

    /// Whether the log gave this message a queue offset.
    #[inline]
    pub fn is_queued(&self) -> bool {
        record::is_queued(self.sys_flag)
    }
}

impl<'a> Labels<'a> {
    #[inline]
    pub fn of(properties: &'a [u8]) -> Self {
        let mut labels = Self::default();
        for part in properties::parts(properties) {
            labels.take(part);
        }
        labels
    }

    /// Keeps the value of an entry that bears one of the names.
    #[inline]
    fn take(&mut self, entry: &'a [u8]) {
        let value = |name: &str| properties::value(entry, name.as_bytes());
        // Of most entries the first letter says that they bear none.
        match entry.first() {
            Some(b'U') => self.unique = value(key::UNIQ_KEY).or(self.unique),
            Some(b'T') => self.tags = value(key::TAGS).or(self.tags),
            Some(b'K') => self.keys = value(key::KEYS).or(self.keys),
            Some(b'D') => self.delay = value(key::DELAY).or(self.delay),
            _ => {}
        }
    }
}

/// Whether two short texts are the same: most often they are, and a call costs more than the look.
#[inline]
pub(crate) fn is_same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let (Some(end), Some(of_other)) = (one.last_chunk::<8>(), other.last_chunk::<8>()) else {
        return one.iter().zip(other).all(|(one, other)| one == other);
    };
    let words = one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0);
    end == of_other && words.into_iter().all(|(one, other)| one == other)
}

#[inline]
fn u32_at(head: &[u8; HEAD_BYTES], at: usize) -> u32 {
    u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}

#[inline]
fn i64_at(head: &[u8; HEAD_BYTES], at: usize) -> i64 {
    i64::from(u32_at(head, at)) << 32 | i64::from(u32_at(head, at + 4))
}

/// What lies before the body, with IPv4 hosts.
const HEAD_BYTES: usize = 88;

#[cfg(test)]
mod tests {
    use protocol::record::{RecordDraft, Stamp};

    use super::*;

    fn encoded(draft: &RecordDraft<'_>) -> Vec<u8> {
        let mut bytes = vec![0; draft.encoded_len()];
        draft.encode_into(
            &mut bytes,
            &Stamp { queue_offset: -7 << 40, physical_offset: 3 << 33, store_timestamp: 1 << 41 },
        );
        bytes
    }

    /// Goal: the quick way says what the thorough one says, of whatever bytes. Method: good records of every form, then each with
    /// every one of its bytes changed in a few ways, and cut off anywhere.
    #[test]
    fn the_quick_way_agrees_with_the_thorough_one() {
        let list = b"UNIQ_KEY\x01u\x02TAGS\x01a\x02KEYS\x01k l\x02DELAY\x013\x02TAGS\x01b\x02";
        let long = [b't'; 200];
        let mut usual = 0;
        for host in ["1.2.3.4:5", "[::1]:5"] {
            for (topic, properties) in [(&b"T"[..], &b""[..]), (b"Topic", list), (&long, list), (b"", b"K")] {
                let plain = RecordDraft::plain(topic, 6, host.parse().unwrap(), b"body");
                let good = encoded(&RecordDraft { properties, sys_flag: 8, ..plain });
                assert!(matches!(unit(&good, true), Ok(Unit::Record(_))));
                usual += usize::from(Brief::usual(&good).is_some());
                for at in 0..good.len() {
                    assert_same(&good[..at]);
                    for change in [1, 2, 0x10, 0x20, 0x80, 0xff] {
                        let mut bytes = good.clone();
                        bytes[at] ^= change;
                        assert_same(&bytes);
                        bytes.extend_from_slice(&good);
                        assert_same(&bytes);
                    }
                }
            }
        }
        assert_eq!(usual, 3);
    }

    /// Goal: the labels are what the list says. Method: random lists of few kinds of parts, against the plain reading.
    #[test]
    fn labels_are_those_of_the_list() {
        let parts: [&[u8]; 14] = [
            b"TAGS",
            b"KEYS",
            b"UNIQ_KEY",
            b"DELAY",
            b"\x01",
            b"\x01",
            b"\x01",
            b"\x02",
            b"\x02",
            b"\x02",
            b"",
            b"a",
            b"\x00",
            b"\xff",
        ];
        let mut seed = 3_u64;
        for round in 0..40_000 {
            let mut list = Vec::new();
            for _ in 0..round % 24 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                list.extend_from_slice(parts[(seed >> 40) as usize % parts.len()]);
            }
            let of = |name| properties::get(&list, name);
            let plain = Labels {
                tags: of(key::TAGS),
                keys: of(key::KEYS),
                unique: of(key::UNIQ_KEY),
                delay: of(key::DELAY),
            };
            assert_eq!(Labels::of(&list), plain, "{list:?}");
        }
    }

    /// Goal: two texts are the same when their bytes are. Method: texts of every length up to three words, and with each byte changed.
    #[test]
    fn texts_are_the_same_or_not() {
        let text: Vec<u8> = (0..24).collect();
        for len in 0..text.len() {
            assert!(is_same(&text[..len], &text.clone()[..len]));
            assert!(!is_same(&text[..len], &text[..len + 1]));
            for at in 0..len {
                let mut other = text[..len].to_vec();
                other[at] ^= 0x80;
                assert!(!is_same(&text[..len], &other));
            }
        }
    }

    fn assert_same(bytes: &[u8]) {
        match (unit(bytes, false), record::unit(bytes)) {
            (Ok(Unit::Record(brief)), Ok(record::Unit::Record(view))) => assert_eq!(brief, Brief::of(&view)),
            (Ok(Unit::Blank { bytes_left }), Ok(record::Unit::Blank { bytes_left: left })) => {
                assert_eq!(bytes_left, left);
            }
            (Err(ours), Err(theirs)) => assert_eq!(ours, theirs),
            other => panic!("{other:?}"),
        }
    }
}
