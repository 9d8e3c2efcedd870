//! Bytes of a stream into the readers of frames, headers and records: the target of `tests/fuzz/frames.rs`, with libFuzzer to choose
//! them.
#![no_main]

#[path = "../../tests/fuzz/frames.rs"]
mod frames;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    frames::run(input);
});
