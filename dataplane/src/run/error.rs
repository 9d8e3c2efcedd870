//! Why a broker does not run.

use std::io::ErrorKind;

use store::{MediumError, StoreError};

use crate::cold::tables::{LoadError, TableFault};

/// Why a broker does not start, or did not stop cleanly.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Medium(#[from] MediumError),
    #[error("config/{0}")]
    Table(#[from] TableFault),
    #[error("cannot listen on port {port}: {error}; {}", mend_listening(error))]
    Listen { port: u16, error: std::io::Error },
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
        let told = |kind: ErrorKind| RunError::Listen { port: 10911, error: kind.into() }.to_string();
        assert!(told(ErrorKind::AddrInUse).ends_with("; stop who uses it, or set another listenPort"));
        assert!(told(ErrorKind::AddrNotAvailable).contains("; this host has no such address"));
        assert!(told(ErrorKind::PermissionDenied).contains("; set a listenPort of"));
    }
}
