//! Sends that are like one before: what a producer sends one after the other differs in a few places, and only those are read again.
//!
//! ```text
//! known  {"code":310,"extFields":{"a":"PG",..,"e":"3","g":"1700000000000","i":"UNIQ_KEY\u00017F00..\u0002"},..,"opaque":17,..}
//! loose                                           ^       ^^^^^^^^^^^^^                   ^^^^^^                        ^^
//! ```
//!
//! A header is like a known one when it has its length, its bytes wherever that is not loose, and in each loose place what reads as
//! such: a number, or characters that end neither a text nor a property. All else of it is known then, its properties without their escapes
//! included. A header that is like none is read in the ordinary way, and now and then it is known from then on. *Invariant:* what is
//! read this way is what the ordinary way reads (tests/random.rs, likeness_changes_nothing). Nothing is allocated after the start.

use std::ops::Range;

use wide::u8x16;

use super::send::{SendFields, SendMessageRequestHeader, ShapeId};
use super::{Form, Header, Text, json};
use crate::decimal;
use crate::error::WireError;
use crate::frame::{Codec, Frame};
use crate::properties::{self, key, place_of};
use crate::scan;
use crate::version::Language;

/// The headers that are known, each with what its reader has made of the properties.
#[derive(Debug)]
pub struct SendShapes<T> {
    shapes: Vec<Shape<T>>,
}

/// The properties of a send that was like a known one.
#[derive(Debug)]
pub struct Alike<'s, T> {
    /// Without escapes.
    pub properties: &'s [u8],
    /// What was made of others that are like them: these differ from those in the values of UNIQ_KEY and KEYS alone, which are as long.
    pub derived: &'s mut Option<T>,
}

#[derive(Debug)]
struct Shape<T> {
    codec: Codec,
    /// Empty: none is known here.
    bytes: Vec<u8>,
    /// All ones where a byte is fixed, zero where it is loose.
    fixed: Vec<u8>,
    loose: Vec<Loose>,
    code: i32,
    flag: i32,
    language: Language,
    version: i32,
    opaque: i32,
    fields: Range<usize>,
    /// Its texts are empty: they are taken from the header in hand.
    header: SendMessageRequestHeader<'static>,
    texts: [TextPlace; TEXTS],
    seen: u32,
    /// Those of the header that was like this one last.
    properties: Vec<u8>,
    derived: Option<T>,
    luck: Luck,
}

/// A place in which headers may differ.
#[derive(Clone, Copy, Debug)]
struct Loose {
    at: usize,
    len: usize,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// As text, or as the four bytes of the binary form.
    Opaque,
    QueueId,
    BornTimestamp,
    /// The value of a property, and where it lies in the list.
    Value {
        to: usize,
    },
}

#[derive(Clone, Debug, Default)]
struct TextPlace {
    range: Range<usize>,
    escaped: bool,
    is_there: bool,
}

/// Whether it pays to know another header instead: who sends now this and now that shall not have each of them learned.
#[derive(Debug, Default)]
struct Luck {
    /// More likes than unlikes, lately.
    credit: u32,
    /// Unlikes to wait for, and how many they were last time.
    wait: u32,
    waited: u32,
}

impl<T> Default for SendShapes<T> {
    fn default() -> SendShapes<T> {
        SendShapes { shapes: (0..SHAPES).map(|_| Shape::default()).collect() }
    }
}

impl<T> SendShapes<T> {
    /// As [`Frame::read_request`], into a fresh header and fields.
    #[inline]
    pub fn read<'a>(
        &mut self,
        frame: &Frame<'a>,
        header: &mut Header<'a>,
        send: &mut SendFields<'a>,
    ) -> Result<(), WireError> {
        let slot = frame.header.len() % SHAPES;
        let Some(shape) = self.shapes.get_mut(slot) else { return frame.read_request(header, send) };
        if shape.codec == frame.codec && shape.read(frame.header, header, send).is_some() {
            shape.luck.count_alike();
            send.shape = Some(ShapeId(slot));
            return Ok(());
        }
        frame.read_request(header, send)?;
        if SendFields::are_of(header.code)
            && shape.luck.shall_learn()
            && shape.learn(frame, header, send).is_none()
        {
            shape.bytes.clear();
        }
        Ok(())
    }

    /// The properties of a send that [`SendShapes::read`] has just read, if it was like a known one.
    #[inline]
    pub fn alike(&mut self, send: &SendFields<'_>) -> Option<Alike<'_, T>> {
        let shape = self.shapes.get_mut(send.shape?.0)?;
        Some(Alike { properties: &shape.properties, derived: &mut shape.derived })
    }
}

impl<T> Default for Shape<T> {
    fn default() -> Shape<T> {
        // Written to, so that the memory is there before the load is.
        let list = || {
            let mut list = vec![1; SHAPE_BYTES_MAX];
            list.clear();
            list
        };
        Shape {
            codec: Codec::Json,
            bytes: list(),
            fixed: list(),
            loose: Vec::with_capacity(LOOSE_MAX),
            code: 0,
            flag: 0,
            language: Language::Java,
            version: 0,
            opaque: 0,
            fields: 0..0,
            header: SendMessageRequestHeader::default(),
            texts: Default::default(),
            seen: 0,
            properties: list(),
            derived: None,
            luck: Luck::default(),
        }
    }
}

impl<T> Shape<T> {
    /// Reads a header that is like this one. None: it is not, and nothing was read.
    #[inline]
    fn read<'a>(
        &mut self,
        bytes: &'a [u8],
        header: &mut Header<'a>,
        send: &mut SendFields<'a>,
    ) -> Option<()> {
        if !is_alike(bytes, &self.bytes, &self.fixed) {
            return None;
        }
        let mut opaque = self.opaque;
        let mut known = self.header;
        for loose in &self.loose {
            let text = bytes.get(loose.at..loose.at + loose.len)?;
            match loose.what {
                What::Opaque if self.codec == Codec::Binary => {
                    opaque = i32::from_be_bytes(*text.first_chunk()?)
                }
                What::Opaque => opaque = decimal::parse_i32(text)?,
                What::QueueId => known.queue_id = decimal::parse_i32(text)?,
                What::BornTimestamp => known.born_timestamp = decimal::parse_i64(text)?,
                What::Value { to } => {
                    if !is_plain(text) {
                        return None;
                    }
                    self.properties.get_mut(to..to + text.len())?.copy_from_slice(text);
                }
            }
        }
        let text = |place: &TextPlace| {
            let raw = bytes.get(place.range.clone()).unwrap_or_default();
            Text::checked(raw, place.escaped)
        };
        let [group, topic, default_topic, properties, broker_name] = &self.texts;
        let fields = bytes.get(self.fields.clone())?;
        send.header = SendMessageRequestHeader {
            producer_group: text(group),
            topic: text(topic),
            default_topic: text(default_topic),
            properties: properties.is_there.then(|| text(properties)),
            broker_name: broker_name.is_there.then(|| text(broker_name)),
            ..known
        };
        send.seen = self.seen;
        header.code = self.code;
        header.flag = self.flag;
        header.language = self.language;
        header.version = self.version;
        header.opaque = opaque;
        header.fields.unmarked = match self.codec {
            Codec::Json => Form::Json(fields),
            Codec::Binary => Form::Binary(fields),
        };
        Some(())
    }

    /// Knows this header from now on, which was read in the ordinary way. None: that cannot be done, and what is here is of no use.
    #[cold]
    fn learn(&mut self, frame: &Frame<'_>, header: &Header<'_>, send: &SendFields<'_>) -> Option<()> {
        let bytes = frame.header;
        let is_fit = (PART_BYTES..=SHAPE_BYTES_MAX).contains(&bytes.len())
            && header.remark.is_none()
            && (frame.codec == Codec::Binary || json::is_canonical_send(bytes));
        let known = send.header().ok().filter(|_| is_fit)?;
        let (Form::Json(fields) | Form::Binary(fields)) = header.fields.unmarked else { return None };
        self.codec = frame.codec;
        self.fields = place_of(bytes, fields)?;
        (self.code, self.flag, self.opaque) = (header.code, header.flag, header.opaque);
        (self.language, self.version) = (header.language, header.version);
        let text = |text: Option<Text<'_>>| {
            let raw = text.unwrap_or_default().raw();
            let escaped = text.is_some_and(|text| text.is_escaped());
            Some(TextPlace { range: place_of(bytes, raw)?, escaped, is_there: text.is_some() })
        };
        self.texts = [
            text(Some(known.producer_group))?,
            text(Some(known.topic))?,
            text(Some(known.default_topic))?,
            text(known.properties)?,
            text(known.broker_name)?,
        ];
        self.header = SendMessageRequestHeader {
            default_topic_queue_nums: known.default_topic_queue_nums,
            queue_id: known.queue_id,
            sys_flag: known.sys_flag,
            born_timestamp: known.born_timestamp,
            flag: known.flag,
            reconsume_times: known.reconsume_times,
            unit_mode: known.unit_mode,
            max_reconsume_times: known.max_reconsume_times,
            batch: known.batch,
            ..SendMessageRequestHeader::default()
        };
        self.seen = send.seen;
        self.properties.clear();
        known.properties.unwrap_or_default().append_to(&mut self.properties);
        self.derived = None;
        self.loose.clear();
        self.loosen_opaque(bytes);
        self.loosen_number(bytes, header, [b"e", b"queueId"], What::QueueId);
        self.loosen_number(bytes, header, [b"g", b"bornTimestamp"], What::BornTimestamp);
        for name in [key::UNIQ_KEY, key::KEYS] {
            self.loosen_value(bytes, known.properties.unwrap_or_default(), name);
        }
        self.fixed.clear();
        self.fixed.resize(bytes.len(), u8::MAX);
        for loose in &self.loose {
            self.fixed.get_mut(loose.at..loose.at + loose.len)?.fill(0);
        }
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
        Some(())
    }

    fn loosen_opaque(&mut self, bytes: &[u8]) {
        let place = match self.codec {
            Codec::Binary => Some(BINARY_OPAQUE),
            Codec::Json => json_opaque(bytes),
        };
        if let Some(place) = place {
            self.loose.push(Loose { at: place.start, len: place.len(), what: What::Opaque });
        }
    }

    /// The digits of a field that is there once.
    fn loosen_number(&mut self, bytes: &[u8], header: &Header<'_>, names: [&[u8]; 2], what: What) {
        let is_named = |name: &Text<'_>| names.iter().any(|wanted| *name.to_bytes() == **wanted);
        let mut found = header.fields.iter().filter(|(name, _)| is_named(name));
        if let (Some((_, value)), None) = (found.next(), found.next())
            && is_digits(value.raw())
            && let Some(place) = place_of(bytes, value.raw())
        {
            self.loose.push(Loose { at: place.start, len: place.len(), what });
        }
    }

    /// The value of a property; of two with this name, the last.
    fn loosen_value(&mut self, bytes: &[u8], text: Text<'_>, name: &str) {
        let found = properties::get(&self.properties, name).filter(|value| is_plain(value));
        let Some(to) = found.and_then(|value| place_of(&self.properties, value)) else { return };
        // Where in the header it lies: in one run, since there is nothing to escape in it.
        let (mut before, mut place) = (0, None);
        text.for_each_run(|run| {
            if before <= to.start && to.end <= before + run.len() {
                place = place_of(bytes, run).map(|run| run.start + to.start - before);
            }
            before += run.len();
        });
        if let Some(at) = place {
            self.loose.push(Loose { at, len: to.len(), what: What::Value { to: to.start } });
        }
    }
}

impl Luck {
    #[inline]
    fn count_alike(&mut self) {
        self.credit = CREDIT_MAX.min(self.credit + 1);
        self.waited = 0;
    }

    /// Counts one that was unlike, and says whether it shall be known from now on.
    fn shall_learn(&mut self) -> bool {
        if self.credit > 0 {
            self.credit -= 1;
            return false;
        }
        if self.wait > 0 {
            self.wait -= 1;
            return false;
        }
        self.waited = (2 * self.waited + 1).min(WAIT_MAX);
        self.wait = self.waited;
        true
    }
}

/// Whether all bytes are those of `known` where that is fixed.
#[inline]
fn is_alike(bytes: &[u8], known: &[u8], fixed: &[u8]) -> bool {
    let unlike = |part: &[u8; PART_BYTES], known: &[u8; PART_BYTES], fixed: &[u8; PART_BYTES]| {
        (u8x16::new(*part) ^ u8x16::new(*known)) & u8x16::new(*fixed)
    };
    if bytes.len() != known.len() {
        return false;
    }
    let ends = (bytes.last_chunk(), known.last_chunk(), fixed.last_chunk());
    let (Some(last), Some(last_known), Some(last_fixed)) = ends else { return false };
    let mut differs = unlike(last, last_known, last_fixed);
    let ((parts, _), (knowns, _), (fixeds, _)) = (bytes.as_chunks(), known.as_chunks(), fixed.as_chunks());
    for ((part, known), fixed) in parts.iter().zip(knowns).zip(fixeds) {
        differs |= unlike(part, known, fixed);
    }
    differs.simd_eq(u8x16::ZERO).to_bitmask() == ALL_EQUAL
}

fn is_digits(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// Whether nothing in it ends a text or a property, or begins an escape.
#[inline]
fn is_plain(text: &[u8]) -> bool {
    let (parts, tail) = text.as_chunks();
    let in_tail = (1 << tail.len()) - 1; // What is behind the tail is zero, which is none of it.
    let tail = scan::unsafe_places(scan::tail_part(tail).to_le_bytes()) & in_tail;
    tail == 0 && parts.iter().all(|part| scan::unsafe_places(*part) == 0)
}

/// Where the digits of the opaque are in a canonical header. No text can hold what stands before them: its quotes would be escaped.
fn json_opaque(bytes: &[u8]) -> Option<Range<usize>> {
    let mut places = bytes.windows(JSON_OPAQUE.len()).enumerate().filter(|(_, name)| *name == JSON_OPAQUE);
    let (Some((at, _)), None) = (places.next(), places.next()) else { return None };
    let digits = bytes.get(at + JSON_OPAQUE.len()..)?;
    let len = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (len > 0).then_some(at + JSON_OPAQUE.len()..at + JSON_OPAQUE.len() + len)
}

/// One slot for each length modulo this: who sends to some topics by turns has them all known.
const SHAPES: usize = 16;
/// Longer headers are read in the ordinary way.
const SHAPE_BYTES_MAX: usize = 1024;
const LOOSE_MAX: usize = 5;
const TEXTS: usize = 5;
const PART_BYTES: usize = 16;
const ALL_EQUAL: u32 = 0xffff;
const CREDIT_MAX: u32 = 8;
const WAIT_MAX: u32 = 1023;
const BINARY_OPAQUE: Range<usize> = 5..9;
const JSON_OPAQUE: &[u8] = b"\"opaque\":";
