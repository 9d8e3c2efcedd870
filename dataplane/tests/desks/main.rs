//! The desks, driven through a whole shard over a network in memory, a simulated disk and virtual time.

#![allow(clippy::unwrap_used)] // All of it is tests.

#[path = "../hot/fake_net.rs"]
#[allow(dead_code)] // The hot tests use the rest.
mod fake_net;

mod allocations;
mod answers;
mod bounds;
mod client;
mod cold_answers;
mod delay;
mod dumps;
mod full_tables;
mod holes;
mod long_bodies;
mod many_groups;
mod membership;
mod offsets;
#[path = "../common/opened.rs"]
mod opened;
mod reply;
#[path = "../common/requests.rs"]
mod requests;
mod retry;
mod transaction;
#[path = "../common/vectors.rs"]
mod vectors;
mod world;

#[global_allocator]
static ALLOCATIONS: dataplane::alloc::Counting = dataplane::alloc::Counting;
