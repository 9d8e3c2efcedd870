//! How recent a table is.

bodies! {
    /// Two tables are the same if all three agree. 4.9 has no `stateVersion`, which counts as 0.
    #[derive(Copy, Eq)]
    pub struct DataVersion {
        pub counter: i64,
        pub state_version: i64,
        pub timestamp: i64,
    }
}

impl DataVersion {
    /// The version of a table that is made at `now_ms`.
    pub fn new(now_ms: i64) -> DataVersion {
        DataVersion { counter: 0, state_version: 0, timestamp: now_ms }
    }

    /// The version after a change at `now_ms`.
    #[must_use]
    pub fn next(self, now_ms: i64) -> DataVersion {
        DataVersion { counter: self.counter.wrapping_add(1), timestamp: now_ms, ..self }
    }
}
