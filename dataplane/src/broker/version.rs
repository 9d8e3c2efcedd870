//! The version of a configuration table, as RocketMQ counts it.

/// Two tables are equal when all three fields are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DataVersion {
    pub state_version: i64,
    pub timestamp: i64,
    pub counter: i64,
}

impl DataVersion {
    /// A change was made now.
    pub fn advance(&mut self, now_ms: i64) {
        self.timestamp = now_ms;
        self.counter += 1;
    }
}
