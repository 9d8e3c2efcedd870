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
//!
//! The official broker removes an unfinished file after an unclean stop, and its keys with it. Here they stay.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::record::RECORD_BYTES_MIN;

use super::format::{ENTRY_BYTES, HEADER_BYTES, IndexEntry, IndexHeader, IndexShape, is_name};
use super::out::Out;
use super::{Current, IndexFile, IndexFiles, Shared, State, dir_of, open, write_slots};
use crate::config::StoreConfig;
use crate::error::MediumError;
use crate::files::Files;
use crate::medium::{Medium, MediumFile};
use crate::offsets::PhysicalOffset;
use crate::writers::Writers;

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
        let file = match &state.current {
            Some(current) => open(&*medium, &dir.join(&current.name))?,
            None => None,
        };
        if !log.clean || is_new {
            // Without one, files whose first sync fails would be taken for another broker's.
            // A position that speaks of a log that is gone would vouch for entries of the one that comes.
            if let Some(IndexFile { file, .. }) = &file {
                file.sync()?;
            }
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
        let out = Out::new(Writers::new(Arc::clone(&medium), None));
        let shared = Arc::new(Shared::default());
        *shared.lock() = state;
        Ok(IndexFiles {
            medium,
            dir,
            shape,
            utc_offset_ms: config.utc_offset_ms,
            shared,
            file,
            out,
            unsynced: Vec::new(),
            is_unsynced: !log.clean,
            log: files,
            next,
            settled: next,
            pending: Default::default(),
            unsettled: Default::default(),
            marked_to: next,
            topic: Default::default(),
            position,
            trouble: None,
            must_reload: false,
            config: config.clone(),
            retry_ms: 0,
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
        let mut names = entries.into_iter().filter(|entry| !entry.is_dir && is_name(&entry.name));
        let mut end_before = -1;
        for entry in names.by_ref() {
            if self.ended {
                self.medium.remove(&self.dir.join(&entry.name))?;
                continue;
            }
            let path = self.dir.join(&entry.name);
            let file = match self.medium.open(&path)? {
                Some(file)
                    if entry.bytes == self.config.index_shape.file_bytes()
                        && self.state.current.is_none() =>
                {
                    file
                }
                _ => {
                    self.remove(&path, "it has another size, or follows an unfinished file")?;
                    break;
                }
            };
            let mut bytes = [0; HEADER_BYTES as usize];
            file.read_at(0, &mut bytes)?;
            let header = IndexHeader::decode(&bytes);
            let is_sane = header.fits(self.config.index_shape) && header.begin_physical >= end_before;
            if !is_sane || (header.count > 1 && header.begin_physical >= log.end.0) {
                self.remove(&path, "its header cannot be right")?;
                break;
            }
            end_before = header.end_physical;
            // Of files that end in the same millisecond, one may have been synced and the other not.
            let synced = match self.limit {
                Some(known) => entry.name < known.file && header.end_physical < known.to.0,
                None => header.end_timestamp < log.index_timestamp,
            };
            let doubted = !(log.clean || synced && header.is_full(self.config.index_shape));
            let beyond = header.count > 1 && header.end_physical >= log.end.0;
            self.take(entry.name, &*file, header, doubted || beyond, log)?;
            if self.cut {
                break;
            }
        }
        for entry in names {
            self.remove(&self.dir.join(&entry.name), "the one before it ends too early")?;
        }
        Ok(())
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

    fn remove(&mut self, path: &Path, why: &str) -> Result<(), MediumError> {
        log::warn!("index file {} is made again from the log: {why}", path.display());
        self.cut = true;
        self.medium.remove(path)
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

/// How far the log is indexed: `<root>/indexed`, a file of ours that RocketMQ passes over. Messages without keys leave no trace
/// in the index, so its last entry alone does not tell.
///
/// ```text
/// to=00000000000000001234 file=20261120124038960 count=0000000256 crc=1a2b3c4d
/// ```
pub(crate) struct PositionFile {
    path: PathBuf,
    file: Option<Box<dyn MediumFile>>,
    saved: String,
}

pub(crate) struct Position {
    to: PhysicalOffset,
    file: String,
    count: i32,
}

impl Position {
    /// Whether the file it names is there, and was no longer when it was written.
    fn is_of(&self, medium: &dyn Medium, dir: &Path) -> Result<bool, MediumError> {
        if self.file == NO_FILE {
            return Ok(true);
        }
        let Some(file) = medium.open(&dir.join(&self.file))? else { return Ok(false) };
        let mut bytes = [0; HEADER_BYTES as usize];
        file.read_at(0, &mut bytes)?;
        Ok(IndexHeader::decode(&bytes).count >= self.count)
    }

    /// Whether the files still hold what they held when this was written.
    fn holds(&self, state: &State) -> bool {
        let current = state.current.as_ref().map(|current| (&current.name, &current.header));
        let mut files = state.full.iter().map(|(name, header)| (name, header)).chain(current);
        self.file == NO_FILE && files.clone().next().is_none()
            || files.any(|(name, header)| *name == self.file && header.count >= self.count)
    }
}

impl PositionFile {
    fn new(root: &Path) -> Self {
        Self { path: root.join("indexed"), file: None, saved: String::new() }
    }

    fn load(&self, medium: &dyn Medium) -> Result<Option<Position>, MediumError> {
        let text = medium.read(&self.path)?.unwrap_or_default();
        Ok(str::from_utf8(&text).ok().and_then(parse_position))
    }

    pub fn save(
        &mut self,
        medium: &dyn Medium,
        to: PhysicalOffset,
        last: Option<(String, i32)>,
    ) -> Result<(), MediumError> {
        let (name, count) = last.unwrap_or_else(|| (NO_FILE.to_string(), 1));
        let head = format!("to={:020} file={name} count={count:010}", to.0);
        let text = format!("{head} crc={:08x}\n", crc32fast::hash(head.as_bytes()));
        if text == self.saved {
            return Ok(());
        }
        let file = match self.file.take() {
            Some(file) => file,
            None => match medium.open(&self.path)? {
                Some(file) if file.len()? == text.len() as u64 => file,
                _ => medium.create(&self.path, text.len() as u64)?,
            },
        };
        self.file.insert(file).write_at(0, text.as_bytes())?;
        self.saved = text;
        Ok(())
    }

    fn sync(&self, medium: &dyn Medium, root: &Path) -> Result<(), MediumError> {
        if let Some(file) = &self.file {
            file.sync()?;
        }
        medium.sync_dir(root)
    }
}

fn parse_position(text: &str) -> Option<Position> {
    let (head, crc) = text.trim_end().split_once(" crc=")?;
    if u32::from_str_radix(crc, 16).ok()? != crc32fast::hash(head.as_bytes()) {
        return None;
    }
    let mut words = head.split(' ');
    let mut word = |name: &str| words.next()?.strip_prefix(name);
    let to = PhysicalOffset(word("to=")?.parse().ok()?);
    Some(Position { to, file: word("file=")?.to_string(), count: word("count=")?.parse().ok()? })
}

const BLOCK_ENTRIES: usize = 13_107;
const NO_FILE: &str = "00000000000000000";
