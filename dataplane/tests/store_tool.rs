//! `store repair` of the real program on a killed store, named by a path that is relative.
#![allow(clippy::unwrap_used)] // Tests: the helpers too.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use protocol::record::RecordDraft;
use store::{HotFound, RealMedium, StoreConfig};

/// D-13. Goal: a store whose broker was killed, and whose queues were lost, is whole after `repair`, by whatever path it is named;
/// `verify` tells before and after. Method: the program, from the directory above, as a child.
#[test]
fn a_killed_store_is_repaired_by_a_relative_path() {
    let above = std::env::temp_dir().join(format!("ab-store-tool-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&above);
    let root = above.join("store");
    append_and_die(&root);
    std::fs::remove_dir_all(root.join("consumequeue")).unwrap();

    let before = run(&above, &["verify", "store"]);
    assert!(!before.status.success(), "{before:?}");
    let repaired = run(&above, &["repair", "./store", "--json"]);
    assert!(repaired.status.success(), "{repaired:?}");
    let told: serde_json::Value = serde_json::from_slice(&repaired.stdout).unwrap();
    assert_eq!(told["verdict"]["records"], MESSAGES);
    let after = run(&root, &["verify", "."]);
    assert!(after.status.success(), "{after:?}");

    let (store, cold, recovery) = store::open(config(&root), Arc::new(RealMedium::new())).unwrap();
    assert!(recovery.clean && recovery.hot == HotFound::None);
    let queue = store.find_queue("Repair", 2).unwrap();
    assert_eq!(store.offsets(queue).end.0, MESSAGES);
    drop((store, cold));
    let missing = run(&above, &["verify", "no-store"]);
    assert!(!missing.status.success());
    assert!(String::from_utf8_lossy(&missing.stderr).contains("storePathRootDir"), "{missing:?}");
    let empty = run(&above, &["verify", "."]);
    assert!(String::from_utf8_lossy(&empty.stderr).contains("; give the storePathRootDir"), "{empty:?}");
    let help = run(&above, &["verify", "--help"]);
    assert!(String::from_utf8_lossy(&help.stdout).contains("Usage: afterburner store verify"), "{help:?}");
    std::fs::remove_dir_all(&above).unwrap();
}

/// What a kill leaves: some of it in the files, some in the hot log only, and `abort`.
fn append_and_die(root: &Path) {
    let (mut store, mut cold, _) = store::open(config(root), Arc::new(RealMedium::new())).unwrap();
    let host: SocketAddr = "127.0.0.1:10911".parse().unwrap();
    let queue = store.queue("Repair", 2);
    for number in 0..MESSAGES {
        let body = vec![number as u8; 700];
        let draft = RecordDraft {
            born_timestamp: 1,
            properties: b"TAGS\x01a\x02",
            ..RecordDraft::plain(b"Repair", 2, host, &body)
        };
        store.append(queue, &draft, 97, 1_000 + number).unwrap();
        if number == MESSAGES / 2 {
            cold.catch_up(2_000);
        }
    }
}

fn run(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_afterburner-dataplane"))
        .arg("store")
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap()
}

fn config(root: &Path) -> StoreConfig {
    StoreConfig {
        commitlog_file_bytes: 1 << 20,
        hot_bytes: 3 << 20,
        hot_segments: 3,
        hot_dir: Some(hot_dir(root)),
        ..StoreConfig::new(root)
    }
}

/// Beside the store, where others who run this test do not meet it.
fn hot_dir(root: &Path) -> PathBuf {
    root.with_extension("hot")
}

const MESSAGES: i64 = 300;
