//! One stored message: the unit of the commitlog, and of the bodies of PULL, VIEW and QUERY answers.
//!
//! ```text
//! | total i32 | magic u32 | body crc i32 | queue id i32 | flag i32 | queue offset i64 | physical offset i64 | sys flag i32 |
//! | born time i64 | born host 8/20 | store time i64 | store host 8/20 | reconsume i32 | prepared offset i64 |
//! | body len i32 | body .. | topic len u8 (V1) or u16 (V2) | topic .. | properties len i16 | properties .. |
//! ```
//!
//! `RecordDraft` is what a sender brings, `Stamp` what the log adds; `encode_into` writes both once, CRC included.
//! `RecordView` reads in place. Nothing here looks past the unit, whatever the bytes are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::LazyLock;

use thiserror::Error;

use crate::batch::BatchMessage;

/// Magic of a record with a one-byte topic length.
pub const MAGIC_V1: u32 = 0xDAA3_20A7;
/// Magic of a record with a two-byte topic length: topics of more than 127 bytes.
pub const MAGIC_V2: u32 = 0xDAA3_20AB;
/// Magic of the blank that ends a commitlog file.
pub const MAGIC_BLANK: u32 = 0xCBD4_3194;
/// What a blank itself needs. Every commitlog file keeps at least that much free.
pub const BLANK_BYTES: usize = 8;
/// Smallest possible record: two IPv4 hosts; empty body, topic and properties.
pub const RECORD_BYTES_MIN: usize = 91;

/// Bits of `sys_flag`.
pub mod sys_flag {
    pub const COMPRESSED: i32 = 0x1;
    pub const MULTI_TAGS: i32 = 0x2;
    /// Both transaction bits; without them a message is an ordinary one.
    pub const TRANSACTION_MASK: i32 = 0xC;
    pub const TRANSACTION_PREPARED: i32 = 0x4;
    pub const TRANSACTION_COMMIT: i32 = 0x8;
    pub const TRANSACTION_ROLLBACK: i32 = 0xC;
    pub const BORN_HOST_V6: i32 = 0x10;
    pub const STORE_HOST_V6: i32 = 0x20;
    pub const NEED_UNWRAP: i32 = 0x40;
    pub const INNER_BATCH: i32 = 0x80;
    pub const COMPRESSION_MASK: i32 = 0x700;
    pub const COMPRESSION_LZ4: i32 = 0x100;
    pub const COMPRESSION_ZSTD: i32 = 0x200;
    pub const COMPRESSION_ZLIB: i32 = 0x300;
}

/// A message on its way into the log. The host bits of `sys_flag` are set from the hosts, whatever it holds.
#[derive(Clone, Copy, Debug)]
pub struct RecordDraft<'a> {
    pub topic: &'a [u8],
    pub queue_id: i32,
    pub flag: i32,
    pub sys_flag: i32,
    pub born_timestamp: i64,
    pub born_host: SocketAddr,
    pub store_host: SocketAddr,
    pub reconsume_times: i32,
    pub prepared_transaction_offset: i64,
    pub body: &'a [u8],
    pub properties: &'a [u8],
}

/// What the log adds to a draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub queue_offset: i64,
    pub physical_offset: i64,
    pub store_timestamp: i64,
}

impl<'a> RecordDraft<'a> {
    /// A message without flags, times and properties, from `host` to `host`: the beginning of one that has some.
    pub fn plain(topic: &'a [u8], queue_id: i32, host: SocketAddr, body: &'a [u8]) -> Self {
        Self {
            topic,
            queue_id,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties: b"",
        }
    }
}

impl RecordDraft<'_> {
    /// Bytes of the whole record.
    #[inline]
    pub fn encoded_len(&self) -> usize {
        let topic_len_bytes = if self.topic.len() > TOPIC_BYTES_MAX_V1 { 2 } else { 1 };
        let hosts = host_len(self.born_host) + host_len(self.store_host);
        FIXED_BYTES + hosts + self.body.len() + topic_len_bytes + self.topic.len() + self.properties.len()
    }

    /// Whether topic and properties fit their length fields. The limits on messages are far stricter.
    #[inline]
    pub fn fits(&self) -> bool {
        self.topic.len() <= TOPIC_BYTES_MAX_V2
            && self.properties.len() <= i16::MAX as usize
            && self.encoded_len() <= i32::MAX as usize
    }

    /// Whether the log gives this message a queue offset and a consume queue entry.
    pub fn is_queued(&self) -> bool {
        is_queued(self.sys_flag)
    }

    /// Writes the record over the whole of `out`, which must be exactly `encoded_len` long.
    #[inline]
    pub fn encode_into(&self, out: &mut [u8], stamp: &Stamp) {
        self.encode_with(out, stamp, |body, place| {
            place.copy_from_slice(body);
            crc(body)
        });
    }

    /// As `encode_into`. `copy` copies the body to its place, which is as long, and gives its CRC-32.
    #[inline]
    pub fn encode_with(&self, out: &mut [u8], stamp: &Stamp, copy: impl FnOnce(&[u8], &mut [u8]) -> u32) {
        assert!(self.fits());
        assert!(out.len() == self.encoded_len());
        let v1 = self.topic.len() <= TOPIC_BYTES_MAX_V1;
        let mut sys_flag = self.sys_flag & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6);
        if self.born_host.is_ipv6() {
            sys_flag |= sys_flag::BORN_HOST_V6;
        }
        if self.store_host.is_ipv6() {
            sys_flag |= sys_flag::STORE_HOST_V6;
        }
        let total = out.len() as u32;
        let mut out = Out { rest: out };
        if self.born_host.is_ipv4() && self.store_host.is_ipv4() {
            // In one piece, of a length that the compiler knows: it checks once, not sixteen times.
            let (head, rest) =
                out.rest.split_first_chunk_mut::<HEAD_BYTES_V4>().expect("a record has a head");
            out.rest = rest;
            let crc = copy(self.body, out.take(self.body.len()));
            self.put_head(&mut Out { rest: head }, stamp, total, v1, sys_flag, crc);
        } else {
            let hosts = host_len(self.born_host) + host_len(self.store_host);
            let head = out.take(HEAD_BYTES_V4 - 2 * HOST_BYTES_V4 + hosts);
            let crc = copy(self.body, out.take(self.body.len()));
            self.put_head(&mut Out { rest: head }, stamp, total, v1, sys_flag, crc);
        }
        if v1 {
            out.put(&[self.topic.len() as u8]);
        } else {
            out.put(&(self.topic.len() as u16).to_be_bytes());
        }
        out.put(self.topic);
        out.put(&(self.properties.len() as u16).to_be_bytes());
        out.put(self.properties);
        assert!(out.rest.is_empty());
    }

    /// Encodes what other records share with this one, which has neither body nor properties, into a buffer that stays warm.
    pub fn template<'b>(&self, buffer: &'b mut Vec<u8>, store_timestamp: i64) -> RecordTemplate<'b> {
        assert!(self.body.is_empty() && self.properties.is_empty());
        buffer.resize(self.encoded_len(), 0);
        self.encode_into(buffer, &Stamp { queue_offset: 0, physical_offset: 0, store_timestamp });
        let hosts = host_len(self.born_host) + host_len(self.store_host);
        let (head, topic) = buffer.split_at(HEAD_BYTES_V4 - 2 * HOST_BYTES_V4 + hosts);
        let (topic, _properties_len) = topic.split_at(topic.len() - PROPERTIES_LEN_BYTES);
        RecordTemplate { head, topic }
    }

    /// What lies before the body.
    #[inline(always)]
    fn put_head(&self, out: &mut Out<'_>, stamp: &Stamp, total: u32, v1: bool, sys_flag: i32, crc: u32) {
        out.put(&total.to_be_bytes());
        out.put(&(if v1 { MAGIC_V1 } else { MAGIC_V2 }).to_be_bytes());
        out.put(&(crc & CRC_KEPT).to_be_bytes());
        out.put(&self.queue_id.to_be_bytes());
        out.put(&self.flag.to_be_bytes());
        out.put(&stamp.queue_offset.to_be_bytes());
        out.put(&stamp.physical_offset.to_be_bytes());
        out.put(&sys_flag.to_be_bytes());
        out.put(&self.born_timestamp.to_be_bytes());
        out.put_host(self.born_host);
        out.put(&stamp.store_timestamp.to_be_bytes());
        out.put_host(self.store_host);
        out.put(&self.reconsume_times.to_be_bytes());
        out.put(&self.prepared_transaction_offset.to_be_bytes());
        out.put(&(self.body.len() as u32).to_be_bytes());
    }
}

/// Records that differ in flag, body, properties and place alone, as those of a batch do.
#[derive(Clone, Copy, Debug)]
pub struct RecordTemplate<'b> {
    head: &'b [u8],
    /// With its length.
    topic: &'b [u8],
}

impl RecordTemplate<'_> {
    /// Bytes of the whole record of a message.
    #[inline]
    pub fn encoded_len(&self, message: &BatchMessage<'_>) -> usize {
        let shared = self.head.len() + self.topic.len() + PROPERTIES_LEN_BYTES;
        shared + message.body.len() + message.properties.len()
    }

    /// As [`RecordDraft::encode_with`], for a message that a batch may hold.
    #[inline]
    pub fn encode_with(
        &self,
        out: &mut [u8],
        message: &BatchMessage<'_>,
        queue_offset: i64,
        physical_offset: i64,
        copy: impl FnOnce(&[u8], &mut [u8]) -> u32,
    ) {
        assert!(out.len() == self.encoded_len(message));
        let total = out.len() as u32;
        let mut out = Out { rest: out };
        let head = out.take(self.head.len());
        match (self.head.first_chunk::<HEAD_BYTES_V4>(), head.first_chunk_mut::<HEAD_BYTES_V4>()) {
            // Of a length that the compiler knows.
            (Some(from), Some(to)) if self.head.len() == HEAD_BYTES_V4 => *to = *from,
            _ => head.copy_from_slice(self.head),
        }
        let crc = copy(message.body, out.take(message.body.len()));
        let (front, body_len) = head.split_last_chunk_mut().expect("a head has many fields");
        *body_len = (message.body.len() as u32).to_be_bytes();
        let mut front = Out { rest: front };
        front.put(&total.to_be_bytes());
        front.take(MAGIC_BYTES);
        front.put(&(crc & CRC_KEPT).to_be_bytes());
        front.take(QUEUE_ID_BYTES);
        front.put(&message.flag.to_be_bytes());
        front.put(&queue_offset.to_be_bytes());
        front.put(&physical_offset.to_be_bytes());
        out.put(self.topic);
        out.put(&(message.properties.len() as u16).to_be_bytes());
        out.put(message.properties);
        assert!(out.rest.is_empty());
    }
}

/// Whether a message with this `sys_flag` gets a queue offset and a consume queue entry: no transaction, or committed.
pub fn is_queued(sys_flag: i32) -> bool {
    matches!(sys_flag & sys_flag::TRANSACTION_MASK, 0 | sys_flag::TRANSACTION_COMMIT)
}

/// CRC-32 of a body as stored: bit 31 is cleared.
pub fn body_crc(body: &[u8]) -> i32 {
    (crc(body) & CRC_KEPT) as i32
}

fn crc(bytes: &[u8]) -> u32 {
    let mut hasher = HASHER.clone();
    hasher.update(bytes);
    hasher.finalize()
}

/// Made once: it asks the processor what it can.
static HASHER: LazyLock<crc32fast::Hasher> = LazyLock::new(crc32fast::Hasher::new);

/// The eight bytes of an end-of-file blank; `bytes_left` counts to the end of the file, these eight included.
pub fn blank(bytes_left: u32) -> [u8; BLANK_BYTES] {
    let [a, b, c, d] = bytes_left.to_be_bytes();
    let [e, f, g, h] = MAGIC_BLANK.to_be_bytes();
    [a, b, c, d, e, f, g, h]
}

/// What lies at the front of a run of log bytes.
#[derive(Clone, Copy, Debug)]
pub enum Unit<'a> {
    Record(RecordView<'a>),
    /// The rest of the commitlog file, `bytes_left` long, holds nothing.
    Blank {
        bytes_left: u32,
    },
}

/// Reads the unit at the front of `bytes`, which may go on behind it.
pub fn unit(bytes: &[u8]) -> Result<Unit<'_>, RecordError> {
    let mut head = In { rest: bytes };
    let (Some(total), Some(magic)) = (head.u32(), head.u32()) else {
        return Err(RecordError::Short { need: BLANK_BYTES });
    };
    match magic {
        MAGIC_BLANK => Ok(Unit::Blank { bytes_left: total }),
        MAGIC_V1 | MAGIC_V2 => RecordView::parse(bytes).map(Unit::Record),
        _ => Err(RecordError::Magic { magic }),
    }
}

/// A stored message, read in place.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// The whole record as it lies.
    pub bytes: &'a [u8],
    pub body_crc: i32,
    pub queue_id: i32,
    pub flag: i32,
    pub queue_offset: i64,
    pub physical_offset: i64,
    pub sys_flag: i32,
    pub born_timestamp: i64,
    pub born_host: SocketAddr,
    pub store_timestamp: i64,
    pub store_host: SocketAddr,
    pub reconsume_times: i32,
    pub prepared_transaction_offset: i64,
    pub body: &'a [u8],
    pub topic: &'a [u8],
    pub properties: &'a [u8],
}

impl<'a> RecordView<'a> {
    /// Reads the record at the front of `bytes`. Its declared size must be the sum of its parts; the CRC is not looked at.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let mut head = In { rest: bytes };
        let Some(total) = head.u32() else {
            return Err(RecordError::Short { need: RECORD_BYTES_MIN });
        };
        let total = total as usize;
        if !(RECORD_BYTES_MIN..=i32::MAX as usize).contains(&total) {
            return Err(RecordError::Size { declared: total });
        }
        let Some(bytes) = bytes.get(..total) else {
            return Err(RecordError::Short { need: total });
        };
        Self::parse_exact(bytes)
    }

    /// Whether the stored CRC is that of the body.
    pub fn crc_holds(&self) -> bool {
        body_crc(self.body) == self.body_crc
    }

    /// Bytes of the whole record.
    pub fn size(&self) -> u32 {
        self.bytes.len() as u32
    }

    /// The topic as text; `None` when it is no UTF-8.
    pub fn topic_str(&self) -> Option<&'a str> {
        str::from_utf8(self.topic).ok()
    }

    /// Whether the log gave this message a queue offset.
    pub fn is_queued(&self) -> bool {
        is_queued(self.sys_flag)
    }

    /// The same message as a draft: what a desk starts from that stores it once more elsewhere.
    pub fn to_draft(&self) -> RecordDraft<'a> {
        RecordDraft {
            topic: self.topic,
            queue_id: self.queue_id,
            flag: self.flag,
            sys_flag: self.sys_flag,
            born_timestamp: self.born_timestamp,
            born_host: self.born_host,
            store_host: self.store_host,
            reconsume_times: self.reconsume_times,
            prepared_transaction_offset: self.prepared_transaction_offset,
            body: self.body,
            properties: self.properties,
        }
    }

    fn parse_exact(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let declared = bytes.len();
        let mut input = In { rest: bytes };
        let view = (|| {
            let _total = input.u32()?;
            let magic = input.u32()?;
            let body_crc = input.i32()?;
            let queue_id = input.i32()?;
            let flag = input.i32()?;
            let queue_offset = input.i64()?;
            let physical_offset = input.i64()?;
            let sys_flag = input.i32()?;
            let born_timestamp = input.i64()?;
            let born_host = input.host(sys_flag & sys_flag::BORN_HOST_V6 != 0)?;
            let store_timestamp = input.i64()?;
            let store_host = input.host(sys_flag & sys_flag::STORE_HOST_V6 != 0)?;
            let reconsume_times = input.i32()?;
            let prepared_transaction_offset = input.i64()?;
            let body_len = usize::try_from(input.i32()?).ok()?;
            let body = input.take(body_len)?;
            let topic_len = match magic {
                MAGIC_V1 => usize::try_from(input.u8()? as i8).ok()?,
                _ => usize::try_from(input.u16()? as i16).ok()?,
            };
            let topic = input.take(topic_len)?;
            let properties_len = usize::try_from(input.u16()? as i16).ok()?;
            let properties = input.take(properties_len)?;
            let view = Self {
                bytes,
                body_crc,
                queue_id,
                flag,
                queue_offset,
                physical_offset,
                sys_flag,
                born_timestamp,
                born_host,
                store_timestamp,
                store_host,
                reconsume_times,
                prepared_transaction_offset,
                body,
                topic,
                properties,
            };
            Some((magic, view))
        })();
        match view {
            Some((magic, _)) if magic != MAGIC_V1 && magic != MAGIC_V2 => Err(RecordError::Magic { magic }),
            Some((_, view)) if input.rest.is_empty() => Ok(view),
            _ => Err(RecordError::Size { declared }),
        }
    }
}

/// The bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    #[error("the record needs {need} bytes")]
    Short { need: usize },
    #[error("{magic:#010x} is no magic of a record")]
    Magic { magic: u32 },
    #[error("a size of {declared} bytes is not the sum of the parts")]
    Size { declared: usize },
    #[error("the body does not match its CRC")]
    Crc,
}

/// Writes one part after the other; `encode_into` has made sure of the room.
struct Out<'b> {
    rest: &'b mut [u8],
}

impl<'b> Out<'b> {
    #[inline]
    fn take(&mut self, len: usize) -> &'b mut [u8] {
        let (head, rest) = std::mem::take(&mut self.rest).split_at_mut(len);
        self.rest = rest;
        head
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.take(bytes.len()).copy_from_slice(bytes);
    }

    #[inline]
    fn put_host(&mut self, host: SocketAddr) {
        match host.ip() {
            IpAddr::V4(v4) => self.put(&v4.octets()),
            IpAddr::V6(v6) => self.put(&v6.octets()),
        }
        self.put(&u32::from(host.port()).to_be_bytes());
    }
}

/// Takes one part after the other; `None` at the end.
struct In<'a> {
    rest: &'a [u8],
}

impl<'a> In<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(head)
    }

    fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.chunk().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.chunk().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.chunk().map(u32::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.chunk().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.chunk().map(i64::from_be_bytes)
    }

    /// A port outside 16 bits is cut, as a Java reader would refuse it only when it used it.
    fn host(&mut self, v6: bool) -> Option<SocketAddr> {
        let ip = if v6 {
            IpAddr::V6(Ipv6Addr::from_octets(self.chunk()?))
        } else {
            IpAddr::V4(Ipv4Addr::from_octets(self.chunk()?))
        };
        Some(SocketAddr::new(ip, self.u32()? as u16))
    }
}

fn host_len(host: SocketAddr) -> usize {
    if host.is_ipv6() { 20 } else { HOST_BYTES_V4 }
}

/// Everything but hosts, topic length field, body, topic and properties.
const FIXED_BYTES: usize = 74;
const PROPERTIES_LEN_BYTES: usize = 2;
const MAGIC_BYTES: usize = 4;
const QUEUE_ID_BYTES: usize = 4;
/// What lies before the body when both hosts are IPv4.
const HEAD_BYTES_V4: usize = 88;
const HOST_BYTES_V4: usize = 8;
/// What a record keeps of its body's CRC.
const CRC_KEPT: u32 = 0x7FFF_FFFF;
const TOPIC_BYTES_MAX_V1: usize = i8::MAX as usize;
const TOPIC_BYTES_MAX_V2: usize = i16::MAX as usize;

const _: () = assert!(FIXED_BYTES + 2 * 8 + 1 == RECORD_BYTES_MIN);
