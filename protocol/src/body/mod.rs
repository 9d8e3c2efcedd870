//! The JSON bodies, one file per conversation.
//!
//! Every struct is named as the official class and has its fields in the order in which Java writes them. What the
//! official reader takes for a missing field is the struct's `Default`. Maps are sorted, so that the same content is
//! always the same bytes.
//!
//! ```text
//! HeartbeatData::decode(&command.body)? .. TopicList { .. }.encode()
//! ```

/// A body of plain fields: owned, comparable, and absent fields are its defaults.
macro_rules! bodies {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident : $ty:ty,)* })*) => {
        $($(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name { $($(#[$field_meta])* pub $field: $ty,)* })*
    };
}

/// An enum that travels by name. The C++ client sends the place in the list instead, which is read too.
macro_rules! named_enum {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_meta])* $variant,)* }

        impl $name {
            /// In the order of the official enum.
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }

            /// From a name, or from a place in the list.
            pub fn from_name(name: &str) -> Option<$name> {
                let named = $name::ALL.iter().find(|variant| variant.name() == name);
                named.or_else(|| $name::ALL.get(name.parse::<usize>().ok()?)).copied()
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let name = String::deserialize(deserializer)?;
                $name::from_name(&name).ok_or_else(|| {
                    let shown: String = name.chars().take(crate::body::SHOWN_CHARS_MAX).collect();
                    serde::de::Error::custom(format_args!("no {} is named {shown:?}", stringify!($name)))
                })
            }
        }
    };
}

pub mod assign;
pub mod cluster;
pub mod connection;
pub mod group;
pub mod heartbeat;
pub mod kv;
pub mod lock;
pub mod offset;
pub mod queue;
pub mod register;
pub mod route;
pub mod running;
pub mod stats;
pub mod topic;
pub mod version;

pub use assign::*;
pub use cluster::*;
pub use connection::*;
pub use group::*;
pub use heartbeat::*;
pub use kv::*;
pub use lock::*;
pub use offset::*;
pub use queue::*;
pub use register::*;
pub use route::*;
pub use running::*;
pub use stats::*;
pub use topic::*;
pub use version::*;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fastjson;

/// What can be a command's body.
pub trait Body: Serialize + DeserializeOwned {
    fn decode(bytes: &[u8]) -> Result<Self, fastjson::Error> {
        fastjson::from_slice(bytes)
    }

    /// As `decode`, for what strangers send: see `fastjson::from_slice_within`.
    fn decode_within(bytes: &[u8], values_max: usize) -> Result<Self, fastjson::Error> {
        fastjson::from_slice_within(bytes, values_max)
    }

    /// As Java writes it.
    fn encode(&self) -> Vec<u8> {
        fastjson::to_vec(self)
    }
}

impl<T: Serialize + DeserializeOwned> Body for T {}

/// What of a wrong name an error repeats.
const SHOWN_CHARS_MAX: usize = 64;
