//! The hot walks, driven through a whole shard over a network in memory and a simulated disk.

#![allow(clippy::unwrap_used)] // All of it is tests.

mod admin;
mod allocations;
mod any_request;
mod fake_net;
#[path = "../common/opened.rs"]
mod opened;
mod probe;
mod pull;
#[path = "../common/requests.rs"]
mod requests;
mod retention;
mod send;
mod sessions;
mod sight;
mod untaken;
#[path = "../common/vectors.rs"]
mod vectors;
mod world;

/// Counts what each thread allocates.
#[global_allocator]
static ALLOCATOR: dataplane::alloc::Counting = dataplane::alloc::Counting;
