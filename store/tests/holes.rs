//! Entries that are missing amid a queue's files: made again from the log while the store runs, or passed over where the log lacks them.
#![allow(clippy::unwrap_used)] // Tests: the helpers too.

mod world;

use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};

use store::sim_medium::{Fault, FaultKind};
use store::{Medium, Mended, PullLimits, QueueOffset};
use world::{Kept, World, small_config};

/// What the store has told on this thread.
struct Told;

thread_local! {
    static TOLD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

impl log::Log for Told {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }

    fn log(&self, record: &log::Record) {
        TOLD.with_borrow_mut(|told| told.push(record.args().to_string()));
    }

    fn flush(&self) {}
}

/// Stopped cleanly and started again, so that no power cut takes anything; its first queue is many files long.
fn world(seed: u64) -> World {
    let mut world = World::new(seed, small_config());
    world.uniform = Some(300);
    world.open().unwrap();
    world.live(2_500);
    world.close();
    world.open().unwrap();
    assert!(world.kept[0].len() > 600);
    world
}

fn queue_file(offset: usize) -> PathBuf {
    format!("/store/consumequeue/TopicA/0/{:020}", offset * 20 / 1_000 * 1_000).into()
}

/// The disk loses these entries of the first queue.
fn punch(world: &World, hole: Range<usize>) {
    for offset in hole {
        let file = world.medium.open(&queue_file(offset)).unwrap().unwrap();
        file.write_at(offset as u64 * 20 % 1_000, &[0; 20]).unwrap();
        file.sync().unwrap();
    }
}

/// What a consumer of the first queue gets from `next` on that asks again as long as it is told to; and the entries passed over.
fn consume(world: &mut World, mut next: usize) -> (usize, usize) {
    let limits = PullLimits { messages: 32, bytes: 40_000, entries: 100, ..PullLimits::default() };
    let (mut bytes, mut passed_over) = (0, 0);
    for _ in 0..10_000 {
        let end = world.kept[0].len();
        if next == end {
            break;
        }
        let (_, cold) = world.running.as_mut().unwrap();
        let range = QueueOffset(next as i64)..QueueOffset(end as i64);
        let pull = cold.reader().read_pull("TopicA", 0, range, &limits, &mut |_| true).unwrap();
        assert!(pull.next.0 > next as i64 || pull.is_waiting, "stuck at {next}");
        next = pull.next.0 as usize;
        bytes += pull.bytes.len();
        passed_over += pull.passed_over as usize;
        if pull.is_waiting {
            world.now_ms += 5;
            cold.step(world.now_ms);
        }
    }
    assert_eq!(next, world.kept[0].len(), "never comes to the end");
    (bytes, passed_over)
}

fn bytes_of(world: &World, offsets: Range<usize>) -> usize {
    world.kept[0][offsets].iter().map(|kept| kept.size as usize).sum()
}

fn mended(world: &World) -> (u64, u64) {
    let Mended { remade, lost } = world.running.as_ref().unwrap().0.mended();
    (remade, lost)
}

/// D-14. Goal: a consumer gets every message, though entries are missing, wherever it comes to the hole first; the store goes on meanwhile and is
/// whole afterwards, also over a kill. Method: zeros over one entry, over some files, over the first entries, over the whole first half; a
/// file that is gone, and one with zeros on both sides; from the queue's beginning and from amid the hole.
#[test]
fn entries_that_are_missing_are_made_again() {
    for (nth, hole) in [(1, 200..201), (2, 130..320), (3, 0..70), (4, 0..300), (5, 200..250), (6, 190..260)] {
        for begin in [0, hole.start + hole.len() / 2] {
            let mut world = world(nth);
            punch(&world, hole.clone());
            if nth >= 5 {
                world.medium.remove(&queue_file(200)).unwrap();
            }
            let end = world.kept[0].len();
            assert_eq!(consume(&mut world, begin), (bytes_of(&world, begin..end), 0), "{hole:?}");
            assert_eq!(mended(&world), (hole.len() as u64, 0));
            world.live(50);
            world.check_over_a_kill();
            world.close();
            world.open().unwrap();
            world.check();
        }
    }
}

/// D-14. Goal: what the log has lost, too, is passed over, once it is known, and what can be made again around it is. Method: a record amid a
/// hole is zero; a consumer of everything, and one more from amid what is lost.
#[test]
fn entries_that_the_log_lacks_are_passed_over() {
    let mut world = world(7);
    punch(&world, 200..300);
    let gone = world.kept[0][250].clone();
    let log = world::log_files(&world.medium);
    let file_bytes = world.config.commitlog_file_bytes;
    let file = world.medium.open(&log[(gone.physical.0 as u64 / file_bytes) as usize]).unwrap().unwrap();
    file.write_at(gone.physical.0 as u64 % file_bytes, &vec![0; gone.size as usize]).unwrap();
    let end = world.kept[0].len();
    let got = bytes_of(&world, 0..250) + bytes_of(&world, 300..end);
    assert_eq!(consume(&mut world, 0), (got, 50));
    assert_eq!(mended(&world), (50, 50));
    assert_eq!(consume(&mut world, 270), (bytes_of(&world, 300..end), 30));
    assert_eq!(mended(&world), (50, 50));
}

/// D-14. Goal: operators are told of each hole once, by its name, with the command that mends it; of very many by their number. Method: a hole
/// that the log lacks half of, read twice; then many such at once, and a second.
#[test]
fn holes_are_told_once() {
    log::set_max_level(log::LevelFilter::Warn);
    log::set_logger(&Told).unwrap();
    let mut world = world(7);
    let lose = |world: &World, offset: usize| {
        let Kept { physical, size, .. } = world.kept[0][offset];
        let (nth, at) = (physical.0 as u64 / (64 << 10), physical.0 as u64 % (64 << 10));
        let file = world.medium.open(&world::log_files(&world.medium)[nth as usize]).unwrap().unwrap();
        file.write_at(at, &vec![0; size as usize]).unwrap();
    };
    punch(&world, 200..300);
    lose(&world, 250);
    TOLD.take();
    consume(&mut world, 0);
    consume(&mut world, 0);
    let told = TOLD.take();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with(
            "entries 200 to 299 of queue 0 of TopicA were missing in the files: 50 are made again"
        )
    );
    assert!(told[0].contains("`afterburner store verify /store`"), "{}", told[0]);
    assert!(
        told[1].starts_with(
            "entries 250 to 299 of queue 0 of TopicA are missing in the files, and consumers pass"
        )
    );
    assert!(told[1].contains("`afterburner store repair --remake /store`"), "{}", told[1]);
    for offset in (400..460).step_by(3) {
        punch(&world, offset..offset + 1);
        lose(&world, offset);
    }
    world.now_ms += 2_000;
    consume(&mut world, 0);
    world.now_ms += 1_000;
    let (_, cold) = world.running.as_mut().unwrap();
    cold.step(world.now_ms);
    let told = TOLD.take();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("entries 400 to 400 of queue 0 of TopicA are missing"));
    assert_eq!(
        told[1],
        "19 more holes in consume queues are passed over: queueEntriesLost counts their entries"
    );
    assert_eq!(mended(&world), (50, 70));
}

/// D-14. Goal: a disk that takes no entries back costs nobody more than these: nothing turns read-only, readers pass over them, and the next
/// start tries again. Method: writes, syncs, and space for the queue's files fail while they are made again.
#[test]
fn a_disk_that_takes_nothing_back_costs_only_the_hole() {
    for what in [FaultKind::Write, FaultKind::Sync, FaultKind::Full] {
        let mut world = world(8);
        punch(&world, 200..300);
        let end = world.kept[0].len();
        world.medium.set_fault(Some(Fault { path_part: "TopicA/0", what }));
        let (got, passed_over) = consume(&mut world, 0);
        assert_eq!(passed_over, 100, "{what:?}");
        assert_eq!(got, bytes_of(&world, 0..200) + bytes_of(&world, 300..end));
        world.medium.set_fault(None);
        assert_eq!(world.running.as_ref().unwrap().1.failure(), None);
        world.live(50);
        world.close();
        world.open().unwrap();
        assert_eq!(consume(&mut world, 0), (bytes_of(&world, 0..world.kept[0].len()), 0));
        world.check();
    }
}

/// D-14. Goal: a kill or a power cut at any moment of it leaves a store that opens, and no entry that is neither whole nor missing. Method: at
/// every call to the medium, and within it; then a consumer of everything.
#[test]
fn a_crash_while_entries_are_made_again_costs_nothing() {
    let mut whole = 0;
    for (calls, power) in (0..60).flat_map(|calls| [(calls, false), (calls, true)]) {
        let mut world = world(9);
        punch(&world, 130..320);
        world.medium.remove(&queue_file(200)).unwrap();
        world.medium.sync_dir(Path::new("/store/consumequeue/TopicA/0")).unwrap();
        world.medium.kill_after(calls);
        let limits = PullLimits { messages: 32, bytes: 40_000, entries: 100, ..PullLimits::default() };
        let (_, cold) = world.running.as_mut().unwrap();
        let end = QueueOffset(world.kept[0].len() as i64);
        let pull =
            cold.reader().read_pull("TopicA", 0, QueueOffset(130)..end, &limits, &mut |_| true).unwrap();
        assert!(pull.is_waiting);
        for _ in 0..20 {
            world.now_ms += 5;
            cold.step(world.now_ms);
        }
        whole += u32::from(!world.medium.is_killed());
        world.kill_or_cut(power);
        world.open().unwrap();
        assert_eq!(consume(&mut world, 0), (bytes_of(&world, 0..world.kept[0].len()), 0), "{calls} {power}");
        world.check();
    }
    assert!(whole > 0, "the kill comes too early, always");
}
