//! Which hot log belongs to which directory: `<storePathRootDir>/hotlog`, a file of ours that RocketMQ passes over.
//!
//! ```text
//! {"store":"<32 hex digits>","root":"/data/store","dir":"/dev/shm/afterburner-0/<store>","segments":8,"segmentBytes":33554432}
//! ```
//!
//! A directory that was moved keeps its hot log. A copy may read the hot log of a stopped original, so that it is complete,
//! but never takes it over.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::arena::{self, HotMap, StoreId};
use crate::config::StoreConfig;
use crate::config_files;
use crate::error::{MediumError, StoreError};
use crate::medium::{HotKind, HotPlace, Medium};
use crate::progress::Progress;

/// What a directory may use of hot logs.
pub(crate) struct Claim {
    /// Its own, from now on.
    pub identity: Identity,
    /// The hot log to replay.
    pub left: Option<Identity>,
    /// Keeps the original from starting while its hot log is read.
    _original: Option<Box<dyn Send>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Identity {
    store: String,
    /// The directory that this was written in.
    root: PathBuf,
    /// Where the hot segments of the last run are.
    pub dir: PathBuf,
    segments: usize,
    segment_bytes: usize,
    /// Hot segments in ordinary files may outlive a power cut, but not as they were.
    #[serde(default)]
    boot: String,
}

impl Identity {
    /// What the last run wrote; `None` on a fresh directory, or one of Java's.
    pub fn load(medium: &dyn Medium, root: &Path) -> Result<Option<Self>, StoreError> {
        let found = config_files::load(medium, &root.join(NAME), |bytes| {
            serde_json::from_slice::<Self>(bytes).ok().filter(|identity| identity.parsed_id().is_some())
        })?;
        Ok(found.value())
    }

    /// For a directory without one.
    pub fn fresh(medium: &dyn Medium, root: &Path) -> Self {
        let store = format!("{:032x}", medium.fresh_id());
        Self {
            store,
            root: root.to_path_buf(),
            dir: PathBuf::new(),
            segments: 0,
            segment_bytes: 0,
            boot: medium.boot_id(),
        }
    }

    /// Whose hot log a directory may use.
    pub fn claim(medium: &dyn Medium, root: &Path) -> Result<Claim, StoreError> {
        let Some(mut found) = Self::load(medium, root)? else {
            return Ok(Claim { identity: Self::fresh(medium, root), left: None, _original: None });
        };
        if found.root != root {
            let original = Self::load(medium, &found.root)?;
            if original.is_some_and(|original| original.store == found.store) {
                // We are a copy. While the original runs, its hot log is none of our business.
                let lock = medium.lock(&found.root.join("lock"))?;
                let left = lock.is_some().then_some(found);
                return Ok(Claim { identity: Self::fresh(medium, root), left, _original: lock });
            }
            found.root = root.to_path_buf();
        }
        Ok(Claim { identity: found.clone(), left: Some(found), _original: None })
    }

    pub fn store_id(&self) -> StoreId {
        self.parsed_id().expect("checked when it was loaded or made")
    }

    /// Whether `dir` is one that a store like this made for itself, whatever the file that names it says.
    pub fn is_own_dir(&self) -> bool {
        self.dir.file_name().is_some_and(|name| name == self.store.as_str())
    }

    fn parsed_id(&self) -> Option<StoreId> {
        StoreId::from_str_radix(&self.store, 16).ok()
    }

    /// The segments that the last run left, as far as they are still there.
    pub fn map_left(&self, medium: &dyn Medium) -> Result<Vec<HotMap>, StoreError> {
        if self.boot != medium.boot_id() || self.segment_bytes <= HOT_BYTES_MIN {
            return Ok(Vec::new());
        }
        let map = |index| medium.map_hot(&self.dir.join(segment_name(index)), self.segment_bytes, false);
        let found = (0..self.segments.min(SEGMENTS_MAX)).filter_map(|index| map(index).transpose());
        // One that is there and cannot be read may hold messages that were acknowledged: nobody goes on without them unasked.
        found.collect::<Result<_, _>>().map_err(|source| StoreError::HotLog { source })
    }

    /// Takes hot memory in the best place that gives it; the sentences say why better ones did not. What an earlier run
    /// left must be in the files by now.
    pub fn take_hot(
        &self,
        medium: &Arc<dyn Medium>,
        config: &StoreConfig,
        progress: &mut Progress,
    ) -> Result<(Self, HotPlace, Vec<HotMap>, Vec<String>), StoreError> {
        let segment_bytes = config.hot_segment_bytes();
        let places = match &config.hot_dir {
            Some(dir) => vec![HotPlace { dir: dir.clone(), kind: medium.hot_kind(dir) }],
            None => {
                let mut places = medium.hot_places(segment_bytes * config.hot_segments, &self.dir);
                places.push(HotPlace { dir: config.root.join("hot"), kind: HotKind::Disk });
                places
            }
        };
        let mut remarks = Vec::new();
        let mut failure = None;
        for mut place in places {
            place.dir = place.dir.join(&self.store);
            let segments = config.hot_segments;
            let boot = medium.boot_id();
            let identity = Self { dir: place.dir.clone(), segments, segment_bytes, boot, ..self.clone() };
            match identity.map_all(&**medium, progress) {
                Ok(maps) => {
                    for entry in medium.list(&place.dir)? {
                        // Left of a run with more segments.
                        if entry.name.parse().is_ok_and(|index: usize| index >= segments) {
                            medium.remove(&place.dir.join(&entry.name))?;
                        }
                    }
                    if place.kind == HotKind::Disk && config.hot_dir.is_none() {
                        let wanted = (segments * segment_bytes) >> 20;
                        remarks.push(format!(
                            "the hot log lies in the store's folder, where the disk may hold sends up: give {wanted} MiB of huge \
                             pages or of /dev/shm (mount -o remount,size=.. /dev/shm; for a container --shm-size), or set a \
                             smaller hotLogBytes"
                        ));
                    }
                    return Ok((identity, place, maps, remarks));
                }
                Err(error) => {
                    remarks.push(format!("no hot log on {}: {error}", place.kind));
                    if let Err(error) = medium.remove_dir(&place.dir) {
                        remarks.push(error.to_string()); // Somebody else's, most likely: the next place may do.
                    }
                    failure = Some(error);
                }
            }
        }
        Err(failure
            .map_or(StoreError::Config { what: "there is no place for the hot log" }, StoreError::Medium))
    }

    pub fn save(&self, medium: &dyn Medium, root: &Path) -> Result<(), StoreError> {
        let text = serde_json::to_vec(self).expect("an identity is plain data");
        Ok(config_files::replace(medium, &root.join(NAME), &text)?)
    }

    /// Every page is touched: of gibibytes that takes seconds.
    fn map_all(&self, medium: &dyn Medium, progress: &mut Progress) -> Result<Vec<HotMap>, MediumError> {
        let mib = |segments: usize| ((segments * self.segment_bytes) >> 20) as u64;
        let map = |index: usize| {
            progress.at("memory for the hot log", mib(index), mib(self.segments), "MiB");
            let map = medium.map_hot(&self.dir.join(segment_name(index)), self.segment_bytes, true)?;
            Ok(map.expect("created when there was none"))
        };
        (0..self.segments).map(map).collect()
    }
}

fn segment_name(index: usize) -> String {
    format!("{index:03}")
}

const NAME: &str = "hotlog";
const SEGMENTS_MAX: usize = 4096;
/// A segment of no more than this holds nothing.
const HOT_BYTES_MIN: usize = arena::HEADER_BYTES + arena::PAGE_BYTES;
