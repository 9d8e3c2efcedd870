//! What a shard counts: plain numbers, owned by its thread, copied out for whoever asks.

/// Counts of the broker's desks since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub requests: u64,
    pub refusals: u64,
    /// Send requests, and the messages and record bytes they stored.
    pub sends: u64,
    pub put_messages: u64,
    pub put_bytes: u64,
    pub put_failures: u64,
    /// Pull requests; held and cold ones count once more when they are answered.
    pub pulls: u64,
    pub pulls_found: u64,
    pub pulls_missed: u64,
    pub got_messages: u64,
    pub got_bytes: u64,
    /// Pulls that had to wait, and pulls that the cold thread read.
    pub holds: u64,
    pub cold_pulls: u64,
    /// Requests that had to be offered again for want of room.
    pub waits: u64,
    /// Replies that waited for the disk, and those that waited in vain.
    pub gated: u64,
    pub flush_timeouts: u64,
}
