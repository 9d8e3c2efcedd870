//! The headers of sending: codes 10, 310, 320, 324, 325 and 326.
//!
//! The long form (V1) and the letter form (V2) mean the same, so both are read into one struct, `header/send.rs`.

use super::{CustomHeader, FieldSink, FieldType, SendMessageRequestHeader};
use crate::error::FieldError;
use crate::header::send::LONG_NAMES;
use crate::header::{Fields, SendFields, Text};

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
