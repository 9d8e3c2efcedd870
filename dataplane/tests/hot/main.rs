//! The hot walks, driven through a whole shard over a network in memory.

mod fake_net;
mod sessions;
