//! What strangers and broken peers may send, as tables: this frame in, that frame expected, nothing else.
//!
//! ```text
//!   > A 4 ack 0 'efgh'      this segment comes from the peer
//!   < A 0 ack 0             this one must leave, and no other
//!   = abcdefgh              these bytes must be readable now (and are read)
//! ```
//!
//! The stack is whole, the device simulated, the clock stands still unless moved. In every table another connection, the
//! witness, goes on unharmed. The T rules of docs/PROMISES.md.

#![allow(clippy::unwrap_used)] // All of it is tests.

mod cable;
#[path = "../common/mod.rs"]
mod common;
mod floods;
mod handshakes;
mod neighbours;
mod payload;
mod raw;
mod resets;
mod script;
mod wire;
mod wraps;
