//! The writing half: a serde serializer onto a byte vector.

use serde::Serialize;
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::Error;
use crate::decimal::Decimal;
use crate::{escape, scan};

/// How the text looks.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    quoted_keys: bool,
    ascii: bool,
    pretty: bool,
}

impl Style {
    pub const JAVA: Style = Style { quoted_keys: false, ascii: false, pretty: false };
    pub const STANDARD: Style = Style { quoted_keys: true, ascii: true, pretty: false };
    pub const PRETTY: Style = Style { quoted_keys: false, ascii: false, pretty: true };
}

pub(super) fn document<T: Serialize>(value: &T, style: Style) -> Vec<u8> {
    let mut writer = Writer { out: Vec::with_capacity(256), style, depth: 0 };
    value.serialize(&mut writer).expect("no body type refuses to be written");
    writer.out
}

struct Writer {
    out: Vec<u8>,
    style: Style,
    depth: usize,
}

impl Writer {
    fn put(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn put_string(&mut self, text: &str) {
        self.out.push(b'"');
        if self.style.ascii && !text.is_ascii() {
            for char in text.chars() {
                self.put_ascii(char);
            }
        } else {
            self.put_escaped(text.as_bytes());
        }
        self.out.push(b'"');
    }

    fn put_escaped(&mut self, mut rest: &[u8]) {
        while let Some(at) = scan::find_unsafe(rest) {
            let (clean, tail) = rest.split_at(at);
            self.out.extend_from_slice(clean);
            let Some((byte, tail)) = tail.split_first() else { return };
            self.out.extend_from_slice(escape::of(*byte));
            rest = tail;
        }
        self.out.extend_from_slice(rest);
    }

    fn put_ascii(&mut self, char: char) {
        if char.is_ascii() {
            return self.put_escaped(char.encode_utf8(&mut [0; 4]).as_bytes());
        }
        for unit in char.encode_utf16(&mut [0; 2]) {
            self.put(&format!("\\u{unit:04X}"));
        }
    }

    fn open(&mut self, brace: u8) -> Result<Nest<'_>, Error> {
        self.out.push(brace);
        self.depth += 1;
        Ok(Nest { writer: self, empty: true, close: if brace == b'{' { b'}' } else { b']' }, entry_at: 0 })
    }

    fn new_line(&mut self) {
        if self.style.pretty {
            self.out.push(b'\n');
            self.out.extend(std::iter::repeat_n(b'\t', self.depth));
        }
    }
}

/// An object or an array that is being written.
struct Nest<'w> {
    writer: &'w mut Writer,
    empty: bool,
    close: u8,
    /// Where the present entry began, its comma included.
    entry_at: usize,
}

impl Nest<'_> {
    fn begin_entry(&mut self) {
        self.entry_at = self.writer.out.len();
        if !self.empty {
            self.writer.out.push(b',');
        }
        self.writer.new_line();
    }

    fn key<T: ?Sized + Serialize>(&mut self, key: &T) -> Result<(), Error> {
        self.begin_entry();
        let start = self.writer.out.len();
        key.serialize(&mut *self.writer)?;
        let is_number = matches!(self.writer.out.get(start), Some(b'-' | b'0'..=b'9'));
        if self.writer.style.quoted_keys && is_number {
            self.writer.out.insert(start, b'"');
            self.writer.out.push(b'"');
        }
        self.writer.out.push(b':');
        Ok(())
    }

    /// The value of the entry that `key` began. A null takes its key with it.
    fn value<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Error> {
        let start = self.writer.out.len();
        value.serialize(&mut *self.writer)?;
        if self.writer.out.get(start..) == Some(b"null") {
            self.writer.out.truncate(self.entry_at);
        } else {
            self.empty = false;
        }
        Ok(())
    }

    fn element<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Error> {
        self.begin_entry();
        self.empty = false;
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), Error> {
        self.writer.depth -= 1;
        if !self.empty {
            self.writer.new_line();
        }
        self.writer.out.push(self.close);
        Ok(())
    }
}

impl<'w> Serializer for &'w mut Writer {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Nest<'w>;
    type SerializeTuple = Nest<'w>;
    type SerializeTupleStruct = Nest<'w>;
    type SerializeTupleVariant = Nest<'w>;
    type SerializeMap = Nest<'w>;
    type SerializeStruct = Nest<'w>;
    type SerializeStructVariant = Nest<'w>;

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.put(if value { "true" } else { "false" });
        Ok(())
    }
    fn serialize_i8(self, value: i8) -> Result<(), Error> {
        self.serialize_i64(i64::from(value))
    }
    fn serialize_i16(self, value: i16) -> Result<(), Error> {
        self.serialize_i64(i64::from(value))
    }
    fn serialize_i32(self, value: i32) -> Result<(), Error> {
        self.serialize_i64(i64::from(value))
    }
    fn serialize_i64(self, value: i64) -> Result<(), Error> {
        self.out.extend_from_slice(Decimal::new(value).as_bytes());
        Ok(())
    }
    fn serialize_u8(self, value: u8) -> Result<(), Error> {
        self.serialize_i64(i64::from(value))
    }
    fn serialize_u16(self, value: u16) -> Result<(), Error> {
        self.serialize_i64(i64::from(value))
    }
    fn serialize_u32(self, value: u32) -> Result<(), Error> {
        self.serialize_i64(i64::from(value))
    }
    fn serialize_u64(self, value: u64) -> Result<(), Error> {
        self.put(&value.to_string());
        Ok(())
    }
    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        self.serialize_f64(f64::from(value))
    }
    /// `0.0`, never `0`; what is no number is null.
    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        if value.is_finite() {
            self.put(&format!("{value:?}"))
        } else {
            self.put("null")
        }
        Ok(())
    }
    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.put_string(value.encode_utf8(&mut [0; 4]));
        Ok(())
    }
    fn serialize_str(self, value: &str) -> Result<(), Error> {
        self.put_string(value);
        Ok(())
    }
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Error> {
        self.collect_seq(value)
    }
    fn serialize_none(self) -> Result<(), Error> {
        self.put("null");
        Ok(())
    }
    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<(), Error> {
        self.serialize_none()
    }
    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Error> {
        self.serialize_none()
    }
    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _at: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.serialize_str(variant)
    }
    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _name: &'static str,
        _at: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        let mut map = self.open(b'{')?;
        map.key(variant)?;
        map.value(value)?;
        map.end()
    }
    fn serialize_seq(self, _len: Option<usize>) -> Result<Nest<'w>, Error> {
        self.open(b'[')
    }
    fn serialize_tuple(self, _len: usize) -> Result<Nest<'w>, Error> {
        self.open(b'[')
    }
    fn serialize_tuple_struct(self, _name: &'static str, _len: usize) -> Result<Nest<'w>, Error> {
        self.open(b'[')
    }
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _at: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Nest<'w>, Error> {
        self.open(b'[')
    }
    fn serialize_map(self, _len: Option<usize>) -> Result<Nest<'w>, Error> {
        self.open(b'{')
    }
    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Nest<'w>, Error> {
        self.open(b'{')
    }
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _at: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Nest<'w>, Error> {
        self.open(b'{')
    }
}

impl SerializeMap for Nest<'_> {
    type Ok = ();
    type Error = Error;
    fn serialize_key<T: ?Sized + Serialize>(&mut self, key: &T) -> Result<(), Error> {
        self.key(key)
    }
    fn serialize_value<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Error> {
        self.value(value)
    }
    fn end(self) -> Result<(), Error> {
        Nest::end(self)
    }
}

/// The traits whose entries are fields, and those whose entries are elements, differ only in name.
macro_rules! fields_and_elements {
    ($($fields:ident),*; $($elements:ident $method:ident),*) => {
        $(impl $fields for Nest<'_> {
            type Ok = ();
            type Error = Error;
            fn serialize_field<T: ?Sized + Serialize>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
                self.key(name)?;
                self.value(value)
            }
            fn end(self) -> Result<(), Error> {
                Nest::end(self)
            }
        })*
        $(impl $elements for Nest<'_> {
            type Ok = ();
            type Error = Error;
            fn $method<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Error> {
                self.element(value)
            }
            fn end(self) -> Result<(), Error> {
                Nest::end(self)
            }
        })*
    };
}

fields_and_elements! {
    SerializeStruct, SerializeStructVariant;
    SerializeSeq serialize_element, SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field, SerializeTupleVariant serialize_field
}
