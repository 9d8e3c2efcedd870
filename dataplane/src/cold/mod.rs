//! Ordinary threads beside the shard: disk, files, name servers.

pub mod namesrv;
