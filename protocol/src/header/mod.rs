//! A command's header, read in place: what it says, and its extFields left where they lie.
//!
//! ```text
//! JSON    {"code":310,"extFields":{"a":"PG",..},"flag":0,"language":"JAVA","opaque":7,..,"version":409}
//! binary  | code i16 | language u8 | version i16 | opaque i32 | flag i32 | remark | ext fields |
//!
//! Header { code, flag, language, version, opaque, remark, fields }   `fields` is walked again by who knows the names
//! ```
//!
//! A send's fields are not marked but taken as they are come by, if who reads the header has a place for them.
//!
//! No allocation. The walk checks the form of everything it passes, so that fields can be read later without an error.
//! *Invariant:* `Fields` holds whole entries only: its marks lie inside its bytes, and its iterator ends where they end.

pub mod binary;
mod custom;
pub mod json;
mod out;
pub(crate) mod send;
mod shapes;
mod stored;
mod text;
pub mod writer;

use std::ops::Range;

pub use custom::{CustomHeader, FieldSink};
pub use send::{SendFields, SendMessageRequestHeader, ShapeId};
pub use shapes::{Alike, SendShapes};
pub use stored::Stored;
pub use text::Text;
pub use writer::{EncodedFields, HeaderWriter};

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
///
/// The first walk over an ordinary header marks where its fields lie, so that later ones need not look for them again.
/// One with more fields than marks, or too long for them, is walked anew each time.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    marks: [Mark; MARKS_MAX],
    marks_len: u8,
    /// The fields without marks: all or none.
    unmarked: Form<'a>,
}

/// Where one field lies in `bytes`: four numbers of 16 bits, from the lowest: where its name begins and how long it is,
/// then the same for the value, `MARK_ESCAPED` set in the last if there are escapes in it.
#[derive(Clone, Copy)]
struct Mark(u64);

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
pub struct FieldIter<'f, 'a> {
    bytes: &'a [u8],
    marks: std::slice::Iter<'f, Mark>,
    unmarked: Form<'a>,
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
    pub const NONE: Fields<'static> = Fields::unmarked(Form::Binary(&[]));

    pub fn from_pairs(pairs: &'a [(String, String)]) -> Fields<'a> {
        Fields::unmarked(Form::Pairs(pairs))
    }

    const fn unmarked(unmarked: Form<'a>) -> Fields<'a> {
        Fields { bytes: &[], marks: [Mark::NONE; MARKS_MAX], marks_len: 0, unmarked }
    }

    /// The value of one field, by a walk: who needs several reads a custom header.
    pub fn get(&self, name: &str) -> Option<Text<'a>> {
        self.iter().filter(|(field, _)| *field == name).last().map(|(_, value)| value)
    }

    pub fn iter(&self) -> FieldIter<'_, 'a> {
        let marks = self.marks.get(..usize::from(self.marks_len)).unwrap_or_default();
        FieldIter { bytes: self.bytes, marks: marks.iter(), unmarked: self.unmarked }
    }

    /// Hands every name, its escapes undone, and value to `take`; stops at its first error. The quickest walk.
    #[inline]
    pub fn each<E>(&self, mut take: impl FnMut(&[u8], Text<'a>) -> Result<(), E>) -> Result<(), E> {
        let mut walk = self.iter();
        let mut name_without_escapes;
        loop {
            // Slices rather than texts until the call, so that they stay in registers.
            let (name, value, escaped) = match walk.marks.next() {
                Some(mark) => match mark.slices(self.bytes) {
                    Some(slices) => slices,
                    None => return Ok(()),
                },
                None => match walk.next_unmarked() {
                    Some((name, value)) => {
                        name_without_escapes = name.to_bytes();
                        (&*name_without_escapes, value.raw(), value.is_escaped())
                    }
                    None => return Ok(()),
                },
            };
            take(name, Text::checked(value, escaped))?;
        }
    }

    /// Marks one field of `bytes`, whose name has no escapes; false if there is no mark left for it.
    #[inline]
    fn mark(&mut self, name: Range<usize>, value: Range<usize>, escaped: bool) -> bool {
        let Some(mark) = self.marks.get_mut(usize::from(self.marks_len)) else { return false };
        let escaped = if escaped { MARK_ESCAPED } else { 0 };
        let words = [name.start, name.len(), value.start, value.len() | escaped];
        *mark = Mark(words.iter().rev().fold(0, |packed, word| packed << 16 | *word as u64));
        self.marks_len += 1;
        true
    }
}

impl Mark {
    const NONE: Mark = Mark(0);

    /// The name, the value, and whether that has escapes.
    #[inline]
    fn slices(self, bytes: &[u8]) -> Option<(&[u8], &[u8], bool)> {
        let word = |at: u32| (self.0 >> (16 * at)) as u16 as usize;
        let name = bytes.get(word(0)..word(0) + word(1))?;
        let value_len = word(3) & !MARK_ESCAPED;
        let value = bytes.get(word(2)..word(2) + value_len)?;
        Some((name, value, word(3) & MARK_ESCAPED != 0))
    }
}

/// Who is given the fields by the walk over a header that reads its form.
trait Take<'a> {
    /// A field whose name has no escapes, and where the two lie in what is walked over. False ends the walk.
    fn field(&mut self, name_at: usize, name: &'a [u8], value_at: usize, value: Text<'a>) -> bool;
}

impl<'a> Take<'a> for Fields<'a> {
    #[inline(always)]
    fn field(&mut self, name_at: usize, name: &'a [u8], value_at: usize, value: Text<'a>) -> bool {
        let value_range = value_at..value_at + value.raw().len();
        self.mark(name_at..name_at + name.len(), value_range, value.is_escaped())
    }
}

impl<'a> Take<'a> for SendFields<'a> {
    #[inline(always)]
    fn field(&mut self, _name_at: usize, name: &'a [u8], _value_at: usize, value: Text<'a>) -> bool {
        self.take(name, value);
        true
    }
}

impl<'f, 'a> IntoIterator for &'f Fields<'a> {
    type Item = (Text<'a>, Text<'a>);
    type IntoIter = FieldIter<'f, 'a>;

    fn into_iter(self) -> FieldIter<'f, 'a> {
        self.iter()
    }
}

impl<'a> Iterator for FieldIter<'_, 'a> {
    type Item = (Text<'a>, Text<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.marks.next() {
            Some(mark) => {
                let (name, value, escaped) = mark.slices(self.bytes)?;
                Some((Text::new(name), Text::checked(value, escaped)))
            }
            None => self.next_unmarked(),
        }
    }
}

impl<'a> FieldIter<'_, 'a> {
    #[inline(never)]
    fn next_unmarked(&mut self) -> Option<(Text<'a>, Text<'a>)> {
        match &mut self.unmarked {
            Form::Json(rest) => json::next_field(rest),
            Form::Binary([]) => None,
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

/// More than any official request has.
const MARKS_MAX: usize = 20;
/// Headers as long as this have no marks.
const MARKED_BYTES_MAX: usize = MARK_ESCAPED;
const MARK_ESCAPED: usize = 1 << 15;
