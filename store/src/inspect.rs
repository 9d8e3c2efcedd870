//! A store directory looked at from outside, ours or the official broker's: what lies there, and whether it is whole.
//!
//! ```text
//! inspect: names, sizes, headers, checkpoint, last stop           a few reads for each file
//! verify:  every record of the log, in order: size, magic, CRC, place; its queue entry
//!          damage -> the next place where a good record begins -> the queue entries that point in between are what was lost
//! ```
//!
//! Read-only, without the lock: of a store that is in use it shows a moment, and its end may seem torn. Nothing here asks for
//! settings: sizes are those of the files that are there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::record::{self, RecordView, Unit as LogUnit};
use serde::Serialize;

use crate::checkpoint::Checkpoint;
use crate::cold::ABORT_NAMES;
use crate::commitlog::offset_of_name;
use crate::consumequeue::load::id_of_name;
use crate::consumequeue::{hole, is_real};
use crate::dispatch::{ENTRY_BYTES, decode_entry};
use crate::error::MediumError;
use crate::files::Files;
use crate::index::dir_of;
use crate::index::format::{HEADER_BYTES, IndexHeader, is_name};
use crate::medium::{Entry, Medium};
use crate::offsets::{PhysicalOffset, Unit};

/// What lies in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    pub root: PathBuf,
    /// No `abort`: the last broker here said goodbye.
    pub clean: bool,
    /// A hot log may belong to it: its content is not in the files.
    pub has_hot_log: bool,
    pub commitlog: LogSeen,
    pub queues: Vec<QueueSeen>,
    pub index: Vec<IndexSeen>,
    pub checkpoint: CheckpointSeen,
    /// Files of `config/` and their sizes.
    pub config: Vec<(String, u64)>,
    /// What looks wrong at first sight.
    pub remarks: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogSeen {
    pub dir: PathBuf,
    pub file_bytes: u64,
    pub files: usize,
    pub min: i64,
    /// End of the last file; the log ends somewhere before.
    pub file_end: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueSeen {
    pub topic: String,
    pub queue_id: i32,
    pub files: usize,
    /// First offset that has an entry, and the one after the last.
    pub min: i64,
    pub max: i64,
    /// Where the last entry's message ends.
    pub last_end: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexSeen {
    pub name: String,
    pub bytes: u64,
    pub entries: i64,
    pub used_slots: i64,
    pub begin_timestamp: i64,
    pub end_timestamp: i64,
    pub begin_physical: i64,
    pub end_physical: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointSeen {
    pub physic_msg_timestamp: i64,
    pub logics_msg_timestamp: i64,
    pub index_msg_timestamp: i64,
}

/// What a walk over all records found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Where the log ends.
    pub end: i64,
    pub records: u64,
    pub bytes: u64,
    pub damage: Vec<Damage>,
    /// Records whose queue has no entry, or another one, for them: the next start makes those again.
    pub entries_missing: u64,
    pub entries_wrong: u64,
    /// The first of them.
    pub first_bad_entry: Option<String>,
    /// Entries that point behind the end of the log.
    pub entries_beyond: u64,
    /// The bytes at the end are part of a record that was never finished.
    pub torn_tail: Option<String>,
}

/// A stretch of the log in which no record can be read, with good ones behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Damage {
    pub from: i64,
    pub to: i64,
    pub why: String,
    /// `topic queue offset` of the messages that the queues know of in there.
    pub lost: Vec<String>,
}

impl Verdict {
    pub fn is_whole(&self) -> bool {
        self.damage.is_empty()
            && self.torn_tail.is_none()
            && self.entries_missing + self.entries_wrong + self.entries_beyond == 0
    }
}

/// Looks at a store directory; `commitlog` when it lies elsewhere.
pub fn inspect(
    medium: &Arc<dyn Medium>,
    root: &Path,
    commitlog: Option<&Path>,
) -> Result<Inspection, MediumError> {
    let log_dir = commitlog.map_or_else(|| root.join("commitlog"), Path::to_path_buf);
    let mut remarks = Vec::new();
    let checkpoint = Checkpoint::load(Arc::clone(medium), root.join("checkpoint"))?;
    let config = medium.list(&root.join("config"))?;
    Ok(Inspection {
        root: root.to_path_buf(),
        clean: medium.read(&root.join(ABORT_NAMES[0]))?.is_none(),
        has_hot_log: medium.read(&root.join("hotlog"))?.is_some(),
        commitlog: look_at_log(&**medium, log_dir, &mut remarks)?,
        queues: look_at_queues(medium, &root.join("consumequeue"), &mut remarks)?,
        index: look_at_index(&**medium, &dir_of(root))?,
        checkpoint: CheckpointSeen {
            physic_msg_timestamp: checkpoint.physic_timestamp,
            logics_msg_timestamp: checkpoint.logics_timestamp,
            index_msg_timestamp: checkpoint.index_timestamp,
        },
        config: config
            .into_iter()
            .filter(|entry| !entry.is_dir)
            .map(|entry| (entry.name, entry.bytes))
            .collect(),
        remarks,
    })
}

fn look_at_log(medium: &dyn Medium, dir: PathBuf, remarks: &mut Vec<String>) -> Result<LogSeen, MediumError> {
    let mut seen = LogSeen { dir, ..LogSeen::default() };
    let mut next = None;
    let entries = medium.list(&seen.dir)?;
    let start_of = |entry: &Entry| {
        offset_of_name(&entry.name)
            .filter(|start| !entry.is_dir && start.checked_add_unsigned(entry.bytes).is_some())
    };
    // What is not as large has lost something; it may be the first.
    let sizes = entries.iter().filter(|entry| start_of(entry).is_some()).map(|entry| entry.bytes);
    seen.file_bytes = sizes.max().unwrap_or(0);
    for entry in entries {
        let Some(start) = start_of(&entry) else {
            remarks.push(format!("commitlog/{}: not a commitlog file", entry.name));
            continue;
        };
        if seen.files == 0 {
            seen.min = start;
        }
        if entry.bytes != seen.file_bytes {
            remarks.push(format!(
                "commitlog/{}: {} bytes, others have {}",
                entry.name, entry.bytes, seen.file_bytes
            ));
        }
        if start % (seen.file_bytes as i64).max(1) != 0 {
            remarks.push(format!("commitlog/{}: its name is no multiple of its size", entry.name));
        }
        if next.is_some_and(|next| next != start) {
            remarks.push(format!("commitlog/{}: files before it are missing", entry.name));
        }
        seen.files += 1;
        seen.file_end = start + entry.bytes as i64;
        next = start.checked_add_unsigned(seen.file_bytes);
    }
    Ok(seen)
}

fn look_at_queues(
    medium: &Arc<dyn Medium>,
    dir: &Path,
    remarks: &mut Vec<String>,
) -> Result<Vec<QueueSeen>, MediumError> {
    let mut queues = Vec::new();
    for topic in medium.list(dir)?.into_iter().filter(|entry| entry.is_dir) {
        for queue in medium.list(&dir.join(&topic.name))? {
            let Some(queue_id) = id_of_name(&queue.name).filter(|_| queue.is_dir) else { continue };
            let queue_dir = dir.join(&topic.name).join(&queue.name);
            let files: Vec<_> = medium
                .list(&queue_dir)?
                .into_iter()
                .filter_map(|entry| Some((offset_of_name(&entry.name)?, entry.bytes)))
                .filter(|(start, bytes)| start.checked_add_unsigned(*bytes).is_some())
                .collect();
            let Some((first, file_bytes)) = files.first().copied().filter(|(_, bytes)| *bytes >= 20) else {
                remarks.push(format!("consumequeue/{}/{queue_id}: no file", topic.name));
                continue;
            };
            let mut reader = Files::new(Arc::clone(medium), file_bytes);
            reader.dir = queue_dir;
            let end = files.last().map_or(0, |(start, bytes)| start + *bytes as i64) / 20;
            let min = first / 20;
            let max = end_of_queue(&mut reader, min, end, (file_bytes / 20) as i64)?;
            let last = if max > min { entry_at(&mut reader, max - 1)? } else { None };
            let last_end = last.filter(is_real).map_or(0, |unit| unit.end().0);
            let (topic, files) = (topic.name.clone(), files.len());
            queues.push(QueueSeen { topic, queue_id, files, min, max, last_end });
        }
    }
    Ok(queues)
}

/// The first offset without an entry: unwritten space is zero to the end. In the last file that begins with one: those before it may have holes.
fn end_of_queue(reader: &mut Files, min: i64, end: i64, file_entries: i64) -> Result<i64, MediumError> {
    let mut low = (end - file_entries).max(min);
    while low > min && entry_at(reader, low)?.is_none() {
        low = (low - file_entries).max(min);
    }
    let mut high = end.min(low + file_entries);
    while low < high {
        let middle = low + (high - low) / 2;
        if entry_at(reader, middle)?.is_some() { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}

fn entry_at(reader: &mut Files, offset: i64) -> Result<Option<Unit>, MediumError> {
    // A damaged record may say any offset.
    let at = u64::try_from(offset).ok().and_then(|offset| offset.checked_mul(ENTRY_BYTES as u64));
    let Some(at) = at.filter(|at| i64::try_from(*at).is_ok()) else { return Ok(None) };
    let mut entry = [0; ENTRY_BYTES];
    let there = reader.read(at, &mut entry)?;
    Ok(if there == ENTRY_BYTES { decode_entry(&entry) } else { None })
}

fn look_at_index(medium: &dyn Medium, dir: &Path) -> Result<Vec<IndexSeen>, MediumError> {
    let mut index = Vec::new();
    for entry in medium.list(dir)?.into_iter().filter(|entry| is_name(&entry.name)) {
        let mut bytes = [0; HEADER_BYTES as usize];
        if let Some(file) = medium.open(&dir.join(&entry.name))? {
            file.read_at(0, &mut bytes)?;
        }
        let header = IndexHeader::decode(&bytes);
        index.push(IndexSeen {
            name: entry.name,
            bytes: entry.bytes,
            entries: i64::from(header.count) - 1,
            used_slots: i64::from(header.used_slots),
            begin_timestamp: header.begin_timestamp,
            end_timestamp: header.end_timestamp,
            begin_physical: header.begin_physical,
            end_physical: header.end_physical,
        });
    }
    Ok(index)
}

/// Walks over the whole log. `progress` hears how many bytes of how many are done.
pub fn verify(
    medium: &Arc<dyn Medium>,
    seen: &Inspection,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Verdict, MediumError> {
    let mut walk = Walk::new(medium, seen)?;
    let mut verdict = Verdict::default();
    let mut at = seen.commitlog.min;
    while seen.commitlog.file_bytes > 0 && at < seen.commitlog.file_end {
        progress((at - seen.commitlog.min) as u64, (seen.commitlog.file_end - seen.commitlog.min) as u64);
        let why = match walk.unit(at)? {
            Ok(step) => {
                if let Some(view) = step.record(&walk.window, at - walk.start) {
                    verdict.records += 1;
                    verdict.bytes += step.bytes;
                    walk.queues.compare(&view, &mut verdict)?;
                }
                at += step.bytes as i64;
                continue;
            }
            Err(why) => why,
        };
        match walk.next_good(at + 1)? {
            Some(to) => {
                let lost = walk.queues.between(at, to)?;
                verdict.damage.push(Damage { from: at, to, why, lost });
                at = to;
            }
            None => {
                if !walk.is_zero(at)? {
                    verdict.torn_tail = Some(why);
                }
                break;
            }
        }
    }
    verdict.end = at;
    verdict.entries_beyond = walk.queues.beyond(at)?;
    Ok(verdict)
}

/// A good unit.
struct Step {
    bytes: u64,
    is_record: bool,
}

impl Step {
    fn record<'a>(&self, window: &'a [u8], from: i64) -> Option<RecordView<'a>> {
        let bytes = window.get(from as usize..)?.get(..self.bytes as usize)?;
        if self.is_record { RecordView::parse(bytes).ok() } else { None }
    }
}

struct Walk {
    log: Files,
    file_bytes: i64,
    file_end: i64,
    /// First bytes of all files, which may lie far apart.
    starts: Vec<i64>,
    window: Vec<u8>,
    /// Place of the window's first byte.
    start: i64,
    queues: Queues,
}

impl Walk {
    fn new(medium: &Arc<dyn Medium>, seen: &Inspection) -> Result<Self, MediumError> {
        let mut log = Files::new(Arc::clone(medium), seen.commitlog.file_bytes.max(1));
        log.dir.clone_from(&seen.commitlog.dir);
        let queues = Queues::new(medium, seen);
        let (file_bytes, file_end) = (seen.commitlog.file_bytes as i64, seen.commitlog.file_end);
        let starts =
            medium.list(&seen.commitlog.dir)?.into_iter().filter_map(|entry| offset_of_name(&entry.name));
        let starts = starts.collect();
        Ok(Self { log, file_bytes, file_end, starts, window: Vec::new(), start: 0, queues })
    }

    /// Makes sure that the window holds `bytes` bytes from `at` on, or all there are in this file.
    fn hold(&mut self, at: i64, bytes: usize) -> Result<&[u8], MediumError> {
        let in_file = (self.file_bytes - at % self.file_bytes) as usize;
        let wanted = bytes.min(in_file);
        let held = at >= self.start && (at - self.start) as usize + wanted <= self.window.len();
        if !held {
            self.window.resize(wanted.max(WINDOW_BYTES).min(in_file), 0);
            self.start = at;
            let there = self.log.read(at as u64, &mut self.window)?;
            self.window.truncate(there);
        }
        Ok(self.window.get((at - self.start) as usize..).unwrap_or_default())
    }

    /// The unit at `at`, or why there is none.
    fn unit(&mut self, at: i64) -> Result<Result<Step, String>, MediumError> {
        let left = (self.file_bytes - at % self.file_bytes) as u64;
        let mut bytes = HEAD_BYTES;
        loop {
            let held = self.hold(at, bytes)?;
            let short = held.len() as u64 >= left || held.len() < bytes;
            return Ok(match record::unit(held) {
                Ok(LogUnit::Blank { bytes_left }) if u64::from(bytes_left) == left => {
                    Ok(Step { bytes: left, is_record: false })
                }
                Ok(LogUnit::Blank { .. }) => Err("a blank of the wrong size".into()),
                Ok(LogUnit::Record(view)) if view.physical_offset != at => {
                    Err(format!("a record that says it lies at {}", view.physical_offset))
                }
                Ok(LogUnit::Record(view)) if !view.crc_holds() => {
                    Err("the CRC of the body does not match".into())
                }
                Ok(LogUnit::Record(view)) => Ok(Step { bytes: view.bytes.len() as u64, is_record: true }),
                Err(record::RecordError::Short { need }) if !short && need > bytes && need as u64 <= left => {
                    bytes = need;
                    continue;
                }
                Err(error) => Err(error.to_string()),
            });
        }
    }

    /// The next place from `from` on where a good record begins.
    fn next_good(&mut self, from: i64) -> Result<Option<i64>, MediumError> {
        let mut at = from;
        while at < self.file_end {
            let held = self.hold(at, SEARCH_BYTES)?;
            let held = &held[..held.len().min(SEARCH_BYTES)];
            if held.len() < HEAD_BYTES {
                at = self.starts.iter().copied().find(|start| *start > at).unwrap_or(self.file_end);
                continue;
            }
            if *held == ZEROS[..held.len().min(ZEROS.len())] {
                // What was never written: most of a young file.
                at += held.len() as i64 - 7;
                continue;
            }
            let magics = [record::MAGIC_V1.to_be_bytes(), record::MAGIC_V2.to_be_bytes()];
            let found = held.windows(4).skip(4).position(|four| magics.iter().any(|magic| magic == four));
            let (skip, is_magic) = match found {
                Some(index) => (index as i64, true),
                None => (held.len() as i64 - 7, false),
            };
            at += skip;
            if is_magic {
                if let Ok(Step { is_record: true, .. }) = self.unit(at)? {
                    return Ok(Some(at));
                }
                at += 1;
            }
        }
        Ok(None)
    }

    /// Whether nothing was ever written at `at`.
    fn is_zero(&mut self, at: i64) -> Result<bool, MediumError> {
        let held = self.hold(at, HEAD_BYTES)?;
        Ok(held.iter().take(HEAD_BYTES).all(|byte| *byte == 0))
    }
}

/// The queues' entries, for comparing.
struct Queues {
    dir: PathBuf,
    readers: BTreeMap<u64, Files>,
    medium: Arc<dyn Medium>,
    seen: BTreeMap<(String, i32), (QueueSeen, u64)>,
}

impl Queues {
    fn new(medium: &Arc<dyn Medium>, inspection: &Inspection) -> Self {
        let dir = inspection.root.join("consumequeue");
        let mut seen = BTreeMap::new();
        for queue in &inspection.queues {
            let files = medium.list(&dir.join(&queue.topic).join(queue.queue_id.to_string()));
            let bytes = files.ok().and_then(|files| files.first().map(|file| file.bytes)).unwrap_or(0);
            seen.insert((queue.topic.clone(), queue.queue_id), (queue.clone(), bytes));
        }
        Self { dir, readers: BTreeMap::new(), medium: Arc::clone(medium), seen }
    }

    fn entry(
        &mut self,
        topic: &str,
        queue_id: i32,
        file_bytes: u64,
        offset: i64,
    ) -> Result<Option<Unit>, MediumError> {
        entry_at(self.reader(topic, queue_id, file_bytes), offset)
    }

    fn reader(&mut self, topic: &str, queue_id: i32, file_bytes: u64) -> &mut Files {
        let medium = Arc::clone(&self.medium);
        let reader = self.readers.entry(file_bytes).or_insert_with(|| Files::new(medium, file_bytes.max(1)));
        reader.dir = self.dir.join(topic).join(queue_id.to_string());
        reader
    }

    /// Whether the record's entry says what it should.
    fn compare(&mut self, view: &RecordView<'_>, verdict: &mut Verdict) -> Result<(), MediumError> {
        if !view.is_queued() {
            return Ok(());
        }
        let topic = String::from_utf8_lossy(view.topic).into_owned();
        let known = self.seen.get(&(topic.clone(), view.queue_id)).map(|(queue, bytes)| (queue.max, *bytes));
        let entry = match known {
            Some((max, file_bytes)) if view.queue_offset < max => {
                self.entry(&topic, view.queue_id, file_bytes, view.queue_offset)?
            }
            _ => None,
        };
        let place = || format!("{topic} {} {}", view.queue_id, view.queue_offset);
        match entry {
            Some(unit) if unit.physical.0 == view.physical_offset && unit.size == view.size() => {
                return Ok(());
            }
            Some(_) => verdict.entries_wrong += 1,
            None => verdict.entries_missing += 1,
        }
        verdict.first_bad_entry.get_or_insert_with(place);
        Ok(())
    }

    /// Messages that begin from `from` on and before `to`, as far as the queues know; the first few of each queue.
    fn between(&mut self, from: i64, to: i64) -> Result<Vec<String>, MediumError> {
        let mut lost = Vec::new();
        for ((topic, queue_id), (queue, file_bytes)) in self.seen.clone() {
            let mut offset = self.first_from(&queue, file_bytes, from)?;
            while offset < queue.max && lost.len() < LOST_MAX {
                match self.entry(&topic, queue_id, file_bytes, offset)? {
                    Some(unit) if unit.physical < PhysicalOffset(to) => {
                        lost.push(format!("{topic} {queue_id} {offset}"))
                    }
                    _ => break,
                }
                offset += 1;
            }
        }
        Ok(lost)
    }

    fn beyond(&mut self, end: i64) -> Result<u64, MediumError> {
        let mut beyond = 0;
        for (queue, file_bytes) in self.seen.values().cloned().collect::<Vec<_>>() {
            beyond += (queue.max - self.first_from(&queue, file_bytes, end)?) as u64;
        }
        Ok(beyond)
    }

    /// The first offset whose message lies at `physical` or later.
    fn first_from(&mut self, queue: &QueueSeen, file_bytes: u64, physical: i64) -> Result<i64, MediumError> {
        let reader = self.reader(&queue.topic, queue.queue_id, file_bytes);
        let file_entries = (file_bytes as usize / ENTRY_BYTES).max(1) as i64;
        let read = |at, out: &mut [u8]| reader.read(at, out);
        hole::first_at(queue.min, queue.max, file_entries, PhysicalOffset(physical), read)
    }
}

const WINDOW_BYTES: usize = 4 << 20;
const SEARCH_BYTES: usize = 64 << 10;
static ZEROS: [u8; SEARCH_BYTES] = [0; SEARCH_BYTES];
const HEAD_BYTES: usize = 16;
const LOST_MAX: usize = 1_000;
