//! A pull, and one that outlives its request: what it needs to run again, as owned text.

use std::net::{Ipv4Addr, SocketAddr};

use protocol::frame::Codec;

use crate::broker::ReplyTo;
use crate::net::ConnId;

/// One pull, whether it lies in a request or in a hold.
#[derive(Clone, Copy, Debug)]
pub struct Pull<'a> {
    pub to: ReplyTo,
    pub peer: SocketAddr,
    /// Code 361.
    pub lite: bool,
    pub group: &'a str,
    pub topic: &'a str,
    pub subscription: Option<&'a str>,
    pub expression_type: Option<&'a str>,
    pub numbers: PullNumbers,
}

impl Pull<'_> {
    /// What a hold copies of it.
    pub fn texts_len(&self) -> usize {
        self.texts().iter().flatten().map(|text| text.len()).sum()
    }

    fn texts(&self) -> [Option<&str>; 4] {
        [Some(self.group), Some(self.topic), self.subscription, self.expression_type]
    }
}

/// The fixed part of a pull.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PullNumbers {
    pub queue_id: i32,
    pub queue_offset: i64,
    pub max_msg_nums: i32,
    pub max_msg_bytes: i32,
    pub sys_flag: i32,
    pub commit_offset: i64,
    pub suspend_ms: i64,
    pub sub_version: i64,
}

/// One buffer for all texts, used again for the next pull that waits in the same place.
#[derive(Clone, Debug)]
pub struct HeldPull {
    to: ReplyTo,
    peer: SocketAddr,
    lite: bool,
    numbers: PullNumbers,
    /// Group, topic, then subscription and expression type where there are any.
    texts: String,
    group_len: usize,
    topic_len: usize,
    subscription_len: Option<usize>,
    has_expression_type: bool,
}

impl HeldPull {
    pub fn copy_from(&mut self, pull: &Pull<'_>) {
        self.to = pull.to;
        self.peer = pull.peer;
        self.lite = pull.lite;
        self.numbers = pull.numbers;
        self.texts.clear();
        self.texts.reserve(pull.texts_len());
        for text in pull.texts() {
            self.texts.push_str(text.unwrap_or_default());
        }
        self.group_len = pull.group.len();
        self.topic_len = pull.topic.len();
        self.subscription_len = pull.subscription.map(str::len);
        self.has_expression_type = pull.expression_type.is_some();
    }

    /// Memory that its texts keep.
    pub fn bytes_kept(&self) -> usize {
        self.texts.capacity()
    }

    pub fn conn(&self) -> ConnId {
        self.to.conn
    }

    pub fn as_pull(&self) -> Pull<'_> {
        let (group, rest) = self.texts.split_at(self.group_len);
        let (topic, rest) = rest.split_at(self.topic_len);
        let (subscription, expression_type) = rest.split_at(self.subscription_len.unwrap_or(0));
        Pull {
            to: self.to,
            peer: self.peer,
            lite: self.lite,
            group,
            topic,
            subscription: self.subscription_len.map(|_| subscription),
            expression_type: self.has_expression_type.then_some(expression_type),
            numbers: self.numbers,
        }
    }
}

impl Default for HeldPull {
    fn default() -> HeldPull {
        HeldPull {
            to: ReplyTo {
                conn: ConnId { slot: 0, generation: 0 },
                opaque: 0,
                codec: Codec::Json,
                oneway: true,
            },
            peer: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
            lite: false,
            numbers: PullNumbers::default(),
            texts: String::new(),
            group_len: 0,
            topic_len: 0,
            subscription_len: None,
            has_expression_type: false,
        }
    }
}
