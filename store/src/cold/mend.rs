//! Makes entries that are missing amid a queue's files again, from the log between the messages on both sides of them.
//!
//! ```text
//! queue   [x][x][ ][ ][ ][x]        a reader has come to the hole (holes.rs) and waits
//!           |   '- - - - -'|
//! log     ==x===?===?====?=x===     a piece with every step ─▶ entries put back (consumequeue/mend.rs)
//! ```
//!
//! An attempt is bounded. One that has made some entries again lets readers go on to what is left, which is the next attempt; after one
//! that has made none they pass over the hole, and operators read how to have it mended. Whatever goes wrong here ends nothing else.
//! Implements D-14 (docs/PROMISES.md).

use super::{ColdStore, Failure, is_due};
use crate::brief::{Brief, Labels, is_same};
use crate::consumequeue::mend::Between;
use crate::dispatch::{ENTRY_BYTES, encode_entry, unit_of};
use crate::error::MediumError;
use crate::holes::Hole;
use crate::offsets::PhysicalOffset;
use crate::walk::{self, Stop};

/// Where the mending is.
#[derive(Default)]
pub(crate) struct Mending {
    attempt: Option<Attempt>,
    remade: Teller,
    lost: Teller,
}

/// Who tells of one kind of outcome: a disk may have lost very many pieces, and one of them a second is named.
#[derive(Default)]
struct Teller {
    told_ms: Option<i64>,
    /// Attempts that nobody was told of since.
    untold: u64,
}

/// One walk over the log for one hole.
struct Attempt {
    hole: Hole,
    from: PhysicalOffset,
    at: PhysicalOffset,
    to: PhysicalOffset,
    /// What was found: entries that follow each other, from this offset on.
    first: i64,
    entries: Vec<u8>,
}

/// How far a walk has come with one piece.
enum Walked {
    On,
    /// To the next message that has its entry, or as far as one attempt goes.
    Enough,
    /// To where the log cannot be read.
    Bad,
}

impl ColdStore {
    /// One bounded piece. Returns whether there is more.
    pub(crate) fn mend_some(&mut self, now_ms: i64) -> Result<bool, Failure> {
        let begun = match self.mending.attempt.take() {
            Some(attempt) => Some(attempt),
            None => match self.marks.holes.next_wanted() {
                Some(met) => self.begin_attempt(met, now_ms),
                None => {
                    self.mending.remade.tell_rest(now_ms, REMADE);
                    self.mending.lost.tell_rest(now_ms, LOST);
                    return Ok(false);
                }
            },
        };
        let Some(mut attempt) = begun else { return Ok(true) };
        match self.walk_piece(&mut attempt) {
            Ok(Walked::On) => self.mending.attempt = Some(attempt),
            Ok(Walked::Enough) => {
                let (from, at) = (attempt.from, attempt.at);
                self.end_attempt(
                    attempt,
                    now_ms,
                    &format!("none of their messages is in the log from {from} to {at}"),
                )?;
            }
            Ok(Walked::Bad) => {
                let at = attempt.at;
                self.end_attempt(attempt, now_ms, &format!("the log cannot be read at {at}"))?;
            }
            Err(error) => self.give_up(&attempt.hole, now_ms, &error.to_string()),
        }
        Ok(true)
    }

    fn begin_attempt(&mut self, met: Hole, now_ms: i64) -> Option<Attempt> {
        match self.disk.queues.between(&met) {
            Ok(Some(Between { hole, from, to })) => {
                let from = from.unwrap_or_default().max(self.marks.min_physical());
                let (to, first) = (to.max(from), hole.offsets.start);
                Some(Attempt { hole, from, at: from, to, first, entries: Vec::new() })
            }
            Ok(None) => {
                // Deleted meanwhile, or never a hole: whoever reads there again sees what it is.
                self.marks.holes.forget(&met);
                self.marks.count_emptied();
                None
            }
            Err(error) => {
                self.give_up(&met, now_ms, &error.to_string());
                None
            }
        }
    }

    /// Takes the entries out of the next bytes of the log.
    fn walk_piece(&mut self, attempt: &mut Attempt) -> Result<Walked, MediumError> {
        let began = attempt.at;
        let left = attempt.to.since(began) as usize;
        let mut len = PIECE_BYTES.min(left);
        while attempt.at == began && began < attempt.to {
            let mut bytes = vec![0; len];
            let there = self.reader().read_log(began, &mut bytes)?;
            let (delays, file_bytes) = (&self.disk.delay_levels_ms, self.disk.log.file_bytes());
            let (at, stop) =
                walk::records(&bytes[..there], began, file_bytes, |record| attempt.take(record, delays));
            attempt.at = at;
            match stop {
                Some(Stop::Short { need }) if at == began && (len + 1..=left).contains(&need) => len = need,
                Some(Stop::Short { .. }) | None if at > began => {}
                _ => return Ok(Walked::Bad),
            }
        }
        let is_enough = attempt.at >= attempt.to
            || attempt.at.since(attempt.from) >= ATTEMPT_BYTES_MAX
            || attempt.entries.len() >= ATTEMPT_ENTRIES_MAX * ENTRY_BYTES;
        Ok(if is_enough { Walked::Enough } else { Walked::On })
    }

    /// What was found goes into the files. A failure to sync what the queue had written before is what it always is.
    fn end_attempt(&mut self, attempt: Attempt, now_ms: i64, why_none: &str) -> Result<(), Failure> {
        let Attempt { hole, first, entries, .. } = attempt;
        if entries.is_empty() {
            self.give_up(&hole, now_ms, why_none);
            return Ok(());
        }
        if !self.disk.queues.prepare_mending(&hole)? {
            self.marks.holes.forget(&hole);
            return Ok(());
        }
        if let Err(error) = self.disk.queues.put_back(&hole, first, &entries) {
            self.give_up(&hole, now_ms, &error.to_string());
            return Ok(());
        }
        let remade = (entries.len() / ENTRY_BYTES) as u64;
        self.marks.holes.settle(&hole, remade);
        // A file may be new under its name.
        self.marks.count_emptied();
        let Hole { topic, queue_id, offsets } = &hole;
        let (first, last, place) = (offsets.start, offsets.end - 1, self.place());
        self.mending.remade.tell(now_ms, REMADE, || {
            format!(
                "entries {first} to {last} of queue {queue_id} of {topic} were missing in the files: {remade} are made again from the log. \
                 Has the disk lost more? With the broker stopped `afterburner store verify {place}` tells"
            )
        });
        Ok(())
    }

    fn give_up(&mut self, hole: &Hole, now_ms: i64, why: &str) {
        self.marks.holes.give_up(hole);
        let Hole { topic, queue_id, offsets } = hole;
        let (first, last, place) = (offsets.start, offsets.end - 1, self.place());
        self.mending.lost.tell(now_ms, LOST, || {
            format!(
                "entries {first} to {last} of queue {queue_id} of {topic} are missing in the files, and consumers pass over them: {why}. With \
                 the broker stopped `afterburner store repair --remake {place}` makes all queues again from the log"
            )
        });
    }

    /// As `afterburner store` is told of this one.
    fn place(&self) -> String {
        let elsewhere = self.config.commitlog.as_ref().map(|dir| format!(" --commitlog {}", dir.display()));
        format!("{}{}", self.config.root.display(), elsewhere.unwrap_or_default())
    }
}

impl Attempt {
    /// The entry of a record, if it is one of those that are missing. Behind one that the log lacks is another hole.
    fn take(&mut self, record: &Brief<'_>, delay_levels_ms: &[i64]) {
        let offset = record.queue_offset;
        let is_next = match self.entries.is_empty() {
            true => self.hole.offsets.contains(&offset),
            false => {
                offset == self.first + (self.entries.len() / ENTRY_BYTES) as i64
                    && offset < self.hole.offsets.end
            }
        };
        if !is_next
            || record.queue_id != self.hole.queue_id
            || !is_same(self.hole.topic.as_bytes(), record.topic)
            || !record.is_queued()
        {
            return;
        }
        if self.entries.is_empty() {
            self.first = offset;
        }
        let unit = unit_of(record, &Labels::of(record.properties), delay_levels_ms);
        self.entries.extend_from_slice(&encode_entry(&unit));
    }
}

impl Teller {
    fn tell(&mut self, now_ms: i64, rest: &str, text: impl FnOnce() -> String) {
        if !self.is_free(now_ms) {
            self.untold += 1;
            return;
        }
        self.tell_rest(now_ms, rest);
        self.told_ms = Some(now_ms);
        log::warn!("{}", text());
    }

    /// How many were not named.
    fn tell_rest(&mut self, now_ms: i64, rest: &str) {
        if self.untold > 0 && self.is_free(now_ms) {
            log::warn!("{} more holes in consume queues {rest}", self.untold);
            self.untold = 0;
            self.told_ms = Some(now_ms);
        }
    }

    fn is_free(&self, now_ms: i64) -> bool {
        self.told_ms.is_none_or(|told_ms| is_due(now_ms, told_ms, TELL_MS))
    }
}

const REMADE: &str = "were mended: queueEntriesRemade counts their entries";
const LOST: &str = "are passed over: queueEntriesLost counts their entries";
/// Short enough for a sender that waits for the thread, under SYNC_FLUSH.
const PIECE_BYTES: usize = 256 << 10;
/// What one attempt walks over and makes again at most: so long a consumer waits.
const ATTEMPT_BYTES_MAX: u64 = 64 << 20;
const ATTEMPT_ENTRIES_MAX: usize = 50_000;
const TELL_MS: i64 = 1_000;
