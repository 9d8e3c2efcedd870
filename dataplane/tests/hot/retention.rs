//! What clients see of deleted messages and of a full disk.

use std::sync::Arc;
use std::time::Duration;

use dataplane::limits::EMPTIED_WAITING_MAX;
use protocol::RemotingCommand;
use protocol::code::{request as codes, response};
use store::sim_medium::SimMedium;
use store::{Retention, Space};

use crate::requests::{pull, send, set};
use crate::world::{Settings, World};

fn world(retention: Retention) -> (World, SimMedium) {
    let medium = SimMedium::new(1);
    let mut settings = Settings { medium: Arc::new(medium.clone()), ..Settings::default() };
    settings.store.retention = retention;
    (World::with(settings), medium)
}

/// D-11. Goal: offsets of deleted messages are those of an official broker: the minimum moves (31), a pull below it is told where to
/// go on (21), one at it is served. Method: a quota of three files, ten files of messages.
#[test]
fn deleted_messages_move_the_minimum() {
    let (mut world, _) =
        world(Retention { bytes_max: Some(24 << 20), interval_ms: 100, ..Retention::default() });
    let conn = world.connect();
    world.topic("T", 1);
    let body = vec![b'x'; 512 << 10];
    for _ in 0..160 {
        assert_eq!(world.call(conn, send("T", 0, "", &body)).code, response::SUCCESS);
        world.clock.advance(Duration::from_millis(10));
    }
    for _ in 0..20 {
        world.clock.advance(Duration::from_millis(100));
        world.pass(5);
    }
    let ask = RemotingCommand::request(codes::GET_MIN_OFFSET).field("topic", "T").field("queueId", 0);
    let min: i64 = world.call(conn, ask).ext("offset").unwrap().parse().unwrap();
    assert!((30..150).contains(&min), "{min}");
    let below = world.call(conn, set(pull("T", 0, 3), "sysFlag", 4));
    assert_eq!(below.code, response::PULL_OFFSET_MOVED, "{:?}", below.remark);
    assert_eq!(below.ext("nextBeginOffset"), Some(&*min.to_string()));
    assert_eq!(below.ext("minOffset"), Some(&*min.to_string()));
    let first = world.call(conn, pull("T", 0, min));
    assert_eq!(first.code, response::SUCCESS, "{:?}", first.remark);
    let info = world.call(conn, RemotingCommand::request(codes::GET_BROKER_RUNTIME_INFO));
    let info = String::from_utf8(info.body.to_vec()).unwrap();
    assert!(info.contains("\"commitLogFilesDeletedQuota\":\""), "{info}");
}

/// D-11. Goal: on a full disk a send is answered as by an official broker, pulls go on, and sends do by themselves once there is
/// space. Method: the partition's figures.
#[test]
fn a_full_disk_is_told() {
    let (mut world, medium) = world(Retention { interval_ms: 100, ..Retention::default() });
    let conn = world.connect();
    world.topic("T", 1);
    assert_eq!(world.call(conn, send("T", 0, "", b"one")).code, response::SUCCESS);
    let turn = |world: &mut World, used: u64| {
        medium.set_space(Space { used, available: 100 - used });
        world.clock.advance(Duration::from_millis(200));
        world.pass(20);
    };
    turn(&mut world, 91);
    let refused = world.call(conn, send("T", 0, "", b"two"));
    assert_eq!(refused.code, response::SERVICE_NOT_AVAILABLE);
    assert!(refused.remark.unwrap().contains("the broker's disk is full"));
    assert_eq!(world.call(conn, pull("T", 0, 0)).code, response::SUCCESS);
    turn(&mut world, 60);
    assert_eq!(world.call(conn, send("T", 0, "", b"three")).code, response::SUCCESS);
}

/// D-11. Goal: codes 306 and 316 answer 0 as an official broker, take the files of queues without messages (316: those of topics that
/// are gone) and no others, and offsets go on where they were. Method: a quota of three files; topics that fall silent, one of them
/// deleted.
#[test]
fn emptied_queues_are_taken_away() {
    let (mut world, medium) =
        world(Retention { bytes_max: Some(24 << 20), interval_ms: 100, ..Retention::default() });
    let conn = world.connect();
    for topic in ["Loud", "Quiet", "Gone"] {
        world.topic(topic, 1);
        assert_eq!(world.call(conn, send(topic, 0, "", b"one")).code, response::SUCCESS);
    }
    let body = vec![b'x'; 512 << 10];
    for _ in 0..160 {
        assert_eq!(world.call(conn, send("Loud", 0, "", &body)).code, response::SUCCESS);
        world.clock.advance(Duration::from_millis(10));
    }
    let delete = RemotingCommand::request(codes::DELETE_TOPIC_IN_BROKER).field("topic", "Gone");
    assert_eq!(world.call(conn, delete).code, response::SUCCESS);
    let files_after = |world: &mut World, code: Option<i32>| {
        if let Some(code) = code {
            let answer = world.call(conn, RemotingCommand::request(code));
            assert_eq!((answer.code, answer.remark, answer.body.len()), (response::SUCCESS, None, 0));
        }
        for _ in 0..20 {
            world.clock.advance(Duration::from_millis(100));
            world.pass(5);
        }
        ["Loud", "Quiet", "Gone"].map(|topic| {
            let part = format!("/consumequeue/{topic}/0/");
            medium.paths().iter().filter(|path| path.to_string_lossy().contains(&part)).count()
        })
    };
    assert_eq!(files_after(&mut world, None), [1, 1, 1]);
    assert_eq!(files_after(&mut world, Some(codes::CLEAN_UNUSED_TOPIC)), [1, 1, 0]);
    assert_eq!(files_after(&mut world, Some(codes::CLEAN_EXPIRED_CONSUMEQUEUE)), [1, 0, 0]);
    let two = world.call(conn, send("Quiet", 0, "", b"two"));
    assert_eq!((two.code, two.ext("queueOffset")), (response::SUCCESS, Some("1")));
    assert_eq!(world.call(conn, pull("Quiet", 0, 1)).code, response::SUCCESS);
    assert_eq!(files_after(&mut world, Some(codes::CLEAN_EXPIRED_CONSUMEQUEUE)), [1, 1, 0]);
}

/// B-14. Goal: requests to take emptied queues away (306, 316) pile nothing up while the disk thread does not come to them: at the bound they
/// are refused with the reason, until it has. Method: a thousand queues, a disk that stands still, and goes on.
#[test]
fn queues_to_be_taken_away_are_bounded() {
    let (mut world, _) = world(Retention::default());
    let conn = world.connect();
    world.topic("T", 1_000);
    for queue_id in 0..1_000 {
        assert_eq!(world.call(conn, send("T", queue_id, "", b"one")).code, response::SUCCESS);
    }
    world.cold_runs = false;
    let mut taken = 0;
    let refused = loop {
        let code =
            [codes::CLEAN_EXPIRED_CONSUMEQUEUE, codes::CLEAN_UNUSED_TOPIC][usize::from(taken % 5 == 4)];
        let answer = world.call(conn, RemotingCommand::request(code));
        if answer.code != response::SUCCESS {
            break answer;
        }
        taken += 1;
        assert!(taken <= 2 * EMPTIED_WAITING_MAX / 1_000, "{taken} requests of a thousand queues each");
    };
    assert_eq!(refused.code, response::SYSTEM_ERROR);
    assert!(refused.remark.unwrap().ends_with("ask again when the disk has come that far"));
    assert!(world.shard.broker.store.asked_to_remove() < EMPTIED_WAITING_MAX + 2_000);
    world.cold_runs = true;
    world.pass(5_000);
    assert_eq!(world.shard.broker.store.asked_to_remove(), 0);
    let answer = world.call(conn, RemotingCommand::request(codes::CLEAN_EXPIRED_CONSUMEQUEUE));
    assert_eq!(answer.code, response::SUCCESS);
}
