//! Writes a frame's prefix and header into the caller's buffer, in place and without allocation.
//!
//! ```text
//! HeaderWriter::response(buffer, codec, code, opaque).field("queueId", 3).remark("FOUND").finish(body_len) -> bytes written
//! ```
//!
//! Fields first, then the remark, gives JSON in Java's own order; the other way round is as good. When the buffer is too
//! small nothing is written past its end, and `finish` says so. Implements rules W-6 and W-7.

use std::fmt;

use super::{FLAG_ONEWAY, FLAG_RESPONSE, Text};
use crate::decimal::Decimal;
use crate::error::NoRoom;
use crate::escape;
use crate::frame::{Codec, FRAME_BYTES_MAX, HEADER_BYTES_MAX, PREFIX_BYTES};
use crate::headers::{CustomHeader, FieldSink};
use crate::scan;
use crate::version::{self, Language};

pub struct HeaderWriter<'b> {
    out: Out<'b>,
    codec: Codec,
    head: Head,
    stage: Stage,
    /// Binary: where the length of the extFields stands. JSON: unused.
    ext_len_at: usize,
    /// No field of the open extFields is written yet.
    first: bool,
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
}

impl<'b> HeaderWriter<'b> {
    pub fn response(buffer: &'b mut [u8], codec: Codec, code: i32, opaque: i32) -> HeaderWriter<'b> {
        HeaderWriter::new(buffer, codec, Head { code, opaque, flag: FLAG_RESPONSE, ..Head::default() })
    }

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
        HeaderWriter { out, codec, head, stage: Stage::Started, ext_len_at: 0, first: true }
    }

    /// Adds one field. The value is a number, a boolean, a `&str` or a `Text`.
    pub fn field(mut self, name: &str, value: impl FieldValue) -> Self {
        value.put(name, &mut self);
        self
    }

    /// Adds the fields of a custom header. As Java does, one without any field still shows as `"extFields":{}`.
    pub fn with<'h>(mut self, header: &impl CustomHeader<'h>) -> Self {
        self.open_fields();
        header.write(&mut self);
        self
    }

    /// Lets a closure add fields, for who has no chain to hang them on.
    pub fn fields(mut self, add: impl FnOnce(&mut Self)) -> Self {
        add(&mut self);
        self
    }

    /// Says the remark: a text, or `format_args!(..)`. At most once.
    pub fn remark(mut self, remark: impl fmt::Display) -> Self {
        assert!(matches!(self.stage, Stage::Started | Stage::Fields));
        match self.codec {
            Codec::Json => self.json_remark(&remark),
            Codec::Binary => self.binary_remark(&remark),
        }
        self
    }

    /// Completes the header and the prefix for a body of `body_len` bytes, which the caller writes behind the header.
    /// Returns the number of bytes written: prefix and header.
    pub fn finish(mut self, body_len: usize) -> Result<usize, NoRoom> {
        match self.codec {
            Codec::Json => self.json_end(),
            Codec::Binary => self.binary_end(),
        }
        let header_len = self.out.at - PREFIX_BYTES;
        let total = self.out.at - WORD_BYTES + body_len;
        if self.out.at > self.out.buffer.len() || header_len > HEADER_BYTES_MAX {
            return Err(NoRoom);
        }
        assert!(total <= FRAME_BYTES_MAX - WORD_BYTES);
        let word = u32::from(self.codec.to_byte()) << 24 | header_len as u32;
        self.out.put_at(0, &(total as u32).to_be_bytes());
        self.out.put_at(WORD_BYTES, &word.to_be_bytes());
        Ok(self.out.at)
    }

    #[inline]
    fn open_field(&mut self, name: &str) {
        self.open_fields();
        match self.codec {
            Codec::Json => {
                if self.first {
                    self.out.put(b"\"");
                } else {
                    self.out.put(b",\"");
                }
                self.out.put_escaped(name.as_bytes());
                self.out.put(b"\":\"");
            }
            Codec::Binary => {
                self.out.put(&(name.len() as u16).to_be_bytes());
                self.out.put_slice(name.as_bytes());
            }
        }
        self.first = false;
    }

    #[inline]
    fn open_fields(&mut self) {
        let before_remark = match self.stage {
            Stage::Started => true,
            Stage::Remarked => false,
            Stage::Fields | Stage::RemarkedFields => return,
        };
        match self.codec {
            Codec::Json => self.out.put(b",\"extFields\":{"),
            Codec::Binary => {
                if before_remark {
                    self.out.put(&[0; WORD_BYTES]); // No remark; should one come, it is put in here.
                }
                self.ext_len_at = self.out.at;
                self.out.put(&[0; WORD_BYTES]);
            }
        }
        self.stage = if before_remark { Stage::Fields } else { Stage::RemarkedFields };
    }

    /// A value that needs no escaping.
    #[inline]
    fn put_plain_field(&mut self, name: &str, value: &[u8]) {
        self.open_field(name);
        match self.codec {
            Codec::Json => {
                self.out.put_slice(value);
                self.out.put(b"\"");
            }
            Codec::Binary => {
                self.out.put(&(value.len() as u32).to_be_bytes());
                self.out.put_slice(value);
            }
        }
    }

    fn close_fields(&mut self) {
        if matches!(self.stage, Stage::Fields | Stage::RemarkedFields) {
            match self.codec {
                Codec::Json => self.out.put(b"}"),
                Codec::Binary => {
                    let len = self.out.at - self.ext_len_at - WORD_BYTES;
                    self.out.put_at(self.ext_len_at, &(len as u32).to_be_bytes());
                }
            }
        }
    }

    fn json_remark(&mut self, remark: &dyn fmt::Display) {
        self.json_until_opaque();
        self.out.put(b",\"remark\":\"");
        // Writing to `Out` cannot fail; an error would be the caller's own `Display` giving up, which leaves it cut.
        let _ = fmt::Write::write_fmt(&mut Escaping(&mut self.out), format_args!("{remark}"));
        self.out.put(b"\"");
        self.stage = Stage::Remarked;
    }

    fn json_until_opaque(&mut self) {
        self.close_fields();
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
            Stage::Remarked => {}
            Stage::RemarkedFields => self.close_fields(),
        }
        self.out.put(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
        self.out.put_number(i64::from(self.head.version));
        self.out.put(b"}");
    }

    fn binary_remark(&mut self, remark: &dyn fmt::Display) {
        let after_fields = self.stage == Stage::Fields;
        let len_at = if after_fields { self.ext_len_at - WORD_BYTES } else { self.out.at };
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
            if let Some(both) = self.out.buffer.get_mut(self.ext_len_at..self.out.at) {
                both.rotate_right(len);
            }
            self.ext_len_at += len;
            self.stage = Stage::RemarkedFields;
        }
    }

    fn binary_end(&mut self) {
        match self.stage {
            Stage::Started => self.out.put(&[0; 2 * WORD_BYTES]),
            Stage::Remarked => self.out.put(&[0; WORD_BYTES]),
            Stage::Fields | Stage::RemarkedFields => self.close_fields(),
        }
    }
}

impl Default for Head {
    fn default() -> Head {
        Head { code: 0, flag: 0, language: Language::default(), version: version::OURS, opaque: 0 }
    }
}

impl FieldSink for HeaderWriter<'_> {
    #[inline]
    fn text(&mut self, name: &str, value: Text<'_>) {
        self.open_field(name);
        match self.codec {
            Codec::Json => {
                value.for_each_run(|run| self.out.put_escaped(run));
                self.out.put(b"\"");
            }
            Codec::Binary => {
                let len_at = self.out.at;
                self.out.put(&0u32.to_be_bytes());
                value.for_each_run(|run| self.out.put_slice(run));
                let len = self.out.at - len_at - WORD_BYTES;
                self.out.put_at(len_at, &(len as u32).to_be_bytes());
            }
        }
    }

    #[inline]
    fn number(&mut self, name: &str, value: i64) {
        match value {
            0..=9 => self.put_plain_field(name, &[b'0' + value as u8]),
            _ => self.put_plain_field(name, Decimal::new(value).as_bytes()),
        }
    }

    #[inline]
    fn boolean(&mut self, name: &str, value: bool) {
        self.put_plain_field(name, if value { b"true" } else { b"false" });
    }
}

/// What a field's value may be.
pub trait FieldValue {
    fn put(&self, name: &str, sink: &mut impl FieldSink);
}

impl FieldValue for &str {
    fn put(&self, name: &str, sink: &mut impl FieldSink) {
        sink.text(name, Text::from(*self));
    }
}

impl FieldValue for &String {
    fn put(&self, name: &str, sink: &mut impl FieldSink) {
        sink.text(name, Text::from(*self));
    }
}

impl FieldValue for Text<'_> {
    fn put(&self, name: &str, sink: &mut impl FieldSink) {
        sink.text(name, *self);
    }
}

impl FieldValue for i32 {
    fn put(&self, name: &str, sink: &mut impl FieldSink) {
        sink.number(name, i64::from(*self));
    }
}

impl FieldValue for i64 {
    fn put(&self, name: &str, sink: &mut impl FieldSink) {
        sink.number(name, *self);
    }
}

impl FieldValue for bool {
    fn put(&self, name: &str, sink: &mut impl FieldSink) {
        sink.boolean(name, *self);
    }
}

/// The buffer and how much of it is used. `at` runs on past its end, so that too much is noticed once, at the end.
struct Out<'b> {
    buffer: &'b mut [u8],
    at: usize,
}

impl Out<'_> {
    /// Bytes whose number is known here: one or two moves.
    #[inline]
    fn put<const LEN: usize>(&mut self, bytes: &[u8; LEN]) {
        if let Some(target) = self.buffer.get_mut(self.at..).and_then(|free| free.first_chunk_mut()) {
            *target = *bytes;
        }
        self.at += LEN;
    }

    #[inline]
    fn put_slice(&mut self, bytes: &[u8]) {
        if let Some(target) = self.buffer.get_mut(self.at..).and_then(|free| free.get_mut(..bytes.len())) {
            copy_short(target, bytes);
        }
        self.at += bytes.len();
    }

    #[inline]
    fn put_at(&mut self, at: usize, bytes: &[u8; WORD_BYTES]) {
        if let Some(target) = self.buffer.get_mut(at..).and_then(|free| free.first_chunk_mut()) {
            *target = *bytes;
        }
    }

    #[inline]
    fn put_number(&mut self, value: i64) {
        match value {
            0..=9 => self.put(&[b'0' + value as u8]),
            _ => self.put_slice(Decimal::new(value).as_bytes()),
        }
    }

    /// Copies word by word up to the first byte that needs an escape.
    #[inline]
    fn put_escaped(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        loop {
            let Some(at) = scan::find_unsafe(rest) else { return self.put_slice(rest) };
            let (clean, tail) = rest.split_at(at);
            self.put_slice(clean);
            let Some((byte, tail)) = tail.split_first() else { return };
            match escape::of(*byte).first_chunk::<6>() {
                Some(unicode) => self.put(unicode),
                None => self.put_slice(escape::of(*byte)),
            }
            rest = tail;
        }
    }
}

/// `copy_from_slice` without a call, for the lengths that names and values have: two moves that may overlap.
#[inline]
fn copy_short(target: &mut [u8], bytes: &[u8]) {
    assert!(target.len() == bytes.len());
    match bytes.len() {
        0 => {}
        1..4 => {
            for (target, byte) in target.iter_mut().zip(bytes) {
                *target = *byte;
            }
        }
        4..8 => copy_ends::<4>(target, bytes),
        8..16 => copy_ends::<8>(target, bytes),
        16..32 => copy_ends::<16>(target, bytes),
        32..64 => copy_ends::<32>(target, bytes),
        _ => target.copy_from_slice(bytes),
    }
}

#[inline]
fn copy_ends<const LEN: usize>(target: &mut [u8], bytes: &[u8]) {
    if let (Some(target), Some(bytes)) = (target.first_chunk_mut::<LEN>(), bytes.first_chunk()) {
        *target = *bytes;
    }
    if let (Some(target), Some(bytes)) = (target.last_chunk_mut::<LEN>(), bytes.last_chunk()) {
        *target = *bytes;
    }
}

struct Escaping<'o, 'b>(&'o mut Out<'b>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.put_escaped(text.as_bytes());
        Ok(())
    }
}

struct Plain<'o, 'b>(&'o mut Out<'b>);

impl fmt::Write for Plain<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.put_slice(text.as_bytes());
        Ok(())
    }
}

const WORD_BYTES: usize = 4;
