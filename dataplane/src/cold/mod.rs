//! Ordinary threads beside the shard: disk, files, name servers.

pub mod java_json;
pub mod mirror;
pub mod namesrv;
