//! A topic as the broker keeps it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A topic as the broker uses it. The JSON form is `protocol::body`'s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicConfig {
    pub name: Arc<str>,
    pub read_queue_nums: i32,
    pub write_queue_nums: i32,
    /// `PERM_*` bits.
    pub perm: i32,
    pub multi_tag: bool,
    pub topic_sys_flag: i32,
    pub order: bool,
    pub attributes: BTreeMap<String, String>,
}

impl TopicConfig {
    pub fn new(name: &str, queues: i32, perm: i32) -> TopicConfig {
        TopicConfig {
            name: name.into(),
            read_queue_nums: queues,
            write_queue_nums: queues,
            perm,
            multi_tag: false,
            topic_sys_flag: 0,
            order: false,
            attributes: BTreeMap::new(),
        }
    }

    /// What it takes of a registration at most, whatever its numbers are.
    pub fn registered_bytes(&self) -> usize {
        let attributes = self.attributes.iter().map(|(key, value)| key.len() + value.len() + ATTRIBUTE_BYTES);
        2 * self.name.len() + attributes.sum::<usize>() + REGISTERED_BYTES
    }

    /// Queues that may be read or written.
    pub fn queues(&self) -> usize {
        usize::try_from(self.read_queue_nums.max(self.write_queue_nums)).unwrap_or(0)
    }

    pub fn is_readable(&self) -> bool {
        self.perm & PERM_READ != 0
    }

    pub fn is_writable(&self) -> bool {
        self.perm & PERM_WRITE != 0
    }

    pub fn is_inherited(&self) -> bool {
        self.perm & PERM_INHERIT != 0
    }
}

/// As official remarks print it.
impl fmt::Display for TopicConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bit = |bit: i32, letter: char| if self.perm & bit != 0 { letter } else { '-' };
        write!(
            f,
            "TopicConfig [topicName={}, readQueueNums={}, writeQueueNums={}, perm={}{}{}, topicFilterType={}, topicSysFlag={}, order={}, attributes={{",
            self.name,
            self.read_queue_nums,
            self.write_queue_nums,
            bit(PERM_READ, 'R'),
            bit(PERM_WRITE, 'W'),
            bit(PERM_INHERIT, 'X'),
            if self.multi_tag { "MULTI_TAG" } else { "SINGLE_TAG" },
            self.topic_sys_flag,
            self.order,
        )?;
        for (at, (key, value)) in self.attributes.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{key}={value}")?;
        }
        f.write_str("}]")
    }
}

/// The JSON of a topic in the table of a registration, without its name and attributes.
const REGISTERED_BYTES: usize = r#""":{"attributes":{},"order":false,"perm":15,"readQueueNums":65535,"topicFilterType":"SINGLE_TAG","topicName":"","topicSysFlag":-2147483648,"writeQueueNums":65535},"#.len();
/// .. and of an attribute, without its texts.
const ATTRIBUTE_BYTES: usize = r#""":"","#.len();

pub const PERM_INHERIT: i32 = 1;
pub const PERM_WRITE: i32 = 2;
pub const PERM_READ: i32 = 4;
