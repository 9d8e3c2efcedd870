//! What a send must pass before anything is stored (in the order of AbstractSendMessageProcessor.msgCheck), and the
//! ways a topic or a dead letter queue comes about on the way.

use protocol::code::response;
use protocol::headers::SendMessageRequestHeader;
use protocol::names::{self, DLQ_PREFIX, RETRY_PREFIX};

use crate::broker::send::Target;
use crate::broker::topics::TopicIndex;
use crate::broker::{Broker, FAQ, Refusal, Request};
use crate::time::TurnTime;

impl Broker {
    /// Passes or refuses a send, whatever code it came by.
    pub(super) fn check_send(
        &mut self,
        req: &Request<'_>,
        header: &SendMessageRequestHeader<'_>,
    ) -> Result<Target, Refusal> {
        if req.now.wall_ms < self.config.start_accept_send_request_time_stamp {
            let until =
                local_time(self.config.start_accept_send_request_time_stamp, self.admin.utc_offset_ms);
            return Err(Refusal::new(
                response::SYSTEM_ERROR,
                format!("broker unable to service, until {until}"),
            ));
        }
        let found = match header.topic.plain_bytes() {
            Some(name) => self.topics.find_again(name),
            None => self.topics.find(&header.topic.to_cow()),
        };
        let topic = match found {
            Some(topic) => topic,
            None => self.unknown_topic(&header.topic.to_cow(), req, header)?,
        };
        if !self.announcing.is_empty() && self.is_being_announced(topic, req.now) {
            return Err(Refusal::no_room());
        }
        let config = self.topics.get(topic).expect("found or made");
        let name = &*config.name;
        if !self.config.broker_permission.can_write() && config.order {
            let ip = self.address.ip();
            return Err(Refusal::new(
                response::NO_PERMISSION,
                format!("the broker[{ip}] sending message is forbidden"),
            ));
        }
        if names::is_send_forbidden(name) {
            return Err(Refusal::new(
                response::NO_PERMISSION,
                format!("Sending message to topic[{name}] is forbidden."),
            ));
        }
        let queues = config.write_queue_nums;
        if header.queue_id >= queues.max(config.read_queue_nums) {
            let (queue_id, peer) = (header.queue_id, req.peer);
            let remark = format!("request queueId[{queue_id}] is illegal, {config} Producer: {peer}");
            return Err(Refusal::new(response::INVALID_PARAMETER, remark));
        }
        let queue_id = match header.queue_id {
            0.. => header.queue_id,
            _ if queues > 0 => self.rng.below(queues as u64) as i32,
            _ => {
                return Err(Refusal::new(
                    response::SYSTEM_ERROR,
                    format!("topic[{name}] has no queue to write to"),
                ));
            }
        };
        Ok(Target { topic, queue_id })
    }

    /// A name this broker does not have: a bad one, or a topic that may be made now.
    #[cold]
    fn unknown_topic(
        &mut self,
        name: &str,
        req: &Request<'_>,
        header: &SendMessageRequestHeader<'_>,
    ) -> Result<TopicIndex, Refusal> {
        if let Err(error) = names::check_topic(name) {
            return Err(Refusal::new(response::INVALID_PARAMETER, error.to_string()));
        }
        if names::is_send_forbidden(name) {
            return Err(Refusal::new(
                response::NO_PERMISSION,
                format!("Sending message to topic[{name}] is forbidden."),
            ));
        }
        let sys_flag = match header.unit_mode {
            true if name.starts_with(RETRY_PREFIX) => TOPIC_SYS_FLAG_UNIT_SUB,
            true => TOPIC_SYS_FLAG_UNIT,
            false => 0,
        };
        let (template, wanted) = (header.default_topic.to_cow(), header.default_topic_queue_nums);
        let made =
            self.topics.create_for_send(name, &template, wanted, sys_flag, req.now.wall_ms, &mut self.ops);
        let topic = made.map_err(|why| {
            let remark = || format!("topic[{name}] not exist, apply first please!{FAQ}");
            why.refusal(|| Refusal::new(response::TOPIC_NOT_EXIST, remark()))
        })?;
        self.announce(topic, req.now);
        Ok(topic)
    }

    /// Whether a message sent to a retry topic has come to the end of its retries.
    #[cold]
    pub(super) fn is_dead_letter(
        &mut self,
        req: &Request<'_>,
        header: &SendMessageRequestHeader<'_>,
        topic: TopicIndex,
    ) -> Result<bool, Refusal> {
        let name = self.topics.get(topic).expect("checked").name.clone();
        let group = name.strip_prefix(RETRY_PREFIX).expect("asked for retry topics only");
        let auto_create = self.config.auto_create_subscription_group;
        let found = self.groups.find_or_create(group, auto_create, req.now.wall_ms, &mut self.ops);
        let config = found.map_err(|why| why.refusal(|| group_not_exist(group)))?;
        let max = match header.max_reconsume_times {
            Some(max) if req.header.version >= VERSION_3_4_9 => max,
            _ => config.retry_max_times,
        };
        let reconsumed = header.reconsume_times.unwrap_or(0);
        Ok(reconsumed > max || self.locks.group_holds_any(group, req.now.wall_ms))
    }

    /// The dead letter queue of a retry topic's group; made if it is missing.
    #[cold]
    pub(super) fn dead_letter_target(
        &mut self,
        topic: TopicIndex,
        now: &TurnTime,
    ) -> Result<Target, Refusal> {
        let name = self.topics.get(topic).expect("checked").name.clone();
        let group = name.strip_prefix(RETRY_PREFIX).expect("asked for retry topics only");
        let dead = format!("{DLQ_PREFIX}{group}");
        let topic = self.topics.create_for_group(&dead, 1, None, 0, now.wall_ms, &mut self.ops)?;
        Ok(Target { topic, queue_id: 0 })
    }
}

/// The group of a retry is not there, and may not be made.
#[cold]
pub(super) fn group_not_exist(group: &str) -> Refusal {
    let remark = format!("subscription group not exist, {group} {FAQ}");
    Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark)
}

/// As official remarks write a time.
fn local_time(wall_ms: i64, utc_offset_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(wall_ms.saturating_add(utc_offset_ms)) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S,%3f").to_string(),
        Err(_) => wall_ms.to_string(), // Further off than calendars go.
    }
}

/// topicSysFlag of a topic that a unit's producer makes.
const TOPIC_SYS_FLAG_UNIT: i32 = 1;
/// .. and of a retry topic that a unit's consumer needs.
pub(super) const TOPIC_SYS_FLAG_UNIT_SUB: i32 = 2;
/// The first release whose header says how often a message may be retried.
const VERSION_3_4_9: i32 = 121;
