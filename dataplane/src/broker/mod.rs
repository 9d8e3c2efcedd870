//! The broker: its tables and its desks.

pub mod client;
pub mod consumers;
pub mod groups;
pub mod locks;
pub mod offsets;
pub mod persist_ops;
pub mod producers;
pub mod topics;
pub mod version;
