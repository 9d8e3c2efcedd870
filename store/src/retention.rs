//! Which commitlog files may go, and why: a pure rule over what is there.
//!
//! ```text
//! time     older than fileReservedTime, at an hour of deleteWhen
//! disk     older than fileReservedTime, the disk above diskMaxUsedSpaceRatio
//! asked    older than fileReservedTime, an administrator asked (code 329)
//! forced   the disk above diskSpaceCleanForciblyRatio, whatever the age
//! quota    the log larger than commitLogBytesMax, whatever the age
//! ```
//!
//! Oldest first, a few per round, never what the hot log or a restart may still need. The age of a file is that of the message
//! after its last: copies of a directory keep it. Implements D-11 (docs/PROMISES.md).

use std::fmt;

/// What is kept how long. RocketMQ's names are in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// [fileReservedTime]
    pub reserved_ms: i64,
    /// [deleteWhen] hours of local time.
    pub hours: Vec<u8>,
    /// [diskMaxUsedSpaceRatio]
    pub used_percent_max: u32,
    /// [diskSpaceCleanForciblyRatio]
    pub forced_percent: u32,
    /// [diskSpaceWarningLevelRatio] nothing is appended above.
    pub full_percent: u32,
    /// [cleanFileForciblyEnable]
    pub may_force: bool,
    /// [commitLogBytesMax] ours.
    pub bytes_max: Option<u64>,
    /// [cleanResourceInterval]
    pub interval_ms: i64,
    /// [deleteFileBatchMax]
    pub files_per_round: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            reserved_ms: 72 * HOUR_MS,
            hours: vec![4],
            used_percent_max: 75,
            forced_percent: 85,
            full_percent: 90,
            may_force: true,
            bytes_max: None,
            interval_ms: 10_000,
            files_per_round: 10,
        }
    }
}

/// Why a file went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Time,
    Disk,
    Asked,
    Forced,
    Quota,
}

impl Cause {
    pub const ALL: [Cause; 5] = [Cause::Time, Cause::Disk, Cause::Asked, Cause::Forced, Cause::Quota];

    /// As it stands in logs and figures.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Time => "time",
            Cause::Disk => "disk",
            Cause::Asked => "asked",
            Cause::Forced => "forced",
            Cause::Quota => "quota",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::Time => "time: older than fileReservedTime",
            Cause::Disk => "disk: older than fileReservedTime, and the disk is above diskMaxUsedSpaceRatio",
            Cause::Asked => "asked: older than fileReservedTime, and an administrator asked",
            Cause::Forced => "forced: the disk is above diskSpaceCleanForciblyRatio",
            Cause::Quota => "quota: the log is larger than commitLogBytesMax",
        })
    }
}

/// A partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    pub used: u64,
    /// What we may still take.
    pub available: u64,
}

impl Space {
    /// Used share in percent, rounded up.
    pub fn used_percent(self) -> u32 {
        let all = u128::from(self.used) + u128::from(self.available);
        if all == 0 { 0 } else { (u128::from(self.used) * 100).div_ceil(all) as u32 }
    }
}

/// A commitlog file that could go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// When its last message was stored, or later.
    pub last_ms: i64,
}

/// What a round looks at.
pub(crate) struct Round<'a> {
    pub now_ms: i64,
    pub local_hour: u8,
    pub space: Space,
    /// The log could not be written for want of space.
    pub no_space: bool,
    pub asked: bool,
    pub file_bytes: u64,
    /// Bytes of all files, those that must stay included.
    pub log_bytes: u64,
    /// Oldest first.
    pub candidates: &'a [Candidate],
}

impl Retention {
    /// Whether nothing should be appended.
    pub(crate) fn is_full(&self, space: Space) -> bool {
        space.used_percent() > self.full_percent
    }

    /// The causes for which the first so many candidates go.
    pub(crate) fn decide(&self, round: &Round<'_>) -> Vec<Cause> {
        let mut causes = Vec::new();
        let (mut space, mut log_bytes) = (round.space, round.log_bytes);
        for candidate in round.candidates.iter().take(self.files_per_round) {
            let Some(cause) = self.cause(round, candidate, space, log_bytes) else { break };
            causes.push(cause);
            log_bytes = log_bytes.saturating_sub(round.file_bytes);
            space.used = space.used.saturating_sub(round.file_bytes);
            space.available = space.available.saturating_add(round.file_bytes);
        }
        causes
    }

    fn cause(&self, round: &Round<'_>, candidate: &Candidate, space: Space, log_bytes: u64) -> Option<Cause> {
        let is_old = round.now_ms - candidate.last_ms >= self.reserved_ms;
        let percent = space.used_percent();
        if is_old && self.hours.contains(&round.local_hour) {
            return Some(Cause::Time);
        }
        if is_old && round.asked {
            return Some(Cause::Asked);
        }
        if is_old && percent > self.used_percent_max {
            return Some(Cause::Disk);
        }
        if self.bytes_max.is_some_and(|max| log_bytes > max) {
            return Some(Cause::Quota);
        }
        // A write that found no space is proof enough, once: then it is tried again.
        let no_space = round.no_space && space == round.space;
        (self.may_force && (percent > self.forced_percent || no_space)).then_some(Cause::Forced)
    }
}

/// When each file's first message was stored, as far as that can be believed; `first_ms` is what they say. One from the
/// future, and one that cannot be read, counts as old as the first one behind it that can be believed, and none as earlier than one before
/// it: neither a clock that had jumped nor a damaged record must keep files for ever, or delete them at once.
pub(crate) fn believed(first_ms: &[Option<i64>], now_ms: i64) -> Vec<i64> {
    let mut later = now_ms;
    let mut times: Vec<_> = first_ms
        .iter()
        .rev()
        .map(|time| {
            later = time.filter(|time| !is_in_future(*time, now_ms)).unwrap_or(later);
            later
        })
        .collect();
    times.reverse();
    let mut latest = i64::MIN;
    for time in &mut times {
        latest = latest.max(*time);
        *time = latest;
    }
    times
}

/// Whether a store time was told by a clock that was wrong. Threads read the clock at times a little apart.
pub(crate) fn is_in_future(time_ms: i64, now_ms: i64) -> bool {
    time_ms.saturating_sub(CLOCK_SLACK_MS) > now_ms
}

const CLOCK_SLACK_MS: i64 = 60_000;

pub(crate) fn hour_of(now_ms: i64, utc_offset_ms: i64) -> u8 {
    ((now_ms + utc_offset_ms).div_euclid(HOUR_MS).rem_euclid(24)) as u8
}

const HOUR_MS: i64 = 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: u64 = 100;

    fn round<'a>(candidates: &'a [Candidate], used: u64, log_bytes: u64) -> Round<'a> {
        Round {
            now_ms: 100 * HOUR_MS,
            local_hour: 3,
            space: Space { used, available: 10_000 - used },
            no_space: false,
            asked: false,
            file_bytes: FILE,
            log_bytes,
            candidates,
        }
    }

    /// D-11. Goal: each cause alone takes what it should and no more. Method: two old files, two young ones.
    #[test]
    fn every_cause_takes_what_it_should() {
        let file = |hours_ago: i64| Candidate { last_ms: (100 - hours_ago) * HOUR_MS };
        let files = [file(80), file(72), file(71), file(1)];
        let retention = Retention { files_per_round: 3, ..Retention::default() };
        let decide = |round: &Round<'_>| retention.decide(round);
        assert_eq!(decide(&round(&files, 5_000, 400)), []);
        assert_eq!(decide(&Round { local_hour: 4, ..round(&files, 5_000, 400) }), [Cause::Time; 2]);
        assert_eq!(decide(&Round { asked: true, ..round(&files, 5_000, 400) }), [Cause::Asked; 2]);
        assert_eq!(decide(&round(&files, 7_600, 400)), [Cause::Disk], "and down to the mark, not further");
        assert_eq!(decide(&round(&files, 8_490, 400)), [Cause::Disk; 2]);
        let forced = [Cause::Disk, Cause::Disk, Cause::Forced];
        assert_eq!(decide(&round(&files, 9_000, 400)), forced);
        assert_eq!(decide(&round(&files[2..], 8_610, 200)), [Cause::Forced; 2]);
        assert_eq!(decide(&Round { no_space: true, ..round(&files[2..], 10, 200) }), [Cause::Forced]);
        let quota = Retention { bytes_max: Some(350), ..Retention::default() };
        assert_eq!(quota.decide(&round(&files[2..], 10, 551)), [Cause::Quota; 2]);
        let tame = Retention { may_force: false, ..Retention::default() };
        assert_eq!(tame.decide(&round(&files[2..], 9_900, 200)), []);
        let times = [Some(10), Some(i64::MAX), None, Some(1), Some(20), Some(i64::MAX)];
        assert_eq!(believed(&times, 30), [10, 10, 10, 10, 20, 30]);
        assert_eq!(believed(&[Some(5), None, None, Some(20), None], 30), [5, 20, 20, 20, 30]);
        assert_eq!(hour_of(-1, 0), 23);
        assert_eq!(hour_of(0, 8 * HOUR_MS), 8);
    }
}
