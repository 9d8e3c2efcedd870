//! Retention at work: looks at disk and files every so often, and takes away what the rule says.
//!
//! ```text
//! every cleanResourceInterval: how full is the disk -> full? (appends refused) -> which files -> min moves on -> renamed away
//! then, a few queues with every step: their min, their files, told to the shard; at last the index
//! ```
//!
//! The order is that of a safe end at any moment: readers stop looking below the new min before a file goes, and whatever points
//! below it is made right by the next start as well. Nothing here frees the blocks of a large file: that is the trash's.

use super::{ColdStore, is_due};
use crate::error::MediumError;
use crate::marks::NewMin;
use crate::offsets::PhysicalOffset;
use crate::retention::{Candidate, Round, Space, believed, hour_of, is_in_future};

/// Where the cleaning is.
#[derive(Default)]
pub(crate) struct Cleaning {
    last_ms: Option<i64>,
    /// How many files the log had after that.
    files: usize,
    /// The next queue to be trimmed.
    trimming: Option<usize>,
    /// When all queues are to be trimmed once more, since that failed with some.
    trim_again_ms: Option<i64>,
    /// The log could not be written for want of space.
    pub no_space: bool,
    /// When something failed last, and what was told of it when.
    failed_ms: Option<i64>,
    told: Option<(String, i64)>,
}

impl ColdStore {
    /// One bounded piece. Returns whether there is more. After a failure there is a pause.
    pub(crate) fn clean_some(&mut self, now_ms: i64) -> bool {
        if self.cleaning.failed_ms.is_some_and(|since_ms| !is_due(now_ms, since_ms, RETRY_MS)) {
            return false;
        }
        let done = self.try_clean(now_ms);
        self.cleaning.failed_ms = done.is_err().then_some(now_ms);
        done.unwrap_or_else(|error| {
            self.cleaning.tell(&error, now_ms);
            false
        })
    }

    /// A write found no space: appends are refused and files forced out until one succeeds.
    pub(crate) fn note_no_space(&mut self, error: &MediumError) {
        if !self.cleaning.no_space {
            log::error!("the disk is full, sends are refused until there is space: {error}");
            self.cleaning.no_space = true;
            self.cleaning.last_ms = None; // Not in ten seconds: now.
        }
        self.marks.set_disk_full(true);
    }

    /// A write succeeded.
    pub(crate) fn note_space(&mut self) {
        if self.cleaning.no_space {
            log::info!("the log could be written again");
            self.cleaning.no_space = false;
            self.cleaning.last_ms = None;
        }
    }

    fn try_clean(&mut self, now_ms: i64) -> Result<bool, MediumError> {
        if self.remove_emptied()? {
            return Ok(true);
        }
        if let Some(from) = self.cleaning.trimming {
            let marks = &self.marks;
            let mut moved = |topic: &str, queue_id: i32, min: i64| {
                marks.new_mins.push(NewMin { topic: topic.into(), queue_id, min });
            };
            let log_min = self.disk.log.min();
            let (next, trimmed) = self.disk.queues.trim_some(from, QUEUES_PER_STEP, log_min, &mut moved);
            self.cleaning.trimming = next;
            if trimmed.is_err() {
                self.cleaning.trim_again_ms = Some(now_ms.saturating_add(TRIM_AGAIN_MS));
            }
            trimmed?;
            if self.cleaning.trimming.is_none()
                && let Some(index) = &mut self.disk.index
            {
                index.expire(log_min)?;
            }
            return Ok(self.cleaning.trimming.is_some());
        }
        if let Some(again_ms) = self.cleaning.trim_again_ms
            && (now_ms >= again_ms || again_ms - now_ms > TRIM_AGAIN_MS)
        {
            self.cleaning.trim_again_ms = None;
            self.cleaning.trimming = Some(0);
            return Ok(true);
        }
        if !self.is_round_due(now_ms) {
            return Ok(false);
        }
        self.cleaning.last_ms = Some(now_ms);
        let done = self.round(now_ms);
        self.cleaning.files = self.disk.log.starts().len();
        done
    }

    /// Every so often; more often while the disk is full, since senders wait for it; and with each new file if there is a quota,
    /// which a fast log would be far above before the next look.
    fn is_round_due(&self, now_ms: i64) -> bool {
        let Some(last_ms) = self.cleaning.last_ms else { return true };
        let retention = &self.config.retention;
        let has_grown = retention.bytes_max.is_some() && self.disk.log.starts().len() > self.cleaning.files;
        let interval_ms = match self.marks.disk_full() {
            true => retention.interval_ms.min(FULL_INTERVAL_MS_MAX),
            false => retention.interval_ms,
        };
        has_grown || now_ms < last_ms || now_ms - last_ms >= interval_ms
    }

    /// A few of the queues that an administrator wants gone. Returns whether there were any.
    fn remove_emptied(&mut self) -> Result<bool, MediumError> {
        let asked: Vec<_> = (0..QUEUES_PER_STEP).map_while(|_| self.marks.emptied.pop()).collect();
        if asked.is_empty() {
            return Ok(false);
        }
        let marks = &self.marks;
        let mut moved = |topic: &str, queue_id: i32, min: i64| {
            marks.new_mins.push(NewMin { topic: topic.into(), queue_id, min });
        };
        let removed =
            self.disk.queues.remove_emptied(&self.config.root, &asked, self.disk.log.min(), &mut moved)?;
        if removed > 0 {
            self.marks.count_emptied();
            log::info!("{removed} consume queues without messages deleted");
        }
        Ok(true)
    }

    /// Looks at everything, and removes what must go.
    fn round(&mut self, now_ms: i64) -> Result<bool, MediumError> {
        let space = self.fullest()?;
        self.mark_full(space);
        let candidates = self.candidates(now_ms)?;
        let files = self.disk.log.starts().len() as u64;
        let file_bytes = self.disk.log.file_bytes();
        let round = Round {
            now_ms,
            local_hour: hour_of(now_ms, self.config.utc_offset_ms),
            space,
            no_space: self.cleaning.no_space,
            asked: self.marks.take_asked_round(),
            file_bytes,
            log_bytes: files * file_bytes + self.disk.log.ground().map_or(0, |ground| ground.spare_bytes()),
            candidates: &candidates,
        };
        let causes = self.config.retention.decide(&round);
        for cause in &causes {
            let start = self.disk.log.min();
            let min = start.plus(file_bytes);
            self.marks.set_min_physical(min);
            let removed = self.disk.log.remove_first(&self.trash);
            if self.disk.log.min() == min {
                self.marks.count_removed(*cause, file_bytes);
                log::info!("commitlog file {start} deleted, the log begins at {min} ({cause})");
                self.cleaning.trimming = Some(0);
            } else {
                self.marks.set_min_physical(start); // It is still there, to be read.
            }
            removed?;
        }
        Ok(!causes.is_empty())
    }

    /// The fuller one of the partitions that hold commitlog and queues.
    fn fullest(&self) -> Result<Space, MediumError> {
        let root = self.medium.space(&self.config.root)?;
        let log_dir = self.config.commitlog_dir();
        // Before the first message there is no such directory.
        let log = self.medium.space(&log_dir).unwrap_or(root);
        Ok(if log.used_percent() > root.used_percent() { log } else { root })
    }

    fn mark_full(&self, space: Space) {
        let full = self.config.retention.is_full(space);
        if full && !self.marks.disk_full() {
            log::error!(
                "the disk is {} % full, above diskSpaceWarningLevelRatio: sends are refused until it is below; make room \
                 there, or keep less (fileReservedTime, commitLogBytesMax)",
                space.used_percent()
            );
        }
        if !full && self.marks.disk_full() && !self.cleaning.no_space {
            log::info!("the disk is {} % full: sends are accepted again", space.used_percent());
        }
        self.marks.set_disk_full(full || self.cleaning.no_space);
    }

    /// The oldest files that nobody needs for going on.
    fn candidates(&mut self, now_ms: i64) -> Result<Vec<Candidate>, MediumError> {
        let kept_from = self.marks.written_to().min(self.marks.synced_to());
        // What the hot log holds is compared with the files by a restart; and the last file stays, come what may.
        let needed =
            PhysicalOffset(kept_from.0 - (self.config.hot_segment_bytes() * self.config.hot_segments) as i64);
        let starts: Vec<_> = self.disk.log.starts().to_vec();
        let starts = starts.iter().copied().map(PhysicalOffset);
        let count = starts.clone().skip(1).take_while(|next| *next <= needed).count();
        let count = count.min(self.config.retention.files_per_round);
        let mut times = Vec::new();
        for next in starts {
            let time = self.reader().store_time(next).ok().flatten().filter(|time| *time > 0);
            times.push(time);
            // One that cannot be believed is judged by the first behind it that can.
            if times.len() > count && time.is_some_and(|time| !is_in_future(time, now_ms)) {
                break;
            }
        }
        let believed = believed(&times, now_ms);
        Ok(believed.into_iter().skip(1).take(count).map(|last_ms| Candidate { last_ms }).collect())
    }
}

impl Cleaning {
    /// Once a minute, as long as it is the same.
    fn tell(&mut self, error: &MediumError, now_ms: i64) {
        let text = error.to_string();
        let is_known =
            self.told.as_ref().is_some_and(|(told, at_ms)| *told == text && !is_due(now_ms, *at_ms, TELL_MS));
        if !is_known {
            log::error!("old files cannot be deleted: {text}");
            self.told = Some((text, now_ms));
        }
    }
}

/// After a failure.
const RETRY_MS: i64 = 1_000;
const TRIM_AGAIN_MS: i64 = 60_000;
const TELL_MS: i64 = 60_000;
const QUEUES_PER_STEP: usize = 32;
const FULL_INTERVAL_MS_MAX: i64 = 1_000;
