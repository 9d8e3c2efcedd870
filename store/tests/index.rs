//! The index on the simulated medium: kills, power cuts, lost and damaged files, full disks. `World::check_index` knows every key.
#![allow(clippy::unwrap_used)] // Tests: the helpers too.

mod world;

use std::path::{Path, PathBuf};

use store::sim_medium::{Fault, FaultKind};
use store::{FlushMode, KeyKind, KeyQuery, StoreConfig};
use world::{World, small_config};

fn index_files(world: &World) -> Vec<PathBuf> {
    world.medium.paths().into_iter().filter(|path| path.starts_with("/store/index")).collect()
}

/// D-10. Goal: an index that is missing, cut short or damaged anywhere is made good from the log. Method: after a clean stop, and
/// after a kill, one thing is done to one file.
#[test]
fn a_damaged_index_is_made_again() {
    for (nth, harm) in ["gone", "first gone", "size", "header", "entry", "position"].into_iter().enumerate() {
        for clean in [true, false] {
            let mut world = World::lived(nth as u64, small_config(), 900);
            world.check();
            world.stop(clean);
            let files = index_files(&world);
            assert!(files.len() > 3, "{} files", files.len());
            let medium = world.medium.clone();
            let remove = |path: &Path| store::Medium::remove(&medium, path).unwrap();
            match harm {
                "gone" => store::Medium::remove_dir(&medium, Path::new("/store/index")).unwrap(),
                "first gone" => files.iter().for_each(|path| remove(path)),
                "size" => drop(store::Medium::create(&medium, &files[1], 0).unwrap()),
                "header" => medium.flip(&files[files.len() - 1], 36),
                "entry" if !clean => medium.flip(&files[files.len() - 1], 40 + 16 * 4 + 20 + 1),
                "entry" => {}
                _ => medium.flip(Path::new("/store/indexed"), 10),
            }
            world.open().unwrap();
            world.check_index();
            world.live(100);
            world.check();
            world.close();
            world.open().unwrap();
            world.check();
        }
    }
}

/// D-10. Goal: a blank between two files of the log that says it is longer than the file hides nothing of what lies behind it. Method: flip a
/// bit of its length; the index is made again.
#[test]
fn a_damaged_blank_hides_no_keys() {
    let mut world = World::lived(5, small_config(), 900);
    world.close();
    let file_bytes = world.config.commitlog_file_bytes as i64;
    let ends = world.kept.iter().flatten().map(|kept| kept.physical.plus(kept.size.into()).0);
    let blank = ends.filter(|end| *end < file_bytes).max().unwrap();
    world.medium.flip(&world::log_files(&world.medium)[0], blank as usize);
    store::Medium::remove_dir(&world.medium, Path::new("/store/index")).unwrap();
    world.open().unwrap();
    world.check_index();
    world.live(100);
    world.check();
}

/// D-10. Goal: records of the log that cannot be read cost an index that is made again their own keys, and no others. Method: after a clean stop,
/// one in the midst of each file of the log is harmed, and the first of one; the index is gone.
#[test]
fn a_damaged_record_costs_its_own_keys() {
    for harm in ["size", "huge size", "magic", "place", "body length", "zeros", "two in a row"] {
        let mut world = World::lived(11, small_config(), 900);
        world.close();
        let file_bytes = world.config.commitlog_file_bytes as i64;
        let files = world::log_files(&world.medium);
        let mut harmed = 0;
        for (nth, path) in files.iter().enumerate() {
            // Of the topic whose tags are counted none.
            let mut of_file: Vec<_> = world.kept[2..].iter_mut().flatten().collect();
            of_file.retain(|kept| kept.physical.0 / file_bytes == nth as i64);
            of_file.sort_by_key(|kept| kept.physical);
            let first = if nth == 1 { 0 } else { of_file.len() / 2 };
            let count = if harm == "two in a row" { 2 } else { 1 };
            for kept in of_file.into_iter().skip(first).take(count) {
                let at = (kept.physical.0 % file_bytes) as u64;
                let file = store::Medium::open(&world.medium, path).unwrap().unwrap();
                let mut bytes = vec![0; kept.size as usize];
                file.read_at(at, &mut bytes).unwrap();
                match harm {
                    "size" => bytes[3] ^= 1,
                    "huge size" => bytes[0] ^= 0x40,
                    "magic" | "two in a row" => bytes[5] ^= 1,
                    "place" => bytes[33] ^= 1,
                    "body length" => bytes[84] ^= 0x40,
                    _ => bytes.fill(0),
                }
                file.write_at(at, &bytes).unwrap();
                kept.key.clear();
                harmed += 1;
            }
        }
        assert!(harmed >= 3, "{harmed} in {} files", files.len());
        store::Medium::remove_dir(&world.medium, Path::new("/store/index")).unwrap();
        world.open().unwrap();
        world.check_index();
    }
}

/// D-10. Goal: after a power cut, whatever it left of index and log, every message that is there is found by its key. Method:
/// SYNC_FLUSH, random cuts.
#[test]
fn the_index_survives_a_power_cut() {
    for seed in 0..60 {
        let mut world = World::new(seed, StoreConfig { flush: FlushMode::Sync, ..small_config() });
        world.open().unwrap();
        for _ in 0..4 {
            let acts = 50 + world.random.below(400);
            world.live(acts);
            world.running = None;
            world.medium.power_cut();
            world.open().unwrap();
            let ends = world.ends();
            world.kept.iter_mut().zip(ends).for_each(|(kept, end)| kept.truncate(end));
            world.check();
        }
    }
}

/// D-10. Goal: nothing is in the index before it has reached its level. Method: SYNC_FLUSH with syncs that fail: what is
/// written but not synced is not found.
#[test]
fn what_is_not_synced_is_not_found() {
    let mut world = World::lived(3, StoreConfig { flush: FlushMode::Sync, ..small_config() }, 100);
    world.check_index();
    let before: usize = world.kept.iter().map(Vec::len).sum();
    world.medium.set_fault(Some(Fault { path_part: "commitlog", what: FaultKind::Sync }));
    while world.kept.iter().flatten().skip(before).all(|kept| kept.key.is_empty()) {
        world.append();
        if world.kept.iter().map(Vec::len).sum::<usize>() > before {
            break;
        }
    }
    world.step();
    let synced_to = world.running.as_ref().unwrap().0.synced_to();
    let (_, cold) = world.running.as_mut().unwrap();
    for (kept, (topic, _)) in world.kept.iter().zip(world::TOPICS) {
        for one in kept.iter().filter(|kept| !kept.key.is_empty() && kept.physical >= synced_to) {
            let query =
                KeyQuery { topic, key: &one.key, kind: KeyKind::Key, max: 1, begin: 0, end: i64::MAX };
            assert_eq!(cold.reader().find_by_key(&query, 1 << 20).unwrap().messages, 0);
        }
    }
}

/// D-10. Goal: an index that cannot be written stops nothing, and catches up when it can. Method: its writes fail for a while.
#[test]
fn an_index_without_room_catches_up() {
    let mut world = World::lived(5, small_config(), 200);
    world.medium.set_fault(Some(Fault { path_part: "index", what: FaultKind::Write }));
    world.live(1_000);
    assert!(!world.running.as_ref().unwrap().0.is_read_only());
    world.medium.set_fault(None);
    world.now_ms += 6_000;
    world.check();
    world.close();
    assert!(world.open().unwrap().clean);
    world.check();
}

/// D-10. Goal: messages without keys are not gone through again at every start. Method: a clean stop with none but such; the
/// position is that of the log's end.
#[test]
fn the_position_moves_without_keys() {
    let mut world = World::new(9, small_config());
    world.open().unwrap();
    for _ in 0..50 {
        world.append_batch();
    }
    world.close();
    let position = world.medium.content(Path::new("/store/indexed")).unwrap();
    let end = world.open().unwrap().max;
    assert!(position.starts_with(format!("to={:020} ", end.0).as_bytes()));
}
