//! What a custom header is, whichever: something read from the fields of a header, and written as such.

use super::{Fields, Text};
use crate::error::FieldError;

/// A typed view of a command's extFields.
pub trait CustomHeader<'a>: Sized {
    fn read(fields: &Fields<'a>) -> Result<Self, FieldError>;
    fn write(&self, out: &mut impl FieldSink);
}

/// Takes fields one by one: a `HeaderWriter` in place, or an owned command. Names are plain words.
pub trait FieldSink {
    fn text(&mut self, name: &'static str, value: Text<'_>);
    fn number(&mut self, name: &'static str, value: i64);
    fn boolean(&mut self, name: &'static str, value: bool);
}
