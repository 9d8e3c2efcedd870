//! One message by where it lies: code 33, behind mqadmin's queryMsgById.

use protocol::code::response;
use protocol::headers::{CustomHeader, ViewMessageRequestHeader};
use store::{LogRange, PhysicalOffset};

use super::super::errands::Question;
use super::super::read::Level;
use super::super::{Broker, Refusal, ReplyTo, Request};
use crate::outbox::{Body, Outbox};

/// A view of a message that is being read.
#[derive(Debug)]
pub struct ViewMessage {
    pub to: ReplyTo,
    pub physical: i64,
}

impl Broker {
    /// Code 33.
    pub(super) fn view_message(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let header = ViewMessageRequestHeader::read(&req.header.fields)?;
        let (to, physical) = (req.reply_to(), PhysicalOffset(header.offset));
        // What is not yet as safe as the broker promises is nobody's message yet.
        let visible_to = match self.level() {
            Level::Memory => self.store.published(),
            Level::Disk => self.store.synced_to(),
        };
        if header.offset < 0 || physical >= visible_to {
            return Err(not_found(header.offset));
        }
        match self.store.record_at(physical) {
            Some(record) => {
                let range = LogRange { physical, len: record.bytes.len() as u32 };
                out.reply(to, response::SUCCESS, |w| w, Body::Log(&[range]));
            }
            None if physical >= self.store.hot_start() => return Err(not_found(header.offset)),
            None => {
                self.ask_for_admin(Question::Record(physical), ViewMessage { to, physical: header.offset });
            }
        }
        Ok(())
    }
}

pub fn not_found(physical: i64) -> Refusal {
    Refusal::new(response::SYSTEM_ERROR, format!("can not find message by the offset, {physical}"))
}
