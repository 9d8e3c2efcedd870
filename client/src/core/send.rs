//! One send's life, from a message to its result.
//!
//! ```text
//!   order ──► route known? ──no──► look up ──► attempt ──answer 0, 10, 11, 12──────────► result
//!                  └────────yes───────────────►   ▲   ──retryable, attempts and time left──┐
//!                                                 └────────── other broker ◄───────────────┘
//!                                                     ──else──────────────────────────► error
//! ```
//!
//! A sync send is tried 1 + 2 times within its time, on failures of the connection and on the codes of
//! `RETRY_CODES`; an async one is tried again only when its connection failed; a one-way send and one to a queue the
//! caller chose are tried once (DefaultMQProducerImpl.sendDefaultImpl).

use super::action::{Answer, Token};
use super::instance::Instance;
use super::order::{How, Order, Payload, SendFor, SendId, SendOp};
use super::outgoing::Parcel;
use super::queue_choice::Rotor;
use super::time::Time;
use super::validate;
use super::waiter::{RouteWaiter, Waiter};
use crate::error::{ClientError, Invalid, Service, State};
use crate::message::MessageQueue;
use crate::result::{SendResult, SendStatus};
use protocol::RemotingCommand;
use protocol::code::response;
use protocol::headers::SendMessageResponseHeader;
use std::sync::Arc;

impl Instance {
    /// Sends; `token` hears of the end. What breaks a rule is refused here and now.
    pub fn send(&mut self, token: Token, group: &str, order: Order, now: Time) -> Result<(), ClientError> {
        self.send_for(SendFor::Token(token), group, order, now)
    }

    pub(super) fn send_for(
        &mut self,
        whose: SendFor,
        group: &str,
        order: Order,
        now: Time,
    ) -> Result<(), ClientError> {
        let Some((group, producer)) = self.producers.get_key_value(group) else {
            return Err(ClientError::NotRunning {
                service: Service::Producer,
                state: State::ShutdownAlready,
            });
        };
        let (group, config) = (group.clone(), &producer.config);
        let in_month_ms = protocol::ids::ms_of_month(now.wall_ms);
        let ids = &mut || self.unique_keys.next(in_month_ms).to_string();
        let parcel = match order.payload {
            Payload::Single(message) => {
                validate::message(&message, config.max_message_bytes)?;
                Parcel::single(message, config, false, ids)?
            }
            Payload::Half(message) => {
                validate::message(&message, config.max_message_bytes)?;
                Parcel::single(message, config, true, ids)?
            }
            Payload::Batch(messages) => {
                validate::batch(&messages)?;
                for message in &messages {
                    validate::message(message, config.max_message_bytes)?;
                }
                Parcel::batch(messages, config, ids)?
            }
        };
        if order.to.as_ref().is_some_and(|queue| *queue.topic != *parcel.topic) {
            return Err(Invalid::OtherTopic.into());
        }
        let bytes_len = parcel.bytes_len();
        let (bytes, max) = (self.sends_bytes, self.config().send_bytes_max);
        if bytes > 0 && bytes.saturating_add(bytes_len) > max {
            let what = "of messages have no result yet".to_owned();
            return Err(ClientError::TooFast { bytes, what, max, setting: "send_bytes_max" });
        }
        let attempts_max = match (order.how, &order.to) {
            (How::Sync, None) => config.retry_times_sync.saturating_add(1),
            (How::Async, _) => config.retry_times_async.saturating_add(1),
            (How::Sync, Some(_)) | (How::Oneway, _) => 1,
        };
        let deadline = now.mono + order.timeout.unwrap_or(config.send_timeout);
        let op = SendOp {
            whose,
            group,
            parcel,
            how: order.how,
            to: order.to,
            started: now.mono,
            deadline,
            attempts: 0,
            attempts_max,
            current: None,
            asked_route: false,
            brokers_sent: Vec::new(),
            stored: None,
        };
        let id = SendId(self.next_id());
        self.sends.insert(id, op);
        self.sends_bytes += bytes_len;
        self.attempt(id, None, now);
        Ok(())
    }

    /// The route of its topic came in, or will not.
    pub(super) fn send_routed(&mut self, id: SendId, found: Result<(), &ClientError>, now: Time) {
        match found {
            Ok(()) => self.attempt(id, None, now),
            Err(error) => self.finish(id, Err(error.clone()), now),
        }
    }

    pub(super) fn send_answered(
        &mut self,
        id: SendId,
        answer: Result<RemotingCommand, ClientError>,
        now: Time,
    ) {
        let Some(op) = self.sends.get_mut(&id) else {
            return;
        };
        let Some((queue, began)) = op.current.take() else {
            return;
        };
        let (how, producer) = (op.how, self.producers.get(&op.group));
        let retry_not_ok = producer.is_some_and(|producer| producer.config.retry_when_not_store_ok);
        let result = match answer {
            Ok(_) if how == How::Oneway => Ok(oneway_result(op, queue.clone())),
            Ok(answer) => read_result(op, queue.clone(), &answer),
            Err(error) => Err(error),
        };
        match &result {
            Ok(_) => self.faults.took(&queue.broker_name, now.mono - began, now.mono),
            Err(_) => self.faults.failed(&queue.broker_name, now.mono),
        }
        let is_worth_it = match &result {
            Ok(result) => result.status != SendStatus::Ok && retry_not_ok && how == How::Sync,
            Err(ClientError::Refused { code, .. }) => how == How::Sync && RETRY_CODES.contains(code),
            Err(ClientError::BadAnswer { .. }) => false,
            // Another broker may take it. One that has refused it before is met again at this same moment.
            Err(ClientError::TooFast { .. }) => {
                let met = self.sends.get(&id).map_or(0, |op| {
                    op.brokers_sent.iter().filter(|broker| **broker == *queue.broker_name).count()
                });
                how == How::Sync && met == 1
            }
            Err(_) => true,
        };
        let has_attempts = self.sends.get(&id).is_some_and(|op| op.attempts < op.attempts_max);
        match result {
            Err(error) if is_worth_it && has_attempts => self.attempt(id, Some((queue, error)), now),
            Ok(stored) if is_worth_it && has_attempts => {
                if let Some(op) = self.sends.get_mut(&id) {
                    op.stored = Some(stored);
                }
                self.attempt(id, Some((queue, ClientError::OutOfTime { what: "send" })), now);
            }
            result => self.finish(id, result, now),
        }
    }

    /// Tries the next queue, or the first. `failed` is where the attempt before this one failed, and how.
    fn attempt(&mut self, id: SendId, failed: Option<(MessageQueue, ClientError)>, now: Time) {
        let Some(op) = self.sends.get_mut(&id) else {
            return;
        };
        if now.mono >= op.deadline {
            let error = failed.map_or(ClientError::OutOfTime { what: "send" }, |(_, error)| error);
            return self.finish(id, Err(error), now);
        }
        let (topic, group) = (op.parcel.topic.clone(), op.group.clone());
        let avoid = failed.as_ref().map(|(queue, _)| queue.broker_name.clone());
        let queue = match &op.to {
            Some(queue) => Some(queue.clone()),
            None => self.choose_queue(&group, &topic, avoid.as_deref(), now),
        };
        let master = queue.as_ref().and_then(|queue| self.brokers.master(&queue.broker_name)).cloned();
        let Some(op) = self.sends.get_mut(&id) else {
            return;
        };
        let (Some(queue), Some(master)) = (queue.clone(), master) else {
            if op.asked_route {
                let error = match queue {
                    Some(queue) => ClientError::NoBroker { broker: queue.broker_name.to_string() },
                    None => ClientError::NoRoute { topic: topic.to_string(), reason: String::new() },
                };
                return self.finish(id, Err(error), now);
            }
            op.asked_route = true;
            let template = self.template_of(&group);
            return self.look_up(&topic, template, Some(RouteWaiter::Send(id)), now);
        };
        let Some(producer) = self.producers.get(&group) else {
            return self.finish(id, Err(ClientError::ShutDown), now);
        };
        op.attempts += 1;
        op.brokers_sent.push(queue.broker_name.to_string());
        op.current = Some((queue.clone(), now.mono));
        let left = op.deadline - now.mono;
        let mut command = op.parcel.request(&producer.config, &queue, now);
        if op.how == How::Oneway {
            command = command.oneway();
        }
        let addr = if self.config().vip_channel { vip(&master) } else { master };
        self.request(&addr, command, Waiter::Send(id), left, now);
    }

    fn choose_queue(
        &mut self,
        group: &str,
        topic: &Arc<str>,
        avoid: Option<&str>,
        now: Time,
    ) -> Option<MessageQueue> {
        let producer = self.producers.get_mut(group)?;
        let rotor = producer.topics.entry(topic.clone()).or_insert_with(|| Rotor::new(&mut self.rng));
        let faults = producer.config.send_latency_fault.then_some(&self.faults);
        rotor.next(&self.routes.get(topic)?.publish, avoid, faults, now.mono).cloned()
    }

    fn finish(&mut self, id: SendId, result: Result<SendResult, ClientError>, now: Time) {
        let Some(mut op) = self.sends.remove(&id) else {
            return;
        };
        self.sends_bytes -= op.parcel.bytes_len();
        let result = result.or_else(|error| op.stored.take().ok_or(error)).map_err(|error| match error {
            ClientError::NoRoute { .. } | ClientError::NoNameServer => error,
            // Nothing was tried again, or could have been: the failure speaks for itself.
            _ if op.how != How::Sync || op.to.is_some() => error,
            error => ClientError::SendFailed {
                times: op.attempts,
                cost: now.mono - op.started,
                topic: op.parcel.topic.to_string(),
                brokers: op.brokers_sent,
                last: Box::new(error),
            },
        });
        match op.whose {
            SendFor::Token(token) => self.answer(token, result.map(Answer::Sent)),
            SendFor::Back { group, task, offset } => {
                self.sent_back(&group, task, offset, result.map(|_| ()), now);
            }
            SendFor::Request { token, correlation } => {
                if let Err(error) = result
                    && self.requests.forget(&correlation)
                {
                    self.answer(token, Err(error));
                }
            }
        }
    }
}

fn oneway_result(op: &SendOp, queue: MessageQueue) -> SendResult {
    SendResult {
        status: SendStatus::Oneway,
        msg_id: op.parcel.msg_id.clone(),
        offset_msg_id: String::new(),
        queue,
        queue_offset: -1,
        transaction_id: None,
        region_id: None,
        trace_on: false,
        recall_handle: None,
    }
}

fn read_result(
    op: &SendOp,
    mut queue: MessageQueue,
    answer: &RemotingCommand,
) -> Result<SendResult, ClientError> {
    let status = match answer.code {
        response::SUCCESS => SendStatus::Ok,
        response::FLUSH_DISK_TIMEOUT => SendStatus::FlushDiskTimeout,
        response::FLUSH_SLAVE_TIMEOUT => SendStatus::FlushSlaveTimeout,
        response::SLAVE_NOT_AVAILABLE => SendStatus::SlaveNotAvailable,
        code => return Err(ClientError::Refused { code, remark: answer.remark.clone() }),
    };
    let header: SendMessageResponseHeader<'_> = answer.header().map_err(|error| ClientError::BadAnswer {
        addr: queue.broker_name.to_string(),
        reason: error.to_string(),
    })?;
    queue.queue_id = header.queue_id;
    let owned = |text: protocol::Text<'_>| text.to_cow().into_owned();
    Ok(SendResult {
        status,
        msg_id: op.parcel.msg_id.clone(),
        offset_msg_id: owned(header.msg_id),
        queue,
        queue_offset: header.queue_offset,
        transaction_id: header.transaction_id.map(owned),
        region_id: answer.ext("MSG_REGION").map(str::to_owned),
        trace_on: answer.ext("TRACE_ON") != Some("false"),
        recall_handle: header.recall_handle.map(owned),
    })
}

/// The broker's second port, which serves everything but pulls.
fn vip(addr: &Arc<str>) -> Arc<str> {
    let Some((host, port)) = addr.rsplit_once(':') else {
        return addr.clone();
    };
    match port.parse::<u16>() {
        Ok(port) if port > 2 => Arc::from(format!("{host}:{}", port - 2)),
        _ => addr.clone(),
    }
}

/// Answers after which a sync send tries another broker.
const RETRY_CODES: [i32; 8] = [
    response::TOPIC_NOT_EXIST,
    response::SERVICE_NOT_AVAILABLE,
    response::SYSTEM_ERROR,
    response::SYSTEM_BUSY,
    response::NO_PERMISSION,
    response::NO_BUYER_ID,
    response::NOT_IN_CURRENT_UNIT,
    response::GO_AWAY,
];
