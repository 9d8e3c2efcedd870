//! The JSON of bodies and config files, as the official software writes and reads it.
//!
//! It is not quite JSON:
//! ```text
//! {"brokerAddrs":{0:"10.0.0.1:10911"}}                              integer keys are bare
//! {"offsetTable":{{"brokerName":"b","queueId":0,"topic":"T"}:4}}    an object can be a key
//! ```
//! Written: no blanks, null fields and entries left out, fields in the order the struct has them (alphabetical, as in
//! Java). Read: keys in either form, also objects inside a string; single quotes, bare names, superfluous commas; numbers
//! and booleans in quotes and the other way round; a null is an absent field, so that a struct's default stands.
//! Strings that are not UTF-8 lose their wrong bytes. Nesting is bounded, so no input can exhaust the stack.
//! Implements rule W-9.

mod read;
mod write;

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use write::Style;

/// Reads a body.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    read::document(bytes, usize::MAX)
}

/// Reads a body of a stranger's: with more than `values_max` names and elements it is refused before memory is taken for more.
pub fn from_slice_within<T: DeserializeOwned>(bytes: &[u8], values_max: usize) -> Result<T, Error> {
    read::document(bytes, values_max)
}

/// Whether this is one object from its first byte to its last, whatever is in it. What was cut short or overwritten is none.
pub fn is_object(bytes: &[u8]) -> bool {
    read::is_object(bytes)
}

/// Writes a body as Java does.
pub fn to_vec<T: Serialize>(value: &T) -> Vec<u8> {
    write::document(value, Style::JAVA)
}

/// As `to_vec`, for texts.
pub fn to_string<T: Serialize>(value: &T) -> String {
    text(to_vec(value))
}

/// Plain JSON: integer keys quoted, everything outside ASCII escaped. The route answer of 4.9.4 and later.
pub fn to_vec_standard<T: Serialize>(value: &T) -> Vec<u8> {
    write::document(value, Style::STANDARD)
}

/// Over several lines with tabs, as the config files lie on disk.
pub fn to_string_pretty<T: Serialize>(value: &T) -> String {
    text(write::document(value, Style::PRETTY))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("the writer puts only str and ASCII")
}

/// A body that cannot be read, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    text: String,
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(text: T) -> Error {
        Error { text: text.to_string() }
    }
}

impl serde::ser::Error for Error {
    fn custom<T: fmt::Display>(text: T) -> Error {
        Error { text: text.to_string() }
    }
}
