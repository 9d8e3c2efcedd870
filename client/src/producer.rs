//! Sending: a producer, and one for transactions.
//!
//! ```no_run
//! # async fn run() -> Result<(), client::ClientError> {
//! use client::{ClientConfig, Message, Producer, ProducerConfig};
//! let producer = Producer::new(ClientConfig::new("127.0.0.1:9876"), ProducerConfig::new("my-group"));
//! producer.start().await?;
//! let result = producer.send(Message::new("my-topic", "hello").with_tag("greeting")).await?;
//! println!("{} at {}", result.msg_id, result.queue_offset);
//! producer.shutdown().await;
//! # Ok(())
//! # }
//! ```

use crate::config::{ClientConfig, ProducerConfig};
use crate::core::{Answer, How, Order, Payload, TransactionState, validate};
use crate::error::{ClientError, Service, State};
use crate::message::{Message, MessageExt, MessageQueue};
use crate::net::{Room, Shell};
use crate::registry;
use crate::result::{SendResult, SendStatus};
use crate::service::Membership;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Sends messages for one group. Start it, use it from any number of tasks, shut it down.
pub struct Producer {
    config: ProducerConfig,
    membership: Membership,
    async_room: Arc<Semaphore>,
    /// In units of `ROOM_UNIT` bytes, `async_units` in all.
    async_bytes: Arc<Semaphore>,
    async_units: u32,
}

impl Producer {
    pub fn new(client: ClientConfig, config: ProducerConfig) -> Producer {
        // Half of what the instance takes: `send_async` waits, and leaves room for what only fails.
        let bytes = client.write_bytes_max.min(client.send_bytes_max) / 2;
        let async_units = u32::try_from(bytes / ROOM_UNIT).unwrap_or(u32::MAX).max(1);
        Producer {
            config,
            membership: Membership::new(client, Service::Producer),
            async_room: Arc::new(Semaphore::new(ASYNC_IN_FLIGHT_MAX)),
            async_bytes: Arc::new(Semaphore::new(async_units as usize)),
            async_units,
        }
    }

    /// CREATE_JUST → RUNNING. Refused settings leave START_FAILED; a group that is taken may be tried again later.
    pub async fn start(&self) -> Result<(), ClientError> {
        self.membership.begin()?;
        validate::producer_group(&self.config.group)?;
        let share = self.membership.join(true);
        let opened = share.shell.with(|core, now| core.producer_start(self.config.clone(), now));
        self.membership.settle(share, opened).await
    }

    /// Tells the brokers and closes what nobody else uses. Sends still under way fail.
    pub async fn shutdown(&self) {
        let Some(share) = self.membership.stop() else {
            return;
        };
        share.shell.with(|core, now| core.producer_stop(&self.config.group, now));
        registry::leave(&share.client_id).await;
    }

    pub fn state(&self) -> State {
        self.membership.state()
    }

    /// `ip@instance[@unit]`, once it runs.
    pub fn client_id(&self) -> Option<String> {
        self.membership.client_id()
    }

    /// Sends and waits for the broker's answer, trying up to three brokers within the send timeout.
    pub async fn send(&self, message: Message) -> Result<SendResult, ClientError> {
        self.order(Payload::Single(message), How::Sync, None, None)?.await
    }

    pub async fn send_within(&self, message: Message, timeout: Duration) -> Result<SendResult, ClientError> {
        self.order(Payload::Single(message), How::Sync, None, Some(timeout))?.await
    }

    /// Sends to this queue and no other, once.
    pub async fn send_to(&self, message: Message, queue: MessageQueue) -> Result<SendResult, ClientError> {
        self.order(Payload::Single(message), How::Sync, Some(queue), None)?.await
    }

    /// Sends to the queue that `select` picks: the same key to the same queue keeps its messages in order.
    pub async fn send_selected(
        &self,
        message: Message,
        select: impl FnOnce(&[MessageQueue], &Message) -> usize,
    ) -> Result<SendResult, ClientError> {
        let queues = self.publish_queues(&message.topic).await?;
        let picked = select(&queues, &message);
        let queue =
            queues.into_iter().nth(picked).ok_or(ClientError::Invalid(crate::error::Invalid::Setting {
                what: "select message queue return null.".to_owned(),
            }))?;
        self.send_to(message, queue).await
    }

    /// Sends messages of one topic as one request; they get consecutive offsets in one queue.
    pub async fn send_batch(&self, messages: Vec<Message>) -> Result<SendResult, ClientError> {
        self.order(Payload::Batch(messages), How::Sync, None, None)?.await
    }

    /// Begins to send and returns at once, or when fewer than 65,535 such sends are under way and their messages are less than
    /// half of `write_bytes_max`; the future is the end. Begun in order, messages to one queue
    /// arrive in order.
    pub async fn send_async(
        &self,
        message: Message,
    ) -> Result<impl Future<Output = Result<SendResult, ClientError>> + Send + use<>, ClientError> {
        let room = self.async_room.clone().acquire_owned().await.map_err(|_| ClientError::ShutDown)?;
        let units = u32::try_from(message.bytes_len() / ROOM_UNIT + 1).unwrap_or(u32::MAX);
        let bytes = self.async_bytes.clone().acquire_many_owned(units.min(self.async_units));
        let room = [room, bytes.await.map_err(|_| ClientError::ShutDown)?];
        let order = Order { payload: Payload::Single(message), how: How::Async, to: None, timeout: None };
        self.order_in(Some(room), order)
    }

    /// Sends and does not ask what became of it.
    pub async fn send_oneway(&self, message: Message) -> Result<(), ClientError> {
        self.order(Payload::Single(message), How::Oneway, None, None)?.await.map(|_| ())
    }

    /// Sends a message and waits for a consumer's reply to it.
    pub async fn request(&self, message: Message, timeout: Duration) -> Result<Message, ClientError> {
        let shell = self.shell()?;
        let group = &self.config.group;
        let asked = shell.ask(|core, token, now| core.send_request(token, group, message, timeout, now));
        match asked.end().await? {
            Answer::Message(reply) => Ok(*reply),
            other => unreachable!("a request ends with a message, not with {other:?}"),
        }
    }

    /// The queues messages of this topic may go to.
    pub async fn publish_queues(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        validate::topic(topic)?;
        let shell = self.shell()?;
        let asked = shell.ask(|core, token, now| {
            core.publish_queues(token, &self.config.group, topic, now);
            Ok(())
        });
        asked.queues().await
    }

    fn order(
        &self,
        payload: Payload,
        how: How,
        to: Option<MessageQueue>,
        timeout: Option<Duration>,
    ) -> Result<impl Future<Output = Result<SendResult, ClientError>> + Send + use<>, ClientError> {
        self.order_in(None, Order { payload, how, to, timeout })
    }

    fn order_in(
        &self,
        room: Option<Room>,
        order: Order,
    ) -> Result<impl Future<Output = Result<SendResult, ClientError>> + Send + use<>, ClientError> {
        let end =
            self.shell()?.ask_in(room, |core, token, now| core.send(token, &self.config.group, order, now));
        Ok(async move {
            match end.end().await? {
                Answer::Sent(result) => Ok(result),
                other => unreachable!("a send ends with its result, not with {other:?}"),
            }
        })
    }

    fn shell(&self) -> Result<Arc<Shell>, ClientError> {
        self.membership.shell()
    }
}

impl Drop for Producer {
    /// A producer that was not shut down leaves its instance, but does not wait for the farewell to get out.
    fn drop(&mut self) {
        if let Some(share) = self.membership.stop() {
            share.shell.with(|core, now| core.producer_stop(&self.config.group, now));
            registry::leave_in_background(&share.client_id);
        }
    }
}

/// Decides transactions. Its methods may block: each call runs where that harms nobody.
pub trait TransactionListener: Send + Sync + 'static {
    /// The half message is stored: do the local work and say what became of it.
    fn execute(&self, message: &Message) -> TransactionState;
    /// A broker heard nothing, or `Unknown`, and asks again.
    fn check(&self, message: &MessageExt) -> TransactionState;
}

/// What a transactional send ended with.
#[derive(Clone, Debug)]
pub struct TransactionResult {
    pub sent: SendResult,
    pub state: TransactionState,
}

/// Sends messages that are delivered if, and only if, a local transaction commits.
pub struct TransactionProducer {
    producer: Producer,
    listener: Arc<dyn TransactionListener>,
}

impl TransactionProducer {
    pub fn new(
        client: ClientConfig,
        config: ProducerConfig,
        listener: impl TransactionListener,
    ) -> TransactionProducer {
        TransactionProducer { producer: Producer::new(client, config), listener: Arc::new(listener) }
    }

    pub async fn start(&self) -> Result<(), ClientError> {
        self.producer.start().await?;
        let listener = self.listener.clone();
        let shell = self.producer.shell()?;
        shell.set_checker(&self.producer.config.group, Arc::new(move |message| listener.check(message)));
        Ok(())
    }

    pub async fn shutdown(&self) {
        self.producer.shutdown().await;
    }

    /// Stores the half message, runs the local transaction, tells the broker its outcome.
    pub async fn send(&self, message: Message) -> Result<TransactionResult, ClientError> {
        let sent = self.producer.order(Payload::Half(message.clone()), How::Sync, None, None)?.await?;
        let state = if sent.status == SendStatus::Ok {
            let (listener, mut message) = (self.listener.clone(), message);
            message.transaction_id.clone_from(&sent.transaction_id);
            // A listener that panics has decided nothing: the broker will ask.
            tokio::task::spawn_blocking(move || listener.execute(&message))
                .await
                .unwrap_or(TransactionState::Unknown)
        } else {
            TransactionState::Rollback
        };
        let shell = self.producer.shell()?;
        let group = &self.producer.config.group;
        shell.with(|core, now| core.end_transaction(group, &sent, state, None, now));
        Ok(TransactionResult { sent, state })
    }
}

const ASYNC_IN_FLIGHT_MAX: usize = 65_535;
/// Small, so that many small messages have room: about what a frame adds to a message.
const ROOM_UNIT: usize = 256;
