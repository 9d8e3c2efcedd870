//! Custom headers: what the extFields of a code mean.
//!
//! Each struct is named as the official class and borrows its texts from the frame. One that no file here names by hand
//! is a row in a `custom_headers!` table: its field, its type, its name on the wire, and its default.
//!
//! | type | missing | not a number |
//! |---|---|---|
//! | `Text`, `i32`, `i64`, `bool` | `FieldError::Missing`, or the default after `or` | as missing |
//! | `Option<..>` | `None` | `None` |
//!
//! The send and pull headers are stricter: there a number that is none fails the request, as in Java. The fields that any
//! header may carry besides (`lo`, `ns`, `nsd`, `bname`, `oway`) are passed over. Implements rule W-8.

use crate::header::Text;

// What is read and written in place lies with the header itself; here it is among its kind.
pub use crate::header::{CustomHeader, FieldSink, SendMessageRequestHeader};

/// A type that a field can have.
pub trait FieldType<'a>: Sized {
    /// None when the text is no such value.
    fn parse(text: Text<'a>) -> Option<Self>;
    /// What a field is that is not there, if that is allowed.
    fn absent() -> Option<Self> {
        None
    }
    fn put(&self, name: &'static str, out: &mut impl FieldSink);
}

impl<'a> FieldType<'a> for Text<'a> {
    fn parse(text: Text<'a>) -> Option<Self> {
        Some(text)
    }
    fn put(&self, name: &'static str, out: &mut impl FieldSink) {
        out.text(name, *self);
    }
}

impl FieldType<'_> for i32 {
    fn parse(text: Text<'_>) -> Option<Self> {
        text.parse_i32()
    }
    fn put(&self, name: &'static str, out: &mut impl FieldSink) {
        out.number(name, i64::from(*self));
    }
}

impl FieldType<'_> for i64 {
    fn parse(text: Text<'_>) -> Option<Self> {
        text.parse_i64()
    }
    fn put(&self, name: &'static str, out: &mut impl FieldSink) {
        out.number(name, *self);
    }
}

impl FieldType<'_> for bool {
    fn parse(text: Text<'_>) -> Option<Self> {
        Some(text.parse_bool())
    }
    fn put(&self, name: &'static str, out: &mut impl FieldSink) {
        out.boolean(name, *self);
    }
}

impl<'a, T: FieldType<'a>> FieldType<'a> for Option<T> {
    fn parse(text: Text<'a>) -> Option<Self> {
        Some(T::parse(text))
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
    fn put(&self, name: &'static str, out: &mut impl FieldSink) {
        if let Some(value) = self {
            value.put(name, out);
        }
    }
}

/// Declares custom headers: `pub field: Type = "nameOnTheWire" [or default],` each.
macro_rules! custom_headers {
    () => {};
    (
        $(#[$meta:meta])*
        pub struct $name:ident<$lt:lifetime> {
            $($(#[$field_meta:meta])* pub $field:ident : $ty:ty = $wire:literal $(or $default:expr)?,)*
        }
        $($rest:tt)*
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name<$lt> {
            $($(#[$field_meta])* pub $field: $ty,)*
        }

        impl<$lt> $crate::headers::CustomHeader<$lt> for $name<$lt> {
            fn read(fields: &$crate::header::Fields<$lt>) -> Result<Self, $crate::error::FieldError> {
                $crate::headers::read_fields!(fields, $($field: $ty = $wire $(or $default)?,)*)
            }
            fn write(&self, out: &mut impl $crate::headers::FieldSink) {
                $($crate::headers::FieldType::put(&self.$field, $wire, out);)*
            }
        }

        $crate::headers::custom_headers!($($rest)*);
    };
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[$field_meta:meta])* pub $field:ident : $ty:ty = $wire:literal $(or $default:expr)?,)*
        }
        $($rest:tt)*
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $ty,)*
        }

        impl<'f> $crate::headers::CustomHeader<'f> for $name {
            fn read(fields: &$crate::header::Fields<'f>) -> Result<Self, $crate::error::FieldError> {
                $crate::headers::read_fields!(fields, $($field: $ty = $wire $(or $default)?,)*)
            }
            #[allow(unused_variables)] // Some headers have no field at all.
            fn write(&self, out: &mut impl $crate::headers::FieldSink) {
                $($crate::headers::FieldType::put(&self.$field, $wire, out);)*
            }
        }

        $crate::headers::custom_headers!($($rest)*);
    };
}

/// One walk over the fields, then what is missing.
macro_rules! read_fields {
    ($fields:ident, $($field:ident : $ty:ty = $wire:literal $(or $default:expr)?,)*) => {{
        $(let mut $field: Option<$ty> = None;)*
        for (_name, _value) in $fields.iter() {
            $(if _name == $wire {
                $field = $crate::headers::FieldType::parse(_value);
                continue;
            })*
        }
        Ok(Self { $($field: match $field {
            Some(value) => value,
            None => $crate::headers::absent!($ty, $wire $(, $default)?),
        },)* })
    }};
}

macro_rules! absent {
    ($ty:ty, $wire:literal, $default:expr) => {
        $default
    };
    ($ty:ty, $wire:literal) => {
        <$ty as $crate::headers::FieldType>::absent()
            .ok_or($crate::error::FieldError::Missing { name: $wire })?
    };
}

pub(crate) use {absent, custom_headers, read_fields};

mod auth;
mod cluster;
mod group;
mod namesrv;
mod offset;
mod pop;
mod pull;
mod send;
mod topic;

pub use auth::*;
pub use cluster::*;
pub use group::*;
pub use namesrv::*;
pub use offset::*;
pub use pop::*;
pub use pull::*;
pub use send::*;
pub use topic::*;
