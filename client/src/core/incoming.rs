//! From stored records, as brokers send them, to messages.

use crate::message::{Message, MessageExt, MessageQueue, property};
use bytes::Bytes;
use protocol::record::{RecordView, sys_flag};
use protocol::{batch, ids};
use std::collections::BTreeMap;
use std::io::{self, Read};

/// The records of a pull, view or query body, one after another, stored by `broker`. A record that cannot be read ends
/// the list: where the next one begins is not known then.
pub fn records(body: &[u8], broker: &str) -> Vec<MessageExt> {
    let (mut messages, mut rest, mut room) = (Vec::new(), body, BODY_BYTES_MAX);
    while !rest.is_empty() {
        let record = match RecordView::parse(rest) {
            Ok(record) => record,
            Err(error) => {
                log::error!("broker {broker} sent a record that does not read: {error}");
                break;
            }
        };
        rest = rest.get(record.bytes.len()..).unwrap_or_default();
        match message(&record, broker, &mut room) {
            Ok(message) if record.sys_flag & sys_flag::INNER_BATCH != 0 => {
                unwrap(&message, &mut messages, &mut room);
            }
            Ok(message) => messages.push(message),
            Err(error) => {
                // Given on as it is: that somebody should look at it is better than that nobody knows.
                log::error!("the body of message {} does not unpack: {error}", record.queue_offset);
                messages.push(assemble(&record, broker, Bytes::copy_from_slice(record.body)));
            }
        }
    }
    messages
}

/// Whether any of the records is compressed.
pub(super) fn has_compressed(body: &[u8]) -> bool {
    let mut rest = body;
    while let Ok(record) = RecordView::parse(rest) {
        if record.sys_flag & sys_flag::COMPRESSED != 0 {
            return true;
        }
        rest = rest.get(record.bytes.len()..).unwrap_or_default();
    }
    false
}

/// `room` is what bodies of this answer may still unpack to.
fn message(record: &RecordView<'_>, broker: &str, room: &mut u64) -> io::Result<MessageExt> {
    let body = if record.sys_flag & sys_flag::COMPRESSED != 0 {
        let body = inflate(record.body, record.sys_flag, *room)?;
        *room -= body.len() as u64;
        Bytes::from(body)
    } else {
        Bytes::copy_from_slice(record.body)
    };
    Ok(assemble(record, broker, body))
}

fn assemble(record: &RecordView<'_>, broker: &str, body: Bytes) -> MessageExt {
    let topic = String::from_utf8_lossy(record.topic);
    let mut message = Message::new(topic.as_ref(), body).with_flag(record.flag);
    message.properties = properties(record.properties);
    if message.property(property::TRAN_MSG) == Some("true") {
        message.transaction_id = message.unique_id().map(str::to_owned);
    }
    MessageExt {
        queue: MessageQueue::new(&topic, broker, record.queue_id),
        queue_offset: record.queue_offset,
        commit_log_offset: record.physical_offset,
        prepared_transaction_offset: record.prepared_transaction_offset,
        sys_flag: record.sys_flag,
        born_timestamp: record.born_timestamp,
        born_host: record.born_host,
        store_timestamp: record.store_timestamp,
        store_host: record.store_host,
        reconsume_times: record.reconsume_times,
        body_crc: record.body_crc as u32,
        store_bytes: record.bytes.len(),
        offset_msg_id: ids::offset_id(record.store_host, record.physical_offset).to_string(),
        message,
    }
}

/// Several messages stored as one: each gets an offset of its own from the first on.
/// `room` is what this answer may still unpack to.
fn unwrap(whole: &MessageExt, messages: &mut Vec<MessageExt>, room: &mut u64) {
    let mut outer = whole.clone();
    outer.message.properties.clear();
    let offsets = (0..).map_while(|number| whole.queue_offset.checked_add(number));
    for (inner, queue_offset) in batch::iter(whole.body()).zip(offsets) {
        if messages.len() == MESSAGES_MAX {
            log::error!("the batch at {} has too many messages", whole.queue_offset);
            return;
        }
        let inner = match inner {
            Ok(inner) => inner,
            Err(error) => {
                log::error!("the batch at {} does not unpack: {error}", whole.queue_offset);
                return;
            }
        };
        let takes = MESSAGE_BYTES + inner.body.len() + PROPERTY_GROWTH * inner.properties.len();
        let Some(left) = room.checked_sub(takes as u64) else {
            log::error!("the batch at {} unpacks to more than what is left of 256 MiB", whole.queue_offset);
            return;
        };
        *room = left;
        let mut message = outer.clone();
        message.message.body = Bytes::copy_from_slice(inner.body);
        message.message.flag = inner.flag;
        message.message.properties = properties(inner.properties);
        message.queue_offset = queue_offset;
        messages.push(message);
    }
}

pub(super) fn properties(bytes: &[u8]) -> BTreeMap<String, String> {
    let owned = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    protocol::properties::iter(bytes).map(|(name, value)| (owned(name), owned(value))).collect()
}

/// Unpacks a body by the compression its flags name, to `bytes_max` at most; flags older than the names mean zlib.
pub(super) fn inflate(body: &[u8], flags: i32, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(body.len() * 3);
    let limit = bytes_max + 1;
    match flags & sys_flag::COMPRESSION_MASK {
        sys_flag::COMPRESSION_LZ4 => {
            lz4_flex::frame::FrameDecoder::new(body).take(limit).read_to_end(&mut out)?
        }
        sys_flag::COMPRESSION_ZSTD => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(body).map_err(io::Error::other)?;
            decoder.take(limit).read_to_end(&mut out)?
        }
        _ => flate2::read::ZlibDecoder::new(body).take(limit).read_to_end(&mut out)?,
    };
    if out.len() as u64 > bytes_max {
        return Err(io::Error::other("it unpacks to more than what is left of 256 MiB for all of an answer"));
    }
    Ok(out)
}

/// What the bodies of an answer may unpack to: hostile ones of 16 MiB could ask for gigabytes.
pub(super) const BODY_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Messages of an answer: more than a frame has room for, but for batches that unpack to very many.
const MESSAGES_MAX: usize = 1 << 18;
/// What a message of a batch takes beside its body, and what a byte of its properties takes once they are read: the shortest
/// property has 4 bytes and becomes two texts in a table.
const MESSAGE_BYTES: usize = 512;
const PROPERTY_GROWTH: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{record_bytes, zlib};
    use std::io::Write;

    /// The same in every compression, with its flag.
    fn packed_each_way(text: &[u8]) -> [(Vec<u8>, i32); 3] {
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(text).unwrap();
        let zstd = ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest);
        [
            (zlib(text), sys_flag::COMPRESSION_ZLIB),
            (lz4.finish().unwrap(), sys_flag::COMPRESSION_LZ4),
            (zstd, sys_flag::COMPRESSION_ZSTD),
        ]
    }

    /// Goal: records one after another come out whole, and a cut one ends the list.
    #[test]
    fn records_are_read_one_after_another() {
        let mut body = record_bytes("T", 2, 7, b"one", b"TAGS\x01a\x02", 0);
        body.extend(record_bytes("T", 2, 8, b"two", b"", 0));
        let messages = records(&body, "broker-a");
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0].body(), "one");
        assert_eq!(messages[0].tag(), Some("a"));
        assert_eq!(messages[1].queue_offset, 8);
        assert_eq!(messages[1].queue, MessageQueue::new("T", "broker-a", 2));
        assert_eq!(messages[1].msg_id(), messages[1].offset_msg_id);
        let cut = body.len() - 1;
        assert_eq!(records(&body[..cut], "broker-a").len(), 1);
    }

    /// Goal: bodies of each compression are unpacked, and one that lies is handed on as it is.
    #[test]
    fn bodies_are_unpacked() {
        let text = b"again and again ".repeat(400);
        for (packed, kind) in packed_each_way(&text) {
            let record = record_bytes("T", 0, 0, &packed, b"", kind | sys_flag::COMPRESSED);
            assert_eq!(records(&record, "a")[0].body(), &text[..]);
        }
        let liar = record_bytes("T", 0, 0, b"not packed", b"", sys_flag::COMPRESSED);
        assert_eq!(records(&liar, "a")[0].body(), "not packed");
    }

    /// Goal: an answer of small records does not unpack to more than one may take. Method: bodies of zeros, each below the
    /// bound, together far above it.
    #[test]
    fn an_answer_unpacks_to_a_bounded_size() {
        let packed = zlib(&vec![0; 100 << 20]);
        let record = record_bytes("T", 0, 0, &packed, b"", sys_flag::COMPRESSED);
        let messages = records(&record.repeat(8), "a");
        assert_eq!(messages.len(), 8, "what is not unpacked is given on as it is");
        let sum: usize = messages.iter().map(|message| message.body().len()).sum();
        assert!(sum as u64 <= BODY_BYTES_MAX + (packed.len() * 8) as u64, "{sum}");
        assert_eq!(messages[0].body().len(), 100 << 20);
        assert_eq!(messages[7].body(), &packed[..]);
    }

    /// A batch of `count` messages of one byte, each with `properties`, as one compressed record.
    fn packed_batch(count: usize, properties: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        batch::push(&mut body, &batch::BatchMessage { flag: 0, body: b"x", properties });
        let flags = sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP | sys_flag::COMPRESSED;
        record_bytes("T", 0, 0, &zlib(&body.repeat(count)), b"", flags)
    }

    /// Goal: batches that unpack to very many messages, or to few with very many properties, take a bounded memory; and
    /// the messages before the bound come out.
    #[test]
    fn unpacked_batches_are_bounded() {
        let many = packed_batch(600_000, b"");
        let messages = records(&many.repeat(3), "a");
        assert!((100_000..=MESSAGES_MAX).contains(&messages.len()), "{}", messages.len());
        assert_eq!(messages[9].queue_offset, 9);
        let property = |number: usize| {
            let text = |number: usize| char::from(b'A' + (number % 26) as u8);
            [text(number / 26 / 26), text(number / 26), text(number), '\u{1}', 'v', '\u{2}']
        };
        let properties: String = (0..5_000).flat_map(property).collect();
        assert_eq!(properties.len(), 30_000);
        let messages = records(&packed_batch(4_000, properties.as_bytes()), "a");
        let read: usize = messages.iter().map(|message| message.message.properties.len()).sum();
        assert!((100_000..2_000_000).contains(&read), "{read} properties of 20 million");
    }

    /// Goal: no kind of compression unpacks to more than it may, to the byte.
    #[test]
    fn each_compression_is_bounded() {
        let text = vec![7; 100_000];
        for (packed, kind) in packed_each_way(&text) {
            assert_eq!(inflate(&packed, kind, 100_000).unwrap(), text);
            assert!(inflate(&packed, kind, 99_999).is_err());
            assert!(inflate(&packed, kind, 0).is_err());
        }
    }

    /// The messages x and y, one after another.
    fn batch_of_two(flag: i32, properties: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        for text in ["x", "y"] {
            batch::push(&mut body, &batch::BatchMessage { flag, body: text.as_bytes(), properties });
        }
        body
    }

    /// Goal: the messages of a batch at the last offset all come out.
    #[test]
    fn a_batch_at_the_last_offset_is_unwrapped() {
        let mut whole = crate::core::testing::message_at("T", 0, 0);
        (whole.queue_offset, whole.message.body) = (i64::MAX, batch_of_two(0, b"").into());
        let mut messages = Vec::new();
        unwrap(&whole, &mut messages, &mut 10_000);
        assert_eq!(messages.len(), 1, "behind the last offset there is none");
    }

    /// Goal: an inner batch comes out as its messages, at consecutive offsets.
    #[test]
    fn inner_batches_are_unwrapped() {
        let body = batch_of_two(3, b"TAGS\x01t\x02");
        let flags = sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP;
        let messages = records(&record_bytes("T", 0, 40, &body, b"INNER_NUM\x012\x02", flags), "a");
        let read: Vec<_> =
            messages.iter().map(|one| (one.body().as_ref(), one.queue_offset, one.flag, one.tag())).collect();
        assert_eq!(read, [(&b"x"[..], 40, 3, Some("t")), (&b"y"[..], 41, 3, Some("t"))]);
    }
}
