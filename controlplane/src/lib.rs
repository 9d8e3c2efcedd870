//! The conventional process: the name server.
#![forbid(unsafe_code)]
