//! Starts over directories that are damaged, or not what they seem: a clear error or a recovery, never a panic and never a loss unsaid.
#![allow(clippy::unwrap_used)] // Tests: the helpers too.

mod world;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use store::sim_medium::{Fault, FaultKind};
use store::{Boundary, HotFound, HotKind, Medium, PullLimits, QueueOffset, StoreConfig};
use world::{Kept, TOPICS, World, small_config};

/// Why the store does not open.
fn refusal(world: &World) -> String {
    match store::open(world.config.clone(), Arc::new(world.medium.clone())) {
        Ok(_) => panic!("it opens"),
        Err(error) => error.to_string(),
    }
}

fn write(world: &World, path: &Path, at: u64, bytes: &[u8]) {
    world.medium.open(path).unwrap().unwrap().write_at(at, bytes).unwrap();
}

/// Zeros over a message of the first queue in the log.
fn lose_message(world: &World, offset: usize) {
    let Kept { physical, size, .. } = world.kept[0][offset];
    let file = &world::log_files(&world.medium)[physical.0 as usize / (64 << 10)];
    write(world, file, physical.0 as u64 % (64 << 10), &vec![0; size as usize]);
}

/// D-1. Goal: a hot log that is there and cannot be read is no reason to go on without it. Method: a kill, then a start that may not
/// map it; then one that may.
#[test]
fn a_hot_log_that_cannot_be_read_is_not_passed_over() {
    let mut world = World::new(21, small_config());
    world.open().unwrap();
    (0..40).for_each(|_| world.append());
    world.kill();
    world.medium.set_fault(Some(Fault { path_part: "/dev/shm", what: FaultKind::Map }));
    assert!(refusal(&world).contains("hotlog"));
    world.medium.set_fault(None);
    world.open().unwrap();
    world.check();
}

/// D-1. Goal: a hot log whose files would have another size is not replayed at wrong borders. Method: a kill before any file is
/// written, a start with smaller and with larger files, and one with the right ones.
#[test]
fn a_hot_log_of_other_file_sizes_is_refused() {
    for (with, then) in [(1 << 20, 64 << 10), (64 << 10, 1 << 20)] {
        let config = StoreConfig {
            hot_bytes: 8 * (128 << 10),
            hot_segments: 8,
            unit_bytes: Some(1 << 20),
            commitlog_file_bytes: with,
            ..small_config()
        };
        let mut world = World::new(22, config);
        world.open().unwrap();
        (0..300).for_each(|_| world.append());
        world.kill();
        world.config.commitlog_file_bytes = then;
        assert!(refusal(&world).contains("mappedFileSizeCommitLog"));
        world.config.commitlog_file_bytes = with;
        world.open().unwrap();
        world.check();
    }
}

/// Goal: a file of the log with a wrong name is neither read at a wrong place nor removed. Method: rename the only one, and one to the
/// end of all numbers.
#[test]
fn a_commitlog_file_with_a_wrong_name_is_left_alone() {
    for name in ["00000000000000000005", "09223372036854775807"] {
        let mut world = World::lived(23, small_config(), 60);
        world.close();
        let files = world::log_files(&world.medium);
        let last = files.last().unwrap();
        let (content, other) = (world.medium.content(last), last.with_file_name(name));
        for file in &files {
            Medium::rename(&world.medium, file, &other).unwrap();
        }
        assert!(refusal(&world).contains("multiple of mappedFileSizeCommitLog"));
        assert_eq!(world.medium.content(&other), content);
    }
}

/// D-13. Goal: a directory whose first commitlog file has no byte is looked at without a panic. Method: that.
#[test]
fn an_empty_first_file_is_looked_at() {
    let mut world = World::lived(24, small_config(), 600);
    world.close();
    let first: PathBuf = world::log_files(&world.medium).remove(0);
    world.medium.create(&first, 0).unwrap();
    let medium: Arc<dyn Medium> = Arc::new(world.medium.clone());
    let seen = store::inspect::inspect(&medium, Path::new("/store"), None).unwrap();
    assert!(!seen.remarks.is_empty());
    let verdict = store::inspect::verify(&medium, &seen, &mut |_, _| {}).unwrap();
    assert!(!verdict.is_whole());
    let left = world.kept.iter().flatten().filter(|kept| kept.physical.0 >= 65_536).count();
    assert_eq!(verdict.records as usize, left);
}

/// D-6. Goal: a record whose queue offset no queue can have costs its own place in the queue, not memory without end and not those
/// behind it. Method: change that field, which no CRC covers, of one message; lose the queues.
#[test]
fn a_queue_offset_that_cannot_be_costs_one_message() {
    for wrong in [1_i64 << 24, i64::MAX, -1, i64::MIN] {
        for nth in [0, 5] {
            let mut world = World::lived(25, small_config(), 100);
            world.close();
            let hit = world.kept[1][nth].physical.0;
            let file = format!("/store/commitlog/{:020}", hit / 65_536 * 65_536);
            write(&world, Path::new(&file), hit as u64 % 65_536 + 20, &wrong.to_be_bytes());
            world.medium.remove_dir(Path::new("/store/consumequeue")).unwrap();
            let recovery = world.open().unwrap();
            assert!(recovery.lost_entries <= 1);
            let (store, cold) = world.running.as_mut().unwrap();
            let (topic, queue_id) = TOPICS[1];
            let index = store.find_queue(topic, queue_id).unwrap();
            assert_eq!(store.offsets(index).end.0 as usize, world.kept[1].len());
            for (offset, kept) in (0..).zip(&world.kept[1]) {
                let entry = cold.reader().entry(topic, queue_id, store::QueueOffset(offset)).unwrap();
                let expected = (offset as usize != nth).then_some(kept.physical);
                assert_eq!(entry.map(|unit| unit.physical), expected, "{wrong} {nth} at {offset}");
            }
        }
    }
}

/// D-6. Goal: entries that point to the end of all numbers are made again from the log. Method: write one over the last.
#[test]
fn an_entry_beyond_everything_is_made_again() {
    for physical in [i64::MAX, i64::MAX - 5] {
        let mut world = World::lived(26, small_config(), 60);
        (world.now_ms, _) = (world.now_ms + 1_000, world.step());
        world.close();
        let last = world.kept[0].len() as u64 - 1;
        let file = format!("/store/consumequeue/TopicA/0/{:020}", last * 20 / 1_000 * 1_000);
        write(&world, Path::new(&file), last * 20 % 1_000, &physical.to_be_bytes());
        world.open().unwrap();
        world.check();
    }
}

/// D-6. Goal: a directory that only looks like a queue's is none. Method: other ways to write its number; kills.
#[test]
fn a_queue_has_one_directory() {
    let mut world = World::lived(27, small_config(), 100);
    for name in ["00", "+0", "-0"] {
        let path = format!("/store/consumequeue/TopicA/{name}/00000000000000000000");
        world.medium.create(Path::new(&path), 1_000).unwrap();
    }
    for _ in 0..3 {
        world.live(60);
        world.check_over_a_kill();
        world.medium.take_hot_away();
    }
}

/// D-3. Goal: a checkpoint that says anything at all does not stop a start. Method: its fields at both ends; power cuts.
#[test]
fn a_checkpoint_may_say_anything() {
    for word in [i64::MIN, -1, i64::MAX] {
        let config = StoreConfig { flush: store::FlushMode::Sync, ..small_config() };
        let mut world = World::lived(28, config, 200);
        world.close();
        write(&world, Path::new("/store/checkpoint"), 0, &word.to_be_bytes().repeat(5));
        world.medium.create(Path::new("/store/abort"), 1).unwrap();
        world.open().unwrap();
        world.check();
        world.close();
    }
}

/// D-6. Goal: after a clean stop too a queue that has lost its end, or all, is made again, however far before the end of the log its last
/// message lies; and only then is the log gone through. Method: its files gone, zeroed, or without the last entry, after one more stop.
#[test]
fn an_old_queue_that_was_damaged_is_made_again() {
    for (seed, how) in (29..35).flat_map(|seed| [(seed, 0), (seed, 1), (seed, 2)]) {
        let mut world = World::lived(seed, small_config(), 120);
        world.check();
        world.close();
        let recovery = world.open().unwrap();
        assert!(recovery.scanned_records <= 1);
        world.close();
        let dir = "/store/consumequeue/%RETRY%group/0";
        let (first, last) = (format!("{dir}/{:020}", 0), world.kept[2].len() as u64 - 1);
        assert!(last < 50);
        match how {
            0 => world.medium.remove_dir(Path::new(dir)).unwrap(),
            1 => write(&world, Path::new(&first), 0, &[0; 1_000]),
            _ => write(&world, Path::new(&first), last * 20, &[0; 20]),
        }
        world.open().unwrap();
        world.check();
    }
}

/// D-6. Goal: after a kill or a power cut, too, a queue that is gone or cut is made again, however far before the end of the log its last
/// message lies; and only then is the log gone through. Method: as above, once nothing, with another stop of that kind before it.
#[test]
fn an_old_queue_that_was_damaged_is_made_again_after_a_kill() {
    for (seed, how) in (36..44).flat_map(|seed| (0..4).map(move |how| (seed, how))) {
        for powered in [true, false] {
            let mut world = World::lived(seed, small_config(), 120);
            let old = world.kept[2].len();
            assert!((1..50).contains(&old));
            world.uniform = Some(300); // To TopicA alone.
            world.live(600);
            let settle = |world: &mut World| {
                for _ in 0..3 {
                    world.now_ms += 1_001;
                    while matches!(
                        world.running.as_mut().unwrap().1.step(world.now_ms),
                        store::Work::Did { .. }
                    ) {}
                    world.step();
                }
            };
            let stop = |world: &mut World| {
                world.kill();
                if !powered {
                    world.medium.power_cut();
                }
            };
            settle(&mut world);
            stop(&mut world);
            world.open().unwrap();
            world.check();
            settle(&mut world);
            stop(&mut world);
            let dir = "/store/consumequeue/%RETRY%group/0";
            let first = format!("{dir}/{:020}", 0);
            match how {
                0 => {}
                1 => world.medium.remove_dir(Path::new(dir)).unwrap(),
                2 => write(&world, Path::new(&first), 0, &[0; 1_000]),
                _ => write(&world, Path::new(&first), (old as u64 - 1) * 20, &[0; 20]),
            }
            let recovery = world.open().unwrap();
            let all: usize = world.kept.iter().map(Vec::len).sum();
            if powered {
                assert_eq!(recovery.scanned_records as usize == all, how > 0, "{seed} {how} {recovery:?}");
            }
            world.check();
        }
    }
}

/// D-1. Goal: where the best place for the hot log cannot be mapped the next one is taken, with a word about it; what is acknowledged there
/// survives a kill; and the better one is taken again when it can be. Method: that place fails, is well again, fails.
#[test]
fn another_place_for_the_hot_log_is_as_good() {
    let mut world = World::new(45, small_config());
    let failing = || Some(Fault { path_part: "/dev/shm", what: FaultKind::Map });
    world.medium.set_fault(failing());
    let recovery = world.open().unwrap();
    assert_eq!(recovery.hot_kind, HotKind::Disk);
    let told = recovery.remarks.join("\n");
    assert!(told.contains("the hot log lies in the store's folder") && told.contains("/dev/shm"), "{told}");
    assert!(recovery.remarks.iter().any(|remark| remark.contains("tmpfs")), "{:?}", recovery.remarks);
    world.live(100);
    world.check();
    world.kill();
    let recovery = world.open().unwrap();
    assert_eq!((recovery.hot_kind, recovery.hot), (HotKind::Tmpfs, HotFound::Replayed));
    world.check();
    world.live(100);
    world.close();
    world.medium.set_fault(failing());
    assert_eq!(world.open().unwrap().hot_kind, HotKind::Disk);
    world.check();
    world.live(100);
    world.check_over_a_kill();
}

/// D-2. Goal: a `hotlog` that names a directory which no store has made for itself costs nobody that directory. Method: one with files in
/// it, after a stop and after a kill.
#[test]
fn a_directory_that_is_not_the_hot_logs_is_left_alone() {
    for clean in [true, false] {
        let mut world = World::lived(46, small_config(), 100);
        world.check();
        world.stop(clean);
        let name = Path::new("/store/hotlog");
        let text = String::from_utf8(world.medium.content(name).unwrap()).unwrap();
        let named: String = text.split("\"dir\":\"").nth(1).unwrap().split('"').next().unwrap().into();
        let own = Path::new(&named).file_name().unwrap().to_str().unwrap();
        let others = [format!("/precious/{own}.d/work"), "/precious/work".into()];
        for other in &others {
            let other = Path::new(other);
            world.medium.create(other, 9).unwrap();
            let dir = other.parent().unwrap().to_str().unwrap();
            let damaged = text.replace(&named, dir);
            let file = world.medium.create(name, damaged.len() as u64).unwrap();
            file.write_at(0, damaged.as_bytes()).unwrap();
            world.open().unwrap();
            assert_eq!(world.medium.content(other).unwrap().len(), 9);
            world.close();
        }
    }
}

/// D-6, D-14. Goal: a hole amid a queue's files takes nothing from readers but itself, where the log has lost its messages: they go on behind it,
/// and a search by time finds what is before it. Method: zeros over a few files of a queue, far from its end, and over the log; pulls from its
/// beginning; searches for the times of messages on both sides.
#[test]
fn readers_go_on_behind_a_hole_in_a_queue() {
    let mut world = World::new(6, small_config());
    world.uniform = Some(300);
    world.open().unwrap();
    world.live(2_500);
    world.close();
    let entries = world.kept[0].len();
    assert!(entries > 600);
    let hole = entries / 2 - 60..entries / 2 + 60;
    for offset in hole.clone() {
        let path = format!("/store/consumequeue/TopicA/0/{:020}", offset * 20 / 1_000 * 1_000);
        write(&world, Path::new(&path), offset as u64 * 20 % 1_000, &[0; 20]);
        lose_message(&world, offset);
    }
    world.open().unwrap();
    let now_ms = world.now_ms;
    let (_, cold) = world.running.as_mut().unwrap();
    let limits = PullLimits { messages: 32, bytes: 40_000, entries: 100, ..PullLimits::default() };
    let (mut next, mut got, mut passed_over) = (0, Vec::new(), 0);
    while next < entries {
        let range = QueueOffset(next as i64)..QueueOffset(entries as i64);
        let pull = cold.reader().read_pull("TopicA", 0, range, &limits, &mut |_| true).unwrap();
        assert!(pull.next.0 > next as i64 || pull.is_waiting, "stuck at {next}");
        if pull.is_waiting {
            cold.step(now_ms);
        }
        passed_over += pull.passed_over as usize;
        got.push(pull.bytes);
        next = pull.next.0 as usize;
    }
    let left = world.kept[0].iter().enumerate().filter(|(offset, _)| !hole.contains(offset));
    let expected: usize = left.map(|(_, kept)| kept.size as usize).sum();
    assert_eq!((got.concat().len(), passed_over), (expected, hole.len()));

    let all = QueueOffset(0)..QueueOffset(entries as i64);
    for wanted in [10, entries / 4, hole.start - 1, hole.end, entries - 10] {
        let stored_ms = world.kept[0][wanted].stored_ms;
        let first = world.kept[0].iter().position(|kept| kept.stored_ms == stored_ms).unwrap();
        let found =
            cold.reader().search_by_time("TopicA", 0, all.clone(), stored_ms, Boundary::Lower).unwrap();
        let is_in_hole = |offset: usize| (hole.start..=hole.end).contains(&offset);
        let is_right = found.0 == first as i64 || is_in_hole(first) && is_in_hole(found.0 as usize);
        assert!(is_right, "{found} for the time of {first}");
    }
}

/// B-5. Goal: messages that the log has lost mislead no search by time: what is before them is found, and what is behind. Method: zeros over a
/// stretch of the log where a search looks first; the times of all messages.
#[test]
fn records_that_are_lost_mislead_no_search_by_time() {
    let mut world = World::new(6, small_config());
    world.uniform = Some(300);
    world.open().unwrap();
    world.live(2_500);
    world.close();
    let entries = world.kept[0].len();
    let lost = entries / 2 - 60..entries / 2 + 60;
    for offset in lost.clone() {
        lose_message(&world, offset);
    }
    world.open().unwrap();
    let (_, cold) = world.running.as_mut().unwrap();
    let all = QueueOffset(0)..QueueOffset(entries as i64);
    let left: Vec<_> = world.kept[0].iter().enumerate().filter(|(nth, _)| !lost.contains(nth)).collect();
    for (_, Kept { stored_ms, .. }) in &left {
        // What is lost just before the first is as good as it.
        let before = left.iter().rfind(|(_, kept)| kept.stored_ms < *stored_ms);
        let first = before.map_or(0, |(nth, _)| nth + 1);
        let found =
            cold.reader().search_by_time("TopicA", 0, all.clone(), *stored_ms, Boundary::Lower).unwrap();
        assert_eq!(found.0, first as i64, "the time {stored_ms}");
    }
}
