//! The desks of administrators: mqadmin, the dashboard, replicas that copy tables.
//!
//! ```text
//! topics.rs  17 18 215 351 300 305     groups.rs  200 225 352 207     dumps.rs  21 201 43 328
//! clients.rs 203 204 343 345       settings.rs 25 26 306 316 329  status.rs 28 907
//! stats.rs   202 208 317 315           reset.rs   222 314             messages.rs 33
//! consumequeue.rs 321                  consume_directly.rs 309        query.rs 12
//! lists.rs   what 18 and 225 list, made over turns
//! removal.rs offsets that 215 and 207 remove
//! errands.rs second halves of what needs the files
//! ```
//!
//! Codes that change something take an allow-list, and none names a path or runs anything. What is asked for here is
//! rare; these desks may allocate. Codes and remarks are those of 5.5.

pub mod attributes;
mod clients;
mod consume_directly;
mod consumequeue;
mod dumps;
mod errands;
mod groups;
mod lists;
mod messages;
pub mod query;
pub mod rates;
mod removal;
mod reset;
mod settings;
pub mod stats;
mod status;
mod topics;

pub use errands::AdminErrand;

use protocol::body::DataVersion;
use protocol::code::{request as codes, response};

use super::{Broker, Refusal, Request};
use crate::broker::facts::SharedFacts;
use crate::measure::pace::Pace;
use crate::measure::stages::Stages;
use crate::outbox::Outbox;

/// What only the desks of this room know.
#[derive(Debug)]
pub struct Admin {
    /// When the broker was started.
    pub started_ms: i64,
    /// How far local time is ahead of UTC.
    pub utc_offset_ms: i64,
    /// Moves on with every change of the configuration (code 25).
    pub config_version: DataVersion,
    pub rates: rates::Rates,
    /// How the shard spends its time, and its sends theirs.
    pub pace: Box<Pace>,
    pub stages: Box<Stages>,
    pub counts: stats::Counts,
    /// What the cold side knows of the disk.
    pub disk: SharedFacts,
}

impl Admin {
    pub fn new(now_ms: i64, utc_offset_ms: i64, disk: SharedFacts) -> Admin {
        Admin {
            started_ms: now_ms,
            utc_offset_ms,
            config_version: DataVersion::new(now_ms),
            rates: rates::Rates::new(now_ms, utc_offset_ms),
            pace: Box::default(),
            stages: Box::default(),
            counts: stats::Counts::default(),
            disk,
        }
    }
}

impl Broker {
    /// Every code that no other desk takes; the last stop.
    pub(super) fn administer(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        if self.ops.is_full() {
            return Err(Refusal::no_room());
        }
        match req.header.code {
            codes::UPDATE_AND_CREATE_TOPIC => self.update_topic(req, out),
            codes::UPDATE_AND_CREATE_TOPIC_LIST => self.update_topics(req, out),
            codes::DELETE_TOPIC_IN_BROKER => self.delete_topic(req, out),
            codes::GET_TOPIC_CONFIG => self.topic_config(req, out),
            codes::QUERY_TOPIC_CONSUME_BY_WHO => self.groups_of_topic(req, out),
            codes::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => self.system_topics(req, out),
            codes::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => self.update_group(req, out),
            codes::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => self.update_groups(req, out),
            codes::GET_SUBSCRIPTIONGROUP_CONFIG => self.group_config(req, out),
            codes::DELETE_SUBSCRIPTIONGROUP => self.delete_group(req, out),
            codes::GET_ALL_TOPIC_CONFIG => self.all_topics(req, out),
            codes::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => self.all_groups(req, out),
            codes::GET_ALL_CONSUMER_OFFSET => self.all_consumer_offsets(req, out),
            codes::GET_CONSUMER_CONNECTION_LIST => self.consumer_connections(req, out),
            codes::GET_PRODUCER_CONNECTION_LIST => self.producer_connections(req, out),
            codes::GET_ALL_PRODUCER_INFO => self.all_producers(req, out),
            codes::QUERY_TOPICS_BY_CONSUMER => self.topics_of_consumer(req, out),
            codes::QUERY_SUBSCRIPTION_BY_CONSUMER => self.subscription_of_consumer(req, out),
            codes::UPDATE_BROKER_CONFIG => self.update_settings(req, out),
            codes::GET_BROKER_CONFIG => self.all_settings(req, out),
            codes::GET_BROKER_RUNTIME_INFO => self.runtime_info(req, out),
            codes::GET_TOPIC_STATS_INFO => self.topic_stats(req),
            codes::GET_CONSUME_STATS => self.consume_stats(req),
            codes::GET_BROKER_CONSUME_STATS => self.broker_consume_stats(req),
            codes::INVOKE_BROKER_TO_RESET_OFFSET => self.reset_offset(req, out),
            codes::VIEW_MESSAGE_BY_ID => self.view_message(req, out),
            codes::QUERY_MESSAGE => self.query_message(req, out),
            codes::DELETE_EXPIRED_COMMITLOG => self.delete_expired(req, out),
            codes::CLEAN_EXPIRED_CONSUMEQUEUE => self.clean_expired_queues(req, out),
            codes::CLEAN_UNUSED_TOPIC => self.clean_unused_topics(req, out),
            codes::CONSUME_MESSAGE_DIRECTLY => self.consume_directly(req, out),
            codes::CLONE_GROUP_OFFSET => self.clone_offsets(req, out),
            codes::VIEW_BROKER_STATS_DATA => self.stats_data(req),
            codes::QUERY_CONSUME_QUEUE => self.query_consume_queue(req, out),
            codes::GET_BROKER_HA_STATUS => self.ha_status(req, out),
            unknown => Err(Refusal::new(
                response::REQUEST_CODE_NOT_SUPPORTED,
                format!(" request type {unknown} not supported"),
            )),
        }
    }

    /// `ip:port` as the broker is known to clients.
    fn address_text(&self) -> String {
        self.address.to_string()
    }
}

/// Bad parameter, with the official remark.
fn invalid(remark: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(response::INVALID_PARAMETER, remark)
}
