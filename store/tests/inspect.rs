//! A store looked at from outside: whole ones are called whole, and damage is told with its place and what it cost.
#![allow(clippy::unwrap_used)] // Tests: the helpers too.

mod world;

use std::path::Path;
use std::sync::Arc;

use store::Medium;
use store::inspect::{Verdict, inspect, verify};
use world::{TOPICS, World, small_config};

fn look(world: &World) -> (store::inspect::Inspection, Verdict) {
    let medium: Arc<dyn Medium> = Arc::new(world.medium.clone());
    let calls = world.medium.calls();
    let seen = inspect(&medium, Path::new("/store"), None).unwrap();
    let mut told = 0;
    let verdict = verify(&medium, &seen, &mut |done, all| {
        assert!(done <= all);
        told += 1;
    });
    assert!(told > 0);
    assert_eq!(world.medium.calls(), calls, "nothing was changed");
    (seen, verdict.unwrap())
}

fn lived(seed: u64) -> World {
    let mut world = World::lived(seed, small_config(), 900);
    world.check();
    world.close();
    world
}

/// D-13. Goal: a store after a clean stop is whole, and its figures are right. Method: compared with what the oracle knows.
#[test]
fn a_whole_store_is_called_whole() {
    let world = lived(11);
    let (seen, verdict) = look(&world);
    assert!(seen.clean && seen.remarks.is_empty());
    assert!(verdict.is_whole(), "{verdict:?}");
    assert_eq!(verdict.records as usize, world.kept.iter().map(Vec::len).sum::<usize>());
    for (kept, (topic, queue_id)) in world.kept.iter().zip(TOPICS) {
        let queue =
            seen.queues.iter().find(|queue| (queue.topic.as_str(), queue.queue_id) == (topic, queue_id));
        assert_eq!(queue.map(|queue| (queue.min, queue.max)), Some((0, kept.len() as i64)));
    }
    assert!(seen.index.len() > 3);
}

/// D-13. Goal: one flipped bit costs one message, and it is named. Method: a body in the middle of the log, a size field, a queue entry.
#[test]
fn damage_is_told_with_its_place() {
    for (at, costs) in [(90_i64, 1), (2, 1)] {
        let world = lived(12);
        let (queue, nth) = (1, world.kept[1].len() / 2);
        let hit = &world.kept[queue][nth];
        assert!(hit.body.len() > 10);
        let (file, inside) = (hit.physical.0 / 65_536 * 65_536, hit.physical.0 % 65_536);
        world.medium.flip(Path::new(&format!("/store/commitlog/{file:020}")), (inside + at) as usize);
        let (_, verdict) = look(&world);
        assert_eq!(verdict.damage.len(), 1, "{verdict:?}");
        let damage = &verdict.damage[0];
        assert_eq!((damage.from, damage.to), (hit.physical.0, hit.physical.0 + i64::from(hit.size)));
        assert_eq!(damage.lost.len(), costs);
        assert_eq!(damage.lost[0], format!("{} {} {nth}", TOPICS[queue].0, TOPICS[queue].1));
        assert!(!verdict.is_whole());
    }
    let world = lived(13);
    world.medium.flip(Path::new("/store/consumequeue/TopicA/0/00000000000000000000"), 40 + 7);
    let (_, verdict) = look(&world);
    assert_eq!((verdict.entries_wrong, verdict.damage.len()), (1, 0));
    assert_eq!(verdict.first_bad_entry.as_deref(), Some("TopicA 0 2"));
}

/// D-13. Goal: entries that are missing amid a queue are counted, and none behind them; what the log has lost is named though the search for it
/// meets them. Method: zeros where a search looks first, a file that is gone; then a damaged record before them.
#[test]
fn a_hole_in_a_queue_is_told() {
    let mut world = World::new(15, small_config());
    world.uniform = Some(300);
    world.open().unwrap();
    world.live(2_000);
    world.close();
    let (entries, path) = (world.kept[0].len(), |at: usize| format!("/store/consumequeue/TopicA/0/{at:020}"));
    assert!(entries > 400);
    let hole = entries.next_multiple_of(50) / 2 - 70..entries.next_multiple_of(50) / 2 + 70;
    for offset in hole.clone() {
        let file = world.medium.open(Path::new(&path(offset * 20 / 1_000 * 1_000))).unwrap().unwrap();
        file.write_at(offset as u64 * 20 % 1_000, &[0; 20]).unwrap();
    }
    world.medium.remove(Path::new(&path(hole.start * 20 / 1_000 * 1_000 + 1_000))).unwrap();
    let (seen, verdict) = look(&world);
    let queue = seen.queues.iter().find(|queue| (&*queue.topic, queue.queue_id) == ("TopicA", 0)).unwrap();
    assert_eq!(queue.max, entries as i64);
    let counts = (verdict.entries_missing, verdict.entries_wrong, verdict.entries_beyond);
    assert_eq!((counts, verdict.damage.len()), ((hole.len() as u64, 0, 0), 0));
    let hit = &world.kept[0][20];
    let file = &world::log_files(&world.medium)[hit.physical.0 as usize / 65_536];
    world.medium.flip(file, hit.physical.0 as usize % 65_536 + 90);
    let (_, verdict) = look(&world);
    assert_eq!(verdict.damage.len(), 1);
    assert_eq!(verdict.damage[0].lost, ["TopicA 0 20"]);
}

/// D-13. Goal: queues that are gone are told, and so is an end that was torn off. Method: remove them; write half a record.
#[test]
fn lost_queues_and_a_torn_end_are_told() {
    let world = lived(14);
    Medium::remove_dir(&world.medium, Path::new("/store/consumequeue/TopicA/1")).unwrap();
    let (_, verdict) = look(&world);
    assert_eq!(verdict.entries_missing as usize, world.kept[1].len());
    let world = lived(15);
    let (_, whole) = look(&world);
    let file = whole.end / 65_536 * 65_536;
    let name = format!("/store/commitlog/{file:020}");
    let content = world.medium.content(Path::new(&name)).unwrap();
    let log = Medium::open(&world.medium, Path::new(&name)).unwrap().unwrap();
    log.write_at((whole.end - file) as u64, &content[..60]).unwrap();
    let (_, verdict) = look(&world);
    assert_eq!(verdict.end, whole.end);
    assert!(verdict.torn_tail.is_some() && !verdict.is_whole());
}
