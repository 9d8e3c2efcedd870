//! Who knows us now: told by the links, asked by main and by the shard.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::broker::announce::Announced;

/// Which name servers know us now, and which topic table of ours they were told last.
#[derive(Debug)]
pub struct Standing {
    told: Mutex<Vec<Option<i64>>>,
    changed: Condvar,
    announced: Announced,
}

impl Standing {
    pub(super) fn new(servers: usize) -> Self {
        Self {
            told: Mutex::new(vec![None; servers]),
            changed: Condvar::new(),
            announced: Announced::default(),
        }
    }

    /// `told`: the table this server has accepted; `None` when it does not know us.
    pub(super) fn set(&self, index: usize, told: Option<i64>) {
        let mut all = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = all.get_mut(index) {
            *entry = told;
        }
        let least = all.iter().flatten().min().copied().unwrap_or(i64::MAX);
        self.announced.tell(least);
        self.changed.notify_all();
    }

    /// For the shard, which lets a new topic's first answer wait until clients can find it.
    pub fn announced(&self) -> Announced {
        self.announced.clone()
    }

    /// How many of how many know us.
    pub fn count(&self) -> (usize, usize) {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        (told.iter().flatten().count(), told.len())
    }

    /// Waits until all know us or the time is over; says whether all do.
    pub fn wait_for_all(&self, max: Duration) -> bool {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (told, _) = self
            .changed
            .wait_timeout_while(told, max, |told| told.iter().any(Option::is_none))
            .unwrap_or_else(PoisonError::into_inner);
        told.iter().all(Option::is_some)
    }

    pub(super) fn is_known_to(&self, index: usize) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)[index].is_some()
    }
}
