//! The polling broker on pinned cores.

pub mod alloc;
pub mod answer;
pub mod args;
pub mod broker;
pub mod cold;
pub mod config;
pub mod counters;
pub mod device;
pub mod host;
pub mod join;
pub mod lane;
pub mod limits;
pub mod measure;
pub mod net;
pub mod outbox;
pub mod plan;
pub mod rng;
pub mod run;
pub mod session;
pub mod shard;
pub mod shards;
pub mod sight;
pub mod speaker;
pub mod store_tool;
pub mod time;
pub mod touched;
