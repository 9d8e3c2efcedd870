//! What brokers ask of clients.
//!
//! | code | asks | done here |
//! |---|---|---|
//! | 40 | the members of a group changed | rebalance at once |
//! | 39 | what became of a half message | `Action::Check` |
//! | 220 | go on from these offsets | begin the queues there |
//! | 221, 307 | how far, how busy | answered at once |
//! | 309 | consume this message now | `Action::Consume`; the answer when it is done |
//! | 326 | a reply to a request | its token |
//! | other | | 3, not supported |

use super::group::{Direct, PushGroup, Run};
use super::instance::Instance;
use super::links::LinkId;
use super::packed::{Packed, Unpacked};
use super::subscription::Subscription;
use super::time::Time;
use super::waiter::Then;
use crate::message::{MessageExt, from_body, to_body};
use bytes::Bytes;
use protocol::RemotingCommand;
use protocol::body::{
    Body, ConsumeStatus, ConsumerRunningInfo, GetConsumerStatusBody, ProcessQueueInfo, ResetOffsetBody,
};
use protocol::code::{request, response};
use protocol::frame::Codec;
use protocol::headers::ReplyMessageRequestHeader;
use protocol::record::sys_flag;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

impl Instance {
    pub(super) fn asked(&mut self, link: LinkId, codec: Codec, command: RemotingCommand, now: Time) {
        match self.packed_in(link, &command) {
            Some(packed) => {
                self.unpack(packed, Then::Asked { link, codec, command: Box::new(command) }, now);
            }
            None => {
                let body = command.body.clone();
                self.asked_unpacked(link, codec, &command, Ok(Unpacked::Body(Ok(body))), now);
            }
        }
    }

    /// What is to be unpacked of a request before it is looked at.
    fn packed_in(&self, link: LinkId, command: &RemotingCommand) -> Option<Packed> {
        let body = command.body.clone();
        match command.code {
            request::CHECK_TRANSACTION_STATE => {
                let broker = self.links.addr(link).and_then(|addr| self.brokers.name_of(addr));
                let broker = broker.map_or_else(|| Arc::from(""), |(name, _)| name.clone());
                Some(Packed::Records { body, broker })
            }
            request::CONSUME_MESSAGE_DIRECTLY => {
                let broker = Arc::from(command.ext("brokerName").unwrap_or(""));
                Some(Packed::Records { body, broker })
            }
            request::PUSH_REPLY_MESSAGE_TO_CLIENT => {
                let header: ReplyMessageRequestHeader<'_> = command.header().ok()?;
                let flags = header.sys_flag;
                (flags & sys_flag::COMPRESSED != 0).then_some(Packed::Body { body, flags })
            }
            _ => None,
        }
    }

    pub(super) fn asked_unpacked(
        &mut self,
        link: LinkId,
        codec: Codec,
        command: &RemotingCommand,
        unpacked: Result<Unpacked, &'static str>,
        now: Time,
    ) {
        let is_oneway = command.is_oneway();
        let opaque = command.opaque;
        let (message, body) = match unpacked {
            Ok(Unpacked::Records(messages)) => (messages.into_iter().next(), Ok(Bytes::new())),
            Ok(Unpacked::Body(body)) => (None, body),
            Err(reason) => {
                log::warn!("request {} of a broker is not heard, as {reason}", command.code);
                let refusal = RemotingCommand::response(response::SYSTEM_ERROR, opaque).remark(reason);
                if !is_oneway {
                    self.respond(link, codec, &refusal, now);
                }
                return;
            }
        };
        let answer = match command.code {
            request::NOTIFY_CONSUMER_IDS_CHANGED => {
                let group = command.ext("consumerGroup").unwrap_or("");
                if let Some((group, _)) = self.groups.get_key_value(group) {
                    let group = group.clone();
                    self.rebalance_soon(&group, Duration::ZERO, now);
                }
                Ok(Vec::new())
            }
            request::CHECK_TRANSACTION_STATE => {
                self.check_asked(link, command, message);
                Ok(Vec::new())
            }
            request::RESET_CONSUMER_CLIENT_OFFSET => self.reset_asked(command, now),
            request::GET_CONSUMER_STATUS_FROM_CLIENT => self.status_asked(command),
            request::GET_CONSUMER_RUNNING_INFO => self.running_info_asked(command),
            request::CONSUME_MESSAGE_DIRECTLY => {
                let direct = Direct { link, codec, opaque };
                match self.consume_asked(command, message, direct, now) {
                    Ok(()) => return, // Answered when the listener is done.
                    Err(reason) => Err(reason),
                }
            }
            request::PUSH_REPLY_MESSAGE_TO_CLIENT => {
                body.and_then(|body| self.reply_pushed(command, body)).map(|()| Vec::new())
            }
            code => {
                log::warn!("a broker asks {code}, which is nothing a client answers");
                let remark = format!(" request type {code} not supported");
                let refusal =
                    RemotingCommand::response(response::REQUEST_CODE_NOT_SUPPORTED, opaque).remark(remark);
                if !is_oneway {
                    self.respond(link, codec, &refusal, now);
                }
                return;
            }
        };
        if is_oneway {
            return;
        }
        let answer = match answer {
            Ok(body) => RemotingCommand::response(response::SUCCESS, opaque).body(body),
            Err(reason) => RemotingCommand::response(response::SYSTEM_ERROR, opaque).remark(reason),
        };
        self.respond(link, codec, &answer, now);
    }

    /// RESET_CONSUMER_CLIENT_OFFSET: what is held of the queues is dropped, and they begin where the table says.
    fn reset_asked(&mut self, command: &RemotingCommand, now: Time) -> Result<Vec<u8>, String> {
        let group = command.ext("group").unwrap_or("");
        let body = ResetOffsetBody::decode(&command.body).map_err(|error| error.to_string())?;
        let Some((group, _)) = self.groups.get_key_value(group) else {
            return Ok(Vec::new());
        };
        let group = group.clone();
        for (queue, offset) in &body.offset_table {
            self.restart_at(&group, &from_body(queue), *offset, now);
        }
        Ok(Vec::new())
    }

    fn status_asked(&self, command: &RemotingCommand) -> Result<Vec<u8>, String> {
        let topic = command.ext("topic").unwrap_or("");
        let state = command.ext("group").and_then(|group| self.groups.get(group));
        let table = state.map(|state| {
            let of_topic = state.offsets.iter().filter(|(queue, _)| &*queue.topic == topic);
            of_topic.map(|(queue, offset)| (to_body(queue), offset)).collect()
        });
        let body =
            GetConsumerStatusBody { message_queue_table: table.unwrap_or_default(), ..Default::default() };
        Ok(body.encode())
    }

    fn running_info_asked(&self, command: &RemotingCommand) -> Result<Vec<u8>, String> {
        let group = command.ext("consumerGroup").unwrap_or("");
        let Some(state) = self.groups.get(group) else {
            return Err(format!("The Consumer Group <{group}> not exist in this consumer"));
        };
        Ok(running_info(state, &self.config().name_servers.join(";")).encode())
    }

    fn consume_asked(
        &mut self,
        command: &RemotingCommand,
        message: Option<MessageExt>,
        direct: Direct,
        now: Time,
    ) -> Result<(), String> {
        let group = command.ext("consumerGroup").unwrap_or("");
        let Some((group, _)) = self.groups.get_key_value(group) else {
            return Err(format!("The Consumer Group <{group}> not exist in this consumer"));
        };
        let group: Arc<str> = group.clone();
        let message = message.ok_or("the message to consume does not read")?;
        self.consume_directly(&group, message, direct, now)
    }
}

fn running_info(state: &PushGroup, name_servers: &str) -> ConsumerRunningInfo {
    let config = &state.config;
    let text = |name: &str, value: String| (name.to_owned(), value);
    let properties = BTreeMap::from([
        text("PROP_NAMESERVER_ADDR", name_servers.to_owned()),
        text("PROP_THREADPOOL_CORE_SIZE", config.consume_threads.to_string()),
        text("PROP_CONSUMEORDERLY", state.is_orderly.to_string()),
        text("PROP_CONSUME_TYPE", "CONSUME_PASSIVELY".to_owned()),
        text("PROP_CLIENT_VERSION", protocol::version::name(protocol::version::OURS)),
        text("PROP_CONSUMER_START_TIMESTAMP", state.started_ms.to_string()),
        text("consumerGroup", config.group.clone()),
        text("messageModel", config.model.name().to_owned()),
        text("consumeFromWhere", config.consume_from.on_wire().name().to_owned()),
        text("consumeMessageBatchMaxSize", config.consume_batch_max.to_string()),
        text("pullBatchSize", config.pull_batch.to_string()),
        text("pullInterval", config.pull_interval.as_millis().to_string()),
        text("pullThresholdForQueue", config.pull_threshold_messages.to_string()),
        text("consumeConcurrentlyMaxSpan", config.pull_threshold_span.to_string()),
        text("maxReconsumeTimes", config.max_reconsume_times.to_string()),
    ]);
    let status = state.stats.iter().map(|(topic, stats)| {
        let done = stats.ok + stats.failed;
        let status = ConsumeStatus {
            consume_failed_msgs: stats.failed as i64,
            consume_rt: if done == 0 { 0.0 } else { stats.took_ms as f64 / done as f64 },
            ..Default::default()
        };
        (topic.to_string(), status)
    });
    ConsumerRunningInfo {
        mq_table: state
            .queues
            .iter()
            .map(|(queue, run)| (to_body(queue), queue_info(state, queue, run)))
            .collect(),
        properties,
        status_table: status.collect(),
        subscription_set: state.subscriptions.values().map(Subscription::data).collect(),
        ..Default::default()
    }
}

fn queue_info(state: &PushGroup, queue: &crate::message::MessageQueue, run: &Run) -> ProcessQueueInfo {
    let (taken, taken_min, taken_max) = run.cache.taken_span();
    let taken = if state.is_orderly { (taken as i32, taken_min, taken_max) } else { (0, 0, 0) };
    ProcessQueueInfo {
        cached_msg_count: run.cache.len() as i32,
        cached_msg_max_offset: run.cache.offset_max_held().unwrap_or(0),
        cached_msg_min_offset: run.cache.offset_min().unwrap_or(0),
        cached_msg_size_in_mib: (run.cache.bytes() >> 20) as i32,
        commit_offset: state.offsets.get(queue).unwrap_or(0),
        last_consume_timestamp: run.consumed_ms,
        last_lock_timestamp: run.locked_ms,
        last_pull_timestamp: run.pulled_ms,
        locked: run.locked_at.is_some(),
        transaction_msg_count: taken.0,
        transaction_msg_min_offset: taken.1,
        transaction_msg_max_offset: taken.2,
        ..Default::default()
    }
}
