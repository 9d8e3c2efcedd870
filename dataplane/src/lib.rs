//! The polling broker on pinned cores.

pub mod broker;
pub mod config;
