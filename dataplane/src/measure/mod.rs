//! How long things take: what a shard measures of itself as it runs, for desks that answer with it and operators who look.
//!
//! Knows nobody it measures and nobody who is told: time comes in, counts come out, all in memory taken at start.

pub mod histogram;
pub mod pace;
pub mod stages;
