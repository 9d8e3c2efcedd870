//! What the store must be told before it opens.

use std::path::{Path, PathBuf};

use protocol::record::BLANK_BYTES;

use crate::arena;
use crate::error::StoreError;
use crate::retention::Retention;

/// When an append counts as kept (design: ack levels `mem` and `disk`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlushMode {
    /// ASYNC_FLUSH: survives kill -9; the disk is synced every `flush_interval_ms`.
    #[default]
    Async,
    /// SYNC_FLUSH: the cold side syncs after every write-out; `Store::synced_to` says how far.
    Sync,
}

/// The sizes of an index file [maxHashSlotNum, maxIndexNum].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexShape {
    pub slots: u32,
    pub entries: u32,
}

/// RocketMQ's name of a field is in brackets where it has one.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// [storePathRootDir]
    pub root: PathBuf,
    /// [storePathCommitLog]; `<root>/commitlog` when not given.
    pub commitlog: Option<PathBuf>,
    /// [mappedFileSizeCommitLog]
    pub commitlog_file_bytes: u64,
    /// [mappedFileSizeConsumeQueue] a multiple of 20.
    pub consumequeue_file_bytes: u64,
    /// [flushDiskType]
    pub flush: FlushMode,
    /// [flushIntervalCommitLog]
    pub flush_interval_ms: i64,
    /// Largest record, and largest batch as a whole [maxMessageSize + 64 KiB].
    pub record_bytes_max: usize,
    /// [messageDelayLevel] in ms, level 1 first: the schedule topic's entries hold the delivery time.
    pub delay_levels_ms: Vec<i64>,
    /// [messageIndexEnable] keep an index of keys.
    pub index: bool,
    /// [maxHashSlotNum, maxIndexNum]
    pub index_shape: IndexShape,
    /// How long messages are kept.
    pub retention: Retention,
    /// What local time is ahead of UTC: index files are named by local time, and files are deleted at an hour of it.
    pub utc_offset_ms: i64,
    /// [hotLogPath] directory of the hot log; found by itself when not given.
    pub hot_dir: Option<PathBuf>,
    /// [hotLogBytes] all hot segments together.
    pub hot_bytes: usize,
    /// How many hot segments; one of them is always being recycled.
    pub hot_segments: usize,
    /// Memory for old messages read ahead for consumers that are behind; 0: none are.
    pub read_ahead_bytes: usize,
    /// Memory for the consume queue entries of the hot window; by the size of the hot log when not given.
    pub unit_bytes: Option<usize>,
    /// Write-outs of at least so many bytes go past the page cache, straight from the hot log: a quarter of the processor
    /// time. Smaller ones are left to the page cache to collect, except under SYNC_FLUSH.
    pub direct_bytes_min: usize,
    /// Under ASYNC_FLUSH, from so many waiting bytes on, runs are written while the next are made ready.
    pub ahead_bytes_min: usize,
    /// Index files are written in pieces of so many bytes, past the page cache: a multiple of 4096.
    pub index_piece_bytes: usize,
}

impl StoreConfig {
    /// The defaults on a directory.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            commitlog: None,
            commitlog_file_bytes: 1 << 30,
            consumequeue_file_bytes: 6_000_000,
            flush: FlushMode::Async,
            flush_interval_ms: 500,
            record_bytes_max: (4 << 20) + (64 << 10),
            delay_levels_ms: default_delay_levels_ms(),
            index: true,
            index_shape: IndexShape { slots: 5_000_000, entries: 20_000_000 },
            retention: Retention::default(),
            utc_offset_ms: 0,
            hot_dir: None,
            hot_bytes: 256 << 20,
            hot_segments: 8,
            read_ahead_bytes: 64 << 20,
            unit_bytes: None,
            direct_bytes_min: 128 << 10,
            ahead_bytes_min: 1 << 20,
            index_piece_bytes: 1 << 20,
        }
    }

    pub fn commitlog_dir(&self) -> PathBuf {
        self.commitlog.clone().unwrap_or_else(|| self.root.join("commitlog"))
    }

    pub fn consumequeue_dir(&self) -> PathBuf {
        self.root.join("consumequeue")
    }

    pub fn config_dir(&self) -> PathBuf {
        self.root.join("config")
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Bytes of one hot segment file, its header included: a multiple of a huge page, or of a page if it is smaller.
    pub fn hot_segment_bytes(&self) -> usize {
        let share = self.hot_bytes / self.hot_segments.max(1);
        share.next_multiple_of(if share >= arena::HUGE_PAGE_BYTES {
            arena::HUGE_PAGE_BYTES
        } else {
            arena::PAGE_BYTES
        })
    }

    /// As many entries as there are messages of 384 bytes in the hot log: of smaller ones fewer fit than it has bytes for.
    pub fn unit_bytes(&self) -> usize {
        self.unit_bytes.unwrap_or_else(|| (self.hot_bytes / UNIT_BYTES_PART).max(UNIT_BYTES_MIN))
    }

    /// Largest record that fits everywhere: small hot segments or commitlog files lower the configured limit.
    pub fn record_bytes_limit(&self) -> usize {
        let hot = self.hot_segment_bytes() - arena::HEADER_BYTES - arena::PAGE_BYTES;
        let file = usize::try_from(self.commitlog_file_bytes).unwrap_or(usize::MAX);
        self.record_bytes_max.min(hot.min(file) - BLANK_BYTES)
    }

    /// As [`StoreConfig::direct_bytes_min`], with what the flush mode makes of it.
    pub(crate) fn direct_bytes_from(&self) -> usize {
        match self.flush {
            FlushMode::Async => self.direct_bytes_min,
            FlushMode::Sync => 0,
        }
    }

    /// What ties the sizes together. The sentence names the key to change.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let complain = |what| Err(StoreError::Config { what });
        if self.hot_segments < HOT_SEGMENTS_MIN {
            return complain("the hot log needs at least 3 segments");
        }
        if self.hot_segment_bytes() < HOT_SEGMENT_BYTES_MIN {
            return complain("hotLogBytes is too small");
        }
        if self.commitlog_file_bytes < COMMITLOG_FILE_BYTES_MIN {
            return complain("mappedFileSizeCommitLog must be at least 65536");
        }
        if self.commitlog_file_bytes > u64::from(u32::MAX) >> 1 {
            return complain("mappedFileSizeCommitLog must be below 2 GiB");
        }
        if self.consumequeue_file_bytes == 0 || !self.consumequeue_file_bytes.is_multiple_of(20) {
            return complain("mappedFileSizeConsumeQueue must be a multiple of 20");
        }
        let shape = self.index_shape;
        if self.index && !(1..=SLOTS_MAX).contains(&shape.slots) {
            return complain("maxHashSlotNum must be from 1 to 100000000");
        }
        if self.index && !(2..=i32::MAX as u32 / 20).contains(&shape.entries) {
            return complain("maxIndexNum must be from 2 to 107374182");
        }
        Ok(())
    }
}

/// `1s 5s 10s 30s 1m .. 10m 20m 30m 1h 2h`.
pub fn default_delay_levels_ms() -> Vec<i64> {
    let seconds = [1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1_200, 1_800, 3_600, 7_200];
    seconds.iter().map(|seconds| seconds * 1_000).collect()
}

const SLOTS_MAX: u32 = 100_000_000;
/// An entry has 24 bytes.
const UNIT_BYTES_PART: usize = 16;
const UNIT_BYTES_MIN: usize = 12 << 20;
const HOT_SEGMENTS_MIN: usize = 3;
const HOT_SEGMENT_BYTES_MIN: usize = 32 << 10;
const COMMITLOG_FILE_BYTES_MIN: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offsets::Unit;

    /// Goal: a large hot log is not full of a few messages: it takes as many of 384 bytes as it has bytes for, whatever its size.
    #[test]
    fn entries_grow_with_the_hot_log() {
        for hot_bytes in [16 << 20, 512 << 20, 4 << 30] {
            let config = StoreConfig { hot_bytes, ..StoreConfig::new("/store") };
            let entries = config.unit_bytes() / size_of::<Unit>();
            assert!((entries + 1) * 384 >= hot_bytes, "{entries} for {hot_bytes} bytes");
        }
    }
}
