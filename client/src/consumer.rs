//! Consuming: a push consumer, whose listener is called, and a pull consumer, which asks.
//!
//! ```no_run
//! # async fn run() -> Result<(), client::ClientError> {
//! use client::{ClientConfig, Consumed, PushConsumer, PushConsumerConfig};
//! let mut consumer = PushConsumer::new(ClientConfig::new("127.0.0.1:9876"), PushConsumerConfig::new("my-group"));
//! consumer.subscribe("my-topic", "TagA || TagB")?;
//! consumer.listen(|messages| async move {
//!     for message in &messages {
//!         println!("{} {:?}", message.msg_id(), message.body());
//!     }
//!     Consumed::Done
//! });
//! consumer.start().await?;
//! # Ok(())
//! # }
//! ```

use crate::config::{ClientConfig, PullConsumerConfig, PushConsumerConfig};
use crate::core::offsets::Offsets;
use crate::core::{Consumed, Subscription, read_pull, records, validate};
use crate::error::{ClientError, Invalid, Service, State};
use crate::message::{MessageExt, MessageQueue};
use crate::net::{Listener, Pending, Shell};
use crate::registry::{self, Share};
use crate::result::{PullResult, PullStatus};
use crate::service::Membership;
use protocol::body::{Body, CheckClientRequestBody, MessageModel};
use protocol::code::{request, response};
use protocol::headers::{PULL_SUBSCRIPTION, PULL_SUSPEND, PullMessageRequestHeader};
use protocol::{RemotingCommand, Text};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Calls a listener with the messages of its group. Start it, let it run, shut it down.
pub struct PushConsumer {
    config: PushConsumerConfig,
    listener: Option<(Listener, bool)>,
    subscriptions: Mutex<BTreeMap<String, Subscription>>,
    membership: Membership,
}

impl PushConsumer {
    pub fn new(client: ClientConfig, config: PushConsumerConfig) -> PushConsumer {
        let membership = Membership::new(client, Service::PushConsumer);
        PushConsumer { config, listener: None, subscriptions: Mutex::default(), membership }
    }

    /// `expression` is `*` or tags joined by `||`. Before the start or while it runs.
    pub fn subscribe(&self, topic: &str, expression: &str) -> Result<(), ClientError> {
        self.add(Subscription::tags(topic, expression)?);
        Ok(())
    }

    /// An SQL92 expression over properties; brokers must have enablePropertyFilter set.
    pub fn subscribe_sql(&self, topic: &str, expression: &str) -> Result<(), ClientError> {
        self.add(Subscription::sql(topic, expression)?);
        Ok(())
    }

    pub fn unsubscribe(&self, topic: &str) {
        let mut subscriptions = self.lock();
        subscriptions.remove(topic);
        if let Some(shell) = self.membership.running_shell() {
            shell.with(|core, now| core.unsubscribe(&self.config.group, topic, now));
        }
    }

    /// Messages in any order, up to `consume_threads` calls at a time.
    pub fn listen<F, E>(&mut self, listener: F)
    where
        F: Fn(Vec<Arc<MessageExt>>) -> E + Send + Sync + 'static,
        E: Future<Output = Consumed> + Send + 'static,
    {
        self.listener = Some((Arc::new(move |messages| Box::pin(listener(messages))), false));
    }

    /// Messages of each queue one after another, in order, by one member of the group at a time.
    pub fn listen_orderly<F, E>(&mut self, listener: F)
    where
        F: Fn(Vec<Arc<MessageExt>>) -> E + Send + Sync + 'static,
        E: Future<Output = Consumed> + Send + 'static,
    {
        self.listener = Some((Arc::new(move |messages| Box::pin(listener(messages))), true));
    }

    pub async fn start(&self) -> Result<(), ClientError> {
        self.membership.begin()?;
        validate::consumer_group(&self.config.group)?;
        self.config.check()?;
        let Some((listener, is_orderly)) = self.listener.clone() else {
            return Err(Invalid::Setting { what: "messageListener is null".to_owned() }.into());
        };
        // Broadcasting keeps its offsets under the client id, which must be the same after a restart.
        let own = self.config.model == MessageModel::Clustering;
        let share = self.membership.join(own);
        let opened = self.start_with(&share, listener, is_orderly).await;
        self.membership.settle(share, opened).await
    }

    /// Keeps the offsets, frees the locks, tells the brokers. Listener calls that are under way after
    /// `await_termination` end unheard.
    pub async fn shutdown(&self) {
        let Some(share) = self.membership.stop() else {
            return;
        };
        let group = &self.config.group;
        let _ = tokio::time::timeout(self.config.await_termination, async {
            while share.shell.with(|core, _| core.push_drain(group)) > 0 {
                tokio::time::sleep(DRAIN_POLL).await;
            }
        })
        .await; // Whether all ended or the time did: the shutdown goes on.
        share.shell.with(|core, now| core.push_stop(&self.config.group, now));
        share.shell.saved().await;
        registry::leave(&share.client_id).await;
    }

    pub fn state(&self) -> State {
        self.membership.state()
    }

    pub fn client_id(&self) -> Option<String> {
        self.membership.client_id()
    }

    async fn start_with(
        &self,
        share: &Share,
        listener: Listener,
        is_orderly: bool,
    ) -> Result<(), ClientError> {
        let subscriptions: Vec<Subscription> = self.lock().values().cloned().collect();
        for subscription in subscriptions.iter().filter(|subscription| subscription.is_sql()) {
            self.check_with_broker(share, subscription).await?;
        }
        let group = &self.config.group;
        let offsets = match self.config.model {
            MessageModel::Broadcasting => share.shell.kept_offsets(group)?,
            MessageModel::Clustering => Offsets::default(),
        };
        share.shell.start_group(group, listener, |core, now| {
            core.push_start(self.config.clone(), is_orderly, subscriptions, offsets, now)
        })
    }

    /// Asks a broker of the topic whether it understands the expression.
    async fn check_with_broker(&self, share: &Share, subscription: &Subscription) -> Result<(), ClientError> {
        let queues = ask_readable(&share.shell, &subscription.topic).await?;
        let body = CheckClientRequestBody {
            client_id: share.client_id.clone(),
            group: self.config.group.clone(),
            namespace: None,
            subscription_data: subscription.data(),
        };
        let command = RemotingCommand::request(request::CHECK_CLIENT_CONFIG).body(body.encode());
        let queue = queues.into_iter().next().ok_or_else(|| ClientError::NoRoute {
            topic: subscription.topic.clone(),
            reason: String::new(),
        })?;
        ask_queue(&share.shell, &queue, command, CHECK_TIMEOUT).success().await.map(|_| ())
    }

    fn add(&self, subscription: Subscription) {
        let mut subscriptions = self.lock();
        subscriptions.insert(subscription.topic.clone(), subscription.clone());
        if let Some(shell) = self.membership.running_shell() {
            shell.with(|core, now| core.subscribe(&self.config.group, subscription, now));
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Subscription>> {
        self.subscriptions.lock().expect("nothing panics while the list is held")
    }
}

impl Drop for PushConsumer {
    /// A consumer that was not shut down leaves its group, but does not wait for the farewell to get out.
    fn drop(&mut self) {
        if let Some(share) = self.membership.stop() {
            share.shell.with(|core, now| core.push_stop(&self.config.group, now));
            registry::leave_in_background(&share.client_id);
        }
    }
}

/// Asks for messages when the caller wants some. Where to go on is the caller's to know; the broker can keep it.
pub struct PullConsumer {
    config: PullConsumerConfig,
    membership: Membership,
}

impl PullConsumer {
    pub fn new(client: ClientConfig, config: PullConsumerConfig) -> PullConsumer {
        PullConsumer { config, membership: Membership::new(client, Service::PullConsumer) }
    }

    pub async fn start(&self) -> Result<(), ClientError> {
        self.membership.begin()?;
        validate::consumer_group(&self.config.group)?;
        let share = self.membership.join(self.config.model == MessageModel::Clustering);
        let opened = share.shell.with(|core, now| core.pull_start(self.config.clone(), now));
        self.membership.settle(share, opened).await
    }

    pub async fn shutdown(&self) {
        let Some(share) = self.membership.stop() else {
            return;
        };
        share.shell.with(|core, now| core.pull_stop(&self.config.group, now));
        registry::leave(&share.client_id).await;
    }

    /// The queues of a topic that can be read.
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        validate::topic(topic)?;
        ask_readable(&self.shell()?, topic).await
    }

    /// Up to `count` messages from `offset` on; an answer at once, found or not.
    pub async fn pull(
        &self,
        queue: &MessageQueue,
        expression: &str,
        offset: i64,
        count: i32,
    ) -> Result<PullResult, ClientError> {
        self.pull_held(queue, expression, offset, count, None).await
    }

    /// The same, but the broker holds the answer until there is a message, or for its suspend time.
    pub async fn pull_block(
        &self,
        queue: &MessageQueue,
        expression: &str,
        offset: i64,
        count: i32,
    ) -> Result<PullResult, ClientError> {
        self.pull_held(queue, expression, offset, count, Some(self.config.broker_suspend)).await
    }

    /// Where the group has come to in a queue, as the broker keeps it; `None` when it has not begun.
    pub async fn committed(&self, queue: &MessageQueue) -> Result<Option<i64>, ClientError> {
        let command = RemotingCommand::request(request::QUERY_CONSUMER_OFFSET)
            .field("consumerGroup", &self.config.group)
            .field("setZeroIfNotFound", false);
        match self.ask_offset(queue, command).await {
            Ok(offset) => Ok(Some(offset)),
            Err(ClientError::Refused { code: response::QUERY_NOT_FOUND, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Has the broker keep that the group has come to `offset` in a queue.
    pub async fn commit(&self, queue: &MessageQueue, offset: i64) -> Result<(), ClientError> {
        let command = RemotingCommand::request(request::UPDATE_CONSUMER_OFFSET)
            .field("consumerGroup", &self.config.group)
            .field("commitOffset", offset);
        self.ask(queue, command).await.map(|_| ())
    }

    pub async fn min_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        self.ask_offset(queue, RemotingCommand::request(request::GET_MIN_OFFSET)).await
    }

    /// One past the last message.
    pub async fn max_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        self.ask_offset(queue, RemotingCommand::request(request::GET_MAX_OFFSET)).await
    }

    /// The first message stored at `wall_ms` or later.
    pub async fn search_offset(&self, queue: &MessageQueue, wall_ms: i64) -> Result<i64, ClientError> {
        let command =
            RemotingCommand::request(request::SEARCH_OFFSET_BY_TIMESTAMP).field("timestamp", wall_ms);
        self.ask_offset(queue, command).await
    }

    async fn pull_held(
        &self,
        queue: &MessageQueue,
        expression: &str,
        offset: i64,
        count: i32,
        suspend: Option<Duration>,
    ) -> Result<PullResult, ClientError> {
        let subscription = Subscription::tags(&queue.topic, expression)?;
        let header = PullMessageRequestHeader {
            consumer_group: Text::new(self.config.group.as_bytes()),
            topic: Text::new(queue.topic.as_bytes()),
            queue_id: queue.queue_id,
            queue_offset: offset,
            max_msg_nums: count,
            sys_flag: PULL_SUBSCRIPTION | if suspend.is_some() { PULL_SUSPEND } else { 0 },
            suspend_timeout_millis: suspend.unwrap_or_default().as_millis() as i64,
            subscription: Some(Text::new(subscription.expression.as_bytes())),
            expression_type: Some(Text::new(subscription.kind.as_bytes())),
            ..PullMessageRequestHeader::default()
        };
        let command = RemotingCommand::request(request::PULL_MESSAGE).with(&header);
        let command = command.field("bname", &queue.broker_name);
        let timeout = suspend.map_or(self.config.pull_timeout, |_| self.config.suspend_timeout);
        let answer = ask_queue(&self.shell()?, queue, command, timeout).reply().await?;
        let header = read_pull(&answer)?;
        let mut messages = records(&answer.body, &queue.broker_name);
        messages.retain(|message| subscription.wants(message.tag()));
        Ok(PullResult {
            status: match answer.code {
                response::SUCCESS => PullStatus::Found,
                response::PULL_NOT_FOUND => PullStatus::NoNewMessage,
                response::PULL_OFFSET_MOVED => PullStatus::OffsetIllegal,
                _ => PullStatus::NoMatchedMessage,
            },
            next_begin_offset: header.next_begin_offset,
            min_offset: header.min_offset,
            max_offset: header.max_offset,
            messages: messages.into_iter().map(Arc::new).collect(),
        })
    }

    async fn ask_offset(&self, queue: &MessageQueue, command: RemotingCommand) -> Result<i64, ClientError> {
        let answer = self.ask(queue, command).await?;
        answer.ext("offset").and_then(|offset| offset.parse().ok()).ok_or_else(|| ClientError::BadAnswer {
            addr: queue.broker_name.to_string(),
            reason: "it has no offset".to_owned(),
        })
    }

    async fn ask(
        &self,
        queue: &MessageQueue,
        command: RemotingCommand,
    ) -> Result<RemotingCommand, ClientError> {
        let command = command
            .field("topic", &queue.topic)
            .field("queueId", queue.queue_id)
            .field("bname", &queue.broker_name);
        ask_queue(&self.shell()?, queue, command, OFFSET_TIMEOUT).success().await
    }

    fn shell(&self) -> Result<Arc<Shell>, ClientError> {
        self.membership.shell()
    }
}

impl Drop for PullConsumer {
    fn drop(&mut self) {
        if let Some(share) = self.membership.stop() {
            share.shell.with(|core, now| core.pull_stop(&self.config.group, now));
            registry::leave_in_background(&share.client_id);
        }
    }
}

async fn ask_readable(shell: &Arc<Shell>, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
    let asked = shell.ask(|core, token, now| {
        core.readable_queues(token, topic, now);
        Ok(())
    });
    asked.queues().await
}

fn ask_queue(
    shell: &Arc<Shell>,
    queue: &MessageQueue,
    command: RemotingCommand,
    timeout: Duration,
) -> Pending {
    shell.ask(|core, token, now| {
        core.call_queue(token, queue.clone(), command, timeout, now);
        Ok(())
    })
}

const DRAIN_POLL: Duration = Duration::from_millis(2);
const OFFSET_TIMEOUT: Duration = Duration::from_secs(5);
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);
