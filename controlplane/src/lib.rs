//! The conventional process: the name server.
//!
//! ```text
//! main.rs -> config.rs (keys, -c) -> server.rs (sockets, clock) -> namesrv/ (pure tables)
//!                                         |---> inbox.rs (what requests that are not whole take)
//!                                         '---> persist.rs (kvConfig.json, namesrv.properties)
//! ```
#![forbid(unsafe_code)]

pub mod config;
mod inbox;
pub mod namesrv;
pub mod persist;
pub mod server;
