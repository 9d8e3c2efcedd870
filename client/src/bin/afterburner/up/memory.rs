//! Huge pages for the hot log: what is free is used, what is missing is reserved, and both are given back.
//!
//! Giving back throws the pages' content away, so it is done only after a clean stop, when the broker has written
//! everything to its files; after any other end the hot log stays where it is for the next start. What was added is
//! written down beside the mount, so that the next `up` can still undo what this one could not.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};

use crate::host::{self, HugePages, Lack};

/// Where the hot log may lie, and what was changed to get there.
#[derive(Debug)]
pub struct HugeLease {
    pub mount: PathBuf,
    /// The folder of this store's hot log.
    pub folder: PathBuf,
    /// How many pages were reserved for us; `None` when nothing was changed.
    pages_added: Option<u64>,
    note: PathBuf,
}

/// Makes room for `bytes` on hugetlbfs, for the store of that name.
pub fn lease(bytes: u64, store: &str) -> Result<HugeLease, Lack> {
    let pages = HugePages::look().ok_or_else(|| lack("this kernel has no huge pages of 2 MiB"))?;
    let needed = bytes.div_ceil(HugePages::BYTES) + SPARE_PAGES;
    let note = Path::new(RUN).join(format!("up.pages-{store}"));
    let pages_added = host::read_number(&note);
    let mut lease = HugeLease { mount: PathBuf::new(), folder: PathBuf::new(), pages_added, note };
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
    lease.mount = match host::hugetlbfs() {
        Some(mount) => mount,
        None => {
            let mount = Path::new(RUN).join("hugepages");
            lease.note(0)?;
            mount_hugetlbfs(&mount)
                .map_err(|error| lack(format!("cannot mount hugetlbfs at {}: {error}", mount.display())))?;
            mount
        }
    };
    lease.folder = lease.mount.join(store);
    Ok(lease)
}

impl HugeLease {
    /// Leaves everything as it is, because the hot log holds messages that are nowhere else.
    pub fn keep(mut self) {
        self.pages_added = None;
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
        let _ = fs::remove_dir_all(&self.folder); // Written out; where it fails, unmounting says so.
        if self.mount.starts_with(RUN) {
            match rustix::mount::unmount(&self.mount, UnmountFlags::empty()) {
                Ok(()) => drop(fs::remove_dir(&self.mount)),
                Err(rustix::io::Errno::BUSY) => {} // Another store's hot log lies there.
                Err(error) => eprintln!("afterburner: cannot unmount {}: {error}", self.mount.display()),
            }
        }
        let total = HugePages::look().map_or(0, |pages| pages.total);
        match reserve(total.saturating_sub(added)) {
            Ok(()) => drop(fs::remove_file(&self.note)),
            Err(lack) => eprintln!("afterburner: cannot give huge pages back: {}", lack.why),
        }
    }
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

/// Where `up` keeps what it must undo.
const RUN: &str = "/run/afterburner";
/// For the broker's own buffers (socket slab, device memory) beside the hot log.
const SPARE_PAGES: u64 = 32;
