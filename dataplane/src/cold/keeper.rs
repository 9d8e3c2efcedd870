//! Keeps the broker's tables in files and tells the name servers about them.
//!
//! ```text
//! shard --lane<PersistOp>--> Mirror --topics changed-------> body of the registration (watch: newest wins)
//!                                  '--topics, groups-------> file at once
//!                                  '--offsets, delays------> file every flush..Interval, when changed
//!                                  '--stop-----------------> every file that is not up to date
//! ```
//!
//! An ordinary thread that sleeps until the shard wakes it or a file is due; it may wait for a disk as long as it
//! likes. Ops that pile up meanwhile are applied together, so a burst of new topics is one file and one registration.
//! A file that cannot be written stays due and is tried again every second; the old one is never damaged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use protocol::body::DataVersion;
use store::MediumError;
use tokio::sync::watch;

use crate::broker::persist_ops::PersistOp;
use crate::lane::LaneOut;

use super::mirror::{ConfigFile, Mirror};
use super::namesrv::Tables;

/// Replaces a file of `config/` so that a crash leaves the old one or the new one.
pub trait ConfigFiles: Send {
    fn replace(&mut self, file: ConfigFile, text: &str) -> Result<(), MediumError>;
}

/// How often files are written whose changes may wait.
#[derive(Debug, Clone, Copy)]
pub struct Intervals {
    pub consumer_offsets_ms: i64,
    pub delay_offsets_ms: i64,
}

/// The state of the thread; `step` is one bounded piece of its work.
pub struct Keeper<F> {
    ops: LaneOut<PersistOp>,
    mirror: Mirror,
    files: F,
    tables: watch::Sender<Option<Tables>>,
    intervals: Intervals,
    mapping_version: DataVersion,
    permission: i32,
    /// When each file may be written next.
    due_ms: [i64; 4],
    /// The version and permission that the name servers were told last.
    told: Option<(DataVersion, i32)>,
}

impl<F: ConfigFiles> Keeper<F> {
    /// `mirror` holds what was read at start; nothing of it counts as changed.
    pub fn new(
        ops: LaneOut<PersistOp>,
        mirror: Mirror,
        files: F,
        tables: watch::Sender<Option<Tables>>,
        intervals: Intervals,
        permission: i32,
        now_ms: i64,
    ) -> Keeper<F> {
        let mapping_version = DataVersion::new(now_ms);
        Keeper {
            ops,
            mirror,
            files,
            tables,
            intervals,
            mapping_version,
            permission,
            due_ms: [now_ms; 4],
            told: None,
        }
    }

    /// Applies what has come, then tells and writes what is due. Returns how long there is nothing to do unless
    /// somebody wakes us.
    pub fn step(&mut self, now_ms: i64) -> Duration {
        for _ in 0..OPS_PER_STEP_MAX {
            let Some(op) = self.ops.pop() else { break };
            match &op {
                PersistOp::PermissionChanged { permission, .. } => self.permission = *permission,
                PersistOp::SettingsChanged { told } => {
                    log::info!("{told} until the next start; write it into the -c file to keep it");
                }
                _ => {}
            }
            self.mirror.apply(op);
        }
        let news = (self.mirror.topics.data_version, self.permission);
        if self.told != Some(news) {
            self.told = Some(news);
            let body = self.mirror.registration(self.permission, self.mapping_version);
            let counter = self.mirror.topics.data_version.counter;
            self.tables.send_replace(Some(Tables { body: body.into(), counter }));
        }
        for file in ConfigFile::ALL {
            if self.mirror.is_changed(file) && now_ms >= self.due_ms[file as usize] {
                self.write(file, now_ms);
            }
        }
        if !self.ops.is_empty() {
            return Duration::ZERO;
        }
        let next_ms = ConfigFile::ALL
            .into_iter()
            .filter(|&file| self.mirror.is_changed(file))
            .map(|file| self.due_ms[file as usize])
            .min();
        next_ms.map_or(NAP_MAX, |next_ms| {
            Duration::from_millis(u64::try_from(next_ms - now_ms).unwrap_or(0)).min(NAP_MAX)
        })
    }

    /// Writes every file that is not up to date. The shard has stopped: no op will follow.
    pub fn finish(&mut self, now_ms: i64) {
        while !self.ops.is_empty() {
            self.step(now_ms);
        }
        for file in ConfigFile::ALL {
            if self.mirror.is_changed(file) {
                self.write(file, now_ms);
            }
        }
    }

    /// The thread's life: works when woken or when something is due, until `stop`, then finishes.
    pub fn run(mut self, stop: &Arc<AtomicBool>) {
        self.ops.sleeps_as(std::thread::current());
        while !stop.load(Ordering::Acquire) {
            let nap = self.step(super::wall_ms());
            if !nap.is_zero() {
                std::thread::park_timeout(nap);
            }
        }
        self.finish(super::wall_ms());
    }

    fn write(&mut self, file: ConfigFile, now_ms: i64) {
        let text = self.mirror.take_text(file, now_ms);
        let pause_ms = match file {
            ConfigFile::Topics | ConfigFile::SubscriptionGroups => 0,
            ConfigFile::ConsumerOffsets => self.intervals.consumer_offsets_ms,
            ConfigFile::DelayOffsets => self.intervals.delay_offsets_ms,
        };
        match self.files.replace(file, &text) {
            Ok(()) => self.due_ms[file as usize] = now_ms + pause_ms,
            Err(error) => {
                log::error!("cannot write {}: {error}; trying again every second", file.name());
                self.mirror.mark_changed(file);
                self.due_ms[file as usize] = now_ms + RETRY_MS;
            }
        }
    }
}

/// Ops applied before files and name servers get their go.
const OPS_PER_STEP_MAX: usize = 16_384;
/// The thread looks around this often even when nothing happens.
const NAP_MAX: Duration = Duration::from_secs(1);
const RETRY_MS: i64 = 1_000;

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::broker::topic_config::TopicConfig;
    use crate::broker::version;
    use crate::lane::{LaneIn, lane};

    /// Files in memory; `broken` makes every write fail.
    #[derive(Clone, Default)]
    struct Shelf(Arc<Mutex<Contents>>);

    #[derive(Default)]
    struct Contents {
        written: Vec<ConfigFile>,
        broken: bool,
    }

    impl ConfigFiles for Shelf {
        fn replace(&mut self, file: ConfigFile, _text: &str) -> Result<(), MediumError> {
            let mut shelf = self.0.lock().unwrap();
            if shelf.broken {
                let error = std::io::Error::other("broken");
                return Err(MediumError::at("write", std::path::Path::new(file.name()))(error));
            }
            shelf.written.push(file);
            Ok(())
        }
    }

    impl Shelf {
        fn take(&self) -> Vec<ConfigFile> {
            std::mem::take(&mut self.0.lock().unwrap().written)
        }
        fn set_broken(&self, broken: bool) {
            self.0.lock().unwrap().broken = broken;
        }
    }

    type World = (LaneIn<PersistOp>, Keeper<Shelf>, Shelf, watch::Receiver<Option<Tables>>);

    fn world() -> World {
        let (give, take) = lane(64);
        let (tables, newest) = watch::channel(None);
        let shelf = Shelf::default();
        let intervals = Intervals { consumer_offsets_ms: 5_000, delay_offsets_ms: 10_000 };
        let keeper = Keeper::new(take, Mirror::default(), shelf.clone(), tables, intervals, 6, 1_000);
        (give, keeper, shelf, newest)
    }

    fn topic(name: &str, counter: i64) -> PersistOp {
        let version = version::DataVersion { counter, ..version::DataVersion::default() };
        PersistOp::TopicChanged { config: Arc::new(TopicConfig::new(name, 4, 6)), version }
    }

    fn commit(offset: i64) -> PersistOp {
        PersistOp::OffsetCommitted { group: "G".into(), topic: "T".into(), queue_id: 0, offset }
    }

    /// Goal: a topic is on disk and told at once; several that come together are one file and one registration.
    #[test]
    fn topics_are_written_and_told_at_once_and_together() {
        let (give, mut keeper, shelf, mut newest) = world();
        keeper.step(1_000);
        assert!(newest.borrow_and_update().is_some(), "even a broker without topics registers");
        for (at, name) in ["A", "B", "C"].into_iter().enumerate() {
            give.push(topic(name, at as i64 + 1)).unwrap();
        }
        keeper.step(1_001);
        assert_eq!(shelf.take(), [ConfigFile::Topics]);
        let body = newest.borrow_and_update().clone().unwrap().body;
        assert!(["\"A\"", "\"B\"", "\"C\""].iter().all(|name| str::from_utf8(&body).unwrap().contains(name)));
        keeper.step(1_002);
        assert!(!newest.has_changed().unwrap());
        assert_eq!(shelf.take(), []);
    }

    /// Goal: offsets are written once an interval, and not at all when nothing changed.
    #[test]
    fn offsets_wait_for_their_interval() {
        let (give, mut keeper, shelf, _newest) = world();
        give.push(commit(1)).unwrap();
        keeper.step(1_000);
        assert_eq!(shelf.take(), [ConfigFile::ConsumerOffsets]);
        give.push(commit(2)).unwrap();
        let nap = keeper.step(1_001);
        assert_eq!(shelf.take(), []);
        assert_eq!(nap, NAP_MAX, "the file is due in 4999 ms");
        assert_eq!(keeper.step(5_500), Duration::from_millis(500));
        keeper.step(6_000);
        assert_eq!(shelf.take(), [ConfigFile::ConsumerOffsets]);
        keeper.step(60_000);
        assert_eq!(shelf.take(), []);
    }

    /// Goal: nothing that changed is missing in the files after a stop.
    #[test]
    fn a_stop_writes_what_is_left() {
        let (give, mut keeper, shelf, _newest) = world();
        give.push(commit(1)).unwrap();
        keeper.step(1_000);
        shelf.take();
        give.push(commit(2)).unwrap();
        give.push(PersistOp::DelayOffset { level: 1, offset: 3 }).unwrap();
        keeper.finish(1_001);
        assert_eq!(shelf.take(), [ConfigFile::DelayOffsets, ConfigFile::ConsumerOffsets]);
    }

    /// Goal: a full disk costs no change. Method: fail, then heal.
    #[test]
    fn a_file_that_cannot_be_written_is_tried_again() {
        let (give, mut keeper, shelf, _newest) = world();
        shelf.set_broken(true);
        give.push(topic("A", 1)).unwrap();
        keeper.step(1_000);
        shelf.set_broken(false);
        keeper.step(1_500);
        assert_eq!(shelf.take(), []);
        keeper.step(2_000);
        assert_eq!(shelf.take(), [ConfigFile::Topics]);
    }
}
