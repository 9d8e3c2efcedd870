//! Entries on their way into an index file, in pieces as they are written.
//!
//! ```text
//! file:  | header | slots | entries ........| piece, full | piece, full | last: being filled |
//!                          in the file -----'  by a writer, past the page cache    '- once a second as far as it goes
//! ```
//!
//! A page of the page cache costs more to get than an entry to make, and an index file is written once, from front to back: so it is
//! written in large pieces that begin and end with blocks. Readers find what is not in the file here.

use std::collections::VecDeque;
use std::sync::Arc;

use super::format::{ENTRY_BYTES, IndexEntry};
use crate::arena::PAGE_BYTES;

/// What lies between two places of an index file, in memory that begins with a page.
pub(crate) struct Piece {
    from: u64,
    /// As long as it will ever be: bytes are put in their places.
    memory: Vec<u8>,
    start: usize,
    end: usize,
}

impl Piece {
    /// `lead`: what lies in the file from `from` on, up to the first entry of the piece.
    fn new(from: u64, lead: &[u8], piece_bytes: usize, spare: Option<Vec<u8>>) -> Self {
        let memory = spare.unwrap_or_else(|| vec![0; piece_bytes + PAGE_BYTES]);
        let start = memory.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES);
        let mut piece = Self { from, memory, start, end: start };
        piece.push(lead);
        piece
    }

    fn push(&mut self, bytes: &[u8]) {
        let end = self.end + bytes.len();
        self.memory[self.end..end].copy_from_slice(bytes);
        self.end = end;
    }

    pub fn from(&self) -> u64 {
        self.from
    }

    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    pub fn end(&self) -> u64 {
        self.from + (self.end - self.start) as u64
    }

    fn part(&self, from: u64, to: u64) -> &[u8] {
        let place = |at: u64| at.clamp(self.from, self.end()) - self.from;
        &self.bytes()[place(from) as usize..place(to) as usize]
    }
}

/// What is not in the file yet, or may not be.
pub(crate) struct Tail {
    piece_bytes: usize,
    /// The end of the piece that is being filled.
    last_to: u64,
    full: VecDeque<Arc<Piece>>,
    last: Piece,
    /// What lies before is in the file.
    written_to: u64,
    spare: Vec<Vec<u8>>,
}

impl Tail {
    /// The next entry goes to `at`; `lead`: what lies before it in its block of the file. Pieces are of whole blocks.
    pub fn new(at: u64, lead: &[u8], piece_bytes: usize) -> Self {
        assert!(piece_bytes.is_multiple_of(PAGE_BYTES) && lead.len() == lead_of(at));
        let last = Piece::new(at - lead.len() as u64, lead, piece_bytes, None);
        let last_to = (at / piece_bytes as u64 + 1) * piece_bytes as u64;
        Self { piece_bytes, last_to, full: VecDeque::new(), last, written_to: at, spare: Vec::new() }
    }

    #[inline]
    pub fn push(&mut self, entry: &IndexEntry) {
        let left = (self.last_to - self.last.end()) as usize;
        let place = self.last.memory.get_mut(self.last.end..).and_then(|rest| rest.first_chunk_mut());
        match place {
            Some(place) if left > ENTRY_BYTES as usize => {
                entry.encode_into(place);
                self.last.end += ENTRY_BYTES as usize;
            }
            _ => self.push_over(entry, left),
        }
    }

    #[cold]
    fn push_over(&mut self, entry: &IndexEntry, left: usize) {
        let mut bytes = [0; ENTRY_BYTES as usize];
        entry.encode_into(&mut bytes);
        let (here, there) = bytes.split_at(left);
        self.last.push(here);
        let next = Piece::new(self.last_to, there, self.piece_bytes, self.spare.pop());
        self.last_to += self.piece_bytes as u64;
        self.full.push_back(Arc::new(std::mem::replace(&mut self.last, next)));
    }

    /// How many more entries there may be before some are written.
    pub fn room(&self) -> usize {
        let most = PIECES_MAX * self.piece_bytes as u64;
        (most.saturating_sub(self.last.end() - self.start()) / ENTRY_BYTES) as usize
    }

    /// The nth full piece that is not in the file.
    pub fn full(&self, nth: usize) -> Option<&Arc<Piece>> {
        self.full.get(nth)
    }

    pub fn written_to(&self) -> u64 {
        self.written_to
    }

    /// The first full piece has been written whole.
    pub fn pop(&mut self) {
        let Some(piece) = self.full.pop_front() else { return };
        self.written_to = self.written_to.max(piece.end());
        if let Some(piece) = Arc::into_inner(piece).filter(|_| self.spare.len() < SPARE_MAX) {
            self.spare.push(piece.memory);
        }
    }

    /// What is to be written for the file to reach up to `to`.
    pub fn unwritten(&self, to: u64) -> impl Iterator<Item = (u64, &[u8])> {
        let from = self.written_to;
        let pieces = self.full.iter().map(Arc::as_ref).chain([&self.last]);
        pieces
            .map(move |piece| (from.max(piece.from), piece.part(from, to)))
            .filter(|(_, part)| !part.is_empty())
    }

    /// What `unwritten` gave has been written.
    pub fn note_written(&mut self, to: u64) {
        self.written_to = self.written_to.max(to);
    }

    pub fn view(&self) -> TailView {
        let last = (self.last.from, self.last.bytes().to_vec());
        TailView { full: self.full.iter().cloned().collect(), last }
    }

    fn start(&self) -> u64 {
        self.full.front().map_or(self.last.from, |first| first.from)
    }
}

/// A tail as it was when a question came.
pub(crate) struct TailView {
    full: Vec<Arc<Piece>>,
    last: (u64, Vec<u8>),
}

impl TailView {
    /// Where it begins: what lies before is in the file.
    pub fn start(&self) -> u64 {
        self.full.first().map_or(self.last.0, |first| first.from)
    }

    /// Puts what is here of the entry at `at` over what the file has of it.
    pub fn lay_over(&self, at: u64, entry: &mut [u8; ENTRY_BYTES as usize]) {
        let pieces = self.full.iter().map(|piece| (piece.from, piece.bytes()));
        for (from, bytes) in pieces.chain([(self.last.0, &self.last.1[..])]) {
            let (first, to) = (at.max(from), (at + ENTRY_BYTES).min(from + bytes.len() as u64));
            if first < to {
                let part = &bytes[(first - from) as usize..(to - from) as usize];
                entry[(first - at) as usize..(to - at) as usize].copy_from_slice(part);
            }
        }
    }
}

/// Bytes of the file that lie before `at` in the same block.
pub(crate) fn lead_of(at: u64) -> usize {
    at as usize % PAGE_BYTES
}

/// What waits for its level and for the disk, at most: what comes beyond waits as keys.
const PIECES_MAX: u64 = 24;
const SPARE_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what was pushed is what is written and what readers see, whole pieces apart. Method: entries over a few pieces, some of them
    /// written as pieces, some as they come.
    #[test]
    fn what_is_pushed_is_written_and_seen() {
        for at in [20, 4096 + 40, 8192 - 10, 16384] {
            let file: Vec<u8> = (0..at as usize + 2_000 * 20).map(|nth| (nth * 7 / 3) as u8).collect();
            let lead = &file[at as usize - lead_of(at)..at as usize];
            let mut tail = Tail::new(at, lead, 8192);
            let mut written = file[..at as usize].to_vec();
            written.resize(file.len(), 0);
            let mut end = at;
            for (nth, entry) in file[at as usize..].as_chunks::<20>().0.iter().enumerate() {
                tail.push(&IndexEntry::decode(entry));
                end += 20;
                if nth % 420 == 419 {
                    let piece = Arc::clone(tail.full(0).unwrap());
                    assert!(piece.from().is_multiple_of(4096) && piece.end().is_multiple_of(8192));
                    assert_eq!(piece.bytes().as_ptr().align_offset(4096), 0);
                    written[piece.from() as usize..piece.end() as usize].copy_from_slice(piece.bytes());
                    tail.pop();
                }
                if nth % 170 == 169 {
                    for (at, part) in tail.unwritten(end - 20) {
                        written[at as usize..][..part.len()].copy_from_slice(part);
                    }
                    tail.note_written(end - 20);
                }
                let view = tail.view();
                for seen in (at..end).step_by(20) {
                    let mut entry = *written[seen as usize..].first_chunk().unwrap();
                    view.lay_over(seen, &mut entry);
                    assert_eq!(entry, file[seen as usize..][..20]);
                    if seen + 20 <= view.start() {
                        assert_eq!(entry, written[seen as usize..][..20]);
                    }
                }
            }
            tail.unwritten(end)
                .for_each(|(at, part)| written[at as usize..][..part.len()].copy_from_slice(part));
            assert!(written == file);
        }
    }
}
