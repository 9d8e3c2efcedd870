//! The client without sockets, clocks or threads: state machines that are told what happened and say what to do.
//!
//! ```text
//!   link_up / link_down / received / tick ──►  Instance  ──► next_action: Connect, Write, Close, Answer, Consume, ..
//!   send / call / push_start / consumed   ──►            ──► next_deadline: when to tick
//! ```
//!
//! One `Instance` is what RocketMQ calls a client instance: everything that shares one client id. Its state lies in
//! one struct, made of the states in action.rs, waiter.rs, order.rs and group.rs, which know nothing of it; each other
//! file below adds the steps of one subject to it:
//!
//! | subject | files |
//! |---|---|
//! | plumbing | instance.rs, action.rs (what the shell is to do), waiter.rs (who waits for what), links.rs (connections), calls.rs (opaque → waiter), timers.rs, time.rs, rng.rs |
//! | where things are | route.rs (one topic's route), lookup.rs (asking name servers), beats.rs (heartbeats) |
//! | sending | order.rs (what is to be sent), producer.rs, send.rs (one send's life), outgoing.rs (message → request), queue_choice.rs, fault.rs, validate.rs, transaction.rs, request_reply.rs |
//! | consuming | group.rs (a group's state), subscription.rs, consumer.rs, rebalance.rs, assign.rs, pulling.rs, pace.rs (how soon again), consuming.rs, orderly.rs, process_queue.rs, offsets.rs, incoming.rs, packed.rs, unpacking.rs (what takes long) |
//! | being asked | asked.rs (what brokers ask of clients) |
//!
//! *Invariants*: nothing here reads a clock or a random source of its own; no step blocks; every token that came in
//! with an operation leaves with exactly one `Action::Answer`.

pub mod assign;
pub mod calls;
pub mod fault;
pub mod instance;
pub mod lifecycle;
pub mod links;
pub mod offsets;
pub mod process_queue;
pub mod queue_choice;
pub mod rng;
pub mod route;
pub mod time;
pub mod timers;
pub mod validate;

mod action;
mod asked;
mod beats;
mod consumer;
mod consuming;
mod group;
mod incoming;
mod lookup;
mod order;
mod orderly;
mod outgoing;
mod pace;
mod packed;
mod producer;
mod pulling;
mod rebalance;
mod request_reply;
mod send;
mod subscription;
mod transaction;
mod unpacking;
mod waiter;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use action::{Action, Answer, Check, Token};
pub use group::{Consumed, Direct, TaskId};
pub use incoming::records;
pub use instance::{Instance, Settings};
pub use links::{Addr, LinkId};
pub use order::{How, Order, Payload};
pub use packed::Packed;
pub use pulling::read_pull;
pub use request_reply::reply_to;
pub use subscription::Subscription;
pub use time::Time;
pub use transaction::TransactionState;
