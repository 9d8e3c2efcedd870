//! Writes a frame's prefix and header into the caller's buffer, in place and without allocation.
//!
//! ```text
//! HeaderWriter::response(buffer, codec, code, opaque).field("queueId", 3).remark("FOUND").finish(body_len) -> bytes written
//! ```
//!
//! Fields first, then the remark, gives JSON in Java's own order; any other order is as good. When the buffer is too
//! small nothing is written past its end, and `finish` says how much there would have been. Implements rules W-6 and W-7.

use std::fmt;

use super::out::{Escaping, Out, Plain, Put, WORD_BYTES};
use super::{CustomHeader, FLAG_ONEWAY, FLAG_RESPONSE, FieldSink, Text};
use crate::error::NoRoom;
use crate::frame::{Codec, HEADER_BYTES_MAX, PREFIX_BYTES};
use crate::version::{self, Language};

pub struct HeaderWriter<'b> {
    out: Out<'b>,
    codec: Codec,
    head: Head,
    stage: Stage,
    /// Binary: where the length of the extFields stands. JSON: where they begin, their name included.
    ext_at: usize,
    /// JSON: where they end, once they are closed before a remark.
    ext_end: usize,
    /// No field of the open extFields is written yet.
    first: bool,
}

/// Fields that never change, encoded once in both forms.
#[derive(Clone, Debug, Default)]
pub struct EncodedFields {
    json: Vec<u8>,
    binary: Vec<u8>,
}

/// The fixed part of a header, for who wants to say all of it.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub code: i32,
    pub flag: i32,
    pub language: Language,
    pub version: i32,
    pub opaque: i32,
}

/// How far the JSON text is, or the binary one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The code (JSON) or the fixed part (binary) is written.
    Started,
    /// Inside the extFields.
    Fields,
    /// The remark is written, and in JSON all that stands before it.
    Remarked,
    /// As `Fields`, but after the remark.
    RemarkedFields,
    /// JSON only: as `Remarked`, with extFields before it.
    FieldsRemarked,
}

impl<'b> HeaderWriter<'b> {
    #[inline]
    pub fn response(buffer: &'b mut [u8], codec: Codec, code: i32, opaque: i32) -> HeaderWriter<'b> {
        HeaderWriter::new(buffer, codec, Head { code, opaque, flag: FLAG_RESPONSE, ..Head::default() })
    }

    #[inline]
    pub fn request(
        buffer: &'b mut [u8],
        codec: Codec,
        code: i32,
        opaque: i32,
        oneway: bool,
    ) -> HeaderWriter<'b> {
        let flag = if oneway { FLAG_ONEWAY } else { 0 };
        HeaderWriter::new(buffer, codec, Head { code, opaque, flag, ..Head::default() })
    }

    #[inline]
    pub fn new(buffer: &'b mut [u8], codec: Codec, head: Head) -> HeaderWriter<'b> {
        let mut out = Out { buffer, at: PREFIX_BYTES };
        match codec {
            Codec::Json => {
                out.put(b"{\"code\":");
                out.put_number(i64::from(head.code));
            }
            Codec::Binary => {
                out.put(&(head.code as i16).to_be_bytes());
                out.put(&[head.language.to_code()]);
                out.put(&(head.version as i16).to_be_bytes());
                out.put(&head.opaque.to_be_bytes());
                out.put(&head.flag.to_be_bytes());
            }
        }
        HeaderWriter { out, codec, head, stage: Stage::Started, ext_at: 0, ext_end: 0, first: true }
    }

    /// Adds one field. The value is a number, a boolean, a `&str` or a `Text`.
    #[inline]
    pub fn field(mut self, name: &str, value: impl FieldValue) -> Self {
        self.put_any_field(name, &value);
        self
    }

    /// Adds fields that were encoded before.
    #[inline]
    pub fn encoded(mut self, fields: &EncodedFields) -> Self {
        self.open_fields();
        match self.codec {
            Codec::Json if self.first => self.out.put_slice(fields.json.get(1..).unwrap_or_default()),
            Codec::Json => self.out.put_slice(&fields.json),
            Codec::Binary => self.out.put_slice(&fields.binary),
        }
        self.first &= fields.json.is_empty();
        self
    }

    /// Adds the fields of a custom header. As Java does, one without any field still shows as `"extFields":{}`.
    #[inline]
    pub fn with<'h>(mut self, header: &impl CustomHeader<'h>) -> Self {
        self.open_fields();
        header.write(&mut self);
        self
    }

    /// Lets a closure add fields, for who has no chain to hang them on.
    #[inline]
    pub fn fields(mut self, add: impl FnOnce(&mut Self)) -> Self {
        add(&mut self);
        self
    }

    /// Says the remark: a text, or `format_args!(..)`. At most once.
    #[inline]
    pub fn remark(mut self, remark: impl fmt::Display) -> Self {
        self.put_remark(&remark);
        self
    }

    /// Completes the header and the prefix for a body of `body_len` bytes, which the caller writes behind the header.
    /// Returns the number of bytes written: prefix and header.
    #[inline]
    pub fn finish(mut self, body_len: usize) -> Result<usize, NoRoom> {
        self.end(body_len)
    }

    fn end(&mut self, body_len: usize) -> Result<usize, NoRoom> {
        match self.codec {
            Codec::Json => self.json_end(),
            Codec::Binary => self.binary_end(),
        }
        let header_len = self.out.at - PREFIX_BYTES;
        let total = self.out.at - WORD_BYTES + body_len;
        if self.out.at > self.out.buffer.len() || header_len > HEADER_BYTES_MAX {
            return Err(NoRoom { bytes_len: self.out.at });
        }
        assert!(total <= u32::MAX as usize); // Who reads it sets the limit.
        let word = u32::from(self.codec.to_byte()) << 24 | header_len as u32;
        self.out.put_at(0, &(total as u32).to_be_bytes());
        self.out.put_at(WORD_BYTES, &word.to_be_bytes());
        Ok(self.out.at)
    }

    /// One field whose name may be anything.
    fn put_any_field(&mut self, name: &str, value: &impl FieldValue) {
        self.open_fields();
        match self.codec {
            Codec::Json => {
                self.out.put_slice(if self.first { b"\"" } else { b",\"" });
                self.out.put_escaped(name.as_bytes());
                self.out.put(b"\":\"");
                value.put_json(&mut self.out);
                self.out.put(b"\"");
            }
            Codec::Binary => {
                self.out.put(&(name.len() as u16).to_be_bytes());
                self.out.put_slice(name.as_bytes());
                let len_at = self.out.at;
                self.out.put(&[0; WORD_BYTES]);
                value.put_binary(&mut self.out);
                self.out.put_len_since(len_at);
            }
        }
        self.first = false;
    }

    /// One field of a custom header, whose name needs no escapes; `put_value` writes what stands between the quotes or
    /// behind the length. The buffer is held by value meanwhile, so that its place and length stay in registers.
    #[inline]
    fn put_field(&mut self, name: &'static str, put_value: impl FnOnce(&mut Out<'_>, Codec)) {
        self.open_fields();
        let mut out = self.out.take();
        match self.codec {
            Codec::Json => {
                if self.first {
                    out.put_between(b"\"", name.as_bytes(), b"\":\"");
                } else {
                    out.put_between(b",\"", name.as_bytes(), b"\":\"");
                }
                put_value(&mut out, Codec::Json);
                out.put(b"\"");
            }
            Codec::Binary => {
                out.put_between(&(name.len() as u16).to_be_bytes(), name.as_bytes(), &[0; WORD_BYTES]);
                let len_at = out.at - WORD_BYTES;
                put_value(&mut out, Codec::Binary);
                out.put_len_since(len_at);
            }
        }
        self.out = out;
        self.first = false;
    }

    #[inline]
    fn open_fields(&mut self) {
        let before_remark = match self.stage {
            Stage::Started => true,
            Stage::Remarked => false,
            Stage::Fields | Stage::RemarkedFields => return,
            Stage::FieldsRemarked => return self.reopen_fields(),
        };
        match self.codec {
            Codec::Json => {
                self.ext_at = self.out.at;
                self.out.put(b",\"extFields\":{");
            }
            Codec::Binary => {
                if before_remark {
                    self.out.put(&[0; WORD_BYTES]); // No remark; should one come, it is put in here.
                }
                self.ext_at = self.out.at;
                self.out.put(&[0; WORD_BYTES]);
            }
        }
        self.stage = if before_remark { Stage::Fields } else { Stage::RemarkedFields };
    }

    /// Fields, a remark, and fields again: the remark moves to the front, and the extFields lose their last brace.
    #[cold]
    fn reopen_fields(&mut self) {
        if let Some(both) = self.out.buffer.get_mut(self.ext_at..self.out.at) {
            both.rotate_left(self.ext_end - self.ext_at);
        }
        self.out.at -= 1;
        self.stage = Stage::RemarkedFields;
    }

    fn close_fields(&mut self) {
        if matches!(self.stage, Stage::Fields | Stage::RemarkedFields) {
            match self.codec {
                Codec::Json => self.out.put(b"}"),
                Codec::Binary => {
                    self.out.put_len_since(self.ext_at);
                }
            }
        }
    }

    fn put_remark(&mut self, remark: &dyn fmt::Display) {
        assert!(matches!(self.stage, Stage::Started | Stage::Fields));
        match self.codec {
            Codec::Json => self.json_remark(remark),
            Codec::Binary => self.binary_remark(remark),
        }
    }

    fn json_remark(&mut self, remark: &dyn fmt::Display) {
        let stage = if self.stage == Stage::Fields { Stage::FieldsRemarked } else { Stage::Remarked };
        self.json_until_opaque();
        self.out.put(b",\"remark\":\"");
        // Writing to `Out` cannot fail; an error would be the caller's own `Display` giving up, which leaves it cut.
        let _ = fmt::Write::write_fmt(&mut Escaping(&mut self.out), format_args!("{remark}"));
        self.out.put(b"\"");
        self.stage = stage;
    }

    fn json_until_opaque(&mut self) {
        self.close_fields();
        self.ext_end = self.out.at;
        self.out.put(b",\"flag\":");
        self.out.put_number(i64::from(self.head.flag));
        self.out.put(b",\"language\":\"");
        self.out.put_slice(self.head.language.name().as_bytes());
        self.out.put(b"\",\"opaque\":");
        self.out.put_number(i64::from(self.head.opaque));
    }

    fn json_end(&mut self) {
        match self.stage {
            Stage::Started | Stage::Fields => self.json_until_opaque(),
            Stage::Remarked | Stage::FieldsRemarked => {}
            Stage::RemarkedFields => self.close_fields(),
        }
        self.out.put(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
        self.out.put_number(i64::from(self.head.version));
        self.out.put(b"}");
    }

    fn binary_remark(&mut self, remark: &dyn fmt::Display) {
        let after_fields = self.stage == Stage::Fields;
        let len_at = if after_fields { self.ext_at - WORD_BYTES } else { self.out.at };
        if !after_fields {
            self.out.put(&[0; WORD_BYTES]);
        }
        let start = self.out.at;
        let _ = fmt::Write::write_fmt(&mut Plain(&mut self.out), format_args!("{remark}"));
        let len = self.out.at - start;
        self.out.put_at(len_at, &(len as u32).to_be_bytes());
        self.stage = Stage::Remarked;
        if after_fields {
            // Its place is before the fields: turn the two round.
            if let Some(both) = self.out.buffer.get_mut(self.ext_at..self.out.at) {
                both.rotate_right(len);
            }
            self.ext_at += len;
            self.stage = Stage::RemarkedFields;
        }
    }

    fn binary_end(&mut self) {
        match self.stage {
            Stage::Started => self.out.put(&[0; 2 * WORD_BYTES]),
            Stage::Remarked => self.out.put(&[0; WORD_BYTES]),
            Stage::Fields | Stage::RemarkedFields => self.close_fields(),
            Stage::FieldsRemarked => {}
        }
    }
}

impl EncodedFields {
    /// Encodes what `add` adds, the same every time.
    pub fn new(add: impl Fn(&mut HeaderWriter<'_>)) -> EncodedFields {
        let write = |buffer: &mut [u8], codec| {
            let mut writer = HeaderWriter::new(buffer, codec, Head::default());
            writer.open_fields();
            let start = writer.out.at;
            add(&mut writer);
            start..writer.out.at
        };
        let encode = |codec| {
            let mut buffer = vec![0; write(&mut [], codec).end];
            let fields = write(&mut buffer, codec);
            buffer.split_off(fields.start)
        };
        let mut json = encode(Codec::Json);
        if !json.is_empty() {
            json.insert(0, b',');
        }
        EncodedFields { json, binary: encode(Codec::Binary) }
    }

    pub(super) fn json(&self) -> &[u8] {
        &self.json
    }

    pub(super) fn binary(&self) -> &[u8] {
        &self.binary
    }
}

impl Default for Head {
    fn default() -> Head {
        Head { code: 0, flag: 0, language: Language::default(), version: version::OURS, opaque: 0 }
    }
}

impl FieldSink for HeaderWriter<'_> {
    fn text(&mut self, name: &'static str, value: Text<'_>) {
        self.put_field(name, |out, codec| match codec {
            Codec::Json => value.put_json(out),
            Codec::Binary => value.put_binary(out),
        });
    }

    fn number(&mut self, name: &'static str, value: i64) {
        self.put_field(name, |out, _| out.put_number(value));
    }

    fn boolean(&mut self, name: &'static str, value: bool) {
        self.put_field(name, |out, _| if value { out.put(b"true") } else { out.put(b"false") });
    }
}

/// What a field's value may be: a number, a boolean, a `&str` or a `Text`.
pub trait FieldValue: Put {}

impl<T: Put> FieldValue for T {}

#[cfg(test)]
mod tests {
    use super::*;
    /// Goal: fields encoded before are the same as those written now. Method: first, in the middle, last and alone, both
    /// codecs, with what JSON escapes.
    #[test]
    fn encoded_fields_are_those_written_now() {
        let add = |w: &mut HeaderWriter<'_>| {
            w.text("MSG_REGION", Text::from("a \"region\"\n"));
            w.boolean("TRACE_ON", true);
        };
        let encoded = EncodedFields::new(add);
        let nothing = EncodedFields::new(|_| {});
        for codec in [Codec::Json, Codec::Binary] {
            for (before, after) in [(false, false), (true, false), (false, true), (true, true)] {
                let write = |middle: &dyn Fn(HeaderWriter<'_>) -> usize| {
                    let mut buffer = [0; 512];
                    let mut w = HeaderWriter::response(&mut buffer, codec, 0, 7);
                    if before {
                        w = w.field("queueId", 3);
                    }
                    let len = middle(w);
                    buffer[..len].to_vec()
                };
                let end = |w: HeaderWriter<'_>| {
                    let w = if after { w.field("queueOffset", 12_345) } else { w };
                    w.finish(0).unwrap()
                };
                let now = write(&|w| end(w.fields(add)));
                assert_eq!(write(&|w| end(w.encoded(&encoded))), now);
                assert_eq!(write(&|w| end(w.encoded(&nothing).encoded(&encoded).encoded(&nothing))), now);
            }
        }
    }
}
