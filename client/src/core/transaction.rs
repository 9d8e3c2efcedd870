//! The second half of a transaction: what became of it, told by the producer or asked for by the broker.
//!
//! ```text
//!   half message stored ──► local transaction runs ──► end_transaction(commit | rollback | unknown)
//!                                                          │ unknown, or the word got lost
//!   broker, 6 s and more later: check (39) ──► Action::Check ──► checked(commit | rollback | unknown)
//! ```

use super::action::{Action, Check};
use super::instance::Instance;
use super::links::LinkId;
use super::time::Time;
use crate::message::{MessageExt, property};
use crate::result::{SendResult, SendStatus};
use protocol::RemotingCommand;
use protocol::code::request;
use protocol::headers::CheckTransactionStateRequestHeader;

/// What became of a local transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionState {
    Commit,
    Rollback,
    /// Not decided yet: the broker will ask again.
    Unknown,
}

impl Instance {
    /// Tells the broker what became of the half message that ended in `sent`. A half message that was not stored as
    /// safely as asked is rolled back whatever became of the transaction.
    pub fn end_transaction(
        &mut self,
        group: &str,
        sent: &SendResult,
        state: TransactionState,
        remark: Option<&str>,
        now: Time,
    ) {
        let state = if sent.status == SendStatus::Ok { state } else { TransactionState::Rollback };
        let Some(addr) = self.brokers.master(&sent.queue.broker_name).cloned() else {
            return; // The broker is gone; it will ask another member of the group when it is back.
        };
        let Some((_, commit_log_offset)) = protocol::ids::parse_offset_id(&sent.offset_msg_id) else {
            log::warn!("the half message's id {} holds no offset", sent.offset_msg_id);
            return;
        };
        let mut command = end_request(group, state)
            .field("topic", &sent.queue.topic)
            .field("tranStateTableOffset", sent.queue_offset)
            .field("commitLogOffset", commit_log_offset)
            .field("fromTransactionCheck", false)
            .field("msgId", &sent.msg_id)
            .field("bname", &sent.queue.broker_name);
        if let Some(id) = &sent.transaction_id {
            command = command.field("transactionId", id);
        }
        command.remark = remark.map(str::to_owned);
        self.tell(&addr, command, now);
    }

    /// The listener's answer to a check.
    pub fn checked(&mut self, check: &Check, state: TransactionState, now: Time) {
        self.check_dropped();
        let Some(addr) = self.links.addr(check.link).cloned() else {
            return; // The connection it was asked over is gone; the broker will ask again.
        };
        let mut command = end_request(&check.group, state)
            .field("topic", check.message.topic())
            .field("tranStateTableOffset", check.tran_state_table_offset)
            .field("commitLogOffset", check.commit_log_offset)
            .field("fromTransactionCheck", true)
            .field("msgId", &check.msg_id);
        if let Some(id) = &check.transaction_id {
            command = command.field("transactionId", id);
        }
        self.tell(&addr, command, now);
    }

    /// CHECK_TRANSACTION_STATE came in.
    pub(super) fn check_asked(
        &mut self,
        link: LinkId,
        command: &RemotingCommand,
        message: Option<MessageExt>,
    ) {
        if self.checks >= CHECKS_MAX {
            return log::debug!("{CHECKS_MAX} checks are under way; the broker will ask again");
        }
        let header: CheckTransactionStateRequestHeader<'_> = match command.header() {
            Ok(header) => header,
            Err(error) => return log::warn!("a transaction check without its header: {error}"),
        };
        let Some(message) = message else {
            return log::warn!("a transaction check without its message");
        };
        let group = message.message.property(property::PGROUP);
        let Some(group) = group.and_then(|group| self.producers.get_key_value(group)) else {
            return log::warn!("a transaction check for a group that is not here: {group:?}");
        };
        let owned = |text: protocol::Text<'_>| text.to_cow().into_owned();
        let check = Check {
            group: group.0.clone(),
            link,
            tran_state_table_offset: header.tran_state_table_offset,
            commit_log_offset: header.commit_log_offset,
            msg_id: header.msg_id.map_or_else(|| message.msg_id().to_owned(), owned),
            transaction_id: header.transaction_id.map(owned),
            message,
        };
        self.checks += 1;
        self.actions.push_back(Action::Check(Box::new(check)));
    }

    /// A check has no listener to go to.
    pub fn check_dropped(&mut self) {
        self.checks = self.checks.saturating_sub(1);
    }
}

/// Checks that may wait for their listener at once (checkRequestHoldMax).
const CHECKS_MAX: usize = 2000;

fn end_request(group: &str, state: TransactionState) -> RemotingCommand {
    let commit_or_rollback = match state {
        TransactionState::Commit => 8,
        TransactionState::Rollback => 12,
        TransactionState::Unknown => 0,
    };
    RemotingCommand::request(request::END_TRANSACTION)
        .field("producerGroup", group)
        .field("commitOrRollback", commit_or_rollback)
}
