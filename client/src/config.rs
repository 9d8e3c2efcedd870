//! What a client can be told, with RocketMQ's defaults (ClientConfig, DefaultMQProducer, DefaultMQPushConsumer).

use crate::core::assign::Strategy;
use crate::error::Invalid;
use protocol::body::ConsumeFromWhere;
pub use protocol::body::MessageModel;
use protocol::frame::Codec;
use std::time::Duration;

/// What all services of one client instance share. Services whose client id is the same share one instance, and the
/// first one's settings hold for it.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `ip:port` of each name server.
    pub name_servers: Vec<String>,
    /// The address in the client id; found out by itself when `None`.
    pub client_ip: Option<String>,
    /// Part of the client id; `DEFAULT` becomes `pid#nanos`, which makes an instance of its own for every service.
    pub instance_name: String,
    pub unit_name: Option<String>,
    /// How requests are written. Answers are read in whichever form they come.
    pub codec: Codec,
    /// Between refreshes of the routes in use.
    pub poll_name_server: Duration,
    pub heartbeat_broker: Duration,
    pub persist_consumer_offset: Duration,
    /// Time for administrative calls: routes, heartbeats, member lists.
    pub api_timeout: Duration,
    pub connect_timeout: Duration,
    /// A connection that carries nothing this long is closed.
    pub idle_max: Duration,
    /// Sends go to the broker's second port, listenPort − 2.
    pub vip_channel: bool,
    /// Left in peace this long after an error answer to a pull.
    pub pull_delay_on_error: Duration,
    /// Bytes that may wait to be written to one broker or name server. A send or call beyond them fails at once with
    /// `ClientError::TooFast`, unless nothing else waits.
    pub write_bytes_max: usize,
    /// Bytes of messages that may be under way, from their send to its result, over all brokers; beyond them as well.
    pub send_bytes_max: usize,
    /// Connections to brokers that may be open or in the making. For one more, one is closed that carried nothing but
    /// heartbeats for `idle_max`; if there is none, what needs it fails at once with `ClientError::TooManyConnections`. The
    /// last eighth is left to what callers and pulls need: heartbeats take no more, those to brokers of consumed topics first.
    pub connections_max: usize,
}

impl ClientConfig {
    /// `name_servers` is `ip:port[;ip:port]`.
    pub fn new(name_servers: &str) -> ClientConfig {
        let split = name_servers.split([';', ',']).map(str::trim).filter(|addr| !addr.is_empty());
        ClientConfig { name_servers: split.map(str::to_owned).collect(), ..ClientConfig::default() }
    }

    #[must_use]
    pub fn with_instance_name(mut self, name: impl Into<String>) -> ClientConfig {
        self.instance_name = name.into();
        self
    }

    #[must_use]
    pub fn with_codec(mut self, codec: Codec) -> ClientConfig {
        self.codec = codec;
        self
    }

    /// `ip@instance[@unit]`
    pub(crate) fn client_id(&self, ip: &str) -> String {
        match self.unit_name.as_deref().filter(|unit| !unit.trim().is_empty()) {
            Some(unit) => format!("{ip}@{}@{unit}", self.instance_name),
            None => format!("{ip}@{}", self.instance_name),
        }
    }
}

impl Default for ClientConfig {
    fn default() -> ClientConfig {
        ClientConfig {
            name_servers: Vec::new(),
            client_ip: None,
            instance_name: INSTANCE_DEFAULT.to_owned(),
            unit_name: None,
            codec: Codec::Json,
            poll_name_server: Duration::from_secs(30),
            heartbeat_broker: Duration::from_secs(30),
            persist_consumer_offset: Duration::from_secs(5),
            api_timeout: Duration::from_secs(3),
            connect_timeout: Duration::from_secs(3),
            idle_max: Duration::from_secs(120),
            vip_channel: false,
            pull_delay_on_error: Duration::from_secs(1),
            write_bytes_max: 64 << 20,
            send_bytes_max: 256 << 20,
            connections_max: 512,
        }
    }
}

#[derive(Clone, Debug)]
pub struct ProducerConfig {
    pub group: String,
    /// The topic whose route stands in for that of a topic nobody has created yet.
    pub create_topic_key: String,
    pub default_topic_queues: i32,
    pub send_timeout: Duration,
    pub compress_body_over: usize,
    pub compress_level: u32,
    pub retry_times_sync: u32,
    pub retry_times_async: u32,
    /// Try another broker also when the message was stored but not flushed or replicated as asked.
    pub retry_when_not_store_ok: bool,
    pub max_message_bytes: usize,
    /// Leave slow brokers alone for a while.
    pub send_latency_fault: bool,
}

impl ProducerConfig {
    pub fn new(group: impl Into<String>) -> ProducerConfig {
        ProducerConfig {
            group: group.into(),
            create_topic_key: "TBW102".to_owned(),
            default_topic_queues: 4,
            send_timeout: Duration::from_secs(3),
            compress_body_over: 4096,
            compress_level: 5,
            retry_times_sync: 2,
            retry_times_async: 2,
            retry_when_not_store_ok: false,
            max_message_bytes: 4 * 1024 * 1024,
            send_latency_fault: false,
        }
    }
}

/// Where a group that has never consumed a queue begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConsumeFrom {
    #[default]
    LastOffset,
    FirstOffset,
    /// The first message stored at this moment (milliseconds since 1970) or later.
    Timestamp(i64),
}

impl ConsumeFrom {
    /// As a heartbeat says it.
    pub(crate) fn on_wire(self) -> ConsumeFromWhere {
        match self {
            ConsumeFrom::LastOffset => ConsumeFromWhere::LastOffset,
            ConsumeFrom::FirstOffset => ConsumeFromWhere::FirstOffset,
            ConsumeFrom::Timestamp(_) => ConsumeFromWhere::Timestamp,
        }
    }
}

#[derive(Clone, Debug)]
pub struct PushConsumerConfig {
    pub group: String,
    pub model: MessageModel,
    pub consume_from: ConsumeFrom,
    pub strategy: Strategy,
    /// Listener calls at the same time.
    pub consume_threads: usize,
    /// Messages given to one listener call at most.
    pub consume_batch_max: usize,
    pub pull_batch: i32,
    pub pull_interval: Duration,
    /// A queue that holds more of these is not pulled for 50 ms.
    pub pull_threshold_messages: usize,
    pub pull_threshold_bytes: usize,
    /// The same for the distance between its oldest and newest message; concurrent listeners only.
    pub pull_threshold_span: i64,
    /// −1: 16 for concurrent listeners, no limit for orderly ones.
    pub max_reconsume_times: i32,
    /// An orderly listener that asked for a moment gets this one.
    pub suspend_current_queue: Duration,
    /// A message a listener holds longer is sent back to be tried again elsewhere.
    pub consume_timeout: Duration,
    /// Put the subscription into every pull.
    pub post_subscription_when_pull: bool,
    /// How long a shutdown waits for listener calls under way, whose messages come again otherwise.
    pub await_termination: Duration,
}

impl PushConsumerConfig {
    pub fn new(group: impl Into<String>) -> PushConsumerConfig {
        PushConsumerConfig {
            group: group.into(),
            model: MessageModel::Clustering,
            consume_from: ConsumeFrom::LastOffset,
            strategy: Strategy::Average,
            consume_threads: 20,
            consume_batch_max: 1,
            pull_batch: 32,
            pull_interval: Duration::ZERO,
            pull_threshold_messages: 1000,
            pull_threshold_bytes: 100 * 1024 * 1024,
            pull_threshold_span: 2000,
            max_reconsume_times: -1,
            suspend_current_queue: Duration::from_secs(1),
            consume_timeout: Duration::from_secs(15 * 60),
            post_subscription_when_pull: false,
            await_termination: Duration::ZERO,
        }
    }

    pub(crate) fn check(&self) -> Result<(), Invalid> {
        let within = |name: &str, value: u64, most: u64| {
            if (1..=most).contains(&value) {
                return Ok(());
            }
            Err(Invalid::Setting { what: format!("{name} Out of range [1, {most}]") })
        };
        within("consumeThreadMax", self.consume_threads as u64, 1000)?;
        within("consumeMessageBatchMaxSize", self.consume_batch_max as u64, 1024)?;
        within("pullBatchSize", u64::try_from(self.pull_batch).unwrap_or(0), 1024)?;
        within("pullThresholdForQueue", self.pull_threshold_messages as u64, 65_535)?;
        within("consumeConcurrentlyMaxSpan", u64::try_from(self.pull_threshold_span).unwrap_or(0), 65_535)
    }
}

#[derive(Clone, Debug)]
pub struct PullConsumerConfig {
    pub group: String,
    pub model: MessageModel,
    /// How long a broker holds a pull that finds nothing.
    pub broker_suspend: Duration,
    /// How long such a pull may take in all.
    pub suspend_timeout: Duration,
    /// How long a pull that is not held may take.
    pub pull_timeout: Duration,
}

impl PullConsumerConfig {
    pub fn new(group: impl Into<String>) -> PullConsumerConfig {
        PullConsumerConfig {
            group: group.into(),
            model: MessageModel::Clustering,
            broker_suspend: Duration::from_secs(20),
            suspend_timeout: Duration::from_secs(30),
            pull_timeout: Duration::from_secs(10),
        }
    }
}

pub(crate) const INSTANCE_DEFAULT: &str = "DEFAULT";

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the client id's documented form, with and without a unit.
    #[test]
    fn client_ids_have_the_documented_form() {
        let mut config = ClientConfig::new("a:9876; b:9876,").with_instance_name("one");
        assert_eq!(config.name_servers, ["a:9876", "b:9876"]);
        assert_eq!(config.client_id("10.0.0.2"), "10.0.0.2@one");
        config.unit_name = Some("u1".to_owned());
        assert_eq!(config.client_id("10.0.0.2"), "10.0.0.2@one@u1");
    }
}
