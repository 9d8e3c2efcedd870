//! Deleting old messages on the simulated medium: by time, by quota, by a full disk; kills in between; and how sends go on.
#![allow(clippy::unwrap_used)] // Tests: the helpers too.

mod world;

use std::path::{Path, PathBuf};

use store::sim_medium::{Fault, FaultKind};
use store::{
    AppendError, Boundary, Cause, FlushMode, Haste, PhysicalOffset, QueueOffset, Retention, Space,
    StoreConfig,
};
use world::{World, draft, small_config};

const FILE: i64 = 64 << 10;
const HOUR_MS: i64 = 3_600_000;

fn config(retention: Retention) -> StoreConfig {
    StoreConfig { retention, ..small_config() }
}

/// A quota of so many files, looked at so often.
fn quota(files: i64, interval_ms: i64) -> Retention {
    Retention { bytes_max: Some((files * FILE) as u64), interval_ms, ..Retention::default() }
}

/// A clean stop, and a start with another retention.
fn restart_with(world: &mut World, retention: Retention) {
    world.close();
    world.config.retention = retention;
    world.open().unwrap();
}

fn files(world: &World, dir: &str) -> Vec<PathBuf> {
    world.medium.paths().into_iter().filter(|path| path.starts_with(dir)).collect()
}

/// Enough rounds and steps for all that is due.
fn settle(world: &mut World) {
    let (_, cold) = world.running.as_mut().unwrap();
    for _ in 0..60 {
        world.now_ms += 1_000;
        cold.step(world.now_ms);
    }
    while cold.trash().step() {}
}

fn removed(world: &World, cause: Cause) -> u64 {
    world.running.as_ref().unwrap().0.removed().files[cause as usize]
}

/// D-11. Goal: what is older than fileReservedTime goes at the hour of deleteWhen, with its queue and index files; all that is left is
/// served, now and after a restart of either kind. Method: old messages, young messages, the hour before and the hour.
#[test]
fn old_messages_go_at_their_hour() {
    for clean in [true, false] {
        // 1 700 000 000 is 22:13 UTC; two hours east it is 00:13.
        let retention = Retention { reserved_ms: 2 * HOUR_MS, hours: vec![4], ..Retention::default() };
        let mut world =
            World::lived(1, StoreConfig { utc_offset_ms: 2 * HOUR_MS, ..config(retention) }, 1_500);
        world.check();
        let before = files(&world, "/store/commitlog").len();
        assert!(before > 6, "{before} files");
        world.now_ms += 2 * HOUR_MS + HOUR_MS / 2; // 02:43
        settle(&mut world);
        assert_eq!(files(&world, "/store/commitlog").len(), before, "not yet the hour");
        world.live(400);
        world.now_ms += HOUR_MS + HOUR_MS / 2; // 04:13
        settle(&mut world);
        let min = world.running.as_ref().unwrap().0.min_physical();
        assert!(min.0 >= FILE * 4, "{min}");
        assert_eq!(min.0 / FILE, removed(&world, Cause::Time) as i64);
        assert!(files(&world, "/store/commitlog.trash").is_empty());
        assert!(!files(&world, "/store/commitlog").contains(&"/store/commitlog/00000000000000000000".into()));
        let queue = files(&world, "/store/consumequeue/TopicA/0");
        assert!(!queue.contains(&"/store/consumequeue/TopicA/0/00000000000000000000".into()));
        assert!(files(&world, "/store/index").len() < 10);
        world.check();
        world.stop(clean);
        let found = world.open().unwrap();
        assert_eq!(found.min, min);
        world.check();
        world.live(300);
        world.check();
    }
}

/// D-11. Goal: a file that begins with a record which cannot be read keeps neither itself nor those behind it for ever. Method: zeros over the
/// first record of the second file; the hour at which all are old.
#[test]
fn a_damaged_record_keeps_no_files() {
    use store::Medium;
    let retention = Retention { reserved_ms: 2 * HOUR_MS, hours: vec![4], ..Retention::default() };
    let mut world = World::lived(1, StoreConfig { utc_offset_ms: 2 * HOUR_MS, ..config(retention) }, 1_500);
    let second = world.medium.open(&world::log_files(&world.medium)[1]).unwrap().unwrap();
    second.write_at(0, &[0; 91]).unwrap();
    world.now_ms += 4 * HOUR_MS; // 04:13
    settle(&mut world);
    let min = world.running.as_ref().unwrap().0.min_physical();
    assert!(min.0 >= FILE * 4, "{min}");
    world.check();
}

/// D-11. Goal: the log stays within its quota, whatever the age, and never loses its last file. Method: a quota of four files, then
/// one of a byte.
#[test]
fn the_log_stays_within_its_quota() {
    for (bytes_max, files_max) in [(4 * FILE as u64, 5), (1, 5)] {
        let retention = Retention { bytes_max: Some(bytes_max), ..Retention::default() };
        let mut world = World::lived(1, config(retention), 2_000);
        settle(&mut world);
        settle(&mut world);
        let left = files(&world, "/store/commitlog").len();
        assert!((1..=files_max).contains(&left), "{left} files");
        assert!(removed(&world, Cause::Quota) > 3);
        world.check_over_a_kill();
    }
}

/// D-11. Goal: a log that grows fast is within its quota too, long before the next look at the disk. Method: looks an hour apart.
#[test]
fn a_fast_log_stays_within_its_quota() {
    let mut world = World::new(1, config(quota(6, HOUR_MS)));
    world.open().unwrap();
    let mut most = 0;
    for _ in 0..2_000 {
        world.act();
        most = most.max(files(&world, "/store/commitlog").len());
    }
    assert!(removed(&world, Cause::Quota) > 10);
    assert!((6..=8).contains(&most), "{most} files");
    world.check();
}

/// D-11. Goal: the file that SYNC_FLUSH makes ahead of the log takes of the quota too. Method: a quota that the log keeps to; then that
/// file as well.
#[test]
fn the_spare_file_takes_of_the_quota() {
    let retention = Retention { bytes_max: Some(3 * FILE as u64), ..Retention::default() };
    let mut world = World::lived(1, StoreConfig { flush: FlushMode::Sync, ..config(retention) }, 1_000);
    settle(&mut world);
    settle(&mut world);
    let before = files(&world, "/store/commitlog").len();
    assert!(before <= 3, "{before} files");
    let ground = world.running.as_ref().unwrap().1.ground().unwrap();
    while ground.step() != Haste::None {}
    assert_eq!(files(&world, "/store/commitlog.spare").len(), 1);
    settle(&mut world);
    settle(&mut world);
    let after = files(&world, "/store/commitlog").len();
    assert!(after <= 2, "{after} files and the spare one");
    world.check();
}

/// D-11. Goal: above the warning level sends are refused with a name for it, old files are forced out, and below it sends go on by
/// themselves. Method: the partition's figures, turned up and down.
#[test]
fn a_full_disk_refuses_and_recovers() {
    let mut world = World::lived(1, config(Retention::default()), 1_500);
    let gib = 1 << 30;
    world.medium.set_space(Space { used: 80 * gib, available: 20 * gib });
    settle(&mut world);
    assert_eq!(removed(&world, Cause::Forced), 0, "80 % only takes what is old");
    world.medium.set_space(Space { used: 92 * gib, available: 8 * gib });
    settle(&mut world);
    let (store, _) = world.running.as_mut().unwrap();
    assert!(store.is_disk_full() && !store.is_read_only());
    assert_eq!(store.removed().disk_full_times, 1);
    assert!(removed(&world, Cause::Forced) > 3);
    let (store, _) = world.running.as_mut().unwrap();
    let index = store.queue("TopicA", 0);
    let hosts = ["10.0.0.1:1".parse().unwrap(); 2];
    let one = draft("TopicA", 0, b"x", b"", hosts);
    assert_eq!(store.append(index, &one, 0, world.now_ms), Err(AppendError::DiskFull));
    assert!(store.has_room(usize::MAX / 4), "answered, not delayed");
    world.medium.set_space(Space { used: 89 * gib, available: 11 * gib });
    let (_, cold) = world.running.as_mut().unwrap();
    for _ in 0..200 {
        world.now_ms += 10; // Two seconds: who waits for space does not wait for `interval_ms` too.
        cold.step(world.now_ms);
    }
    assert!(!world.running.as_ref().unwrap().0.is_disk_full());
    world.live(300);
    world.check();
}

/// D-11. Goal: a write that finds no space is tried again until there is some; what was acknowledged is neither lost nor doubled.
/// Method: log, queues, and all writes fail so for a while, in both flush modes; then a kill.
#[test]
fn a_write_without_space_is_tried_again() {
    for (nth, path_part) in ["commitlog", "consumequeue", "/store"].into_iter().enumerate() {
        for flush in [FlushMode::Async, FlushMode::Sync] {
            let settings =
                StoreConfig { flush, ..config(Retention { may_force: false, ..Retention::default() }) };
            let mut world = World::lived(nth as u64, settings, 300);
            world.medium.set_fault(Some(Fault { path_part, what: FaultKind::Full }));
            world.live(600);
            let (store, _) = world.running.as_ref().unwrap();
            assert!(store.is_disk_full() && !store.is_read_only(), "{path_part}");
            world.medium.set_fault(None);
            settle(&mut world);
            assert!(!world.running.as_ref().unwrap().0.is_disk_full());
            world.live(300);
            world.check();
            world.medium.set_fault(Some(Fault { path_part, what: FaultKind::Full }));
            world.live(100);
            world.kill();
            world.open().unwrap();
            world.check();
        }
    }
}

/// D-11. Goal: old messages go while queue entries wait for space, and the entries are not lost. Method: queue files cannot be
/// written, time and again, while the quota deletes.
#[test]
fn deleting_goes_on_while_queues_wait_for_space() {
    let mut world = World::lived(1, config(quota(3, 1)), 300);
    for _ in 0..40 {
        world.medium.set_fault(Some(Fault { path_part: "consumequeue", what: FaultKind::Full }));
        world.live(20);
        world.medium.set_fault(None);
        world.live(60);
    }
    settle(&mut world);
    assert!(removed(&world, Cause::Quota) > 3);
    world.check_over_a_kill();
}

/// D-11. Goal: a kill in the middle of deleting leaves a store that starts, with everything above its first byte. Method: a kill at
/// each of the calls of a round and of what follows.
#[test]
fn a_kill_while_deleting_is_no_loss() {
    for kill_after in 0..60 {
        let mut world = World::lived(4, config(Retention::default()), 1_200);
        restart_with(&mut world, quota(3, 1));
        world.medium.kill_after(kill_after);
        for _ in 0..20 {
            world.step();
            let (_, cold) = world.running.as_ref().unwrap();
            cold.trash().step();
        }
        world.kill();
        let found = world.open().unwrap();
        assert!(found.min >= PhysicalOffset(0));
        world.check();
        settle(&mut world);
        let min = world.running.as_ref().unwrap().0.min_physical();
        assert!(min.0 > 0, "killed after {kill_after}");
        world.check();
        let left = |name: &str| world.medium.paths().iter().any(|path| path.starts_with(Path::new(name)));
        assert!(!left("/store/commitlog.trash"), "what a kill left goes as well");
    }
}

const QUIET: [(&str, i32); 2] = [("%RETRY%group", 0), ("T|b-2", 3)];

/// A world in which the quiet queues have lost all their messages, and somebody has read them before.
fn with_emptied_queues(seed: u64) -> World {
    let mut world = World::lived(1, config(Retention::default()), 400);
    world.random = world::Random(seed);
    world.check();
    restart_with(&mut world, quota(3, 1));
    world.uniform = Some(300); // To TopicA alone.
    world.live(1_500);
    settle(&mut world);
    world.check();
    let min = world.running.as_ref().unwrap().0.min_physical();
    for kept in &world.kept[2..] {
        assert!(kept.len() > 20 && kept.iter().all(|kept| kept.physical < min));
    }
    world.uniform = None;
    world
}

/// Codes 306 and 316: every queue is asked for, whether anything is left in it or not.
fn ask_for_all(world: &mut World) {
    let (store, _) = world.running.as_mut().unwrap();
    store.queues().for_each(|queue| store.ask_to_remove_emptied(queue));
}

fn queue_files(world: &World, topic: &str, queue_id: i32) -> usize {
    files(world, &format!("/store/consumequeue/{topic}/{queue_id}")).len()
}

/// D-11. Goal: queues whose messages have all expired lose their files when that is asked for, and no other queue does; they go on at
/// their offsets, for readers too that had the files open, now and after a stop, a kill or a power cut. Method: two queues that fell
/// silent long ago, two that did not.
#[test]
fn emptied_queues_go_and_their_offsets_stay() {
    for (seed, end) in (0..).zip(["none", "clean", "kill", "power"]) {
        let mut world = with_emptied_queues(seed);
        assert!(QUIET.iter().all(|(topic, queue_id)| queue_files(&world, topic, *queue_id) == 1));
        ask_for_all(&mut world);
        settle(&mut world);
        for (topic, queue_id) in QUIET {
            assert_eq!(files(&world, &format!("/store/consumequeue/{topic}")).len(), 0, "{queue_id}");
        }
        assert!(queue_files(&world, "TopicA", 0) > 0 && queue_files(&world, "TopicA", 1) > 0);
        world.check();
        for _ in 0..2 {
            match end {
                "none" => {}
                "clean" => world.close(),
                "kill" => world.kill(),
                _ => {
                    world.running = None;
                    world.medium.power_cut();
                }
            }
            if world.running.is_none() {
                world.open().unwrap();
            }
            world.check();
        }
        world.live(600);
        assert!(QUIET.iter().all(|(topic, queue_id)| queue_files(&world, topic, *queue_id) > 0));
        world.check_over_a_kill();
    }
}

/// D-11. Goal: a kill or a power cut in the middle of it costs neither messages nor offsets. Method: one at each of the calls.
#[test]
fn a_kill_while_emptied_queues_go_is_no_loss() {
    for kill_after in 0..30 {
        for power in [false, true] {
            let mut world = with_emptied_queues(7);
            ask_for_all(&mut world);
            world.medium.kill_after(kill_after);
            for _ in 0..4 {
                world.step();
            }
            world.kill_or_cut(power);
            world.open().unwrap();
            world.check();
            world.live(100);
            world.check();
        }
    }
}

/// D-11. Goal: the file of an emptied queue that cannot be removed costs nothing, and goes when that is asked for again. Method: names of
/// the queues cannot be changed; kept messages then, or none; kills.
#[test]
fn an_emptied_queue_that_cannot_go_goes_later() {
    for (seed, acts) in [(1, 0), (2, 100), (3, 0)] {
        let mut world = with_emptied_queues(seed);
        world.medium.set_fault(Some(Fault { path_part: "consumequeue/", what: FaultKind::Names }));
        ask_for_all(&mut world);
        settle(&mut world);
        assert!(QUIET.iter().all(|(topic, queue_id)| queue_files(&world, topic, *queue_id) == 1));
        world.check();
        world.live(acts);
        world.check();
        world.medium.set_fault(None);
        if seed == 3 {
            world.check_over_a_kill();
        }
        ask_for_all(&mut world);
        settle(&mut world);
        let are_gone = QUIET.iter().all(|(topic, queue_id)| queue_files(&world, topic, *queue_id) == 0);
        assert_eq!(are_gone, acts == 0, "all of their messages have expired, and no new ones came");
        world.check_over_a_kill();
        world.live(300);
        world.check_over_a_kill();
    }
}

/// D-11. Goal: a disk too full for one more directory is made emptier all the same. Method: nothing can be written or created there.
#[test]
fn a_disk_without_room_for_the_trash_is_emptied() {
    let mut world = World::lived(1, config(Retention::default()), 1_500);
    world.medium.set_fault(Some(Fault { path_part: "commitlog", what: FaultKind::Full }));
    (0..5).for_each(|_| world.append());
    settle(&mut world);
    assert!(removed(&world, Cause::Forced) > 0);
    assert!(world.running.as_ref().unwrap().0.is_disk_full(), "it cannot be written still");
    world.medium.set_fault(None);
    settle(&mut world);
    world.live(100);
    world.check_over_a_kill();
}

/// D-11. Goal: files that cannot be deleted stop nothing and are tried again, not all the time; when they can, all goes that should.
/// Method: a quota; names of the log, its trash, the queues cannot be changed; count the calls.
#[test]
fn files_that_cannot_be_deleted_are_tried_again() {
    let faults = [
        ("/store/commitlog", FaultKind::Names),
        ("/store/commitlog/0", FaultKind::Names),
        ("consumequeue", FaultKind::Names),
        ("commitlog.trash", FaultKind::Names),
    ];
    for (path_part, what) in faults {
        let mut world = World::lived(4, config(Retention::default()), 1_500);
        restart_with(&mut world, quota(3, 10));
        world.medium.set_fault(Some(Fault { path_part, what }));
        settle(&mut world);
        settle(&mut world);
        let calls = world.medium.calls();
        let (store, cold) = world.running.as_mut().unwrap();
        assert!(!store.is_read_only() && !store.is_disk_full(), "{path_part}");
        for _ in 0..1_000 {
            cold.step(world.now_ms);
            if !cold.trash().is_empty() {
                cold.trash().step();
            }
        }
        let calls = world.medium.calls() - calls;
        assert!(calls <= 1_000 + 100, "{path_part}: {calls} calls in 1,000 steps of no time");
        if !path_part.contains("trash") {
            assert!(calls < 100, "{path_part}: {calls} calls in 1,000 steps of no time");
        }
        world.live(100);
        world.check();
        world.medium.set_fault(None);
        world.now_ms += 61_000;
        settle(&mut world);
        settle(&mut world);
        let (logs, trash) = (files(&world, "/store/commitlog/"), files(&world, "/store/commitlog.trash"));
        assert!(logs.len() <= 5 && trash.is_empty(), "{path_part}: {logs:?} {trash:?}");
        let queue = files(&world, "/store/consumequeue/TopicA/0");
        assert!(!queue.contains(&"/store/consumequeue/TopicA/0/00000000000000000000".into()), "{path_part}");
        world.check_over_a_kill();
    }
}

/// D-11, D-3, B-5. Goal: one message of a clock that had jumped neither keeps old files for ever nor has new ones deleted at once, is not
/// where a search by time ends, and moves no checkpoint beyond what is synced. Method: such messages amid others, those that begin files
/// among them; the jump is ten years, both ways.
#[test]
fn a_clock_that_has_jumped_is_not_believed() {
    const JUMP_MS: i64 = 10 * 365 * 24 * HOUR_MS;
    for jump_ms in [JUMP_MS, -JUMP_MS] {
        let retention =
            Retention { reserved_ms: 2 * HOUR_MS, hours: (0..24).collect(), ..Retention::default() };
        let mut world = World::new(5, config(retention));
        world.open().unwrap();
        world.uniform = Some(200);
        let mut jumps = 0;
        for nth in 0..1_500 {
            let end = world.running.as_ref().unwrap().0.published().0;
            let size = world.kept.iter().flatten().map(|kept| i64::from(kept.size)).max().unwrap_or(0);
            // The first messages of every other file, and some others.
            if FILE - end % FILE < size + 8 && end / FILE % 2 == 0 || nth % 97 == 50 {
                world.now_ms += jump_ms;
                world.append();
                world.now_ms -= jump_ms;
                jumps += 1;
            }
            world.act();
        }
        assert!(jumps >= 10);
        (0..20).for_each(|_| world.append());
        settle(&mut world);
        assert_eq!(removed(&world, Cause::Time), 0, "nothing is old");

        if jump_ms > 0 {
            let (_, cold) = world.running.as_mut().unwrap();
            cold.catch_up(world.now_ms);
            for (queue_id, kept) in (0..).zip(&world.kept[..2]) {
                let sane: Vec<_> =
                    kept.iter().enumerate().filter(|(_, kept)| kept.stored_ms <= world.now_ms).collect();
                for (_, wanted) in sane.iter().step_by(17) {
                    let ends = QueueOffset(0)..QueueOffset(kept.len() as i64);
                    let (topic, time) = ("TopicA", wanted.stored_ms);
                    let found =
                        cold.reader().search_by_time(topic, queue_id, ends, time, Boundary::Lower).unwrap();
                    let first = sane.iter().find(|(_, kept)| kept.stored_ms >= time).unwrap().0;
                    // Those of the future just before it are as good.
                    let between = &kept[found.0 as usize..first];
                    assert!(between.iter().all(|kept| kept.stored_ms > world.now_ms), "{found} for {first}");
                }
            }
        }
        let medium: std::sync::Arc<dyn store::Medium> = std::sync::Arc::new(world.medium.clone());
        let seen = store::inspect::inspect(&medium, Path::new("/store"), None).unwrap();
        assert!(
            seen.checkpoint.physic_msg_timestamp <= world.now_ms
                && seen.checkpoint.logics_msg_timestamp <= world.now_ms
        );
        world.now_ms += 3 * HOUR_MS;
        settle(&mut world);
        (0..20).for_each(|_| settle(&mut world));
        assert!(files(&world, "/store/commitlog/").len() <= 4, "all is old");
    }
}

/// D-11. Goal: a hole amid a queue's files takes nothing away but itself: when old messages are deleted the queue begins with the first that
/// is left, before the hole. Method: zeros where a search for it looks first; enough messages behind; then the quota.
#[test]
fn a_hole_in_a_queue_does_not_hide_what_is_before_it() {
    let retention = Retention { bytes_max: Some(6 * FILE as u64), ..Retention::default() };
    let mut world = World::new(6, config(Retention::default()));
    world.uniform = Some(300);
    world.open().unwrap();
    world.live(2_500);
    settle(&mut world);
    world.close();
    let entries = world.kept[0].len() as u64;
    assert!(entries > 600);
    for offset in entries / 2 - 60..entries / 2 + 60 {
        let path = format!("/store/consumequeue/TopicA/0/{:020}", offset * 20 / 1_000 * 1_000);
        let file = store::Medium::open(&world.medium, Path::new(&path)).unwrap().unwrap();
        file.write_at(offset * 20 % 1_000, &[0; 20]).unwrap();
    }
    let before = world.kept[0][entries as usize / 4].physical.0;
    let files = before / FILE;
    world.config.retention =
        Retention { files_per_round: files as usize, bytes_max: Some(1), interval_ms: HOUR_MS, ..retention };
    world.open().unwrap();
    let (_, cold) = world.running.as_mut().unwrap();
    for _ in 0..20 {
        cold.step(world.now_ms);
    }
    let (store, _) = world.running.as_mut().unwrap();
    store.take_news();
    let min = store.min_physical();
    assert!(min.0 > 0 && min.0 <= before);
    let index = store.find_queue("TopicA", 0).unwrap();
    let first = world.kept[0].iter().filter(|kept| kept.physical < min).count();
    assert_eq!(store.offsets(index).start, QueueOffset(first as i64));
}
