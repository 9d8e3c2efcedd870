//! The endless pull of each queue a push consumer holds.
//!
//! ```text
//!   pull ──► room? ──no──► again in 50 ms
//!             └─yes──► PULL_MESSAGE, held by the broker up to 15 s
//!                        0   found: keep, wake the listener, pull on
//!                       19/20 nothing: pull on from nextBeginOffset
//!                       21   offset out of range: begin again where the broker says
//!                       else: again in 1 s
//! ```
//!
//! A broker that answers at once and leads nowhere is asked ever more slowly (pace.rs).

use super::group::{PushGroup, RunId};
use super::instance::Instance;
use super::packed::Packed;
use super::time::Time;
use super::waiter::{Then, Timer, Waiter};
use crate::error::ClientError;
use crate::message::{MessageExt, MessageQueue, property};
use protocol::body::MASTER_ID;
use protocol::code::{request, response};
use protocol::headers::{
    PULL_COMMIT_OFFSET, PULL_SUBSCRIPTION, PULL_SUSPEND, PullMessageRequestHeader, PullMessageResponseHeader,
};
use protocol::{RemotingCommand, Text, names};
use std::sync::Arc;
use std::time::Duration;

impl Instance {
    /// Pulls the next messages of a run, or sets a timer to see again whether it may.
    pub(super) fn pull(&mut self, group: &Arc<str>, run: RunId, now: Time) {
        let Some(state) = self.groups.get_mut(group) else {
            return;
        };
        let must_lock = state.is_orderly && state.is_clustering();
        let is_orderly = state.is_orderly;
        let config = &state.config;
        let Some((queue, held)) = state.queues.iter_mut().find(|(_, held)| held.id == run) else {
            return;
        };
        let Some(next_offset) = held.next_offset.filter(|_| !held.is_pulling) else {
            return;
        };
        let is_full = held.cache.len() > config.pull_threshold_messages
            || held.cache.bytes() > config.pull_threshold_bytes
            || (!is_orderly && held.cache.span() > config.pull_threshold_span);
        if is_full {
            return self.pull_later(group, run, FULL_PAUSE, now);
        }
        if must_lock && held.locked_at.is_none() {
            return self.pull_later(group, run, self.config().pull_delay_on_error, now);
        }
        let queue = queue.clone();
        let Some(subscription) = state.subscriptions.get(&queue.topic) else {
            return;
        };
        let broker_id = state.pull_from.get(&queue).copied().unwrap_or(MASTER_ID);
        let committed = state.offsets.get(&queue).filter(|offset| *offset > 0 && state.is_clustering());
        let Some((addr, is_slave)) = self.brokers.to_pull_from(&queue.broker_name, broker_id) else {
            let topic = queue.topic.clone();
            self.look_up(&topic, None, None, now);
            return self.pull_later(group, run, self.config().pull_delay_on_error, now);
        };
        let mut sys_flag = PULL_SUSPEND;
        if committed.is_some() && !is_slave {
            sys_flag |= PULL_COMMIT_OFFSET;
        }
        let posts = state.config.post_subscription_when_pull;
        if posts {
            sys_flag |= PULL_SUBSCRIPTION;
        }
        let header = PullMessageRequestHeader {
            consumer_group: Text::new(group.as_bytes()),
            topic: Text::new(queue.topic.as_bytes()),
            queue_id: queue.queue_id,
            queue_offset: next_offset,
            max_msg_nums: state.config.pull_batch,
            sys_flag,
            commit_offset: committed.unwrap_or(0),
            suspend_timeout_millis: SUSPEND.as_millis() as i64,
            subscription: posts.then(|| Text::new(subscription.expression.as_bytes())),
            sub_version: subscription.version,
            expression_type: Some(Text::new(subscription.kind.as_bytes())),
            ..PullMessageRequestHeader::default()
        };
        let command =
            RemotingCommand::request(request::PULL_MESSAGE).with(&header).field("bname", &queue.broker_name);
        let addr = addr.clone();
        if let Some((_, held)) = state.run(run) {
            held.is_pulling = true;
            held.pace.asked(now.mono);
            held.pulled_ms = now.wall_ms;
        }
        let waiter = Waiter::Pull { group: group.clone(), run };
        self.request(&addr, command, waiter, PULL_TIMEOUT, now);
    }

    pub(super) fn pull_answered(
        &mut self,
        group: &Arc<str>,
        run: RunId,
        answer: Result<RemotingCommand, ClientError>,
        now: Time,
    ) {
        let Some(state) = self.groups.get_mut(group) else {
            return;
        };
        let Some((queue, held)) = state.run(run) else {
            return; // Given up meanwhile: whoever holds it now will pull these messages.
        };
        let queue = queue.clone();
        let read = answer.and_then(|answer| read_pull(&answer).map(|header| (answer, header)));
        let (answer, header) = match read {
            Ok(read) => read,
            Err(error) => {
                held.is_pulling = false;
                log::warn!("{group} could not pull {queue}: {error}");
                let pause = match error {
                    ClientError::Refused { code: response::FLOW_CONTROL, .. } => FLOW_PAUSE,
                    _ => self.config().pull_delay_on_error,
                };
                return self.pull_later(group, run, pause, now);
            }
        };
        state.pull_from.insert(queue.clone(), header.suggest_which_broker_id);
        if answer.code == response::PULL_OFFSET_MOVED {
            return self.restart_at(group, &queue, header.next_begin_offset, now);
        }
        if answer.code != response::SUCCESS {
            return self.pulled(group, run, &header, Ok(Vec::new()), now);
        }
        let packed = Packed::Records { body: answer.body, broker: queue.broker_name };
        self.unpack(packed, Then::Pulled { group: group.clone(), run, header }, now);
    }

    /// What a pull brought is unpacked.
    pub(super) fn pulled(
        &mut self,
        group: &Arc<str>,
        run: RunId,
        header: &PullMessageResponseHeader,
        messages: Result<Vec<MessageExt>, &'static str>,
        now: Time,
    ) {
        let Some(state) = self.groups.get_mut(group) else {
            return;
        };
        let Some((queue, held)) = state.run(run) else {
            return; // Given up meanwhile.
        };
        held.is_pulling = false;
        let queue = queue.clone();
        let messages = match messages {
            Ok(messages) => wanted(state, group, &queue, messages, header),
            Err(reason) => {
                log::warn!("{group} pulls {queue} again, as {reason}");
                return self.pull_later(group, run, self.config().pull_delay_on_error, now);
            }
        };
        let Some((_, held)) = state.run(run) else {
            return;
        };
        held.next_offset = Some(header.next_begin_offset);
        let pause = held.pace.went_on(header.next_begin_offset, now.mono);
        held.cache.put(messages.into_iter().map(Arc::new));
        if held.cache.is_empty() {
            // Nothing of what was passed over is ours: the group's offset moves on without a listener.
            state.offsets.advance(&queue, header.next_begin_offset);
        }
        self.wake_listener(group, run, now);
        let interval = self.groups.get(group).map_or(Duration::ZERO, |state| state.config.pull_interval);
        self.pull_after(group, run, interval.max(pause), now);
    }

    /// Drops what is held of a queue and begins it again at `offset`, which becomes the group's.
    pub(super) fn restart_at(&mut self, group: &Arc<str>, queue: &MessageQueue, offset: i64, now: Time) {
        let Some(state) = self.groups.get_mut(group) else {
            return;
        };
        let Some(held) = state.queues.get_mut(queue) else {
            return;
        };
        log::info!("{group} goes on at {offset} in {queue}");
        // What the old run still has under way finds a new one and ends unheard.
        self.id_last += 1;
        let run = RunId(self.id_last);
        held.id = run;
        held.cache = Default::default();
        held.next_offset = Some(offset);
        held.is_pulling = false;
        held.is_ready = false;
        held.is_occupied = false;
        let pause = held.pace.moved(offset, now.mono);
        state.offsets.set(queue, offset);
        if state.is_clustering() {
            self.commit(group, queue, offset, now);
        }
        self.pull_after(group, run, pause, now);
    }

    fn pull_after(&mut self, group: &Arc<str>, run: RunId, pause: Duration, now: Time) {
        if pause.is_zero() { self.pull(group, run, now) } else { self.pull_later(group, run, pause, now) }
    }

    fn pull_later(&mut self, group: &Arc<str>, run: RunId, pause: Duration, now: Time) {
        self.timers.set(now.mono + pause, Timer::Pull { group: group.clone(), run });
    }
}

/// Those of the messages that are wanted, as a listener is to see them.
fn wanted(
    state: &PushGroup,
    group: &str,
    queue: &MessageQueue,
    mut messages: Vec<MessageExt>,
    header: &PullMessageResponseHeader,
) -> Vec<MessageExt> {
    if let Some(subscription) = state.subscriptions.get(&queue.topic) {
        messages.retain(|message| subscription.wants(message.tag()));
    }
    let retry_topic = names::retry_topic(group);
    for message in &mut messages {
        let properties = &mut message.message.properties;
        properties.insert(property::MIN_OFFSET.to_owned(), header.min_offset.to_string());
        properties.insert(property::MAX_OFFSET.to_owned(), header.max_offset.to_string());
        if message.message.topic == retry_topic
            && let Some(topic) = message.message.property(property::RETRY_TOPIC)
        {
            message.message.topic = topic.to_owned();
        }
    }
    messages
}

/// The answers that carry the four numbers; any other is an error, and so is a place before the first.
pub fn read_pull(answer: &RemotingCommand) -> Result<PullMessageResponseHeader, ClientError> {
    match answer.code {
        response::SUCCESS
        | response::PULL_NOT_FOUND
        | response::PULL_RETRY_IMMEDIATELY
        | response::PULL_OFFSET_MOVED => {
            let bad = |reason| ClientError::BadAnswer { addr: "the broker".to_owned(), reason };
            let header: PullMessageResponseHeader =
                answer.header().map_err(|error| bad(error.to_string()))?;
            match header.next_begin_offset {
                0.. => Ok(header),
                next => Err(bad(format!("it says to go on at {next}"))),
            }
        }
        code => Err(ClientError::Refused { code, remark: answer.remark.clone() }),
    }
}

const SUSPEND: Duration = Duration::from_secs(15);
const PULL_TIMEOUT: Duration = Duration::from_secs(30);
const FULL_PAUSE: Duration = Duration::from_millis(50);
const FLOW_PAUSE: Duration = Duration::from_millis(20);
