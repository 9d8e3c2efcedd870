//! Kills, clean stops and faults on the simulated medium, with an oracle that knows every acknowledged message.
#![allow(clippy::unwrap_used)] // Tests: the helpers too.

mod world;

use std::path::Path;
use std::sync::Arc;

use store::sim_medium::{Fault, FaultKind};
use store::{FlushMode, Haste, HotFound, QueueOffset, StoreConfig};
use world::{World, log_files, small_config};

/// D-1, D-5. Goal: all that was appended is there, hot or cold, without any kill. Method: random runs, checked at the end
/// and after a clean stop, which leaves no hot log.
#[test]
fn everything_appended_is_read_back() {
    for seed in 0..20 {
        let mut world = World::lived(seed, small_config(), 1_500);
        world.check();
        world.close();
        let recovery = world.open().unwrap();
        assert!(recovery.clean);
        assert_eq!(recovery.hot, HotFound::None);
        assert_eq!(recovery.cut, None);
        world.check();
    }
}

/// D-1, D-2. Goal: a kill -9 at any call to the medium loses nothing acknowledged and invents nothing; also when recovery is
/// killed in turn. Method: one run for each of its medium calls, killed there; the first restart killed somewhere as well.
#[test]
fn a_kill_at_any_call_loses_nothing() {
    for seed in 0..2 {
        let mut kills = 0;
        for kill_after in 0.. {
            let mut world = World::new(seed, small_config());
            world.medium.kill_after(kill_after);
            world.open();
            world.live(400);
            if !world.medium.is_killed() {
                break;
            }
            kills += 1;
            world.kill();
            let again = world.random.below(60);
            world.medium.kill_after(again);
            if world.open().is_some() {
                world.medium.kill_after(u64::MAX / 2);
                world.check();
            }
            world.kill();
            let recovery = world.open().unwrap();
            assert!(
                recovery.max.0 >= world.kept.iter().flatten().map(|kept| kept.physical.0).max().unwrap_or(0)
            );
            world.check();
            world.live(100);
            world.check();
            world.close();
            world.open().unwrap();
            world.check();
        }
        assert!(kills > 50, "only {kills} kills");
    }
}

/// D-1. Goal: the same over many lives. Method: kill at random times, a hundred lives per seed.
#[test]
fn many_lives_lose_nothing() {
    for seed in 100..103 {
        let mut world = World::new(seed, small_config());
        for _ in 0..100 {
            if world.open().is_some() {
                let calls = world.random.below(120);
                world.medium.kill_after(calls);
                let acts = world.random.below(300);
                world.live(acts);
            }
            world.kill();
            let calls = 20 + world.random.below(200);
            world.medium.kill_after(calls);
        }
        world.kill();
        world.open().unwrap();
        world.check();
    }
}

/// D-3. Goal: what `synced_to` covers survives a power cut at any time. Method: SYNC_FLUSH; cut; everything acknowledged below
/// the mark must be there, each queue without a hole.
#[test]
fn what_is_synced_survives_a_power_cut() {
    for seed in 0..60 {
        let config = store::StoreConfig { flush: FlushMode::Sync, ..small_config() };
        let mut world = World::new(seed, config);
        world.open().unwrap();
        for _ in 0..3 {
            let acts = 50 + world.random.below(300);
            world.live(acts);
            let synced_to = world.running.as_ref().unwrap().0.synced_to();
            world.running = None;
            world.medium.power_cut();
            world.open().unwrap();
            let ends = world.ends();
            for ((kept, max), name) in world.kept.iter_mut().zip(ends).zip(world::TOPICS) {
                let safe =
                    kept.iter().filter(|kept| kept.physical.plus(kept.size.into()) <= synced_to).count();
                assert!(max >= safe, "seed {seed}: {name:?} has {max} of {safe}");
                assert!(max <= kept.len());
                kept.truncate(max);
            }
            world.check();
        }
    }
}

/// D-7. Goal: after a failed write or sync nothing is appended, reads go on, and the next start has everything acknowledged.
/// Method: fail writes of the log, of queues, and syncs.
#[test]
fn a_failed_write_makes_the_log_read_only() {
    let faults =
        [("commitlog", FaultKind::Write), ("consumequeue", FaultKind::Write), ("commitlog", FaultKind::Sync)];
    for (path_part, what) in faults {
        let mut world = World::lived(7, store::StoreConfig { flush: FlushMode::Sync, ..small_config() }, 200);
        world.medium.set_fault(Some(Fault { path_part, what }));
        world.live(400);
        let (store, cold) = world.running.as_ref().unwrap();
        assert!(store.is_read_only());
        assert!(store.has_room(1_000), "an error is answered at once, not held back");
        assert!(cold.failure().is_some());
        assert!(store.synced_to() < store.published());
        world.check_over_a_kill();
        world.live(200);
        world.check();
    }
}

/// D-1, D-7. Goal: a start during which the disk fails ends with a sentence that names the file and the cause, or is a start; either way the next
/// one has all that was acknowledged. Method: from each call to the medium on writes, syncs, or space fail; after a kill, in both flush modes.
#[test]
fn a_start_that_fails_costs_nothing() {
    for (flush, what) in [FlushMode::Async, FlushMode::Sync]
        .into_iter()
        .flat_map(|flush| [FaultKind::Write, FaultKind::Sync, FaultKind::Full].map(|what| (flush, what)))
    {
        let (mut refused, mut begun) = (0, 0);
        for calls in 0.. {
            let mut world = World::lived(31, StoreConfig { flush, ..small_config() }, 300);
            world.kill();
            let before = world.medium.calls();
            world.medium.set_fault_after(calls, Fault { path_part: "", what });
            let opened = store::open(world.config.clone(), Arc::new(world.medium.clone()));
            let is_over = world.medium.calls() - before <= calls;
            match opened {
                Ok(running) => {
                    drop(running);
                    begun += 1;
                }
                Err(error) => {
                    let text = error.to_string();
                    let cause = if what == FaultKind::Full { "no storage space" } else { "broken" };
                    assert!(text.contains(cause) && text.contains(" /"), "{text}");
                    refused += 1;
                }
            }
            world.kill();
            world.open().unwrap();
            world.check();
            world.live(100);
            world.check_over_a_kill();
            if is_over {
                break;
            }
        }
        assert!(refused > 5 && begun > 0, "{flush:?} {what:?}: {refused} and {begun}");
    }
}

/// D-6. Goal: lost or damaged consume queue files are made again from the log. Method: remove all, then those of one queue,
/// then an entry; after a kill and after a clean stop.
#[test]
fn lost_queue_files_are_rebuilt() {
    use store::Medium;
    for (clean, path) in [
        (true, "/store/consumequeue"),
        (true, "/store/consumequeue/TopicA/1"),
        (false, "/store/consumequeue"),
        (false, "/store/consumequeue/TopicA/1"),
    ] {
        let mut world = World::lived(3, small_config(), 800);
        world.stop(clean);
        world.medium.remove_dir(Path::new(path)).unwrap();
        world.open().unwrap();
        world.check();
    }
}

/// D-4. Goal: every commitlog file is cut by the official rule: units one after the other, then a blank that reaches exactly to
/// the end of the file. Method: walk the files.
#[test]
fn commitlog_files_end_with_a_blank() {
    use protocol::record::{Unit, unit};
    let mut world = World::new(11, small_config());
    world.open().unwrap();
    for _ in 0..1_500 {
        world.act();
        world.step();
    }
    world.close();
    let files = world::log_files(&world.medium);
    assert!(files.len() > 3);
    for path in &files[..files.len() - 1] {
        let content = world.medium.content(path).unwrap();
        let mut at = 0;
        loop {
            match unit(&content[at..]).unwrap() {
                Unit::Record(view) => at += view.bytes.len(),
                Unit::Blank { bytes_left } => {
                    assert_eq!(at + bytes_left as usize, content.len());
                    break;
                }
            }
        }
    }
}

/// D-2. Goal: a hot log whose files were written by someone else since is not mixed into them, and what only it has is not lost.
/// Method: after a kill, let another life without the hot log append to the files, then bring the hot log back.
#[test]
fn a_foreign_continuation_is_noticed() {
    let mut world = World::new(5, small_config());
    world.open().unwrap();
    for _ in 0..60 {
        world.append();
    }
    world.running.as_mut().unwrap().1.catch_up(1);
    for _ in 0..20 {
        world.append();
    }
    world.kill();
    let hot = world.medium.take_hot_away();
    world.open().unwrap();
    let ends = world.ends();
    let lost: Vec<_> = world.kept.iter_mut().zip(ends).map(|(kept, end)| kept.split_off(end)).collect();
    assert!(lost.iter().any(|lost| !lost.is_empty()));
    world.now_ms += 1_000;
    for _ in 0..20 {
        world.append();
    }
    world.check();
    world.close();
    world.medium.bring_hot_back(hot);
    let recovery = world.open().unwrap();
    assert_eq!(recovery.hot, HotFound::Diverged);
    assert_eq!(recovery.replayed_records as usize, lost.iter().map(Vec::len).sum::<usize>());
    let (_, cold) = world.running.as_mut().unwrap();
    for (kept, (lost, (topic, queue_id))) in world.kept.iter_mut().zip(lost.into_iter().zip(world::TOPICS)) {
        for message in lost {
            let offset = QueueOffset(kept.len() as i64);
            let unit = cold.reader().entry(topic, queue_id, offset).unwrap().unwrap();
            kept.push(world::Kept { physical: unit.physical, ..message });
        }
    }
    world.check();
}

/// D-2. Goal: a copy of a directory is complete, and never takes the original's hot log over. Method: copy a killed store; open the
/// copy while the original runs, and after it was killed; the original must not notice.
#[test]
fn a_copy_leaves_the_original_alone() {
    let mut world = World::new(5, small_config());
    world.open().unwrap();
    for _ in 0..100 {
        world.append();
    }
    let medium = std::sync::Arc::new(world.medium.clone());
    let config = copy(&world, "/copy1");
    let (store, cold, recovery) = store::open(config, medium.clone()).unwrap();
    assert_eq!(recovery.hot, HotFound::None);
    drop((store, cold));
    for _ in 0..20 {
        world.append();
    }
    world.check();
    world.kill();
    let config = copy(&world, "/copy2");
    let (store, cold, recovery) = store::open(config, medium).unwrap();
    assert_eq!(recovery.hot, HotFound::Replayed);
    for (kept, (topic, queue_id)) in world.kept.iter().zip(world::TOPICS) {
        let index = store.find_queue(topic, queue_id).unwrap();
        assert_eq!(store.offsets(index).end.0 as usize, kept.len());
    }
    drop((store, cold));
    let recovery = world.open().unwrap();
    assert_eq!(recovery.hot, HotFound::Replayed);
    world.check();
}

fn copy(world: &World, to: &str) -> store::StoreConfig {
    world.medium.copy_dir(Path::new("/store"), Path::new(to));
    store::StoreConfig { root: to.into(), ..small_config() }
}

/// D-7, D-3. Goal: a spare file that cannot become the next one of the log stops nothing: files are made in the ordinary way, and no more of it
/// is asked for. Only when they cannot be made either is the log read-only. Method: names fail there while files are begun, with a spare
/// one ready; a power cut then.
#[test]
fn a_spare_file_that_cannot_be_renamed_stops_nothing() {
    for seed in 0..4 {
        let mut world = World::lived(seed, StoreConfig { flush: FlushMode::Sync, ..small_config() }, 50);
        make_spare(&world);
        let before = log_files(&world.medium).len();
        world.medium.set_fault(Some(Fault { path_part: "commitlog.spare", what: FaultKind::Names }));
        world.live(1_000);
        let store = &world.running.as_ref().unwrap().0;
        assert!(!store.is_read_only(), "seed {seed}");
        let after = log_files(&world.medium).len();
        assert!(after > before + 2, "{before} files and {after}");
        world.check();
        world.medium.set_fault(None);
        world.live(300);
        assert!(log_files(&world.medium).len() > after, "another file was made");
        let spare = world.medium.content(Path::new("/store/commitlog.spare/next"));
        assert!(spare.is_some(), "the one there is is not asked for any more");
        (0..10).for_each(|_| world.step());
        let synced = world.running.as_ref().unwrap().0.synced_to();
        world.running = None;
        world.medium.power_cut();
        let recovery = world.open().unwrap();
        assert!(recovery.max >= synced, "{} of {synced}", recovery.max);
        for kept in &mut world.kept {
            kept.retain(|kept| kept.physical < recovery.max);
        }
        world.check();
        world.live(300);
        world.check();
        world.medium.set_fault(Some(Fault { path_part: "/store/commitlog", what: FaultKind::Names }));
        make_spare(&world);
        world.live(300);
        assert!(!world.running.as_ref().unwrap().0.is_read_only());
        world.medium.set_fault(Some(Fault { path_part: "/store/commitlog/", what: FaultKind::Create }));
        world.live(300);
        assert!(world.running.as_ref().unwrap().0.is_read_only());
        world.check();
        world.kill();
        world.open().unwrap();
        world.check();
    }
}

/// What works ahead of the log does all that it can.
fn make_spare(world: &World) {
    let ground = world.running.as_ref().unwrap().1.ground().unwrap();
    while ground.step() != Haste::None {}
}
