//! The conventional process: the name server.
//!
//! ```text
//! main.rs -> config.rs (keys, -c) -> server.rs (sockets, clock) -> namesrv/ (pure tables)
//!                                         '---> persist.rs (kvConfig.json, namesrv.properties)
//! ```
#![forbid(unsafe_code)]

pub mod config;
pub mod namesrv;
pub mod persist;
pub mod server;
