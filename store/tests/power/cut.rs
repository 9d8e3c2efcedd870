//! A file system of its own on a loop device, whose power can be cut: FENCE for the ioctl that does it, and for a mount
//! namespace.
//!
//! ```text
//! disk.img (sparse) --mkfs.ext4--> loop device --mount--> mnt/ --EXT4_IOC_SHUTDOWN--> nothing is written any more --umount, mount--> mnt/
//! ```
//!
//! After the shutdown the file system writes nothing: no page of a file, and with `Journal::Lost` no transaction that was not committed.
//! What reached the device before stays, as if it had no cache of its own.
#![allow(unsafe_code)] // A fence, listed in docs/UNSAFE.md.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::ioctl::{Setter, ioctl, opcode};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// What becomes of the journal's running transaction.
#[derive(Clone, Copy, Debug)]
pub enum Journal {
    Flushed = 1,
    Lost = 2,
}

pub struct Disk {
    dir: PathBuf,
    is_mounted: bool,
}

impl Disk {
    /// Why there is none on this host, if so.
    pub fn make(dir: &Path, mib: u64) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("mounting a file system takes root".into());
        }
        mounts_of_our_own().map_err(|error| format!("a mount namespace: {error}"))?;
        let mut disk = Self { dir: dir.to_path_buf(), is_mounted: false };
        fs::create_dir_all(disk.mount_point()).map_err(|error| error.to_string())?;
        let image = File::create(disk.image()).map_err(|error| error.to_string())?;
        image.set_len(mib << 20).map_err(|error| error.to_string())?;
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-E", "lazy_itable_init=0"]).arg(disk.image()))?;
        disk.mount()?;
        disk.cut(Journal::Flushed)?;
        disk.unmount()?;
        disk.mount()?;
        Ok(disk)
    }

    pub fn mount_point(&self) -> PathBuf {
        self.dir.join("mnt")
    }

    fn image(&self) -> PathBuf {
        self.dir.join("disk.img")
    }

    pub fn mount(&mut self) -> Result<(), String> {
        run(Command::new("mount").args(["-o", "loop"]).arg(self.image()).arg(self.mount_point()))?;
        self.is_mounted = true;
        Ok(())
    }

    pub fn unmount(&mut self) -> Result<(), String> {
        let mut done = Ok(());
        for _ in 0..UNMOUNT_TRIES {
            done = run(Command::new("umount").arg(self.mount_point()));
            if done.is_ok() {
                self.is_mounted = false;
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        done
    }

    pub fn cut(&self, journal: Journal) -> Result<(), String> {
        let root = File::open(self.mount_point()).map_err(|error| error.to_string())?;
        // SAFETY: the number is that of FS_IOC_SHUTDOWN, which reads one u32 and keeps nothing.
        // WHY: there is no safe call for it, and no other way to keep ext4 from writing.
        let done = unsafe { ioctl(root, Setter::<FS_IOC_SHUTDOWN, u32>::new(journal as u32)) };
        done.map_err(|error| format!("FS_IOC_SHUTDOWN: {error}"))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = run(Command::new("umount").arg("--lazy").arg(self.mount_point()));
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Nobody else may copy our mounts, as whoever makes a namespace does: a file system that is mounted elsewhere too is not unmounted, and
/// stays shut down.
fn mounts_of_our_own() -> rustix::io::Result<()> {
    // SAFETY: what this thread shares with others of its file descriptors and memory stays shared; nobody relies on its directory.
    // WHY: there is no safe call for it.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

const FS_IOC_SHUTDOWN: rustix::ioctl::Opcode = opcode::read::<u32>(b'X', 125);
const UNMOUNT_TRIES: u32 = 250;
