//! RemotingCommand and the stored record, as pure functions over byte slices.
#![forbid(unsafe_code)]

pub mod config_text;
