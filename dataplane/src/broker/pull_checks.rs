//! What a pull must pass before anything is read: rights, names, subscription (in the order of PullMessageProcessor).

use protocol::code::response;
use protocol::error::FieldError;
use protocol::header::Fields;
use protocol::headers::{CustomHeader, FieldSink, PULL_SUBSCRIPTION};

use crate::broker::consumers::MessageModel;
use crate::broker::filter::check_expression;
use crate::broker::held_pull::Pull;
use crate::broker::topics::TopicIndex;
use crate::broker::{Broker, FAQ, Refusal};
use crate::time::TurnTime;

/// A refusal, and for code 16 which right was missing.
pub struct PullRefusal {
    pub refusal: Refusal,
    pub fields: ForbiddenFields,
}

/// The header of a refused pull: empty but for `forbiddenType`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForbiddenFields {
    forbidden_type: Option<i32>,
}

impl Broker {
    /// Passes or refuses a pull; what passes has its filter in the scratch.
    pub(super) fn check_pull(&mut self, pull: &Pull<'_>, now: &TurnTime) -> Result<TopicIndex, PullRefusal> {
        let (group, topic) = (pull.group, pull.topic);
        if !self.config.broker_permission.can_read() {
            let ip = self.address.ip();
            return Err(forbidden(
                FORBIDDEN_BROKER,
                format!("the broker[{ip}] pulling message is forbidden"),
            ));
        }
        if pull.lite && !self.config.lite_pull_message_enable {
            let ip = self.address.ip();
            return Err(forbidden(
                FORBIDDEN_BROKER,
                format!("the broker[{ip}] for lite pull consumer is forbidden"),
            ));
        }
        let auto_create = self.config.auto_create_subscription_group;
        let found = self.groups.find_or_create(group, auto_create, now.wall_ms, &mut self.ops);
        let group_config = found.map_err(|why| PullRefusal::of(why.refusal(|| group_not_exist(group))))?;
        if !group_config.consume_enable {
            return Err(forbidden(FORBIDDEN_GROUP, format!("subscription group no permission, {group}")));
        }
        let broadcast_enabled = group_config.consume_broadcast_enable;
        let Some(index) = self.topics.find(topic) else {
            let remark = format!("topic[{topic}] not exist, apply first please! {FAQ}");
            return Err(refused(response::TOPIC_NOT_EXIST, remark));
        };
        let config = self.topics.get(index).expect("just found");
        if !config.is_readable() {
            return Err(forbidden(
                FORBIDDEN_TOPIC,
                format!("the topic[{topic}] pulling message is forbidden"),
            ));
        }
        let (queue_id, queues) = (pull.numbers.queue_id, config.read_queue_nums);
        if !(0..queues).contains(&queue_id) {
            let peer = pull.peer;
            let remark = format!(
                "queueId[{queue_id}] is illegal, topic:[{topic}] topicConfig.readQueueNums:[{queues}] consumer:[/{peer}]"
            );
            return Err(refused(response::INVALID_PARAMETER, remark));
        }
        // Also one that is not used: a pull that waits keeps it.
        check_expression(pull.subscription.unwrap_or_default(), pull.expression_type.unwrap_or_default())
            .map_err(PullRefusal::of)?;
        if pull.numbers.sys_flag & PULL_SUBSCRIPTION != 0 {
            self.filter_of_request(pull)?;
        } else {
            self.filter_of_group(pull, broadcast_enabled)?;
        }
        Ok(index)
    }

    /// The request brings its own subscription.
    fn filter_of_request(&mut self, pull: &Pull<'_>) -> Result<(), PullRefusal> {
        let unparsable =
            || refused(response::SUBSCRIPTION_PARSE_FAILED, "parse the consumer's subscription failed");
        match pull.expression_type {
            None | Some(TAG) => {
                self.scratch.filter.set_expression(pull.subscription).map_err(|_| unparsable())?;
                Ok(())
            }
            Some(_) if pull.subscription.is_none_or(str::is_empty) => Err(unparsable()),
            Some(other) => Err(no_property_filter(other)),
        }
    }

    /// The group's heartbeat said what it wants.
    fn filter_of_group(&mut self, pull: &Pull<'_>, broadcast_enabled: bool) -> Result<(), PullRefusal> {
        let group = pull.group;
        let Some(online) = self.consumers.group(group) else {
            let remark = format!("the consumer's group info not exist{FAQ}");
            return Err(refused(response::SUBSCRIPTION_NOT_EXIST, remark));
        };
        if !broadcast_enabled && online.kind.model == MessageModel::Broadcasting {
            let remark = format!("the consumer group[{group}] can not consume by broadcast way");
            return Err(forbidden(FORBIDDEN_BROADCASTING, remark));
        }
        let Some(subscription) = online.subscription(pull.topic) else {
            let remark = format!("the consumer's subscription not exist{FAQ}");
            return Err(refused(response::SUBSCRIPTION_NOT_EXIST, remark));
        };
        if subscription.sub_version < pull.numbers.sub_version {
            return Err(refused(response::SUBSCRIPTION_NOT_LATEST, "the consumer's subscription not latest"));
        }
        if !subscription.is_tag() {
            return Err(no_property_filter(&subscription.expression_type));
        }
        let all = subscription.is_all() || subscription.class_filter_mode;
        self.scratch.filter.set_codes(all, subscription.codes.iter().copied());
        Ok(())
    }
}

impl PullRefusal {
    /// Not for want of a right.
    #[cold]
    pub fn of(refusal: Refusal) -> PullRefusal {
        PullRefusal { refusal, fields: ForbiddenFields::default() }
    }
}

#[cold]
fn group_not_exist(group: &str) -> Refusal {
    let remark = format!("subscription group [{group}] does not exist, {FAQ}");
    Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark)
}

#[cold]
fn refused(code: i32, remark: impl Into<std::borrow::Cow<'static, str>>) -> PullRefusal {
    PullRefusal::of(Refusal::new(code, remark))
}

#[cold]
fn forbidden(forbidden_type: i32, remark: String) -> PullRefusal {
    let fields = ForbiddenFields { forbidden_type: Some(forbidden_type) };
    PullRefusal { refusal: Refusal::new(response::NO_PERMISSION, remark), fields }
}

#[cold]
fn no_property_filter(expression_type: &str) -> PullRefusal {
    let remark = format!("The broker does not support consumer to filter message by {expression_type}");
    refused(response::SYSTEM_ERROR, remark)
}

impl CustomHeader<'_> for ForbiddenFields {
    fn read(fields: &Fields<'_>) -> Result<Self, FieldError> {
        Ok(ForbiddenFields { forbidden_type: fields.get("forbiddenType").and_then(|text| text.parse_i32()) })
    }

    fn write(&self, out: &mut impl FieldSink) {
        if let Some(forbidden_type) = self.forbidden_type {
            out.number("forbiddenType", i64::from(forbidden_type));
        }
    }
}

const TAG: &str = "TAG";
/// Values of `forbiddenType`.
const FORBIDDEN_BROKER: i32 = 1;
const FORBIDDEN_GROUP: i32 = 2;
const FORBIDDEN_TOPIC: i32 = 3;
const FORBIDDEN_BROADCASTING: i32 = 4;
