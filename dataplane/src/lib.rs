//! The polling broker on pinned cores.

pub mod broker;
pub mod cold;
pub mod config;
pub mod net;
pub mod rng;
pub mod time;
