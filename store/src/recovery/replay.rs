//! What only the hot log of the last run has goes into the files, or behind what another broker has put there.

use protocol::record::{self, Unit as LogUnit};

use super::scan::scan;
use super::{HotFound, Recovery};
use crate::arena::{FoundSegment, Pending};
use crate::disk::{Disk, TakeInError};
use crate::error::StoreError;
use crate::offsets::PhysicalOffset;
use crate::progress::Progress;

/// Writes to the files what only the hot log has. Returns the end of the log.
pub(super) fn replay(
    disk: &mut Disk,
    hot: &[FoundSegment<'_>],
    end: PhysicalOffset,
    progress: &mut Progress,
    recovery: &mut Recovery,
) -> Result<PhysicalOffset, StoreError> {
    let (Some(oldest), Some(newest)) = (hot.first(), hot.last()) else { return Ok(end) };
    let published = newest.end();
    if published == oldest.base {
        return Ok(end);
    }
    if oldest.base > end {
        recovery.hot = HotFound::Detached;
        log::error!(
            "the hot log begins at {} but the commitlog ends at {end}: it is not replayed",
            oldest.base
        );
        return Ok(end);
    }
    if disk.log.is_empty() {
        check_borders(disk, hot)?; // Else the files have told.
    }
    let end = match compare(disk, hot, end.min(published))? {
        Agreement::Whole => end,
        Agreement::TornAt(torn) => {
            // A write was cut off inside a record, behind the body that its CRC covers: the hot log has it whole.
            disk.queues.take_back(torn)?;
            disk.log.cut(torn, false)?;
            torn
        }
        Agreement::None => {
            recovery.hot = HotFound::Diverged;
            return append_again(disk, hot, end, recovery);
        }
    };
    recovery.hot = HotFound::Replayed;
    take_in(disk, hot, end, progress, recovery)
}

/// Writes what lies behind `end`, with its queue entries. Returns the new end.
fn take_in(
    disk: &mut Disk,
    hot: &[FoundSegment<'_>],
    mut end: PhysicalOffset,
    progress: &mut Progress,
    recovery: &mut Recovery,
) -> Result<PhysicalOffset, StoreError> {
    let (base, all) = match (hot.first(), hot.last()) {
        (Some(oldest), Some(newest)) => (oldest.base, newest.end().since(oldest.base)),
        _ => return Ok(end),
    };
    let mut rebuilt = false;
    for segment in hot {
        while end < segment.end() {
            let bytes = &segment.bytes[end.since(segment.base) as usize..];
            progress.at("hot log", end.since(base) >> 20, all >> 20, "MiB");
            match disk.take_in(&Pending::of(end, bytes), REPLAY_BYTES, true) {
                Ok(taken) => {
                    end = end.plus(taken.bytes as u64);
                    recovery.replayed_bytes += taken.bytes as u64;
                    recovery.replayed_records += taken.records;
                }
                Err(TakeInError::Medium(error)) => return Err(error.into()),
                Err(TakeInError::Record { at, source }) => {
                    log::error!("the hot log is damaged at {at}: {source}; what follows is not replayed");
                    recovery.cut = Some((at, source));
                    return Ok(end);
                }
                Err(TakeInError::Gap { at }) => {
                    // Its queue was lost with entries of messages that only the files hold.
                    assert!(!rebuilt);
                    rebuilt = true;
                    end = at;
                    log::warn!("a consume queue lacks entries: all queues are made again from the commitlog");
                    disk.queues.write_out()?;
                    disk.queues.begin_rebuild()?;
                    scan(disk, disk.log.min(), progress, recovery)?;
                }
            }
            disk.queues.write_out()?;
        }
    }
    disk.queues.end_rebuild();
    Ok(end)
}

/// Where the hot log ends files must be where files end, or it was written with files of another size.
fn check_borders(disk: &Disk, hot: &[FoundSegment<'_>]) -> Result<(), StoreError> {
    for segment in hot {
        let mut at = 0;
        while let Some(Ok(unit)) = segment.bytes.get(at..).filter(|rest| !rest.is_empty()).map(record::unit) {
            let left = disk.log.left_in_file(segment.base.plus(at as u64));
            let (len, fits) = match unit {
                LogUnit::Record(view) => (view.bytes.len(), view.bytes.len() as u64 <= left),
                LogUnit::Blank { bytes_left } => (bytes_left as usize, u64::from(bytes_left) == left),
            };
            if !fits {
                let what = "the hot log was written with another mappedFileSizeCommitLog: set that key back";
                return Err(StoreError::Config { what });
            }
            at += len;
        }
    }
    Ok(())
}

/// Another broker has gone on where the files of the last run ended. What only the hot log has was acknowledged: it is stored
/// once more, behind what the other broker stored. A kill in here makes some of it twice, never less.
fn append_again(
    disk: &mut Disk,
    hot: &[FoundSegment<'_>],
    end: PhysicalOffset,
    recovery: &mut Recovery,
) -> Result<PhysicalOffset, StoreError> {
    let mut at_end = end;
    let mut lost = 0;
    let mut is_known = true;
    for segment in hot {
        let mut at = 0;
        while let Some(Ok(unit)) = segment.bytes.get(at..).filter(|rest| !rest.is_empty()).map(record::unit) {
            let LogUnit::Record(view) = unit else {
                let LogUnit::Blank { bytes_left } = unit else { break };
                at += (bytes_left as usize).max(record::BLANK_BYTES);
                continue;
            };
            at += view.bytes.len();
            let place = PhysicalOffset(view.physical_offset);
            if is_known {
                let mut there = vec![0; view.bytes.len()];
                is_known =
                    place < end && disk.log.read(place, &mut there)? == there.len() && there == view.bytes;
            }
            if is_known || !view.crc_holds() {
                continue;
            }
            match disk.append_again(&view, at_end)? {
                Some(new_end) => {
                    at_end = new_end;
                    recovery.replayed_records += 1;
                    recovery.replayed_bytes += view.bytes.len() as u64;
                }
                None => lost += 1,
            }
        }
    }
    log::warn!(
        "another broker has written this commitlog since: {} messages that only the hot log had are appended again",
        recovery.replayed_records
    );
    if lost > 0 {
        log::error!("{lost} messages of the hot log are larger than a commitlog file: they are lost");
    }
    Ok(at_end)
}

/// How files and hot log compare where both have something.
enum Agreement {
    Whole,
    /// The same record, but the files lack the last part of it.
    TornAt(PhysicalOffset),
    /// Different records.
    None,
}

/// Compares the last stretch before `to`. Another broker's records differ at once, in their times if in nothing else, and a
/// torn write tears the last record, so the last stretch says it all.
fn compare(disk: &mut Disk, hot: &[FoundSegment<'_>], to: PhysicalOffset) -> Result<Agreement, StoreError> {
    let Some(segment) = hot.iter().rev().find(|segment| segment.base < to) else {
        return Ok(Agreement::Whole);
    };
    let mut at = segment.base;
    let stretch = PhysicalOffset(to.0 - COMPARED_BYTES as i64);
    while at < to {
        let rest = &segment.bytes[at.since(segment.base) as usize..];
        let len = match record::unit(rest) {
            Ok(LogUnit::Record(view)) => {
                let end = at.plus(view.bytes.len() as u64);
                if end > stretch {
                    let mut there = vec![0; view.bytes.len()];
                    let read = disk.log.read(at, &mut there)?;
                    if there[..read] != *view.bytes {
                        let is_same = there[..SAME_RECORD_BYTES] == view.bytes[..SAME_RECORD_BYTES];
                        return Ok(if is_same { Agreement::TornAt(at) } else { Agreement::None });
                    }
                }
                view.bytes.len()
            }
            Ok(LogUnit::Blank { bytes_left }) => (bytes_left as usize).max(record::BLANK_BYTES),
            Err(_) => return Ok(Agreement::Whole), // Damaged here already: replay tells where.
        };
        at = at.plus(len as u64);
    }
    // Both must have a border at the same place.
    Ok(if at == to { Agreement::Whole } else { Agreement::None })
}

const REPLAY_BYTES: usize = 4 << 20;
/// Size, CRC, offsets, times and sender: no two records have all of these in common.
const SAME_RECORD_BYTES: usize = 64;
const COMPARED_BYTES: usize = 64 << 10;
