//! The headers of sending: codes 10, 310, 320, 324, 325 and 326.
//!
//! The long form (V1) and the letter form (V2) mean the same, so both are read into one struct. `SendFields` takes the
//! fields one by one: from the walk that reads the header itself, which then has nothing to mark, or from the marks of
//! one that was read before.

use super::{CustomHeader, FieldSink, FieldType};
use crate::code::request;
use crate::error::FieldError;
use crate::header::{Fields, ShapeId, Text};

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

/// The same, written as codes 310, 320 and 325 have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendMessageRequestHeaderV2<'a>(pub SendMessageRequestHeader<'a>);

impl<'a> CustomHeader<'a> for SendMessageRequestHeader<'a> {
    #[inline]
    fn read(fields: &Fields<'a>) -> Result<Self, FieldError> {
        let mut taken = SendFields::default();
        taken.take_all(fields);
        taken.header().copied()
    }

    fn write(&self, out: &mut impl FieldSink) {
        self.write_named(out, |letter| LONG_NAMES.iter().find(|row| row.0 == letter).map_or("", |row| row.1));
    }
}

impl<'a> CustomHeader<'a> for SendMessageRequestHeaderV2<'a> {
    #[inline]
    fn read(fields: &Fields<'a>) -> Result<Self, FieldError> {
        SendMessageRequestHeader::read(fields).map(SendMessageRequestHeaderV2)
    }

    fn write(&self, out: &mut impl FieldSink) {
        let SendMessageRequestHeaderV2(header) = self;
        out.text("a", header.producer_group);
        out.text("b", header.topic);
        out.text("c", header.default_topic);
        out.number("d", i64::from(header.default_topic_queue_nums));
        out.number("e", i64::from(header.queue_id));
        out.number("f", i64::from(header.sys_flag));
        out.number("g", header.born_timestamp);
        out.number("h", i64::from(header.flag));
        header.properties.put("i", out);
        header.reconsume_times.put("j", out);
        out.boolean("k", header.unit_mode);
        header.max_reconsume_times.put("l", out);
        out.boolean("m", header.batch);
        header.broker_name.put("n", out);
    }
}

/// The fields of a send as they are come by, of two with the same name the last.
#[derive(Clone, Copy, Debug, Default)]
pub struct SendFields<'a> {
    pub(crate) header: SendMessageRequestHeader<'a>,
    /// A bit for each letter that was there.
    pub(crate) seen: u32,
    /// What it was like, if it was read so.
    pub(crate) shape: Option<ShapeId>,
    /// The first number that was none.
    error: Option<FieldError>,
}

impl<'a> SendFields<'a> {
    /// Whether requests of this code have such fields.
    #[inline]
    pub(crate) fn are_of(code: i32) -> bool {
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
    pub(crate) fn take(&mut self, name: &[u8], value: Text<'a>) {
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

impl SendMessageRequestHeader<'_> {
    fn write_named(&self, out: &mut impl FieldSink, name: impl Fn(u8) -> &'static str) {
        out.text(name(b'a'), self.producer_group);
        out.text(name(b'b'), self.topic);
        out.text(name(b'c'), self.default_topic);
        out.number(name(b'd'), i64::from(self.default_topic_queue_nums));
        out.number(name(b'e'), i64::from(self.queue_id));
        out.number(name(b'f'), i64::from(self.sys_flag));
        out.number(name(b'g'), self.born_timestamp);
        out.number(name(b'h'), i64::from(self.flag));
        self.properties.put(name(b'i'), out);
        self.reconsume_times.put(name(b'j'), out);
        out.boolean(name(b'k'), self.unit_mode);
        self.max_reconsume_times.put(name(b'l'), out);
        out.boolean(name(b'm'), self.batch);
        self.broker_name.put(name(b'n'), out);
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

const LONG_NAMES: [(u8, &str); 14] = [
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

custom_headers! {
    /// The answer to every send that was stored.
    pub struct SendMessageResponseHeader<'a> {
        /// The offset message id; of a batch a comma list.
        pub msg_id: Text<'a> = "msgId",
        pub queue_id: i32 = "queueId",
        pub queue_offset: i64 = "queueOffset",
        /// The message's UNIQ_KEY.
        pub transaction_id: Option<Text<'a>> = "transactionId",
        pub batch_uniq_id: Option<Text<'a>> = "batchUniqId",
        pub recall_handle: Option<Text<'a>> = "recallHandle",
    }

    /// The broker carries an answer to the client that asked (326).
    pub struct ReplyMessageRequestHeader<'a> {
        pub producer_group: Text<'a> = "producerGroup",
        pub topic: Text<'a> = "topic",
        pub default_topic: Text<'a> = "defaultTopic",
        pub default_topic_queue_nums: i32 = "defaultTopicQueueNums",
        pub queue_id: i32 = "queueId",
        pub sys_flag: i32 = "sysFlag",
        pub born_timestamp: i64 = "bornTimestamp",
        pub flag: i32 = "flag",
        pub properties: Option<Text<'a>> = "properties",
        pub reconsume_times: Option<i32> = "reconsumeTimes",
        pub unit_mode: Option<bool> = "unitMode",
        pub born_host: Text<'a> = "bornHost",
        pub store_host: Text<'a> = "storeHost",
        pub store_timestamp: i64 = "storeTimestamp",
    }

    /// A consumer gives a message back to be retried (36).
    pub struct ConsumerSendMsgBackRequestHeader<'a> {
        pub offset: i64 = "offset",
        pub group: Text<'a> = "group",
        pub delay_level: i32 = "delayLevel",
        pub origin_msg_id: Option<Text<'a>> = "originMsgId",
        pub origin_topic: Option<Text<'a>> = "originTopic",
        pub unit_mode: bool = "unitMode" or false,
        pub max_reconsume_times: Option<i32> = "maxReconsumeTimes",
    }

    /// The second half of a transaction (37).
    pub struct EndTransactionRequestHeader<'a> {
        pub topic: Option<Text<'a>> = "topic",
        pub producer_group: Text<'a> = "producerGroup",
        pub tran_state_table_offset: i64 = "tranStateTableOffset",
        pub commit_log_offset: i64 = "commitLogOffset",
        /// 0 unknown, 8 commit, 12 roll back.
        pub commit_or_rollback: i32 = "commitOrRollback",
        pub from_transaction_check: bool = "fromTransactionCheck" or false,
        pub msg_id: Text<'a> = "msgId",
        pub transaction_id: Option<Text<'a>> = "transactionId",
    }

    pub struct EndTransactionResponseHeader {}

    /// The broker asks a producer how its transaction ended (39).
    pub struct CheckTransactionStateRequestHeader<'a> {
        pub topic: Option<Text<'a>> = "topic",
        pub tran_state_table_offset: i64 = "tranStateTableOffset",
        pub commit_log_offset: i64 = "commitLogOffset",
        pub msg_id: Option<Text<'a>> = "msgId",
        pub transaction_id: Option<Text<'a>> = "transactionId",
        pub offset_msg_id: Option<Text<'a>> = "offsetMsgId",
    }

    pub struct CheckTransactionStateResponseHeader<'a> {
        pub producer_group: Text<'a> = "producerGroup",
        pub tran_state_table_offset: i64 = "tranStateTableOffset",
        pub commit_log_offset: i64 = "commitLogOffset",
        pub commit_or_rollback: i32 = "commitOrRollback",
    }

    pub struct RecallMessageRequestHeader<'a> {
        pub producer_group: Option<Text<'a>> = "producerGroup",
        pub topic: Text<'a> = "topic",
        pub recall_handle: Text<'a> = "recallHandle",
    }

    pub struct RecallMessageResponseHeader<'a> {
        pub msg_id: Text<'a> = "msgId",
    }
}
