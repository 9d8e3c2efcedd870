//! The tables that outlive a run: read from `config/` at the start, kept there by the keeper.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use store::{ColdReader, Medium, MediumError, Recovery, config_files};
use tokio::sync::watch;

use super::error::RunError;
use crate::broker::persist_ops::PersistOp;
use crate::cold::files::FilesThread;
use crate::cold::keeper::{ConfigFiles, Intervals, Keeper};
use crate::cold::mirror::{ConfigFile, Mirror};
use crate::cold::namesrv::Tables;
use crate::cold::tables::{self, StartTables};
use crate::config::Config;
use crate::lane::LaneOut;

/// What the broker starts with, and the same as the files hold it. Topics whose messages outlived their entry are made again.
pub fn load(
    config: &Config,
    medium: &dyn Medium,
    config_dir: &Path,
    recovery: &Recovery,
    reader: &mut ColdReader,
    now_ms: i64,
) -> Result<(StartTables, Mirror), RunError> {
    let mut mirror = tables::load(medium, config_dir)?;
    tables::check(&mirror)?;
    medium.create_dir(config_dir)?;
    let mut loaded = tables::start(config, &mirror, now_ms);
    let tables_ms = mirror.topics.data_version.timestamp;
    let back = tables::bring_back(&mut loaded, tables_ms, &recovery.queues, reader, now_ms)?;
    if back > 0 {
        log::warn!("{back} topics had messages and no entry in topics.json, and were made again");
    }
    // The first registration and the first files are complete: what every broker has is in them.
    while let Some(op) = loaded.ops.pop() {
        mirror.apply(op);
    }
    Ok((loaded, mirror))
}

/// Who keeps the files up with the broker's changes, and tells name servers of them.
pub fn keeper(
    config: &Config,
    mirror: Mirror,
    ops: LaneOut<PersistOp>,
    tables: watch::Sender<Option<Tables>>,
    medium: Arc<dyn Medium>,
    config_dir: &Path,
    now_ms: i64,
) -> Result<Keeper<FilesThread>, RunError> {
    let millis = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    let intervals = Intervals {
        consumer_offsets_ms: millis(config.flush_consumer_offset_interval),
        delay_offsets_ms: millis(config.flush_delay_offset_interval),
    };
    let files =
        FilesThread::start(Directory { medium, dir: config_dir.to_path_buf() }).map_err(RunError::Thread)?;
    Ok(Keeper::new(ops, mirror, files, tables, intervals, config.broker_permission.0, now_ms))
}

/// The directory `config/` on a medium.
struct Directory {
    medium: Arc<dyn Medium>,
    dir: PathBuf,
}

impl ConfigFiles for Directory {
    fn replace(&mut self, file: ConfigFile, text: &str) -> Result<(), MediumError> {
        config_files::replace(&*self.medium, &self.dir.join(file.name()), text.as_bytes())
    }
}
