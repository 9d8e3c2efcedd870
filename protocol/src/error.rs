//! What can be wrong with bytes, sorted by how far it reaches.
//!
//! A `WireError` means the connection cannot be trusted any more: close it. A `FieldError` means one request is
//! wrong: answer it. `NoRoom` is the caller's buffer being too small: try again with a bigger one.

use thiserror::Error;

/// The bytes are not a RemotingCommand. The connection they came from is closed (W-2, W-3, W-5).
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum WireError {
    #[error("frame of {total} bytes is longer than the maximum")]
    FrameTooBig { total: usize },
    #[error("frame of {total} bytes has no room for its header length")]
    FrameTooSmall { total: usize },
    #[error("header of {header} bytes is longer than its frame of {total} bytes")]
    HeaderTooLong { header: usize, total: usize },
    #[error("serialize type {byte} is neither JSON (0) nor ROCKETMQ (1)")]
    CodecUnknown { byte: u8 },
    #[error("header is not a JSON object: wrong at byte {at}")]
    HeaderNotJson { at: usize },
    #[error("binary header ends inside its {part}")]
    HeaderCut { part: &'static str },
}

/// A custom header cannot be read out of the extFields. The texts are the official ones.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FieldError {
    #[error("the custom field <{name}> is null")]
    Missing { name: &'static str },
    #[error("the custom field <{name}> is not a number")]
    NotANumber { name: &'static str },
}

/// The buffer is too small for what should be written into it, which takes `bytes_len`. Nothing in it may be used.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("no room in the buffer for {bytes_len} bytes")]
pub struct NoRoom {
    pub bytes_len: usize,
}
