//! The headers of reading messages: codes 11, 361, 12 and 33.

use super::{CustomHeader, FieldSink, FieldType};
use crate::error::FieldError;
use crate::header::{Fields, Text};

/// A PULL. Read by hand: a number that is none fails the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PullMessageRequestHeader<'a> {
    pub consumer_group: Text<'a>,
    pub topic: Text<'a>,
    pub queue_id: i32,
    pub queue_offset: i64,
    pub max_msg_nums: i32,
    /// The `PULL_` bits below.
    pub sys_flag: i32,
    pub commit_offset: i64,
    pub suspend_timeout_millis: i64,
    pub subscription: Option<Text<'a>>,
    pub sub_version: i64,
    pub expression_type: Option<Text<'a>>,
    pub max_msg_bytes: Option<i32>,
    pub request_source: Option<i32>,
    pub proxy_froward_client_id: Option<Text<'a>>,
}

/// `commitOffset` is to be committed.
pub const PULL_COMMIT_OFFSET: i32 = 0x1;
/// The pull may be held until there is a message.
pub const PULL_SUSPEND: i32 = 0x2;
/// `subscription` is there.
pub const PULL_SUBSCRIPTION: i32 = 0x4;
pub const PULL_CLASS_FILTER: i32 = 0x8;
pub const PULL_LITE: i32 = 0x10;

impl<'a> CustomHeader<'a> for PullMessageRequestHeader<'a> {
    #[inline]
    fn read(fields: &Fields<'a>) -> Result<Self, FieldError> {
        let mut header = PullMessageRequestHeader::default();
        header.read_from(fields)?;
        Ok(header)
    }

    fn write(&self, out: &mut impl FieldSink) {
        out.text("consumerGroup", self.consumer_group);
        out.text("topic", self.topic);
        out.number("queueId", i64::from(self.queue_id));
        out.number("queueOffset", self.queue_offset);
        out.number("maxMsgNums", i64::from(self.max_msg_nums));
        out.number("sysFlag", i64::from(self.sys_flag));
        out.number("commitOffset", self.commit_offset);
        out.number("suspendTimeoutMillis", self.suspend_timeout_millis);
        self.subscription.put("subscription", out);
        out.number("subVersion", self.sub_version);
        self.expression_type.put("expressionType", out);
        self.max_msg_bytes.put("maxMsgBytes", out);
        self.request_source.put("requestSource", out);
        self.proxy_froward_client_id.put("proxyFrowardClientId", out);
    }
}

impl<'a> PullMessageRequestHeader<'a> {
    /// `read` into a fresh header that already lies where it is wanted. One walk, each mandatory field's bit noted.
    pub fn read_from(&mut self, fields: &Fields<'a>) -> Result<(), FieldError> {
        let mut seen = 0u32;
        fields.each(|name, value| {
            let int = |name| value.parse_i32().ok_or(FieldError::NotANumber { name });
            let long = |name| value.parse_i64().ok_or(FieldError::NotANumber { name });
            seen |= match name {
                b"consumerGroup" => {
                    self.consumer_group = value;
                    1
                }
                b"topic" => {
                    self.topic = value;
                    1 << 1
                }
                b"queueId" => {
                    self.queue_id = int("queueId")?;
                    1 << 2
                }
                b"queueOffset" => {
                    self.queue_offset = long("queueOffset")?;
                    1 << 3
                }
                b"maxMsgNums" => {
                    self.max_msg_nums = int("maxMsgNums")?;
                    1 << 4
                }
                b"sysFlag" => {
                    self.sys_flag = int("sysFlag")?;
                    1 << 5
                }
                b"commitOffset" => {
                    self.commit_offset = long("commitOffset")?;
                    1 << 6
                }
                b"suspendTimeoutMillis" => {
                    self.suspend_timeout_millis = long("suspendTimeoutMillis")?;
                    1 << 7
                }
                b"subVersion" => {
                    self.sub_version = long("subVersion")?;
                    1 << 8
                }
                b"subscription" => {
                    self.subscription = Some(value);
                    0
                }
                b"expressionType" => {
                    self.expression_type = Some(value);
                    0
                }
                b"maxMsgBytes" => {
                    self.max_msg_bytes = Some(int("maxMsgBytes")?);
                    0
                }
                b"requestSource" => {
                    self.request_source = Some(int("requestSource")?);
                    0
                }
                b"proxyFrowardClientId" => {
                    self.proxy_froward_client_id = Some(value);
                    0
                }
                _ => 0,
            };
            Ok(())
        })?;
        match MANDATORY.get((!seen).trailing_zeros() as usize) {
            Some(name) => Err(FieldError::Missing { name }),
            None => Ok(()),
        }
    }
}

/// In the order of their bits.
const MANDATORY: [&str; 9] = [
    "consumerGroup",
    "topic",
    "queueId",
    "queueOffset",
    "maxMsgNums",
    "sysFlag",
    "commitOffset",
    "suspendTimeoutMillis",
    "subVersion",
];

custom_headers! {
    /// The four offsets are on every answer of code 0, 19, 20 and 21.
    pub struct PullMessageResponseHeader {
        pub suggest_which_broker_id: i64 = "suggestWhichBrokerId",
        pub next_begin_offset: i64 = "nextBeginOffset",
        pub min_offset: i64 = "minOffset",
        pub max_offset: i64 = "maxOffset",
        pub offset_delta: Option<i64> = "offsetDelta",
        pub topic_sys_flag: Option<i32> = "topicSysFlag",
        pub group_sys_flag: Option<i32> = "groupSysFlag",
        /// Why code 16: 1 broker, 2 group, 3 topic, 4 broadcasting, 5 subscription.
        pub forbidden_type: Option<i32> = "forbiddenType",
    }

    pub struct QueryMessageRequestHeader<'a> {
        pub topic: Text<'a> = "topic",
        pub key: Text<'a> = "key",
        pub max_num: i32 = "maxNum",
        pub begin_timestamp: i64 = "beginTimestamp",
        pub end_timestamp: i64 = "endTimestamp",
    }

    pub struct QueryMessageResponseHeader {
        pub index_last_update_timestamp: i64 = "indexLastUpdateTimestamp",
        pub index_last_update_phyoffset: i64 = "indexLastUpdatePhyoffset",
    }

    pub struct ViewMessageRequestHeader<'a> {
        pub topic: Option<Text<'a>> = "topic",
        pub offset: i64 = "offset",
    }

    pub struct ViewMessageResponseHeader {}
}
