//! Producer, consumer and admin library for RocketMQ brokers: this house's and the official ones.
//!
//! ```text
//!   producer.rs  consumer.rs  admin.rs     what applications call
//!          └──────────┼──────────┘
//!                  net.rs                  sockets and the clock, on tokio
//!                     │
//!                   core/                  what to do when: state machines, no IO
//! ```
//!
//! Names, defaults and error texts are those of the official Java client, so that what users know of it holds here.

pub mod admin;
pub mod config;
pub mod consumer;
pub mod core;
pub mod error;
pub mod message;
pub mod producer;
pub mod query;
pub mod result;

mod net;
mod offset_file;
mod registry;
mod service;

pub use admin::Admin;
pub use config::{
    ClientConfig, ConsumeFrom, MessageModel, ProducerConfig, PullConsumerConfig, PushConsumerConfig,
};
pub use consumer::{PullConsumer, PushConsumer};
pub use core::assign::Strategy;
pub use core::{Consumed, TransactionState, reply_to};
pub use error::{ClientError, Invalid, State};
pub use message::{Message, MessageExt, MessageQueue};
pub use producer::{Producer, TransactionListener, TransactionProducer, TransactionResult};
pub use protocol::Codec;
pub use result::{PullResult, PullStatus, SendResult, SendStatus};
