//! Where an answer goes, and the answer that is a no: what a desk may keep or return, and what the outbox writes.

use std::borrow::Cow;

use protocol::code::response;
use protocol::error::FieldError;
use protocol::fastjson;
use protocol::frame::Codec;

use crate::limits::{HEADER_BYTES_MAX, REMARK_BYTES_MAX};
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
        Refusal { code, remark: cut_remark(remark.into()), empty_fields: false }
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

    /// The header is longer than any may be.
    #[cold]
    pub fn header_too_long(len: usize) -> Refusal {
        let remark = format!(
            "the header of this request has {len} bytes, more than the {HEADER_BYTES_MAX} it may have; the connection is closed"
        );
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

/// Remarks repeat what a client has said. One that says a megabyte where a name belongs gets no megabyte back, but the beginning and
/// the end of the sentence.
#[cold]
pub fn cut_remark(remark: Cow<'static, str>) -> Cow<'static, str> {
    if remark.len() <= REMARK_BYTES_MAX {
        return remark;
    }
    let head = &remark[..remark.floor_char_boundary(REMARK_BYTES_MAX / 2)];
    let tail = &remark[remark.ceil_char_boundary(remark.len() - REMARK_BYTES_MAX / 4)..];
    format!("{head} ..({} bytes in all).. {tail}", remark.len()).into()
}

/// No code of the wire.
const NO_ROOM: i32 = i32::MIN;

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a remark is as it was up to the bound, and no longer than it beyond, with its beginning and its end. Method: around the bound,
    /// and where the cuts fall into characters of several bytes.
    #[test]
    fn long_remarks_are_cut() {
        let fits = "x".repeat(REMARK_BYTES_MAX);
        assert_eq!(Refusal::new(1, fits.clone()).remark, fits);
        for (char, count) in [("x", REMARK_BYTES_MAX + 1), ("x", 1 << 20), ("ü", 1 << 20), ("語", 1 << 20)]
        {
            for before in ["", "a", "aa"] {
                let long = format!("{before}topic[{}] not exist", char.repeat(count));
                let cut = Refusal::new(1, long.clone()).remark;
                assert!(cut.len() <= REMARK_BYTES_MAX, "{}", cut.len());
                assert!(
                    cut.starts_with(&format!("{before}topic[{char}"))
                        && cut.ends_with(&format!("{char}] not exist"))
                );
                assert!(cut.contains(&format!(" ..({} bytes in all).. ", long.len())));
            }
        }
    }
}
