//! A command that owns its parts, for programs that need not count nanoseconds.
//!
//! Reads from a `Frame`, writes whole frames, and speaks custom headers through the same `Fields` and `FieldSink` as the
//! borrowed form.

use bytes::Bytes;

use crate::error::{FieldError, WireError};
use crate::frame::{Codec, Frame, PREFIX_BYTES};
use crate::header::writer::{Head, HeaderWriter};
use crate::header::{CustomHeader, FLAG_ONEWAY, FLAG_RESPONSE, FieldSink, Fields, Header, Text};
use crate::version::{self, Language};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemotingCommand {
    pub code: i32,
    pub language: Language,
    pub version: i32,
    pub opaque: i32,
    pub flag: i32,
    pub remark: Option<String>,
    pub ext_fields: Vec<(String, String)>,
    pub body: Bytes,
}

impl RemotingCommand {
    /// A request. Its opaque is set by who sends it.
    pub fn request(code: i32) -> RemotingCommand {
        RemotingCommand {
            code,
            language: Language::default(),
            version: version::OURS,
            opaque: 0,
            flag: 0,
            remark: None,
            ext_fields: Vec::new(),
            body: Bytes::new(),
        }
    }

    pub fn response(code: i32, opaque: i32) -> RemotingCommand {
        RemotingCommand { opaque, flag: FLAG_RESPONSE, ..RemotingCommand::request(code) }
    }

    pub fn oneway(mut self) -> RemotingCommand {
        self.flag |= FLAG_ONEWAY;
        self
    }

    pub fn remark(mut self, remark: impl Into<String>) -> RemotingCommand {
        self.remark = Some(remark.into());
        self
    }

    /// Adds the fields of a custom header.
    pub fn with<'h>(mut self, header: &impl CustomHeader<'h>) -> RemotingCommand {
        header.write(&mut self);
        self
    }

    pub fn field(mut self, name: impl Into<String>, value: impl ToString) -> RemotingCommand {
        self.ext_fields.push((name.into(), value.to_string()));
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> RemotingCommand {
        self.body = body.into();
        self
    }

    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }

    pub fn from_frame(frame: &Frame<'_>) -> Result<RemotingCommand, WireError> {
        Ok(RemotingCommand::from_parts(&frame.header()?, frame.body))
    }

    pub fn from_parts(header: &Header<'_>, body: &[u8]) -> RemotingCommand {
        let owned =
            |(name, value): (Text<'_>, Text<'_>)| (name.to_cow().into_owned(), value.to_cow().into_owned());
        RemotingCommand {
            code: header.code,
            language: header.language,
            version: header.version,
            opaque: header.opaque,
            flag: header.flag,
            remark: header.remark.map(|remark| remark.to_cow().into_owned()),
            ext_fields: header.fields.iter().map(owned).collect(),
            body: Bytes::copy_from_slice(body),
        }
    }

    /// The whole frame.
    pub fn encode(&self, codec: Codec) -> Vec<u8> {
        let text_len: usize =
            self.ext_fields.iter().map(|(name, value)| name.len() + value.len() + PER_FIELD_BYTES).sum();
        let mut header_room = FIXED_BYTES + text_len + self.remark.as_ref().map_or(0, String::len);
        loop {
            let mut out = vec![0; PREFIX_BYTES + header_room + self.body.len()];
            // Escapes may take up to six times the room.
            if let Ok(len) = self.write_header(codec, &mut out) {
                out.truncate(len);
                out.extend_from_slice(&self.body);
                return out;
            }
            header_room *= 2;
        }
    }

    /// Reads the extFields as a custom header.
    pub fn header<'a, H: CustomHeader<'a>>(&'a self) -> Result<H, FieldError> {
        H::read(&self.fields())
    }

    pub fn fields(&self) -> Fields<'_> {
        Fields::from_pairs(&self.ext_fields)
    }

    /// One field's value.
    pub fn ext(&self, name: &str) -> Option<&str> {
        self.ext_fields.iter().rfind(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    fn write_header(&self, codec: Codec, out: &mut [u8]) -> Result<usize, crate::error::NoRoom> {
        let head = Head {
            code: self.code,
            flag: self.flag,
            language: self.language,
            version: self.version,
            opaque: self.opaque,
        };
        let mut writer = HeaderWriter::new(out, codec, head);
        for (name, value) in &self.ext_fields {
            writer = writer.field(name, value);
        }
        if let Some(remark) = &self.remark {
            writer = writer.remark(remark);
        }
        writer.finish(self.body.len())
    }
}

impl FieldSink for RemotingCommand {
    fn text(&mut self, name: &'static str, value: Text<'_>) {
        self.ext_fields.push((name.to_owned(), value.to_cow().into_owned()));
    }

    fn number(&mut self, name: &'static str, value: i64) {
        self.ext_fields.push((name.to_owned(), value.to_string()));
    }

    fn boolean(&mut self, name: &'static str, value: bool) {
        self.ext_fields.push((name.to_owned(), value.to_string()));
    }
}

/// More than the fixed part of either form.
const FIXED_BYTES: usize = 192;
/// More than what either form puts around a name and its value.
const PER_FIELD_BYTES: usize = 8;
