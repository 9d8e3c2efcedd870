//! A pull of what is no longer hot: what it may take, and what it found.

use crate::offsets::QueueOffset;
use crate::shared::SharedBytes;

/// The limits of one pull.
#[derive(Clone, Copy, Debug, Default)]
pub struct PullLimits {
    pub messages: u32,
    /// Passed only by a first message that is larger.
    pub bytes: usize,
    /// Queue entries looked at, those the filter refuses included.
    pub entries: u32,
    /// As the first two, for a pull that goes on where the last one of its queue ended: what it wants was read ahead.
    pub messages_ahead: u32,
    pub bytes_ahead: usize,
    /// What was read ahead may be answered as places in shared memory.
    pub shares: bool,
}

/// What a pull found.
#[derive(Clone, Debug, Default)]
pub struct ColdPull {
    /// Records one after the other: the body of the answer.
    pub bytes: Vec<u8>,
    /// The same, instead of `bytes`, of a pull that may share.
    pub shared: SharedBytes,
    pub messages: u32,
    /// Where the next pull goes on.
    pub next: QueueOffset,
    /// Entries whose message is gone or damaged.
    pub passed_over: u32,
    /// It ended before entries that are missing and may be made again soon: the next pull finds them, or passes over them.
    pub is_waiting: bool,
}
