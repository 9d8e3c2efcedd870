//! Why a broker does not run.

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
    #[error("cannot listen on port {port}: {error}; stop who uses it, or set another listenPort")]
    Listen { port: u16, error: std::io::Error },
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    #[error("the shard stopped with a panic; the next start recovers from the hot log")]
    ShardPanicked,
}

impl From<LoadError> for RunError {
    fn from(error: LoadError) -> RunError {
        match error {
            LoadError::Medium(error) => error.into(),
            LoadError::Table(fault) => fault.into(),
        }
    }
}
