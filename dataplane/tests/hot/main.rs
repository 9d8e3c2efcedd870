//! The hot walks, driven through a whole shard over a network in memory and a simulated disk.

mod allocations;
mod fake_net;
mod probe;
mod pull;
mod requests;
mod send;
mod sessions;
mod world;

/// Counts what each thread allocates.
#[global_allocator]
static ALLOCATOR: dataplane::alloc::Counting = dataplane::alloc::Counting;
