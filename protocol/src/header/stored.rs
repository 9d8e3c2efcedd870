//! The answer to a stored message, put together from parts that are the same in every one.
//!
//! ```text
//! binary  | prefix, fixed part, "msgId" .. | id | "queueId" .. | n | "queueOffset" .. | n | "transactionId" .. | key | what never changes |
//! JSON    {"code":n,"extFields":{"msgId":"id","queueId":"n","queueOffset":"n","transactionId":"key",what never changes},"flag":1,..}
//! ```
//!
//! It is the answer that a broker writes most. [`super::HeaderWriter`] writes the same bytes, field by field; here nothing
//! has to be asked that is the same in every one. Implements rules W-6 and W-7.

use super::out::{Out, copy_short};
use super::{EncodedFields, FLAG_RESPONSE};
use crate::decimal;
use crate::error::NoRoom;
use crate::frame::{Codec, HEADER_BYTES_MAX, PREFIX_BYTES};
use crate::version::{self, Language};

/// What such an answer says.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    pub code: i32,
    pub opaque: i32,
    pub msg_id: &'a [u8],
    pub queue_id: i32,
    pub queue_offset: i64,
    pub transaction_id: Option<&'a [u8]>,
}

impl Stored<'_> {
    /// Writes prefix and header, for a frame without a body, and returns their length.
    #[inline]
    pub fn write(&self, out: &mut [u8], codec: Codec, more: &EncodedFields) -> Result<usize, NoRoom> {
        match codec {
            Codec::Json => self.write_json(out, more),
            Codec::Binary => self.write_binary(out, more),
        }
    }

    /// The message id is plain text; the transaction id is whatever its sender says.
    fn write_json(&self, buffer: &mut [u8], more: &EncodedFields) -> Result<usize, NoRoom> {
        let mut out = Out { buffer, at: PREFIX_BYTES };
        out.put(b"{\"code\":");
        out.put_number(i64::from(self.code));
        out.put(b",\"extFields\":{\"msgId\":\"");
        out.put_slice(self.msg_id);
        out.put(b"\",\"queueId\":\"");
        out.put_number(i64::from(self.queue_id));
        out.put(b"\",\"queueOffset\":\"");
        out.put_number(self.queue_offset);
        out.put(b"\"");
        if let Some(id) = self.transaction_id {
            out.put(b",\"transactionId\":\"");
            out.put_escaped(id);
            out.put(b"\"");
        }
        out.put_slice(more.json());
        out.put(b"},\"flag\":1,\"language\":\"OTHER\",\"opaque\":");
        out.put_number(i64::from(self.opaque));
        out.put(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
        out.put_number(i64::from(version::OURS));
        out.put(b"}");
        let header_len = out.at - PREFIX_BYTES;
        if out.at > out.buffer.len() || header_len > HEADER_BYTES_MAX {
            return Err(NoRoom { bytes_len: out.at });
        }
        let word = u32::from(Codec::Json.to_byte()) << 24 | header_len as u32;
        out.put_at(0, &((out.at - TOTAL_BYTES) as u32).to_be_bytes());
        out.put_at(TOTAL_BYTES, &word.to_be_bytes());
        Ok(out.at)
    }

    fn write_binary(&self, out: &mut [u8], more: &EncodedFields) -> Result<usize, NoRoom> {
        let queue_id = i64::from(self.queue_id);
        let queue_id_len = decimal::text_len(queue_id);
        let queue_offset_len = decimal::text_len(self.queue_offset);
        let transaction_len = self.transaction_id.map_or(0, |id| TRANSACTION_ID.len() + id.len());
        let len = HEAD_BYTES
            + self.msg_id.len()
            + QUEUE_ID.len()
            + queue_id_len
            + QUEUE_OFFSET.len()
            + queue_offset_len
            + transaction_len
            + more.binary().len();
        let out = out.get_mut(..len).filter(|_| len <= HEADER_BYTES_MAX);
        out.and_then(|out| self.put_binary(out, more, queue_id_len, queue_offset_len))
            .ok_or(NoRoom { bytes_len: len })
    }

    /// Into as many bytes as it takes.
    #[inline(always)]
    fn put_binary(
        &self,
        out: &mut [u8],
        more: &EncodedFields,
        queue_id_len: usize,
        queue_offset_len: usize,
    ) -> Option<usize> {
        let len = out.len();
        let (head, out) = out.split_first_chunk_mut::<HEAD_BYTES>()?;
        *head = self.head(len);
        let (msg_id, out) = out.split_at_mut_checked(self.msg_id.len())?;
        copy_short(msg_id, self.msg_id);
        let out = put_number(out, QUEUE_ID, i64::from(self.queue_id), queue_id_len)?;
        let mut out = put_number(out, QUEUE_OFFSET, self.queue_offset, queue_offset_len)?;
        if let Some(id) = self.transaction_id {
            let (name, rest) = out.split_first_chunk_mut()?;
            *name = with_len(TRANSACTION_ID, id.len());
            let (value, rest) = rest.split_at_mut_checked(id.len())?;
            copy_short(value, id);
            out = rest;
        }
        copy_short(out, more.binary());
        Some(len)
    }

    /// What lies before the message id.
    #[inline]
    fn head(&self, len: usize) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        let mut rest = &mut head[..];
        let word = u32::from(Codec::Binary.to_byte()) << 24 | (len - PREFIX_BYTES) as u32;
        put(&mut rest, ((len - TOTAL_BYTES) as u32).to_be_bytes());
        put(&mut rest, word.to_be_bytes());
        put(&mut rest, (self.code as i16).to_be_bytes());
        put(&mut rest, [Language::default().to_code()]);
        put(&mut rest, (version::OURS as i16).to_be_bytes());
        put(&mut rest, self.opaque.to_be_bytes());
        put(&mut rest, FLAG_RESPONSE.to_be_bytes());
        put(&mut rest, [0; LEN_BYTES]); // No remark.
        put(&mut rest, ((len - FIELDS_AT) as u32).to_be_bytes());
        put(&mut rest, with_len(MSG_ID, self.msg_id.len()));
        head
    }
}

/// One part behind the other, of a length that the compiler knows.
#[inline(always)]
fn put<const LEN: usize>(rest: &mut &mut [u8], bytes: [u8; LEN]) {
    if let Some((target, tail)) = std::mem::take(rest).split_first_chunk_mut() {
        *target = bytes;
        *rest = tail;
    }
}

/// A name, the length of its value, and the value; returns what is behind them.
#[inline]
fn put_number<const LEN: usize>(
    out: &mut [u8],
    name: [u8; LEN],
    value: i64,
    value_len: usize,
) -> Option<&mut [u8]> {
    let (target, out) = out.split_first_chunk_mut()?;
    *target = with_len(name, value_len);
    let (digits, out) = out.split_at_mut_checked(value_len)?;
    decimal::write(value, digits);
    Some(out)
}

/// The name of a field, its length before it, with the length of its value behind it.
#[inline(always)]
fn with_len<const LEN: usize>(mut name: [u8; LEN], value_len: usize) -> [u8; LEN] {
    if let Some(last) = name.last_chunk_mut() {
        *last = (value_len as u32).to_be_bytes();
    }
    name
}

const MSG_ID: [u8; 11] = *b"\0\x05msgId\0\0\0\0";
const QUEUE_ID: [u8; 13] = *b"\0\x07queueId\0\0\0\0";
const QUEUE_OFFSET: [u8; 17] = *b"\0\x0bqueueOffset\0\0\0\0";
const TRANSACTION_ID: [u8; 19] = *b"\0\x0dtransactionId\0\0\0\0";
/// A frame's length counts what is behind it.
const TOTAL_BYTES: usize = 4;
const LEN_BYTES: usize = 4;
/// Where the first field begins: behind the prefix, the fixed part and two lengths.
const FIELDS_AT: usize = PREFIX_BYTES + 13 + 2 * LEN_BYTES;
const HEAD_BYTES: usize = FIELDS_AT + MSG_ID.len();

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::{HeaderWriter, Text};
    use crate::headers::{FieldSink, SendMessageResponseHeader};

    /// Goal: byte for byte what the writer of any header writes, and None where there is no room. Method: numbers and
    /// texts of many lengths, with and without a transaction id, into every room up to what is needed.
    #[test]
    fn is_what_the_header_writer_writes() {
        let region = EncodedFields::new(|w| {
            w.text("MSG_REGION", Text::from("DefaultRegion"));
            w.boolean("TRACE_ON", true);
        });
        let ids: Vec<u8> = (b'0'..=b'9').chain(b'A'..=b'F').cycle().take(1_100).collect();
        let keys: Vec<u8> =
            (b'#'..=b'~').chain([1, 2, b'"', b'\n', 0xE4, 0xB8, 0xAD]).cycle().take(600).collect();
        for (msg_id_len, transaction_len) in [(32, Some(32)), (56, None), (1_055, Some(0)), (1, Some(500))] {
            for (queue_id, queue_offset) in [(0, 0), (7, 10), (12_345, i64::MAX), (-1, -10)] {
                for (code, opaque) in [(0, 7), (10, -1), (12, i32::MAX)] {
                    let stored = Stored {
                        code,
                        opaque,
                        msg_id: &ids[..msg_id_len],
                        queue_id,
                        queue_offset,
                        transaction_id: transaction_len.map(|len| &keys[..len]),
                    };
                    let header = SendMessageResponseHeader {
                        msg_id: Text::new(stored.msg_id),
                        queue_id,
                        queue_offset,
                        transaction_id: stored.transaction_id.map(Text::new),
                        batch_uniq_id: None,
                        recall_handle: None,
                    };
                    for codec in [Codec::Json, Codec::Binary] {
                        let mut expected = [0xEE; 5_000];
                        let writer = HeaderWriter::response(&mut expected, codec, code, opaque);
                        let len = writer.with(&header).encoded(&region).finish(0).unwrap();
                        let mut found = [0xEE; 5_000];
                        assert_eq!(stored.write(&mut found, codec, &region), Ok(len));
                        assert_eq!(found[..len], expected[..len]);
                        let mut small = [0xEE; 5_000];
                        for room in 0..len {
                            assert_eq!(
                                stored.write(&mut small[..room], codec, &region),
                                Err(NoRoom { bytes_len: len })
                            );
                        }
                        assert_eq!(stored.write(&mut small[..len], codec, &region), Ok(len));
                        assert_eq!(small[..len], expected[..len]);
                    }
                }
            }
        }
    }
}
