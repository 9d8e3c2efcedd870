//! Opening a directory: find what is there, repair it, replay the hot log, go on.
//!
//! ```text
//! clean stop:  the log is good up to the last queue entry; from there to its end
//! kill -9:     the files are good up to where the hot log was written out; from there to their end; then the hot log
//! power cut:   from the last file whose first message is older than the checkpoint
//!
//! commitlog files  =======================|=== torn?
//! hot log                          ======|=====|=====|== published
//!                                  compare     replay to the files, then start empty at the end
//! ```
//!
//! After a kill the hot log holds everything that was acknowledged and not yet written; its header says how much of it
//! counts. It is written to the files before anything else is accepted, so a kill during recovery only means to do it
//! again. Rules: spec of the store §9, D-1 to D-6 (docs/PROMISES.md).

use std::path::Path;
use std::sync::Arc;

use protocol::record::{self, RecordError, RecordView, Unit as LogUnit};

use crate::arena::{self, FoundSegment, HotMap, Pending, StoreId};
use crate::checkpoint::Checkpoint;
use crate::cold::{ABORT_NAMES, ColdStore, Parts};
use crate::commitlog::LogFiles;
use crate::config::{FlushMode, StoreConfig};
use crate::consumequeue::{Dispatched, QueueFiles};
use crate::disk::{Disk, TakeInError};
use crate::error::{MediumError, StoreError};
use crate::ground::Ground;
use crate::identity::Identity;
use crate::index::{IndexFiles, LogBounds};
use crate::marks::Marks;
use crate::medium::{HotKind, Medium};
use crate::offsets::PhysicalOffset;
use crate::progress::Progress;
use crate::store::{QueueFound, Store};
use crate::trash::Trash;

/// What opening found and did.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// The last run said goodbye.
    pub clean: bool,
    /// First and last byte of the log.
    pub min: PhysicalOffset,
    pub max: PhysicalOffset,
    /// Bytes and records of the files that were looked at.
    pub scanned_bytes: u64,
    pub scanned_records: u64,
    /// What ended the scan, if it was not the end of what had been written.
    pub cut: Option<(PhysicalOffset, RecordError)>,
    pub hot: HotFound,
    pub replayed_bytes: u64,
    pub replayed_records: u64,
    /// Queue offsets whose message is gone for good.
    pub lost_entries: u64,
    /// Every queue with messages or a directory. Topics whose configuration was lost with the kill are among them.
    pub queues: Vec<QueueFound>,
    /// What memory the hot log got, and why no better.
    pub hot_kind: HotKind,
    pub remarks: Vec<String>,
    pub ms: u64,
}

/// What became of the hot log of the last run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HotFound {
    /// There was none, or it was empty.
    None,
    /// It belongs to the files; what they lacked was replayed.
    Replayed,
    /// The files hold something else where both should be equal: another broker wrote them since. What it did not know was
    /// appended behind its messages, with new offsets.
    Diverged,
    /// It begins behind the end of the files: they are older than it. Not replayed.
    Detached,
}

/// Opens a store: the shard's half, the cold half, and what recovery found.
pub fn open(
    config: StoreConfig,
    medium: Arc<dyn Medium>,
) -> Result<(Store, ColdStore, Recovery), StoreError> {
    config.check()?;
    let began = medium.elapsed_ms();
    medium.create_dir(&config.root)?;
    let lock_path = config.root.join("lock");
    let Some(lock) = medium.lock(&lock_path)? else {
        return Err(StoreError::Locked { path: config.root.clone() });
    };
    let clean = medium.read(&config.root.join(ABORT_NAMES[0]))?.is_none();
    let claim = Identity::claim(&*medium, &medium.canonical(&config.root)?)?;

    let mut progress = Progress::new(Arc::clone(&medium));
    let mut disk = load_disk(&config, &medium, &mut progress)?;
    let left = claim.left.as_ref().map_or_else(Vec::new, |left| left.map_left(&*medium));
    let hot = claim.left.as_ref().map_or_else(Vec::new, |owner| chain(&left, owner.store_id()));
    let mut recovery = Recovery {
        clean,
        min: PhysicalOffset(0),
        max: PhysicalOffset(0),
        scanned_bytes: 0,
        scanned_records: 0,
        cut: None,
        hot: HotFound::None,
        replayed_bytes: 0,
        replayed_records: 0,
        lost_entries: 0,
        queues: Vec::new(),
        hot_kind: HotKind::Disk,
        remarks: Vec::new(),
        ms: 0,
    };
    // Of an unclean run, what lies behind its checkpoint may be in memory only.
    let doubted = if clean || disk.log.is_empty() { None } else { Some(unclean_start(&mut disk)?) };
    let sync_failed = hot.iter().any(|segment| segment.is_doubted);
    let end = recover_files(&mut disk, &hot, &mut progress, &mut recovery)?;
    if let Some(doubted) = doubted.filter(|_| sync_failed) {
        disk.log.write_again(doubted, end)?;
    }
    let end = replay(&mut disk, &hot, end, &mut progress, &mut recovery)?;
    disk.queues.write_out()?;
    disk.queues.clear_stale(clean || !hot.is_empty())?;
    disk.queues.settle_min(disk.log.min())?;
    if let Some(doubted) = doubted {
        disk.log.doubt(doubted)?;
        disk.queues.doubt(doubted)?;
    }
    recovery.min = disk.log.min();
    recovery.max = end;
    recovery.queues = disk.queues.found();
    recovery.lost_entries = disk.queues.filled;

    let marks = Arc::new(Marks::default());
    marks.set_min_physical(disk.log.min());
    marks.set_written_to(end);
    marks.set_synced_to(disk.log.min());
    if config.flush == FlushMode::Sync {
        disk.log.sync().inspect_err(|_| left.iter().for_each(HotMap::doubt))?;
        marks.set_synced_to(end);
    }
    drop(hot);
    drop(left);

    if config.index {
        let log =
            LogBounds { min: disk.log.min(), end, clean, index_timestamp: disk.checkpoint.index_timestamp };
        let mut index = IndexFiles::load(Arc::clone(&medium), &config, &log)?;
        index.expire(log.min)?;
        disk.index = Some(index);
    }

    // From here on the old hot log is not needed any more: all of it is in the files.
    let identity = claim.identity;
    let (taken, place, maps, remarks) = identity.take_hot(&medium, &config)?;
    if !identity.dir.as_os_str().is_empty() && identity.dir != taken.dir {
        medium.remove_dir(&identity.dir)?;
    }
    let mut lead = vec![0; arena::lead_of(end)];
    disk.log.read(PhysicalOffset(end.0 - lead.len() as i64), &mut lead)?;
    let (writer, reader) = arena::start(maps, taken.store_id(), end, &lead);
    if claim.left.as_ref() != Some(&taken) {
        taken.save(&*medium, &config.root)?;
    }
    for name in ABORT_NAMES {
        write_small(&*medium, &config.root.join(name), medium.pid().to_string().as_bytes())?;
    }
    medium.sync_dir(&config.root)?;
    recovery.hot_kind = place.kind;
    recovery.remarks = remarks;
    recovery.ms = medium.elapsed_ms() - began;
    let store = Store::new(writer, Arc::clone(&marks), &recovery.queues, &config);
    if config.flush == FlushMode::Sync
        && let Some(ground) =
            Ground::new(Arc::clone(&medium), &config.commitlog_dir(), config.commitlog_file_bytes)
    {
        disk.log.prepare(Arc::new(ground), end);
    }
    let trash = Trash::load(Arc::clone(&medium), &config.commitlog_dir())?;
    let parts = Parts { hot: reader, marks, disk, medium, config, trash, hot_dir: place.dir, lock };
    Ok((store, ColdStore::new(parts), recovery))
}

fn load_disk(
    config: &StoreConfig,
    medium: &Arc<dyn Medium>,
    progress: &mut Progress,
) -> Result<Disk, StoreError> {
    let log = LogFiles::load(
        Arc::clone(medium),
        config.commitlog_dir(),
        config.commitlog_file_bytes,
        config.direct_bytes_from(),
    )?;
    let mut queues = QueueFiles::load(
        Arc::clone(medium),
        config.consumequeue_dir(),
        config.consumequeue_file_bytes,
        progress,
    )?;
    if log.is_empty() {
        queues.remove_all()?;
    }
    let checkpoint = Checkpoint::load(Arc::clone(medium), config.root.join("checkpoint"))?;
    let store_timestamp = checkpoint.physic_timestamp;
    let delay_levels_ms = config.delay_levels_ms.clone();
    Ok(Disk { log, queues, checkpoint, index: None, delay_levels_ms, store_timestamp })
}

/// The segments of this store that follow each other up to the newest, oldest first.
fn chain(maps: &[HotMap], store: StoreId) -> Vec<FoundSegment<'_>> {
    let found = maps.iter().filter_map(HotMap::found).filter(|segment| segment.store == store);
    let mut segments: Vec<_> = found.collect();
    segments.sort_by_key(|segment| segment.generation);
    let follows = |pair: &[FoundSegment<'_>]| {
        pair[0].generation + 1 == pair[1].generation
            && pair[0].base.plus(pair[0].bytes.len() as u64) == pair[1].base
    };
    let kept = segments.windows(2).rev().take_while(|pair| follows(pair)).count() + 1;
    segments.split_off(segments.len().saturating_sub(kept))
}

/// Finds the end of the files, cuts what is behind it, and gives every record its queue entry. Returns the end.
fn recover_files(
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

/// The last file that begins with a good message stored before the checkpoint.
fn unclean_start(disk: &mut Disk) -> Result<PhysicalOffset, StoreError> {
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

struct Scan {
    end: PhysicalOffset,
    cut: Option<RecordError>,
    gap: bool,
}

/// Looks at every unit from `from` on, CRC included, and collects the entries that the queues lack.
fn scan(
    disk: &mut Disk,
    from: PhysicalOffset,
    progress: &mut Progress,
    recovery: &mut Recovery,
) -> Result<Scan, StoreError> {
    let mut scan = Scan { end: from, cut: None, gap: false };
    let mut records = 0_u64;
    let mut window = Window::new(from);
    let total = disk.log.file_end();
    while scan.end < total {
        window.at = scan.end;
        let left = disk.log.left_in_file(scan.end);
        let unit = window.unit(&mut disk.log)?;
        match unit {
            Ok(LogUnit::Blank { bytes_left }) if u64::from(bytes_left) == left => {
                scan.end = scan.end.plus(left);
            }
            Ok(LogUnit::Blank { bytes_left }) => {
                scan.cut = Some(RecordError::Size { declared: bytes_left as usize });
                break;
            }
            Ok(LogUnit::Record(view)) => {
                let problem = check(&view, scan.end).err();
                if let Some(error) = problem.or(is_torn(&view, left).then_some(RecordError::Crc)) {
                    scan.cut = Some(error);
                    break;
                }
                let dispatched = disk.dispatch(&view);
                scan.end = scan.end.plus(view.bytes.len() as u64);
                records += 1;
                if dispatched == Dispatched::Gap {
                    scan.gap = true;
                    break;
                }
            }
            Err(error) => {
                // Zeros are what was never written: the ordinary end.
                scan.cut = (error != RecordError::Magic { magic: 0 }).then_some(error);
                break;
            }
        }
        if records.is_multiple_of(RECORDS_PER_WRITE) {
            disk.queues.write_out()?;
            let (done, all) = (scan.end.since(from) >> 20, total.since(from) >> 20);
            progress.at("commitlog, at most", done, all, "MiB");
        }
    }
    recovery.scanned_bytes += scan.end.since(from);
    recovery.scanned_records += records;
    Ok(scan)
}

fn check(view: &RecordView<'_>, at: PhysicalOffset) -> Result<(), RecordError> {
    if view.physical_offset != at.0 {
        return Err(RecordError::Size { declared: view.bytes.len() });
    }
    if view.crc_holds() { Ok(()) } else { Err(RecordError::Crc) }
}

/// Whether a sector of what follows the body, which no CRC covers, is as it was before anything was written: the power was cut
/// before it reached the disk. `left`: bytes to the end of the file, whose size is a whole number of sectors, or nearly always.
fn is_torn(view: &RecordView<'_>, left: u64) -> bool {
    let end = view.bytes.len();
    // Within a sector too, after a kill within the write: it ends anywhere. No topic has a zero, and no properties end with one.
    if view.topic.contains(&0) || view.bytes.last() == Some(&0) && !view.properties.is_empty() {
        return true;
    }
    let length_bytes = if view.properties.is_empty() { PROPERTIES_LENGTH_BYTES } else { 0 }; // Zero, and rightly so.
    let mut from = end - view.properties.len() - PROPERTIES_LENGTH_BYTES - view.topic.len();
    while from < end - length_bytes {
        let sector_left = (left as usize - from - 1) % SECTOR_BYTES + 1;
        let to = end.min(from + sector_left);
        if view.bytes[from..to].iter().all(|byte| *byte == 0) {
            return true;
        }
        from = to;
    }
    false
}

/// Writes to the files what only the hot log has. Returns the end of the log.
fn replay(
    disk: &mut Disk,
    hot: &[FoundSegment<'_>],
    end: PhysicalOffset,
    progress: &mut Progress,
    recovery: &mut Recovery,
) -> Result<PhysicalOffset, StoreError> {
    let (Some(oldest), Some(newest)) = (hot.first(), hot.last()) else { return Ok(end) };
    let published = newest.base.plus(newest.bytes.len() as u64);
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
    let mut end = end;
    match compare(disk, hot, end.min(published))? {
        Agreement::Whole => {}
        Agreement::TornAt(torn) => {
            // A write was cut off inside a record, behind the body that its CRC covers: the hot log has it whole.
            disk.queues.take_back(torn)?;
            disk.log.cut(torn, false)?;
            end = torn;
        }
        Agreement::None => {
            recovery.hot = HotFound::Diverged;
            return append_again(disk, hot, end, recovery);
        }
    }
    recovery.hot = HotFound::Replayed;
    let mut rebuilt = false;
    for segment in hot {
        let segment_end = segment.base.plus(segment.bytes.len() as u64);
        while end < segment_end {
            let bytes = &segment.bytes[end.since(segment.base) as usize..];
            let (done, all) = (end.since(oldest.base) >> 20, published.since(oldest.base) >> 20);
            progress.at("hot log", done, all, "MiB");
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
                at += bytes_left as usize;
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
            Ok(LogUnit::Blank { bytes_left }) => bytes_left as usize,
            Err(_) => return Ok(Agreement::Whole), // Damaged here already: replay tells where.
        };
        at = at.plus(len as u64);
    }
    // Both must have a border at the same place.
    Ok(if at == to { Agreement::Whole } else { Agreement::None })
}

/// A stretch of the log in memory while it is walked.
struct Window {
    at: PhysicalOffset,
    start: PhysicalOffset,
    bytes: Vec<u8>,
    there: usize,
}

impl Window {
    fn new(at: PhysicalOffset) -> Self {
        Self { at, start: at, bytes: vec![0; WINDOW_BYTES], there: 0 }
    }

    /// The unit at `at`, read from the file when the window does not hold all of it.
    fn unit(&mut self, log: &mut LogFiles) -> Result<Result<LogUnit<'_>, RecordError>, MediumError> {
        let in_file = log.left_in_file(self.at) as usize;
        let from = self.at.0 - self.start.0;
        let mut held = usize::try_from(from).ok().and_then(|from| self.there.checked_sub(from)).unwrap_or(0);
        loop {
            let from = (self.at.0 - self.start.0).max(0) as usize;
            let need = match record::unit(self.bytes.get(from..from + held).unwrap_or_default()) {
                Err(RecordError::Short { need }) if need > held && need <= in_file && held < in_file => need,
                _ => break,
            };
            // A record never crosses a file, so neither does the window.
            let wanted = need.max(WINDOW_BYTES).min(in_file);
            self.bytes.resize(wanted.max(self.bytes.len()), 0);
            self.start = self.at;
            self.there = log.read(self.at, &mut self.bytes[..wanted])?;
            if self.there <= held {
                break; // Nothing more to be had.
            }
            held = self.there;
        }
        let from = (self.at.0 - self.start.0).max(0) as usize;
        Ok(record::unit(self.bytes.get(from..from + held).unwrap_or_default()))
    }
}

fn write_small(medium: &dyn Medium, path: &Path, content: &[u8]) -> Result<(), MediumError> {
    let file = medium.create(path, content.len() as u64)?;
    file.write_at(0, content)?;
    file.sync()
}

const WINDOW_BYTES: usize = 4 << 20;
const RECORDS_PER_WRITE: u64 = 16_384;
const SECTOR_BYTES: usize = 512;
const PROPERTIES_LENGTH_BYTES: usize = 2;
const REPLAY_BYTES: usize = 4 << 20;
/// Size, CRC, offsets, times and sender: no two records have all of these in common.
const SAME_RECORD_BYTES: usize = 64;
const COMPARED_BYTES: usize = 64 << 10;
