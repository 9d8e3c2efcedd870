//! Where an answer goes, and the answer that is a no: what a desk may keep or return, and what the outbox writes.

use std::borrow::Cow;

use protocol::code::response;
use protocol::error::FieldError;
use protocol::fastjson;
use protocol::frame::Codec;

use crate::net::ConnId;

/// Where an answer goes. Small and `Copy`: holds, gates and errands keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    pub conn: ConnId,
    pub opaque: i32,
    pub codec: Codec,
    /// Nobody waits: every answer, an error too, is swallowed.
    pub oneway: bool,
}

/// The request is wrong, or not allowed, or not now: its official code and remark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: i32,
    pub remark: Cow<'static, str>,
    /// The code has a header class for its answers, so official brokers write `"extFields":{}`.
    pub empty_fields: bool,
}

impl Refusal {
    #[cold]
    pub fn new(code: i32, remark: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { code, remark: remark.into(), empty_fields: false }
    }

    /// The body is not what the code says it is.
    #[cold]
    pub fn of_body(error: fastjson::Error) -> Refusal {
        Refusal::new(response::SYSTEM_ERROR, error.to_string())
    }

    /// The body is longer than one of its kind may be.
    #[cold]
    pub fn body_too_long(len: usize, len_max: usize) -> Refusal {
        let remark = format!("the body of this request has {len} bytes, more than the {len_max} it may have");
        Refusal::new(response::SYSTEM_ERROR, remark)
    }

    /// The log has no room: the request is left where it is and offered again (back-pressure), never answered.
    #[cold]
    pub fn no_room() -> Refusal {
        Refusal::new(NO_ROOM, "")
    }

    pub fn is_no_room(&self) -> bool {
        self.code == NO_ROOM
    }

    /// As `new`, for codes whose answers have a header class.
    #[cold]
    pub fn with_empty_fields(code: i32, remark: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { empty_fields: true, ..Refusal::new(code, remark) }
    }
}

/// A field the handler needs is missing or no number.
impl From<FieldError> for Refusal {
    #[cold]
    fn from(error: FieldError) -> Refusal {
        Refusal::new(response::SYSTEM_ERROR, error.to_string())
    }
}

/// No code of the wire.
const NO_ROOM: i32 = i32::MIN;
