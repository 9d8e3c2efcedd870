//! The text in which a broadcasting group keeps its offsets: `offsets.json`, as the Java client writes it.
//!
//! ```text
//! {"offsetTable":{{"brokerName":"b","queueId":0,"topic":"T"}:4,..}}
//! ```

use crate::core::offsets::Offsets;
use crate::message::{from_body, to_body};
use protocol::body::{Body, ResetOffsetBody};

pub fn write(offsets: &Offsets) -> String {
    // The same shape as the body of a reset: a table from queue to number.
    let table = offsets.iter().map(|(queue, offset)| (to_body(queue), offset)).collect();
    let bytes = ResetOffsetBody { offset_table: table }.encode();
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

pub fn read(text: &[u8]) -> Result<Offsets, String> {
    let body = ResetOffsetBody::decode(text).map_err(|error| error.to_string())?;
    Ok(body.offset_table.iter().map(|(queue, offset)| (from_body(queue), *offset)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MessageQueue;

    /// Goal: what was written is read, in the form the Java client has.
    #[test]
    fn offsets_come_back() {
        let offsets: Offsets = [(MessageQueue::new("T", "b", 3), 42)].into_iter().collect();
        let text = write(&offsets);
        assert_eq!(text, r#"{"offsetTable":{{"brokerName":"b","queueId":3,"topic":"T"}:42}}"#);
        assert_eq!(read(text.as_bytes()), Ok(offsets));
        assert!(read(b"{\"offsetTable\":").is_err());
    }
}
