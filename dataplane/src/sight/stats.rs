//! The shard's numbers at one moment, copied into memory that was brought.

use crate::counters::Counters;
use crate::measure::histogram::Histogram;
use crate::measure::stages::StageTimes;
use crate::outbox::OutboxCounters;
use crate::session::SessionCounters;

/// Everything a shard counts.
#[derive(Debug)]
pub struct StatsPage {
    /// When this was, and how long that is after the shard's start: `TurnTime::mono_ns`.
    pub now_ns: u64,
    pub requests: Counters,
    pub sessions: SessionCounters,
    pub outbox: OutboxCounters,
    /// What the network and the device count, by name.
    pub net: Vec<(&'static str, u64)>,
    pub turns: u64,
    pub busy_turns: u64,
    pub busy_ns: u64,
    pub busy: Histogram,
    pub stages: StageTimes,
    /// What the disk takes: a run written, the log synced, a block read.
    pub disk: [Histogram; 3],
    /// What there is of each just now.
    pub now: Levels,
}

/// What may grow and shrink.
#[derive(Clone, Copy, Debug, Default)]
pub struct Levels {
    pub connections: usize,
    pub held_pulls: usize,
    pub errands: usize,
    /// Stored, and not yet written to the files; written, and not yet synced.
    pub unwritten_bytes: u64,
    pub unsynced_bytes: u64,
    /// A write or a sync has failed: nothing is stored any more.
    pub log_read_only: bool,
    pub disk_full: bool,
    pub allocations: u64,
}

impl StatsPage {
    /// An empty page with room.
    pub fn new() -> StatsPage {
        StatsPage {
            now_ns: 0,
            requests: Counters::default(),
            sessions: SessionCounters::default(),
            outbox: OutboxCounters::default(),
            net: Vec::with_capacity(NET_COUNTERS_MAX),
            turns: 0,
            busy_turns: 0,
            busy_ns: 0,
            busy: Histogram::default(),
            stages: StageTimes::default(),
            disk: Default::default(),
            now: Levels::default(),
        }
    }
}

impl Default for StatsPage {
    fn default() -> StatsPage {
        StatsPage::new()
    }
}

const NET_COUNTERS_MAX: usize = 128;
