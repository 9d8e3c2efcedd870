//! FENCE: the hot log's memory. A ring of segments, one writer, one reader, no lock.
//!
//! ```text
//! segment file: | header, one page: magic, store id, generation, base, marks | data .................................. |
//!                                                     data: | lead | published | being written by `tail` | never seen |
//!
//! ring:     [gen 9] [gen 10] [gen 11] [gen 4] [gen 5] ..
//!             '-- reader here  '-- writer here  '-- older than the reader's: free to be recycled
//! ```
//!
//! The header lives in the mapped file, so that whoever maps it after a kill -9 finds how far the log was published.
//! A kill stops a prefix of the program: bytes are complete before `published` covers them, and a segment that is being
//! recycled has generation 0, which replay passes over.
//!
//! A byte of the log lies at the same place in its page as in its block of the file (`lead` fills the first one up with what
//! comes before), so that segments can be written out without a copy.
//!
//! What a record is, and which offset comes next, is not known here. Implements D-1 and D-2 (docs/PROMISES.md).
#![allow(unsafe_code)] // A fence, listed in docs/UNSAFE.md.

use std::fs::File;
use std::io;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;
use memmap2::{Advice, MmapMut, MmapOptions, MmapRaw};

use crate::offsets::PhysicalOffset;

mod reader;
#[cfg(test)]
mod tests;

pub use reader::{HotReader, HotRun, Pending};

/// What names the owner of a hot segment.
pub type StoreId = u128;

/// One mapped segment. A medium hands it out once at a time: two writers over one file would break everything here.
pub struct HotMap {
    map: Arc<MmapRaw>,
}

impl HotMap {
    /// Maps a file of hugetlbfs or tmpfs, which must have `bytes` bytes and must not shrink.
    pub fn of_file(file: &File, bytes: usize) -> io::Result<Self> {
        Ok(Self::new(MmapOptions::new().len(bytes).map_raw(file)?))
    }

    /// Memory without a file: what the simulated medium keeps through its kills.
    pub fn of_memory(bytes: usize) -> io::Result<Self> {
        Ok(Self::new(MmapMut::map_anon(bytes)?.into()))
    }

    /// The same memory once more; for a medium that hands it out again when its owner is gone.
    pub fn again(&self) -> Self {
        Self { map: Arc::clone(&self.map) }
    }

    /// Whether nobody else holds this memory.
    pub fn is_alone(&self) -> bool {
        Arc::strong_count(&self.map) == 1
    }

    /// Bytes of the whole segment file.
    pub fn bytes(&self) -> usize {
        self.map.len()
    }

    /// Touches every page now: an untouched one costs its first user up to 60 ms.
    pub fn populate(&self) -> io::Result<()> {
        // Huge pages where the kernel offers them for shared memory; not being offered is no fault.
        let _ = self.map.advise(Advice::HugePage);
        self.map.advise(Advice::PopulateWrite)
    }

    /// What the header says, if it is one of ours that was not being recycled.
    pub fn found(&self) -> Option<FoundSegment<'_>> {
        let generation = self.word(WORD_GENERATION).load(Ordering::Acquire);
        if self.word(WORD_MAGIC).load(Ordering::Relaxed) != MAGIC || generation == 0 {
            return None;
        }
        let published = usize::try_from(self.word(WORD_PUBLISHED).load(Ordering::Acquire)).ok()?;
        let passed = usize::try_from(self.word(WORD_PASSED).load(Ordering::Acquire)).ok()?;
        if published > self.room_bytes() || passed > published {
            return None;
        }
        let id_high = self.word(WORD_ID).load(Ordering::Relaxed);
        let id_low = self.word(WORD_ID + 1).load(Ordering::Relaxed);
        let base = self.word(WORD_BASE).load(Ordering::Relaxed) as i64;
        Some(FoundSegment {
            store: (StoreId::from(id_high) << 64) | StoreId::from(id_low),
            generation,
            base: PhysicalOffset(base),
            bytes: self.data(lead_of(PhysicalOffset(base)), published),
            passed,
            is_doubted: self.word(WORD_DOUBTED).load(Ordering::Acquire) != 0,
        })
    }

    /// Tells later runs that a sync has failed: what lies in the files may never reach the disk unless it is written again.
    pub fn doubt(&self) {
        self.word(WORD_DOUBTED).store(1, Ordering::Release);
    }

    fn new(map: MmapRaw) -> Self {
        assert!(map.len() > HEADER_BYTES + PAGE_BYTES);
        Self { map: Arc::new(map) }
    }

    fn data_bytes(&self) -> usize {
        self.map.len() - HEADER_BYTES
    }

    /// What one segment can take, whatever its lead is.
    fn room_bytes(&self) -> usize {
        self.data_bytes() - PAGE_BYTES
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < HEADER_WORDS);
        // SAFETY: the map is page-aligned, longer than the header (checked in `new`) and lives as long as `self`; header
        // words are only ever touched as atomics, through this function.
        // WHY: the published mark must lie in the mapped file to survive us, and both threads use it.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().cast::<u64>().add(index)) }
    }

    /// Asks for the cache lines that the next record, probably as long as the last one, will be written to.
    #[inline]
    fn prefetch_tail(&self, at: usize, len: usize) {
        #[cfg(target_arch = "x86_64")]
        for line in 0..len.div_ceil(CACHE_LINE) {
            use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
            let place = self.map.as_ptr().wrapping_add(HEADER_BYTES + at + line * CACHE_LINE);
            // SAFETY: a prefetch reads and writes nothing and faults nowhere, not even outside the mapping.
            // WHY: the log is larger than any cache, so that every line of it has to be fetched from memory before it is
            // written; this has the next record's lines on their way while its request is being looked at.
            unsafe { _mm_prefetch::<_MM_HINT_ET0>(place.cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (at, len);
    }

    /// Bytes of the lead or that were published: nobody writes them until the segment is recycled.
    fn data(&self, at: usize, len: usize) -> &[u8] {
        assert!(at <= self.data_bytes());
        assert!(len <= self.data_bytes() - at);
        // SAFETY: the asserts keep the range inside the mapping. Callers pass ranges below the published mark only, which
        // no one writes: `HotWriter::tail` starts at the mark, and a segment is recycled only when the writer itself
        // (`&mut`) does it, after the reader has left it (`HotWriter::roll`), which it does not while a run of it is lent
        // (`HotReader::pending`, `pass_to`).
        // WHY: records are sent and written out as they lie; a copy would be one of the two body copies a message may cost.
        unsafe { slice::from_raw_parts(self.map.as_ptr().add(HEADER_BYTES + at), len) }
    }
}

/// A segment as an earlier run left it.
pub struct FoundSegment<'a> {
    pub store: StoreId,
    pub generation: u64,
    pub base: PhysicalOffset,
    /// What was published of it.
    pub bytes: &'a [u8],
    /// How many of these the reader had passed.
    pub passed: usize,
    /// A sync failed since.
    pub is_doubted: bool,
}

impl FoundSegment<'_> {
    /// The first byte of the log behind it.
    pub fn end(&self) -> PhysicalOffset {
        self.base.plus(self.bytes.len() as u64)
    }
}

/// Takes the segments into use, empty, the log going on at `base`; `lead` is what lies before it in its block of the file.
/// What the segments held is forgotten.
pub fn start(maps: Vec<HotMap>, store: StoreId, base: PhysicalOffset, lead: &[u8]) -> (HotWriter, HotReader) {
    assert!(maps.len() >= 2);
    assert!(lead.len() == lead_of(base));
    for map in &maps {
        map.word(WORD_GENERATION).store(0, Ordering::Release);
    }
    for map in &maps {
        map.word(WORD_MAGIC).store(MAGIC, Ordering::Relaxed);
        map.word(WORD_ID).store((store >> 64) as u64, Ordering::Relaxed);
        map.word(WORD_ID + 1).store(store as u64, Ordering::Relaxed);
        map.word(WORD_PUBLISHED).store(0, Ordering::Release);
        map.word(WORD_DOUBTED).store(0, Ordering::Release);
    }
    let windows = vec![Window { base: PhysicalOffset(0), len: 0, generation: 0 }; maps.len()];
    let ring = Arc::new(Ring {
        maps: maps.into_boxed_slice(),
        writer_generation: CachePadded::new(AtomicU64::new(0)),
        reader_generation: CachePadded::new(AtomicU64::new(1)),
    });
    let mut writer = HotWriter { ring: Arc::clone(&ring), windows, current: 0 };
    writer.region_mut(0, 0, lead.len()).copy_from_slice(lead);
    writer.open_segment(0, base, 1);
    let lent = ring.maps.iter().map(|_| Arc::new(())).collect();
    (writer, HotReader { ring, current: 0, generation: 1, base, at: 0, lent })
}

/// Says that nothing in the segments is needed any more: a clean stop.
pub fn retire(reader: HotReader) {
    for map in &reader.ring.maps {
        map.word(WORD_GENERATION).store(0, Ordering::Release);
    }
}

struct Ring {
    maps: Box<[HotMap]>,
    /// Generation of the segment being written.
    writer_generation: CachePadded<AtomicU64>,
    /// Generation of the segment the reader is in; older ones are free.
    reader_generation: CachePadded<AtomicU64>,
}

/// The writer's own copy of a segment's header.
#[derive(Clone, Copy)]
struct Window {
    base: PhysicalOffset,
    len: usize,
    generation: u64,
}

/// The one writer; also reads what it published.
pub struct HotWriter {
    ring: Arc<Ring>,
    windows: Vec<Window>,
    current: usize,
}

impl HotWriter {
    /// The first byte not yet published.
    #[inline]
    pub fn end(&self) -> PhysicalOffset {
        let window = &self.windows[self.current];
        window.base.plus(window.len as u64)
    }

    /// The first byte that is still here.
    pub fn start(&self) -> PhysicalOffset {
        let oldest = self.windows.iter().filter(|window| window.generation > 0);
        oldest.map(|window| window.base).min().unwrap_or_default()
    }

    /// Bytes left in the current segment.
    #[inline]
    pub fn left(&self) -> usize {
        self.segment_bytes() - self.windows[self.current].len
    }

    /// What a segment can take.
    #[inline]
    pub fn segment_bytes(&self) -> usize {
        self.ring.maps[self.current].room_bytes()
    }

    /// How many segments `roll` may take in a row now.
    pub fn free_segments(&self) -> usize {
        let reader_generation = self.ring.reader_generation.load(Ordering::Acquire);
        self.windows.iter().filter(|window| window.generation < reader_generation).count()
    }

    /// Goes on in the next segment of the ring, whatever is left of this one. `false`: the reader is still in it.
    #[cold]
    pub fn roll(&mut self) -> bool {
        let next = (self.current + 1) % self.windows.len();
        let reader_generation = self.ring.reader_generation.load(Ordering::Acquire);
        if self.windows[next].generation >= reader_generation {
            return false;
        }
        let base = self.end();
        let Window { base: current_base, len, generation } = self.windows[self.current];
        let lead = lead_of(base);
        // The segment's own lead reaches back to the start of its first block, so there always is enough.
        let from = lead_of(current_base) + len - lead;
        let mut copy = [0; PAGE_BYTES];
        copy[..lead].copy_from_slice(self.ring.maps[self.current].data(from, lead));
        self.region_mut(next, 0, lead).copy_from_slice(&copy[..lead]);
        self.open_segment(next, base, generation + 1);
        true
    }

    /// Where the next `len` bytes of the log are written. Nobody sees them until `publish`.
    #[inline]
    pub fn tail(&mut self, len: usize) -> &mut [u8] {
        let window = self.windows[self.current];
        assert!(len <= self.segment_bytes() - window.len);
        self.region_mut(self.current, lead_of(window.base) + window.len, len)
    }

    /// Memory that nobody else looks at: above the published mark of the current segment, or in one that is not open.
    #[inline]
    fn region_mut(&mut self, index: usize, at: usize, len: usize) -> &mut [u8] {
        let map = &self.ring.maps[index];
        assert!(at <= map.data_bytes());
        assert!(len <= map.data_bytes() - at);
        // SAFETY: the asserts keep the range inside the mapping. `tail` passes a range from the published mark on, and every
        // shared slice ends there or before; `roll` and `start` pass a segment that is about to be opened, which the reader
        // has left and of which `bytes` lends nothing while `&mut self` is held. `&mut self` is the only writer, so no two of
        // these exist.
        // WHY: a record is encoded straight into the mapping; a safe `&mut [u8]` over the whole of it would alias the
        // slices that readers hold.
        unsafe { slice::from_raw_parts_mut(map.map.as_mut_ptr().add(HEADER_BYTES + at), len) }
    }

    /// The first `len` bytes of `tail` are complete: the reader and any later run may see them.
    #[inline]
    pub fn publish(&mut self, len: usize) {
        let window = &mut self.windows[self.current];
        let map = &self.ring.maps[self.current];
        assert!(len <= map.room_bytes() - window.len);
        window.len += len;
        map.word(WORD_PUBLISHED).store(window.len as u64, Ordering::Release);
        map.prefetch_tail(lead_of(window.base) + window.len, len.min(PREFETCH_BYTES_MAX));
    }

    /// Published bytes, if all of them are still here.
    #[inline]
    pub fn bytes(&self, at: PhysicalOffset, len: usize) -> Option<&[u8]> {
        let (index, window) = self.window_of(at)?;
        let from = at.since(window.base) as usize;
        if len > window.len - from {
            return None; // A range never crosses a segment: a record does not.
        }
        Some(self.ring.maps[index].data(lead_of(window.base) + from, len))
    }

    #[inline]
    fn window_of(&self, at: PhysicalOffset) -> Option<(usize, &Window)> {
        let holds = |window: &Window| {
            window.generation > 0 && at >= window.base && at < window.base.plus(window.len as u64)
        };
        let current = &self.windows[self.current];
        if holds(current) {
            return Some((self.current, current));
        }
        self.windows.iter().enumerate().find(|(_, window)| holds(window))
    }

    fn open_segment(&mut self, index: usize, base: PhysicalOffset, generation: u64) {
        let map = &self.ring.maps[index];
        // Generation 0 while the header changes: a kill in between leaves a segment that replay passes over.
        map.word(WORD_GENERATION).store(0, Ordering::Release);
        map.word(WORD_BASE).store(base.0 as u64, Ordering::Release);
        map.word(WORD_PUBLISHED).store(0, Ordering::Release);
        map.word(WORD_PASSED).store(0, Ordering::Release);
        map.word(WORD_GENERATION).store(generation, Ordering::Release);
        self.windows[index] = Window { base, len: 0, generation };
        self.current = index;
        self.ring.writer_generation.store(generation, Ordering::Release);
    }
}

/// Asks for the cache lines around `at`, where a record probably begins: its head and the tail of the one before. A place
/// outside `bytes` is no harm, only no help.
#[inline]
pub fn prefetch_seam(bytes: &[u8], at: usize) {
    if at < CACHE_LINE * 2 || at + CACHE_LINE >= bytes.len() {
        return;
    }
    for line in 0..4 {
        prefetch(&bytes[at + line * CACHE_LINE - 2 * CACHE_LINE]);
    }
}

/// Asks for the cache line of a value that will soon be looked at.
#[inline]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing into the program and faults nowhere; the place is that of a value besides.
        // WHY: the shard's core holds the lines of a record that is written out, and the slots of an index are all over a table of 20 MB:
        // waiting for such lines one after another was half of the write-out's time, and of an entry's.
        unsafe { _mm_prefetch::<_MM_HINT_T0>((&raw const *value).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// Bytes of the log that lie before `at` in the same block of its file.
pub fn lead_of(at: PhysicalOffset) -> usize {
    at.0 as usize % PAGE_BYTES
}

/// Bytes before the data of a segment.
pub const HEADER_BYTES: usize = PAGE_BYTES;
pub const PAGE_BYTES: usize = 4096;
pub const HUGE_PAGE_BYTES: usize = 2 << 20;
const CACHE_LINE: usize = 64;
/// A longer record is fetched by the processor itself, which sees a stream.
const PREFETCH_BYTES_MAX: usize = 2048;

const MAGIC: u64 = u64::from_be_bytes(*b"ABHOTLG1");
const WORD_MAGIC: usize = 0;
const WORD_ID: usize = 1;
const WORD_GENERATION: usize = 3;
const WORD_BASE: usize = 4;
const WORD_PUBLISHED: usize = 8; // On its own cache line: written with every append.
const WORD_PASSED: usize = 16; // On the reader's.
const WORD_DOUBTED: usize = 17;
const HEADER_WORDS: usize = 24;

const _: () = assert!(HEADER_WORDS * 8 <= HEADER_BYTES);
