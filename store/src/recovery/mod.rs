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
//! again. Here: the order of it all. Rules: D-1 to D-6 (docs/PROMISES.md).

mod files;
mod replay;
mod scan;
mod window;

use std::path::Path;
use std::sync::Arc;

use protocol::record::RecordError;

use crate::arena::{self, FoundSegment, HotMap, HotReader, HotWriter, StoreId};
use crate::checkpoint::Checkpoint;
use crate::cold::{ABORT_NAMES, ColdStore, Parts};
use crate::commitlog::LogFiles;
use crate::config::{FlushMode, StoreConfig};
use crate::consumequeue::QueueFiles;
use crate::disk::Disk;
use crate::error::{MediumError, StoreError};
use crate::ground::Ground;
use crate::identity::{Claim, Identity};
use crate::index::{IndexFiles, LogBounds};
use crate::marks::Marks;
use crate::medium::{HotKind, HotPlace, Medium};
use crate::offsets::PhysicalOffset;
use crate::progress::Progress;
use crate::store::{QueueFound, Store};
use crate::trash::Trash;
use files::{recover_files, unclean_start};
use replay::replay;

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

impl Recovery {
    /// Before anything was looked at.
    fn of(clean: bool) -> Self {
        Self {
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
        }
    }
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
    let mut recovery = Recovery::of(medium.read(&config.root.join(ABORT_NAMES[0]))?.is_none());
    let claim = Identity::claim(&*medium, &medium.canonical(&config.root)?)?;

    let mut progress = Progress::new(Arc::clone(&medium));
    let mut disk = load_disk(&config, &medium, &mut progress)?;
    let left = match &claim.left {
        Some(left) => left.map_left(&*medium)?,
        None => Vec::new(),
    };
    let hot = claim.left.as_ref().map_or_else(Vec::new, |owner| chain(&left, owner.store_id()));
    let end = recover(&config, &mut disk, &hot, &mut progress, &mut recovery)?;
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
        disk.index = Some(load_index(&config, &medium, &disk, recovery.clean, end)?);
    }

    // From here on the old hot log is not needed any more: all of it is in the files.
    let hot = start_hot(&config, &medium, &claim, (&mut disk.log, end), &mut progress)?;
    disk.looked_to = end;
    disk.queues.begin_census(&config.root, end);
    for name in ABORT_NAMES {
        write_small(&*medium, &config.root.join(name), medium.pid().to_string().as_bytes())?;
    }
    medium.sync_dir(&config.root)?;
    recovery.hot_kind = hot.place.kind;
    recovery.remarks = hot.remarks;
    recovery.ms = medium.elapsed_ms() - began;
    let store = Store::new(hot.writer, Arc::clone(&marks), &recovery.queues, &config);
    if config.flush == FlushMode::Sync
        && let Some(ground) =
            Ground::new(Arc::clone(&medium), &config.commitlog_dir(), config.commitlog_file_bytes)
    {
        disk.log.prepare(Arc::new(ground), end);
    }
    let trash = Trash::load(Arc::clone(&medium), &config.commitlog_dir())?;
    let hot_dir = hot.place.dir;
    let parts = Parts { hot: hot.reader, marks, disk, medium, config, trash, hot_dir, lock };
    Ok((store, ColdStore::new(parts), recovery))
}

/// All that is kept goes into the files, each message with its queue entry. Returns the end of the log.
fn recover(
    config: &StoreConfig,
    disk: &mut Disk,
    hot: &[FoundSegment<'_>],
    progress: &mut Progress,
    recovery: &mut Recovery,
) -> Result<PhysicalOffset, StoreError> {
    let clean = recovery.clean;
    // Of an unclean run, what lies behind its checkpoint may be in memory only.
    let doubted = if clean || disk.log.is_empty() { None } else { Some(unclean_start(disk)?) };
    let sync_failed = hot.iter().any(|segment| segment.is_doubted);
    if doubted.is_some() {
        disk.queues.load_running_census(&config.root, !hot.is_empty())?;
    }
    let end = recover_files(disk, hot, progress, recovery)?;
    if let Some(doubted) = doubted.filter(|_| sync_failed) {
        disk.log.write_again(doubted, end)?;
    }
    let end = replay(disk, hot, end, progress, recovery)?;
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
    Ok(end)
}

fn load_index(
    config: &StoreConfig,
    medium: &Arc<dyn Medium>,
    disk: &Disk,
    clean: bool,
    end: PhysicalOffset,
) -> Result<IndexFiles, StoreError> {
    let (min, index_timestamp) = (disk.log.min(), disk.checkpoint.index_timestamp);
    let log = LogBounds { min, end, clean, index_timestamp };
    let mut index = IndexFiles::load(Arc::clone(medium), config, &log)?;
    if let Err(error) = index.expire(min) {
        log::warn!("{error}: the next deletion tries again");
    }
    Ok(index)
}

/// A hot log that has begun.
struct Hot {
    writer: HotWriter,
    reader: HotReader,
    place: HotPlace,
    remarks: Vec<String>,
}

/// A new hot log, from the end of the files on, in place of the one that the last run left.
fn start_hot(
    config: &StoreConfig,
    medium: &Arc<dyn Medium>,
    claim: &Claim,
    (log, end): (&mut LogFiles, PhysicalOffset),
    progress: &mut Progress,
) -> Result<Hot, StoreError> {
    let identity = &claim.identity;
    let (taken, place, maps, remarks) = identity.take_hot(medium, config, progress)?;
    if identity.is_own_dir() && identity.dir != taken.dir {
        medium.remove_dir(&identity.dir)?;
    }
    let mut lead = vec![0; arena::lead_of(end)];
    log.read(PhysicalOffset(end.0 - lead.len() as i64), &mut lead)?;
    let (writer, reader) = arena::start(maps, taken.store_id(), end, &lead);
    if claim.left.as_ref() != Some(&taken) {
        taken.save(&**medium, &config.root)?;
    }
    Ok(Hot { writer, reader, place, remarks })
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
    } else {
        queues.load_emptied(&config.root)?;
        queues.load_census(&config.root)?;
    }
    let checkpoint = Checkpoint::load(Arc::clone(medium), config.root.join("checkpoint"))?;
    let store_timestamp = checkpoint.physic_timestamp;
    let delay_levels_ms = config.delay_levels_ms.clone();
    let (looked_to, now_ms) = (PhysicalOffset(0), i64::MAX);
    Ok(Disk { log, queues, checkpoint, index: None, delay_levels_ms, store_timestamp, now_ms, looked_to })
}

/// The segments of this store that follow each other up to the newest, oldest first.
fn chain(maps: &[HotMap], store: StoreId) -> Vec<FoundSegment<'_>> {
    let found = maps.iter().filter_map(HotMap::found).filter(|segment| segment.store == store);
    let mut segments: Vec<_> = found.collect();
    segments.sort_by_key(|segment| segment.generation);
    let follows = |pair: &[FoundSegment<'_>]| {
        pair[0].generation + 1 == pair[1].generation && pair[0].end() == pair[1].base
    };
    let kept = segments.windows(2).rev().take_while(|pair| follows(pair)).count() + 1;
    segments.split_off(segments.len().saturating_sub(kept))
}

fn write_small(medium: &dyn Medium, path: &Path, content: &[u8]) -> Result<(), MediumError> {
    let file = medium.create(path, content.len() as u64)?;
    file.write_at(0, content)?;
    file.sync()
}
