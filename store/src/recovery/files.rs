//! Where the files can be trusted up to, their end, and a queue entry for every record before it.

use protocol::record::{self, Unit as LogUnit};

use super::Recovery;
use super::scan::{check, scan};
use super::window::Window;
use crate::arena::FoundSegment;
use crate::disk::Disk;
use crate::error::StoreError;
use crate::offsets::PhysicalOffset;
use crate::progress::Progress;

/// Finds the end of the files, cuts what is behind it, and gives every record its queue entry. Returns the end.
pub(super) fn recover_files(
    disk: &mut Disk,
    hot: &[FoundSegment<'_>],
    progress: &mut Progress,
    recovery: &mut Recovery,
) -> Result<PhysicalOffset, StoreError> {
    if disk.log.is_empty() {
        return Ok(PhysicalOffset(0));
    }
    let mut from = match (recovery.clean, passed_to(hot)) {
        (true, _) => clean_start(disk)?,
        // The hot log says how far it was written out, queue entries included. That it is still here means that no power
        // was cut, so all of that is in the files. Not so after a failed sync: entries are to be written again.
        (false, Some(passed)) if !hot.iter().any(|segment| segment.is_doubted) && reaches(disk, passed)? => {
            passed
        }
        // Which of the entries are of messages behind the checkpoint cannot be told.
        (false, _) if disk.queues.is_disordered => disk.log.min(),
        (false, _) => unclean_start(disk)?,
    };
    if !recovery.clean {
        from = from_census(disk, from)?;
    }
    if from == disk.log.min() {
        disk.queues.begin_rebuild()?;
    } else if !recovery.clean {
        disk.queues.take_back(from)?;
    }
    let mut scanned = scan(disk, from, progress, recovery)?;
    if scanned.gap {
        from = disk.log.min();
        disk.queues.write_out()?;
        disk.queues.begin_rebuild()?;
        log::warn!("a consume queue lacks entries: all queues are made again from the commitlog");
        scanned = scan(disk, from, progress, recovery)?;
    }
    recovery.cut = scanned.cut.map(|error| (scanned.end, error));
    disk.queues.write_out()?;
    disk.queues.end_rebuild();
    disk.queues.take_back(scanned.end)?;
    if from == PhysicalOffset(0) && !recovery.clean && hot.is_empty() {
        disk.queues.forget_lost()?;
    }
    disk.log.cut(scanned.end, !recovery.clean && hot.is_empty())?;
    Ok(scanned.end)
}

/// After a clean stop everything up to the last queue entry is good; the message of that entry is looked at again.
fn clean_start(disk: &mut Disk) -> Result<PhysicalOffset, StoreError> {
    if let Some(end) = disk.queues.mismatch()
        && !goes_on(disk, end)?
    {
        log::warn!(
            "consume queues are not as the last stop has left them: all are made again from the commitlog"
        );
        return Ok(disk.log.min());
    }
    let Some(last) = disk.queues.highest_entry()? else { return Ok(disk.log.min()) };
    if last.physical < disk.log.min() || last.end() > disk.log.file_end() {
        return unclean_start(disk);
    }
    let mut window = Window::new(last.physical);
    match window.unit(&mut disk.log)? {
        Ok(LogUnit::Record(view)) if check(&view, last.physical).is_ok() => Ok(last.physical),
        _ => unclean_start(disk),
    }
}

/// After an unclean stop: whether the entries of messages before `from`, which is where the log would be looked at, are all there.
/// What no census speaks for is looked at, too.
fn from_census(disk: &mut Disk, from: PhysicalOffset) -> Result<PhysicalOffset, StoreError> {
    if from == disk.log.min() {
        return Ok(from);
    }
    let Some((to, is_same)) = disk.queues.compare_before()? else { return Ok(from) };
    if is_same && to >= from {
        return Ok(from);
    }
    // A broker that has gone on from an earlier place has other records where this one was.
    if is_same && to >= disk.log.min() && walk_to(disk, to, from)? == Some(from) {
        return Ok(to);
    }
    log::warn!("consume queues are not as the last run has left them: all are made again from the commitlog");
    Ok(disk.log.min())
}

/// Whether the log has gone on there.
fn goes_on(disk: &mut Disk, at: PhysicalOffset) -> Result<bool, StoreError> {
    let mut window = Window::new(at);
    Ok(match window.unit(&mut disk.log)? {
        Ok(LogUnit::Record(view)) => view.physical_offset == at.0,
        Ok(LogUnit::Blank { .. }) => true,
        Err(_) => false,
    })
}

/// The last file that begins with a good message stored before the checkpoint.
pub(super) fn unclean_start(disk: &mut Disk) -> Result<PhysicalOffset, StoreError> {
    let before = disk.checkpoint.min_timestamp();
    for start in disk.log.starts().to_vec().into_iter().rev() {
        let start = PhysicalOffset(start);
        let mut window = Window::new(start);
        if let Ok(LogUnit::Record(view)) = window.unit(&mut disk.log)?
            && view.physical_offset == start.0
            && view.crc_holds()
            && view.store_timestamp != 0
            && view.store_timestamp <= before
        {
            return Ok(start);
        }
    }
    Ok(disk.log.min())
}

/// How far the hot log was written out; `None` without one.
fn passed_to(hot: &[FoundSegment<'_>]) -> Option<PhysicalOffset> {
    let unpassed = hot.iter().find(|segment| segment.passed < segment.bytes.len());
    unpassed.or(hot.last()).map(|segment| segment.base.plus(segment.passed as u64))
}

/// Whether the files and their queue entries reach `base` without a hole.
fn reaches(disk: &mut Disk, base: PhysicalOffset) -> Result<bool, StoreError> {
    if base < disk.log.min() || base > disk.log.file_end() {
        return Ok(false);
    }
    let known = disk.queues.highest_end();
    // What has no entry (the blank of a file) may lie in between.
    Ok(known >= base || walk_to(disk, known.max(disk.log.min()), base)? == Some(base))
}

/// Goes from unit to unit until `to`; `None` when no unit begins there.
fn walk_to(
    disk: &mut Disk,
    from: PhysicalOffset,
    to: PhysicalOffset,
) -> Result<Option<PhysicalOffset>, StoreError> {
    let mut at = from;
    while at < to {
        let mut head = [0; record::BLANK_BYTES];
        if disk.log.read(at, &mut head)? < head.len() {
            return Ok(None);
        }
        let (size, magic) = head.split_at(4);
        let word = |bytes: &[u8]| bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        let is_unit = [record::MAGIC_V1, record::MAGIC_V2, record::MAGIC_BLANK].contains(&word(magic));
        if !is_unit || (word(size) as usize) < record::BLANK_BYTES {
            return Ok(None);
        }
        at = at.plus(u64::from(word(size)));
    }
    Ok((at == to).then_some(at))
}
