//! The offsets of broadcasting groups: a file for each group, written one at a time beside the core.

use super::Shell;
use crate::core::offsets::Offsets;
use crate::error::ClientError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

impl Shell {
    /// The offsets a broadcasting group kept from its last life.
    pub fn kept_offsets(&self, group: &str) -> Result<Offsets, ClientError> {
        let path = self.offset_dir.join(group).join("offsets.json");
        for path in [path.clone(), path.with_extension("json.bak")] {
            match std::fs::read(&path) {
                Ok(text) => match crate::offset_file::read(&text) {
                    Ok(offsets) => return Ok(offsets),
                    Err(reason) => log::warn!("{} does not read: {reason}", path.display()),
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let what = format!("the offsets in {}", path.display());
                    return Err(ClientError::Io { what, reason: error.to_string() });
                }
            }
        }
        Ok(Offsets::default())
    }

    /// Waits until the offsets of broadcasting groups are in their files, for as long as a disk may take.
    pub async fn saved(&self) {
        let all = async {
            loop {
                let saved = self.saved.notified();
                if !self.lock().is_saving {
                    return;
                }
                saved.await;
            }
        };
        if tokio::time::timeout(SAVE_WAIT, all).await.is_err() {
            log::error!(
                "the offsets in {} could not be kept within {SAVE_WAIT:?}",
                self.offset_dir.display()
            );
        }
    }

    /// Writes what is unsaved, one file after another, so that the newest offsets are the last ones written.
    pub(super) async fn run_saver(self: Arc<Shell>) {
        loop {
            let (group, json) = {
                let mut inner = self.lock();
                match inner.unsaved.pop_first() {
                    Some(unsaved) => unsaved,
                    None => {
                        inner.is_saving = false;
                        self.saved.notify_waiters();
                        return;
                    }
                }
            };
            let dir = self.offset_dir.join(&*group);
            let place = dir.display().to_string();
            let saved = tokio::task::spawn_blocking(move || save_offsets(&dir, &json)).await;
            if let Err(error) = saved.unwrap_or_else(|error| Err(io::Error::other(error))) {
                log::error!("the offsets of {group} could not be kept in {place}: {error}");
            }
        }
    }
}

pub(super) fn offset_dir(client_id: &str) -> PathBuf {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
    home.join(".rocketmq_offsets").join(client_id)
}

/// Written beside and renamed, with the one before kept: a crash leaves one of them whole.
fn save_offsets(dir: &Path, json: &str) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let path = dir.join("offsets.json");
    let fresh = path.with_extension("json.tmp");
    std::fs::write(&fresh, json)?;
    if path.exists() {
        std::fs::rename(&path, path.with_extension("json.bak"))?;
    }
    std::fs::rename(&fresh, &path)
}

const SAVE_WAIT: Duration = Duration::from_secs(10);
