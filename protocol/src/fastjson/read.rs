//! The reading half: a serde deserializer over the bytes, which never borrows from them.

use std::borrow::Cow;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};

use super::Error;
use crate::decimal;
use crate::escape::unescape;
use crate::scan;

pub(super) fn document<T: DeserializeOwned>(bytes: &[u8], values_max: usize) -> Result<T, Error> {
    let mut reader = Reader { bytes, at: 0, depth: 0, values: 0, values_max };
    let value = T::deserialize(&mut reader)?;
    reader.space();
    if reader.at < bytes.len() {
        return Err(reader.wrong("nothing more"));
    }
    Ok(value)
}

pub(super) fn is_object(bytes: &[u8]) -> bool {
    let mut reader = Reader { bytes, at: 0, depth: 0, values: 0, values_max: usize::MAX };
    let is_whole = reader.next_kind() == Ok(b'{') && reader.skip().is_ok();
    reader.space();
    is_whole && reader.at == bytes.len()
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
    depth: u32,
    /// Names, elements and what is passed over, so far and at most.
    values: usize,
    values_max: usize,
}

impl<'b> Reader<'b> {
    #[cold]
    fn wrong(&self, expected: &str) -> Error {
        Error::custom(format_args!("{expected} expected at byte {}", self.at))
    }

    /// One more value: what is made of three bytes may take hundreds.
    fn count(&mut self) -> Result<(), Error> {
        self.values += 1;
        if self.values > self.values_max {
            return Err(Error::custom(format_args!("more than {} values in one body", self.values_max)));
        }
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    fn commas(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n' | b',') = self.peek() {
            self.at += 1;
        }
    }

    fn expect(&mut self, wanted: u8, name: &str) -> Result<(), Error> {
        self.space();
        if self.peek() != Some(wanted) {
            return Err(self.wrong(name));
        }
        self.at += 1;
        Ok(())
    }

    /// What comes next, blanks passed.
    fn next_kind(&mut self) -> Result<u8, Error> {
        self.space();
        self.peek().ok_or_else(|| self.wrong("a value"))
    }

    fn is_null(&mut self) -> bool {
        self.space();
        let Some([b'n', b'u', b'l', b'l', rest @ ..]) = self.bytes.get(self.at..) else { return false };
        !rest.first().is_some_and(is_bare)
    }

    /// A quoted text.
    fn string(&mut self) -> Result<Cow<'b, [u8]>, Error> {
        let quote = self.next_kind()?;
        let rest = self.bytes.get(self.at + 1..).unwrap_or_default();
        let mut owned: Option<Vec<u8>> = None;
        let mut at = 0;
        loop {
            let tail = rest.get(at..).unwrap_or_default();
            let Some(run_len) = scan::find_either(tail, quote, b'\\') else {
                return Err(self.wrong("an end of the text"));
            };
            let (run, tail) = tail.split_at(run_len);
            let ended = tail.first() == Some(&quote);
            if ended && owned.is_none() {
                self.at += at + run_len + 2;
                return Ok(Cow::Borrowed(run));
            }
            let text = owned.get_or_insert_default();
            text.extend_from_slice(run);
            at += run_len + 1;
            if ended {
                self.at += at + 1;
                return Ok(Cow::Owned(owned.unwrap_or_default()));
            }
            let Some((char, used)) = tail.get(1..).and_then(unescape) else {
                return Err(self.wrong("an escape"));
            };
            text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            at += used;
        }
    }

    /// A number, a boolean, or a name without quotes.
    fn bare(&mut self) -> Result<&'b [u8], Error> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let len = rest.iter().position(|byte| !is_bare(byte)).unwrap_or(rest.len());
        if len == 0 {
            return Err(self.wrong("a value"));
        }
        let (text, _) = rest.split_at(len);
        self.at += len;
        Ok(text)
    }

    /// Anything but an object or an array, as its text.
    fn scalar(&mut self) -> Result<Cow<'b, str>, Error> {
        let bytes = match self.next_kind()? {
            b'"' | b'\'' => self.string()?,
            _ => Cow::Borrowed(self.bare()?),
        };
        Ok(match bytes {
            Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        })
    }

    fn integer(&mut self) -> Result<i64, Error> {
        let text = self.scalar()?;
        let text = text.trim();
        if let Some(value) = decimal::parse_i64(text.as_bytes()) {
            return Ok(value);
        }
        match text {
            "" | "false" => Ok(0),
            "true" => Ok(1),
            _ => match text.parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(value as i64),
                _ => Err(self.wrong("a number before what is")),
            },
        }
    }

    /// Passes over one value without recursion; brackets inside of texts do not count.
    fn skip(&mut self) -> Result<(), Error> {
        let mut depth = 0usize;
        loop {
            let kind = self.next_kind()?;
            if !matches!(kind, b'}' | b']' | b',' | b':') {
                self.count()?;
            }
            match kind {
                b'"' | b'\'' => drop(self.string()?),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                _ => drop(self.bare()?),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// Goes one level down for the time of `read`.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth == DEPTH_MAX {
            return Err(self.wrong("less nesting"));
        }
        self.depth += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object<'de, V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        self.expect(b'{', "an object")?;
        self.nested(|reader| {
            let value = visitor.visit_map(Entries { reader })?;
            reader.commas();
            reader.expect(b'}', "an end of the object")?;
            Ok(value)
        })
    }

    fn array<'de, V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        self.expect(b'[', "an array")?;
        self.nested(|reader| {
            let value = visitor.visit_seq(Entries { reader })?;
            reader.commas();
            reader.expect(b']', "an end of the array")?;
            Ok(value)
        })
    }

    fn any_bare<'de, V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        let text = self.scalar()?;
        match &*text {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            "null" => visitor.visit_unit(),
            text => match (decimal::parse_i64(text.as_bytes()), text.parse::<f64>()) {
                (Some(value), _) => visitor.visit_i64(value),
                (None, Ok(value)) => visitor.visit_f64(value),
                (None, Err(_)) => visitor.visit_str(text),
            },
        }
    }
}

fn is_bare(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'-' | b'+' | b'.' | b'$' | 0x80..)
}

/// Each integer type is read as an i64 and must hold it.
macro_rules! integers {
    ($($method:ident $visit:ident $ty:ty),*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let value = self.integer()?;
            match <$ty>::try_from(value) {
                Ok(value) => visitor.$visit(value),
                Err(_) => Err(self.wrong("a smaller number before what is")),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for &mut Reader<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.next_kind()? {
            b'{' => self.object(visitor),
            b'[' => self.array(visitor),
            b'"' | b'\'' => self.deserialize_str(visitor),
            _ => self.any_bare(visitor),
        }
    }

    integers! {
        deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16, deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64, deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32, deserialize_u64 visit_u64 u64
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.scalar()?;
        if text.eq_ignore_ascii_case("true") || text == "1" {
            visitor.visit_bool(true)
        } else if text.eq_ignore_ascii_case("false") || text == "0" || text.is_empty() {
            visitor.visit_bool(false)
        } else {
            Err(self.wrong("a boolean before what is"))
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.scalar()?;
        match text.trim().parse() {
            Ok(value) => visitor.visit_f64(value),
            Err(_) => Err(self.wrong("a number before what is")),
        }
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    /// A text; also the text of a number, or of a whole object where one was put into a text's place.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if let b'{' | b'[' = self.next_kind()? {
            let start = self.at;
            self.skip()?;
            let raw = self.bytes.get(start..self.at).unwrap_or_default();
            return visitor.visit_str(&String::from_utf8_lossy(raw));
        }
        visitor.visit_str(&self.scalar()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_null() {
            self.bare()?;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.skip()?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.array(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        self.array(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.array(visitor)
    }

    /// An object; also one inside a text, which is how some clients write a key that is an object.
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if let b'"' | b'\'' = self.next_kind()? {
            let inner = self.string()?;
            return self.nested(|outer| {
                let &mut Reader { depth, values, values_max, .. } = outer;
                let mut reader = Reader { bytes: &inner, at: 0, depth, values, values_max };
                let value = reader.object(visitor);
                outer.values = reader.values;
                value
            });
        }
        self.object(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let name = self.scalar()?;
        visitor.visit_enum(UnitVariant { name: &name })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.skip()?;
        visitor.visit_unit()
    }
}

/// The entries of an object or an array, nulls left out.
struct Entries<'r, 'b> {
    reader: &'r mut Reader<'b>,
}

impl<'de> MapAccess<'de> for Entries<'_, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        loop {
            self.reader.commas();
            if let b'}' = self.reader.next_kind()? {
                return Ok(None);
            }
            let start = self.reader.at;
            self.reader.skip()?;
            self.reader.expect(b':', "a colon")?;
            if self.reader.is_null() {
                self.reader.bare()?;
                continue;
            }
            self.reader.at = start;
            return seed.deserialize(&mut *self.reader).map(Some);
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        self.reader.expect(b':', "a colon")?;
        seed.deserialize(&mut *self.reader)
    }
}

impl<'de> SeqAccess<'de> for Entries<'_, '_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        loop {
            self.reader.commas();
            if let b']' = self.reader.next_kind()? {
                return Ok(None);
            }
            self.reader.count()?;
            if !self.reader.is_null() {
                return seed.deserialize(&mut *self.reader).map(Some);
            }
            self.reader.bare()?;
        }
    }
}

/// An enum of names only.
struct UnitVariant<'n> {
    name: &'n str,
}

impl<'de> EnumAccess<'de> for UnitVariant<'_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        Ok((seed.deserialize(IntoDeserializer::<Error>::into_deserializer(self.name))?, self))
    }
}

impl<'de> VariantAccess<'de> for UnitVariant<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _seed: T) -> Result<T::Value, Error> {
        Err(Error::custom(format_args!("{} holds no value", self.name)))
    }
    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom(format_args!("{} holds no value", self.name)))
    }
    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Error> {
        Err(Error::custom(format_args!("{} holds no value", self.name)))
    }
}

/// No official body is nested half as deep.
const DEPTH_MAX: u32 = 64;
