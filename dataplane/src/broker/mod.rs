//! The broker: its tables and its desks.

pub mod groups;
pub mod locks;
pub mod offsets;
pub mod persist_ops;
pub mod topics;
pub mod version;
