//! The hot walks, driven through a whole shard over a network in memory and a simulated disk.

#![allow(clippy::unwrap_used)] // All of it is tests.

mod admin;
mod fake_net;
mod probe;
mod requests;
mod send;
mod sessions;
mod world;
