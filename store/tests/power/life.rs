//! One world: a disk, a few lives of a process on it that each end by a power cut, and what must hold after each.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use protocol::record::RecordView;
use store::{
    ColdStore, FlushMode, KeyKind, KeyQuery, PullLimits, QueueOffset, RealMedium, Store, Work, open,
};

use crate::cut::{Disk, Journal};
use crate::writer::{self, QUEUES, TOPIC};

/// What happened in all worlds.
#[derive(Debug, Default)]
pub struct Tally {
    pub cuts: u64,
    pub in_recovery: u64,
    pub checked: u64,
    pub appended: u64,
    /// Messages that a cut took, none of them below `synced_to`.
    pub cut_off: u64,
    pub promised_bytes: i64,
}

/// What the process has told: where each message is, by queue and offset, and the highest `synced_to`.
#[derive(Default)]
struct Told {
    kept: BTreeMap<(i32, i64), (i64, i64)>,
    promised: i64,
    appended: u64,
    cut_off: u64,
}

pub struct World {
    dir: PathBuf,
    flush: FlushMode,
    disk: Disk,
    dice: u64,
    told: Arc<Mutex<Told>>,
}

impl World {
    pub fn new(seed: u64, flush: FlushMode, disk: Disk, dir: &Path) -> Self {
        Self { dir: dir.to_path_buf(), flush, disk, dice: seed, told: Arc::default() }
    }

    pub fn run(mut self, tally: &mut Tally) {
        for life in 0..LIVES {
            tally.in_recovery += u64::from(!self.live());
            tally.cuts += 1;
            // The next life begins with the recovery of this one, unless we look first.
            if self.below(2) == 0 || life == LIVES - 1 {
                self.check();
                tally.checked += 1;
            }
        }
        let told = self.told.lock().unwrap();
        tally.appended += told.appended;
        tally.cut_off += told.cut_off;
        tally.promised_bytes += told.promised;
    }

    /// One process, until its power is cut. Returns whether it had recovered by then.
    fn live(&mut self) -> bool {
        let (child, up, reader) = self.start();
        let mut is_up = false;
        if self.below(4) > 0 {
            up.recv_timeout(Duration::from_secs(60)).expect("the process recovers");
            is_up = true;
        }
        std::thread::sleep(Duration::from_micros(self.below(if is_up { 300_000 } else { 30_000 })));
        let journal = if self.below(3) == 0 { Journal::Flushed } else { Journal::Lost };
        self.disk.cut(journal).unwrap();
        // What it promises now, it promises wrongly, and that will be found.
        std::thread::sleep(Duration::from_millis(40));
        is_up = is_up || up.try_recv().is_ok();
        drop(child);
        reader.join().unwrap();
        self.disk.unmount().unwrap();
        let _ = fs::remove_dir_all(self.dir.join("hot"));
        self.disk.mount().unwrap();
        is_up
    }

    fn start(&self) -> (Killed, Receiver<()>, JoinHandle<()>) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["what_was_synced_survives_a_power_cut", "--exact", "--nocapture"])
            .env(writer::DIR_VAR, &self.dir)
            .env(writer::FLUSH_VAR, if self.flush == FlushMode::Sync { "sync" } else { "async" })
            .stdout(Stdio::piped())
            .stderr(Stdio::null()) // It may panic when its disk is gone.
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let (told, (tell_up, up)) = (Arc::clone(&self.told), channel());
        let reader = std::thread::spawn(move || {
            let mut lines = BufReader::new(output);
            let mut line = String::new();
            while lines.read_line(&mut line).unwrap() > 0 {
                // The last line may be cut off by the kill.
                if line.ends_with('\n') && told.lock().unwrap().hear(line.trim_end()) {
                    let _ = tell_up.send(());
                }
                line.clear();
            }
        });
        (Killed(child), up, reader)
    }

    /// Everything that must be there is, and nothing else.
    fn check(&self) {
        let config = writer::config(&self.dir, self.flush);
        let (store, mut cold, recovery) = open(config, Arc::new(RealMedium::new())).unwrap();
        assert_eq!(recovery.lost_entries, 0);
        assert_eq!(recovery.replayed_records, 0, "the hot log was taken away");
        // The index is made good by and by.
        let mut now_ms = 1_800_000_000_000;
        cold.catch_up(now_ms);
        now_ms += 60_000;
        while matches!(cold.step(now_ms), Work::Did { .. }) {}
        let mut told = self.told.lock().unwrap();
        told.recovered(recovery.max.0);
        let mut unknown = 0;
        for queue_id in 0..QUEUES as i32 {
            let known = told.kept.range((queue_id, 0)..(queue_id + 1, 0)).count() as i64;
            let found = match store.find_queue(TOPIC, queue_id) {
                Some(_) => check_queue(&store, &mut cold, queue_id, &mut told),
                None => 0,
            };
            assert!(found >= known, "queue {queue_id} has {found} of {known}");
            unknown += found - known;
        }
        assert!(unknown <= 1, "{unknown} messages that nobody has sent");
        for (at, (queue_id, offset)) in told.kept.keys().copied().enumerate() {
            if at % KEYS_EVERY == 0 || at + KEYS_LAST >= told.kept.len() {
                check_key(&mut cold, queue_id, offset);
            }
        }
        drop(store);
        cold.close(now_ms).unwrap();
        let _ = fs::remove_dir_all(self.dir.join("hot"));
    }

    fn below(&mut self, below: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % below
    }
}

/// A process that does not outlive us.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Told {
    /// Returns whether the process says that it is up.
    fn hear(&mut self, line: &str) -> bool {
        let mut words = line.split(' ');
        let kind = words.next();
        let numbers: Vec<i64> = words.map_while(|word| word.parse().ok()).collect();
        match (kind, &numbers[..]) {
            (Some("up"), [max]) => {
                self.recovered(*max);
                return true;
            }
            (Some("a"), [queue_id, offset, begin, end]) => {
                self.appended += 1;
                self.kept.insert((*queue_id as i32, *offset), (*begin, *end));
            }
            (Some("s"), [synced]) => self.promised = self.promised.max(*synced),
            _ => {} // The test program's own words.
        }
        false
    }

    /// A log that ends at `max` was found after a cut.
    fn recovered(&mut self, max: i64) {
        assert!(max >= self.promised, "the log ends at {max}, and {} was promised", self.promised);
        let before = self.kept.len();
        self.kept.retain(|_, (_, end)| *end <= max);
        self.cut_off += (before - self.kept.len()) as u64;
    }
}

/// Returns how many messages the queue has.
fn check_queue(store: &Store, cold: &mut ColdStore, queue_id: i32, told: &mut Told) -> i64 {
    let queue = store.find_queue(TOPIC, queue_id).unwrap();
    let offsets = store.offsets(queue);
    assert_eq!(offsets.start, QueueOffset(0));
    let mut next = 0;
    while next < offsets.end.0 {
        let limits = PullLimits { messages: 1_000, bytes: 1 << 20, entries: 1_000, ..PullLimits::default() };
        let range = QueueOffset(next)..offsets.end;
        let pull = cold.reader().read_pull(TOPIC, queue_id, range, &limits, &mut |_| true).unwrap();
        assert_eq!(pull.passed_over, 0);
        assert!(pull.messages > 0, "queue {queue_id} has a hole at {next}");
        let mut rest = &pull.bytes[..];
        while !rest.is_empty() {
            let view = RecordView::parse(rest).unwrap();
            assert_eq!(view.queue_offset, next);
            assert!(view.crc_holds());
            assert_eq!(view.body, writer::body(queue_id, next));
            let end = view.physical_offset + view.bytes.len() as i64;
            if let Some(place) = told.kept.get(&(queue_id, next)) {
                assert_eq!(*place, (view.physical_offset, end), "queue {queue_id} at {next}");
            }
            rest = &rest[view.bytes.len()..];
            next += 1;
        }
    }
    next
}

fn check_key(cold: &mut ColdStore, queue_id: i32, offset: i64) {
    let key = writer::key(queue_id, offset);
    let query = KeyQuery { topic: TOPIC, key: &key, kind: KeyKind::Key, max: 9, begin: 0, end: i64::MAX };
    let found = cold.reader().find_by_key(&query, 1 << 20).unwrap();
    assert_eq!(found.messages, 1, "{key}");
    let view = RecordView::parse(&found.bytes).unwrap();
    assert_eq!((view.queue_id, view.queue_offset), (queue_id, offset));
}

const LIVES: u64 = 8;
/// Keys that are looked for: one of so many, and the last ones.
const KEYS_EVERY: usize = 50;
const KEYS_LAST: usize = 20;
