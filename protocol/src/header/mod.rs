//! A command's header, read in place: what it says, and its extFields left where they lie.
//!
//! ```text
//! JSON    {"code":310,"extFields":{"a":"PG",..},"flag":0,"language":"JAVA","opaque":7,..,"version":409}
//! binary  | code i16 | language u8 | version i16 | opaque i32 | flag i32 | remark | ext fields |
//!
//! Header { code, flag, language, version, opaque, remark, fields }   `fields` is walked again by who knows the names
//! ```
//!
//! No allocation. The walk checks the form of everything it passes, so that fields can be read later without an error.
//! *Invariant:* `Fields` holds whole entries only; its iterator ends where its bytes end.

pub mod binary;
pub mod json;
mod text;
pub mod writer;

pub use text::Text;
pub use writer::HeaderWriter;

use crate::version::Language;

/// One command without its body.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    pub code: i32,
    pub flag: i32,
    pub language: Language,
    pub version: i32,
    pub opaque: i32,
    pub remark: Option<Text<'a>>,
    pub fields: Fields<'a>,
}

/// The extFields, unparsed. A name that comes twice counts by its last value, and a null is absent.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    form: Form<'a>,
}

#[derive(Clone, Copy)]
enum Form<'a> {
    /// The inside of the object, from behind its opening brace on, the closing one included.
    Json(&'a [u8]),
    /// Entries back to back.
    Binary(&'a [u8]),
    /// An owned command's list.
    Pairs(&'a [(String, String)]),
}

/// Walks the fields in the order they were written.
#[derive(Clone)]
pub struct FieldIter<'a> {
    form: Form<'a>,
}

impl Header<'_> {
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// A one-way request is never answered, not even with an error.
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }
}

impl Default for Header<'_> {
    fn default() -> Self {
        Header {
            code: 0,
            flag: 0,
            language: Language::Java,
            version: 0,
            opaque: 0,
            remark: None,
            fields: Fields::NONE,
        }
    }
}

impl<'a> Fields<'a> {
    pub const NONE: Fields<'static> = Fields { form: Form::Binary(&[]) };

    pub fn from_pairs(pairs: &'a [(String, String)]) -> Fields<'a> {
        Fields { form: Form::Pairs(pairs) }
    }

    /// The value of one field, by a walk: who needs several reads a custom header.
    pub fn get(&self, name: &str) -> Option<Text<'a>> {
        self.iter().filter(|(field, _)| *field == name).last().map(|(_, value)| value)
    }

    pub fn iter(&self) -> FieldIter<'a> {
        FieldIter { form: self.form }
    }
}

impl<'a> IntoIterator for &Fields<'a> {
    type Item = (Text<'a>, Text<'a>);
    type IntoIter = FieldIter<'a>;

    fn into_iter(self) -> FieldIter<'a> {
        self.iter()
    }
}

impl<'a> Iterator for FieldIter<'a> {
    type Item = (Text<'a>, Text<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.form {
            Form::Json(rest) => json::next_field(rest),
            Form::Binary(rest) => binary::next_field(rest),
            Form::Pairs(rest) => {
                let ((name, value), tail) = rest.split_first()?;
                *rest = tail;
                Some((Text::from(name), Text::from(value)))
            }
        }
    }
}

impl std::fmt::Debug for Fields<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_map().entries(self.iter()).finish()
    }
}

pub const FLAG_RESPONSE: i32 = 1;
pub const FLAG_ONEWAY: i32 = 2;
