//! RemotingCommand and the stored record, as pure functions over byte slices.
//!
//! ```text
//! bytes -> frame::find -> Frame -> header() -> Header { code, opaque, .., fields } -> headers::X::read(&fields)
//!                           '----> body     -> body::X (serde, through fastjson)
//! HeaderWriter -> the same bytes, written in place        command::RemotingCommand -> the owned form of both
//! ```
//!
//! Nothing here knows a socket, a file, a clock, a thread or a log. The hot half (frame, header, headers) neither
//! allocates nor copies; the cold half (command, body) is ordinary owned Rust.
#![forbid(unsafe_code)]

pub mod batch;
pub mod body;
pub mod code;
pub mod command;
pub mod config_text;
pub mod decimal;
pub mod error;
mod escape;
pub mod fastjson;
pub mod frame;
pub mod hash;
pub mod header;
pub mod headers;
pub mod ids;
pub mod names;
pub mod properties;
pub mod record;
mod scan;
pub mod version;

pub use command::RemotingCommand;
pub use error::{FieldError, NoRoom, WireError};
pub use frame::{Codec, Found, Frame};
pub use header::{CustomHeader, FieldSink, Fields, Header, HeaderWriter, Text};
pub use version::Language;
