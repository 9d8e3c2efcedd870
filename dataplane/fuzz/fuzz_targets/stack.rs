//! Ethernet bytes into the whole stack: the target of `tests/fuzz/stack.rs`, with libFuzzer to choose them.
#![no_main]
#![allow(clippy::unwrap_used)] // A test.

#[path = "../../tests/attack/cable.rs"]
#[allow(dead_code)]
mod cable;
#[path = "../../tests/attack/script.rs"]
#[allow(dead_code)]
mod script;
#[path = "../../tests/fuzz/stack.rs"]
mod stack;
#[path = "../../tests/attack/wire.rs"]
#[allow(dead_code)]
mod wire;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    stack::run(input);
});
