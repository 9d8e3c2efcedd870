//! The index at a start: which files are good, where the log goes on being indexed.
//!
//! ```text
//! clean stop:    headers are believed                       position: `indexed`, else behind the last entry
//! unclean stop:  files younger than the checkpoint are gone through, entry by entry; the first that cannot be right, or whose message
//!                lies behind the position, and what comes after it, is made again from the log
//! ```
//!
//! After a clean stop the position is the end of the log; where it is not, the index was not closed, or another broker went on.
//! The position is written when the entries before it have been synced. What is behind may be torn in ways that no entry shows.
//!
//! The official broker removes an unfinished file after an unclean stop, and its keys with it. Here they stay.

use std::path::Path;
use std::sync::Arc;

use protocol::record::RECORD_BYTES_MIN;

use super::format::{ENTRY_BYTES, HEADER_BYTES, IndexEntry, IndexHeader, is_name};
use super::intake::Intake;
use super::out::{Out, write_slots};
use super::position::{Position, PositionFile};
use super::state::{Current, Shared, State};
use super::unsettled::Unsettled;
use super::{IndexFiles, dir_of};
use crate::config::IndexShape;
use crate::config::StoreConfig;
use crate::error::MediumError;
use crate::files::Files;
use crate::medium::{Entry, Medium, MediumFile};
use crate::offsets::PhysicalOffset;

/// The log that an index belongs to.
pub(crate) struct LogBounds {
    pub min: PhysicalOffset,
    pub end: PhysicalOffset,
    /// The last stop was clean.
    pub clean: bool,
    /// Files whose last message is not younger were synced whole.
    pub index_timestamp: i64,
}

impl IndexFiles {
    /// Opens what is there, and finds where to go on.
    pub fn load(
        medium: Arc<dyn Medium>,
        config: &StoreConfig,
        log: &LogBounds,
    ) -> Result<IndexFiles, MediumError> {
        let (dir, shape) = (dir_of(&config.root), config.index_shape);
        let mut position = PositionFile::new(&config.root);
        let known = position.load(&*medium)?;
        // A clean stop whose index could not be written is none for the index.
        let clean = log.clean && known.as_ref().is_none_or(|known| known.to == log.end);
        let log = &LogBounds { clean, ..*log };
        let limit = match &known {
            Some(known) if !log.clean && known.is_of(&*medium, &dir)? => Some(known),
            _ => None,
        };
        let state = State::default();
        let mut found = Found { medium: &*medium, dir: &dir, config, state, limit, cut: false, ended: false };
        found.look(log)?;
        let Found { state, cut, .. } = found;
        let mut files = Files::new(Arc::clone(&medium), config.commitlog_file_bytes);
        files.dir = config.commitlog_dir();
        let is_limited = limit.is_some();
        let known = known.filter(|known| !cut && (is_limited || known.holds(&state)));
        let is_new = known.is_none() && state.last().is_none();
        let next = go_on_from(&state, known, log, shape, cut, &mut files)?;
        let mut out = Out::new(Arc::clone(&medium), config, !log.clean);
        if let Some(current) = &state.current {
            out.open(&current.name)?;
        }
        if !log.clean || is_new {
            // Without one, files whose first sync fails would be taken for another broker's.
            // A position that speaks of a log that is gone would vouch for entries of the one that comes.
            out.sync_file()?;
            if state.last().is_some() {
                medium.sync_dir(&dir)?;
            }
            position.save(&*medium, next, state.last())?;
            position.sync(&*medium, &config.root)?;
        }
        if next < log.end {
            let (bytes, from) = (log.end.since(next), if next == log.min { "all" } else { "part" });
            log::info!(
                "the index lacks {from} of the log: {} MiB are indexed beside other work",
                bytes >> 20
            );
        }
        Ok(IndexFiles {
            medium,
            config: config.clone(),
            intake: Intake::new(shape, files, next),
            unsettled: Unsettled::new(next),
            settled: next,
            shared: Arc::new(Shared::new(state)),
            out,
            position,
            stands_since_ms: None,
            must_reload: false,
        })
    }
}

/// Where the keys of the log are not in the files any more.
fn go_on_from(
    state: &State,
    known: Option<Position>,
    log: &LogBounds,
    shape: IndexShape,
    cut: bool,
    files: &mut Files,
) -> Result<PhysicalOffset, MediumError> {
    // A file that was begun and holds nothing yet says nothing.
    let current = state.current.as_ref().map(|current| current.header).filter(|current| current.count > 1);
    let mut next = log.min;
    if let Some(last) = current.or(state.full.last().map(|(_, last)| *last)) {
        let place = PhysicalOffset(last.end_physical);
        // A message whose keys went to two files, or were cut, is indexed once more: a key may be there twice.
        let again = cut || (!log.clean && last.is_full(shape));
        next = next.max(if again { place } else { end_of_record(files, place)? });
    }
    if let Some(known) = known {
        next = next.max(known.to);
    }
    Ok(if next > log.end { log.end } else { next })
}

fn end_of_record(files: &mut Files, at: PhysicalOffset) -> Result<PhysicalOffset, MediumError> {
    let mut size = [0; 4];
    let there = files.read(at.0 as u64, &mut size)?;
    let size = if there == size.len() { u32::from_be_bytes(size) } else { 0 };
    Ok(if size as usize >= RECORD_BYTES_MIN { at.plus(u64::from(size)) } else { at })
}

struct Found<'a> {
    medium: &'a dyn Medium,
    dir: &'a Path,
    config: &'a StoreConfig,
    state: State,
    /// Entries of messages from here on are made again.
    limit: Option<&'a Position>,
    /// Entries had to go that were to stay.
    cut: bool,
    /// The limit was met.
    ended: bool,
}

impl Found<'_> {
    fn look(&mut self, log: &LogBounds) -> Result<(), MediumError> {
        let entries = self.medium.list(self.dir)?;
        let names: Vec<Entry> =
            entries.into_iter().filter(|entry| !entry.is_dir && is_name(&entry.name)).collect();
        let (mut kept, mut why) = (0, "the one before it ends too early");
        let mut end_before = -1;
        for entry in &names {
            match self.look_at(entry, &mut end_before, log)? {
                Ok(()) => kept += 1,
                Err(reason) => {
                    (self.cut, why) = (true, reason);
                    break;
                }
            }
            if self.cut || self.ended {
                break;
            }
        }
        // The newest first: an end in the midst of this leaves no hole that nothing tells of.
        for entry in names[kept..].iter().rev() {
            let path = self.dir.join(&entry.name);
            if self.cut {
                log::warn!("index file {} is made again from the log: {why}", path.display());
            }
            self.medium.remove(&path)?;
        }
        Ok(())
    }

    /// Takes a file that follows those taken. `Err`: why it cannot be.
    fn look_at(
        &mut self,
        entry: &Entry,
        end_before: &mut i64,
        log: &LogBounds,
    ) -> Result<Result<(), &'static str>, MediumError> {
        let shape = self.config.index_shape;
        let is_whole = entry.bytes == shape.file_bytes() && self.state.current.is_none();
        let file = self.medium.open(&self.dir.join(&entry.name))?.filter(|_| is_whole);
        let Some(file) = file else { return Ok(Err("it has another size, or follows an unfinished file")) };
        let mut bytes = [0; HEADER_BYTES as usize];
        file.read_at(0, &mut bytes)?;
        let header = IndexHeader::decode(&bytes);
        let is_sane = header.fits(shape) && header.begin_physical >= *end_before;
        if !is_sane || (header.count > 1 && header.begin_physical >= log.end.0) {
            return Ok(Err("its header cannot be right"));
        }
        *end_before = header.end_physical;
        // Of files that end in the same millisecond, one may have been synced and the other not.
        let synced = match self.limit {
            Some(known) => entry.name < known.file && header.end_physical < known.to.0,
            None => header.end_timestamp < log.index_timestamp,
        };
        let doubted = !(log.clean || synced && header.is_full(shape));
        let beyond = header.count > 1 && header.end_physical >= log.end.0;
        self.take(entry.name.clone(), &*file, header, doubted || beyond, log)?;
        Ok(Ok(()))
    }

    /// Takes a file as it is, or as far as it is good.
    fn take(
        &mut self,
        name: String,
        file: &dyn MediumFile,
        header: IndexHeader,
        doubted: bool,
        log: &LogBounds,
    ) -> Result<(), MediumError> {
        let is_full = header.is_full(self.config.index_shape);
        if is_full && !doubted {
            self.state.full.push((name, header));
            return Ok(());
        }
        let limit = self.limit.map_or(log.end, |known| known.to).min(log.end);
        let read = if doubted { None } else { read_slots(file, self.config.index_shape, &header)? };
        // Entries behind the position may be another run's, of a log that is gone: their places alone do not tell.
        let known = self.limit.filter(|known| known.file == name).map(|known| known.count);
        let count_max = known.unwrap_or(header.count).min(header.count);
        let (good, slots) = match read {
            Some(slots) => (header, slots),
            None => go_through(file, self.config.index_shape, &header, count_max, limit)?,
        };
        let is_behind = known == Some(good.count);
        if good.count < header.count && (is_behind || self.is_met(file, &good, limit)?) {
            self.ended = true;
        } else if good.count < header.count {
            log::warn!(
                "index file {name} is good for {} of {} entries: the rest is made again from the log",
                good.count - 1,
                header.count - 1
            );
            self.cut = true;
        }
        if doubted && is_full && !self.cut && !self.ended {
            write_slots(file, self.config.index_shape, &slots)?;
            file.sync()?;
            self.state.full.push((name, good));
            return Ok(());
        }
        self.state.current = Some(Current::new(name, good, slots, self.config, Some(file))?);
        Ok(())
    }

    /// Whether the entry behind the good ones is there because its message lies behind the limit, as all from there on.
    fn is_met(
        &self,
        file: &dyn MediumFile,
        good: &IndexHeader,
        limit: PhysicalOffset,
    ) -> Result<bool, MediumError> {
        let mut entry = [0; ENTRY_BYTES as usize];
        file.read_at(self.config.index_shape.entry_at(good.next_number()), &mut entry)?;
        Ok(self.limit.is_some_and(|known| known.to == limit)
            && IndexEntry::decode(&entry).physical >= limit.0)
    }
}

/// Looks at every entry up to `count_max`, and makes the slots again. What is after the first bad one does not count.
fn go_through(
    file: &dyn MediumFile,
    shape: IndexShape,
    header: &IndexHeader,
    count_max: i32,
    log_end: PhysicalOffset,
) -> Result<(IndexHeader, Vec<u32>), MediumError> {
    let mut good = IndexHeader { used_slots: 0, count: 1, ..*header };
    let mut slots = vec![0_u32; shape.slots as usize];
    let mut block = vec![0; BLOCK_ENTRIES * ENTRY_BYTES as usize];
    let mut physical = header.begin_physical;
    'file: while good.count < count_max {
        let left = (count_max - good.count) as usize;
        let wanted = left.min(BLOCK_ENTRIES) * ENTRY_BYTES as usize;
        let there = file.read_at(shape.entry_at(good.next_number()), &mut block[..wanted])?;
        let (entries, _) = block[..there].as_chunks::<{ ENTRY_BYTES as usize }>();
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            let entry = IndexEntry::decode(entry);
            let slot = &mut slots[shape.slot_of(entry.hash) as usize];
            let follows = entry.previous == *slot as i32 && entry.physical >= physical;
            if !follows || entry.hash < 0 || entry.seconds < 0 || entry.physical >= log_end.0 {
                break 'file;
            }
            physical = entry.physical;
            good.used_slots += i32::from(*slot == 0);
            *slot = good.next_number();
            good.end_timestamp = header.time_of(&entry);
            good.end_physical = physical;
            good.count += 1;
        }
    }
    if good.count == header.count {
        good.end_timestamp = header.end_timestamp;
    } else if good.count == 1 {
        good = IndexHeader { count: 1, ..IndexHeader::default() };
    }
    Ok((good, slots))
}

/// The slots as they are in the file. `None`: they are older than its entries, since the last stop could not write them.
fn read_slots(
    file: &dyn MediumFile,
    shape: IndexShape,
    header: &IndexHeader,
) -> Result<Option<Vec<u32>>, MediumError> {
    let count = header.next_number();
    let mut bytes = vec![0; shape.slots as usize * 4];
    file.read_at(shape.slot_at(0), &mut bytes)?;
    let slot = |word: &[u8; 4]| Some(u32::from_be_bytes(*word)).filter(|slot| *slot < count).unwrap_or(0);
    let slots: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(slot).collect();
    let newest = slots.iter().copied().max().unwrap_or(0);
    Ok((newest + 1 == count.max(1)).then_some(slots))
}

const BLOCK_ENTRIES: usize = 13_107;
