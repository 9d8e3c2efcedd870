//! Huge pages for the hot log: what is free is used, what is missing is reserved, and both are given back.
//!
//! The broker finds the mount by itself, and removes its hot log from there once everything is in its files. So a hot
//! log that is still there after the broker's end holds messages that are nowhere else: then everything stays as it
//! is, for the next start to replay. What was added is written down beside the mount, so that the next `up` can still
//! undo what this one could not.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};

use crate::host::{self, HugePages, Lack};

/// Where the hot log may lie, and what was changed to get there.
#[derive(Debug)]
pub struct HugeLease {
    pub mount: PathBuf,
    /// How many pages were reserved for us; `None` when nothing was changed.
    pages_added: Option<u64>,
    note: PathBuf,
    store: PathBuf,
}

/// How many pages a hot log of so many bytes wants.
pub fn pages(bytes: u64) -> u64 {
    bytes.div_ceil(HugePages::BYTES) + SPARE_PAGES
}

/// Makes room for `bytes` on hugetlbfs, for the store in that folder.
pub fn lease(bytes: u64, store: &Path) -> Result<HugeLease, Lack> {
    let pages = HugePages::look().ok_or_else(|| lack("this kernel has no huge pages of 2 MiB"))?;
    let needed = self::pages(bytes);
    let note = Path::new(RUN).join(format!("up.pages{}", store.display().to_string().replace('/', "-")));
    let pages_added = host::read_number(&note);
    let found = host::hugetlbfs();
    let mount = found.clone().unwrap_or_else(|| Path::new(RUN).join("hugepages"));
    let mut lease = HugeLease { mount, pages_added, note, store: store.to_owned() };
    if pages.free < needed {
        reserve(pages.total + needed - pages.free)?;
        let now = HugePages::look().unwrap_or(pages);
        lease.note(now.total.saturating_sub(pages.total))?;
        if now.free < needed {
            let free = now.free;
            return Err(lack(format!(
                "only {free} of {needed} huge pages could be had: memory is too scattered"
            )));
        }
    }
    if found.is_none() {
        lease.note(0)?;
        mount_hugetlbfs(&lease.mount)
            .map_err(|error| lack(format!("cannot mount hugetlbfs at {}: {error}", lease.mount.display())))?;
    }
    Ok(lease)
}

impl HugeLease {
    /// A hot log of this store, or of one of its shards, that was not written out.
    fn left(&self) -> Option<PathBuf> {
        let entries = fs::read_dir(&self.store).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_shard = |folder: &PathBuf| {
            folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("shard-"))
        };
        let stores = std::iter::once(self.store.clone()).chain(entries.filter(is_shard));
        let mut hot_logs = stores.filter_map(|store| hot_log_folder(&store));
        hot_logs.find(|folder| folder.starts_with(&self.mount) && folder.exists())
    }

    /// Whether no store at all has a hot log on the mount.
    fn is_empty(&self) -> bool {
        fs::read_dir(self.mount.join(HOT_LOGS)).map_or(true, |mut entries| entries.next().is_none())
    }

    fn note(&mut self, pages: u64) -> Result<(), Lack> {
        let added = self.pages_added.unwrap_or(0) + pages;
        self.pages_added = Some(added);
        fs::create_dir_all(RUN)
            .and_then(|()| fs::write(&self.note, added.to_string()))
            .map_err(|error| lack(format!("cannot write {}: {error}", self.note.display())))
    }
}

impl Drop for HugeLease {
    fn drop(&mut self) {
        let Some(added) = self.pages_added else { return };
        if let Some(hot_log) = self.left() {
            super::warn(format_args!("the hot log {} was not written out", hot_log.display()));
            super::warn(
                "it stays, with its huge pages, until an `afterburner up` with the same --store replays it",
            );
            return;
        }
        if self.mount.starts_with(RUN) && host::hugetlbfs().as_ref() == Some(&self.mount) && self.is_empty() {
            match rustix::mount::unmount(&self.mount, UnmountFlags::empty()) {
                Ok(()) => drop(fs::remove_dir(&self.mount)),
                Err(error) => super::warn(format_args!("cannot unmount {}: {error}", self.mount.display())),
            }
        }
        let total = HugePages::look().map_or(0, |pages| pages.total);
        match reserve(total.saturating_sub(added)) {
            Ok(()) => drop(fs::remove_file(&self.note)),
            Err(lack) => super::warn(format_args!("cannot give huge pages back: {}", lack.why)),
        }
    }
}

/// Where a store says that its hot log lies.
pub fn hot_log_folder(store: &Path) -> Option<PathBuf> {
    let text = fs::read(store.join("hotlog")).ok()?;
    let identity: serde_json::Value = serde_json::from_slice(&text).ok()?;
    identity.get("dir")?.as_str().filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

fn reserve(pages: u64) -> Result<(), Lack> {
    let knob = HugePages::knob();
    fs::write(&knob, pages.to_string()).map_err(|error| lack(format!("cannot reserve huge pages: {error}")))
}

fn mount_hugetlbfs(mount: &Path) -> std::io::Result<()> {
    fs::create_dir_all(mount)?;
    let options = c"pagesize=2M,mode=0700";
    Ok(rustix::mount::mount(
        "afterburner",
        mount,
        "hugetlbfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        options,
    )?)
}

fn lack(why: impl Into<String>) -> Lack {
    Lack {
        why: why.into(),
        fix: "run as root, or once as root: scripts/hugepages --pages 320 --user $USER".to_owned(),
    }
}

/// The store's folder on every mount; in it one folder for each store.
const HOT_LOGS: &str = "afterburner";
/// Where `up` keeps what it must undo.
const RUN: &str = "/run/afterburner";
/// For the broker's own buffers (socket slab, device memory) beside the hot log.
const SPARE_PAGES: u64 = 32;
