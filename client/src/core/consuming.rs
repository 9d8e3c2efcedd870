//! Giving messages to listeners and hearing what became of them.
//!
//! ```text
//!   concurrent:  up to `consume_threads` calls at a time, the queues taking turns
//!     done   ──► the queue's offset moves to the smallest that is not done
//!     failed ──► CONSUMER_SEND_MSG_BACK, each message; refused ──► sent to the retry topic; that too ──► again in 5 s
//!   orderly:     orderly.rs
//! ```

use super::action::Action;
use super::group::{Consumed, Direct, Kind, PushGroup, RunId, Stats, Task, TaskId};
use super::instance::Instance;
use super::order::{How, Order, Payload, SendFor};
use super::time::Time;
use super::waiter::{Timer, Waiter};
use crate::error::ClientError;
use crate::message::{Message, MessageExt, MessageQueue, property};
use protocol::body::{Body, CMResult, ConsumeMessageDirectlyResult};
use protocol::code::{request, response};
use protocol::{RemotingCommand, names};
use std::sync::Arc;
use std::time::Duration;

impl Instance {
    /// The listener is done with a task.
    pub fn consumed(&mut self, group: &str, task: TaskId, result: Consumed, now: Time) {
        let Some((group, state)) = self.groups.get_key_value(group) else {
            return; // Shut down meanwhile.
        };
        let (group, is_orderly) = (group.clone(), state.is_orderly);
        let Some(state) = self.groups.get_mut(&group) else {
            return;
        };
        let Some(Task { messages, began, kind }) = state.tasks.remove(&task) else {
            return;
        };
        let (run, queue) = match kind {
            Kind::Run { run, queue } => (run, queue),
            Kind::Direct(direct) => {
                state.direct -= 1;
                return self.consumed_directly(direct, is_orderly, result, now.mono - began, now);
            }
            kind @ Kind::SendingBack { .. } => {
                state.tasks.insert(task, Task { messages, began, kind }); // Heard twice: the first time counts.
                return;
            }
        };
        state.busy -= 1;
        let stats: &mut Stats = state.stats.entry(queue.topic.clone()).or_default();
        let count = messages.len() as u64;
        if result == Consumed::Done {
            stats.ok += count
        } else {
            stats.failed += count
        }
        stats.took_ms += (now.mono - began).as_millis() as u64;
        if let Some((_, held)) = state.run(run) {
            held.consumed_ms = now.wall_ms;
        }
        if is_orderly {
            self.orderly_done(&group, run, &queue, &messages, result, now);
        } else if result == Consumed::Done {
            self.done(&group, run, messages.iter().map(|message| message.queue_offset), now);
        } else {
            self.failed(&group, task, run, messages, now);
        }
        self.hand_out(&group, now);
    }

    /// New messages for a run's listener, or room for more calls of it.
    pub(super) fn wake_listener(&mut self, group: &Arc<str>, run: RunId, now: Time) {
        let Some(state) = self.groups.get_mut(group) else {
            return;
        };
        if let Some((_, held)) = state.run(run)
            && held.cache.waiting_len() > 0
            && !held.is_ready
            && !held.is_occupied
        {
            held.is_ready = true;
            state.ready.push_back(run);
        }
        self.hand_out(group, now);
    }

    pub(super) fn consume_due(&mut self, group: &Arc<str>, run: RunId, now: Time) {
        if let Some((_, held)) = self.groups.get_mut(group).and_then(|state| state.run(run)) {
            held.is_occupied = false;
        }
        self.wake_listener(group, run, now);
    }

    /// Calls the listener for the runs that are ready, one task each in turn, while there is room.
    pub(super) fn hand_out(&mut self, group: &Arc<str>, now: Time) {
        while let Some(state) = self.groups.get_mut(group)
            && state.busy < state.config.consume_threads
            && let Some(run) = state.ready.pop_front()
        {
            let (is_orderly, batch) = (state.is_orderly, state.config.consume_batch_max);
            let is_locked =
                !is_orderly || !state.is_clustering() || super::orderly::is_locked(state, run, now);
            let Some(queue) = state.run(run).map(|(queue, _)| queue.clone()) else {
                continue; // Given up meanwhile.
            };
            let is_busy = is_orderly && is_busy_with(state, &queue);
            let Some((_, held)) = state.run(run) else {
                continue;
            };
            held.is_ready = false;
            if !is_locked || is_busy {
                // Somebody else may be at these messages. The relocking, or the end of the other call, wakes this run.
                continue;
            }
            let messages = held.cache.take(batch, now.mono);
            if messages.is_empty() {
                continue;
            }
            if is_orderly {
                held.is_occupied = true;
            } else if held.cache.waiting_len() > 0 {
                held.is_ready = true;
            }
            if held.is_ready {
                state.ready.push_back(run);
            }
            state.busy += 1;
            self.start_task(group, messages, Kind::Run { run, queue }, now);
        }
    }

    /// Gives one message to the listener because an administrator said so.
    pub(super) fn consume_directly(
        &mut self,
        group: &Arc<str>,
        mut message: MessageExt,
        direct: Direct,
        now: Time,
    ) -> Result<(), String> {
        if let Some(state) = self.groups.get_mut(group) {
            if state.direct >= DIRECT_MAX {
                return Err(format!("the listener has {DIRECT_MAX} such messages already"));
            }
            state.direct += 1;
        }
        if let Some(topic) = message.message.property(property::RETRY_TOPIC) {
            message.message.topic = topic.to_owned();
        }
        self.start_task(group, vec![Arc::new(message)], Kind::Direct(direct), now);
        Ok(())
    }

    /// Messages a listener has held for longer than it may go back to be tried elsewhere.
    pub(super) fn clean_expired(&mut self, group: &Arc<str>, now: Time) {
        let Some(state) = self.groups.get_mut(group) else {
            return;
        };
        let timeout = state.config.consume_timeout;
        self.timers.set(now.mono + timeout, Timer::CleanExpired { group: group.clone() });
        let Some(since) = now.mono.checked_sub(timeout).filter(|_| state.is_clustering()) else {
            return;
        };
        let expired: Vec<(RunId, Vec<Arc<MessageExt>>)> =
            state.queues.values().map(|held| (held.id, held.cache.taken_since(since))).collect();
        for (run, messages) in expired.into_iter().filter(|(_, messages)| !messages.is_empty()) {
            log::warn!(
                "{group}: {} messages are with the listener for {timeout:?} and go back",
                messages.len()
            );
            let task = TaskId(self.next_id());
            self.failed(group, task, run, messages, now);
        }
    }

    pub(super) fn send_back_answered(
        &mut self,
        group: &Arc<str>,
        task: TaskId,
        offset: i64,
        answer: Result<RemotingCommand, ClientError>,
        now: Time,
    ) {
        let refused = match answer {
            Ok(answer) if answer.code == response::SUCCESS => {
                return self.sent_back(group, task, offset, Ok(()), now);
            }
            Ok(answer) => ClientError::Refused { code: answer.code, remark: answer.remark },
            Err(error) => error,
        };
        log::warn!("{group}: a failed message could not be sent back, it goes as a new one: {refused}");
        let Some(state) = self.groups.get(group) else {
            return;
        };
        let max_times = state.max_reconsume_times();
        let task_state = state.tasks.get(&task);
        let message = task_state
            .and_then(|task| task.messages.iter().find(|message| message.queue_offset == offset))
            .cloned();
        if let Some(message) = message {
            self.send_as_retry(group, task, &message, max_times, now);
        }
    }

    /// A failed message is on its way to the retry topic, or it cannot be brought there.
    pub(super) fn sent_back(
        &mut self,
        group: &Arc<str>,
        task: TaskId,
        offset: i64,
        result: Result<(), ClientError>,
        now: Time,
    ) {
        let Some(state) = self.groups.get_mut(group) else {
            return;
        };
        let Some(Task { kind: Kind::SendingBack { run, waiting, refused }, .. }) = state.tasks.get_mut(&task)
        else {
            return;
        };
        waiting.retain(|waited| *waited != offset);
        if let Err(error) = result {
            log::warn!("{group}: a failed message stays here and is tried again in 5 s: {error}");
            refused.push(offset);
        }
        if !waiting.is_empty() {
            return;
        }
        let (run, refused) = (*run, std::mem::take(refused));
        let Some(task) = state.tasks.remove(&task) else {
            return;
        };
        if state.is_orderly {
            return self.orderly_sent_back(group, run, &task.messages, refused.is_empty(), now);
        }
        let offsets = task.messages.iter().map(|message| message.queue_offset);
        let done: Vec<i64> = offsets.filter(|offset| !refused.contains(offset)).collect();
        if !refused.is_empty()
            && let Some((_, held)) = state.run(run)
        {
            held.cache.put_back(refused, true);
            let timer = Timer::Consume { group: group.clone(), run };
            self.timers.set(now.mono + AGAIN_PAUSE, timer);
        }
        self.done(group, run, done.into_iter(), now);
    }

    /// Sends messages back to their brokers, to come again through the retry topic.
    fn failed(
        &mut self,
        group: &Arc<str>,
        task: TaskId,
        run: RunId,
        messages: Vec<Arc<MessageExt>>,
        now: Time,
    ) {
        let Some(state) = self.groups.get_mut(group) else {
            return;
        };
        let offsets: Vec<i64> = messages.iter().map(|message| message.queue_offset).collect();
        if state.run(run).is_none() {
            return; // The queue was given up: its new holder gets these messages.
        }
        if !state.is_clustering() {
            log::warn!("{group}: {} messages failed, and broadcasting knows no second try", messages.len());
            return self.done(group, run, offsets.into_iter(), now);
        }
        let max_times = state.max_reconsume_times();
        let kind = Kind::SendingBack { run, waiting: offsets, refused: Vec::new() };
        state.tasks.insert(task, Task { messages: messages.clone(), began: now.mono, kind });
        for message in messages {
            let offset = message.queue_offset;
            let Some(addr) = self.brokers.master(&message.queue.broker_name).cloned() else {
                self.send_as_retry(group, task, &message, max_times, now);
                continue;
            };
            let command = RemotingCommand::request(request::CONSUMER_SEND_MSG_BACK)
                .field("group", group)
                .field("originTopic", message.topic())
                .field("offset", message.commit_log_offset)
                .field("delayLevel", 0)
                .field("originMsgId", message.msg_id())
                .field("maxReconsumeTimes", max_times)
                .field("bname", &message.queue.broker_name);
            let waiter = Waiter::SendBack { group: group.clone(), task, offset };
            self.request(&addr, command, waiter, SEND_BACK_TIMEOUT, now);
        }
    }

    /// Sends a failed message to the retry topic as a message of its own.
    pub(super) fn send_as_retry(
        &mut self,
        group: &Arc<str>,
        task: TaskId,
        message: &MessageExt,
        max_times: i32,
        now: Time,
    ) {
        let retry = retry_message(group, message, max_times);
        let sender = self.inner_producer();
        let order = Order { payload: Payload::Single(retry), how: How::Sync, to: None, timeout: None };
        let offset = message.queue_offset;
        let whose = SendFor::Back { group: group.clone(), task, offset };
        if let Err(error) = self.send_for(whose, &sender, order, now) {
            self.sent_back(group, task, offset, Err(error), now);
        }
    }

    /// Keeps failed orderly messages as a task until they have reached the retry topic.
    pub(super) fn hold_back(
        &mut self,
        group: &Arc<str>,
        run: RunId,
        messages: Vec<Arc<MessageExt>>,
        now: Time,
    ) {
        let task = TaskId(self.next_id());
        let Some(state) = self.groups.get_mut(group) else {
            return;
        };
        let max_times = state.max_reconsume_times();
        let waiting = messages.iter().map(|message| message.queue_offset).collect();
        let kind = Kind::SendingBack { run, waiting, refused: Vec::new() };
        state.tasks.insert(task, Task { messages: messages.clone(), began: now.mono, kind });
        for message in messages {
            self.send_as_retry(group, task, &message, max_times, now);
        }
    }

    /// These offsets of a run are done with: the group's offset follows.
    pub(super) fn done(
        &mut self,
        group: &Arc<str>,
        run: RunId,
        offsets: impl Iterator<Item = i64>,
        _now: Time,
    ) {
        let Some(state) = self.groups.get_mut(group) else {
            return;
        };
        let Some((queue, held)) = state.run(run) else {
            return;
        };
        let (queue, commit) = (queue.clone(), held.cache.done(offsets));
        if let Some(commit) = commit {
            state.offsets.advance(&queue, commit);
        }
    }

    fn start_task(&mut self, group: &Arc<str>, messages: Vec<Arc<MessageExt>>, kind: Kind, now: Time) {
        let task = TaskId(self.next_id());
        if let Some(state) = self.groups.get_mut(group) {
            state.tasks.insert(task, Task { messages: messages.clone(), began: now.mono, kind });
            self.actions.push_back(Action::Consume { group: group.clone(), task, messages });
        }
    }

    fn consumed_directly(
        &mut self,
        direct: Direct,
        order: bool,
        result: Consumed,
        took: Duration,
        now: Time,
    ) {
        let consume_result = match result {
            Consumed::Done => CMResult::Success,
            Consumed::Again => CMResult::Later,
            Consumed::Panicked => CMResult::ThrowException,
        };
        let body = ConsumeMessageDirectlyResult {
            order,
            auto_commit: true,
            consume_result,
            spent_time_mills: took.as_millis() as i64,
            ..ConsumeMessageDirectlyResult::default()
        };
        let answer = RemotingCommand::response(response::SUCCESS, direct.opaque).body(body.encode());
        self.respond(direct.link, direct.codec, &answer, now);
    }
}

/// A failed message as a message to the retry topic: what the broker would have made of it.
fn retry_message(group: &str, failed: &MessageExt, max_times: i32) -> Message {
    let mut message = failed.message.clone();
    let origin = message.property(property::ORIGIN_MESSAGE_ID).unwrap_or(failed.msg_id()).to_owned();
    let topic = message.topic.clone();
    message.properties.remove(property::TRAN_MSG);
    for (name, value) in [
        (property::ORIGIN_MESSAGE_ID, origin),
        (property::RETRY_TOPIC, topic),
        (property::RECONSUME_TIME, failed.reconsume_times.saturating_add(1).to_string()),
        (property::MAX_RECONSUME_TIMES, max_times.to_string()),
        (property::DELAY, failed.reconsume_times.saturating_add(3).to_string()),
    ] {
        message.properties.insert(name.to_owned(), value);
    }
    message.topic = names::retry_topic(group);
    message
}

/// Whether a listener is at messages of this queue, taken by whichever run.
fn is_busy_with(state: &PushGroup, queue: &MessageQueue) -> bool {
    state.tasks.values().any(|task| matches!(&task.kind, Kind::Run { queue: of, .. } if of == queue))
}

const SEND_BACK_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages that administrators may have given to a listener at once: they come beside `consume_threads`.
const DIRECT_MAX: usize = 64;
const AGAIN_PAUSE: Duration = Duration::from_secs(5);
