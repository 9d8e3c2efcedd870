//! Messages by key: code 12, behind mqadmin's queryMsgByKey, queryMsgByUniqueKey and queryMsgTraceById.
//!
//! ```text
//! topic, key, times --> cold thread: index, then the records --> their bytes one after the other, or 22
//! ```
//!
//! The index files are the cold side's, so every query is an errand. Unlike the official broker's, an answer holds no
//! message whose key only hashes alike.

use protocol::code::response;
use protocol::headers::{CustomHeader, QueryMessageRequestHeader, QueryMessageResponseHeader};
use store::{IndexEnd, KeyKind, KeysFound};

use super::super::errands::{KeyAsk, Question};
use super::super::{Broker, Refusal, ReplyTo, Request};
use crate::broker::request::check_kept;
use crate::outbox::{Body, Outbox};

/// A query that waits for its messages.
#[derive(Debug)]
pub struct KeyQuery {
    pub to: ReplyTo,
}

impl Broker {
    /// Code 12.
    pub(super) fn query_message(&mut self, req: &Request<'_>, _: &mut Outbox) -> Result<(), Refusal> {
        let fields = &req.header.fields;
        let header = QueryMessageRequestHeader::read(fields)?;
        let is_unique = fields.get("_UNIQUE_KEY_QUERY").is_some_and(|text| text.parse_bool());
        let wanted = if is_unique { self.config.default_query_max_num } else { header.max_num.max(0) as u32 };
        let kind = match fields.get("indexType") {
            Some(kind) if &*kind.to_cow() == "T" => KeyKind::Tag,
            _ => KeyKind::Key,
        };
        check_kept([header.topic, header.key])?;
        let ask = KeyAsk {
            topic: header.topic.to_cow().as_ref().into(),
            key: header.key.to_cow().into_owned(),
            kind,
            max: wanted.min(self.config.max_msgs_num_batch) as usize,
            begin_ms: header.begin_timestamp,
            end_ms: header.end_timestamp,
            bytes_max: ANSWER_BYTES_MAX,
        };
        self.ask_for_admin(Question::ByKey(Box::new(ask)), KeyQuery { to: req.reply_to() });
        Ok(())
    }
}

/// The cold thread has looked.
pub fn finish(to: ReplyTo, found: KeysFound, out: &mut Outbox) {
    let IndexEnd { timestamp, physical } = found.end;
    let header = QueryMessageResponseHeader {
        index_last_update_timestamp: timestamp,
        index_last_update_phyoffset: physical,
    };
    if found.messages == 0 {
        let refusal = Refusal::new(response::QUERY_NOT_FOUND, NOT_FOUND);
        return out.refuse_with(to, &refusal, |w| w.with(&header));
    }
    out.reply(to, response::SUCCESS, |w| w.with(&header), Body::Owned(found.bytes));
}

const NOT_FOUND: &str = "can not find message, maybe time range not correct";
/// A client takes frames of 16 MiB; a first message that is larger passes.
const ANSWER_BYTES_MAX: usize = 8 << 20;
