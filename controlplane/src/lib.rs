//! The conventional process: the name server.
//!
//! ```text
//! main.rs -> config.rs (keys, -c) -> server.rs (sockets, clock) -> namesrv/ (pure tables)
//!                                         |---> room.rs (what requests that are not whole take, and answers that are not read)
//!                                         '---> persist.rs (kvConfig.json, namesrv.properties)
//! ```
#![forbid(unsafe_code)]

pub mod config;
pub mod namesrv;
pub mod persist;
mod room;
pub mod server;
