//! What the name server keeps on disk: the KV settings, and its own configuration after a change by code 318.
//!
//! ```text
//! kvConfig.json        {"configTable":{"ORDER_TOPIC_CONFIG":{"T":"broker-a:4"}}}
//! namesrv.properties   key=value lines (or the file given with -c)
//! ```
//!
//! A file is replaced whole: written beside its place, synced, the old one kept as `.bak`, then renamed. A power cut
//! leaves the old content or the new, never a piece.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use protocol::body::KVConfigSerializeWrapper;
use protocol::fastjson;

use crate::namesrv::kv::KvTable;

#[derive(Debug, thiserror::Error)]
pub enum PersistError {
    #[error("cannot read {path}: {error}")]
    Read { path: PathBuf, error: io::Error },
    #[error(
        "{path} is damaged ({error}), and so is its .bak; mend it, or move it away to start with no settings"
    )]
    Damaged { path: PathBuf, error: fastjson::Error },
}

/// Reads the KV settings; no file is no settings. A damaged file falls back to its `.bak`.
pub fn load_kv(path: &Path) -> Result<KvTable, PersistError> {
    let error = match read_kv(path)? {
        None => return Ok(KvTable::default()),
        Some(Ok(table)) => return Ok(table),
        Some(Err(error)) => error,
    };
    match read_kv(&beside(path, "bak"))? {
        Some(Ok(table)) => {
            log::warn!("{} is damaged ({error}); its .bak is used", path.display());
            Ok(table)
        }
        _ => Err(PersistError::Damaged { path: path.to_owned(), error }),
    }
}

fn read_kv(path: &Path) -> Result<Option<Result<KvTable, fastjson::Error>>, PersistError> {
    match fs::read(path) {
        Ok(bytes) => {
            let file = fastjson::from_slice::<KVConfigSerializeWrapper>(&bytes);
            Ok(Some(file.map(|file| KvTable::new(file.config_table))))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(PersistError::Read { path: path.to_owned(), error }),
    }
}

/// The text of the KV file.
pub fn kv_text(kv: &KvTable) -> String {
    fastjson::to_string(&KVConfigSerializeWrapper { config_table: kv.namespaces().clone() })
}

/// Replaces a file as a whole, and makes its folder when there is none.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    let fresh = beside(path, "tmp");
    let mut file = File::create(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    match fs::copy(path, beside(path, "bak")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::rename(&fresh, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of one test, removed when the test ends.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("controlplane-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            Self(folder)
        }

        fn file(&self) -> PathBuf {
            self.0.join("namesrv/kvConfig.json")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn table(value: &str) -> KvTable {
        let mut kv = KvTable::default();
        kv.put("N".into(), "k\"é".into(), Some(value.into())).unwrap();
        kv
    }

    #[test]
    fn what_is_kept_is_read_back() {
        let folder = Folder::new("kept");
        assert_eq!(load_kv(&folder.file()).unwrap(), KvTable::default());
        replace(&folder.file(), &kv_text(&table("v\n中"))).unwrap();
        assert_eq!(load_kv(&folder.file()).unwrap(), table("v\n中"));
    }

    #[test]
    fn the_file_is_the_official_one() {
        let folder = Folder::new("form");
        let official = r#"{"configTable":{"N":{"k\"é":"1"}}}"#;
        assert_eq!(kv_text(&table("1")), official);
        replace(&folder.file(), official).unwrap();
        assert_eq!(load_kv(&folder.file()).unwrap(), table("1"));
    }

    /// Goal: a damaged file costs one change at most, and two damaged files stop the start with a sentence.
    #[test]
    fn a_damaged_file_falls_back() {
        let folder = Folder::new("damaged");
        replace(&folder.file(), &kv_text(&table("1"))).unwrap();
        replace(&folder.file(), &kv_text(&table("2"))).unwrap();
        fs::write(folder.file(), "{\"config").unwrap();
        assert_eq!(load_kv(&folder.file()).unwrap(), table("1"));
        fs::write(beside(&folder.file(), "bak"), "").unwrap();
        let sentence = load_kv(&folder.file()).unwrap_err().to_string();
        assert!(sentence.contains("kvConfig.json is damaged"), "{sentence}");
    }
}
