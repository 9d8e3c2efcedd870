//! The threads behind the store: who writes it out, who helps with that, who reads ahead, who cleans up.

use std::thread::Thread;

use store::{ColdStore, StoreError};

use super::error::RunError;
use super::worker::Worker;
use crate::broker::facts::SharedFacts;
use crate::cold::clean;
use crate::cold::disk::DiskThread;
use crate::cold::reads;
use crate::config::FlushDiskType;
use crate::plan::ShardPlan;

pub struct StoreThreads {
    /// Those that may end while the log is still written.
    helpers: Vec<Worker<()>>,
    writers: Vec<Worker<()>>,
    disk: Worker<Result<(), StoreError>>,
}

impl StoreThreads {
    pub fn start(plan: &ShardPlan, cold: ColdStore, facts: SharedFacts) -> Result<StoreThreads, RunError> {
        let helpers = start_helpers(plan, &cold)?;
        let writers = start_writers(plan, &cold)?;
        let root = plan.config.store_path_root_dir.clone();
        let sync = plan.config.flush_disk_type == FlushDiskType::SyncFlush;
        let disk = DiskThread { cold, facts, root, sync };
        let disk = Worker::start(plan.thread_name("ab-disk"), move |stop| disk.run(stop))?;
        Ok(StoreThreads { helpers, writers, disk })
    }

    /// The thread that a send waits for under SYNC_FLUSH.
    pub fn disk(&self) -> Thread {
        self.disk.thread.thread().clone()
    }

    /// A panic in one of these has been printed; the files that matter are the disk thread's.
    pub fn end_helpers(&mut self) {
        for helper in self.helpers.drain(..) {
            let _ = helper.end();
        }
    }

    /// The log is complete on disk. The shard has dropped its half of the store.
    pub fn close(mut self) -> Result<(), RunError> {
        self.end_helpers();
        let closed = self.disk.end().map_err(|_| RunError::ShardPanicked)?;
        for writer in self.writers {
            let _ = writer.end(); // The disk thread's end is theirs.
        }
        Ok(closed?)
    }
}

/// Who deletes, who prepares files, and who reads ahead.
fn start_helpers(plan: &ShardPlan, cold: &ColdStore) -> Result<Vec<Worker<()>>, RunError> {
    let trash = cold.trash();
    let mut helpers =
        vec![Worker::start(plan.thread_name("ab-clean"), move |stop| clean::run(&trash, stop))?];
    if let Some(ground) = cold.ground() {
        let name = plan.thread_name("ab-ground");
        helpers.push(Worker::start(name, move |stop| clean::run_ground(&ground, stop))?);
    }
    for _ in 0..READ_AHEAD_THREADS {
        let Some(blocks) = cold.read_ahead() else { break };
        let name = plan.thread_name("ab-ahead");
        helpers.push(Worker::start(name, move |stop| reads::run_ahead(&blocks, stop))?);
    }
    Ok(helpers)
}

/// Who writes what the disk thread has made ready.
fn start_writers(plan: &ShardPlan, cold: &ColdStore) -> Result<Vec<Worker<()>>, RunError> {
    let mut writers = Vec::new();
    for _ in 0..WRITE_THREADS {
        let Some(runs) = cold.writers() else { break };
        writers.push(Worker::start(plan.thread_name("ab-write"), move |_| runs.serve())?);
    }
    if let Some(pieces) = cold.index_writers() {
        writers.push(Worker::start(plan.thread_name("ab-index"), move |_| pieces.serve())?);
    }
    Ok(writers)
}

/// As many as the store has runs under way.
const WRITE_THREADS: usize = 2;
/// What keeps a disk busy.
const READ_AHEAD_THREADS: usize = 2;
