//! Version ordinals and languages: who the peer is.
//!
//! An ordinal is an index into the list of all releases: from 4.0.0 on, 213 + 20·minor + 2·patch for 4.x and
//! 413 + 20·minor + 2·patch for 5.x.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What our answers and requests carry. Clients and brokers change their behaviour by it; ours speak the 5.x layouts.
pub const OURS: i32 = V5_5_0;

pub const V3_0_11: i32 = 37;
pub const V3_4_9: i32 = 121;
pub const V4_1_0_SNAPSHOT: i32 = 232;
pub const V4_9_4: i32 = 401;
pub const V4_9_8: i32 = 409;
pub const V5_0_0: i32 = 413;
pub const V5_3_1: i32 = 475;
pub const V5_5_0: i32 = 513;

/// "V4_9_8", as the official programs print an ordinal; unknown and ancient ones by their number.
pub fn name(ordinal: i32) -> String {
    let (major, past) = match ordinal {
        213..413 => (4, ordinal - 213),
        413..=611 => (5, ordinal - 413),
        _ => return format!("V{ordinal}"),
    };
    let suffix = if past % 2 == 0 { "" } else { "_SNAPSHOT" };
    // A snapshot's slot comes before its release.
    let slot = (past + 1) / 2;
    format!("V{major}_{}_{}{suffix}", slot / 10, slot % 10)
}

/// The language a peer says it is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Language {
    Java,
    Cpp,
    Dotnet,
    Python,
    Delphi,
    Erlang,
    Ruby,
    /// Also what we say of ourselves: old peers break on a language they do not know.
    #[default]
    Other,
    Http,
    Go,
    Php,
    Oms,
    Rust,
    NodeJs,
    /// A name or number outside the list. Java reads it as null.
    Unknown,
}

impl Language {
    pub fn from_code(code: i64) -> Language {
        usize::try_from(code).ok().and_then(|at| TABLE.get(at)).map_or(Language::Unknown, |row| row.0)
    }

    pub fn from_name(name: &[u8]) -> Language {
        TABLE.iter().find(|row| row.1.as_bytes() == name).map_or(Language::Unknown, |row| row.0)
    }

    /// The binary header's byte. An unknown language is passed on as OTHER.
    pub fn to_code(self) -> u8 {
        match self {
            Language::Unknown => Language::Other as u8,
            known => known as u8,
        }
    }

    pub fn name(self) -> &'static str {
        TABLE.get(usize::from(self.to_code())).map_or("OTHER", |row| row.1)
    }
}

impl Serialize for Language {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Language {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Language, D::Error> {
        let name = String::deserialize(deserializer)?;
        Ok(name.parse().map_or_else(|_| Language::from_name(name.as_bytes()), Language::from_code))
    }
}

/// In the order of their codes.
const TABLE: [(Language, &str); 14] = [
    (Language::Java, "JAVA"),
    (Language::Cpp, "CPP"),
    (Language::Dotnet, "DOTNET"),
    (Language::Python, "PYTHON"),
    (Language::Delphi, "DELPHI"),
    (Language::Erlang, "ERLANG"),
    (Language::Ruby, "RUBY"),
    (Language::Other, "OTHER"),
    (Language::Http, "HTTP"),
    (Language::Go, "GO"),
    (Language::Php, "PHP"),
    (Language::Oms, "OMS"),
    (Language::Rust, "RUST"),
    (Language::NodeJs, "NODE_JS"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: code, name and place in the table agree. Method: walk the table.
    #[test]
    fn languages_agree_with_their_table() {
        for (at, (language, name)) in TABLE.iter().enumerate() {
            assert_eq!(usize::from(language.to_code()), at);
            assert_eq!(language.name(), *name);
            assert_eq!(Language::from_name(name.as_bytes()), *language);
            assert_eq!(Language::from_code(at as i64), *language);
        }
        for code in [-1, 14, 255, i64::MAX] {
            assert_eq!(Language::from_code(code), Language::Unknown);
        }
        assert_eq!(Language::from_name(b"COBOL"), Language::Unknown);
    }

    #[test]
    fn ordinals_have_their_release_names() {
        for (ordinal, expected) in [
            (V4_9_8, "V4_9_8"),
            (V5_5_0, "V5_5_0"),
            (V5_0_0, "V5_0_0"),
            (V4_9_4, "V4_9_4"),
            (V5_3_1, "V5_3_1"),
            (V4_1_0_SNAPSHOT, "V4_1_0_SNAPSHOT"),
            (213, "V4_0_0"),
            (121, "V121"),
            (-1, "V-1"),
        ] {
            assert_eq!(name(ordinal), expected);
        }
    }
}
