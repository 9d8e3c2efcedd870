//! RemotingCommand and the stored record, as pure functions over byte slices.
#![forbid(unsafe_code)]
