//! A send's fields: the one header that the walk over it takes as it goes.
//!
//! The long form (V1) and the letter form (V2) mean the same, so both are read into one struct. `SendFields` takes the
//! fields one by one: from the walk that reads the header itself, which then has nothing to mark, or from the marks of
//! one that was read before.

use super::{Fields, Text};
use crate::code::request;
use crate::error::FieldError;

/// A SEND, from whichever form it came in. Written by its long names; `SendMessageRequestHeaderV2` writes letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendMessageRequestHeader<'a> {
    pub producer_group: Text<'a>,
    pub topic: Text<'a>,
    /// The topic whose configuration an unknown topic inherits: `TBW102`.
    pub default_topic: Text<'a>,
    pub default_topic_queue_nums: i32,
    /// Negative: the broker picks one.
    pub queue_id: i32,
    pub sys_flag: i32,
    pub born_timestamp: i64,
    pub flag: i32,
    pub properties: Option<Text<'a>>,
    pub reconsume_times: Option<i32>,
    pub unit_mode: bool,
    pub max_reconsume_times: Option<i32>,
    pub batch: bool,
    pub broker_name: Option<Text<'a>>,
}

/// The fields of a send as they are come by, of two with the same name the last.
#[derive(Clone, Copy, Debug, Default)]
pub struct SendFields<'a> {
    pub(super) header: SendMessageRequestHeader<'a>,
    /// A bit for each letter that was there.
    pub(super) seen: u32,
    /// What it was like, if it was read so.
    pub(super) shape: Option<ShapeId>,
    /// The first number that was none.
    error: Option<FieldError>,
}

/// Which of the known headers one was like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShapeId(pub(super) usize);

impl<'a> SendFields<'a> {
    /// Whether requests of this code have such fields.
    #[inline]
    pub(super) fn are_of(code: i32) -> bool {
        matches!(
            code,
            request::SEND_MESSAGE_V2
                | request::SEND_MESSAGE
                | request::SEND_BATCH_MESSAGE
                | request::SEND_REPLY_MESSAGE
                | request::SEND_REPLY_MESSAGE_V2
        )
    }

    /// The header, or what is wrong with it: a number that is none before one that is missing.
    #[inline]
    pub fn header(&self) -> Result<&SendMessageRequestHeader<'a>, FieldError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        match MANDATORY.get((!(self.seen | UNMISSED)).trailing_zeros() as usize) {
            Some(name) => Err(FieldError::Missing { name }),
            None => Ok(&self.header),
        }
    }

    #[cold]
    pub(crate) fn take_all(&mut self, fields: &Fields<'a>) {
        for (name, value) in fields {
            self.take(&name.to_bytes(), value);
        }
    }

    /// A letter of the short form, or a long name.
    #[inline(always)]
    pub(super) fn take(&mut self, name: &[u8], value: Text<'a>) {
        let letter = match name {
            [letter] => *letter,
            name => long_name_letter(name),
        };
        match letter {
            b'a' => self.header.producer_group = value,
            b'b' => self.header.topic = value,
            b'c' => self.header.default_topic = value,
            b'd' => self.header.default_topic_queue_nums = self.number(value, "d"),
            b'e' => self.header.queue_id = self.number(value, "e"),
            b'f' => self.header.sys_flag = self.number(value, "f"),
            b'g' => self.header.born_timestamp = self.long_number(value, "g"),
            b'h' => self.header.flag = self.number(value, "h"),
            b'i' => self.header.properties = Some(value),
            b'j' => self.header.reconsume_times = Some(self.number(value, "j")),
            b'k' => self.header.unit_mode = value.parse_bool(),
            b'l' => self.header.max_reconsume_times = Some(self.number(value, "l")),
            b'm' => self.header.batch = value.parse_bool(),
            b'n' => self.header.broker_name = Some(value),
            _ => return,
        }
        self.seen |= 1 << (letter - b'a');
    }

    #[inline]
    fn number(&mut self, value: Text<'_>, name: &'static str) -> i32 {
        value.parse_i32().unwrap_or_else(|| self.is_none(name))
    }

    #[inline]
    fn long_number(&mut self, value: Text<'_>, name: &'static str) -> i64 {
        value.parse_i64().unwrap_or_else(|| self.is_none(name).into())
    }

    #[cold]
    fn is_none(&mut self, name: &'static str) -> i32 {
        self.error.get_or_insert(FieldError::NotANumber { name });
        0
    }
}

fn long_name_letter(name: &[u8]) -> u8 {
    LONG_NAMES.iter().find(|row| row.1.as_bytes() == name).map_or(0, |row| row.0)
}

/// The bits of `a`, `c` and `d`. Marked mandatory, but no official broker misses them: a producer group is never read, and the template only when the
/// topic is unknown (probe "send missing field a").
const UNMISSED: u32 = 1 | 1 << 2 | 1 << 3;
/// The letters from `a` on that every send has.
const MANDATORY: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// The letters of the short form, and the names of the long one.
pub(crate) const LONG_NAMES: [(u8, &str); 14] = [
    (b'a', "producerGroup"),
    (b'b', "topic"),
    (b'c', "defaultTopic"),
    (b'd', "defaultTopicQueueNums"),
    (b'e', "queueId"),
    (b'f', "sysFlag"),
    (b'g', "bornTimestamp"),
    (b'h', "flag"),
    (b'i', "properties"),
    (b'j', "reconsumeTimes"),
    (b'k', "unitMode"),
    (b'l', "maxReconsumeTimes"),
    (b'm', "batch"),
    (b'n', "bname"),
];
