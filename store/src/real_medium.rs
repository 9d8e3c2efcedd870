//! The real half of the medium: files of this machine.
//!
//! Hot segments go to a hugetlbfs mount with enough free pages, else to tmpfs. Both are files, so both survive kill -9.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{FallocateFlags, FlockOperation, OFlags, SeekFrom};
use rustix::io::Errno;

use crate::arena::HotMap;
use crate::error::MediumError;
use crate::medium::{Entry, HotKind, HotPlace, Medium, MediumFile};
use crate::retention::Space;

/// Files of this machine.
pub struct RealMedium {
    start: Instant,
}

impl RealMedium {
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for RealMedium {
    fn default() -> Self {
        Self::new()
    }
}

impl Medium for RealMedium {
    fn hot_places(&self, bytes: usize, held: &Path) -> Vec<HotPlace> {
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        // What an earlier run left holds its pages still, and is taken over.
        let held_bytes = |mount: &Path| if held.starts_with(mount) { bytes_in(held) } else { 0 };
        let huge =
            hugetlbfs_mounts(&mounts).filter(|mount| free_huge_page_bytes() + held_bytes(mount) >= bytes);
        let huge = huge.map(|dir| HotPlace { dir: dir.join(HOT_DIR), kind: HotKind::HugePages });
        let tmpfs = [PathBuf::from("/dev/shm"), std::env::temp_dir()];
        let tmpfs = tmpfs.into_iter().filter(|dir| is_tmpfs(&mounts, dir));
        // Everybody may write to these, so each user has a folder of his own.
        let of_user = format!("{HOT_DIR}-{}", rustix::process::geteuid().as_raw());
        let tmpfs = tmpfs.map(|dir| HotPlace { dir: dir.join(&of_user), kind: HotKind::Tmpfs });
        huge.chain(tmpfs).collect()
    }

    fn hot_kind(&self, dir: &Path) -> HotKind {
        let existing = dir.ancestors().find(|dir| dir.exists());
        match existing.and_then(|dir| rustix::fs::statfs(dir).ok()).map(|about| about.f_type as u32) {
            Some(HUGETLBFS_MAGIC) => HotKind::HugePages,
            Some(TMPFS_MAGIC) => HotKind::Tmpfs,
            _ => HotKind::Disk,
        }
    }

    fn map_hot(&self, path: &Path, bytes: usize, create: bool) -> Result<Option<HotMap>, MediumError> {
        if create {
            let dir = path.parent().unwrap_or(path);
            make_own_dir(dir).map_err(MediumError::at("create", dir))?;
        }
        let mut options = OpenOptions::new();
        // Messages are nobody else's to read, and nobody else chooses which file this is.
        options.mode(0o600).custom_flags(NO_FOLLOW);
        let file = match options.read(true).write(true).create(create).truncate(false).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !create => return Ok(None),
            Err(error) => return Err(MediumError::at("open", path)(error)),
        };
        let len = file.metadata().map_err(MediumError::at("look at", path))?.len();
        if !create && len != bytes as u64 {
            return Ok(None);
        }
        if create {
            file.set_len(bytes as u64).map_err(MediumError::at("size", path))?;
            // Reserves every page: a tmpfs that is full would otherwise end us by SIGBUS at the first touch.
            rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes as u64)
                .map_err(|error| MediumError::at("reserve", path)(error.into()))?;
        }
        let map = HotMap::of_file(&file, bytes).map_err(MediumError::at("map", path))?;
        if create {
            map.populate().map_err(MediumError::at("touch", path))?;
        }
        Ok(Some(map))
    }

    fn open(&self, path: &Path) -> Result<Option<Box<dyn MediumFile>>, MediumError> {
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => Ok(Some(Box::new(RealFile { file, path: path.to_path_buf() }))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(MediumError::at("open", path)(error)),
        }
    }

    fn open_direct(&self, path: &Path) -> Result<Option<Box<dyn MediumFile>>, MediumError> {
        let mut options = OpenOptions::new();
        match options.read(true).write(true).custom_flags(OFlags::DIRECT.bits() as i32).open(path) {
            Ok(file) => Ok(Some(Box::new(RealFile { file, path: path.to_path_buf() }))),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => {
                Ok(None)
            }
            Err(error) => Err(MediumError::at("open", path)(error)),
        }
    }

    fn create(&self, path: &Path, bytes: u64) -> Result<Box<dyn MediumFile>, MediumError> {
        let dir = path.parent().unwrap_or(path);
        if !dir.is_dir() {
            fs::create_dir_all(dir).map_err(MediumError::at("create", dir))?;
        }
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .map_err(MediumError::at("create", path))?;
        file.set_len(bytes).map_err(MediumError::at("size", path))?;
        Ok(Box::new(RealFile { file, path: path.to_path_buf() }))
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, MediumError> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(MediumError::at("read", path)(error)),
        }
    }

    fn list(&self, dir: &Path) -> Result<Vec<Entry>, MediumError> {
        let at = |error| MediumError::at("list", dir)(error);
        let listing = match fs::read_dir(dir) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(at(error)),
        };
        let mut entries = Vec::new();
        for entry in listing {
            let entry = entry.map_err(at)?;
            let about = entry.metadata().map_err(at)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            entries.push(Entry { name, is_dir: about.is_dir(), bytes: about.len() });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn canonical(&self, dir: &Path) -> Result<PathBuf, MediumError> {
        fs::canonicalize(dir).map_err(MediumError::at("look at", dir))
    }

    fn create_dir(&self, dir: &Path) -> Result<(), MediumError> {
        fs::create_dir_all(dir).map_err(MediumError::at("create", dir))?;
        match dir.parent() {
            Some(parent) => self.sync_dir(parent),
            None => Ok(()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), MediumError> {
        fs::rename(from, to).map_err(MediumError::at("rename", from))
    }

    fn remove(&self, path: &Path) -> Result<(), MediumError> {
        absent_is_fine(fs::remove_file(path)).map_err(MediumError::at("remove", path))
    }

    fn remove_dir(&self, dir: &Path) -> Result<(), MediumError> {
        absent_is_fine(fs::remove_dir_all(dir)).map_err(MediumError::at("remove", dir))
    }

    fn shorten(&self, path: &Path, bytes: u64) -> Result<(), MediumError> {
        let shortened = OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(bytes));
        absent_is_fine(shortened).map_err(MediumError::at("shorten", path))
    }

    fn space(&self, dir: &Path) -> Result<Space, MediumError> {
        let disk = rustix::fs::statvfs(dir).map_err(|error| MediumError::at("look at", dir)(error.into()))?;
        let used = disk.f_blocks.saturating_sub(disk.f_bfree) * disk.f_frsize;
        Ok(Space { used, available: disk.f_bavail * disk.f_frsize })
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), MediumError> {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(MediumError::at("sync", dir))
    }

    fn lock(&self, path: &Path) -> Result<Option<Box<dyn Send>>, MediumError> {
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(MediumError::at("open", path))?;
        // Two kinds of lock that do not see each other: one for Java, one for a second store in this process.
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(MediumError::at("lock", path)(error)),
        }
        match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => return Ok(None),
            Err(error) => return Err(MediumError::at("lock", path)(error.into())),
        }
        file.write_all_at(b"lock", 0).map_err(MediumError::at("write", path))?;
        Ok(Some(Box::new(file)))
    }

    fn fresh_id(&self) -> u128 {
        let mut id = [0; 16];
        match File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut id)) {
            Ok(()) => u128::from_ne_bytes(id),
            // No /dev in this sandbox: the standard library's own random keys.
            Err(_) => {
                let half = || u128::from(RandomState::new().build_hasher().finish());
                (half() << 64) | half()
            }
        }
    }

    fn boot_id(&self) -> String {
        fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_string()
    }

    fn pid(&self) -> u32 {
        std::process::id()
    }

    fn elapsed_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn give_way(&self) {
        std::thread::yield_now();
    }
}

struct RealFile {
    file: File,
    path: PathBuf,
}

impl MediumFile for RealFile {
    fn read_at(&self, at: u64, out: &mut [u8]) -> Result<usize, MediumError> {
        let mut filled = 0;
        while filled < out.len() {
            match self.file.read_at(&mut out[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(MediumError::at("read", &self.path)(error)),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> Result<(), MediumError> {
        self.file.write_all_at(bytes, at).map_err(MediumError::at("write", &self.path))
    }

    fn sync(&self) -> Result<(), MediumError> {
        self.file.sync_data().map_err(MediumError::at("sync", &self.path))
    }

    fn reserve(&self, at: u64, bytes: u64) -> Result<(), MediumError> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), at, bytes) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(MediumError::at("reserve", &self.path)(error.into())),
        }
    }

    fn hole_after(&self, from: u64) -> Result<u64, MediumError> {
        match rustix::fs::seek(&self.file, SeekFrom::Hole(from)) {
            Ok(hole) => Ok(hole),
            Err(Errno::INVAL | Errno::NXIO) => Ok(from),
            Err(error) => Err(MediumError::at("look at", &self.path)(error.into())),
        }
    }

    fn clear_from(&self, at: u64) -> Result<bool, MediumError> {
        let failed = |error: rustix::io::Errno| MediumError::at("clear", &self.path)(error.into());
        let (len, mut from) = (self.len()?, at);
        let mut block = vec![0; CLEAR_BYTES];
        let first = loop {
            // Holes are zero without a look.
            let data = match rustix::fs::seek(&self.file, SeekFrom::Data(from)) {
                Ok(data) => data,
                Err(rustix::io::Errno::NXIO) => return Ok(false),
                Err(error) => return Err(failed(error)),
            };
            let there = self.read_at(data, &mut block)?;
            if let Some(place) = block[..there].iter().position(|byte| *byte != 0) {
                break data + place as u64;
            }
            from = data + there as u64;
        };
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, punch, first, len - first) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::OPNOTSUPP) => block.fill(0),
            Err(error) => return Err(failed(error)),
        }
        for at in (first..len).step_by(CLEAR_BYTES) {
            self.write_at(at, &block[..(len - at).min(CLEAR_BYTES as u64) as usize])?;
        }
        Ok(true)
    }

    fn len(&self) -> Result<u64, MediumError> {
        Ok(self.file.metadata().map_err(MediumError::at("look at", &self.path))?.len())
    }
}

/// A directory in a place that everybody may write to, but this one and the one it is in only we (or root).
fn make_own_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let own = [0, rustix::process::geteuid().as_raw()];
    for dir in dir.ancestors().take(2) {
        if !own.contains(&fs::symlink_metadata(dir)?.uid()) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the directory belongs to someone else",
            ));
        }
    }
    Ok(())
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Mount points of hugetlbfs with pages of the default size that we may write to.
fn hugetlbfs_mounts(mounts: &str) -> impl Iterator<Item = PathBuf> {
    let default_page = format!("pagesize={}M", huge_page_bytes() >> 20);
    let fits = move |options: &str| !options.contains("pagesize=") || options.contains(&default_page);
    let lines = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some((words.nth(1)?, words.next()?, words.next()?))
    });
    lines
        .filter(move |(_, kind, options)| *kind == "hugetlbfs" && fits(options))
        .map(|(dir, _, _)| PathBuf::from(dir))
        .filter(|dir| rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok())
        .collect::<Vec<_>>()
        .into_iter()
}

/// Bytes of the files of a directory.
fn bytes_in(dir: &Path) -> usize {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|about| about.len() as usize).sum()
}

fn is_tmpfs(mounts: &str, dir: &Path) -> bool {
    mounts.lines().any(|line| {
        let mut words = line.split(' ');
        words.nth(1).map(Path::new) == Some(dir) && words.next() == Some("tmpfs")
    })
}

/// Free huge pages of the default size, in bytes.
fn free_huge_page_bytes() -> usize {
    meminfo("HugePages_Free:").saturating_sub(meminfo("HugePages_Rsvd:")) * huge_page_bytes()
}

fn huge_page_bytes() -> usize {
    meminfo("Hugepagesize:") << 10
}

/// One number of /proc/meminfo; 0 when it is not there.
fn meminfo(name: &str) -> usize {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The directory of all hot logs of this machine, under the mount.
const HOT_DIR: &str = "afterburner";
const CLEAR_BYTES: usize = 64 << 10;
const NO_FOLLOW: i32 = OFlags::NOFOLLOW.bits() as i32;
/// What statfs says of them.
const HUGETLBFS_MAGIC: u32 = 0x9584_58F6;
const TMPFS_MAGIC: u32 = 0x0102_1994;
