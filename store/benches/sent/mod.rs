//! What a message of the official client has besides its body, for benches.

use protocol::properties;

pub fn list() -> Vec<u8> {
    let mut list = Vec::new();
    properties::push(&mut list, "UNIQ_KEY", b"7F0000010000000000000000000000000000");
    properties::push(&mut list, "MSG_REGION", b"DefaultRegion");
    properties::push(&mut list, "CLUSTER", b"DefaultCluster");
    properties::push(&mut list, "TRACE_ON", b"true");
    list
}
