//! The polling broker on pinned cores.

pub mod config;
