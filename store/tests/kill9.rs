//! The real thing: a process that appends is killed with SIGKILL at a random moment, and its directory opened again.
//!
//! The child is this test program itself, started once more with `AB_KILL9_DIR` set. It tells every acknowledged append on
//! its standard output before it makes the next one, so the parent knows at least what was acknowledged.
#![allow(clippy::unwrap_used)] // Tests: the helpers too.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use protocol::record::{RecordDraft, RecordView};
use store::{ColdStore, HotFound, PullLimits, QueueOffset, RealMedium, Store, StoreConfig, UnitAt, open};

/// D-1. Goal: nothing acknowledged is lost by SIGKILL, no offset is missing, nothing is there twice. Method: twelve lives of
/// one store, each killed after a random while; after each, everything is read back.
#[test]
fn a_killed_process_loses_nothing() {
    if let Some(dir) = std::env::var_os("AB_KILL9_DIR") {
        return child(Path::new(&dir));
    }
    let dir = std::env::temp_dir().join(format!("ab-kill9-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    let mut acknowledged = [0_i64; QUEUES];
    let mut checked = [0_i64; QUEUES];
    let mut replayed = 0;
    for life in 0..LIVES {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["a_killed_process_loses_nothing", "--exact", "--nocapture"])
            .env("AB_KILL9_DIR", &dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let (first, appends) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            let mut acknowledged = [0_i64; QUEUES];
            let mut first = Some(first);
            for line in BufReader::new(output).lines() {
                let line = line.unwrap();
                // The last line may be cut off by the kill: it ends with a dot when it is whole.
                let Some(text) = line.strip_prefix("ack ").and_then(|text| text.strip_suffix('.')) else {
                    continue;
                };
                if let Some(first) = first.take() {
                    first.send(()).unwrap();
                }
                let (queue, offset) = text.split_once(' ').unwrap();
                acknowledged[queue.parse::<usize>().unwrap()] = offset.parse::<i64>().unwrap() + 1;
            }
            acknowledged
        });
        // Most are killed while they append, some while they still start.
        let appended = life % 4 != 3;
        if appended {
            appends.recv_timeout(Duration::from_secs(60)).unwrap();
        }
        std::thread::sleep(Duration::from_millis(20 + life * 37 % 250));
        child.kill().unwrap();
        child.wait().unwrap();
        for (all, new) in acknowledged.iter_mut().zip(reader.join().unwrap()) {
            *all = (*all).max(new);
        }

        let (store, mut cold, recovery) = open(config(&dir), Arc::new(RealMedium::new())).unwrap();
        assert!(!appended || !recovery.clean);
        assert_ne!(recovery.hot, HotFound::Diverged);
        assert_eq!(recovery.lost_entries, 0);
        replayed += recovery.replayed_records;
        for (queue_id, acknowledged) in acknowledged.iter_mut().enumerate() {
            let Some(queue) = store.find_queue(TOPIC, queue_id as i32) else {
                assert_eq!(*acknowledged, 0);
                continue;
            };
            let end = store.offsets(queue).end.0;
            assert!(end >= *acknowledged, "queue {queue_id} has {end} of {acknowledged}");
            // The older ones were looked at after the lives before; all of them once more after the last.
            let from = if life == LIVES - 1 { 0 } else { checked[queue_id] };
            check_queue(&store, &mut cold, queue_id as i32, from..end);
            checked[queue_id] = end;
            *acknowledged = end; // What was appended but not yet told counts from now on.
        }
        if life % 3 == 0 {
            drop(store);
            cold.close(0).unwrap();
        }
    }
    assert!(acknowledged.iter().all(|count| *count > 0));
    assert!(replayed > 0, "no kill ever left anything to replay");
    let (store, cold, _) = open(config(&dir), Arc::new(RealMedium::new())).unwrap();
    drop(store);
    cold.close(0).unwrap();
    fs::remove_dir_all(&dir).unwrap();
}

fn check_queue(store: &Store, cold: &mut ColdStore, queue_id: i32, offsets: Range<i64>) {
    let queue = store.find_queue(TOPIC, queue_id).unwrap();
    let Range { start: mut next, end } = offsets;
    while next < end {
        assert_eq!(store.unit(queue, QueueOffset(next)), UnitAt::NotHot);
        let limits = PullLimits { messages: 1_000, bytes: 1 << 20, entries: 1_000, ..PullLimits::default() };
        let range = QueueOffset(next)..QueueOffset(end);
        let pull = cold.reader().read_pull(TOPIC, queue_id, range, &limits, &mut |_| true).unwrap();
        assert_eq!(pull.passed_over, 0);
        assert!(pull.messages > 0);
        let mut rest = &pull.bytes[..];
        while !rest.is_empty() {
            let view = RecordView::parse(rest).unwrap();
            assert_eq!(view.queue_offset, next);
            assert!(view.crc_holds());
            assert_eq!(view.body, body(queue_id, next));
            rest = &rest[view.bytes.len()..];
            next += 1;
        }
    }
}

/// Appends until it is killed.
fn child(dir: &Path) {
    let (mut store, mut cold, _) = open(config(dir), Arc::new(RealMedium::new())).unwrap();
    let cold = std::thread::spawn(move || {
        for now_ms in 0.. {
            cold.step(now_ms * 10);
            std::thread::sleep(Duration::from_micros(200));
        }
    });
    let host: SocketAddr = "127.0.0.1:10911".parse().unwrap();
    let mut output = std::io::stdout();
    for turn in 0.. {
        let queue_id = turn % QUEUES as i32;
        let queue = store.queue(TOPIC, queue_id);
        let body = body(queue_id, store.offsets(queue).end.0);
        let draft = RecordDraft::plain(TOPIC.as_bytes(), queue_id, host, &body);
        if !store.has_room(draft.encoded_len()) {
            std::thread::sleep(Duration::from_micros(100));
            continue;
        }
        let appended = store.append(queue, &draft, 0, 1).unwrap();
        writeln!(output, "ack {queue_id} {}.", appended.queue_offset).unwrap();
    }
    cold.join().unwrap();
}

/// What belongs at an offset: its length and bytes follow from it.
fn body(queue_id: i32, offset: i64) -> Vec<u8> {
    let seed = offset * 31 + i64::from(queue_id);
    vec![seed as u8; (seed % 3_000) as usize]
}

fn config(dir: &Path) -> StoreConfig {
    StoreConfig {
        commitlog_file_bytes: 1 << 20,
        consumequeue_file_bytes: 20_000,
        hot_bytes: 3 << 20,
        hot_segments: 3,
        ..StoreConfig::new(dir)
    }
}

const TOPIC: &str = "Kill";
const QUEUES: usize = 5;
const LIVES: u64 = 8;
