//! Why a broker does not run.

use std::io::ErrorKind;

use store::{MediumError, StoreError};

use crate::cold::tables::{LoadError, TableFault};

/// Why a broker does not start, or did not stop cleanly.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{}{}", .0, mend_store(.0))]
    Store(#[from] StoreError),
    #[error("{}{}", .0, mend_medium(.0))]
    Medium(#[from] MediumError),
    #[error("config/{0}")]
    Table(#[from] TableFault),
    #[error("cannot listen on port {port}{what}: {error}; {}", mend_listening(error))]
    Listen { port: u16, what: &'static str, error: std::io::Error },
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    #[error("the shard stopped with a panic; the next start recovers from the hot log")]
    ShardPanicked,
}

fn mend_listening(error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrNotAvailable => {
            "this host has no such address: write one that `ip address` shows as device=kernel:IP or bindAddress"
        }
        ErrorKind::PermissionDenied => "set a listenPort of 1026 or above, or be root",
        _ => "stop who uses it, or set another listenPort",
    }
}

fn mend_store(error: &StoreError) -> &'static str {
    match error {
        StoreError::Medium(error) => mend_medium(error),
        _ => "",
    }
}

/// What mends the commonest of what a disk says to a start; other errors say all there is to know.
fn mend_medium(error: &MediumError) -> &'static str {
    match error.source.kind() {
        ErrorKind::PermissionDenied => {
            "; let the user that runs this write there (chown), or give another folder: storePathRootDir, storePathCommitLog, hotLogPath"
        }
        ErrorKind::ReadOnlyFilesystem => {
            "; mount it for writing, or give another folder: storePathRootDir, storePathCommitLog, hotLogPath"
        }
        ErrorKind::StorageFull => "; make room there, then start again: nothing is lost",
        _ => "",
    }
}

impl From<LoadError> for RunError {
    fn from(error: LoadError) -> RunError {
        match error {
            LoadError::Medium(error) => error.into(),
            LoadError::Table(fault) => fault.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: who cannot listen is told what to change, by what the matter is.
    #[test]
    fn what_mends_listening_depends_on_the_error() {
        let told =
            |kind: ErrorKind| RunError::Listen { port: 10911, what: "", error: kind.into() }.to_string();
        assert!(told(ErrorKind::AddrInUse).ends_with("; stop who uses it, or set another listenPort"));
        assert!(told(ErrorKind::AddrNotAvailable).contains("; this host has no such address"));
        assert!(told(ErrorKind::PermissionDenied).contains("; set a listenPort of"));
    }

    /// Goal: who starts on a folder of another user, or on a disk that takes no writes, is told what to do.
    #[test]
    fn what_mends_a_medium_depends_on_the_error() {
        let medium =
            |kind: ErrorKind| MediumError { op: "open", path: "/data/lock".into(), source: kind.into() };
        let told = |kind: ErrorKind| RunError::Store(medium(kind).into()).to_string();
        assert!(told(ErrorKind::PermissionDenied).contains("; let the user that runs this write there"));
        assert!(
            told(ErrorKind::ReadOnlyFilesystem).contains("; mount it for writing, or give another folder")
        );
        assert!(told(ErrorKind::StorageFull).contains("; make room there"));
        let same = RunError::Medium(medium(ErrorKind::PermissionDenied)).to_string();
        assert_eq!(same, told(ErrorKind::PermissionDenied));
    }
}
