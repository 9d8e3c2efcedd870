//! Huge pages for the hot log: what is free is used, what is missing is reserved, and both are given back.
//!
//! Giving back throws the pages' content away, so it is done only after a clean stop, when the broker has written
//! everything to its files; after any other end the hot log stays where it is for the next start.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};

use crate::host::{self, HugePages, Lack};

/// Where the hot log may lie, and what was changed to get there.
#[derive(Debug)]
pub struct HugeLease {
    pub mount: PathBuf,
    /// The number of reserved pages before we came.
    pages_before: Option<u64>,
    mounted: bool,
}

/// Makes room for `bytes` on hugetlbfs.
pub fn lease(bytes: u64) -> Result<HugeLease, Lack> {
    let pages = HugePages::look().ok_or_else(|| lack("this kernel has no huge pages of 2 MiB"))?;
    let needed = bytes.div_ceil(HugePages::BYTES) + SPARE_PAGES;
    let mut lease = HugeLease { mount: PathBuf::new(), pages_before: None, mounted: false };
    if pages.free < needed {
        lease.pages_before = Some(pages.total);
        reserve(pages.total + needed - pages.free)?;
        let got = HugePages::look().map_or(0, |now| now.free);
        if got < needed {
            return Err(lack(format!(
                "only {got} of {needed} huge pages could be reserved: memory is too scattered"
            )));
        }
    }
    lease.mount = match host::hugetlbfs() {
        Some(mount) => mount,
        None => {
            let mount = PathBuf::from(MOUNT);
            mount_hugetlbfs(&mount)
                .map_err(|error| lack(format!("cannot mount hugetlbfs at {MOUNT}: {error}")))?;
            lease.mounted = true;
            mount
        }
    };
    Ok(lease)
}

impl HugeLease {
    /// Leaves everything as it is, because the hot log holds messages that are nowhere else.
    pub fn keep(mut self) {
        self.pages_before = None;
        self.mounted = false;
    }
}

impl Drop for HugeLease {
    fn drop(&mut self) {
        if self.mounted {
            match rustix::mount::unmount(&self.mount, UnmountFlags::empty()) {
                Ok(()) => drop(fs::remove_dir(&self.mount)),
                Err(error) => eprintln!("afterburner: cannot unmount {}: {error}", self.mount.display()),
            }
        }
        if let Some(Err(lack)) = self.pages_before.map(reserve) {
            eprintln!("afterburner: cannot give huge pages back: {}", lack.why);
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

const MOUNT: &str = "/run/afterburner/hugepages";
/// For the broker's own buffers (socket slab, device memory) beside the hot log.
const SPARE_PAGES: u64 = 32;
