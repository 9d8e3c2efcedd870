//! Ordinary threads beside the shard: disk, files, name servers.
//!
//! ```text
//! keeper   tables -> texts of files, registrations      (keeper.rs, mirror.rs; tables.rs at a start)
//! files    texts -> config/*.json                       (files.rs)
//! disk     hot log -> commitlog/, consumequeue/         (disk.rs, nap.rs, urgent.rs)
//! write    runs of the log -> commitlog/, under load    (store::Writers)
//! ground   blocks for the log to be written on (clean.rs; SYNC_FLUSH)
//! clean    blocks of deleted files -> the file system (clean.rs)
//! reads    old records -> the shard                     (reads.rs)
//! ahead    blocks of the log -> memory of `reads`       (reads.rs)
//! namesrv  registrations -> name servers               (namesrv/)
//! sight    operators <-> the shard                     (sight/)
//! ```
//!
//! They may block, allocate and log; the shard never waits for them. An edge room: clocks, threads and the kernel's
//! sockets are used here.

pub mod clean;
pub mod disk;
pub mod files;
pub mod keeper;
pub mod mirror;
pub mod namesrv;
pub mod nap;
pub mod reads;
pub mod routes;
pub mod sight;
pub mod tables;
mod urgent;

use std::time::{SystemTime, UNIX_EPOCH};

/// What the wall clock shows.
pub fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
