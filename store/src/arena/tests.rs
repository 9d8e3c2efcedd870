//! Tests of the hot log's segments: what is published is read, what is lent stays, what was there is found.

use super::*;

fn ring(segments: usize) -> (Vec<HotMap>, HotWriter, HotReader) {
    let maps: Vec<_> =
        (0..segments).map(|_| HotMap::of_memory(HEADER_BYTES + PAGE_BYTES + 100).unwrap()).collect();
    let kept = maps.iter().map(HotMap::again).collect();
    let (writer, reader) = start(maps, 7, PhysicalOffset(1_000), &[b'L'; 1_000]);
    (kept, writer, reader)
}

fn put(writer: &mut HotWriter, bytes: &[u8]) {
    writer.tail(bytes.len()).copy_from_slice(bytes);
    writer.publish(bytes.len());
}

/// D-1. Goal: the reader sees exactly what was published, in order, over segments. Method: put, roll, put.
#[test]
fn the_reader_follows_the_writer() {
    let (_kept, mut writer, mut reader) = ring(3);
    assert!(reader.pending().bytes().is_empty());
    put(&mut writer, b"one");
    writer.tail(3).copy_from_slice(b"xxx");
    assert_eq!(reader.pending().bytes(), b"one");
    reader.pass(1);
    assert!(writer.roll());
    put(&mut writer, b"two");
    assert_eq!(reader.pending().bytes(), b"ne");
    reader.pass(2);
    assert_eq!(reader.pending().bytes(), b"two");
    assert_eq!(reader.position(), PhysicalOffset(1_003));
    let (lead, with_lead) = reader.pending().part(1, 3);
    assert_eq!(lead, 1_004);
    assert_eq!(with_lead[999..], *b"Lonetwo");
    assert_eq!(writer.bytes(PhysicalOffset(1_000), 3), Some(&b"one"[..]));
    assert_eq!(writer.bytes(PhysicalOffset(1_002), 2), None);
    assert_eq!(writer.end(), PhysicalOffset(1_006));
}

/// D-2. Goal: what the reader has not passed is never overwritten. Method: roll round the ring with a lazy reader.
#[test]
fn a_segment_is_recycled_only_behind_the_reader() {
    let (_kept, mut writer, mut reader) = ring(3);
    put(&mut writer, b"a");
    assert_eq!(writer.free_segments(), 2);
    assert!(writer.roll());
    put(&mut writer, b"b");
    assert!(writer.roll());
    assert!(!writer.roll());
    assert_eq!(reader.pending().bytes(), b"a");
    assert!(!writer.roll());
    reader.pass(1);
    assert!(!writer.roll()); // Still in it: it may have a slice of it.
    assert_eq!(reader.pending().bytes(), b"b");
    assert!(writer.roll());
    assert_eq!(writer.bytes(PhysicalOffset(1_000), 1), None);
    assert_eq!(writer.start(), PhysicalOffset(1_001));
}

/// D-2. Goal: a segment of which a part is lent is not recycled, whatever was passed. Method: lend, pass all, roll round the ring.
#[test]
fn a_lent_run_stays() {
    let (_kept, mut writer, mut reader) = ring(2);
    put(&mut writer, b"lent");
    let run = reader.lend(PhysicalOffset(0), PhysicalOffset(1_004));
    assert!(writer.roll());
    put(&mut writer, b"next");
    assert_eq!(reader.pending_at(PhysicalOffset(1_001)).bytes(), b"ent");
    assert_eq!(reader.pending_at(PhysicalOffset(1_004)).bytes(), b"next");
    reader.pass(4);
    assert_eq!(reader.pending().bytes(), b"next");
    assert!(!writer.roll());
    assert_eq!(run.as_ref()[1_000..], *b"lent");
    drop(run);
    assert_eq!(reader.pending().bytes(), b"next");
    assert!(writer.roll());
}

/// D-2. Goal: what lies in two segments is lent and passed at once. Method: runs of both, the second over the border's lead.
#[test]
fn passing_goes_over_borders() {
    let (kept, mut writer, mut reader) = ring(3);
    put(&mut writer, b"one");
    assert!(writer.roll());
    put(&mut writer, b"two");
    assert!(writer.roll());
    put(&mut writer, b"three");
    let run = reader.lend(PhysicalOffset(0), PhysicalOffset(1_006));
    assert_eq!(run.as_ref()[999..], *b"Lonetwo");
    assert_eq!(reader.pending_at(PhysicalOffset(1_008)).bytes(), b"ree");
    reader.pass_to(PhysicalOffset(1_003));
    assert!(!writer.roll());
    drop(run);
    reader.pass_to(PhysicalOffset(1_008));
    assert_eq!(reader.pending().bytes(), b"ree");
    let passed = kept.iter().map(|map| map.found().unwrap().passed).collect::<Vec<_>>();
    assert_eq!(passed, [3, 3, 2]);
    assert!(writer.roll());
}

/// D-1. Goal: a later run finds what was published, and nothing else. Method: look at the maps of a running ring.
#[test]
fn a_later_run_finds_what_was_published() {
    let (kept, mut writer, _reader) = ring(3);
    put(&mut writer, b"kept");
    writer.tail(4).copy_from_slice(b"lost");
    let found = kept[0].found().unwrap();
    assert_eq!((found.store, found.generation, found.base), (7, 1, PhysicalOffset(1_000)));
    assert_eq!((found.bytes, found.passed), (&b"kept"[..], 0));
    assert!(kept[1].found().is_none());
    kept[0].word(WORD_GENERATION).store(0, Ordering::Relaxed);
    assert!(kept[0].found().is_none());
}
