//! Sends.
