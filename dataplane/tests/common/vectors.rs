//! Frames of the official software, as `protocol/tests/vectors` keeps them.

use protocol::RemotingCommand;
use protocol::frame::{Found, find};
use serde_json::Value;

/// The items of a file of recorded frames.
pub fn items(file: &str) -> Vec<Value> {
    let path = format!("{}/../protocol/tests/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    file["items"].as_array().unwrap().clone()
}

/// The frame of that name in an item; none if there was no such.
pub fn command(item: &Value, name: &str) -> Option<RemotingCommand> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    let text = item[name].as_str()?.as_bytes();
    let bytes: Vec<u8> = text.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect();
    let Found::Whole { frame, bytes_len } = find(&bytes).unwrap() else { panic!("cut vector") };
    assert_eq!(bytes_len, bytes.len());
    Some(RemotingCommand::from_frame(&frame).unwrap())
}
